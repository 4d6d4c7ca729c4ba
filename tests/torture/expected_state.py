"""The expected end state, computed a second time as simply as possible: the latest change of a relation wins.

Uses neither planner nor store, so that the two cannot be wrong in the same way.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.contract import Change, Relation


class AcceptedChange(NamedTuple):
    """An accepted change: the time at which it counts (µs), its place in the order of acceptance, its job.

    What a later `era` accepted counts after all of an earlier one: an erasure took the memory in between.
    """

    at: int
    number: int
    job: str
    change: Change
    era: int = 0


@dataclass(slots=True)
class ExpectedRelation:
    """What should be true of a relation. `present` is None if no change says whether it exists.

    `was_deleted`: a delete that a later create outdated may never have been sent.
    """

    present: bool | None = None
    info: dict[str, str] = field(default_factory=dict)
    was_deleted: bool = False

    def allows(self, actual: Mapping[str, str] | None, *, unsure: Container[str] = ()) -> bool:
        """Return whether the CRM's state is right, whatever the keys of info that are unsure.

        Older info may survive only an outdated delete.
        """
        if actual is None or not self.present:
            return (actual is not None) == bool(self.present)
        wanted = {key: value for key, value in self.info.items() if key not in unsure}
        found = {key: value for key, value in actual.items() if key not in unsure}
        return wanted.items() <= found.items() if self.was_deleted else wanted == found


def is_cleared(change: Change, relation: Relation) -> bool:
    """Return whether the relation is of the record that the change replaces, and not named by it."""
    if relation.type != change.type or relation in change.relations:
        return False
    if change.replaces == "child":
        return (relation.parent,) == change.parents
    return change.replaces == "parent" and (relation.child,) == change.children


def expect(
    accepted: Iterable[tuple[AcceptedChange, Relation]], *, upsert: bool
) -> dict[Relation, ExpectedRelation]:
    """Return the end state that the changes ask for; with `upsert`, a modify creates.

    A replace wants a relation that it does not name to be absent.
    """
    expected: dict[Relation, ExpectedRelation] = {}
    eras: dict[Relation, int] = {}
    ordered = sorted(accepted, key=lambda pair: (pair[0].era, pair[0].at, pair[0].number))
    for (_, _, _, change, era), relation in ordered:
        state = expected.setdefault(relation, ExpectedRelation())
        if era != eras.setdefault(relation, era):
            eras[relation] = era
            if not state.present:  # info that a delete had taken away is not remembered any more
                state.info = {}
        if change.action == "delete" or (change.replaces and relation not in change.relations):
            state.present, state.info, state.was_deleted = False, {}, True
        elif change.action != "modify" or upsert:
            state.present = True
        state.info.update(change.info)
    return expected
