"""A realistic burst of changes, and the relations the CRM should hold after it. Pure: a seed decides all.

`agency.py` makes the changes; this module orders them as they arrive: some twice, some late, on three routes.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec

from ops.dev.demo.agency import APPOINTMENT, Agency, CrmRelations
from worker.contract import Change, MessageDict, Relation, to_message
from worker.planner.actions import Operation
from worker.planner.plan import Limits, plan

Route = Literal["batch", "single", "celery"]

INTERVAL: Final = 1000  # microseconds between two changes, so that no two happened at the same time
TWICE, LATE = 0.04, 0.05  # share of the changes
BEHIND: Final = 150  # how many places a late change or a repetition falls behind at most
ROUTES: Final[Mapping[Route, int]] = {"batch": 60, "single": 10, "celery": 30}  # weights


class Arrival(NamedTuple):
    """A message and the route on which it arrives."""

    message: MessageDict
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """The messages in the order in which they arrive, and the end state they should lead to, per account.

    `expected` leaves out the relations of missing addresses; `expected_after_repair` has them.
    """

    arrivals: tuple[Arrival, ...]
    changes: int
    late: int
    contradictions: int
    missing: Mapping[str, frozenset[int]]
    expected: Mapping[str, CrmRelations]
    expected_after_repair: Mapping[str, CrmRelations]
    absent: Mapping[str, frozenset[Relation]]


def make_burst(changes: int, *, seed: int, accounts: Sequence[str], start: int) -> Burst:
    """Make so many changes for these accounts; the first happened at `start` (µs since the epoch)."""
    rng = random.Random(f"burst {seed}")
    agencies = [Agency(account, rng, changes // len(accounts)) for account in accounts]
    made = [agencies[number % len(agencies)].next_change() for number in range(changes)]
    placed = [
        entry
        for number, change in enumerate(made)
        for entry in _place(number, change, rng, seed=seed, start=start)
    ]
    return Burst(
        arrivals=tuple(arrival for _, arrival in sorted(placed, key=lambda entry: entry[0])),
        changes=changes,
        late=sum(place.kind == "late" for place, _ in placed),
        contradictions=sum(agency.contradictions for agency in agencies),
        missing={agency.account: frozenset(agency.missing) for agency in agencies},
        expected={agency.account: agency.existing() for agency in agencies},
        expected_after_repair={agency.account: agency.relations for agency in agencies},
        absent={agency.account: agency.absent() for agency in agencies},
    )


class _Place(NamedTuple):
    """The place of a message among the arrivals; sorts in their order."""

    number: int
    kind: Literal["in time", "late", "twice"]


def _place(
    number: int, change: Change, rng: random.Random, *, seed: int, start: int
) -> Iterator[tuple[_Place, Arrival]]:
    """Yield a change with its place among the arrivals, and a second time if it arrives twice."""
    change = msgspec.structs.replace(
        change, event_id=f"{seed}-{number}", occurred_at=start + INTERVAL * number
    )
    message = to_message(change)
    late = rng.random() < LATE and not _is_invitation(change)
    behind = rng.randint(1, BEHIND) if late else 0
    yield _Place(number + behind, "late" if late else "in time"), Arrival(message, _route(change, rng))
    if rng.random() < TWICE:
        yield _Place(number + behind + rng.randint(1, BEHIND), "twice"), Arrival(message, _route(change, rng))


def _is_invitation(change: Change) -> bool:
    """Return whether later changes need it: without it, a confirmation is retried until it fails."""
    return change.type == APPOINTMENT and change.action == "create"


def _route(change: Change, rng: random.Random) -> Route:
    """Choose a route; appointments are made by people, one at a time."""
    return "single" if change.type == APPOINTMENT else rng.choices(tuple(ROUTES), tuple(ROUTES.values()))[0]


UNLIMITED = Limits(max_ids=1_000_000, max_actions=1_000_000)


def count_fewest_actions(present: CrmRelations, absent: Iterable[Relation]) -> int:
    """Return how many actions one account needs if everything is known at once.

    They are stars that create, stars that set info (R13), and one delete per relation to be removed (R7).
    """
    presence = [Operation("create", relation) for relation in present] + [
        Operation("delete", relation) for relation in absent
    ]
    infos = [
        Operation("modify", relation, tuple(sorted(info.items())))
        for relation, info in present.items()
        if info
    ]
    return sum(plan(operations, UNLIMITED, lambda _: "free").least for operations in (presence, infos))
