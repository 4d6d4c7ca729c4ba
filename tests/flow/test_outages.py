"""Outages of the API, Redis and the broker, wrong credentials and clocks: what is sent, and who waits."""

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
from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.support.flow_world import World, change
from tests.support.full_server import out_of_memory
from tests.support.httpx_transport import HttpxTransport
from tests.support.references import email, wish
from tests.support.waiting import wait_until
from tests.support.worker_pool import WorkerPool
from worker.background import WakeupQueue
from worker.config import Account, load_settings
from worker.contract import Change, from_message
from worker.onoffice.client import Client
from worker.planner.plan import Limits
from worker.ports import Wake
from worker.ports.pace import Pause
from worker.ports.requests import Api
from worker.testing import MemoryStore
from worker.wakeups import TaskSender
from worker.wiring import Runtime

BUYER = "estate:address:buyer"
MINUTE = 60.0
AWAY = FaultPlan.random(1, 1.0, ["gateway_before"])
Make = Callable[..., World]


def events(world: World, event: str) -> list[dict[str, object]]:
    """Return the fields of every event of that name."""
    return [fields for name, fields in world.events if name == event]


# --- the API is away


def test_an_outage_of_an_hour_costs_five_requests_and_then_probes_only(make_world: Make) -> None:
    world = make_world(
        policy={"rate": 4.0, "burst": 8, "limits": Limits(max_ids=100, max_actions=50)}, faults=AWAY
    )
    pool = WorkerPool(world)
    world.accept(*(change("create", BUYER, 501 + n, 9001 + n) for n in range(400)))
    pool.run(60 * MINUTE)
    # Five failures open the breaker; its probes come after 5, 10, 20, 40, 80, 160 and then every 300 seconds.
    requests = [entry.acts for entry in world.simulator.log]
    assert 5 + 12 <= len(requests) <= 5 + 7 + 11
    assert all([act.kind for act in acts] == ["get"] for acts in requests[5:])
    assert len(pool.turns) <= 3 * len(requests)  # nor are workers kept busy with what cannot be sent
    assert [(fields["account"], fields["probe_in"]) for fields in events(world, "breaker.opened")] == [
        ("acme", 5.0)
    ]
    state = world.limiter.state("acme")
    assert (state["breaker"], bool(state["reason"])) == ("open", True)
    assert 0 < state["open_until"] - world.clock.now() / 1e6 <= 300
    assert world.store.counts("acme").get("relations_failed", 0) == 0


def test_after_an_outage_the_pace_comes_back_step_by_step() -> None:
    world = World(
        MemoryStore,
        policy={"rate": 4.0, "burst": 8, "limits": Limits(max_ids=1, max_actions=16)},
        faults=AWAY,
    )
    pool = WorkerPool(world)
    world.accept(*(change("create", BUYER, 501 + n, 9001 + n) for n in range(400)))
    pool.run(5 * MINUTE)
    world.simulator.inject(FaultPlan())
    before = len(world.simulator.log)
    pool.run(20 * MINUTE, until=pool.is_done)
    assert events(world, "breaker.closed") == [{"account": "acme", "reason": "", "probe_in": 0.0}]
    assert len(world.relations()) == 400
    after = world.simulator.log[before + 1 :]  # the first was the probe
    assert len(after[0].acts) == 1
    assert after[1].at - after[0].at > 2.0
    assert max(len(entry.acts) for entry in after) == 16
    assert world.limiter.state("acme")["factor"] == 1.0


def test_one_account_whose_api_is_away_leaves_the_others_alone(make_world: Make) -> None:
    world = make_world(accounts=("acme", "other"), policy={"rate": 4.0})
    world.simulator.inject(AWAY, token="token-acme")
    pool = WorkerPool(world)
    world.accept(
        *(
            change("create", BUYER, 501 + n, 9001, account=account)
            for n in range(20)
            for account in world.accounts
        )
    )
    pool.run(MINUTE)
    assert len(world.relations("other")) == 20
    assert world.limiter.state("other")["breaker"] == "closed"
    assert world.limiter.state("acme")["breaker"] == "open"


def test_an_operator_who_resumes_an_account_need_not_wait_for_the_next_probe(make_world: Make) -> None:
    world = make_world(faults=AWAY)
    pool = WorkerPool(world)
    world.accept(change("create", BUYER, 501, 9001))
    pool.run(10 * MINUTE)
    world.simulator.inject(FaultPlan())
    world.store.resume("acme")
    world.limiter.reset("acme")
    pool.run(10.0)
    assert pool.is_done()


@pytest.mark.parametrize("seconds", [3.0, 37.0])
def test_nothing_is_sent_before_retry_after_is_over(make_world: Make, seconds: float) -> None:
    world = make_world(policy={"rate": 4.0, "limits": Limits(max_ids=1, max_actions=4)})
    world.simulator.inject(FaultPlan.script([None, InjectedFault("throttle", seconds)]))
    pool = WorkerPool(world, workers=3)
    world.accept(*(change("create", BUYER, 501 + n, 9001) for n in range(40)))
    pool.run(10 * MINUTE, until=pool.is_done)
    assert len(world.relations()) == 40
    times = [entry.at for entry in world.simulator.log]
    assert seconds <= times[2] - times[1] < seconds + 3


# --- credentials and clocks


def test_rejected_credentials_are_reported_once_and_work_released_when_they_change(
    make_world: Make,
) -> None:
    world = make_world(accounts=("acme", "other"), policy={"fingerprint": "old"})
    world.simulator.account("token-acme", "rotated")
    pool = WorkerPool(world)
    world.accept(change("create", BUYER, 501, 9001), change("create", BUYER, 501, 9001, account="other"))
    pool.run(60 * MINUTE)
    assert [fields["account"] for fields in events(world, "account.paused")] == ["acme"]
    assert len([entry for entry in world.simulator.log if entry.token == "token-acme"]) == 1
    assert len(world.relations("other")) == 1
    world.policy = {"fingerprint": "new"}
    world.apis["acme"] = Client(
        "https://crm.example.test/api.php",
        "token-acme",
        "rotated",
        timeout=30.0,
        transport=HttpxTransport(InProcess(world.simulator)),
    )
    pool.run(MINUTE, until=pool.is_done)
    assert len(world.relations("acme")) == 1
    assert [fields["account"] for fields in events(world, "account.resumed")] == ["acme"]
    assert len(events(world, "account.paused")) == 1


def test_a_clock_that_is_wrong_is_named_with_its_skew_and_costs_one_request(make_world: Make) -> None:
    world = make_world()
    world.simulator.clock = lambda: world.clock.now() / 1e6 + 600
    world.accept(*(change("create", BUYER, 501 + n, 9001) for n in range(3)))
    world.drain()
    assert len(world.relations()) == 3
    assert [act.code for entry in world.simulator.log for act in entry.acts].count(136) == 1
    assert [round(fields["seconds"]) for fields in events(world, "clock.skewed")] == [600]
    assert events(world, "account.paused") == []


class WrongDate(httpx.BaseTransport):
    """A transport through a proxy that puts its own wrong time into every response."""

    def __init__(self, inner: httpx.BaseTransport, date: str) -> None:
        self._inner, self._date = inner, date

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        response.headers["Date"] = self._date
        return response


@pytest.mark.parametrize("pace", [{}, {"rate": 1.0, "burst": 1}])
@pytest.mark.parametrize("asked", [change("create", BUYER, 501, 9001), wish(email("anna@example.test"))])
def test_a_clock_that_stays_wrong_pauses_its_account_for_a_minute_and_names_the_skew(
    make_world: Make, pace: dict[str, object], asked: Change
) -> None:
    world = make_world(policy=pace)
    world.simulator.clock = lambda: world.clock.now() / 1e6 + 600
    transport = HttpxTransport(WrongDate(InProcess(world.simulator), "Fri, 01 Jan 2027 00:00:00 GMT"))
    world.apis["acme"] = Client(
        "https://crm.example.test/api.php", "token-acme", "secret", timeout=30.0, transport=transport
    )
    pool = WorkerPool(world)
    world.accept(asked)
    pool.run(10 * MINUTE)
    assert 9 <= len(events(world, "account.paused")) <= 11
    assert all(
        fields["reason"] == "clock" and " s from ours" in str(fields["detail"])
        for fields in events(world, "account.paused")
    )
    assert len(world.simulator.log) <= 2 * 11


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
def running_company(
    folder: Path, redis_url: str, wake: Wake | None = None
) -> Iterator[tuple[Runtime, Simulator, list[str]]]:
    """Yield a runtime whose credentials are files, its CRM, and the accounts that it woke."""
    simulator, woken = Simulator({"t" * 32: "s" * 64}), list[str]()
    (folder / "token").write_text("t" * 32)
    (folder / "secret").write_text("s" * 64)
    with serve(simulator) as crm:
        (folder / "relations.toml").write_text(SETTINGS.format(key=sha256(KEY.encode()).hexdigest()))
        environ = {**os.environ, "RELATIONS_REDIS_URL": redis_url, "RELATIONS_API_URL": crm.url}
        runtime = Runtime(
            load_settings(environ, folder), wake=wake or (lambda account, _: woken.append(account))
        )
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
    with running_company(tmp_path, redis_url) as (runtime, simulator, woken):
        simulator.account("t" * 32, "n" * 64)
        runtime.intake().accept(parse(message(1)))
        assert [runtime.flush("acme").state for _ in range(2)] == ["done", "paused"]
        woken.clear()
        assert (runtime.sweep(), woken) == (0, [])
        (tmp_path / "secret").write_text("n" * 64)
        assert (runtime.sweep(), woken) == (1, ["acme"])
        drain(runtime)
        assert len(simulator.relations("t" * 32)) == 1


def test_credentials_that_change_just_when_a_client_was_made_of_the_former_are_used(
    tmp_path: Path, redis_url: str
) -> None:
    with running_company(tmp_path, redis_url) as (runtime, simulator, woken):
        simulator.account("t" * 32, "n" * 64)
        make_client = runtime.api

        def rotate(account: Account) -> Api:
            client = make_client(account)
            (tmp_path / "secret").write_text("n" * 64)
            return client

        runtime.api = rotate
        runtime.intake().accept(parse(message(1)))
        runtime.flush("acme")
        assert simulator.relations("t" * 32) == {}
        woken.clear()
        assert (runtime.sweep(), woken) == (1, ["acme"])
        drain(runtime)
        assert len(simulator.relations("t" * 32)) == 1


def test_without_redis_nothing_is_acknowledged_and_the_client_learns_when_to_come_back(
    tmp_path: Path,
) -> None:
    with (
        run_server(tmp_path / "redis", persist="always") as server,
        running_company(tmp_path, server.url) as (runtime, simulator, _),
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
            repeated = post(front.url, 2)
            assert (repeated.status_code, repeated.json()["jobs"][0]["duplicate"]) == (202, False)
        drain(runtime)
        assert len(simulator.relations("t" * 32)) == 2


def test_a_full_redis_accepts_nothing_more_and_its_backlog_drains(tmp_path: Path) -> None:
    with (
        run_server(tmp_path / "redis") as server,
        running_company(tmp_path, server.url) as (runtime, simulator, _),
        Server(application(runtime), port=0) as front,
    ):
        runtime.intake().accept([change for number in range(30) for change in parse(message(number))])
        # A bad id and a lost answer, so that stars are read back, split, retried and failed, too.
        simulator.seed("t" * 32, records=Records(missing=frozenset({("estate", 507)})))
        simulator.inject(FaultPlan.script(["lost_after"]))
        with out_of_memory(runtime.client):
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
        assert post(front.url, 99).status_code == 202


def post(url: str, number: int) -> httpx.Response:
    body = {**message(number), "event_id": f"event-{number}"}
    return httpx.post(
        f"{url}/v1/changes", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=MINUTE
    )


# --- the broker


def test_a_silent_broker_keeps_no_producer_waiting_and_its_messages_are_bounded(
    tmp_path: Path, redis_url: str
) -> None:
    failed, began, released = list[dict[str, object]](), threading.Event(), threading.Event()

    def block(account: str, seconds: float) -> None:
        began.set()
        assert released.wait(MINUTE)

    queue = WakeupQueue(block, emit=lambda _, **fields: failed.append(fields), max_size=2)
    with running_company(tmp_path, redis_url, queue) as (runtime, _, _):
        runtime.intake().accept(parse(message(0)))
        assert began.wait(MINUTE)  # the message is stuck, and accept has returned
        for account in ("one", "two", "three", "four"):
            queue(account, 0.0)
        assert [fields["account"] for fields in failed] == ["three", "four"]
        queue.close(0.0)
        left = "the process ended before 3 of its wake-ups went out; the sweep finds their changes"
        assert failed[2:] == [{"account": "acme", "error": left}]
        released.set()
        queue.close(MINUTE)


def test_an_absent_broker_is_reported_and_the_sweep_finds_the_change(tmp_path: Path, redis_url: str) -> None:
    reported: list[tuple[str, object]] = []

    def emit(event: str, /, **fields: object) -> None:
        reported.append((event, fields["account"]))

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        queue = WakeupQueue(
            TaskSender(f"redis://127.0.0.1:{closed.getsockname()[1]}/0", "relations").wake, emit=emit
        )
        with running_company(tmp_path, redis_url, queue) as (runtime, _, _):
            runtime.intake().accept(parse(message(0)))
            queue.close(MINUTE)
            assert reported == [("wake.failed", "acme")]
    with running_company(tmp_path, redis_url) as (runtime, simulator, woken):

        def sweep() -> bool:
            runtime.sweep()
            return bool(woken)

        wait_until(sweep, "nobody is woken", seconds=MINUTE)
        drain(runtime)
        assert len(simulator.relations("t" * 32)) == 1
