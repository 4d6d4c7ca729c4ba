"""Who may call: signatures, their life, tokens."""

import pytest

from ops.simulator import Switches
from ops.simulator.api import sign
from tests.support.simulator_calls import (
    BUYER,
    NOW,
    SECRET,
    TOKEN,
    Clock,
    body,
    client,
    codes,
    send,
    simulator,
    star,
)

ACTION = "urn:onoffice-de-ns:smart:2.5:smartml:action:"
GOOD = star("create", BUYER, [1], [2])


@pytest.mark.parametrize(
    ("token", "secret", "timestamp", "resourcetype", "kind", "signature"),
    [
        (
            "mgjIQkNRnaqggVzy9cZW",
            "yOJobbhGLXdp90XxvxedFhH7073L9U",
            123456789,
            "estateCategories",
            "get",
            "dsvg3r4AFcQXges0MZ+3auzQVfnEB39pLkKSgmm9Wvg=",
        ),
        (
            "testtoken",
            "testsecret",
            1646228220,
            "calendar",
            "read",
            "w6ifKMmAdJoKhu0vl2twvfP+ltyOTQ7LqLpvsZkOnlg=",
        ),
        (
            "testtoken",
            "testsecret",
            1700000000,
            "relation",
            "create",
            "n32u/m6LI8SGVqVSoB8DYea6w7xBG6YHxiiUw7EhMaI=",
        ),
        (
            "testtoken",
            "testsecret",
            1700000000,
            "relation",
            "delete",
            "5Jk/dckCU+Pj5AYmqcqpyKBgGmeku0zyTxcywO/ZrPs=",
        ),
    ],
)
def test_the_signature_equals_the_published_vectors(token, secret, timestamp, resourcetype, kind, signature):
    assert (
        sign(secret, timestamp=timestamp, token=token, resourcetype=resourcetype, actionid=ACTION + kind)
        == signature
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"hmac": "x"},
        {"hmac": "ü"},
        {"hmac": None},
        {"timestamp": None},
        {"timestamp": NOW},
        {"timestamp": "9" * 5000},
        {"hmac_version": "1"},
        {"timestamp": int(NOW) + 1},
    ],
)
def test_a_signature_that_does_not_fit_is_137_and_nothing_is_written(changes):
    sim = simulator()
    assert codes(sim, star("create", BUYER, [1], [2], **changes)) == [137]
    assert sim.relations(TOKEN) == {}


@pytest.mark.parametrize("changes", [{"hmac_version": 2}, {"timestamp": str(int(NOW))}])
def test_version_and_timestamp_may_come_as_text_or_number(changes):
    assert codes(simulator(), star("create", BUYER, [1], [2], **changes)) == [0]


def test_a_wrong_secret_is_137():
    assert codes(simulator(), star("create", BUYER, [1], [2], secret=SECRET + "x")) == [137]


@pytest.mark.parametrize(("off", "code"), [(-121, 136), (-120, 0), (0, 0), (120, 0), (121, 136)])
def test_a_signature_lives_120_seconds_to_both_sides_of_the_clock(off, code):
    assert codes(simulator(clock=Clock(NOW + off)), GOOD) == [code]


def test_every_action_is_checked_by_itself():
    assert codes(
        simulator(),
        GOOD,
        star("create", BUYER, [1], [3], hmac="x"),
        star("create", BUYER, [1], [4], at=NOW - 500),
    ) == [
        0,
        137,
        136,
    ]


@pytest.mark.parametrize(("required", "code"), [(True, 137), (False, 0)])
def test_parameters_out_of_order_break_the_signature_if_the_switch_says_so(required, code):
    shuffled = dict(sorted(GOOD["parameters"].items(), reverse=True))
    assert codes(simulator(switches=Switches(require_sorted=required)), {**GOOD, "parameters": shuffled}) == [
        code
    ]


def test_an_unknown_token_is_http_200_and_code_40_for_the_request():
    response = send(simulator(), star("create", BUYER, [1], [2], token="nobody"), token="nobody")
    assert response.status_code == 200
    assert response.json() == {
        "status": {"code": 400, "errorcode": 40, "message": "Invalid user credentials"},
        "response": {"results": []},
    }


def test_an_unknown_token_may_be_answered_per_action():
    assert codes(simulator(switches=Switches(credentials="action")), GOOD, token="nobody") == [40]


def test_accounts_see_their_own_crm_until_they_share_one():
    sim = simulator()
    sim.account("other", "secret-2")
    sim.seed(TOKEN, [(BUYER, 1, 2)])
    assert sim.relations("other") == {}
    sim.share(TOKEN, "other")
    assert sim.relations("other") == {(BUYER, 1, 2): {}}
    assert codes(sim, star("delete", BUYER, 1, 2, token="other", secret="secret-2"), token="other") == [0]
    assert sim.relations(TOKEN) == {}


def test_a_secret_can_be_rotated():
    sim = simulator()
    sim.account(TOKEN, "new")
    assert codes(sim, GOOD, star("create", BUYER, [1], [2], secret="new")) == [137, 0]


def test_every_answer_carries_the_simulators_clock_and_a_session_cookie():
    response = client(simulator()).post("https://x.test/api/latest/api.php", json=body(GOOD))
    assert response.headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert response.headers["Set-Cookie"].startswith("PHPSESSID=")
