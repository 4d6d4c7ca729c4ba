"""The store on a cluster of three masters, two workers with two processes each, and nine accounts."""

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
from tests.support.clusters import Cluster, run_cluster, run_command
from tests.support.deploy_work import (
    accept,
    all_succeeded,
    count_open,
    crm_links,
    link_changes,
    make_shape,
    repeated_creates,
    shortest_gap,
    wait_until_done,
)
from tests.support.erasing import erase_record
from tests.support.forwarding import Forwarder
from tests.support.waiting import wait_until
from worker.errors import StoreUnavailable
from worker.ports.pace import Pause
from worker.redis.client import connect, translate_errors
from worker.store.redis_store import RedisStore
from worker.wiring import Runtime

ACCOUNTS = tuple(f"office-{number}" for number in range(9))
LATENCY = 0.05
ROOT = Path(__file__).parents[2]
LAWFUL = ("transitions", "outcomes", "store_queries", "store_job_admin", "integrity", "kept_deliveries")
LAWS = [
    *(f"tests/store/test_{name}.py" for name in LAWFUL),
    "tests/flow/test_flows.py",
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with run_cluster(tmp_path_factory.mktemp("cluster")) as running_cluster:
        yield running_cluster


@pytest.fixture(scope="module")
def stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    place = tmp_path_factory.mktemp("stack")
    with run_server(place / "broker", persist="everysec") as broker:
        wanted = make_shape(
            *ACCOUNTS,
            parts=("worker", "beat"),
            store=cluster.url,
            broker=broker.url,
            workers=2,
            concurrency=2,
        )
        with running(place, wanted) as stack:
            yield stack
            stack.kill()  # its store and broker end next, so nothing could end in order


def nodes_by_account(cluster: Cluster) -> dict[str, RedisServer]:
    """Return the node of each account."""
    return {account: cluster.node_of(f"relations:{{{account}}}") for account in ACCOUNTS}


def test_every_law_of_the_store_and_every_flow_holds_on_a_cluster(cluster: Cluster) -> None:
    wanted = "not memory and not contradicts and not asks_once"  # that counts what one server is asked
    options = ["-q", "-x", "-o", "addopts=", "-p", "no:cacheprovider", "-k", wanted]
    command = [sys.executable, "-m", "pytest", *options, *LAWS]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "STORE_URL": cluster.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout


def test_nothing_is_done_twice_and_one_worker_at_a_time_has_an_account(
    cluster: Cluster, stack: Stack
) -> None:
    runtime = stack.runtime()
    assert set(nodes_by_account(cluster).values()) == set(cluster.nodes)
    stack.simulate(
        "faults", {"random": {"seed": 1, "rate": 1.0, "kinds": [{"kind": "latency", "seconds": LATENCY}]}}
    )
    receipts = [accept(stack.runtime(wakes=False), link_changes(account, range(60))) for account in ACCOUNTS]
    for account in ACCOUNTS * 2:
        for _ in range(4):  # once per process
            runtime.wake(account, 0.0)
    for account in ACCOUNTS:
        wait_until_done(stack, runtime, account, range(60))
    stack.simulate("faults", {})
    assert all(all_succeeded(runtime, of_account) for of_account in receipts)
    assert repeated_creates(stack) == {}
    # A second holder would not wait for the answer that the first waits for.
    assert shortest_gap(stack) > 0.9 * LATENCY
    for name in ("worker", "worker-2"):
        assert "request.done" in stack.log(name).read_text()


def test_a_record_is_erased_on_whichever_node_its_account_lives(cluster: Cluster, stack: Stack) -> None:
    runtime, there = stack.runtime(), {account: crm_links(stack, account) for account in ACCOUNTS}
    for account in ACCOUNTS:
        accept(runtime, link_changes(account, (90, 91)))
    for account in ACCOUNTS:
        wait_until_done(stack, runtime, account, there[account] | {90, 91})
        assert relation_keys(runtime, "1090", account)
        assert erase_record(build_services(runtime).erasure, account, "estate", 1090, by="ada")["jobs"] == 1
    assert [account for account in ACCOUNTS if relation_keys(runtime, "1090", account)] == []
    assert all(relation_keys(runtime, "1091", account) for account in ACCOUNTS)


def relation_keys(runtime: Runtime, estate: str, account: str) -> list[bytes]:
    """Return the names of the estate's relations that are remembered."""
    base = f"relations:{{{account}}}:memories"
    names = [name for generation in (0, 1) for name in runtime.client.hkeys(f"{base}:{generation}")]
    return [name for name in names if f":{estate}:".encode() in name]


def test_a_dead_node_stops_its_own_accounts_only_and_they_go_on_when_it_is_back(
    cluster: Cluster, stack: Stack
) -> None:
    node = cluster.node_of("relations:accounts")  # the worst case: the registry is there
    gone = [account for account, its_node in nodes_by_account(cluster).items() if its_node is node]
    alive = [account for account in ACCOUNTS if account not in gone]
    runtime, more = stack.runtime(), range(60, 80)
    wanted = {account: crm_links(stack, account) | {*more} for account in ACCOUNTS}
    runtime.store.pause(gone[0], Pause("by hand"))
    waiting = accept(runtime, link_changes(gone[0], more))
    node.kill()
    for other in set(cluster.nodes) - {node}:
        run_command(other, "SCRIPT FLUSH")  # as if it had been restarted
    fresh = stack.runtime(wakes=False)  # knows no node yet, and sends no flush messages
    parts = fresh.intake().accept_by_account(
        [change for name in ACCOUNTS for change in link_changes(name, more)]
    )
    error_of = dict(zip(ACCOUNTS, (part.error for part in parts), strict=True))
    assert {account for account, error in error_of.items() if isinstance(error, StoreUnavailable)} == set(
        gone
    )
    assert [error_of[account] for account in alive] == [None] * len(alive)
    assert fresh.sweeper.stalled_replays() == []  # an account out of reach does not end the sweep
    for account in alive:
        wait_until_done(stack, fresh, account, wanted[account])
    node.restart()
    wait_until(
        lambda: all(count_open(runtime, account) == 0 for account in gone[1:]),
        "the node is not back",
    )
    for account in gone:
        accept(runtime, link_changes(account, more))
    runtime.store.resume(gone[0])
    runtime.wake(gone[0], 0.0)
    for account in gone:
        wait_until_done(stack, runtime, account, wanted[account])
    assert all_succeeded(runtime, waiting)
    assert repeated_creates(stack) == {}


def test_a_node_that_hangs_is_asked_once_and_then_left_alone_for_a_while(cluster: Cluster) -> None:
    store = RedisStore(connect(cluster.url), "hangs")
    account_on = {
        node: next(name for name in ACCOUNTS if cluster.node_of(f"hangs:{{{name}}}") is node)
        for node in cluster.nodes
    }
    assert all(store.get_job(f"{account}-1") is None for account in account_on.values())
    node = cluster.nodes[0]
    assert node.pid
    os.kill(node.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            store.get_job(f"{account_on[node]}-1")
        for _ in range(20):  # each would take ten seconds
            with pytest.raises(StoreUnavailable, match="a moment ago"):
                store.get_job(f"{account_on[node]}-1")
            others = [account for other, account in account_on.items() if other is not node]
            assert all(store.get_job(f"{account}-1") is None for account in others)
    finally:
        os.kill(node.pid, signal.SIGCONT)


def test_a_client_of_a_cluster_that_is_away_can_be_made_and_fails_when_used(
    tmp_path: Path,
) -> None:
    store = RedisStore(connect("redis+cluster://127.0.0.1:1,127.0.0.1:2"), "t")
    with pytest.raises(StoreUnavailable, match="Redis cannot be used"):
        store.get_job("acme-1")


def test_nodes_that_all_have_other_addresses_are_found_by_the_name_of_the_url(tmp_path: Path) -> None:
    with (
        run_cluster(tmp_path / "old") as old,
        run_cluster(tmp_path / "new") as new,
        Forwarder(old.nodes[0]) as name,
    ):
        client = connect(name.url.replace("redis://", "redis+cluster://").removesuffix("/0"))
        client.set("where", "old")
        name.target = new.nodes[0]
        for node in old.nodes:
            node.kill()
        client.set("where", "new")
        with translate_errors(), client.pipeline(transaction=False) as pipeline:
            pipeline.get("where")
            assert pipeline.execute() == [b"new"]
