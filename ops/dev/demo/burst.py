"""A realistic burst of changes from a seed, and what the CRM should hold after it. Pure: the same seed gives the same burst.

What happens is `office.py`'s; here it is put into the order in which it *arrives*: some changes twice, some late, by three ways.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ops.dev.demo.office import APPOINTMENT, Office, Step, World
from worker.contract import MessageDict, Relation, write_instant

Route = Literal["batch", "single", "celery"]

STEP: Final = 1000  # microseconds between two changes: no two happened at once
TWICE, LATE = 0.04, 0.05
BEHIND: Final = 150  # places that a late change, or a repetition, falls behind
ROUTES: Final[Mapping[Route, int]] = {"batch": 60, "single": 10, "celery": 30}


class Arrival(NamedTuple):
    """A message as it comes in, and by which way."""

    message: MessageDict
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What arrives, in order, and per account what the CRM should hold and no longer hold; `mended`: once missing addresses exist."""

    arrivals: tuple[Arrival, ...]
    changes: int
    late: int
    contradictions: int
    missing: Mapping[str, frozenset[int]]
    asked: Mapping[str, World]
    mended: Mapping[str, World]
    absent: Mapping[str, frozenset[Relation]]


def burst(changes: int, *, seed: int, accounts: Sequence[str], start: int) -> Burst:
    """`changes` different changes for these accounts, the first of which happened at `start` (µs since the epoch)."""
    dice = random.Random(f"burst {seed}")
    offices = [Office(name, dice, changes // len(accounts)) for name in accounts]
    steps = [offices[number % len(offices)].step() for number in range(changes)]
    placed = [
        entry
        for number, step in enumerate(steps)
        for entry in _placed(number, step, dice, seed=seed, start=start)
    ]
    return Burst(
        arrivals=tuple(arrival for _, arrival in sorted(placed, key=lambda entry: entry[0])),
        changes=changes,
        late=sum(place[1] == "late" for place, _ in placed),
        contradictions=sum(office.contradictions for office in offices),
        missing={office.name: frozenset(office.missing) for office in offices},
        asked={office.name: office.asked() for office in offices},
        mended={office.name: office.world for office in offices},
        absent={office.name: office.absent() for office in offices},
    )


class _Place(NamedTuple):
    """Where a message arrives, and as what; sorts by arrival."""

    number: int
    manner: Literal["in time", "late", "twice"]


def _placed(
    number: int, step: Step, dice: random.Random, *, seed: int, start: int
) -> Iterator[tuple[_Place, Arrival]]:
    """A change with its place among the arrivals, and with another one if it arrives twice."""
    message = _message(step, f"{seed}-{number}", start + STEP * number)
    late = dice.random() < LATE and not _founding(step)
    behind = dice.randint(1, BEHIND) if late else 0
    yield _Place(number + behind, "late" if late else "in time"), Arrival(message, _route(step, dice))
    if dice.random() < TWICE:
        yield _Place(number + behind + dice.randint(1, BEHIND), "twice"), Arrival(message, _route(step, dice))


def _founding(step: Step) -> bool:
    """Whether others wait for it: a confirmation of somebody who is not invited yet would be tried again until it fails."""
    return step.type == APPOINTMENT and step.action == "create"


def _route(step: Step, dice: random.Random) -> Route:
    """Appointments are made by people, who press one button at a time."""
    return "single" if step.type == APPOINTMENT else dice.choices(tuple(ROUTES), tuple(ROUTES.values()))[0]


def _message(step: Step, event_id: str, occurred_at: int) -> MessageDict:
    message: MessageDict = {
        "account": step.account,
        "action": step.action,
        "relationtype": step.type,
        "parentid": list(step.parents) if len(step.parents) > 1 else step.parents[0],
        "childid": list(step.children) if len(step.children) > 1 else step.children[0],
        "occurred_at": write_instant(occurred_at),
        "event_id": event_id,
        "source": "portal",
        "batch": "burst",
    }
    if step.info:
        message["relationinfo"] = dict(step.info)
    return message
