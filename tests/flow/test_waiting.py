"""Why something waits, and until when: what the reason says is what the next flush does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from ops.simulator import FaultPlan, InjectedFault, Records
from tests.support.flow_world import START, World, change, generous_policy
from tests.support.store_steps import queries_of
from worker.contract import Relation
from worker.planner.fold import Intent, Version
from worker.planner.relation_state import Doubt, OpenRelation, Refusal, RelationRecord, Stage
from worker.ports.pace import Grant, Pause, Waiting
from worker.ports.queries import AccountState
from worker.ports.records import JobRecord
from worker.redis.client import Askers
from worker.testing import MemoryStore
from worker.usecases.waiting import (
    AccountView,
    WaitReader,
    why_account_waits,
    why_job_waits,
    why_queue_waits,
    why_relation_waits,
)

BUYER, BROKER = "estate:address:buyer", "estate:address:contactPerson"
SECOND = 1_000_000
NOW = START * SECOND
FREE, READY = AccountState(NOW), Grant(booked=True)
ONE = Relation(BUYER, 1, 9)
CREATE = Intent(Version(NOW, 1), "acme-1", "create", ())
DELETE = Intent(Version(NOW, 1), "acme-1", "delete", ())
Make = Callable[..., World]


def view(state: AccountState = FREE, grant: Grant = READY, **policy: Any) -> AccountView:
    return AccountView("acme", state, grant, replace(generous_policy("acme"), window=1.0, **policy))


def reader_of(world: World) -> WaitReader:
    return WaitReader(
        queries=queries_of(world.store),
        limiter=world.limiter,
        policy_of=world.policy_of,
        ask_each=Askers("redis://localhost"),
    )


# --- as a table


@pytest.mark.parametrize(
    ("seen", "reason", "seconds"),
    [
        (view(), None, 0),
        (view(FREE._replace(pause=Pause("hand", "moving"))), "pause", 0),
        (view(FREE._replace(pause=Pause("brake", "4 deletes"))), "brake", 0),
        (view(FREE._replace(pause=Pause("clock", until=NOW + 60 * SECOND))), "clock", 60),
        (view(FREE._replace(pause=Pause("credentials", fingerprint="a")), fingerprint="a"), "credentials", 0),
        (view(FREE._replace(pause=Pause("credentials", fingerprint="a")), fingerprint="b"), None, 0),
        (view(FREE._replace(refused="a"), fingerprint="a"), "credentials", 0),
        (view(observe=True), "observe", 0),
        (view(grant=Grant(booked=False, wait=5.0, reason="breaker")), "breaker", 5),
        (view(grant=Grant(booked=False, wait=5.0, reason="retry_after")), "pace", 5),
        (view(grant=Grant(booked=False, wait=5.0, reason="pace")), "pace", 5),
        (view(grant=Grant(booked=True, wait=0.2, reason="pace")), None, 0),
        (AccountView("acme", FREE, READY, None), "settings", 0),
        # What ends only when somebody acts hides what ends by itself.
        (
            view(FREE._replace(pause=Pause("hand")), Grant(booked=False, wait=5.0, reason="breaker")),
            "pause",
            0,
        ),
    ],
)
def test_why_an_account_waits(seen: AccountView, reason: str | None, seconds: int) -> None:
    assert_waits(why_account_waits(seen), reason, seconds)


@pytest.mark.parametrize(
    ("opened", "doubt", "grant", "reason", "seconds"),
    [
        ({}, None, READY, None, 0),
        ({"not_before": 5}, None, READY, "backoff", 5),
        ({"not_before": 5, "suspicion": 2}, None, READY, "suspicion", 5),
        ({"not_before": 5, "held": True, "refusal": Refusal(0, "last_one", "no")}, None, READY, "guard", 5),
        ({"not_before": 5, "stage": Stage.READ_BACK}, (9, "create"), READY, "doubt", 5),
        ({"not_before": 5, "stage": Stage.READ_BACK}, None, READY, "backoff", 5),
        ({}, (9, "delete"), READY, "doubt", 9),
        ({"not_before": 9}, (9, "delete"), READY, "doubt", 9),
        ({"not_before": 12}, (9, "delete"), READY, "backoff", 12),
        ({}, (9, "create"), READY, None, 0),
        ({"suspicion": 1}, None, Grant(booked=True, suspects_wait=7.0), "suspicion", 7),
        ({"failures": 2}, None, Grant(booked=True, suspects_wait=7.0), "suspicion", 7),
        ({"failures": 1}, None, Grant(booked=True, suspects_wait=7.0), None, 0),
        ({"failures": 1}, None, Grant(booked=True, suspects_wait=7.0, troubled=True), "suspicion", 7),
    ],
)
def test_why_a_relation_waits(
    opened: dict[str, Any], doubt: tuple[int, Any] | None, grant: Grant, reason: str | None, seconds: int
) -> None:
    if "not_before" in opened:
        opened = {**opened, "not_before": NOW + opened["not_before"] * SECOND}
    lasting = Doubt(NOW + doubt[0] * SECOND, doubt[1]) if doubt else None
    record = RelationRecord(OpenRelation((CREATE,), since=NOW, **opened), doubt=lasting)
    waiting = why_relation_waits(view(grant=grant), ONE, record)
    assert_waits(waiting, reason, seconds)
    assert waiting is None or waiting.relation == ONE
    assert reason != "guard" or (waiting and (waiting.error, waiting.message) == ("last_one", "no"))


@pytest.mark.parametrize(
    ("state", "reason", "seconds"),
    [
        (FREE._replace(waiting=1, oldest=NOW), "window", 1),
        (FREE._replace(waiting=1, oldest=NOW - SECOND), "turn", 0),
        (FREE._replace(waiting=1, oldest=NOW - SECOND, is_leased=True), "turn", 0),
    ],
)
def test_why_the_inbox_waits(state: AccountState, reason: str, seconds: int) -> None:
    assert_waits(why_queue_waits(view(state)), reason, seconds)


@pytest.mark.parametrize(
    ("state", "reason", "seconds"),
    [
        (FREE, "backoff", 9),
        (FREE._replace(pause=Pause("clock", until=NOW + 7 * SECOND)), "backoff", 9),
        (FREE._replace(pause=Pause("clock", until=NOW + 60 * SECOND)), "clock", 60),
        (FREE._replace(pause=Pause("hand")), "pause", 0),
    ],
)
def test_of_several_reasons_a_job_has_the_one_that_lasts_longest(
    state: AccountState, reason: str, seconds: int
) -> None:
    world = World(MemoryStore)
    world.accept(change("create", BUYER, 1, 8, 9, 10))
    job = msgspec.structs.replace(world.job(), state="retrying")
    records = {
        relation: RelationRecord(OpenRelation((CREATE,), since=NOW, not_before=NOW + wait * SECOND))
        for relation, wait in zip(job.relations, (5, 9, 0), strict=True)
    }
    assert_waits(why_job_waits(view(state), job, records), reason, seconds)


def assert_waits(waiting: Waiting | None, reason: str | None, seconds: int) -> None:
    assert (waiting.reason if waiting else None) == reason
    assert (waiting.until if waiting else 0) == (NOW + seconds * SECOND if seconds else 0)


# --- against the real flush

steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(1, 4)),
        st.tuples(st.just("delete"), st.integers(1, 4)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([1, 4, 40, 160])),
        st.tuples(st.just("pause"), st.sampled_from([0, 30])),
        st.tuples(st.just("resume"), st.just(0)),
    ),
    max_size=14,
)
faults = st.lists(
    st.sampled_from([None, "lost_after", "lost_before", "server_error", "throttle", "gateway_before"]),
    max_size=9,
)


@settings(suppress_health_check=list(HealthCheck))
@given(steps, faults, st.sampled_from([BUYER, BROKER]))
def test_what_the_reason_says_is_what_the_next_flush_does(
    done: list[tuple[str, int]], faulty: list[Any], kind: str
) -> None:
    world = World(
        MemoryStore,
        policy={"rate": 2.0, "burst": 2},
        records=Records(missing=frozenset({("address", 4)})),
        faults=FaultPlan.script(fault and InjectedFault(fault) for fault in faulty),
    )
    for step, number in done:
        take(world, kind, step, number)
    reader = reader_of(world)
    jobs = open_jobs(world)
    waits = reader.of_jobs(jobs)
    note(f"{waits}")
    assert {job.id for job in jobs} == waits.keys()  # whatever is open says why
    stopped = why_account_waits(reader.view("acme"))
    before = len(world.simulator.log)
    world.flush()
    sent = written(world, before)
    for job in jobs:
        reason = waits[job.id]
        if stopped or reason.until > world.clock.now():
            assert relation_of(job) not in sent, reason
    if not stopped and any(reason.reason == "turn" for reason in waits.values()):
        changed = any(state_of(world, job) != state_of_record(job) for job in jobs)
        assert changed or len(world.simulator.log) > before


@settings(suppress_health_check=list(HealthCheck))
@given(steps, faults)
def test_when_the_time_that_was_named_has_come_it_waits_no_more_for_the_same(
    done: list[tuple[str, int]], faulty: list[Any]
) -> None:
    script = [fault and InjectedFault(fault) for fault in faulty]
    world = World(MemoryStore, policy={"rate": 2.0, "burst": 2}, faults=FaultPlan.script(script))
    for step, number in done:
        take(world, BUYER, step, number)
    reader = reader_of(world)
    for job in open_jobs(world):
        first = reader.of_job(job)
        assert first is not None
        if not first.until:
            continue
        world.clock.advance(max(0.0, (first.until - world.clock.now()) / SECOND))
        later = reader.of_job(job)
        assert later is None or not 0 < later.until <= world.clock.now(), (first, later)
        assert later != first


def take(world: World, kind: str, step: str, number: int) -> None:
    if step in ("create", "delete"):
        world.accept(change(step, kind, 1, number))
    elif step == "flush":
        world.flush()
    elif step == "wait":
        world.clock.advance(number)
    elif step == "pause":
        until = world.clock.now() + number * SECOND if number else 0
        world.store.pause("acme", Pause("clock" if number else "hand", until=until))
    else:
        world.store.resume("acme")


def open_jobs(world: World) -> list[JobRecord]:
    found = queries_of(world.store).get_jobs([receipt.job for receipt in world.receipts])
    return [job for job in found.values() if job.state in ("queued", "held", "retrying", "verifying")]


def relation_of(job: JobRecord) -> Relation:
    return Relation(job.type, job.parents[0], job.children[0])


def written(world: World, before: int) -> set[Relation]:
    return {
        Relation(act.type, parent, child)
        for entry in world.simulator.log[before:]
        for act in entry.acts
        if act.kind != "get"
        for parent in act.parents
        for child in act.children
    }


def state_of(world: World, job: JobRecord) -> tuple[str, int, int]:
    found = world.store.get_job(job.id)
    assert found is not None
    return state_of_record(found)


def state_of_record(job: JobRecord) -> tuple[str, int, int]:
    return job.state, job.attempts, sum(job.counts.values())
