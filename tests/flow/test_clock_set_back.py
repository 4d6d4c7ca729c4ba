"""The store's clock is set back an hour: nothing that was dated stands longer than it was to."""

from collections.abc import Callable
from typing import Any

import pytest

from ops.simulator import FaultPlan, InjectedFault, Records
from producers.replay.resend import parse_correction
from tests.support.broken_stores import inspector_of
from tests.support.flow_world import World, change
from tests.support.replaying import replay
from tests.support.store_steps import deliveries_of, job_admin_of, metrics_of, queries_of
from tests.support.store_values import name_by_references
from worker.contract import Relation
from worker.errors import StoreUnavailable
from worker.usecases.sweep import Sweeper

BUYER = "estate:address:buyer"


class StoreTime:
    """Metrics that tell the world's time, which a test sets back."""

    def __init__(self, world: World) -> None:
        self._metrics, self._now = metrics_of(world.store), world.clock.now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metrics, name)

    def now(self) -> int:
        return self._now()


class OutOfReach:
    """A store that reaches no account to bring it forward: one node of a cluster is away."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def bring_forward(self, account: str, by: int) -> int:
        raise StoreUnavailable(f"the node of {account} is away")


def sweeper_of(world: World, woken: list[str]) -> Sweeper:
    """Return a sweeper by the world's clock."""
    return Sweeper(
        store=world.store,
        job_admin=job_admin_of(world.store),
        metrics=StoreTime(world),
        deliveries=deliveries_of(world.store),
        list_accounts=lambda: ["acme"],
        fingerprint_of=lambda _: "",
        wake=lambda account, _: woken.append(account),
        mend=inspector_of(world.store).mend,
        emit=world.emit,
    )


def lose_an_answer(make_world: Callable[..., World]) -> tuple[World, Sweeper, list[str]]:
    """Return a world whose first answer gets lost, with a change; its sweeper, and whom that woke."""
    world = make_world(faults=FaultPlan.script(["lost_after"]))
    woken: list[str] = []
    sweeper = sweeper_of(world, woken)
    sweeper.sweep()
    world.accept(change("create", BUYER, 501, 9001))
    return world, sweeper, woken


def test_a_retry_goes_when_it_was_to_go_though_the_clock_was_set_back(
    make_world: Callable[..., World],
) -> None:
    world, sweeper, woken = lose_an_answer(make_world)
    next_in = world.flush().next_in
    assert next_in is not None
    sweeper.sweep()
    world.clock.advance(-3600.0)
    for _ in range(60):
        woken.clear()
        sweeper.sweep()
        if woken:
            world.flush()
        world.clock.advance(2.0)
        if world.job().state == "succeeded":
            break
    assert world.job().state == "succeeded"
    assert [fields["seconds"] for event, fields in world.events if event == "clock.stepped"] == [3600.0]
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_an_account_that_could_not_be_written_when_the_clock_was_set_back_follows_later(
    make_world: Callable[..., World],
) -> None:
    world, sweeper, woken = lose_an_answer(make_world)
    next_in = world.flush().next_in
    assert next_in is not None
    sweeper.sweep()
    world.clock.advance(-3600.0)
    away, sweeper.store = sweeper.store, OutOfReach(sweeper.store)
    sweeper.sweep()
    sweeper.store = away
    world.clock.advance(next_in + 10.0)  # the time of a message that was lost
    woken.clear()
    sweeper.sweep()
    world.clock.advance(2.0)
    sweeper.sweep()
    assert woken
    world.flush()
    assert world.job().state == "succeeded"
    steps = [
        (fields["seconds"], bool(fields["moved"])) for name, fields in world.events if name == "clock.stepped"
    ]
    assert steps == [(3600.0, False), (3600.0, True)]


def test_a_write_that_was_read_back_is_waited_for_no_longer_than_before_the_clock_was_set_back(
    make_world: Callable[..., World],
) -> None:
    world, sweeper, _ = lose_an_answer(make_world)
    world.drain()
    assert world.job().state == "succeeded"
    relation = Relation(BUYER, 501, 9001)
    doubt = world.store.relation_history("acme", relation)[0].doubt
    assert doubt is not None
    left = doubt.until - world.clock.now()
    sweeper.sweep()
    world.clock.advance(-3600.0)
    sweeper.sweep()
    doubt = world.store.relation_history("acme", relation)[0].doubt
    assert doubt is not None
    assert doubt.until - world.clock.now() <= left
    assert inspector_of(world.store).inspect("acme").flaws == ()


@pytest.mark.parametrize("times", [1, 2])
def test_a_write_without_an_answer_is_waited_for_though_the_clock_was_set_back_just_before(
    make_world: Callable[..., World], times: int
) -> None:
    world = make_world(faults=FaultPlan.script([InjectedFault("late", 100.0)]))
    sweeper = sweeper_of(world, [])
    sweeper.sweep()
    world.clock.advance(-7200.0)
    world.accept(change("create", BUYER, 501, 9001))
    world.flush()  # its request may land for 150 s from now on
    for _ in range(times):  # one sweep, and another that died
        assert world.store.bring_forward("acme", 7_200_000_000) is not None
    world.accept(change("delete", BUYER, 501, 9001))
    world.drain()
    world.clock.advance(300.0)
    assert world.relations() == {}


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_parked_is_given_up_no_sooner_because_the_clock_was_set_back(
    make_world: Callable[..., World], times: int
) -> None:
    world = make_world()
    world.clock.advance(-7200.0)
    world.accept(name_by_references(change("create", BUYER, 501, 9001), "child"))
    world.flush()
    before = world.job().parked
    assert before is not None
    for _ in range(times):
        world.store.bring_forward("acme", 7_200_000_000)
    after = world.job().parked
    assert after is not None
    assert after.since == before.since


@pytest.mark.parametrize("is_flushed", [True, False])
def test_the_newest_change_counts_though_the_clock_was_set_back_before_it(
    make_world: Callable[..., World], *, is_flushed: bool
) -> None:
    world = make_world()
    sweeper = sweeper_of(world, [])
    sweeper.sweep()
    world.accept(change("create", BUYER, 501, 9001))
    if is_flushed:
        world.drain()
    world.clock.advance(-3600.0)
    world.accept(change("delete", BUYER, 501, 9001))  # before any sweep saw it
    sweeper.sweep()
    first = world.flush()
    assert (first.next_in or 0.0) < 60.0
    world.drain()
    assert world.relations() == {}
    world.clock.advance(60.0)
    world.accept(change("create", BUYER, 501, 9001))
    world.drain()
    assert world.linked() == {(501, 9001)}
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_what_failed_is_replayed_with_its_own_time_though_that_is_ahead_of_a_clock_that_was_set_back(
    make_world: Callable[..., World],
) -> None:
    world = make_world(records=Records(missing=frozenset({("address", 404)})))
    world.accept(change("create", BUYER, 501, 9001))
    world.clock.advance(-3600.0)
    world.accept(change("create", BUYER, 501, 404))
    world.drain()
    assert world.job(1).state == "failed"
    done = replay(world, [world.job(1).id], correction=parse_correction(["childid=9002"]))
    assert (done.back, done.refused) == (1, {})
    world.drain()
    assert world.linked() == {(501, 9001), (501, 9002)}


def test_a_change_waits_for_its_window_though_a_worker_takes_the_clock_for_a_little_behind(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    world.accept(change("create", BUYER, 501, 9001))
    world.clock.advance(-0.02)
    lease = world.store.lease("acme", "holder")
    assert lease is not None
    assert not queries_of(world.store).is_work_due("acme", window=5.0)
    assert lease.release(window=5.0) == pytest.approx(5.02)


def test_what_a_clock_that_was_years_ahead_accepted_leaves_no_date_behind_it(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    world.accept(change("create", BUYER, 501, 9001))
    world.clock.advance(-5 * 365 * 86_400.0)
    world.accept(change("create", BUYER, 501, 9002))
    assert world.job(1).accepted_at == world.clock.now()
