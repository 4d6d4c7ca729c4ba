"""The store goes back under running workers: emptied, or restored as it was: it is told, and work goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.http_front import BUYER, Front, running
from worker.ports.metrics import SweepStats
from worker.usecases.health import find_reverted_trouble
from worker.wiring import Runtime

Copy = dict[bytes, bytes]


@pytest.fixture
def front(tmp_path: Path, redis_url: str) -> Iterator[Front]:
    with running(tmp_path, redis_url) as front:
        yield front


def copy_store(client: redis.Redis) -> Copy:
    """Return all that the store has; what ends on its own stays."""
    return {key: value for key in client.scan_iter() if (value := client.dump(key))}


def go_back(client: redis.Redis, copy: Copy) -> None:
    """Let the store have that, and nothing else."""
    client.flushall()
    for key, value in copy.items():
        client.restore(key, 0, value)


def send(front: Front, child: int) -> str:
    """Let a change be accepted under an event id of its own; return the id of its job."""
    answer = front.client().post("/v1/changes", json={**BUYER, "childid": child, "event_id": f"e{child}"})
    job: str = answer.json()["jobs"][0]["id"]
    return job


def reverted(front: Front) -> list[object]:
    """Return by how many seconds it was said that the store had gone back."""
    return [fields["seconds"] for event, fields in front.events if event == "store.reverted"]


@pytest.mark.parametrize("is_emptied", [False, True], ids=["restored", "emptied"])
def test_that_the_store_went_back_is_told_once_and_what_is_sent_again_is_done(
    front: Front, redis_client: redis.Redis, is_emptied: bool
) -> None:
    runtime = front.runtime
    other = Runtime(runtime.settings, wake=runtime.wake, emit=runtime.emit)  # another process
    runtime.sweep()
    send(front, 9001)
    copy: Copy = {} if is_emptied else copy_store(redis_client)
    send(front, 9002)
    front.drain()
    for process in (runtime, other, runtime, other):
        process.sweep()
    assert reverted(front) == []

    go_back(redis_client, copy)
    for process in (other, runtime, other):
        process.sweep()
    (seconds,) = reverted(front)
    assert seconds is None if is_emptied else isinstance(seconds, float)
    trouble = find_reverted_trouble(runtime.read_health())
    assert trouble
    assert trouble.advice.startswith("Let producers send again")
    assert trouble.message in front.client(None).get("/readyz").text

    jobs = [send(front, child) for child in (9001, 9002)]
    front.drain()
    assert [front.job(job).state for job in jobs] == ["succeeded"] * 2
    assert runtime.inspector.inspect("acme").flaws == ()
    other.client.close()


class LateMetrics:
    """Metrics that answer a sweep once only when another one, in another thread, is through."""

    def __init__(self, metrics: Any, sweep: Callable[[], object]) -> None:
        self._metrics, self._sweep, self._is_late = metrics, sweep, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metrics, name)

    def sweep_stats(self) -> SweepStats:
        stats: SweepStats = self._metrics.sweep_stats()
        if not self._is_late:
            self._is_late = True
            self._sweep()
            self._sweep()
        return stats


def test_sweeps_of_several_threads_that_overtake_each_other_do_not_tell_it(front: Front) -> None:
    sweeper = front.runtime.sweeper
    front.runtime.sweep()
    front.runtime.sweep()
    sweeper.metrics = LateMetrics(sweeper.metrics, sweeper.sweep)
    sweeper.sweep()
    assert reverted(front) == []


def test_it_is_told_for_a_day(front: Front, redis_client: redis.Redis) -> None:
    metrics = front.runtime.metrics
    metrics.record_reverted(at=metrics.now() - 86_500_000_000)
    assert find_reverted_trouble(front.runtime.read_health()) is None


def test_that_it_went_back_again_is_told_though_what_was_noted_of_the_first_time_is_lost(
    front: Front, redis_client: redis.Redis
) -> None:
    runtime = front.runtime
    runtime.sweep()
    copy = copy_store(redis_client)
    for _ in range(3):
        runtime.sweep()
    for expected in (1, 2):
        go_back(redis_client, copy)
        for _ in range(3):
            runtime.sweep()
        assert len(reverted(front)) == expected
