"""What should be true in the end, written a second time and as small as it can be: the latest wins, relation by relation.

Knows neither planner nor store, so that the two cannot be wrong in the same way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.contract import Change, Relation


class AcceptedChange(NamedTuple):
    """A change that was accepted: when it counts (µs), ties by the order of acceptance, and its job."""

    at: int
    number: int
    job: str
    change: Change


@dataclass(slots=True)
class Wanted:
    """What should be true of a relation; None asks nothing of its presence. `overtaken`: a delete may never have been sent."""

    present: bool | None = None
    info: dict[str, str] = field(default_factory=dict)
    overtaken: bool = False

    def allows(self, seen: Mapping[str, str] | None) -> bool:
        """Whether what the CRM shows is right: older info may survive only a delete that was not necessary any more."""
        if seen is None or not self.present:
            return (seen is not None) == bool(self.present)
        return self.info.items() <= seen.items() if self.overtaken else self.info == seen


def wanted(accepted: Iterable[tuple[AcceptedChange, Relation]], *, upsert: bool) -> dict[Relation, Wanted]:
    """The end state that was asked for; `upsert` if a modify creates."""
    asked: dict[Relation, Wanted] = {}
    for (_, _, _, change), relation in sorted(accepted, key=lambda each: each[0][:2]):
        want = asked.setdefault(relation, Wanted())
        if change.action == "delete":
            want.present, want.info, want.overtaken = False, {}, True
        elif change.action == "create" or upsert:
            want.present = True
        want.info.update(change.info)
    return asked
