"""Every line that a process writes is one JSON object, where and as loud as Celery's options say."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ops.dev.redis_server import run_server
from ops.dev.stack import PARTS, QUICK, Shape, running
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.config import load_settings
from worker.wiring import connect_metrics

CELERY = (sys.executable, "-m", "celery")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines; one that is no JSON object fails the test."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_line_of_every_process_is_one_json_object(tmp_path: Path) -> None:
    with running(tmp_path, Shape(accounts=("nord",), defaults=QUICK, concurrency=1)) as stack:
        for part in PARTS:
            os.kill(stack.processes[part].pid, signal.SIGTERM)
            assert stack.processes[part].wait(seconds=HANGS_AFTER) == 0
        events = {part: [line["event"] for line in read_lines(stack.log(part))] for part in PARTS}
    assert "worker.started" in events["worker"]
    assert "worker: Warm shutdown (MainProcess)" in events["worker"]
    assert events["beat"][0] == "beat.started"
    assert events["api"] == ["api.started", "api.stopped"]


def test_what_nobody_caught_is_one_line_too(tmp_path: Path) -> None:
    script = """
import threading, warnings
from worker import log
log.configure("json"); log.capture_the_rest()
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0, name="t"); thread.start(); thread.join()
raise RuntimeError("at the end")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["warning", "critical", "critical"]
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert ended.returncode == 1


def test_level_and_file_of_celerys_options_hold_also_for_celery_multi(tmp_path: Path) -> None:
    nodes = {"loud": "debug", "quiet": "warning"}
    with run_server(tmp_path / "redis") as server:
        env = {**os.environ, "RELATIONS_REDIS_URL": server.url, "RELATIONS_LOG": "json"}
        metrics = connect_metrics(load_settings(env, tmp_path))

        def multi(command: str, *options: str) -> None:
            where = ("--pidfile=%n.pid", "--logfile=%n.log")
            full = [*CELERY, "multi", command, *nodes, "-A", "worker.app", *where, *options]
            subprocess.run(full, cwd=tmp_path, env=env, check=True, capture_output=True, timeout=HANGS_AFTER)

        multi("start", "-c", "1", *(word for node in nodes for word in (f"-l:{node}", nodes[node].upper())))
        try:
            wait_until(lambda: len(metrics.list_workers()) == len(nodes), "they do not run")
        finally:
            multi("stopwait")
    order = ("debug", "info", "warning", "error", "critical")
    for node, quietest in nodes.items():
        levels = {line["level"] for line in read_lines(tmp_path / f"{node}.log")}
        assert all(order.index(each) >= order.index(quietest) for each in levels), levels
        assert quietest in levels or quietest == "warning"
