"""References: records are looked up, in few actions, before changes that name them are carried out (R26)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from ops.simulator import FaultPlan, Records
from tests.support.broken_stores import inspector_of
from tests.support.crashes import crash_everywhere
from tests.support.erasing import erase_record, erasure_of
from tests.support.flow_world import World
from tests.support.references import ESTATE, FIELDS, address, email, seed, wish
from tests.support.store_steps import count_by_state, job_admin_of, metrics_of, queries_of
from worker.contract import Reference
from worker.planner.actions import Action, ActionResult, ErrorClass, Reply, Search, Verdict
from worker.ports.erasure import ERASED, ErasedPiece, RecordRef
from worker.ports.job_admin import CANCELLED
from worker.ports.records import AuditEntry
from worker.ports.requests import Api
from worker.testing import MemoryStore


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    made = make_world()
    seed(made, FIELDS)
    return made


def test_records_are_found_by_what_the_crm_knows_of_them_and_linked(world: World) -> None:
    world.accept(
        wish(email("anna.berg@example.test")),
        wish(address(KdNr="815"), email("anna@example.test"), 9005),
        wish(address(KdNr="00815"), estate=502),
    )
    world.drain()
    assert world.linked() == {(501, 9001), (501, 9002), (501, 9005), (502, 9001)}
    assert [world.job(number).state for number in range(3)] == ["succeeded"] * 3
    found = world.job(1)
    assert (found.parents, set(found.children), found.total) == ((501,), {9001, 9002, 9005}, 3)
    assert {(each.reference, each.record) for each in found.references} == {
        (ESTATE, 501),
        (address(KdNr="815"), 9002),
        (email("anna@example.test"), 9001),
    }
    assert all(each.asked_at for each in found.references)


def test_two_references_to_one_record_are_one_relation(world: World) -> None:
    world.accept(wish(email("anna@example.test"), address(KdNr="00815"), 9001))
    world.drain()
    assert (world.job().state, world.job().total, world.job().counts["applied"]) == ("succeeded", 1, 1)


@pytest.mark.parametrize(
    "person",
    [
        email("nobody@example.test"),
        email("office@example.test"),  # two have it
        address(KdNr="0815"),
        address(email="anna@example.test", KdNr="815"),  # of two different people
        address(phone="0221 123"),
    ],
    ids=str,
)
def test_who_is_not_found_or_not_unique_is_never_linked_to_anybody(world: World, person: Reference) -> None:
    world.accept(wish(person))
    for _ in range(30):
        world.flush()
        world.clock.advance(3600.0)
    assert world.linked() == set()
    assert world.job().state == "parked"


def test_a_change_that_lacks_a_record_is_parked_and_says_what_it_lacks(world: World) -> None:
    world.accept(wish(email("office@example.test")), wish(address(KdNr="0815")))
    world.flush()
    several, none = world.job(0), world.job(1)
    assert several.parked
    assert none.parked
    assert several.parked.message == "there are several for the address by email: 9003, 9004"
    assert none.parked.message.startswith("no address by KdNr is found")
    assert [each.candidates for each in several.references] == [(), (9003, 9004)]
    assert several.references[0].record == 501
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_a_parked_change_is_released_once_somebody_has_created_the_record(world: World) -> None:
    world.accept(wish(email("new@example.test"), at=-100.0))
    world.flush()
    seed(world, {"address": {9010: {"email": ["New@example.test"]}}})
    world.drain()
    assert world.linked() == {(501, 9010)}
    assert world.job().parked is None
    assert inspector_of(world.store).inspect("acme").flaws == ()


def test_it_is_looked_up_with_growing_delay_and_fails_at_last_and_can_be_replayed(world: World) -> None:
    world.policy = {"park_for": 86_400.0}
    world.accept(wish(email("new@example.test")))
    world.drain()
    failed = world.job()
    assert failed.refusal
    assert (failed.state, failed.refusal[1]) == ("failed", "not_found")
    assert failed.id in world.store.failed_jobs("acme", limit=10)
    assert inspector_of(world.store).inspect("acme").flaws == ()
    assert sum(kind == "read" for kind in world.sent()) < 45
    seed(world, {"address": {9010: {"email": "new@example.test"}}})
    assert world.store.requeue("acme", [failed.id])[0] == [failed.id]
    world.drain()
    assert (world.job().state, world.linked()) == ("succeeded", {(501, 9010)})


def test_the_order_of_what_happened_holds_for_what_was_parked(world: World) -> None:
    world.accept(wish(email("new@example.test"), at=-90.0))
    world.flush()
    world.accept(wish(9010, estate=501, action="delete", at=-80.0))
    world.flush()
    seed(world, {"address": {9010: {"email": "new@example.test"}}})
    world.drain()
    assert world.linked() == set()
    assert world.job().counts == {"applied": 0, "superseded": 0, "stale": 1, "failed": 0}


def test_a_burst_asks_for_each_reference_once_and_in_full_actions(make_world: Callable[..., World]) -> None:
    world = make_world()
    estates, people = range(50), range(1200)
    seed(
        world,
        {
            "estate": {1000 + n: {"objektnr_extern": f"PC{n}"} for n in estates},
            "address": {5000 + n: {"email": f"p{n}@example.test"} for n in people},
        },
    )
    world.accept(
        *(
            wish(
                email(f"p{n % 1200}@example.test"),
                estate=Reference("estate", (("objektnr_extern", f"PC{n % 50}"),)),
            )
            for n in range(2400)
        )
    )
    world.drain()
    assert world.linked() == {(1000 + n % 50, 5000 + n) for n in people}
    assert sum(kind == "read" for kind in world.sent()) == 1 + 3


def test_what_a_reference_led_to_is_remembered_until_the_api_knows_it_no_more(world: World) -> None:
    world.accept(wish(email("anna@example.test")))
    world.drain()
    reads = world.sent().count("read")
    world.accept(wish(email("anna@example.test"), action="delete"))
    world.drain()
    assert world.sent().count("read") == reads
    world.clock.advance(2 * 3600.0)
    world.accept(wish(email("anna@example.test")))
    world.drain()
    assert world.sent().count("read") > reads


def test_phone_numbers_are_compared_as_numbers(world: World) -> None:
    world.accept(
        wish(address(phone="+49 (221) 99 88 77 66")), wish(address(phone="0221 99887766"), estate=502)
    )
    world.drain()
    assert world.linked() == {(501, 9004), (502, 9004)}


@pytest.mark.parametrize("fault", ["lost_before", "gateway_after", "throttle", "server_error"])
def test_a_look_up_without_an_answer_is_repeated(world: World, fault: Any) -> None:
    world.simulator.inject(FaultPlan.script([fault, fault]))
    world.accept(wish(email("anna@example.test")))
    world.drain()
    assert world.linked() == {(501, 9001)}


def test_a_crash_at_any_step_changes_no_end() -> None:
    def make() -> World:
        world = World(MemoryStore, policy={"park_for": 60.0})
        seed(world, FIELDS)
        return world

    def run(world: World) -> None:
        world.accept(
            wish(email("anna@example.test"), address(KdNr="815"), at=-99.0, event_id="a"),
            wish(email("bernd@example.test"), action="delete", at=-98.0, event_id="b"),
            wish(email("office@example.test"), at=-97.0, event_id="c"),
            wish(9005, estate=501, at=-96.0, event_id="d"),
        )
        world.drain()

    for at, world in crash_everywhere(make, run):
        assert world.linked() == {(501, 9001), (501, 9005)}, at
        states = {job.event_id: job.state for job in world.jobs()}
        assert states == {"a": "succeeded", "b": "succeeded", "c": "failed", "d": "succeeded"}, at
        assert inspector_of(world.store).inspect("acme").flaws == ()


class Choking:
    """An API that answers no request in which one value is searched for."""

    def __init__(self, api: Api, value: str) -> None:
        self._api, self._value = api, value

    def send(self, actions: Sequence[Action | Search], *, request_id: str, now: float) -> Reply:
        if any(isinstance(each, Search) and self._value in each.values for each in actions):
            return Reply((ActionResult(Verdict.UNKNOWN),) * len(actions), status=502)
        return self._api.send(actions, request_id=request_id, now=now)


def test_one_reference_that_makes_searches_fail_hurts_only_itself(world: World) -> None:
    people = [email(f"p{number}@example.test") for number in range(200)]
    seed(world, {"address": {5000 + n: {"email": f"p{n}@example.test"} for n in range(200)}})
    world.apis["acme"] = Choking(world.apis["acme"], "p7@example.test")
    world.accept(*map(wish, people))
    began = world.clock.now()
    while len(world.linked()) < 199:
        world.clock.advance(max(world.flush().next_in or 0.0, 0.01))
    assert world.clock.now() - began < 600e6
    assert world.job(7).state == "parked"
    assert world.job(7).parked.failures > 2
    world.policy = {"park_for": 3600.0}
    world.drain()
    assert world.job(7).refusal
    assert world.job(7).refusal[1] == "unknown"


@pytest.mark.parametrize("is_parked", [False, True])
def test_a_change_that_waits_for_a_record_is_cancelled_like_any_other(world: World, is_parked: bool) -> None:
    world.accept(wish(email("new@example.test")), wish(9005, estate=501))
    if is_parked:
        world.flush()
    entry = AuditEntry(world.new_id(), "ada", "cancelled", "ids", "")
    result = job_admin_of(world.store).cancel("acme", [world.job().id], entry)
    assert result.done == (world.job().id,)
    assert (world.job().state, world.job().by) == ("superseded", CANCELLED)
    assert inspector_of(world.store).inspect("acme").flaws == ()
    world.drain()
    assert world.linked() == {(501, 9005)}
    assert count_by_state(metrics_of(world.store), "acme")["parked"] == 0


@pytest.mark.parametrize("is_looked_up", [False, True])
def test_an_erased_record_stands_in_no_reference_candidate_or_memory(
    world: World, is_looked_up: bool
) -> None:
    world.accept(
        wish(email("anna@example.test"), at=-99.0),
        wish(email("office@example.test"), at=-98.0),
        wish(9003, estate=Reference("estate", (("objektnr_extern", "none"),)), at=-97.0),
        wish(email("new@example.test"), 9004, at=-96.0),
    )
    if is_looked_up:
        world.flush()
        world.flush()
    job_admin, who = job_admin_of(world.store), (RecordRef("address", 9001), RecordRef("address", 9003))
    for each in who:
        lease = world.store.lease("acme", world.new_id())
        assert lease
        with_cursor(lambda after, each=each, lease=lease: job_admin.erase_jobs(lease, each, after))
        with_cursor(lambda cursor, each=each, lease=lease: job_admin.erase_rest(lease, each, cursor))
        lease.release()
    assert inspector_of(world.store).inspect("acme").flaws == ()
    assert (world.job(2).state, world.job(2).by) == ("superseded", ERASED)
    states = {each: world.job(each).state for each in (1, 3)}
    assert set(states.values()) == {"parked" if is_looked_up else "queued"}
    if is_looked_up:
        assert world.job(0).references == ()
        assert [each.candidates for each in world.job(1).references] == [(), (9004,)]
        parked = world.job(1).parked
        assert parked
        assert (parked.look_ups, parked.message) == (1, "")  # it named both
        lease = world.store.lease("acme", world.new_id())
        assert lease
        assert lease.known_records([email("anna@example.test"), ESTATE], memory=3600.0) == {ESTATE: 501}


def test_why_a_look_up_failed_names_no_erased_record(world: World) -> None:
    world.policy = {"park_for": 86_400.0}
    world.accept(wish(email("office@example.test")))
    world.drain()
    before = world.job().refusal
    assert before
    assert "9003, 9004" in before[2]
    assert erase_record(erasure_of(world), "acme", "address", 9003, by="ada")["jobs"] == 1
    assert world.job().refusal == (*before[:2], "", *before[3:])


def with_cursor(erase: Callable[[int], ErasedPiece]) -> None:
    cursor = erase(0).next
    while cursor:
        cursor = erase(cursor).next


def test_a_record_that_the_api_knows_no_more_is_looked_up_anew(world: World) -> None:
    world.accept(wish(email("anna@example.test")))
    world.drain()
    world.simulator.seed("token-acme", {}, records=Records(missing=frozenset({("address", 9001)})))
    seed(world, {"address": {9001: None, 9011: {"email": "anna@example.test"}}})
    world.accept(wish(email("anna@example.test"), estate=502))
    world.drain()
    assert world.job(1).state == "failed"  # it was remembered, and is not there
    world.accept(wish(email("anna@example.test"), estate=502))
    world.drain()
    assert (502, 9011) in world.linked()


class Firewall:
    """An API behind a firewall that refuses a request in which a text is looked for; "" is in all of them."""

    def __init__(self, api: Api, text: str) -> None:
        self._api, self._text = api, text

    def send(self, actions: Sequence[Action | Search], **how: Any) -> Reply:
        if not self._text or any(
            self._text in str(each.values) for each in actions if isinstance(each, Search)
        ):
            refused = ActionResult(Verdict.REJECTED, error=ErrorClass.CREDENTIALS, message="HTTP 403")
            return Reply((refused,) * len(actions), 403)
        return self._api.send(actions, **how)


def test_a_text_that_a_firewall_takes_for_an_attack_is_looked_up_alone_and_pauses_nobody(
    world: World,
) -> None:
    attack = email("x'/**/or/**/1=1@example.test")
    world.policy = {"park_for": 3600.0}
    world.apis["acme"] = Firewall(world.apis["acme"], "1=1")
    world.accept(wish(attack), wish(email("anna@example.test")), wish(9005, estate=502))
    world.drain()
    assert world.store.get_pause("acme") is None
    assert world.linked() == {(501, 9001), (502, 9005)}
    assert [job.state for job in world.jobs()] == ["failed", "succeeded", "succeeded"]
    assert world.job().refusal[1] == "unknown"
    sent = queries_of(world.store).list_requests("acme", limit=200).entries
    assert {each.kind for each in sent} == {"look_up", "probe", "changes"}


def test_what_a_firewall_takes_for_an_attack_neither_slows_the_account_nor_goes_beyond_its_pace(
    world: World,
) -> None:
    world.policy = {"park_for": 60.0, "rate": 0.5, "burst": 1}
    world.apis["acme"] = Firewall(world.apis["acme"], "1=1")
    world.accept(wish(email("1=1@example.test")))
    for _ in range(40):
        world.flush()
        assert (world.limiter.state("acme")["factor"], world.limiter.state("acme")["failures"]) == (1.0, 0)
        world.clock.advance(1.0)
    sent = sorted(each.at for each in queries_of(world.store).list_requests("acme", limit=200).entries)
    assert len(sent) > 4
    assert min(after - before for before, after in pairwise(sent)) >= 2_000_000


def test_an_account_that_is_too_slow_for_a_probe_is_paused_by_the_one_of_its_breaker(world: World) -> None:
    world.policy = {"rate": 1 / 60, "burst": 1}
    world.apis["acme"] = Firewall(world.apis["acme"], "")
    world.accept(wish(email("anna@example.test")))
    for _ in range(60):
        world.flush()
        world.clock.advance(60.0)
    pause = world.store.get_pause("acme")
    assert pause
    assert pause.reason == "credentials"


def test_an_account_that_is_kept_out_by_a_firewall_is_paused_by_its_look_ups_too(world: World) -> None:
    world.apis["acme"] = Firewall(world.apis["acme"], "")
    world.accept(wish(email("anna@example.test")))
    world.flush()
    pause = world.store.get_pause("acme")
    assert pause
    assert (pause.reason, pause.detail) == ("credentials", "0: HTTP 403")
    assert world.job().state == "parked"
