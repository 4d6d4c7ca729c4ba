"""Redis full, as store and as broker: no worker ends over it or loses messages of changes it had taken."""

import os
import signal
from pathlib import Path

from celery import Celery
from redis import Redis

from ops.dev.stack import QUICK, Shape, running
from tests.support.deploy_work import CHANGE
from tests.support.full_server import out_of_memory
from tests.support.waiting import wait_until
from worker.celery_broker import OwnCelery
from worker.redis.broker import broker_settings

MESSAGES = 20


def test_messages_of_changes_outlive_a_full_redis(tmp_path: Path) -> None:
    shape = Shape(
        accounts=("nord",), defaults={**QUICK, "window": 0.1}, parts=("worker", "beat"), concurrency=1
    )
    with running(tmp_path, shape) as stack:
        runtime, worker = stack.runtime(wakes=False), stack.processes["worker"]
        os.kill(worker.pid, signal.SIGSTOP)
        app = Celery(broker=stack.broker_url)
        for child in range(1, MESSAGES + 1):
            app.send_task(
                "relations.accept",
                [{**CHANGE, "childid": child, "batch": "full"}],
                queue="relations.intake",
                ignore_result=True,
            )
        with out_of_memory(runtime.client):
            os.kill(worker.pid, signal.SIGCONT)
            client = runtime.client  # each was tried once, and waits in the worker to be tried again
            wait_until(
                lambda: client.llen("relations.intake") == 0 and client.hlen("relations/unacked") >= MESSAGES,
                "not all were taken",
            )
            assert runtime.store.batch_counts("nord", "full") == {}
        wait_until(
            lambda: runtime.store.batch_counts("nord", "full").get("succeeded") == MESSAGES,
            "not all succeeded",
        )
        assert worker.running
        assert "Unrecoverable" not in stack.log("worker").read_text("utf-8")


def test_a_message_is_sent_received_and_acknowledged_without_a_transaction(
    redis_url: str, redis_client: Redis
) -> None:
    """A full Redis 7.0 refuses whatever is in one."""
    app = OwnCelery(set_as_current=False)
    app.conf.update(broker_settings(redis_url, "t"))
    redis_client.config_resetstat()
    with app.connection_for_write() as connection, connection.SimpleQueue("t.q") as queue:
        queue.put({"n": 1})
        assert queue.qsize() == 1
        message = queue.get(timeout=5)
        assert redis_client.hlen("t/unacked") == 1
        message.ack()
        assert redis_client.hlen("t/unacked") == redis_client.zcard("t/unacked_index") == 0
    used = redis_client.info("commandstats")
    assert "cmdstat_lpush" in used
    assert "cmdstat_multi" not in used
