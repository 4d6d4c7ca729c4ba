"""Whatever is asked for, and wherever the process stops, intake and flush included: the end is that of the undisturbed run."""

from collections.abc import Callable
from itertools import product
from typing import Any

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.simulator import FaultPlan, Records
from tests.support.crashes import Fuse, forget, live
from tests.support.flow_world import INFO, World, change
from worker.contract import Change, Relation
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
ActionResult = tuple[str, Relation, str]


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    """One to four changes over few relations, in any order of `occurred_at`, one of them perhaps said twice."""
    moments = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    made = [draw(one(f"e{at}", -moment)) for at, moment in enumerate(moments)]
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


def play(make: Make, asked: list[Change], between: list[bool], batch: int, lost: bool, fuse: Fuse) -> World:
    missing = Records(missing=frozenset({("address", MISSING), ("estate", MISSING)}))
    here = World(
        make,
        lane={"max_batch": batch},
        records=missing,
        faults=FaultPlan.script(["lost_after"] if lost else []),
    )

    def day() -> None:
        for each, flush in zip(asked, between, strict=True):
            here.accept(each)
            if flush:
                here.flush()
        here.drain()

    return live(here, fuse, day)


def outcomes(here: World) -> set[ActionResult]:
    """The one outcome of each job on each of its relations."""
    jobs = {receipt.job: here.store.get_job(receipt.job) for receipt in here.receipts}
    assert all(job.state in ("succeeded", "superseded", "failed") for job in jobs.values())
    assert all(sum(job.counts.values()) == job.total for job in jobs.values())
    relations = {
        Relation(job.type, parent, child)
        for job in jobs.values()
        for parent in job.parents
        for child in job.children
    }
    return {
        (jobs[said.job].event_id, each, said.result)
        for each in relations
        for said in here.store.relation_history("acme", each)[1]
    }


def decided(asked: list[Change], found: set[ActionResult]) -> set[ActionResult]:
    """The outcomes of the newest wish of each relation: those it overtakes may have been sent before, when batches were cut otherwise."""
    newest: dict[Relation, str] = {}
    for each in sorted(
        {each.event_id: each for each in asked}.values(), key=lambda each: each.occurred_at or 0
    ):
        newest |= dict.fromkeys(each.relations, each.event_id)
    return {outcome for outcome in found if newest[outcome[1]] == outcome[0]}


def stop_everywhere(make: Make, asked: list[Change], between: list[bool], batch: int, lost: bool) -> None:
    fuse = Fuse()
    undisturbed = play(make, asked, between, batch, lost, fuse)
    state, found = undisturbed.relations(), outcomes(undisturbed)
    for at, after in product(range(fuse.calls), (False, True)):
        forget(undisturbed.store)
        here = play(make, asked, between, batch, lost, Fuse(at, after=after))
        assert (at, after, here.relations()) == (at, after, state)
        again = outcomes(here)
        assert {each[:2] for each in again} == {each[:2] for each in found}
        assert (at, after, decided(asked, again)) == (at, after, decided(asked, found))


days = given(
    asked=changes(),
    between=st.lists(st.booleans(), min_size=5, max_size=5),
    batch=st.sampled_from((1, 2, 1000)),
    lost=st.booleans(),
)


@days
@settings(max_examples=settings.default.max_examples // 5)
def test_a_stop_at_any_step_changes_neither_the_end_state_nor_what_decides_it(
    asked: list[Change], between: list[bool], batch: int, lost: bool
) -> None:
    stop_everywhere(MemoryStore, asked, between[: len(asked)], batch, lost)


@days
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neither_does_it_on_redis(
    redis_client: redis.Redis, asked: list[Change], between: list[bool], batch: int, lost: bool
) -> None:
    redis_client.flushall()
    stop_everywhere(
        lambda now: RedisStore(redis_client, "test", now=now), asked, between[: len(asked)], batch, lost
    )
