"""No account waits for a busy one, and none exceeds its pace, however many workers there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.dev.stack import QUICK, Shape, Stack, running
from ops.simulator import FaultPlan, InjectedFault
from tests.support.flow_world import World, change
from tests.support.waiting import wait_until
from tests.support.worker_pool import WorkerPool
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
    world = World(MemoryStore, accounts=("huge", *SMALL), faults=SLOW)
    pool = WorkerPool(world, workers=workers)
    world.accept(
        *(change("create", BUYER, 501 + number, 9001 + number, account="huge") for number in range(10_000))
    )
    for account in SMALL:
        world.accept(*(change("create", BUYER, 501 + number, 9001, account=account) for number in range(5)))
    pool.run(until=lambda: len({turn.account for turn in pool.turns}) == 201)
    assert world.store.counts("huge")["backlog"] > 0
    assert not world.open_accounts().keys() - {"huge"}  # one flush was enough for each
    huge = [turn for turn in pool.turns if turn.account == "huge"]
    for turn in pool.turns:
        assert len([other for other in huge if turn.due <= other.begun < turn.begun]) <= 1
        assert turn.result is not None
        assert turn.result.jobs <= 1000


def test_what_comes_later_waits_for_one_flush_of_the_huge_account_at_most() -> None:
    world = World(MemoryStore, accounts=("huge", "small"), faults=SLOW, policy={"max_batch": 200})
    pool = WorkerPool(world, workers=1)
    world.accept(
        *(change("create", BUYER, 501 + number, 9001 + number, account="huge") for number in range(6000))
    )
    for number in range(10):
        pool.run(2.0)
        world.accept(change("create", BUYER, 501 + number, 9001, account="small"))
        pool.run(until=lambda: "small" not in world.open_accounts())
    assert "huge" in world.open_accounts()
    huge = [turn for turn in pool.turns if turn.account == "huge"]
    small = [turn for turn in pool.turns if turn.account == "small"]
    assert len(small) >= 10  # the sweep may have sent a message more while one waited
    assert all(len([other for other in huge if turn.due <= other.begun < turn.begun]) <= 1 for turn in small)


@pytest.mark.parametrize(("rate", "burst"), [(4.0, 8), (0.5, 1), (50.0, 2)])
def test_the_api_never_sees_more_than_burst_and_rate_allow(rate: float, burst: int) -> None:
    policy = {"rate": rate, "burst": burst, "limits": Limits(max_ids=1, max_actions=2)}
    world = World(MemoryStore, accounts=("acme", "other"), policy=policy)
    pool = WorkerPool(world, workers=4)
    for account in world.accounts:
        world.accept(
            *(change("create", BUYER, 501 + number, 9001 + number, account=account) for number in range(100))
        )
    pool.run(until=pool.is_done)
    for account in world.accounts:
        times = [entry.at for entry in world.simulator.log if entry.token == f"token-{account}"]
        assert len(times) == 50
        assert requests_over_rate(times, rate) <= burst + 1e-3  # the simulator's clock is a float
        assert times[-1] - times[0] <= (50 - burst) / rate + 1  # and no less than that


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
        stack.simulate("faults", {"script": [{"kind": "throttle", "seconds": PAUSE}], "account": "huge"})
        until(lambda: any(entry["fault"] for entry in seen(stack, "huge")[:-2]), stack)
        log = seen(stack, "huge")
        [throttled] = [number for number, entry in enumerate(log) if entry["fault"]]
        assert log[throttled + 1]["at"] - log[throttled]["at"] >= PAUSE
        for account in stack.credentials:
            times = [entry["at"] for entry in seen(stack, account)]
            # One more: a request may be late on its way, and the next has already its own slot.
            assert requests_over_rate(times, RATE) <= BURST + 1
        for process in stack.processes.values():
            process.kill()  # the huge account would keep them busy


def seen(stack: Stack, account: str) -> list[dict[str, Any]]:
    """Return what the simulator saw of one account, in order."""
    return [entry for entry in stack.simulate("log", limit="10000") if entry["account"] == account]


def until(condition: Callable[[], bool], stack: Stack) -> None:
    wait_until(condition, stack.processes["worker"].tail)
