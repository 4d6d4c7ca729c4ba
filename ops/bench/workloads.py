"""The kinds of work that everybody is given, from a seed, and the end state that each leads to. Pure, but for
the hour.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from ops.dev.demo.burst import make_burst
from worker.contract import Change, Relation, from_message

TYPE = "estate:address:buyer"
AGO = 3_600_000_000  # µs before now that a burst began


def links(count: int, *, account: str, seed: int = 1) -> list[Change]:
    """Return a mailing: `count` different single relations of one type, the same hundred persons to every
    estate, in no order.
    """
    estates = max(1, count // 100)
    pairs = [(1 + number % estates, 10_001 + number // estates) for number in range(count)]
    return _creates(pairs, account, seed)


def scatter(count: int, *, account: str, seed: int = 1) -> list[Change]:
    """Return the everyday case of webhooks: `count` links, each between another estate and another person."""
    pairs = [(1 + number, 5_000_001 + number) for number in range(count)]
    return _creates(pairs, account, seed)


def toggles(count: int, *, account: str, seed: int = 1) -> list[Change]:
    """Return a quarrel: links and unlinks of a tenth as many relations, so that most changes are outdated by
    a later one.
    """
    dice = random.Random(seed)
    few = max(1, count // 10)
    return [
        Change(
            account=account,
            action=dice.choice(("create", "create", "delete")),
            type=TYPE,
            parents=(1 + number % max(1, few // 100),),
            children=(10_001 + number // max(1, few // 100),),
        )
        for number in (dice.randrange(few) for _ in range(count))
    ]


def chunks(changes: list[Change], size: int) -> Iterator[list[Change]]:
    """Yield the changes in lists of `size`."""
    rest = iter(changes)
    while chunk := list(islice(rest, size)):
        yield chunk


def bursts(count: int, *, account: str, seed: int = 1) -> list[Change]:
    """Return the demo's burst: enquiries, deals, withdrawals, appointments; some late, some twice."""
    burst = make_burst(count, seed=seed, accounts=[account], start=time.time_ns() // 1000 - AGO)
    return [from_message(arrival.message).change for arrival in burst.arrivals]


def _creates(pairs: list[tuple[int, int]], account: str, seed: int) -> list[Change]:
    """Return the creates of these relations in an order by chance."""
    random.Random(seed).shuffle(pairs)
    return [
        Change(account=account, action="create", type=TYPE, parents=(parent,), children=(child,))
        for parent, child in pairs
    ]


EndState = dict[Relation, dict[str, str]]
Load = Callable[..., list[Change]]


LOADS: Final[Mapping[str, Load]] = {
    "mailing": links,
    "quarrel": toggles,
    "scatter": scatter,
    "demo burst": bursts,
}


def end_state(changes: Iterable[Change]) -> EndState:
    """Return what the CRM holds if each change is made once, in the order in which they happened.

    A change without its own time happened when it was sent; an event that is sent twice happened once.
    """
    events = {change.event_id or place: (place, change) for place, change in enumerate(changes)}
    state: EndState = {}
    for _, change in sorted(events.values(), key=lambda event: (event[1].occurred_at or 0, event[0])):
        for relation in change.relations:
            _apply(state, relation, change)
    return state


def _apply(state: EndState, relation: Relation, change: Change) -> None:
    if change.action == "delete":
        state.pop(relation, None)
    elif change.action == "create":
        state.setdefault(relation, {}).update(change.info)
    elif relation in state:
        state[relation].update(change.info)


def count_wrong(found: EndState, wanted: EndState) -> int:
    """Return how many relations are there and should not be, are missing, or have another info."""
    return sum(found.get(relation) != wanted.get(relation) for relation in found.keys() | wanted.keys())
