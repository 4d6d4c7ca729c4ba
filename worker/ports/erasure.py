"""Erasing a record: which one, what of it is still being worked, and what was erased."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from worker.contract import TYPES, Relation
from worker.errors import NotFound
from worker.planner.actions import Action
from worker.ports.work import BegunRequest, Lease, Writes

ERASED: Final = "erased"
"""What a relation is superseded by, and a job was emptied by, when a record is erased."""


class RecordRef(NamedTuple):
    """A record of a module, e.g. address 9001; the person it is about may ask for its erasure."""

    module: str
    number: int

    @property
    def sides(self) -> dict[str, str]:
        """The relation types it can be part of, and on which side: parent `p`, child `c`, or both `pc`."""
        sides = {
            name: "p" * (relation_type.parent == self.module) + "c" * (relation_type.child == self.module)
            for name, relation_type in TYPES.items()
        }
        return {name: where for name, where in sides.items() if where}

    def is_on(self, side: str, name: str, number: int) -> bool:
        """Return whether an id on this side (`p` or `c`) of a relation type is the record's."""
        return (
            number == self.number
            and (TYPES[name].parent if side == "p" else TYPES[name].child) == self.module
        )

    def is_record(self, module: str, number: int) -> bool:
        """Return whether this is the record."""
        return (module, number) == (self.module, self.number)

    def is_part_of(self, relation: Relation) -> bool:
        """Return whether it is the parent or the child of the relation."""
        return self.is_on("p", relation.type, relation.parent) or self.is_on(
            "c", relation.type, relation.child
        )

    def is_named_by(self, action: Action) -> bool:
        """Return whether the action names the record, or was split from a star of one of its relations."""
        split_from = action.split_from
        return (
            any(self.is_on("p", action.type, number) for number in action.parents)
            or any(self.is_on("c", action.type, number) for number in action.children)
            or any(map(self.is_part_of, action.asked))
            or bool(split_from and self.is_part_of(split_from))
        )


class UnsettledRequests(NamedTuple):
    """The requests of an account that were begun and not settled, read at `now` (µs)."""

    now: int
    requests: tuple[BegunRequest, ...]


class Withdrawal(NamedTuple):
    """What ends a record's open relations, how many do, and which must wait for a definite answer.

    `waiting` says until when (µs) a write of each may still land; `jobs` are those that wait with them.
    """

    writes: Writes
    ended: int
    waiting: Mapping[Relation, int]
    jobs: frozenset[str]


class ErasedPiece(NamedTuple):
    """What was erased from a piece of what is kept: where to go on (0: all is done), and counts by kind.

    `in_doubt` are relations whose memory stays until then (µs), because a write of them may still land.
    `looked` counts what was looked at, by kind.
    """

    next: int
    counts: Mapping[str, int]
    in_doubt: Mapping[Relation, int] = MappingProxyType({})
    looked: Mapping[str, int] = MappingProxyType({})


def record_ref(module: str, number: int) -> RecordRef:
    """Return the record; raise NotFound for a module that no relation type has."""
    modules = sorted({module for known in TYPES.values() for module in (known.parent, known.child)})
    if module not in modules:
        raise NotFound(f'there is no module "{module}"; known are {", ".join(modules)}')
    return RecordRef(module, number)


class Erasure(Protocol):
    """Erases a record from what is kept, piece by piece."""

    def unsettled_requests(self, account: str) -> UnsettledRequests:
        """Return the requests that were begun and not settled, oldest first."""

    def open_relations_with(self, account: str, who: RecordRef) -> Sequence[Relation]:
        """Return the open relations that name a record: its own, and those split from a star with it."""

    def erase_jobs(
        self, lease: Lease, who: RecordRef, after: int, *, waiting: Collection[str] = ()
    ) -> ErasedPiece:
        """Erase a record from the next jobs after number `after`, but not from those that are `waiting`.

        First, from 0 on, replays that would send it again: they would do so behind the last job.
        """

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> ErasedPiece:
        """Erase a record from the next part of what else is kept; memories in doubt stay."""

    def erase_previews(self, account: str, who: RecordRef) -> tuple[int, int]:
        """Forget acts prepared on pages that name a record; return how many were looked at and went."""

    def rewrite_append_only_file(self) -> str:
        """Let the server rewrite its append-only file; return what became of that, in words."""
