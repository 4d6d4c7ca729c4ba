"""Whatever is asked for, and wherever intake or flush crash: the end is that of the undisturbed run.

All but one thing: of several writes that the guard allows only one of, the first to be tried goes, and which
that is depends on when each was tried.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.simulator import FaultPlan, Records
from tests.support.crashes import CrashPoint, crash_points, delete_keys, run_with_crash
from tests.support.flow_world import INFO, World, change
from worker.contract import TYPES, Change, Relation, guarded_side
from worker.planner.guard import guard_key
from worker.planner.plan import Limits
from worker.store.redis_store import RedisStore
from worker.testing import MemoryStore

BROKER, UNIT, APPOINTMENT, BUYER = (
    "estate:address:contactPerson",
    "estate:estateUnit",
    "calendar:address",
    "estate:address:buyer",
)
MISSING = 903
Make = Callable[[Callable[[], int]], Any]
Outcome = tuple[str, Relation, str]


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    """One to four changes over few relations, in any order of time, one of them perhaps sent twice."""
    times = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    made = [draw(one(f"e{at}", -seconds)) for at, seconds in enumerate(times)]
    return [*made, *draw(st.lists(st.sampled_from(made), max_size=1))]


@st.composite
def one(draw: st.DrawFn, event_id: str, at: float) -> Change:
    name = draw(st.sampled_from((BROKER, UNIT, APPOINTMENT, BUYER)))
    action = draw(
        st.sampled_from(("create", "delete", "modify") if name == APPOINTMENT else ("create", "delete"))
    )
    value = st.sampled_from(("gesendet", "gecancelt")).map(lambda value: ((INFO, value),))
    info = {
        "modify": value,
        "create": st.one_of(st.just(()), value) if name == APPOINTMENT else st.just(()),
    }.get(action, st.just(()))
    children = draw(st.lists(st.sampled_from((901, 902, MISSING)), min_size=1, max_size=2, unique=True))
    return change(
        action, name, draw(st.sampled_from((501, 502))), *children, at=at, info=draw(info), event_id=event_id
    )


def play(
    make: Make, submitted: list[Change], between: list[bool], batch: int, lost: bool, point: CrashPoint
) -> World:
    missing = Records(missing=frozenset({("address", MISSING), ("estate", MISSING)}))
    world = World(
        make,
        policy={"max_batch": batch, "in_flight": 3, "limits": Limits(max_ids=100, max_actions=2)},
        records=missing,
        faults=FaultPlan.script(["lost_after"] if lost else []),
    )

    def run() -> None:
        for wanted, flush in zip(submitted, between, strict=True):
            world.accept(wanted)
            if flush:
                world.flush()
        world.drain()

    return run_with_crash(world, point, run)


def outcomes(world: World) -> set[Outcome]:
    """Return the one outcome of each job on each of its relations."""
    jobs = {receipt.job: world.store.get_job(receipt.job) for receipt in world.receipts}
    assert all(job.state in ("succeeded", "superseded", "failed") for job in jobs.values())
    assert all(sum(job.counts.values()) == job.total for job in jobs.values())
    relations = {
        Relation(job.type, parent, child)
        for job in jobs.values()
        for parent in job.parents
        for child in job.children
    }
    return {
        (jobs[event.job].event_id, relation, event.result)
        for relation in relations
        for event in world.store.relation_history("acme", relation)[1]
    }


def newest_changes(submitted: list[Change]) -> dict[Relation, Change]:
    """Return the newest change of each relation."""
    newest: dict[Relation, Change] = {}
    for wanted in sorted(submitted, key=lambda wanted: wanted.occurred_at or 0):
        newest |= dict.fromkeys(wanted.relations, wanted)
    return newest


def guarded_record(relation: Relation) -> str:
    return guard_key(relation, guarded_side(TYPES[relation.type]))


def contested_records(submitted: list[Change]) -> set[str]:
    """Return the guarded records of which several relations wait for the guard in the end.

    Several buildings claim one unit, or several brokers of an estate are to go.
    """
    waiting = Counter(
        guarded_record(relation)
        for relation, wanted in newest_changes(submitted).items()
        if wanted.action == ("create" if guarded_side(TYPES[relation.type]) == "child" else "delete")
    )
    return {record for record, count in waiting.items() if record and count > 1}


def decided(submitted: list[Change], found: set[Outcome]) -> set[Outcome]:
    """Return the outcomes of the newest intents; older ones may have been sent in earlier batches."""
    newest, contested = newest_changes(submitted), contested_records(submitted)
    return {
        (event, relation, result)
        for event, relation, result in found
        if newest[relation].event_id == event and guarded_record(relation) not in contested
    }


def settled(submitted: list[Change], world: World) -> dict[Relation, dict[str, str]]:
    """Return the relations that the CRM has in the end, without those of contested records."""
    parents = Counter(relation.child for relation in world.relations() if relation.type == UNIT)
    assert all(count == 1 for count in parents.values())
    contested = contested_records(submitted)
    return {
        relation: info
        for relation, info in world.relations().items()
        if guarded_record(relation) not in contested
    }


def crash_everywhere(
    make: Make, submitted: list[Change], between: list[bool], batch: int, lost: bool
) -> None:
    point = CrashPoint()
    undisturbed = play(make, submitted, between, batch, lost, point)
    state, found = settled(submitted, undisturbed), outcomes(undisturbed)
    for crash in crash_points(point.calls):
        delete_keys(undisturbed.store)
        world = play(make, submitted, between, batch, lost, crash)
        assert settled(submitted, world) == state, crash.at
        repeated = outcomes(world)
        assert {outcome[:2] for outcome in repeated} == {outcome[:2] for outcome in found}, crash.at
        assert decided(submitted, repeated) == decided(submitted, found), crash.at


any_changes = given(
    submitted=changes(),
    between=st.lists(st.booleans(), min_size=5, max_size=5),
    batch=st.sampled_from((1, 2, 1000)),
    lost=st.booleans(),
)


@any_changes
@settings(max_examples=settings.default.max_examples // 5)
def test_a_crash_at_any_step_changes_neither_the_end_state_nor_what_decides_it(
    submitted: list[Change], between: list[bool], batch: int, lost: bool
) -> None:
    crash_everywhere(MemoryStore, submitted, between[: len(submitted)], batch, lost)


@any_changes
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neither_does_it_on_redis(
    redis_client: redis.Redis, submitted: list[Change], between: list[bool], batch: int, lost: bool
) -> None:
    redis_client.flushall()
    crash_everywhere(
        lambda now: RedisStore(redis_client, "test", now=now),
        submitted,
        between[: len(submitted)],
        batch,
        lost,
    )
