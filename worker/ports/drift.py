"""Drift: what was confirmed of relations, and what the CRM says of them now. Values only."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from worker.contract import Relation
from worker.planner.fold import NEVER, ConfirmedState
from worker.planner.relation_state import RelationRecord

DriftState = Literal["missing", "returned"]
"""Confirmed to be there and not in the CRM; confirmed to be gone and in it."""


class DriftFilter(msgspec.Struct, frozen=True):
    """Which relations to read; what is empty lets all pass.

    `since` (µs): the change that was confirmed last occurred then or later.
    """

    type: str = ""
    parent: int = 0
    child: int = 0
    since: int = 0

    def matches(self, relation: Relation, confirmed: ConfirmedState) -> bool:
        """Return whether presence or absence of the relation is confirmed, and the relation is wanted."""
        decisive = confirmed.presence
        return (
            decisive != NEVER
            and self.type in ("", relation.type)
            and self.parent in (0, relation.parent)
            and self.child in (0, relation.child)
            and decisive.version.occurred_at >= self.since
        )


class ConfirmedPage(NamedTuple):
    """Relations that are remembered, with what is known of each, read at `now` (µs).

    `total` is how many are remembered in all, `next` the cursor of the next page ("": no more).
    """

    now: int
    records: Mapping[Relation, RelationRecord]
    total: int
    next: str = ""


class DriftedRelation(msgspec.Struct, frozen=True):
    """A relation that the CRM shows otherwise than it was last confirmed.

    It was confirmed for the change that occurred at `occurred_at` (µs), as `job`; read at `read_at` (µs).
    """

    relation: Relation
    state: DriftState
    occurred_at: int
    job: str
    read_at: int


class DriftPage(NamedTuple):
    """What a drift read shows of one page, and the cursor of the next ("": no more).

    Of `seen` relations (of `total`), `same` are as confirmed; of the `unknown` ones no answer says how they
    are; `open` ones are being worked or in doubt, and were not read. With `waits`, nothing of the page could
    be read yet, for this reason: `next` repeats it, `rest` seconds from now.
    """

    total: int
    seen: int = 0
    same: int = 0
    drifted: tuple[DriftedRelation, ...] = ()
    unknown: tuple[Relation, ...] = ()
    open: int = 0
    next: str = ""
    waits: str = ""
    rest: float = 0.0
