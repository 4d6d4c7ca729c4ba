"""An account that has one slot at a time: what takes two requests is done, and nothing takes every slot."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ops.simulator import FaultPlan
from tests.support.flow_world import World, change, states
from tests.support.references import BUYER, FIELDS, address, email, seed, wish
from worker.planner.plan import Limits
from worker.ports.work import Lease
from worker.usecases.flush import FLUSH_BUDGET, flush
from worker.usecases.look_up import PAGES_BUDGET

Make = Callable[..., World]
SLOW = {"rate": 1.0, "burst": 1}


def flush_for(world: World, seconds: float) -> None:
    """Flush when the flush before says so, until the time is over."""
    until = world.clock.monotonic() + seconds
    while world.clock.monotonic() < until:
        wait = world.flush().next_in
        world.clock.advance(1.0 if wait is None else max(wait, 0.001))


class RenewingClock:
    """The clock of a world, by which a flush keeps its lease while it waits."""

    def __init__(self, world: World) -> None:
        self._clock, self._held = world.clock, list[Lease]()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        while seconds > 0:
            self._clock.sleep(min(seconds, 5.0))
            self._held[-1].renew()
            seconds -= 5.0

    @contextmanager
    def keep(self, lease: Lease) -> Iterator[None]:
        self._held.append(lease)
        yield


def test_of_two_look_ups_that_go_alone_each_has_its_turn(make_world: Make) -> None:
    """What is not found is not remembered: every flush asked for the first, and had no slot for another."""
    world = make_world(policy=SLOW, faults=FaultPlan.script(["lost_before"]))
    world.accept(wish(email("nobody@example.test")))
    flush_for(world, 40.0)
    assert (states(world), len(world.sent())) == (["parked"], 1)
    seed(world, FIELDS | {"address": {9009: {"email": "nobody@example.test"}}})
    world.drain()
    assert world.linked() == {(501, 9009)}


def test_a_look_up_of_many_pages_comes_to_its_end(make_world: Make) -> None:
    """Each flush read the first page, had no slot for the next, and began once more."""
    world = make_world(policy=SLOW)
    seed(world, {"address": {number: {"KdNr": "815"} for number in range(1, 1200)}})
    world.accept(wish(address(KdNr="815"), estate=501))
    flush_for(world, 40.0)
    assert (states(world), len(world.sent())) == (["parked"], 3)
    assert "several" in str(world.job().parked)


@pytest.mark.parametrize("pace", [{"rate": 0.04}, {"rate": 0.2}, {"rate": 1.0, "limits": Limits(100, 1)}])
def test_a_look_up_of_more_pages_than_a_flush_has_time_for_ends_and_comes_apart(
    make_world: Make, pace: dict[str, object]
) -> None:
    """It kept lease and worker for 85 seconds, or went round for ever where the next slot was too far."""
    world = make_world(policy=SLOW | pace)
    common = {number: {"KdNr": "815"} for number in range(1, 9000)}
    seed(world, {"estate": {501: {}}, "address": common | {9009: {"KdNr": "816"}}})
    world.accept(*(wish(address(KdNr=value), estate=501) for value in ("815", "816")))
    clock = RenewingClock(world)
    until = clock.monotonic() + 3600.0
    while clock.monotonic() < until:
        before = clock.monotonic()
        wait = flush(
            world.policy_of("acme"), world.flush_deps("acme", clock=clock, keep_lease=clock.keep)
        ).next_in
        assert clock.monotonic() - before <= PAGES_BUDGET + FLUSH_BUDGET
        world.clock.advance(1.0 if wait is None else max(wait, 0.001))
    assert states(world) == ["parked", "succeeded"]
    assert len(world.sent()) < 150


@pytest.mark.parametrize("others", [1, 30])
def test_steady_look_ups_leave_the_other_changes_their_share(make_world: Make, others: int) -> None:
    """The look-ups, which go first, took every slot for as long as new ones came."""
    world = make_world(policy=SLOW)
    world.accept(*(change("create", BUYER, 501, 9100 + number) for number in range(others)))
    for number in range(20):
        world.accept(wish(email(f"{number}@example.test"), estate=501))
        flush_for(world, 1.0)
    assert set(states(world)[:others]) == {"succeeded"}
