"""Store and broker behind three sentinels: the master dies, and every process moves to the replica."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from celery import Celery

from ops.dev.redis_server import run_server
from ops.dev.stack import Stack, running
from tests.support.cli_runner import make_cli, make_environ, write_settings
from tests.support.clusters import SentinelSetup, read_info, run_command, run_sentinels
from tests.support.deploy_work import (
    accept,
    all_succeeded,
    count_open,
    link_changes,
    make_shape,
    message,
    repeated_creates,
    wait_until_done,
)
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.errors import StoreUnavailable
from worker.ports.pace import Pause
from worker.redis.broker import broker_settings
from worker.redis.client import connect
from worker.store.redis_store import RedisStore


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSetup]:
    with run_sentinels(tmp_path_factory.mktemp("sentinels")) as setup:
        yield setup


def is_in_sync(sentinels: SentinelSetup) -> bool:
    """Return whether the replica has all that the master has written."""
    lines = read_info(sentinels.master, "replication").split("\r\n")
    info = dict(line.split(":", 1) for line in lines if ":" in line)
    return f"offset={info['master_repl_offset']}," in info["slave0"]


def post_changes(stack: Stack, numbers: range) -> bool:
    """Return whether the HTTP API accepted these changes; it answers 503 while it cannot."""
    body = [message("nord", number) for number in numbers]
    answer = httpx.post(
        f"{stack.url}/v1/changes", json=body, headers={"Authorization": f"Bearer {stack.key}"}, timeout=60
    )
    assert answer.status_code in (202, 503), answer.text
    return answer.status_code == 202


def test_a_wake_up_is_sent_though_the_master_is_full(sentinels: SentinelSetup) -> None:
    run_command(sentinels.master, "CONFIG SET", "maxmemory", 1)
    urls = {"RELATIONS_REDIS_URL": sentinels.url, "RELATIONS_BROKER_URL": sentinels.url}
    code = "from worker.app import app; from worker.wakeups import send_wakeup; send_wakeup(app, 'nord', 0.0)"
    subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | urls,
        check=True,
    )
    run_command(sentinels.master, "CONFIG SET", "maxmemory", 0)
    assert run_command(sentinels.master, "LLEN", "relations.flush") == 1
    run_command(sentinels.master, "DEL", "relations.flush")


def test_worker_beat_and_interface_follow_to_the_new_master_with_all_that_was_replicated(
    sentinels: SentinelSetup, tmp_path: Path
) -> None:
    with running(tmp_path, make_shape("nord", "sued", store=sentinels.url)) as stack:
        runtime, pids = stack.runtime(), {name: process.pid for name, process in stack.processes.items()}
        first = accept(runtime, link_changes("nord", range(20)))
        wait_until_done(stack, runtime, "nord", range(20))
        runtime.store.pause("sued", Pause("by hand"))
        waiting = accept(runtime, link_changes("sued", range(20)))
        wait_until(lambda: is_in_sync(sentinels), "the replica is not in sync")
        sentinels.master.kill()
        wait_until(lambda: post_changes(stack, range(20, 40)), "nothing is accepted")
        assert run_command(sentinels.replica, "ROLE")[0] == "master"
        assert all_succeeded(runtime, first)
        assert runtime.store.get_pause("sued")
        assert count_open(runtime, "sued") == 20
        runtime.store.resume("sued")
        wait_until_done(stack, runtime, "nord", range(40))
        wait_until_done(stack, runtime, "sued", range(20))
        assert all_succeeded(runtime, waiting)
        assert repeated_creates(stack) == {}
        assert {name: process.pid for name, process in stack.processes.items()} == pids
        assert stack.ended() == []
        stack.kill()  # its store and broker end next, so nothing could end in order


def test_every_process_leaves_a_master_that_hangs(tmp_path: Path) -> None:
    with (
        run_sentinels(tmp_path / "sentinels") as sentinels,
        running(tmp_path, make_shape("nord", store=f"{sentinels.url}?socket_timeout=1.5")) as stack,
    ):
        pids = {name: process.pid for name, process in stack.processes.items()}
        wait_until_done(stack, stack.runtime(), "nord", range(0))
        assert post_changes(stack, range(20))
        wait_until_done(stack, stack.runtime(), "nord", range(20))
        assert sentinels.master.pid
        os.kill(sentinels.master.pid, signal.SIGSTOP)
        wait_until(lambda: post_changes(stack, range(20, 40)), "nothing is accepted")
        wait_until_done(stack, stack.runtime(wakes=False), "nord", range(40))
        assert {name: process.pid for name, process in stack.processes.items()} == pids
        sentinels.master.kill()  # it would not hear that it is to end
        stack.kill()  # its store and broker end next, so nothing could end in order


def test_a_sentinel_whose_machine_hangs_is_asked_once_before_the_next_one(
    sentinels: SentinelSetup,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hangs:  # takes connections, and never says a word
        first = f"sentinel://127.0.0.1:{hangs.getsockname()[1]},"
        url = f"{sentinels.url.replace('sentinel://', first, 1)}?socket_timeout=0.2"
        client = connect(url)
        client.ping()
        assert count_waiting(hangs) == 1
        app = Celery()
        app.conf.update(broker_settings(url, "relations"))
        with app.connection_for_write() as broker:
            broker.default_channel.client.ping()
        assert count_waiting(hangs) == 1


def count_waiting(server: socket.socket) -> int:
    """Return how many connections were made to a server since this was asked last."""
    server.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


def test_the_doctor_names_the_broker_with_all_its_sentinels(sentinels: SentinelSetup, tmp_path: Path) -> None:
    cli = make_cli(make_environ(write_settings(tmp_path, "http://127.0.0.1:1", "acme"), sentinels.url))
    findings = json.loads(cli("doctor", "--no-api", "--json", code=None).stdout)["findings"]
    broker = next(finding for finding in findings if finding["what"] == "broker")
    assert (broker["level"], broker["text"]) == ("ok", sentinels.url)


def test_a_worker_tells_of_its_broker_and_of_no_password(sentinels: SentinelSetup, tmp_path: Path) -> None:
    """`celery inspect stats` and Flower ask it; its servers take any password of this user."""
    url = sentinels.url.replace("://", "://default:of-the-master@")
    url += "?sentinel_username=default&sentinel_password=of-the-sentinels"
    with running(tmp_path, make_shape("nord", parts=("worker",), store=url)) as stack:
        [told] = stack.celery().control.inspect(timeout=HANGS_AFTER, limit=1).stats().values()
        stack.kill()
    assert len(told["broker"]["alternates"]) == len(sentinels.sentinels)
    assert "of-the-" not in json.dumps(told)


def test_a_service_that_no_sentinel_knows_is_a_store_that_is_away(sentinels: SentinelSetup) -> None:
    store = RedisStore(connect(sentinels.url.replace("/main/", "/other/")), "t")
    with pytest.raises(StoreUnavailable, match="Redis cannot be used"):
        store.get_job("acme-1")


def test_a_master_that_must_have_a_replica_refuses_changes_while_it_has_none(tmp_path: Path) -> None:
    with run_server(tmp_path) as alone:
        run_command(alone, "CONFIG SET", "min-replicas-to-write", 1)
        store = RedisStore(connect(alone.url), "t")
        with pytest.raises(StoreUnavailable, match="Not enough good replicas"):
            store.lease("acme", "h1")
