"""Store and broker behind three sentinels: the master dies, and everybody follows to the replica without being started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ops.dev.redis_server import run_server
from ops.dev.stack import Stack, running
from tests.support.clusters import Guarded, ask, guarded, info, until
from tests.support.deploy_work import accept, done, links, message, opened, repeated, shape, succeeded
from worker.errors import StoreUnavailable
from worker.ports import Pause
from worker.redis.client import connect
from worker.store.redis_store import RedisStore


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("guarded")) as made:
        yield made


def in_step(pair: Guarded) -> bool:
    """Whether the replica has all that the master has written."""
    words = dict(line.split(":", 1) for line in info(pair.master, "replication").split("\r\n") if ":" in line)
    return f"offset={words['master_repl_offset']}," in words["slave0"]


def posted(stack: Stack, numbers: range) -> bool:
    """Whether the interface has accepted these changes; it says 503 while it cannot."""
    body = [message("nord", number) for number in numbers]
    answer = httpx.post(
        f"{stack.url}/v1/changes", json=body, headers={"Authorization": f"Bearer {stack.key}"}, timeout=60
    )
    assert answer.status_code in (202, 503), answer.text
    return answer.status_code == 202


def test_a_wake_up_is_sent_though_the_master_is_full(pair: Guarded) -> None:
    ask(pair.master, "CONFIG SET", "maxmemory", 1)
    where = {"RELATIONS_REDIS_URL": pair.url, "RELATIONS_BROKER_URL": pair.url}
    subprocess.run(
        [sys.executable, "-c", "from worker.app import app; from worker.wakeups import send_wakeup; send_wakeup(app, 'nord', 0.0)"],
        env=os.environ | where,
        check=True,
    )
    ask(pair.master, "CONFIG SET", "maxmemory", 0)
    assert ask(pair.master, "LLEN", "relations.flush") == 1
    ask(pair.master, "DEL", "relations.flush")


def test_worker_beat_and_interface_follow_to_the_new_master_with_all_that_was_replicated(
    pair: Guarded, tmp_path: Path
) -> None:
    with running(tmp_path, shape("nord", "sued", store=pair.url)) as stack:
        runtime, pids = stack.runtime(), {name: process.pid for name, process in stack.processes.items()}
        first = accept(runtime, links("nord", range(20)))
        done(stack, runtime, "nord", range(20))
        runtime.store.pause("sued", Pause("by hand"))
        waiting = accept(runtime, links("sued", range(20)))
        until(lambda: in_step(pair), "the replica is not in step")
        pair.master.kill()
        until(lambda: posted(stack, range(20, 40)), "nothing is accepted", seconds=60)
        assert ask(pair.replica, "ROLE")[0] == "master"
        assert succeeded(runtime, first)
        assert runtime.store.get_pause("sued")
        assert opened(runtime, "sued") == 20
        runtime.store.resume("sued")
        done(stack, runtime, "nord", range(40))
        done(stack, runtime, "sued", range(20))
        assert succeeded(runtime, waiting)
        assert repeated(stack) == {}
        assert {name: process.pid for name, process in stack.processes.items()} == pids
        assert stack.ended() == []
        stack.kill()  # nothing is left to end well


def test_everybody_leaves_a_master_that_hangs(tmp_path: Path) -> None:
    with guarded(tmp_path / "guarded") as pair, running(tmp_path, shape("nord", store=pair.url)) as stack:
        pids = {name: process.pid for name, process in stack.processes.items()}
        done(stack, stack.runtime(), "nord", range(0))
        assert posted(stack, range(20))
        done(stack, stack.runtime(), "nord", range(20))
        assert pair.master.pid
        os.kill(pair.master.pid, signal.SIGSTOP)
        until(lambda: posted(stack, range(20, 40)), "nothing is accepted", seconds=60)
        done(stack, stack.runtime(wakes=False), "nord", range(40))
        assert {name: process.pid for name, process in stack.processes.items()} == pids
        stack.kill()  # nothing is left to end well


def test_a_service_that_no_sentinel_knows_is_a_store_that_is_away(pair: Guarded) -> None:
    store = RedisStore(connect(pair.url.replace("/main/", "/other/")), "t")
    with pytest.raises(StoreUnavailable, match="Redis cannot be used"):
        store.get_job("acme-1")


def test_a_master_that_must_have_a_replica_refuses_changes_while_it_has_none(tmp_path: Path) -> None:
    with run_server(tmp_path) as alone:
        ask(alone, "CONFIG SET", "min-replicas-to-write", 1)
        store = RedisStore(connect(alone.url), "t")
        with pytest.raises(StoreUnavailable, match="Not enough good replicas"):
            store.lease("acme", "h1")
