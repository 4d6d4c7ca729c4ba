"""A message is due when it was to be, whatever the clock of the machine that sent it says."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis import Redis

from ops.dev.stack import running
from tests.support.deploy_work import accept, link_changes, make_shape, wait_until_done
from worker.celery_config import COUNTDOWN_HEADER
from worker.wakeups import TaskSender


def test_a_wakeup_by_a_clock_that_is_hours_ahead_is_due_when_it_was_to_be(tmp_path: Path) -> None:
    with running(tmp_path, make_shape("nord", parts=("worker",))) as stack:  # nobody sweeps
        runtime, ahead = stack.runtime(wakes=False), datetime.now(UTC) + timedelta(hours=3)
        accept(runtime, link_changes("nord", range(3)))
        with stack.celery() as producer:
            producer.send_task(
                "relations.flush",
                ["nord"],
                queue="relations.flush",
                eta=ahead + timedelta(seconds=0.2),
                headers={COUNTDOWN_HEADER: 0.2},
            )
        wait_until_done(stack, runtime, "nord", range(3))


def test_a_wakeup_says_in_how_many_seconds_it_is_due(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        TaskSender(redis_url, "relations").wake("nord", 40.0)
        message = json.loads(client.lrange("relations.flush", 0, 0)[0])
        assert message["headers"][COUNTDOWN_HEADER] == 40.0
        assert message["headers"]["eta"]
