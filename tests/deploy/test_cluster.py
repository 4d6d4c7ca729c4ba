"""The store on a cluster of three masters, the broker beside it, two workers with two processes each, and nine accounts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.dev.redis_server import RedisServer, run_server
from ops.dev.stack import Stack, running
from producers.services import build_services
from tests.support.clusters import Cluster, ask, cluster, until
from tests.support.deploy_work import accept, closest, done, links, opened, repeated, shape, succeeded
from worker.errors import StoreUnavailable
from worker.ports import Pause
from worker.redis.client import connect
from worker.store.redis_store import RedisStore
from worker.wiring import Runtime

ACCOUNTS = tuple(f"office-{number}" for number in range(9))
LATENCY = 0.05
ROOT = Path(__file__).parents[2]
LAWS = [
    *(f"tests/store/test_{name}.py" for name in ("transitions", "outcomes", "questions", "acts")),
    "tests/flow/test_flows.py",
]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def stack(three: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    place = tmp_path_factory.mktemp("stack")
    with run_server(place / "broker", persist="everysec") as broker:
        wanted = shape(
            *ACCOUNTS, parts=("worker", "beat"), store=three.url, broker=broker.url, workers=2, concurrency=2
        )
        with running(place, wanted) as stack:
            yield stack
            stack.kill()  # nothing is left to end well


def homes(three: Cluster) -> dict[str, RedisServer]:
    """The node of each account."""
    return {account: three.home(f"relations:{{{account}}}") for account in ACCOUNTS}


def test_every_law_of_the_store_and_every_flow_holds_on_a_cluster(three: Cluster) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "-k",
        "not memory",
        *LAWS,
    ]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "STORE_URL": three.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout


def test_nothing_is_done_twice_and_one_worker_at_a_time_has_an_account(three: Cluster, stack: Stack) -> None:
    runtime = stack.runtime()
    assert set(homes(three).values()) == set(three.nodes)
    stack.simulate(
        "faults", {"random": {"seed": 1, "rate": 1.0, "kinds": [{"kind": "latency", "seconds": LATENCY}]}}
    )
    receipts = [accept(stack.runtime(wakes=False), links(account, range(60))) for account in ACCOUNTS]
    for account in ACCOUNTS * 2:
        for _ in range(4):  # one for every process there is
            runtime.wake(account, 0.0)
    for account in ACCOUNTS:
        done(stack, runtime, account, range(60))
    stack.simulate("faults", {})
    assert all(succeeded(runtime, each) for each in receipts)
    assert repeated(stack) == {}
    assert (
        closest(stack) > 0.9 * LATENCY
    )  # a second holder would not wait for the answer that the first waits for
    for name in ("worker", "worker-2"):
        assert "request.done" in stack.log(name).read_text()


def test_a_record_is_erased_on_whichever_node_its_account_lives(three: Cluster, stack: Stack) -> None:
    runtime = stack.runtime()
    for account in ACCOUNTS:
        assert named(runtime, "1007", account)
        assert build_services(runtime).erasure.erase(account, "estate", 1007, by="ada")["jobs"] == 1
    assert [account for account in ACCOUNTS if named(runtime, "1007", account)] == []
    assert all(named(runtime, "1008", account) for account in ACCOUNTS)


def named(runtime: Runtime, estate: str, account: str) -> list[bytes]:
    """The keys of relations of the estate."""
    keys = runtime.client.scan_iter(f"*{{{account}}}:rel:*", count=1000)
    return [key for key in keys if f":{estate}:".encode() in key]


def test_a_dead_node_stops_its_own_accounts_only_and_they_go_on_when_it_is_back(
    three: Cluster, stack: Stack
) -> None:
    node = three.home("relations:accounts")  # the hardest one: the registry goes with it
    gone = [account for account, home in homes(three).items() if home is node]
    alive = [account for account in ACCOUNTS if account not in gone]
    runtime, more = stack.runtime(), range(60, 80)
    runtime.store.pause(gone[0], Pause("by hand"))
    waiting = accept(runtime, links(gone[0], more))
    node.kill()
    for each in set(three.nodes) - {node}:
        ask(each, "SCRIPT FLUSH")  # as if it had been started again
    fresh = stack.runtime(wakes=False)  # knows no node yet, and leaves waking to the sweep
    parts = fresh.intake().accept_each([one for name in ACCOUNTS for one in links(name, more)])
    refused = dict(zip(ACCOUNTS, (part.error for part in parts), strict=True))
    assert {account for account, error in refused.items() if isinstance(error, StoreUnavailable)} == set(gone)
    assert [refused[account] for account in alive] == [None] * len(alive)
    assert fresh.stalled_replays() == []  # nor does what cannot be asked end a sweep
    for account in alive:
        done(stack, fresh, account, range(80))
    node.restart()
    until(
        lambda: all(opened(runtime, account) == 0 for account in gone[1:]), "the node is not back", seconds=60
    )
    for account in gone:
        accept(runtime, links(account, more))
    runtime.store.resume(gone[0])
    runtime.wake(gone[0], 0.0)
    for account in gone:
        done(stack, runtime, account, range(80))
    assert succeeded(runtime, waiting)
    assert repeated(stack) == {}


def test_a_node_that_hangs_is_asked_once_and_then_left_alone_for_a_while(three: Cluster) -> None:
    store = RedisStore(connect(three.url), "hangs")
    asked = {
        each: next(name for name in ACCOUNTS if three.home(f"hangs:{{{name}}}") is each)
        for each in three.nodes
    }
    assert all(store.get_job(f"{account}-1") is None for account in asked.values())
    node = three.nodes[0]
    assert node.pid
    os.kill(node.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            store.get_job(f"{asked[node]}-1")
        for _ in range(20):  # each would take ten seconds
            with pytest.raises(StoreUnavailable, match="a moment ago"):
                store.get_job(f"{asked[node]}-1")
            assert all(
                store.get_job(f"{account}-1") is None for each, account in asked.items() if each is not node
            )
    finally:
        os.kill(node.pid, signal.SIGCONT)


def test_a_client_of_a_cluster_that_is_away_is_made_all_the_same_and_says_so_when_used(
    tmp_path: Path,
) -> None:
    store = RedisStore(connect("redis+cluster://127.0.0.1:1,127.0.0.1:2"), "t")
    with pytest.raises(StoreUnavailable, match="Redis cannot be used"):
        store.get_job("acme-1")
