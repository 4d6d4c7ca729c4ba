"""Faults on the way: each shows the client what it says, and executes the request or not as it says."""

from codecs import BOM_UTF8
from contextlib import nullcontext
from dataclasses import replace

import httpx
import pytest

from ops.simulator import KINDS, FaultPlan, InjectedFault, Switches
from tests.support.simulator_calls import (
    BUYER,
    NOW,
    TOKEN,
    Clock,
    codes,
    get,
    links,
    results,
    send,
    simulator,
    star,
)

DROPS = {"lost_after": httpx.RemoteProtocolError, "lost_before": httpx.ReadError, "late": httpx.ReadTimeout}
IDLE = {"lost_before", "late", "gateway_before", "throttle", "server_error", "maintenance", "page"}
CREATE = star("create", BUYER, [1], [2], identifier="a")
OTHER = star("create", BUYER, [3], [4], identifier="b")


def dropped(kind):
    """Expect the error of a fault that drops the connection, and no other error."""
    return pytest.raises(DROPS[kind]) if kind in DROPS else nullcontext()


def struck(fault, *, clock=None, **options):
    """Return a simulator whose next request meets this fault."""
    return simulator(
        faults=FaultPlan.script([fault]), clock=clock or Clock(), sleep=lambda _: None, **options
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_executes_the_request_or_not_as_it_says_and_the_log_agrees(kind):
    sim = struck(kind)
    with dropped(kind):
        send(sim, CREATE)
    executed = kind not in IDLE
    assert links(sim) == ({(BUYER, 1, 2)} if executed else set())
    (entry,) = sim.log
    assert (entry.number, entry.at, entry.token, entry.fault, entry.executed) == (
        0,
        NOW,
        TOKEN,
        kind,
        executed,
    )
    assert [act[:5] for act in entry.acts] == [("create", BUYER, (1,), (2,), 0 if executed else None)]


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_fault_the_next_request_is_well(kind):
    sim = struck(kind)
    with dropped(kind):
        send(sim, CREATE)
    assert codes(sim, OTHER) == [0]


@pytest.mark.parametrize("kind", ["gateway_before", "gateway_after"])
def test_a_gateway_answers_502_in_html(kind):
    response = send(struck(kind), CREATE)
    assert (response.status_code, response.headers["Content-Type"]) == (502, "text/html")


def test_a_throttle_says_when_to_come_back_in_whole_seconds():
    response = send(struck(InjectedFault("throttle", seconds=2.5)), CREATE)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3")


@pytest.mark.parametrize("kind", ["server_error", "server_error_after"])
def test_a_server_error_is_http_200_with_500_inside_and_no_results(kind):
    response = send(struck(kind), CREATE)
    assert response.status_code == 200
    assert response.json() == {
        "status": {"code": 500, "errorcode": 1, "message": "Unknown error occurred"},
        "response": {"results": []},
    }


def test_a_missing_result_is_the_picked_one():
    for pick, left in ((0, ["b"]), (1, ["a"]), (-1, ["a"]), (2, ["b"])):
        answered = results(struck(InjectedFault("missing_result", pick=pick)), CREATE, OTHER)
        assert [result["identifier"] for result in answered] == left


def test_results_come_in_another_order():
    assert [result["identifier"] for result in results(struck("reorder"), CREATE, OTHER)] == ["b", "a"]


def test_identifiers_come_back_blank():
    assert [result["identifier"] for result in results(struck("blank_identifiers"), CREATE, OTHER)] == [
        "",
        "",
    ]


def test_half_a_star_is_linked_and_an_error_answered():
    sim = struck("half_star")
    assert codes(sim, star("create", BUYER, [1], [2, 3, 4]), OTHER) == [78, 0]
    assert links(sim) == {(BUYER, 1, 2), (BUYER, 3, 4)}


def test_garbled_json_breaks_off():
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        send(struck("garbled"), CREATE).json()


def test_maintenance_is_a_page_that_says_when_to_come_back_and_may_come_as_a_success():
    response = send(struck(InjectedFault("maintenance", seconds=60.0)), CREATE)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
    response = send(struck("page"), CREATE)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html")


def test_an_answer_may_have_no_body_or_a_byte_order_mark_before_it():
    assert send(struck("empty"), CREATE).content == b""
    content = send(struck("byte_order_mark"), CREATE).content
    assert content.startswith(BOM_UTF8 + b'{"status"')


def test_odd_reads_succeed_and_have_no_data():
    sim = struck("odd_reads", switches=Switches(error_data="object"))
    created, read = results(sim, CREATE, get(BUYER, parentids=[1]))
    assert (created["data"]["records"], read["data"]) == ([], [])
    assert read["status"]["errorcode"] == 0


def test_latency_waits_before_the_answer_and_a_drip_spreads_it():
    for kind, waits in (("latency", 1), ("drip", 20)):
        slept: list[float] = []
        sim = simulator(faults=FaultPlan.script([InjectedFault(kind, seconds=3.0)]), sleep=slept.append)
        assert codes(sim, CREATE) == [0]
        assert sum(slept) == pytest.approx(3.0)
        assert len(slept) == waits


def test_a_late_request_lands_when_its_time_has_come_and_is_logged_then():
    clock = Clock()
    sim = struck(InjectedFault("late", seconds=10.0), clock=clock)
    with pytest.raises(httpx.ReadTimeout):
        send(sim, CREATE)
    clock.now += 9
    assert links(sim) == set()
    clock.now += 50
    assert links(sim) == {(BUYER, 1, 2)}
    assert [(entry.number, entry.at, entry.executed, entry.landed) for entry in sim.log] == [
        (0, NOW, False, False),
        (0, NOW + 10, True, True),
    ]


def test_a_late_request_lands_before_the_next_one_if_it_is_due():
    clock = Clock()
    sim = struck(InjectedFault("late", seconds=1.0), clock=clock)
    with pytest.raises(httpx.ReadTimeout):
        send(sim, CREATE)
    clock.now += 1
    assert codes(sim, star("delete", BUYER, 1, 2)) == [0]
    assert links(sim) == set()


def test_land_makes_late_requests_land_at_once():
    sim = struck(InjectedFault("late", seconds=60.0))
    with pytest.raises(httpx.ReadTimeout):
        send(sim, CREATE)
    assert sim.stats()["pending"] == 1
    assert sim.land() == 1
    assert links(sim) == {(BUYER, 1, 2)}
    assert sim.land() == 0
    counted = sim.stats()
    assert [counted[name] for name in ("requests", "executed", "landed", "pending")] == [1, 1, 1, 0]
    assert (counted["tokens"], counted["faults"]) == ({TOKEN: 1}, {"late": 1})


@pytest.mark.parametrize(("seconds", "landed"), [(120.0, True), (121.0, False)])
def test_a_late_request_lands_only_within_the_life_of_its_signature(seconds, landed):
    clock = Clock()
    sim = struck(InjectedFault("late", seconds=seconds), clock=clock)
    with pytest.raises(httpx.ReadTimeout):
        send(sim, CREATE)
    clock.now += 1000
    assert bool(links(sim)) is landed
    assert sim.log[-1].acts[0].code == (0 if landed else 136)


def test_a_script_says_for_each_request_what_happens():
    sim = simulator(faults=FaultPlan.script([None, "gateway_after", InjectedFault("throttle")]))
    assert [send(sim, CREATE).status_code for _ in range(4)] == [200, 502, 429, 200]


def test_a_random_plan_is_the_same_for_the_same_seed_and_hits_about_as_often_as_asked():
    plan = FaultPlan.random(7, 0.2, ["lost_after", InjectedFault("latency", seconds=0.5)])
    drawn = [plan.at(number) for number in range(5000)]
    assert drawn == [
        FaultPlan.random(7, 0.2, ["lost_after", InjectedFault("latency", seconds=0.5)]).at(number)
        for number in range(5000)
    ]
    assert drawn != [
        FaultPlan.random(8, 0.2, ["lost_after", InjectedFault("latency", seconds=0.5)]).at(number)
        for number in range(5000)
    ]
    hits = [fault for fault in drawn if fault]
    assert 900 < len(hits) < 1100
    assert {(fault.kind, fault.seconds) for fault in hits} == {("lost_after", 1.0), ("latency", 0.5)}


def test_a_plan_for_one_token_leaves_the_others_alone():
    sim = simulator()
    sim.account("other", "secret-2")
    sim.inject(FaultPlan.random(1, 1.0, ["gateway_before"]), token="other")
    assert codes(sim, CREATE) == [0]
    assert (
        send(
            sim, star("create", BUYER, [1], [2], token="other", secret="secret-2"), token="other"
        ).status_code
        == 502
    )


def test_a_fault_of_an_unknown_kind_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match=r"kind: expected one of lost_after, .*'flood'"):
        InjectedFault("flood")


def test_the_log_is_bounded_and_the_counters_are_not():
    sim = simulator(history=3, faults=FaultPlan.script(["lost_before"]))
    with pytest.raises(httpx.ReadError):
        send(sim, CREATE)
    for _ in range(4):
        send(sim, CREATE, get(BUYER, parentids=[1]), star("delete", BUYER, 9, 9))
    assert [entry.number for entry in sim.log] == [2, 3, 4]
    assert sim.stats() == {
        "requests": 5,
        "executed": 4,
        "landed": 0,
        "tokens": {TOKEN: 5},
        "actions": {"create": 4, "get": 4, "delete": 4},
        "codes": {0: 8, 168: 4},
        "faults": {"lost_before": 1},
        "pending": 0,
        "relations": 1,
        "violations": 0,
    }


def test_a_reset_forgets_what_happened_and_keeps_the_accounts():
    sim = struck(InjectedFault("late", seconds=5.0))
    with pytest.raises(httpx.ReadTimeout):
        send(sim, CREATE)
    sim.seed(TOKEN, [(BUYER, 8, 9)])
    sim.inject(FaultPlan.script(["lost_before"]))
    sim.reset()
    assert (sim.relations(TOKEN), sim.log, sim.land()) == ({}, (), 0)
    assert codes(sim, CREATE) == [0]


@pytest.mark.parametrize("kind", ["create", "delete"])
def test_a_request_that_names_a_record_meets_its_fault_in_the_module_of_that_record_only(kind):
    plan = FaultPlan.of_records([("address", 2)], "gateway_before")
    named, other = star(kind, BUYER, [1], [2], identifier="a"), star(kind, BUYER, [2], [1], identifier="b")
    crm = simulator(faults=plan)
    sent = [send(crm, other), send(crm, other, named), send(crm, get(BUYER, parentids=[1])), send(crm, named)]
    assert [response.status_code for response in sent] == [200, 502, 200, 502]
    assert [entry.fault for entry in crm.log] == ["", "gateway_before", "", "gateway_before"]


def test_a_script_goes_before_the_faults_of_records():
    plan = replace(
        FaultPlan.of_records([("address", 2)], "gateway_before"), entries=(InjectedFault("throttle"),)
    )
    crm = simulator(faults=plan)
    assert [send(crm, CREATE).status_code for _ in range(2)] == [429, 502]
