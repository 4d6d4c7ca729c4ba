"""Drift: what was confirmed is read back, below all other work; what the CRM shows otherwise is reported."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from ops.explain.replay import describe_replay
from ops.simulator import FaultPlan, InjectedFault, Switches
from tests.support.crashes import Crashed, crash_everywhere
from tests.support.flow_world import INFO, World, change
from tests.support.replaying import replays_of, run_replay
from tests.support.store_steps import job_admin_of, queries_of
from worker.contract import Relation, from_message
from worker.errors import Invalid, InvalidChange, Unavailable
from worker.planner.actions import Action, ActionResult, ErrorClass, Reply, Verdict
from worker.planner.plan import Limits
from worker.ports.drift import DriftedRelation, DriftFilter, DriftPage
from worker.ports.erasure import RecordRef
from worker.ports.pace import Pause
from worker.ports.records import JobFilter
from worker.ports.requests import Api
from worker.ports.work import LEASE_LIFETIME
from worker.store.redis_store import RedisStore
from worker.testing import MemoryStore
from worker.usecases.drift import DriftReader

BUYER, TENANT, BROKER = "estate:address:buyer", "estate:address:tenant", "estate:address:contactPerson"
MEETING, FEEDBACK = "calendar:address", "statusTerminrueckmeldung"
EVERYTHING = DriftFilter()


def read_page(world: World, wanted: DriftFilter = EVERYTHING, cursor: str = "", sample: int = 0) -> DriftPage:
    deps = world.flush_deps("acme")
    reader = DriftReader(world.policy_of("acme"), deps, queries_of(world.store), lambda *_: None)
    return reader.read(wanted, cursor=cursor, sample=sample)


def read_pages(world: World, wanted: DriftFilter = EVERYTHING) -> Iterator[DriftPage]:
    """Read page after page, as the command does."""
    cursor = ""
    for _ in range(1000):
        page = read_page(world, wanted, cursor)
        if page.waits:
            world.clock.advance(page.rest)
        else:
            yield page
        cursor = page.next
        if not cursor and not page.waits:
            return
    raise AssertionError("the read comes to no end")


def drifted(world: World, wanted: DriftFilter = EVERYTHING) -> dict[Relation, str]:
    return {each.relation: each.state for page in read_pages(world, wanted) for each in page.drifted}


def edit(world: World, *put: tuple[str, int, int], drop: tuple[tuple[str, int, int], ...] = ()) -> None:
    """Change the CRM behind our back, as people do."""
    world.simulator.seed("token-acme", put, drop=drop)


def link(world: World, parent: int, *children: int, action: str = "create", name: str = BUYER) -> None:
    world.clock.advance(1.0)
    world.accept(change(action, name, parent, *children))
    world.drain()


def find_drifted(world: World) -> list[DriftedRelation]:
    return [found for page in read_pages(world) for found in page.drifted]


def reads_of(world: World) -> int:
    return world.sent().count("get")


def test_what_people_removed_and_what_they_brought_back_is_reported_with_its_job_and_nothing_is_written(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    link(world, 1, 10, 11, 12)
    link(world, 1, 12, action="delete")
    link(world, 2, 20, name=TENANT)
    edit(world, (BUYER, 1, 12), drop=((BUYER, 1, 11),))
    before, jobs = world.relations(), [receipt.job for receipt in world.receipts]
    [first, *more] = [page for page in read_pages(world) if page.seen]
    assert not more
    kept = world.store.get_job(jobs[0]), world.store.get_job(jobs[1])
    assert first.drifted == (
        DriftedRelation(
            Relation(BUYER, 1, 11), "missing", kept[0].occurred_at, jobs[0], first.drifted[0].read_at
        ),
        DriftedRelation(
            Relation(BUYER, 1, 12), "returned", kept[1].occurred_at, jobs[1], first.drifted[0].read_at
        ),
    )
    assert (first.same, first.unknown, first.open, first.seen) == (2, (), 0, 4)
    assert world.relations() == before
    assert world.sent().count("get") == 2  # one for each type, however many relations


def test_many_relations_are_read_in_the_fewest_actions(make_world: Callable[..., World]) -> None:
    world = make_world()
    link(world, 1, *range(100, 600))
    link(world, 2, *range(100, 600))
    before = reads_of(world)
    assert [page.same for page in read_pages(world) if page.seen] == [1000]
    assert reads_of(world) - before == 1  # two estates, whoever is linked with them


@pytest.mark.parametrize("empty_ids", ["absent", "no_records"])
def test_a_record_that_the_answer_leaves_out_proves_nothing_and_is_asked_for_from_the_other_side(
    make_world: Callable[..., World], empty_ids: str
) -> None:
    world = make_world(switches=Switches(empty_ids=empty_ids))
    link(world, 1, 10)
    link(world, 2, 20)
    link(world, 3, 20)
    edit(world, drop=((BUYER, 1, 10), (BUYER, 2, 20)))
    [page] = [page for page in read_pages(world) if page.seen]
    assert [each.relation for each in page.drifted] == [Relation(BUYER, 2, 20)]
    assert page.unknown == (Relation(BUYER, 1, 10),)
    assert page.same == 1


def test_the_other_side_may_know_what_the_first_leaves_out(make_world: Callable[..., World]) -> None:
    world = make_world(switches=Switches(empty_ids="absent"))
    link(world, 1, 10)
    edit(world, (BUYER, 5, 10), drop=((BUYER, 1, 10),))  # estate 1 has nobody, but 10 is a buyer elsewhere
    assert drifted(world) == {Relation(BUYER, 1, 10): "missing"}


def end_lease(world: World) -> None:
    """Let a lease run out, by the world's clock and by the server's own."""
    world.clock.advance(LEASE_LIFETIME + 1.0)
    assert isinstance(world.store, RedisStore)
    world.store.database.redis.delete(f"{world.store.database.prefix}:{{acme}}:holder")


class ActingApi:
    """The simulator's API, with an act between an answer and its arrival, or instead of it."""

    def __init__(self, inner: Api, act: Callable[[Reply, Sequence[Any]], Reply]) -> None:
        self._inner, self._act = inner, act

    def send(self, actions: Sequence[Any], *, request_id: str, now: float) -> Reply:
        return self._act(self._inner.send(actions, request_id=request_id, now=now), actions)


def test_an_answer_proves_nothing_once_somebody_else_has_had_the_lease(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    link(world, 1, 10, 11)
    inner, answers = world.apis["acme"], count()

    def take_over(reply: Reply, _actions: object) -> Reply:
        if not next(answers):
            end_lease(world)  # the reader sleeps, and another works meanwhile
            world.apis["acme"] = inner
            link(world, 1, 11, action="delete")
        return reply

    world.apis["acme"] = ActingApi(inner, take_over)
    page = read_page(world)
    assert (page.drifted, page.same) == ((), 2)


def test_what_a_dead_worker_has_begun_goes_first(make_world: Callable[..., World]) -> None:
    world = make_world()
    link(world, 1, 10)
    inner = world.apis["acme"]

    def die(_reply: Reply, _actions: object) -> Reply:
        raise Crashed

    world.apis["acme"] = ActingApi(inner, die)
    world.accept(change("delete", BUYER, 1, 10))
    with pytest.raises(Crashed):
        world.flush()
    end_lease(world)
    world.apis["acme"] = inner
    assert read_page(world).waits == "other work of the account goes first"
    world.drain()
    assert read_page(world).open == 1  # the write that died may still land
    world.clock.advance(300.0)
    assert read_page(world).same == 1


def test_a_refused_read_hides_only_the_relations_of_its_own_record(make_world: Callable[..., World]) -> None:
    world = make_world()
    for parent in range(1, 30):
        link(world, parent, 200, 201)
    edit(world, drop=((BUYER, 9, 200),))
    refused = ActionResult(Verdict.REJECTED, code=79, error=ErrorClass.RECORD)

    def refuse(reply: Reply, actions: Sequence[Action]) -> Reply:
        results = [
            refused if 7 in action.parents or 200 in action.children else result
            for action, result in zip(actions, reply.results, strict=True)
        ]
        return msgspec.structs.replace(reply, results=tuple(results))

    world.apis["acme"] = ActingApi(world.apis["acme"], refuse)
    page = read_page(world)
    assert [each.relation for each in page.drifted] == [Relation(BUYER, 9, 200)]
    assert page.unknown == (Relation(BUYER, 7, 200),)
    assert page.same == 56


def test_what_is_due_goes_first_and_the_lease_is_free_meanwhile(make_world: Callable[..., World]) -> None:
    world = make_world()
    link(world, 1, 10)
    before = reads_of(world)
    world.accept(change("create", BUYER, 1, 11))
    waiting = read_page(world)
    assert (waiting.waits, waiting.seen) == ("other work of the account goes first", 0)
    assert reads_of(world) == before
    assert world.flush().jobs == 1
    assert read_page(world).seen == 2


def test_what_came_in_during_a_read_wakes_a_worker(make_world: Callable[..., World]) -> None:
    world, woken = make_world(policy={"window": 3.0}), list[tuple[str, float]]()
    link(world, 1, 10)
    world.accept(change("create", BUYER, 1, 11))
    deps = world.flush_deps("acme")
    reader = DriftReader(
        world.policy_of("acme"), deps, queries_of(world.store), lambda *given: woken.append(given)
    )
    assert reader.read(EVERYTHING).same == 1
    assert woken == [("acme", pytest.approx(3.0, abs=0.1))]


def test_relations_that_are_open_or_in_doubt_are_left_alone(make_world: Callable[..., World]) -> None:
    world = make_world(faults=FaultPlan.script([None, InjectedFault("lost_after")]))
    link(world, 1, 10, 11)
    world.accept(change("delete", BUYER, 1, 10))
    world.flush()  # its answer is lost, so it is open and in doubt
    edit(world, drop=((BUYER, 1, 11),))
    page = read_page(world)
    assert (page.open, [each.relation.child for each in page.drifted]) == (1, [11])
    world.drain()
    assert drifted(world) == {Relation(BUYER, 1, 11): "missing"}


def test_nothing_is_read_of_a_paused_account(make_world: Callable[..., World]) -> None:
    world = make_world()
    link(world, 1, 10)
    world.store.pause("acme", Pause("hand", "moving"))
    before = reads_of(world)
    with pytest.raises(Unavailable, match="account acme is paused"):
        read_page(world)
    assert reads_of(world) == before


def test_credentials_or_a_clock_that_the_api_refuses_pause_the_account_as_in_a_flush(
    make_world: Callable[..., World],
) -> None:
    for error in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK):
        world = make_world()
        link(world, 1, *range(10, 40))
        refused = ActionResult(Verdict.REJECTED, code=137, error=error)

        def refuse(reply: Reply, _actions: object, result: ActionResult = refused) -> Reply:
            return msgspec.structs.replace(reply, results=(result,) * len(reply.results))

        world.apis["acme"] = ActingApi(world.apis["acme"], refuse)
        with pytest.raises(Unavailable, match="account acme is paused"):
            read_page(world)
        pause = world.store.get_pause("acme")
        assert pause
        assert pause.reason == error.value
        world.store.resume("acme")


def test_nothing_is_read_of_an_account_that_only_observes(make_world: Callable[..., World]) -> None:
    world = make_world(policy={"observe": True})
    with pytest.raises(Unavailable, match="account acme only observes"):
        read_page(world)


def test_an_api_that_does_not_answer_is_left_to_rest_before_its_breaker_opens(
    make_world: Callable[..., World],
) -> None:
    world = make_world(faults=FaultPlan.script([None, *[InjectedFault("gateway_before")] * 3]))
    link(world, 1, *range(10, 40))
    edit(world, drop=((BUYER, 1, 10),))
    waiting = read_page(world)
    assert (waiting.waits, waiting.rest, waiting.seen) == ("the API does not answer", 30.0, 0)
    assert not [event for event, _ in world.events if event == "breaker.opened"]
    world.clock.advance(30.0)
    assert drifted(world) == {Relation(BUYER, 1, 10): "missing"}


def test_a_relation_of_which_no_read_is_answered_is_not_known(make_world: Callable[..., World]) -> None:
    world = make_world(faults=FaultPlan.script([None, *[InjectedFault("lost_after")] * 3]))
    link(world, 1, 10)
    edit(world, drop=((BUYER, 1, 10),))
    page = read_page(world)
    assert (page.drifted, page.unknown) == ((), (Relation(BUYER, 1, 10),))


@pytest.mark.parametrize("bad", [2, 23, 41])
def test_a_record_that_makes_reads_fail_hides_only_its_own_relations(
    make_world: Callable[..., World], bad: int
) -> None:
    world = make_world()
    for parent in range(2, 42):
        link(world, parent, *range(100 * parent, 100 * parent + 3))
    edit(world, drop=((BUYER, 9, 901), (BUYER, 30, 3000), (BUYER, bad, 100 * bad)))
    world.simulator.inject(FaultPlan.of_records([("estate", bad)], InjectedFault("gateway_before")))
    found, unknown, same = dict[Relation, str](), set[Relation](), 0
    for page in read_pages(world):
        found |= {each.relation: each.state for each in page.drifted}
        unknown |= set(page.unknown)
        same += page.same
    assert found == {Relation(BUYER, 9, 901): "missing", Relation(BUYER, 30, 3000): "missing"}
    assert unknown == {Relation(BUYER, bad, child) for child in range(100 * bad, 100 * bad + 3)}
    assert same == 40 * 3 - 5
    assert not [event for event, _ in world.events if event == "breaker.opened"]


def test_filters_and_samples_choose_what_is_read(make_world: Callable[..., World]) -> None:
    world = make_world()
    link(world, 1, *range(10, 60))
    link(world, 2, 10, name=TENANT)
    later = world.clock.now() + 1
    link(world, 3, 10)
    edit(world, drop=((BUYER, 1, 10), (TENANT, 2, 10), (BUYER, 3, 10)))
    assert set(drifted(world, DriftFilter(type=TENANT))) == {Relation(TENANT, 2, 10)}
    assert set(drifted(world, DriftFilter(parent=1))) == {Relation(BUYER, 1, 10)}
    assert len(drifted(world, DriftFilter(child=10))) == 3
    assert set(drifted(world, DriftFilter(since=later))) == {Relation(BUYER, 3, 10)}
    sampled = read_page(world, DriftFilter(type=BUYER), sample=20)
    assert (sampled.seen, sampled.same + len(sampled.drifted), sampled.next) == (20, 20, "")
    assert read_page(world, sample=2000).seen == 52


def test_both_generations_of_memories_are_read_page_by_page_and_each_relation_once(
    make_world: Callable[..., World],
) -> None:
    world, day = make_world(), 86_400.0
    link(world, 1, 1, 2)
    world.clock.advance(29 * day)
    for first in range(100, 2600, 500):
        link(world, 2, *range(first, first + 500))
    world.clock.advance(2 * day)  # the first ones are forgotten, and a new generation begins
    link(world, 3, 1)
    link(world, 2, 100)
    seen = list[Relation]()
    cursor, queries = "", queries_of(world.store)
    while True:
        page = queries.confirmed_page("acme", cursor, 1000)
        seen += [
            relation
            for relation, record in page.records.items()
            if EVERYTHING.matches(relation, record.confirmed)
        ]
        if not (cursor := page.next):
            break
    expected = {Relation(BUYER, 2, child) for child in range(100, 2600)} | {Relation(BUYER, 3, 1)}
    assert (set(seen), len(seen)) == (expected, len(expected))
    assert set(queries.sample_confirmed("acme", 200).records) <= expected | {
        Relation(BUYER, 1, 1),
        Relation(BUYER, 1, 2),
    }
    with pytest.raises(Invalid, match="cursor: expected the `next` of a page"):
        queries.confirmed_page("acme", "acme-17", 1000)


# --- repairs


def test_a_repair_is_shown_first_and_makes_everything_as_it_was_confirmed(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    link(world, 1, 10, 11, 12)
    link(world, 1, 12, action="delete")
    world.clock.advance(1.0)
    world.accept(change("create", MEETING, 7, 20, info=((INFO, "gesendet"),)))
    world.drain()
    world.clock.advance(1.0)
    world.accept(change("modify", MEETING, 7, 20, info=((FEEDBACK, "aktiv"),)))
    world.drain()
    was = world.relations()
    edit(world, (BUYER, 1, 12), drop=((BUYER, 1, 10), (BUYER, 1, 11), (MEETING, 7, 20)))
    now = world.relations()
    repair = replays_of(world).prepare_repair("acme", find_drifted(world), by="ada")
    assert (repair.repair, repair.relations, repair.refused, repair.what) == (
        True,
        4,
        {},
        "drift of 4 relations",
    )
    assert (repair.plan["creates"], repair.plan["deletes"], repair.plan["modifies"]) == (2, 1, 1)
    assert "1 relation would be deleted that somebody has made since: look at each" in " ".join(
        describe_replay(repair)
    )
    world.drain()
    assert world.relations() == now  # nothing is repaired unasked
    done = run_replay(world, repair)
    assert (done.state, done.back, done.missed) == ("done", repair.eligible, {})
    world.drain()
    assert world.relations() == was
    assert replays_of(world).count_outcomes(done) == {"succeeded": repair.eligible}
    assert find_drifted(world) == []
    log = job_admin_of(world.store).audit_log("acme").entries
    assert [(entry.by, entry.act) for entry in log] == [
        ("ada", "replay done"),
        ("ada", "replay started"),
        ("ada", "replay prepared"),
    ]
    job = queries_of(world.store).find_jobs("acme", JobFilter(source="drift")).entries[0]
    assert job.batch == f"drift-{repair.id.rpartition('-')[2]}"


def test_a_repair_that_died_on_its_way_is_continued_and_sends_each_change_once(
    make_world: Callable[..., World],
) -> None:
    world = make_world()
    link(world, 1, 10)
    edit(world, drop=((BUYER, 1, 10),))
    repair = replays_of(world).prepare_repair("acme", find_drifted(world), by="ada")
    [entry] = job_admin_of(world.store).replay_entries(repair.id, 0, 10)
    world.intake.accept([from_message(message).change for message in entry.changes])  # its worker died here
    before = world.store.counts("acme")["accepted"]
    assert run_replay(world, repair).back == 1
    assert world.store.counts("acme")["accepted"] == before


def test_what_changed_since_it_was_read_is_not_repaired(make_world: Callable[..., World]) -> None:
    world = make_world()
    link(world, 1, 10, 11, 12)
    edit(world, drop=((BUYER, 1, 10), (BUYER, 1, 11), (BUYER, 1, 12)))
    found = find_drifted(world)
    link(world, 1, 10, action="delete")
    world.accept(change("delete", BUYER, 1, 11))
    world.simulator.inject(FaultPlan.script([InjectedFault("lost_before")]))
    world.flush()
    repair = replays_of(world).prepare_repair("acme", found, by="ada")
    assert (repair.relations, repair.refused) == (1, {"superseded": 1, "contradicts": 1})
    old = [msgspec.structs.replace(found[2], read_at=found[2].read_at + 400 * 86_400_000_000)]
    assert replays_of(world).prepare_repair("acme", old, by="ada").refused == {"too old": 1}
    with pytest.raises(InvalidChange, match="expected 1 to 2000 relations, got 0"):
        replays_of(world).prepare_repair("acme", [], by="ada")


def test_a_repair_goes_through_the_delete_brake_and_the_guard_like_every_change() -> None:
    world = World(MemoryStore, policy={"max_deletes_per_hour": 2})
    for child in (10, 11, 12):
        link(world, 1, child, action="delete")
        world.clock.advance(3600.0)
    edit(world, (BUYER, 1, 10), (BUYER, 1, 11), (BUYER, 1, 12))
    run_replay(world, replays_of(world).prepare_repair("acme", find_drifted(world), by="ada"))
    world.flush()
    paused = world.store.get_pause("acme")
    assert paused is not None
    assert paused.reason == "brake"
    assert len(world.relations()) == 3


@given(
    newer=st.sampled_from(["create", "delete"]),
    when=st.sampled_from(["before it is prepared", "before it runs", "with it", "after it"]),
    confirmed=st.sampled_from(["create", "delete"]),
)
def test_no_repair_overrules_a_change_that_is_newer_than_what_was_confirmed(
    newer: str, when: str, confirmed: str
) -> None:
    """It occurred just after what was confirmed, long before the read, and comes at any time."""
    world = World(MemoryStore)
    world.accept(change(confirmed, BUYER, 1, 10, at=0))
    world.drain()
    edit(
        world,
        *([] if confirmed == "create" else [(BUYER, 1, 10)]),
        drop=() if confirmed == "delete" else ((BUYER, 1, 10),),
    )
    world.clock.advance(3600.0)
    found, late = find_drifted(world), change(newer, BUYER, 1, 10, at=0.001)
    if when == "before it is prepared":
        world.accept(late)
        world.drain()
    repair = replays_of(world).prepare_repair("acme", found, by="ada")
    if when == "before it runs":
        world.accept(late)
        world.drain()
    run_replay(world, repair)
    if when == "after it":
        world.drain()
    if when in ("with it", "after it"):
        world.accept(late)
    world.drain()
    assert (Relation(BUYER, 1, 10) in world.relations()) == (newer == "create")


def test_an_erased_record_is_in_no_repair_any_more(make_world: Callable[..., World]) -> None:
    world = make_world()
    link(world, 1, 10)
    edit(world, drop=((BUYER, 1, 10),))
    repair = replays_of(world).prepare_repair("acme", find_drifted(world), by="ada")
    admin = job_admin_of(world.store)
    lease = world.store.lease("acme", "eraser")
    assert lease
    assert admin.erase_jobs(lease, RecordRef("address", 10), 0).counts["replays"] == 1
    assert admin.get_replay(repair.id) is None


Edits = st.lists(
    st.tuples(st.sampled_from([BUYER, TENANT, BROKER]), st.integers(1, 4), st.integers(1, 4), st.booleans()),
    max_size=12,
)


@given(
    asked=st.lists(
        st.tuples(
            st.sampled_from(["create", "delete"]),
            st.sampled_from([BUYER, TENANT, BROKER]),
            st.integers(1, 4),
            st.integers(1, 4),
        ),
        max_size=20,
    ),
    edits=Edits,
    seed=st.integers(0, 9),
    empty_ids=st.sampled_from(["list", "absent", "no_records"]),
    max_actions=st.integers(1, 3),
)
def test_reported_drift_is_the_difference_of_what_was_confirmed_and_the_crm(
    asked: list[tuple[str, str, int, int]],
    edits: list[tuple[str, int, int, bool]],
    seed: int,
    empty_ids: str,
    max_actions: int,
) -> None:
    world = World(MemoryStore, switches=Switches(empty_ids=empty_ids))
    limits = Limits(max_ids=3, max_actions=max_actions)
    world.policy = {"guarded": lambda _name: "", "limits": limits}
    at = count()
    for action, name, parent, child in asked:
        world.accept(change(action, name, parent, child, at=next(at)))
    world.clock.advance(100.0)
    world.drain()
    confirmed = {Relation(name, parent, child): action for action, name, parent, child in asked}
    put = [edit[:3] for edit in edits if edit[3]]
    edit(world, *put, drop=tuple(each[:3] for each in edits if not each[3]))
    faults = [InjectedFault(kind) for kind in ("lost_after", "garbled", "missing_result", "gateway_before")]
    world.simulator.inject(FaultPlan.random(seed, 0.1, faults) if seed else FaultPlan())
    shown, states, unknown, same = set(world.relations()), dict[Relation, str](), set[Relation](), 0
    for page in read_pages(world):
        states |= {each.relation: each.state for each in page.drifted}
        unknown |= set(page.unknown)
        same += page.same
        assert not page.open
    expected = {
        relation: "returned" if relation in shown else "missing"
        for relation, action in confirmed.items()
        if (action == "create") != (relation in shown)
    }
    assert states == {relation: state for relation, state in expected.items() if relation not in unknown}
    assert same + len(states) + len(unknown) == len(confirmed)
    if empty_ids == "list" and not seed:
        assert not unknown


def test_a_read_that_was_killed_is_continued_and_leaves_nothing_behind(redis_client: redis.Redis) -> None:
    def make() -> World:
        redis_client.flushall()
        world = World(lambda now: RedisStore(redis_client, "test", now=now))
        link(world, 1, 10, 11)
        edit(world, drop=((BUYER, 1, 11),))
        return world

    def run(world: World) -> None:
        assert drifted(world) == {Relation(BUYER, 1, 11): "missing"}

    crashes = 0
    for _, world in crash_everywhere(make, run):
        crashes += 1
        assert world.linked() == {(1, 10)}
        link(world, 1, 12)
        assert world.store.counts("acme").get("open", 0) == 0
    assert crashes > 3
