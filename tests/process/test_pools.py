"""Workers of every pool of Celery that needs no other library work beside each other, and end well."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from celery.concurrency import get_implementation

from ops.dev.processes import Process
from ops.dev.stack import Shape, running
from tests.support.deploy_work import (
    LIMITS,
    accept,
    link_changes,
    message,
    repeated_creates,
    wait_until_done,
)
from tests.support.waiting import HANGS_AFTER
from worker.app import app
from worker.celery_patches import CheckedRequest
from worker.tasks import accept as accept_task

POOLS = {
    "solo": ("-P", "solo"),
    "threads": ("-P", "threads", "-c", "2"),
    "recycled": ("--autoscale", "2,1", "--max-tasks-per-child", "1"),
}


@pytest.fixture
def accounts() -> tuple[str, ...]:
    return ("nord", "sued", "west")


def test_solo_threads_autoscale_and_recycled_children_do_the_same(
    tmp_path: Path, accounts: tuple[str, ...]
) -> None:
    with running(tmp_path, Shape(accounts=accounts, defaults=LIMITS, parts=("beat",))) as stack:
        celery = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
        workers = [
            Process(
                [*celery, *options, "-n", f"{name}@%h"],
                log=tmp_path / f"{name}.log",
                env=stack.environ,
                cwd=tmp_path,
            )
            for name, options in POOLS.items()
        ]
        try:
            runtime = stack.runtime()
            for worker in workers:
                worker.wait_until(
                    lambda: len(runtime.metrics.list_workers()) == len(POOLS), seconds=HANGS_AFTER
                )
            for account in accounts:
                accept(runtime, link_changes(account, range(30)))
            for account in accounts:
                wait_until_done(stack, runtime, account, range(30))
            assert repeated_creates(stack) == {}
            assert all(worker.running for worker in workers)
        finally:
            for worker in workers:
                worker.kill()
            stack.kill()


def test_a_child_that_is_made_while_the_settings_cannot_be_used_accepts_by_those_of_its_worker(
    tmp_path: Path,
) -> None:
    with running(tmp_path, Shape(accounts=("nord",), defaults=LIMITS, parts=("beat",))) as stack:
        celery = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "--max-tasks-per-child", "1"]
        with Process(celery, log=tmp_path / "worker.log", env=stack.environ, cwd=tmp_path) as worker:
            runtime, settings = stack.runtime(), tmp_path / "relations.toml"
            worker.wait_until(lambda: bool(runtime.metrics.list_workers()), seconds=HANGS_AFTER)
            good = settings.read_text()
            settings.write_text(good + "rate = \n")
            for number in range(4):
                stack.celery().send_task(
                    "relations.accept", [message("nord", number)], queue="relations.intake"
                )
            wait_until_done(stack, runtime, "nord", range(4))
            assert "settings.rejected" in worker.log.read_text()


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_what_runs_in_a_pool_that_cannot_cancel_it_goes_on_after_sigquit(pool: str, redis_url: str) -> None:
    with (
        app.connection_for_write(redis_url) as connection,
        connection.SimpleQueue("relations.intake") as queue,
    ):
        app.send_task("relations.accept", connection=connection, ignore_result=True)
        request: Any = CheckedRequest(queue.get(timeout=10), app=app, task=accept_task)
        request.time_start, request.worker_pid = time.monotonic(), 1
        request.cancel(get_implementation(pool)(limit=1), emit_retry=False)
        assert not request.acknowledged
