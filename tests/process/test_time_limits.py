"""A time limit of the worker ends a task while the store hangs: its changes are accepted all the same."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from ops.dev.processes import Process
from ops.dev.redis_server import RedisServer, run_server
from ops.dev.stack import Shape, running
from tests.support.deploy_work import message
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.celery_patches import RESENDS_HEADER
from worker.redis.client import connect


@pytest.mark.parametrize(
    ("limit", "counter"), [("--soft-time-limit", RESENDS_HEADER), ("--time-limit", "retries")]
)
def test_a_message_of_changes_outlives_a_time_limit(
    tmp_path: Path, redis_server: RedisServer, redis_url: str, limit: str, counter: str
) -> None:
    with (
        run_server(tmp_path / "store") as store,
        running(tmp_path, Shape(accounts=("nord",), parts=(), store=store.url, broker=redis_url)) as stack,
    ):
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-c", "1", limit, "1"]
        with (
            Process(command, log=tmp_path / "limited.log", env=stack.environ, cwd=tmp_path) as worker,
            stack.celery() as producer,
        ):
            runtime = stack.runtime(wakes=False)
            worker.wait_until(lambda: bool(runtime.metrics.list_workers()), seconds=HANGS_AFTER)
            assert store.pid
            os.kill(store.pid, signal.SIGSTOP)
            try:
                producer.send_task("relations.accept", [message("nord", 1)], queue="relations.intake")
                worker.wait_until(lambda: "ime limit (1" in worker.tail(), seconds=HANGS_AFTER)
                wait_until(lambda: 1 in count_again(redis_url, counter), "it comes again at once, for ever")
            finally:
                os.kill(store.pid, signal.SIGCONT)
            wait_until(lambda: runtime.store.counts("nord").get("accepted") == 1, "the message is lost")


def count_again(broker_url: str, counter: str) -> list[int]:
    """Return how often the messages came again, by a header, that a worker has or that wait for one."""
    with connect(broker_url) as client:
        taken = [json.loads(text)[0] for text in client.hvals("relations/unacked")]
        waiting = [json.loads(text) for text in client.lrange("relations.intake", 0, -1)]
    return [message["headers"].get(counter, 0) for message in (*taken, *waiting)]
