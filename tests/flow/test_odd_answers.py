"""Answers of any odd form: whatever can be read of them is true, and nothing is made of what cannot be.

The simulator carries out every request; what it answers is bent on its way back, but never so that a refusal
looks like a success.
"""

import random
from typing import Any

import httpx
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.simulator import OF_RELATIONS, Records, Switches
from ops.simulator.inprocess import InProcess
from tests.support.flow_world import World, change, expected_states
from tests.support.httpx_transport import HttpxTransport
from worker.contract import Change, Reference, Relation
from worker.onoffice.client import Client
from worker.planner.plan import Limits
from worker.testing import MemoryStore

BROKER, UNIT, APPOINTMENT = "estate:address:contactPerson", "estate:estateUnit", "calendar:address"
Json = dict[str, Any]
JUNK = (None, [], {}, "", "x", 0, [None], {"0": "x"}, [[]], "0", True, 1e30)
TRANSIENT = (1, 26, 70, 999)


class Bending(httpx.BaseTransport):
    """Bends the answers of a transport while it is on."""

    def __init__(self, inner: httpx.BaseTransport, seed: int) -> None:
        self._inner, self._rng, self.is_on = inner, random.Random(seed), True

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        content = response.read()
        if self.is_on and self._rng.random() < 0.7:
            content = self._bend(content)
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    def end(self, world: World) -> None:
        """Let the world work for a while, and then with plain answers until nothing is open."""
        for _ in range(20):
            world.flush()
            world.clock.advance(20.0)
        self.is_on = False
        world.drain()

    def _bend(self, content: bytes) -> bytes:
        document = msgspec.json.decode(content)
        results = document["response"]["results"]
        bends = self._rng.choice((IN_PLACE, MOVED))
        for _ in range(self._rng.randrange(1, 4)):
            results = self._rng.choice(bends)(self._rng, results)
        document["status"] = self._rng.choice((document["status"], {"code": 500, "errorcode": 97}, None, []))
        as_object = self._rng.random() < 0.1
        document["response"] = {"results": dict(enumerate(results)) if as_object else results}
        encoded = msgspec.json.encode(document)
        return encoded[: self._rng.randrange(len(encoded))] if self._rng.random() < 0.1 else encoded


def _shuffle(rng: random.Random, results: list[Json]) -> list[Json]:
    return rng.sample(results, len(results))


def _drop(rng: random.Random, results: list[Json]) -> list[Json]:
    return [result for result in results if rng.random() < 0.8]


def _repeat(rng: random.Random, results: list[Json]) -> list[Json]:
    return [*results, *rng.sample(results, len(results) // 2)]


def _blank(rng: random.Random, results: list[Json]) -> list[Json]:
    return [result | {"identifier": rng.choice(("", None))} for result in results]


def _spoil(rng: random.Random, results: list[Json]) -> list[Json]:
    """Replace any part of a result by junk, or its code by one that says nothing."""
    spoiled = []
    for result in results:
        part = rng.choice(("data", "status", "code", "identifier", "records", "elements", "ids", "none"))
        spoiled.append(_spoil_part(rng, result, part) if rng.random() < 0.5 else result)
    return spoiled


def _spoil_part(rng: random.Random, result: Json, part: str) -> Json:
    junk, data = rng.choice(JUNK), result.get("data")
    match part:
        case "data" | "status":
            return result | {part: junk if part == "data" or junk != 0 else None}
        case "code":
            return result | {"status": {"errorcode": rng.choice(TRANSIENT), "message": "später"}}
        case "identifier":
            return result | {"identifier": f"other.{rng.randrange(3)}"}
        case "records" if isinstance(data, dict) and result["resourcetype"] == "idsfromrelation":
            # An empty list is what some answers have for nothing related, so only what is none.
            return result | {"data": {"records": junk if junk not in ([], {}) else None}}
        case "elements" | "ids" if isinstance(data, dict) and isinstance(data.get("records"), list):
            return result | {
                "data": {"records": [_spoil_record(rng, each, part) for each in data["records"]]}
            }
    return result


def _spoil_record(rng: random.Random, record: Any, part: str) -> Any:
    if not isinstance(record, dict):
        return record  # it was spoiled before
    elements = record.get("elements")
    if part == "elements" or not isinstance(elements, dict) or not elements:
        return record | {"elements": rng.choice((None, "", 0, "x"))}
    odd = rng.choice(sorted(elements))
    return record | {"elements": {**elements, odd: rng.choice((None, "", "x", ["x"], [[1]], 7))}}


def _retype(rng: random.Random, results: list[Json]) -> list[Json]:
    """Write numbers in other ways, and lists as objects, as PHP does."""

    def write(value: Any) -> Any:
        if isinstance(value, str) and value.isdigit() and rng.random() < 0.5:
            return rng.choice((int(value), float(value)))
        if type(value) is int and rng.random() < 0.3:
            return rng.choice((str(value), float(value)))
        if isinstance(value, list):
            written = [write(each) for each in value]
            return (
                {str(at): each for at, each in enumerate(written)}
                if written and rng.random() < 0.2
                else written
            )
        if isinstance(value, dict):
            return {key: write(each) for key, each in value.items()}
        return value

    return [
        result | {"data": write(result.get("data")), "status": write(result.get("status"))}
        for result in results
    ]


def _garnish(rng: random.Random, results: list[Json]) -> list[Json]:
    """Add results that nobody has asked for."""
    foreign = {"identifier": "elsewhere.0", "data": [], "status": {"errorcode": rng.choice((0, 40, 80, 137))}}
    return rng.sample([*results, foreign], len(results) + 1)


# Without identifiers the place is all that tells results apart, and the API keeps it.
IN_PLACE = (_blank, _spoil, _retype)
MOVED = (_shuffle, _drop, _repeat, _spoil, _retype, _garnish)


def bend_answers(world: World, seed: int) -> Bending:
    transport = Bending(InProcess(world.simulator), seed)
    world.apis["acme"] = Client(
        "https://crm.example.test/api.php",
        "token-acme",
        "secret",
        timeout=30.0,
        transport=HttpxTransport(transport),
    )
    return transport


NAMES = st.sampled_from((BROKER, UNIT, APPOINTMENT))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("create", "create", "delete", "flush", "wait")),
        NAMES,
        st.integers(501, 502),
        st.lists(st.integers(41, 44), min_size=1, max_size=3, unique=True),
    ),
    min_size=1,
    max_size=14,
)


@given(
    STEPS, st.integers(0, 2**32), st.sampled_from(list(Switches.all(OF_RELATIONS))), st.sampled_from((2, 50))
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_odd_answer_breaks_the_guard_or_is_taken_for_an_outcome(
    steps: list[tuple[str, str, int, list[int]]], seed: int, switches: Switches, size: int
) -> None:
    world = World(
        MemoryStore,
        switches=switches,
        records=Records(missing=frozenset({("address", 44)})),
        policy={"limits": Limits(max_ids=size, max_actions=size), "in_flight": 2},
    )
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 41), Relation(UNIT, 501, 41)])
    bending = bend_answers(world, seed)
    submitted = list[Change]()
    for at, (kind, name, parent, children) in enumerate(steps):
        match kind:
            case "flush":
                world.flush()
            case "wait":
                world.clock.advance(100.0)
            case _:
                submitted.append(change(kind, name, parent, *children, at=at - 1000.0))
                world.accept(submitted[-1])
    bending.end(world)
    assert world.store.get_pause("acme") is None
    assert world.simulator.violations("token-acme") == ()
    jobs = world.jobs()
    wanted = expected_states(
        (one, relation)
        for one, job in zip(submitted, jobs, strict=True)
        for relation in one.relations
        if relation not in job.failed
    )
    there = world.relations()
    assert {each: there.get(each) for each in wanted if not wanted[each].allows(there.get(each))} == {}
    errors = {failure.error for job in jobs for failure in job.failures}
    assert errors <= {"last_one", "dependency", "record"}


@given(
    st.sets(st.integers(41, 46)),
    st.sets(st.integers(41, 46), min_size=1),
    st.integers(0, 2**32),
    st.sampled_from(list(Switches.all(OF_RELATIONS))),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_odd_answer_makes_a_replace_forget_or_remove_one(
    before: set[int], named: set[int], seed: int, switches: Switches
) -> None:
    world = World(MemoryStore, switches=switches)
    world.simulator.seed("token-acme", [Relation(BROKER, 501, child) for child in before])
    bending = bend_answers(world, seed)
    asked = change("replace", BROKER, 501, *sorted(named))
    world.accept(msgspec.structs.replace(asked, replaces="child"))
    bending.end(world)
    assert (world.job().state, world.simulator.violations("token-acme")) == ("succeeded", ())
    assert world.linked() == {(501, child) for child in named}


@given(st.lists(st.sampled_from((9001, 9002, 9003)), min_size=1, max_size=4), st.integers(0, 2**32))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_odd_answer_makes_a_reference_lead_elsewhere(people: list[int], seed: int) -> None:
    world = World(MemoryStore)
    fields = {number: {"KdNr": f"815-{number}"} for number in (9001, 9002, 9003)}
    world.simulator.seed("token-acme", {}, fields={"address": fields})
    bending = bend_answers(world, seed)
    for number in people:
        person = Reference("address", (("KdNr", f"815-{number}"),))
        wish = change("create", "estate:address:buyer", 501, 1)
        world.accept(msgspec.structs.replace(wish, children=(), child_references=(person,)))
    bending.end(world)
    assert world.linked() == {(501, number) for number in people}
    assert {job.state for job in world.jobs()} == {"succeeded"}
