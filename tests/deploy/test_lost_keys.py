"""A key that vanishes, as when a server without `noeviction` is short of memory: nobody spins over it."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
import redis

from ops.dev.redis_server import RedisServer
from tests.support.error_replies import Command, ErrorReplies
from tests.support.http_front import BUYER, Front, running
from worker.errors import StoreUnavailable

KEYS = "relations:{acme}:*"
ROUNDS = 4  # flushes until nothing is due


@pytest.fixture
def front(tmp_path: Path, redis_url: str) -> Iterator[tuple[Front, ErrorReplies]]:
    with ErrorReplies(RedisServer(redis_url)) as replies, running(tmp_path, replies.url) as served:
        yield served, replies


@pytest.mark.parametrize("scripts", [0, 5], ids=["accepted", "being sent"])
def test_without_any_one_of_its_keys_an_account_goes_on_and_loses_no_more_than_the_key_had(
    scripts: int, front: tuple[Front, ErrorReplies], redis_client: redis.Redis
) -> None:
    served, replies = front
    accepted = [each["id"] for each in send(served, range(9001, 9005))]
    if scripts:
        stop_flush_after(scripts, served, replies)
    kept = {key: (redis_client.dump(key), max(redis_client.pttl(key), 0)) for key in redis_client.scan_iter()}
    for lost in sorted(redis_client.keys(KEYS)):
        redis_client.flushall()
        for key, (value, lifetime) in kept.items():
            redis_client.restore(key, lifetime, value)
        redis_client.delete(lost)
        flush_all(served)
        served.runtime.sweep()
        [later] = send(served, [9900])
        flush_all(served)
        assert served.job(later["id"]).state == "succeeded", lost
        for path in ("/v1/jobs?account=acme", "/v1/errors?account=acme", "/metrics", "/readyz"):
            assert served.client("admin").get(path).status_code == 200, (lost, path)
        served.runtime.inspector.inspect("acme", repair=True)
        flush_all(served)
        jobs = [served.store.get_job(job) for job in accepted]
        if b":jobs:" in lost:
            assert jobs == [None] * 4
        else:
            assert [job and job.state for job in jobs] == ["succeeded"] * 4, lost
    assert "request.failed" not in [event for event, _ in served.events]


def send(served: Front, children: range | list[int]) -> list[dict[str, str]]:
    """Let these be accepted, and return what their sender is told."""
    changes = [{**BUYER, "childid": child} for child in children]
    told: list[dict[str, str]] = served.client().post("/v1/changes", json=changes).json()["jobs"]
    return told


def stop_flush_after(scripts: int, served: Front, replies: ErrorReplies) -> None:
    """Let a flush lose its server after so many scripts, and its lease be over."""
    numbers = count(1)

    def is_too_late(command: Command) -> bool:
        return command[0] in (b"EVAL", b"EVALSHA") and next(numbers) > scripts

    replies.answer("NOREPLICAS Not enough good replicas to write.", is_too_late)
    with suppress(StoreUnavailable):
        served.runtime.flush("acme")
    replies.recover()


def flush_all(served: Front) -> None:
    """Flush until nothing is due, which must be soon."""
    for _ in range(ROUNDS):
        if served.runtime.flush("acme").next_in != 0.0:
            return
    raise AssertionError("there is always more to do")
