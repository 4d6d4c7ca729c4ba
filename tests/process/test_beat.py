"""Beat goes by no clock that can be set, keeps no file, and does not fill a queue that nobody reads."""

import json
from pathlib import Path

from redis import Redis

from ops.dev.stack import QUICK, Shape, running
from tests.support.waiting import wait_until
from worker.celery_beat import MAX_WAITING


def test_a_sweep_is_sent_every_two_seconds_without_an_instant_after_which_it_is_void(tmp_path: Path) -> None:
    shape = Shape(accounts=("nord",), defaults=QUICK, parts=("beat",))
    with running(tmp_path, shape) as stack:
        client: Redis = stack.runtime(wakes=False).client
        wait_until(lambda: client.llen("relations.ops") >= 2, "beat sends no sweeps")
        headers = [json.loads(message)["headers"] for message in client.lrange("relations.ops", 0, -1)]
        assert [header["expires"] for header in headers] == [None] * len(headers)
        client.rpush("relations.ops", *["{}"] * MAX_WAITING)
        waiting = client.llen("relations.ops")
        seen = client.info("commandstats")["cmdstat_llen"]["calls"]
        wait_until(
            lambda: client.info("commandstats")["cmdstat_llen"]["calls"] > seen + 5,
            "beat looks no more",
        )
        assert client.llen("relations.ops") <= waiting + 1  # one may have been under way
        assert not list(tmp_path.glob("celerybeat*"))
