"""A name that leads to another server while connections to the old one stay open."""

import time
from pathlib import Path

from ops.dev.redis_server import run_server
from ops.dev.stack import QUICK, Shape, running
from tests.support.clusters import read_info, run_command
from tests.support.deploy_work import CHANGE
from tests.support.forwarding import Forwarder, port_of
from tests.support.waiting import wait_until


def test_changes_are_taken_and_sent_within_seconds_after_the_master_behind_a_name_was_demoted(
    tmp_path: Path,
) -> None:
    with run_server(tmp_path / "old") as old, run_server(tmp_path / "new") as new, Forwarder(old) as name:
        run_command(new, "REPLICAOF", "127.0.0.1", port_of(old))
        wait_until(lambda: "master_link_status:up" in read_info(new, "replication"), "no replica")
        shape = Shape(accounts=("nord",), defaults={**QUICK, "window": 0.1}, store=name.url, concurrency=1)
        with running(tmp_path / "stack", shape) as stack:
            headers = {"Authorization": f"Bearer {stack.key}"}

            def send(child: int) -> int:
                change = {**CHANGE, "childid": child, "batch": "name"}
                return stack.http.post(f"{stack.url}/v1/changes", json=change, headers=headers).status_code

            assert [send(child) for child in range(1, 6)] == [202] * 5
            name.target = new
            run_command(new, "REPLICAOF", "NO", "ONE")
            run_command(old, "REPLICAOF", "127.0.0.1", port_of(new))
            demoted = time.monotonic()
            wait_until(lambda: send(6) == 202, "changes are not taken")
            assert time.monotonic() - demoted < 5
            store = stack.runtime(wakes=False).store
            wait_until(
                lambda: store.batch_counts("nord", "name").get("succeeded") == 6,
                "not all was sent",
            )
            assert not stack.ended()
