"""The API away, the credentials or the clock wrong, Redis away or full, the broker mute: who is asked how often, and who has to wait."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from ops.dev.redis_server import run_server
from ops.simulator import FaultPlan, InjectedFault, Records, Simulator, serve
from ops.simulator.inprocess import InProcess
from producers.portals.http.application import Server, application
from tests.support.flow_world import World, change
from tests.support.httpx_transport import HttpxTransport
from tests.support.worker_shift import Shift
from worker.background import Wake, WakeupQueue
from worker.config import load
from worker.contract import Change, from_message
from worker.onoffice.client import Client
from worker.planner.plan import Limits
from worker.ports import Pause
from worker.testing import MemoryStore
from worker.wakeups import TaskSender
from worker.wiring import Runtime

BUYER = "estate:address:buyer"
MINUTE = 60.0
AWAY = FaultPlan.random(1, 1.0, ["gateway_before"])
Make = Callable[..., World]


def said(world: World, event: str) -> list[dict[str, object]]:
    """The fields of every event of that name."""
    return [fields for name, fields in world.events if name == event]


# --- the API is away


def test_an_outage_of_an_hour_costs_five_requests_and_then_probes_only(world: Make) -> None:
    here = world(lane={"rate": 4.0, "burst": 8, "limits": Limits(max_ids=100, max_actions=50)}, faults=AWAY)
    shift = Shift(here)
    here.accept(*(change("create", BUYER, 501 + n, 9001 + n) for n in range(400)))
    shift.run(60 * MINUTE)
    # Five failures open the breaker; its probes come after 5, 10, 20, 40, 80, 160 and then every 300 seconds.
    asked = [entry.acts for entry in here.simulator.log]
    assert 5 + 12 <= len(asked) <= 5 + 7 + 11
    assert all([act.kind for act in acts] == ["get"] for acts in asked[5:])
    assert len(shift.turns) <= 3 * len(asked)  # nor are workers kept busy with what cannot be sent
    assert [(fields["account"], fields["probe_in"]) for fields in said(here, "breaker.opened")] == [
        ("acme", 5.0)
    ]
    state = here.limiter.state("acme")
    assert (state["breaker"], bool(state["reason"])) == ("open", True)
    assert 0 < state["open_until"] - here.clock.now() / 1e6 <= 300
    assert here.store.counts("acme").get("relations_failed", 0) == 0


def test_after_an_outage_the_pace_comes_back_step_by_step() -> None:
    here = World(
        MemoryStore, lane={"rate": 4.0, "burst": 8, "limits": Limits(max_ids=1, max_actions=16)}, faults=AWAY
    )
    shift = Shift(here)
    here.accept(*(change("create", BUYER, 501 + n, 9001 + n) for n in range(400)))
    shift.run(5 * MINUTE)
    here.simulator.inject(FaultPlan())
    before = len(here.simulator.log)
    shift.run(20 * MINUTE, until=shift.done)
    assert said(here, "breaker.closed") == [{"account": "acme", "reason": "", "probe_in": 0.0}]
    assert len(here.relations()) == 400
    after = here.simulator.log[before + 1 :]  # the first was the probe
    assert len(after[0].acts) == 1
    assert after[1].at - after[0].at > 2.0
    assert max(len(entry.acts) for entry in after) == 16
    assert here.limiter.state("acme")["factor"] == 1.0


def test_one_account_whose_api_is_away_leaves_the_others_alone(world: Make) -> None:
    here = world(accounts=("acme", "other"), lane={"rate": 4.0})
    here.simulator.inject(AWAY, token="token-acme")
    shift = Shift(here)
    here.accept(
        *(
            change("create", BUYER, 501 + n, 9001, account=account)
            for n in range(20)
            for account in here.accounts
        )
    )
    shift.run(MINUTE)
    assert len(here.relations("other")) == 20
    assert here.limiter.state("other")["breaker"] == "closed"
    assert here.limiter.state("acme")["breaker"] == "open"


def test_an_operator_who_resumes_an_account_need_not_wait_for_the_next_probe(world: Make) -> None:
    here = world(faults=AWAY)
    shift = Shift(here)
    here.accept(change("create", BUYER, 501, 9001))
    shift.run(10 * MINUTE)
    here.simulator.inject(FaultPlan())
    here.store.resume("acme")
    here.limiter.reset("acme")
    shift.run(10.0)
    assert shift.done()


@pytest.mark.parametrize("seconds", [3.0, 37.0])
def test_nobody_asks_before_retry_after_is_over(world: Make, seconds: float) -> None:
    here = world(lane={"rate": 4.0, "limits": Limits(max_ids=1, max_actions=4)})
    here.simulator.inject(FaultPlan.script([None, InjectedFault("throttle", seconds)]))
    shift = Shift(here, workers=3)
    here.accept(*(change("create", BUYER, 501 + n, 9001) for n in range(40)))
    shift.run(10 * MINUTE, until=shift.done)
    assert len(here.relations()) == 40
    moments = [entry.at for entry in here.simulator.log]
    assert seconds <= moments[2] - moments[1] < seconds + 3


# --- credentials and clocks


def test_rejected_credentials_are_said_once_and_work_goes_on_when_they_change_with_no_new_change_needed(
    world: Make,
) -> None:
    here = world(accounts=("acme", "other"), lane={"fingerprint": "old"})
    here.simulator.account("token-acme", "rotated")
    shift = Shift(here)
    here.accept(change("create", BUYER, 501, 9001), change("create", BUYER, 501, 9001, account="other"))
    shift.run(60 * MINUTE)
    assert [fields["account"] for fields in said(here, "account.paused")] == ["acme"]
    assert len([entry for entry in here.simulator.log if entry.token == "token-acme"]) == 1
    assert len(here.relations("other")) == 1
    here.lane = {"fingerprint": "new"}
    here.apis["acme"] = Client(
        "https://crm.example.test/api.php",
        "token-acme",
        "rotated",
        timeout=30.0,
        transport=HttpxTransport(InProcess(here.simulator)),
    )
    shift.run(MINUTE, until=shift.done)
    assert len(here.relations("acme")) == 1
    assert [fields["account"] for fields in said(here, "account.resumed")] == ["acme"]
    assert len(said(here, "account.paused")) == 1


def test_a_clock_that_is_wrong_is_named_with_its_skew_and_costs_one_request(world: Make) -> None:
    here = world()
    here.simulator.clock = lambda: here.clock.now() / 1e6 + 600
    here.accept(*(change("create", BUYER, 501 + n, 9001) for n in range(3)))
    here.drain()
    assert len(here.relations()) == 3
    assert [act.code for entry in here.simulator.log for act in entry.acts].count(136) == 1
    assert [round(fields["seconds"]) for fields in said(here, "clock.skewed")] == [600]
    assert said(here, "account.paused") == []


class Lying(httpx.BaseTransport):
    """A way through something that puts its own wrong time into every answer."""

    def __init__(self, inner: httpx.BaseTransport, date: str) -> None:
        self._inner, self._date = inner, date

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        response.headers["Date"] = self._date
        return response


def test_a_clock_that_stays_wrong_pauses_its_account_for_a_minute_and_names_the_skew(world: Make) -> None:
    here = world()
    here.simulator.clock = lambda: here.clock.now() / 1e6 + 600
    transport = HttpxTransport(Lying(InProcess(here.simulator), "Fri, 01 Jan 2027 00:00:00 GMT"))
    here.apis["acme"] = Client(
        "https://crm.example.test/api.php", "token-acme", "secret", timeout=30.0, transport=transport
    )
    shift = Shift(here)
    here.accept(change("create", BUYER, 501, 9001))
    shift.run(10 * MINUTE)
    assert 9 <= len(said(here, "account.paused")) <= 11
    assert all(
        fields["reason"] == "clock" and " s from ours" in str(fields["detail"])
        for fields in said(here, "account.paused")
    )
    assert len(here.simulator.log) <= 2 * 11


# --- real parts: settings on disk, Redis, HTTP


SETTINGS = """
[defaults]
window = 0
rate = 1000
burst = 1000

[accounts.acme]
token = "file:token"
secret = "file:secret"

[keys.portal]
sha256 = "{key}"
accounts = ["acme"]
can = ["send", "read"]
"""
KEY = "a-key-for-nothing"


@contextmanager
def company(
    folder: Path, redis_url: str, wake: Wake | None = None
) -> Iterator[tuple[Runtime, Simulator, list[str]]]:
    """A runtime whose credentials are files, its CRM, and the accounts that it woke (unless by `wake`)."""
    simulator, woken = Simulator({"t" * 32: "s" * 64}), list[str]()
    (folder / "token").write_text("t" * 32)
    (folder / "secret").write_text("s" * 64)
    with serve(simulator) as crm:
        (folder / "relations.toml").write_text(SETTINGS.format(key=sha256(KEY.encode()).hexdigest()))
        environ = {**os.environ, "RELATIONS_REDIS_URL": redis_url, "RELATIONS_API_URL": crm.url}
        runtime = Runtime(load(environ, folder), wake=wake or (lambda account, _: woken.append(account)))
        yield runtime, simulator, woken
        runtime.client.close()


def message(number: int) -> dict[str, object]:
    return {
        "account": "acme",
        "action": "create",
        "relationtype": BUYER,
        "parentid": 500 + number,
        "childid": 9001,
    }


def parse(document: dict[str, object]) -> list[Change]:
    return [from_message(document).change]


def drain(runtime: Runtime) -> None:
    """Flush until nothing is open."""
    deadline = time.monotonic() + MINUTE
    while (counts := runtime.store.counts("acme")).get("backlog") or counts.get("open"):
        assert time.monotonic() < deadline, counts
        runtime.flush("acme")


def test_credentials_in_a_file_are_rotated_without_a_restart_and_without_a_new_change(
    tmp_path: Path, redis_url: str
) -> None:
    with company(tmp_path, redis_url) as (runtime, simulator, woken):
        simulator.account("t" * 32, "n" * 64)
        runtime.intake().accept(parse(message(1)))
        assert [runtime.flush("acme").state for _ in range(2)] == ["done", "paused"]
        woken.clear()
        assert (runtime.sweep(), woken) == (0, [])
        (tmp_path / "secret").write_text("n" * 64)
        assert (runtime.sweep(), woken) == (1, ["acme"])
        drain(runtime)
        assert len(simulator.relations("t" * 32)) == 1


def test_without_redis_nothing_is_acknowledged_and_the_client_is_told_when_to_come_back(
    tmp_path: Path,
) -> None:
    with (
        run_server(tmp_path / "redis", persist="always") as server,
        company(tmp_path, server.url) as (runtime, simulator, _),
    ):
        with Server(application(runtime), port=0) as front:
            assert post(front.url, 1).status_code == 202
            server.kill()
            away = post(front.url, 2)
            assert (away.status_code, int(away.headers["Retry-After"]) >= 1, "jobs" in away.text) == (
                503,
                True,
                False,
            )
            server.restart()
            again = post(front.url, 2)
            assert (again.status_code, again.json()["jobs"][0]["duplicate"]) == (202, False)
        drain(runtime)
        assert len(simulator.relations("t" * 32)) == 2


def test_a_full_redis_accepts_nothing_more_and_its_backlog_drains(tmp_path: Path) -> None:
    with (
        run_server(tmp_path / "redis") as server,
        company(tmp_path, server.url) as (runtime, simulator, _),
        Server(application(runtime), port=0) as front,
    ):
        runtime.intake().accept([change for number in range(30) for change in parse(message(number))])
        # A bad id and a lost answer, so that stars are read back, split, retried and failed under these conditions, too.
        simulator.seed("t" * 32, records=Records(missing=frozenset({("estate", 507)})))
        simulator.inject(FaultPlan.script(["lost_after"]))
        runtime.client.config_set("maxmemory", "1")
        full = post(front.url, 99)
        assert (full.status_code, int(full.headers["Retry-After"]) >= 1, "jobs" in full.text) == (
            503,
            True,
            False,
        )
        runtime.store.pause("acme", Pause("hand"))
        assert runtime.flush("acme").state == "paused"
        runtime.store.resume("acme")
        runtime.sweep()
        drain(runtime)
        assert len(simulator.relations("t" * 32)) == 29
        assert len(runtime.store.failed_jobs("acme", limit=9)) == 1
        runtime.client.config_set("maxmemory", "0")
        assert post(front.url, 99).status_code == 202


def post(url: str, number: int) -> httpx.Response:
    body = {**message(number), "event_id": f"event-{number}"}
    return httpx.post(
        f"{url}/v1/changes", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=MINUTE
    )


# --- the broker


def test_a_broker_that_says_nothing_keeps_no_producer_waiting_and_its_messages_are_bounded(
    tmp_path: Path, redis_url: str
) -> None:
    failed, began, goes_on = list[dict[str, object]](), threading.Event(), threading.Event()

    def mute(account: str, seconds: float) -> None:
        began.set()
        assert goes_on.wait(MINUTE)

    queue = WakeupQueue(mute, emit=lambda _, **fields: failed.append(fields), max_size=2)
    with company(tmp_path, redis_url, queue) as (runtime, _, _):
        runtime.intake().accept(parse(message(0)))
        assert began.wait(MINUTE)  # the message is stuck, and accept has returned
        for account in ("one", "two", "three", "four"):
            queue(account, 0.0)
        assert [fields["account"] for fields in failed] == ["three", "four"]
        goes_on.set()
        queue.close(MINUTE)


def test_an_absent_broker_is_reported_and_the_sweep_finds_the_change(tmp_path: Path, redis_url: str) -> None:
    reported: list[tuple[str, object]] = []

    def emit(event: str, /, **fields: object) -> None:
        reported.append((event, fields["account"]))

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        queue = WakeupQueue(TaskSender(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0").wake, emit=emit)
        with company(tmp_path, redis_url, queue) as (runtime, _, _):
            runtime.intake().accept(parse(message(0)))
            queue.close(MINUTE)
            assert reported == [("wake.failed", "acme")]
    with company(tmp_path, redis_url) as (runtime, simulator, woken):
        deadline = time.monotonic() + MINUTE
        while not woken:
            assert time.monotonic() < deadline
            runtime.sweep()
            time.sleep(0.05)
        drain(runtime)
        assert len(simulator.relations("t" * 32)) == 1
