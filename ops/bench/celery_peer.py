"""Runs the peer: one Celery task and one signed call per change, at several concurrencies, in the same
stack's server and simulator.
"""

import sys
import time
from collections.abc import Sequence

from celery import Celery

from ops.bench.cpu import measured
from ops.bench.end_to_end import DEADLINE, POLL, Through
from ops.dev.processes import Process
from ops.dev.stack import Stack
from worker.contract import Change


def peer(stack: Stack, changes: Sequence[Change], *, concurrency: int) -> Through:
    """Send one task per change to a running peer, and wait until the simulator has executed the last."""
    account = stack.credentials[changes[0].account]
    url = f"{stack.simulator}/api/stable/api.php"
    environ = {
        "PEER_BROKER": stack.redis_url,
        "PEER_TOKEN": account.token,
        "PEER_SECRET": account.secret,
        "PEER_URL": url,
    }
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "ops.bench.peer",
        "worker",
        "-c",
        str(concurrency),
        "-l",
        "WARNING",
    ]
    with (
        Process(
            [*command, "--without-gossip", "--without-mingle"], log=stack.log("peer"), env=environ
        ) as process,
        Celery(broker=stack.redis_url) as app,  # ours asks workers of its own prefix only
    ):
        process.wait_until(lambda: bool(app.control.ping(timeout=0.5, limit=1)), seconds=30.0)
        return _sent(stack, app, changes, process)


def _sent(stack: Stack, app: Celery, changes: Sequence[Change], process: Process) -> Through:
    before = stack.simulate("stats")["executed"]
    groups = {
        "worker": process.pid,
        "simulator": stack.processes["simulator"].pid,
        "redis": stack.server.pid or 0,
    }
    with measured(groups) as cpu:
        started = time.monotonic()
        for change in changes:
            app.send_task(
                "peer.send", [change.action, change.type, change.parents[0], change.children[0]], queue="peer"
            )
        accepted = time.monotonic()
        while (executed := stack.simulate("stats")["executed"] - before) < len(
            changes
        ) and time.monotonic() < started + DEADLINE:
            time.sleep(POLL)
        ended = time.monotonic()
        spent = cpu()
    return Through(
        changes=executed,
        seconds=ended - started,
        accepting=accepted - started,
        requests=executed,
        actions=executed,
        cpu=spent,
    )
