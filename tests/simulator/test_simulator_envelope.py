"""The shape of requests and answers."""

import pytest

from ops.simulator import Switches
from ops.simulator.api import sign
from tests.support.simulator_calls import (
    BUYER,
    NOW,
    SECRET,
    TOKEN,
    URL,
    body,
    client,
    codes,
    get,
    results,
    send,
    simulator,
    star,
)

GOOD = star("create", BUYER, [1], [2], identifier="my-own-id")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", 9),
        (b"{", 4),
        (b"\xff", 4),
        (b"[" * 100_000, 4),
        (b"[]", 13),
        (b"{}", 13),
        (b'{"token": ""}', 13),
        (b'{"token": "token-of-acme"}', 14),
        (b'{"token": "token-of-acme", "request": []}', 14),
        (b'{"token": "token-of-acme", "request": {}}', 15),
        (b'{"token": "token-of-acme", "request": {"actions": []}}', 15),
    ],
)
def test_a_request_that_is_bad_as_a_whole_is_http_200_with_the_code_on_top(raw, code):
    response = client(simulator()).post(URL, content=raw)
    assert (response.status_code, response.json()["status"]["code"]) == (200, 400)
    assert response.json()["status"]["errorcode"] == code
    assert response.json()["response"] == {"results": []}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"actionid": None}, 16),
        ({"actionid": 5}, 16),
        ({"actionid": ""}, 17),
        ({"resourceid": None}, 18),
        ({"resourcetype": None}, 19),
        ({"parameters": None}, 20),
        ({"parameters": "x"}, 20),
        ({"parameters": [1]}, 20),
        ({"parameters": {"": 1}}, 21),
        ({"parameters": []}, 132),
    ],
)
def test_a_missing_element_of_an_action_has_its_own_code_and_spares_the_others(changes, code):
    assert codes(simulator(), star("create", BUYER, [1], [3], **changes), GOOD) == [code, 0]


def test_an_action_that_is_no_object_is_answered_like_an_empty_one():
    assert codes(simulator(), "create", GOOD) == [16, 0]


@pytest.mark.parametrize(("kind", "code"), [("do", 23), ("", 23), ("get", 0)])
def test_an_action_the_api_does_not_know_is_23(kind, code):
    made = get(BUYER, parentids=[1]) if kind == "get" else star(kind, BUYER, [1], [2])
    assert codes(simulator(), made) == [code]


def test_an_action_without_its_prefix_is_23():
    signature = sign(SECRET, timestamp=int(NOW), token=TOKEN, resourcetype="relation", actionid="create")
    assert codes(simulator(), {**GOOD, "actionid": "create", "hmac": signature}) == [23]


def test_a_result_repeats_what_identifies_its_action():
    assert results(simulator(), GOOD) == [
        {
            "actionid": "urn:onoffice-de-ns:smart:2.5:smartml:action:create",
            "resourceid": "",
            "resourcetype": "relation",
            "cacheable": False,
            "identifier": "my-own-id",
            "data": {"meta": {"cntabsolute": 0}, "records": []},
            "status": {"errorcode": 0, "message": "OK"},
        }
    ]


def test_a_rejected_action_has_phps_empty_list_for_data_or_an_object_by_switch():
    bad = star("create", BUYER, [1, 2], [3, 4])
    assert results(simulator(), bad)[0]["data"] == []
    assert results(simulator(switches=Switches(error_data="object")), bad)[0]["data"]["records"] == []


@pytest.mark.parametrize(("top_level", "code", "errorcode"), [("200", 200, 0), ("97", 500, 97)])
def test_the_status_on_top_of_a_failed_action_follows_the_switch_while_the_others_are_done(
    top_level, code, errorcode
):
    sim = simulator(switches=Switches(top_level=top_level))
    answer = send(sim, star("create", BUYER, [1, 2], [3, 4]), GOOD).json()
    assert (answer["status"]["code"], answer["status"]["errorcode"]) == (code, errorcode)
    assert [result["status"]["errorcode"] for result in answer["response"]["results"]] == [219, 0]
    assert sim.relations(TOKEN) == {(BUYER, 1, 2): {}}


def test_the_status_on_top_is_200_when_all_is_well_whatever_the_switch():
    assert send(simulator(switches=Switches(top_level="97")), GOOD).json()["status"] == {
        "code": 200,
        "errorcode": 0,
        "message": "OK",
    }


def test_other_paths_are_not_the_api():
    assert client(simulator()).post("https://api.example.test/api/stable", json=body(GOOD)).status_code == 404
