"""Laws of two releases side by side: an older layout is moved, a newer one is refused."""

import json
from pathlib import Path

import pytest
from redis import Redis

from tests.support.broken_stores import inspector_of
from tests.support.store_steps import BASE, accept, read_all, take_lease
from tests.support.store_values import change
from worker.contract import Change
from worker.errors import StoreUnavailable
from worker.ports.store import IntakeBounds, Submission, UnreadableMessage
from worker.ports.work import Writes
from worker.store.redis_store import RedisStore

RELEASE = json.loads((Path(__file__).parent / "data" / "release_0_1_0.json").read_text())
PREFIX, NOW = RELEASE["prefix"], RELEASE["now"]
OLD_JOB = RELEASE["names"]["baker"]
MONTH = 30 * 86_400.0


@pytest.fixture
def store(redis_client: Redis) -> RedisStore:
    return RedisStore(redis_client, PREFIX, now=lambda: NOW)


def accept_by_old_release(client: Redis) -> None:
    """Leave a job as a producer of release 0.1.0 does."""
    for entry in RELEASE["keys"]:
        key = str(entry["key"])
        if key.startswith(f"{PREFIX}:{{baker}}:") and not key.endswith((":pause", ":wake")):
            match entry["type"]:
                case "hash":
                    client.hset(key, mapping=dict(entry["value"]))
                case "list":
                    client.rpush(key, *entry["value"])
                case "zset":
                    client.zadd(key, dict(entry["value"]))
                case "string":
                    client.set(key, entry["value"])


def submission(job: str, child: int, *, event_id: str = "") -> Submission:
    name = "estate:address:buyer"
    asked = Change(account="baker", action="create", type=name, parents=(1,), children=(child,))
    return Submission(f"baker-{job}", asked, event_id or job)


def test_the_layout_of_a_newer_release_is_refused_with_one_clear_sentence(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9))
    redis_client.hset(f"{BASE}meta", "layout", "3")
    message = UnreadableMessage("acme", "celery", "u", ("parentid: is required",), b"{}")
    for use in (
        lambda: accept(redis_store, change(1, 10), first=1),
        lambda: list(redis_store.accept_rounds("acme", iter(()), IntakeBounds(9, 1.0))),
        lambda: redis_store.lease("acme", "h1"),
        lambda: redis_store.reject("acme", "acme-u", message),
        lambda: inspector_of(redis_store).check_readable("acme", repair=True),
    ):
        with pytest.raises(StoreUnavailable, match="has layout 3, and this release knows only layout 2"):
            use()


def test_workers_of_the_old_release_are_kept_out_of_every_account_for_good(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9))
    take_lease(redis_store).release()
    assert redis_client.hget(f"{BASE}lease", "token") == b"layout 2"  # its lease script leaves others alone
    assert redis_client.ttl(f"{BASE}lease") == -1


def test_an_account_that_an_old_worker_has_is_moved_as_soon_as_that_one_is_done(
    store: RedisStore, redis_client: Redis
) -> None:
    accept_by_old_release(redis_client)
    redis_client.hset(f"{PREFIX}:{{baker}}:lease", mapping={"token": "old worker", "step": 3})
    with pytest.raises(StoreUnavailable, match="a worker of an earlier release has account baker"):
        store.accept("baker", [submission("1", 9)], IntakeBounds(9, MONTH))
    assert store.get_job(OLD_JOB) is None
    redis_client.delete(f"{PREFIX}:{{baker}}:lease")
    store.accept("baker", [submission("1", 9)], IntakeBounds(9, MONTH))
    lease = store.lease("baker", "h1")
    assert lease is not None
    assert [job.job for job in read_all(lease).jobs] == [OLD_JOB, "baker-1"]


def test_what_an_old_producer_accepts_meanwhile_is_found_by_the_sweep_and_worked(
    store: RedisStore, redis_client: Redis
) -> None:
    store.accept("baker", [submission("1", 9)], IntakeBounds(9, MONTH))
    first = store.lease("baker", "h1")
    assert first is not None
    first.claim(read_all(first).jobs, (), Writes())
    first.release()
    redis_client.delete(f"{PREFIX}:{{baker}}:wake")
    accept_by_old_release(redis_client)
    assert store.due_accounts(["baker"]) == ["baker"]
    lease = store.lease("baker", "h2")
    assert lease is not None
    assert OLD_JOB in [job.job for job in read_all(lease).jobs]
    assert not redis_client.exists(*(f"{PREFIX}:{{baker}}:{name}" for name in ("inbox", "jobs")))


def test_a_move_that_was_interrupted_is_finished_by_the_next(store: RedisStore, redis_client: Redis) -> None:
    accept_by_old_release(redis_client)
    commit, calls = store.database.scripts["commit"], list[int]()

    def interrupted(**arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise StoreUnavailable("gone")
        return commit(**arguments)

    store.database.scripts["commit"] = interrupted
    with pytest.raises(StoreUnavailable, match="gone"):
        store.lease("baker", "h1")
    redis_client.delete(f"{PREFIX}:{{baker}}:holder")  # as after its minute
    lease = store.lease("baker", "h1")
    assert lease is not None
    assert [job.job for job in read_all(lease).jobs] == [OLD_JOB]
