"""Relations that make their requests fail hurt only themselves: the rest of the account is applied (R24)."""

from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from msgspec.structs import replace

from ops.simulator import FaultPlan, InjectedFault
from ops.simulator.log import LogEntry
from tests.support.flow_world import INFO, World, change
from tests.support.worker_pool import WorkerPool
from worker.contract import Change, Relation
from worker.planner.actions import Reply
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.testing import MemoryStore

Make = Callable[..., World]
BUYER, MEETING = "estate:address:buyer", "calendar:address"
MINUTE = 60.0
RATE = 4.0
PACED = {"rate": RATE, "burst": 8, "limits": Limits(max_ids=100, max_actions=50)}
PROBES = 1 + 6 + 11  # of an open breaker in an hour: after 5, 10, …, 160 and then every 300 seconds
FAULTS = ("gateway_before", "gateway_after", "server_error", "lost_before", "lost_after", "garbled")
ESTATES, FRESH_ESTATE = 501, 100_001


def bad_parents(count: int, module: str = "estate") -> list[tuple[str, int]]:
    return [(module, ESTATES + number) for number in range(count)]


def bad_children(count: int) -> list[tuple[str, int]]:
    return [("address", 90_001 + number) for number in range(count)]


def pairs(count: int, action: str = "create", name: str = BUYER, **rest: object) -> list[Change]:
    """Return changes of relations that share no record."""
    return [change(action, name, ESTATES + each, 90_001 + each, **rest) for each in range(count)]


def world_of(plan: FaultPlan, **options: object) -> tuple[World, WorkerPool]:
    world = World(MemoryStore, policy={**PACED, **options}, faults=plan)
    return world, WorkerPool(world)


def apply_fresh_change(world: World, pool: WorkerPool, number: int) -> float:
    """Send a change of records that no other names; return the seconds until it was applied."""
    began = world.clock.now()
    [receipt] = world.accept(change("create", BUYER, FRESH_ESTATE + number, 9001))
    pool.run(MINUTE, until=lambda: world.store.get_job(receipt.job).state == "succeeded")
    return (world.clock.now() - began) / 1e6


def failed(entries: Iterable[LogEntry]) -> list[LogEntry]:
    return [entry for entry in entries if entry.fault]


@pytest.mark.parametrize(
    ("fault", "records"), [("gateway_before", bad_children), ("lost_after", bad_parents)]
)
def test_a_fresh_change_is_applied_within_seconds_and_at_full_pace_beside_300_bad_relations(
    fault: str, records: Callable[[int], list[tuple[str, int]]]
) -> None:
    world, pool = world_of(FaultPlan.of_records(records(300), fault))
    world.accept(*pairs(300))
    for number in range(10):
        pool.run(6.0)
        assert apply_fresh_change(world, pool, number) < 3.0
        assert world.limiter.state("acme")["breaker"] == "closed"
    assert world.limiter.state("acme")["factor"] == 1.0
    began = world.clock.now() / 1e6
    world.policy = {**world.policy, "limits": Limits(max_ids=1, max_actions=1)}
    world.accept(*(change("create", BUYER, 200_001 + number, 9001) for number in range(100)))
    fresh = {200_001 + number for number in range(100)}
    pool.run(MINUTE, until=lambda: fresh <= {relation.parent for relation in world.relations()})
    assert world.clock.now() / 1e6 - began < 100 / RATE + 5.0


@pytest.mark.parametrize(
    ("action", "fault"),
    [("create", fault) for fault in FAULTS] + [("delete", "gateway_before"), ("modify", "lost_after")],
)
def test_good_relations_that_shared_requests_with_bad_ones_are_applied_and_the_bad_ones_fail_in_time(
    action: str, fault: str
) -> None:
    size, bad = 60, 4
    retry = RetryPolicy(give_up_after=10 * MINUTE, backoff=(1.0, 60.0))
    world, pool = world_of(FaultPlan.of_records(bad_parents(bad, "calendar"), fault), retry=retry)
    if action != "create":
        seeded = [Relation(MEETING, ESTATES + number, 90_001 + number) for number in range(size)]
        world.simulator.seed("token-acme", seeded)
    info = {"info": ((INFO, "gesendet"),)} if action == "modify" else {}
    world.accept(*pairs(size, action, MEETING, **info))
    pool.run(4 * MINUTE)
    jobs = world.jobs()
    assert Counter(job.state for job in jobs[bad:]) == {"succeeded": size - bad}
    pool.run(8 * MINUTE)
    jobs = world.jobs()
    assert {(job.state, job.refusal[1] if job.refusal else "") for job in jobs[:bad]} == {
        ("failed", "unknown")
    }
    assert pool.is_done()


class SlowApi:
    """An API client whose requests without an answer take until their timeout."""

    def __init__(self, world: World, timeout: float) -> None:
        self._inner, self._clock, self._timeout = world.apis["acme"], world.clock, timeout

    def send(self, actions: object, **how: object) -> Reply:
        reply = self._inner.send(actions, **how)
        if reply.is_answered:
            return reply
        self._clock.advance(self._timeout)
        return replace(reply, seconds=self._timeout)


def test_relations_that_time_out_take_a_fifth_of_their_account_s_time() -> None:
    timeout = 9.0  # a lease of the world is not renewed
    world, pool = world_of(FaultPlan.of_records(bad_parents(40), "lost_before"))
    world.apis["acme"] = SlowApi(world, timeout)
    world.accept(*pairs(40))
    pool.run(5 * MINUTE)
    before = len(world.simulator.log)
    waits = []
    for number in range(60):
        pool.run(10.0)
        waits.append(apply_fresh_change(world, pool, number))
    entries = world.simulator.log[before:]
    taken = timeout * len(failed(entries))
    assert taken <= (entries[-1].at - entries[0].at) / 5 + timeout
    assert max(waits) <= timeout + 3.0
    assert sum(wait > 3.0 for wait in waits) <= len(waits) / 3
    assert world.limiter.state("acme")["factor"] == 1.0


# --- what it costs


@pytest.mark.parametrize(("size", "bad"), [(50, 1), (200, 3), (500, 5)])
def test_requests_for_some_bad_relations_among_many_are_bounded(size: int, bad: int) -> None:
    step = size // bad
    records = [("estate", ESTATES + number * step) for number in range(bad)]
    world, pool = world_of(FaultPlan.of_records(records, "gateway_before"))
    world.accept(*pairs(size))
    good = size - bad
    pool.run(60 * MINUTE, until=lambda: len(world.relations()) == good)
    entries = world.simulator.log
    probes = [entry for entry in entries if not entry.fault and entry.acts[0].parents == (1,)]
    # Each bad relation fails as new, among those that failed (before and after the API answered), among 64
    # and among 8; then it goes alone. A probe goes for each failure at most.
    in_company = [entry for entry in failed(entries) if len(entry.acts) > 1]
    assert len(in_company) <= 5 * bad
    assert len(probes) <= len(failed(entries)) <= 8 * bad
    # What was answered: each request of good ones, as a read and as a write, once in every stage.
    stages = [-(-size // 50), -(-size // 50), -(-size // 64) + bad, 8 * bad, 8 * bad]
    assert len(entries) - len(failed(entries)) - len(probes) <= 2 * sum(stages)


@pytest.mark.parametrize(("fault", "requests"), [("gateway_before", 3), ("lost_after", 2), ("garbled", 2)])
def test_a_glitch_costs_a_read_back_and_what_was_not_done(fault: str, requests: int) -> None:
    world, pool = world_of(FaultPlan.script([fault]))
    world.accept(*pairs(1))
    pool.run(MINUTE, until=pool.is_done)
    assert (pool.is_done(), len(world.simulator.log)) == (True, requests)


def test_a_glitch_among_500_relations_makes_none_of_them_go_alone() -> None:
    world, pool = world_of(FaultPlan.script(["gateway_before"]))
    world.accept(*pairs(500))
    pool.run(MINUTE, until=pool.is_done)
    assert pool.is_done()
    assert len(world.simulator.log) <= 500 / 50 + 10  # the backoffs of those that failed differ
    assert sum(len(entry.acts) for entry in world.simulator.log) <= 500 + 50 + 10


def test_after_an_outage_nobody_is_suspected_and_requests_are_full() -> None:
    world, pool = world_of(FaultPlan.random(1, 1.0, ["gateway_before"]))
    world.accept(*pairs(400))
    pool.run(10 * MINUTE)
    world.simulator.inject(FaultPlan())
    before = len(world.simulator.log)
    pool.run(10 * MINUTE, until=pool.is_done)
    assert len(world.relations()) == 400
    # The pace begins at a sixteenth, with three actions a request, and rises by one or two with each answer.
    assert len(world.simulator.log) - before <= 35
    assert not failed(world.simulator.log[before:])


def test_an_api_that_is_away_is_asked_no_more_often_when_only_suspected_relations_wait() -> None:
    world, pool = world_of(FaultPlan.of_records(bad_parents(30), "gateway_before"))
    world.accept(*pairs(30))
    pool.run(10 * MINUTE)
    world.simulator.inject(FaultPlan.random(1, 1.0, ["gateway_before"]))
    before, turns = len(world.simulator.log), len(pool.turns)
    pool.run(60 * MINUTE)
    assert len(world.simulator.log) - before <= 6 + PROBES
    assert len(pool.turns) - turns <= 3 * (6 + PROBES)


def test_a_429_is_the_account_s_whoever_got_it() -> None:
    world, pool = world_of(FaultPlan.of_records(bad_parents(1), "gateway_before"))
    world.accept(*pairs(1))
    pool.run(10 * MINUTE)
    assert world.limiter.state("acme")["factor"] == 1.0
    before = len(world.simulator.log)
    world.simulator.inject(FaultPlan.script([None, InjectedFault("throttle", 7.0)]))
    pool.run(20 * MINUTE, until=lambda: len(world.simulator.log) > before + 1)
    probe, trial = world.simulator.log[before:]
    assert (probe.acts[0].parents, trial.acts[0].parents, trial.fault) == ((1,), (ESTATES,), "throttle")
    state = world.limiter.state("acme")
    assert (state["factor"], round(state["not_before"] - trial.at)) == (0.5, 7)


# --- what a flush reads


@pytest.mark.parametrize(
    ("size", "fresh", "read"),
    [(16, 20, (12, 4)), (16, 1, (15, 1)), (3, 20, (2, 1)), (2, 20, (1, 1)), (1, 20, (1, 0))],
)
def test_a_full_batch_leaves_a_quarter_to_the_inbox_and_takes_back_what_that_does_not_need(
    make_world: Make, size: int, fresh: int, read: tuple[int, int]
) -> None:
    world = make_world(faults=FaultPlan.of_records(bad_parents(40), "gateway_before"))
    world.accept(*pairs(40))
    world.flush()
    world.clock.advance(20.0)
    world.accept(*(change("create", BUYER, FRESH_ESTATE + number, 9001) for number in range(fresh)))
    with_lease = world.store.lease("acme", "reader")
    assert with_lease
    work = with_lease.read(max_jobs=size, max_relations=5000)
    assert (len(work.due), len(work.jobs)) == read
