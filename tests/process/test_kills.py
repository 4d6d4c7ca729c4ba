"""Real workers, really killed: what was accepted is done all the same."""

import time
from pathlib import Path

from ops.demo import crm
from ops.demo.burst import Burst, burst
from ops.stack import QUICK, Shape, Stack, running
from worker.contract import from_message

CHANGES, KILLS = 600, 3


def test_changes_survive_the_sigkill_of_every_worker(tmp_path: Path) -> None:
    # A slow pace, so that there is always something in a worker's hand; `doubt` is as short as the rules allow.
    shape = Shape(
        defaults={**QUICK, "window": 0.2, "rate": 20.0, "burst": 1, "max_actions": 10, "doubt": 125.0}, parts=("worker", "beat", "api")
    )
    with running(tmp_path, shape) as stack:
        made = burst(CHANGES, seed=7, accounts=shape.accounts, start=time.time_ns() // 1000 - 60_000_000)
        feed(stack, made)
        for _ in range(KILLS):
            progress(stack)
            stack.replace("worker")
        store = stack.runtime().store
        crm.settle(store, stack, accepted=CHANGES, seconds=60, say=lambda _: None)
        held = {account: crm.relations(stack, account) for account in shape.accounts}
        assert crm.differences(held, made.mended) == []
        states, results = crm.outcomes(store, stack.credentials)
        assert set(states) <= {"succeeded", "superseded"}
        assert not results["unequal"]


def feed(stack: Stack, made: Burst) -> None:
    """Everything at once and no late change: every wish for a relation is folded before anything of it can be in doubt."""
    changes = [from_message(arrival.message).change for arrival in made.arrivals]
    for part in stack.runtime().intake().accept_each(changes):
        assert part.error is None


def progress(stack: Stack) -> None:
    """Wait until the worker has sent something more."""
    before, deadline = stack.simulate("stats")["requests"], time.monotonic() + 30
    while stack.simulate("stats")["requests"] < before + 3:
        assert time.monotonic() < deadline, stack.processes["worker"].tail()
