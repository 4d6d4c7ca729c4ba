"""Nobody waits for a busy neighbour, and the API never sees more of an account than its pace, however many workers there are."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.dev.stack import QUICK, Shape, Stack, running
from ops.simulator import FaultPlan, InjectedFault
from tests.support.flow_world import World, change
from tests.support.worker_shift import Shift
from tests.torture.outages import requests_over_rate
from worker.planner.plan import Limits
from worker.testing import MemoryStore

BUYER = "estate:address:buyer"
SMALL = tuple(f"small-{number}" for number in range(200))
LATENCY = 0.3
SLOW = FaultPlan.random(1, 1.0, [InjectedFault("latency", LATENCY)])


def test_the_worst_window_is_found() -> None:
    assert requests_over_rate([0.0, 10.0, 10.0, 10.5, 20.0], rate=2.0) == 2.0
    assert requests_over_rate([0.0, 1.0, 2.0], rate=1.0) == 1.0


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_200_small_accounts_wait_for_one_flush_of_a_huge_one_at_most(workers: int) -> None:
    here = World(MemoryStore, accounts=("huge", *SMALL), faults=SLOW)
    shift = Shift(here, workers=workers)
    here.accept(
        *(change("create", BUYER, 501 + number, 9001 + number, account="huge") for number in range(10_000))
    )
    for account in SMALL:
        here.accept(*(change("create", BUYER, 501 + number, 9001, account=account) for number in range(5)))
    shift.run(until=lambda: len({turn.account for turn in shift.turns}) == 201)
    assert here.store.counts("huge")["backlog"] > 0
    assert not here.open_accounts().keys() - {"huge"}  # one flush was enough for each
    huge = [turn for turn in shift.turns if turn.account == "huge"]
    for turn in shift.turns:
        assert len([other for other in huge if turn.asked <= other.begun < turn.begun]) <= 1
        assert turn.flushed is not None
        assert turn.flushed.jobs <= 1000


def test_what_comes_later_waits_for_one_flush_of_the_huge_account_at_most() -> None:
    here = World(MemoryStore, accounts=("huge", "small"), faults=SLOW, lane={"max_batch": 200})
    shift = Shift(here, workers=1)
    here.accept(
        *(change("create", BUYER, 501 + number, 9001 + number, account="huge") for number in range(6000))
    )
    for number in range(10):
        shift.run(2.0)
        here.accept(change("create", BUYER, 501 + number, 9001, account="small"))
        shift.run(until=lambda: "small" not in here.open_accounts())
    assert "huge" in here.open_accounts()
    huge = [turn for turn in shift.turns if turn.account == "huge"]
    small = [turn for turn in shift.turns if turn.account == "small"]
    assert len(small) >= 10  # the sweep may have sent a message more while one waited
    assert all(
        len([other for other in huge if turn.asked <= other.begun < turn.begun]) <= 1 for turn in small
    )


@pytest.mark.parametrize(("rate", "burst"), [(4.0, 8), (0.5, 1), (50.0, 2)])
def test_the_api_never_sees_more_than_burst_and_rate_allow(rate: float, burst: int) -> None:
    lane = {"rate": rate, "burst": burst, "limits": Limits(max_ids=1, max_actions=2)}
    here = World(MemoryStore, accounts=("acme", "other"), lane=lane)
    shift = Shift(here, workers=4)
    for account in here.accounts:
        here.accept(
            *(change("create", BUYER, 501 + number, 9001 + number, account=account) for number in range(100))
        )
    shift.run(until=shift.done)
    for account in here.accounts:
        moments = [entry.at for entry in here.simulator.log if entry.token == f"token-{account}"]
        assert len(moments) == 50
        assert requests_over_rate(moments, rate) <= burst + 1e-3  # the simulator's clock is a float
        assert moments[-1] - moments[0] <= (50 - burst) / rate + 1  # and no less than that


# --- several real worker processes

RATE, BURST, PAUSE = 10.0, 4, 1.0


def test_real_workers_share_one_pace_per_account_and_obey_retry_after(tmp_path: Path) -> None:
    small = tuple(f"small-{number}" for number in range(4))
    defaults = {**QUICK, "window": 0.2, "rate": RATE, "burst": BURST, "max_actions": 1, "max_ids": 1}
    shape = Shape(
        accounts=("huge", *small), defaults=defaults, parts=("worker", "beat"), workers=2, concurrency=1
    )
    with running(tmp_path, shape) as stack:
        runtime = stack.runtime()
        runtime.intake().accept(
            [change("create", BUYER, 501 + number, 9001 + number, account="huge") for number in range(500)]
        )
        for account in small:
            runtime.intake().accept(
                [change("create", BUYER, 501 + number, 9001 + number, account=account) for number in range(5)]
            )
        until(lambda: all(runtime.store.counts(account).get("succeeded") == 5 for account in small), stack)
        assert runtime.store.counts("huge").get("succeeded", 0) < 500
        token = stack.credentials["huge"].token
        stack.simulate("faults", {"script": [{"kind": "throttle", "seconds": PAUSE}], "token": token})
        until(lambda: any(entry["fault"] for entry in seen(stack, token)[:-2]), stack)
        log = seen(stack, token)
        [throttled] = [number for number, entry in enumerate(log) if entry["fault"]]
        assert log[throttled + 1]["at"] - log[throttled]["at"] >= PAUSE
        for each in stack.credentials.values():
            moments = [entry["at"] for entry in seen(stack, each.token)]
            # One more: a request may be late on its way, and the next has already its own slot.
            assert requests_over_rate(moments, RATE) <= BURST + 1
        for process in stack.processes.values():
            process.kill()  # the huge account would keep them busy


def seen(stack: Stack, token: str) -> list[dict[str, Any]]:
    """What the simulator saw of one account, in order."""
    return [entry for entry in stack.simulate("log", limit="10000") if entry["token"] == token]


def until(true: Callable[[], bool], stack: Stack) -> None:
    """Wait for it."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, stack.processes["worker"].tail()
        time.sleep(0.05)
