"""The simulator on a real socket, and its endpoints for other processes."""

import socket
import threading
import time

import httpx
import pytest

from ops.simulator import FaultPlan, InjectedFault, Simulator, serve
from tests.support.simulator_calls import BUYER, SECRET, TOKEN, action, body, get, star


@pytest.fixture
def sim():
    return Simulator({TOKEN: SECRET}, sleep=lambda _: None)


@pytest.fixture
def server(sim):
    with serve(sim) as running:
        yield running


@pytest.fixture
def http():
    with httpx.Client(timeout=10.0) as client:
        yield client


def now(made, parameters):
    """Return the action, signed for the real clock."""
    return action(made, parameters, at=time.time())


def create(parents, children):
    return body(now("create", star("create", BUYER, parents, children)["parameters"]))


def test_a_client_links_and_reads_over_one_connection(sim, server, http):
    assert http.post(server.url, json=create([1], [2, 3])).json()["status"]["errorcode"] == 0
    found = http.post(server.url, json=body(now("get", get(BUYER, parentids=[1])["parameters"]))).json()
    assert found["response"]["results"][0]["data"]["records"][0]["elements"] == {"1": ["2", "3"]}
    assert sim.relations(TOKEN) == {(BUYER, 1, 2): {}, (BUYER, 1, 3): {}}


def test_the_connection_is_kept_alive_and_answers_carry_a_date(server):
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw,
        raw.makefile("rb") as answers,
    ):
        for _ in range(2):
            raw.sendall(b"POST /api/stable/api.php HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            head = b"".join(iter(answers.readline, b"\r\n"))
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nDate: " in head
            length = int(head.split(b"Content-Length: ")[1].split()[0])
            assert b'"errorcode":13' in answers.read(length)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("lost_after", httpx.RemoteProtocolError),
        ("lost_before", httpx.ReadError),
        ("late", httpx.RemoteProtocolError),
    ],
)
def test_a_dropped_connection_really_ends_without_an_answer(sim, server, http, kind, error):
    sim.inject(FaultPlan.script([InjectedFault(kind, seconds=50.0)]))
    with pytest.raises(error):
        http.post(server.url, json=create([1], [2]))
    assert bool(sim.relations(TOKEN)) is (kind == "lost_after")
    assert http.post(server.url, json=create([3], [4])).status_code == 200


def test_a_drip_arrives_whole(sim, server, http):
    sim.inject(FaultPlan.script(["drip"]))
    response = http.post(server.url, json=create([1], [2]))
    assert response.json()["response"]["results"][0]["status"]["errorcode"] == 0


def test_a_body_without_a_length_is_411(server, http):
    assert http.post(server.url, content=iter([b"{}"])).status_code == 411


def test_many_clients_at_once_lose_nothing(sim, server):
    def link(parent):
        with httpx.Client(timeout=10.0) as client:
            for child in range(1, 11):
                client.post(server.url, json=create([parent], [child])).raise_for_status()

    threads = [threading.Thread(target=link, args=(parent,)) for parent in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(sim.relations(TOKEN)) == {
        (BUYER, parent, child) for parent in range(1, 5) for child in range(1, 11)
    }
    assert [entry.number for entry in sim.log] == list(range(40))


def test_5000_relations_go_in_one_body(sim, server, http):
    stars = [
        now("create", star("create", BUYER, [parent], list(range(1, 101)))["parameters"])
        for parent in range(1, 51)
    ]
    answer = http.post(server.url, json=body(*stars)).json()
    assert {result["status"]["errorcode"] for result in answer["response"]["results"]} == {0}
    assert sim.stats()["relations"] == 5000


def test_closing_ends_open_connections_and_frees_the_port(sim, http):
    server = serve(sim)
    http.post(server.url, json=create([1], [2]))
    server.close()
    with pytest.raises(httpx.TransportError):
        http.post(server.url, json=create([1], [3]))
    with serve(sim, port=server.port) as again:
        assert http.post(again.url, json=create([1], [3])).status_code == 200


def test_another_process_can_seed_look_and_reset(server, http):
    edge = {"relationtype": BUYER, "parentid": 1, "childid": 2, "relationinfo": {}}
    seeded = http.post(
        f"{server.base}/_sim/seed",
        json={"token": TOKEN, "relations": [edge], "records": {"missing": [["address", 5]]}},
    )
    assert seeded.json() == {"relations": 1}
    assert http.get(f"{server.base}/_sim/state", params={"token": TOKEN}).json() == {
        "relations": [edge],
        "violations": [],
        "fields": {},
    }
    http.post(server.url, json=create([1], [2]))
    refused = http.post(server.url, json=create([1], [5])).json()
    assert refused["response"]["results"][0]["status"]["errorcode"] == 80
    (entry,) = http.get(f"{server.base}/_sim/log", params={"limit": 1}).json()
    assert http.get(f"{server.base}/_sim/log", params={"limit": 0}).json() == []
    name = entry["account"]
    assert name.startswith("account-")
    assert http.get(f"{server.base}/_sim/stats").json()["accounts"] == {name: 2}
    assert http.get(f"{server.base}/_sim/state", params={"account": name}).json()["relations"] == [edge]
    act = {"kind": "create", "type": BUYER, "parents": [1], "children": [5], "code": 80, "values": 0}
    assert entry["acts"] == [act]
    assert http.get(f"{server.base}/_sim/stats").json()["codes"] == {"0": 1, "80": 1}
    assert http.post(f"{server.base}/_sim/seed", json={"token": TOKEN, "drop": [edge]}).json() == {
        "relations": 0
    }
    assert http.post(f"{server.base}/_sim/reset").json() == {}
    assert http.get(f"{server.base}/_sim/log").json() == []


def test_another_process_can_plan_faults_and_let_late_requests_land(server, http):
    late = {"kind": "late", "seconds": 50.0}
    faults = {
        "script": [None, "gateway_before", late],
        "random": {"seed": 1, "rate": 1.0, "kinds": ["throttle"]},
    }
    assert http.post(f"{server.base}/_sim/faults", json=faults).status_code == 200
    assert [http.post(server.url, json=create([1], [child])).status_code for child in (2, 3)] == [200, 502]
    with pytest.raises(httpx.RemoteProtocolError):
        http.post(server.url, json=create([1], [4]))
    assert http.post(server.url, json=create([1], [5])).status_code == 429
    assert http.post(f"{server.base}/_sim/land").json() == {"landed": 1}
    state = http.get(f"{server.base}/_sim/state", params={"token": TOKEN}).json()
    assert [edge["childid"] for edge in state["relations"]] == [2, 4]


def test_another_process_can_turn_switches_and_add_an_account(server, http):
    assert (
        http.post(f"{server.base}/_sim/switches", json={"absent_delete": "ok"}).json()["absent_delete"]
        == "ok"
    )
    http.post(f"{server.base}/_sim/seed", json={"token": "new", "secret": "s"})
    gone = action(
        "delete", star("delete", BUYER, 1, 2)["parameters"], at=time.time(), token="new", secret="s"
    )
    assert (
        http.post(server.url, json=body(gone, token="new")).json()["response"]["results"][0]["status"][
            "errorcode"
        ]
        == 0
    )


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/_sim/nothing", None, 404),
        ("GET", "/_sim/state", None, 404),
        ("GET", "/_sim/state?token=nobody", None, 404),
        ("GET", "/_sim/log?limit=x", None, 400),
        ("POST", "/_sim/seed", b"{}", 400),
        ("POST", "/_sim/faults", b'{"script": ["flood"]}', 400),
        ("POST", "/_sim/switches", b'{"absent_delete": "maybe"}', 400),
    ],
)
def test_a_wrong_control_request_is_told_what_is_wrong(server, http, method, path, content, status):
    response = http.request(method, server.base + path, content=content)
    assert response.status_code == status
    assert response.json()["error"]


def test_no_answer_shows_a_token(server, http, sim):
    http.post(f"{server.base}/_sim/seed", json={"token": TOKEN, "secret": SECRET, "name": "acme"})
    http.post(server.url, json=create([1], [2]))
    faults = {"script": ["throttle"], "account": "acme"}
    answers = [
        http.get(f"{server.base}/_sim/state?account=acme"),
        http.get(f"{server.base}/_sim/state?token={TOKEN}x"),
        http.get(f"{server.base}/_sim/log"),
        http.get(f"{server.base}/_sim/stats"),
        http.post(f"{server.base}/_sim/faults", json=faults),
        http.post(server.url, json=create([1], [3])),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 200, 200, 429]
    assert answers[2].json()[-1]["account"] == "acme"
    assert not any(TOKEN in answer.text or SECRET in answer.text for answer in answers)


def test_with_a_key_nothing_is_shown_or_done_without_it(http):
    with serve(Simulator({TOKEN: SECRET}, key="sim-key")) as guarded:
        url = f"{guarded.base}/_sim/stats"
        for header in ("", "sim-key", "Bearer wrong", "Basic sim-key"):
            assert http.get(url, headers={"Authorization": header}).status_code == 401
        assert http.post(f"{guarded.base}/_sim/reset").status_code == 401
        assert http.get(url, headers={"Authorization": "Bearer sim-key"}).json()["requests"] == 0
        assert http.post(guarded.url, json=create([1], [2])).status_code == 200  # signed, as ever
