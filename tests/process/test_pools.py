"""Workers of every pool of Celery that needs no other library work beside each other."""

import sys
from pathlib import Path

import pytest

from ops.dev.processes import Process
from ops.dev.stack import Shape, running
from tests.support.deploy_work import LIMITS, accept, link_changes, repeated_creates, wait_until_done

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
                worker.wait_until(lambda: len(runtime.metrics.list_workers()) == len(POOLS), seconds=40)
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
