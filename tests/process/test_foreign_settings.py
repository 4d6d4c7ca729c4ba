"""Variables that others set for their own Celery change nothing of ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from ops.dev.redis_server import run_server
from ops.dev.stack import QUICK, Shape, running
from tests.support.clusters import run_command
from tests.support.deploy_work import CHANGE
from tests.support.waiting import wait_until

FOREIGN = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND")


def test_work_goes_over_our_broker_whatever_celery_finds_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_server(tmp_path / "foreign") as foreign:
        for variable in (*FOREIGN, "BROKER_URL", "RESULT_BACKEND"):
            monkeypatch.setenv(variable, foreign.url)
        monkeypatch.setenv("CELERY_LOADER", "default")
        monkeypatch.setenv("CELERY_CONFIG_MODULE", "no_such_module")
        shape = Shape(accounts=("nord",), defaults={**QUICK, "window": 0.1}, concurrency=1)
        with running(tmp_path / "stack", shape) as stack:
            headers, change = (
                {"Authorization": f"Bearer {stack.key}"},
                {**CHANGE, "childid": 1, "batch": "own"},
            )
            assert stack.http.post(f"{stack.url}/v1/changes", json=change, headers=headers).is_success
            counts = stack.runtime(wakes=False).store.batch_counts
            wait_until(lambda: counts("nord", "own").get("succeeded") == 1, "nothing is sent")
            doctor = subprocess.run(
                [sys.executable, "-m", "ops.cli", "doctor"],
                env={**os.environ, **stack.environ},
                cwd=stack.directory,
                capture_output=True,
                text=True,
            ).stdout
            assert f"ok    broker: {stack.broker_url}\n" in doctor
            assert foreign.url not in doctor
        assert run_command(foreign, "DBSIZE") == 0
        commands = Redis.from_url(foreign.url).info("commandstats")
        assert not {"cmdstat_lpush", "cmdstat_brpop", "cmdstat_psubscribe"} & set(commands)
