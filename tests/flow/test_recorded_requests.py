"""Every request to the API is listed once, whatever it was for and whatever failed; no value is in it."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from ops.simulator import FaultPlan, Records
from tests.support.crashes import CrashPoint, crash_points, run_with_crash
from tests.support.erasing import erase_record, erasure_of
from tests.support.flow_world import World
from tests.support.references import FIELDS, address, email, seed, wish
from tests.support.store_steps import queries_of, run_scripts_twice
from worker.errors import StoreUnavailable, Unavailable
from worker.planner.actions import Action, Reply, Search
from worker.planner.plan import Limits
from worker.ports.drift import DriftFilter
from worker.ports.requests import UNSETTLED, Api, RequestRecord
from worker.store.redis_store import RedisStore
from worker.testing import MemoryStore
from worker.usecases.drift import DriftReader

Make = Callable[..., World]
VALUES = (b"anna@example.test", b"nobody@example.test", b"PC910", b'"815"')


class Noting:
    """An API that notes what it was asked and what it answered, by the request's id."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.asked: dict[str, Sequence[Action | Search]] = {}
        self.replies: dict[str, Reply] = {}

    def send(self, actions: Sequence[Action | Search], *, request_id: str, now: float) -> Reply:
        assert request_id not in self.asked
        self.asked[request_id] = actions
        self.replies[request_id] = reply = self._api.send(actions, request_id=request_id, now=now)
        return reply


def prepare(make_world: Make, *faults: str | None) -> tuple[World, Noting]:
    world = make_world(
        policy={"park_for": 60.0, "limits": Limits(max_ids=4, max_actions=2)},
        records=Records(missing=frozenset({("address", 9404)})),
        faults=FaultPlan.script(faults),
    )
    seed(world, FIELDS)
    world.apis["acme"] = noting = Noting(world.apis["acme"])
    return world, noting


def work(world: World) -> None:
    """Look up, find nobody, write, be refused, replace, and read back what was confirmed."""
    world.accept(
        wish(email("anna@example.test"), address(KdNr="815"), event_id="a", at=-9.0, correlation="call-1"),
        wish(email("nobody@example.test"), event_id="b", at=-8.0, correlation="call-2"),
        wish(9404, estate=502, event_id="c", at=-7.0),
        wish(9002, 9003, estate=503, event_id="d", at=-6.0, action="replace", replaces="child"),
    )
    world.drain()
    deps = world.flush_deps("acme")
    reader = DriftReader(world.policy_of("acme"), deps, queries_of(world.store), lambda *_: None)
    while (page := reader.read(DriftFilter())).waits:
        world.clock.advance(page.rest)


def records_of(world: World) -> list[RequestRecord]:
    return list(queries_of(world.store).list_requests("acme", limit=10_000).entries)


FAULTS = [
    (),
    ("lost_before", None, "gateway_after", None, "throttle", None, "lost_after"),
    (None, "server_error", "server_error_after", None, "garbled", "missing_result"),
    ("throttle",) * 8,
]


@pytest.mark.parametrize("faults", FAULTS, ids=["calm", "losses", "broken answers", "an outage"])
def test_every_request_is_listed_once_with_what_it_asked_and_what_came_of_it(
    make_world: Make, faults: tuple[str | None, ...]
) -> None:
    world, noting = prepare(make_world, *faults)
    work(world)
    records = records_of(world)
    assert Counter(record.id for record in records) == Counter(list(noting.asked))
    assert len(records) == len(world.simulator.log) == world.store.counts("acme")["requests"]
    assert sum(len(each.answers) for each in records) == world.store.counts("acme")["actions"]
    assert {"changes", "look_up", "replace", "drift"} <= {record.kind for record in records}
    for record in records:
        asked, reply = noting.asked[record.id], noting.replies[record.id]
        assert (record.status, record.seconds, record.message) == (reply.status, reply.seconds, reply.message)
        assert record.answers == tuple((each.verdict, each.code, each.message) for each in reply.results)
        assert record.actions == tuple(each for each in asked if isinstance(each, Action))
        searches = [each for each in asked if isinstance(each, Search)]
        assert [(each.field, each.values) for each in record.searches] == [
            (each.field, len(each.values)) for each in searches
        ]
        assert bool(searches) == (record.kind == "look_up")


def test_each_is_told_by_one_log_event_and_counted_once(make_world: Make) -> None:
    world, noting = prepare(make_world, "throttle", None, "lost_after")
    work(world)
    told = [fields for event, fields in world.events if event == "request.done"]
    assert Counter(fields["request"] for fields in told) == Counter(list(noting.asked))
    kinds = {record.id: record.kind for record in records_of(world)}
    assert {fields["request"]: fields["kind"] for fields in told} == kinds
    assert all(bool(fields["flush"]) == (fields["kind"] != "drift") for fields in told)


def test_a_look_up_names_the_calls_behind_the_changes_that_wait_for_it(make_world: Make) -> None:
    world, _ = prepare(make_world)
    world.policy = {"limits": Limits(max_ids=4, max_actions=1)}
    world.accept(
        wish(email("anna@example.test"), estate=501, correlation="call-1"),
        wish(address(KdNr="815"), estate=501, correlation="call-2"),
        wish(9002, estate=503, action="replace", replaces="child", correlation="call-3"),
    )
    world.drain()
    calls = {
        (record.kind, *(search.field for search in record.searches)): record.correlations
        for record in records_of(world)
    }
    assert calls["look_up", "email"] == ("call-1",)
    assert calls["look_up", "KdNr"] == ("call-2",)
    assert calls["replace",] == ("call-3",)


def test_no_value_that_was_searched_for_is_kept_and_a_record_that_was_read_is_erased(
    make_world: Make,
) -> None:
    world, _ = prepare(make_world)
    work(world)
    world.accept(wish(9001, estate=504, action="replace", replaces="parent", at=-5.0))
    world.drain()
    replaces = [each for each in records_of(world) if each.kind == "replace"]
    assert [action.children for each in replaces for action in each.actions if action.children] == [(9001,)]
    assert isinstance(world.store, RedisStore)
    database = world.store.database
    kept = [database.redis.get(database.key("acme", f"request:{each.id}")) for each in records_of(world)]
    assert not [value for value in VALUES for text in kept if value in text]
    erase_record(erasure_of(world), "acme", "address", 9001, by="ada")
    assert not [each for each in records_of(world) if "9001" in str(each.actions)]


# --- crashes and lost answers


@pytest.mark.parametrize("faults", FAULTS[:2], ids=["calm", "losses"])
def test_a_crash_at_any_step_lists_nothing_twice_and_loses_reads_of_the_flush_that_died_only(
    faults: tuple[str | None, ...],
) -> None:
    counted = CrashPoint()
    world, _ = prepare(partial(World, MemoryStore), *faults)
    run_with_crash(world, counted, partial(work, world))
    unsettled = 0
    for point in crash_points(counted.calls):
        world, noting = prepare(partial(World, MemoryStore), *faults)
        run_with_crash(world, point, partial(work, world))
        records = {record.id: record for record in records_of(world)}
        assert len(records) == len(records_of(world))
        lost, added = noting.asked.keys() - records.keys(), records.keys() - noting.asked.keys()
        assert all(is_read(noting.asked[each]) for each in lost), point.at
        assert all(records[each].message == UNSETTLED for each in added), point.at
        assert len(lost) + len(added) <= 4, point.at
        unsettled += sum(record.message == UNSETTLED for record in records.values())
    assert unsettled > 3


def is_read(asked: Sequence[Action | Search]) -> bool:
    return all(each.kind in ("get", "read") for each in asked)


def test_a_step_that_is_repeated_lists_its_requests_once(make_world: Make) -> None:
    world, noting = prepare(make_world)
    assert isinstance(world.store, RedisStore)
    run_scripts_twice(world.store)
    work(world)
    assert Counter(record.id for record in records_of(world)) == Counter(list(noting.asked))


@pytest.mark.parametrize("is_carried_out", [False, True])
def test_reads_are_listed_once_when_the_answer_of_the_step_that_lists_them_is_lost(
    make_world: Make, is_carried_out: bool
) -> None:
    world, noting = prepare(make_world)
    assert isinstance(world.store, RedisStore)
    scripts = world.store.database.scripts
    commit = scripts["commit"]

    def lose_answer(**arguments: Any) -> Any:
        if noting.asked:
            scripts["commit"] = commit
            if is_carried_out:
                commit(**arguments)
            raise StoreUnavailable("gone")
        return commit(**arguments)

    scripts["commit"] = lose_answer
    world.accept(wish(email("anna@example.test")))
    with pytest.raises(Unavailable):
        world.flush()
    assert [record.id for record in records_of(world)] == list(noting.asked)
    world.drain()
    assert Counter(record.id for record in records_of(world)) == Counter(list(noting.asked))


def test_listing_look_ups_costs_no_step() -> None:
    def count(max_actions: int) -> tuple[int, int]:
        """Return how many look-ups a flush sends, and how many steps it writes."""
        world, noting = prepare(partial(World, MemoryStore))
        world.policy = {"limits": Limits(max_ids=4, max_actions=max_actions)}
        world.accept(wish(email("anna@example.test"), address(KdNr="815")))
        steps, scripts = CrashPoint(), world.store.database.scripts
        scripts |= {name: partial(steps.call, script) for name, script in scripts.items()}
        world.flush()
        return [each.kind for asked in noting.asked.values() for each in asked[:1]].count("read"), steps.calls

    assert (count(1)[0], count(3)[0]) == (3, 1)
    assert count(1)[1] == count(3)[1]
