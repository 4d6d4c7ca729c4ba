"""What only the limiter on Redis has: its clock, its keys, a full or absent server, many workers at once."""

import multiprocessing
import socket
from importlib.resources import files
from itertools import pairwise
from multiprocessing.synchronize import Barrier
from threading import Event
from uuid import uuid4

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.full_server import out_of_memory
from worker.contract.instant import SECOND
from worker.errors import StoreUnavailable
from worker.limiter import policy
from worker.limiter.redis_limiter import RedisLimiter

RATE, BURST, SLOTS = 100.0, 5, 25


@pytest.fixture
def limiter(redis_client: Redis) -> RedisLimiter:
    return RedisLimiter(redis_client, f"t{uuid4().hex}")


def test_without_now_the_server_clock_decides(limiter: RedisLimiter, redis_client: Redis) -> None:
    seconds, micros = redis_client.time()
    before = seconds * SECOND + micros
    grant = limiter.book("acme", rate=1.0, burst=1, max_wait=0.0)
    seconds, micros = redis_client.time()
    assert before <= grant.slot - grant.cost <= seconds * SECOND + micros


def test_the_key_carries_the_account_as_hash_tag_and_outlives_the_longest_stop(redis_client: Redis) -> None:
    prefix = f"t{uuid4().hex}"
    RedisLimiter(redis_client, prefix).report("acme", "slow", retry_after=1e9)
    assert redis_client.keys(f"{prefix}*") == [f"{prefix}:{{acme}}:pace".encode()]
    assert redis_client.ttl(f"{prefix}:{{acme}}:pace") > policy.LONGEST_RETRY_AFTER / SECOND


def test_one_noisy_account_slows_only_itself(limiter: RedisLimiter) -> None:
    for _ in range(9):
        limiter.book("noisy", rate=1.0, burst=8, max_wait=0.0)
        limiter.report("noisy", "failed")
    assert not limiter.book("noisy", rate=1.0, burst=8, max_wait=0.0).booked
    assert limiter.book("quiet", rate=1.0, burst=8, max_wait=0.0).booked


def test_scripts_the_server_has_forgotten_are_sent_again(limiter: RedisLimiter, redis_client: Redis) -> None:
    redis_client.script_flush()
    grant = limiter.book("acme", rate=1.0, burst=1, max_wait=0.0)
    redis_client.script_flush()
    assert limiter.refund("acme", grant)


def test_a_full_server_still_paces_so_that_the_backlog_can_drain(
    limiter: RedisLimiter, redis_client: Redis
) -> None:
    with out_of_memory(redis_client):
        grant = limiter.book("acme", rate=1.0, burst=1, max_wait=0.0)
        limiter.report("acme", "failed")
        assert limiter.refund("acme", grant)


def test_an_absent_server_is_something_time_can_cure() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        limiter = RedisLimiter(Redis(port=free.getsockname()[1], retry=Retry(NoBackoff(), 0)), "t")
        with pytest.raises(StoreUnavailable):
            limiter.book("acme", rate=1.0, burst=1, max_wait=0.0)
        with pytest.raises(StoreUnavailable):
            limiter.state("acme")


def contend(
    url: str, prefix: str, begin: Barrier, results: "multiprocessing.Queue[tuple[int, list[int]]]"
) -> None:
    """Book slots as a worker would: wait for the slot, come back when the grant says so."""
    limiter, calls, slots = RedisLimiter(Redis.from_url(url), prefix), 0, list[int]()
    begin.wait(60)
    while len(slots) < SLOTS:
        grant = limiter.book("acme", rate=RATE, burst=BURST, max_wait=0.25)
        calls += 1
        slots += [grant.slot] if grant.booked else []
        Event().wait(grant.wait)
    results.put((calls, slots))


def test_four_contending_processes_waste_no_calls_and_stay_within_the_rate(redis_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    results, shared = context.Queue(), (redis_url, f"t{uuid4().hex}", context.Barrier(4))
    workers = [context.Process(target=contend, args=(*shared, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    reports = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    calls, slots = sum(calls for calls, _ in reports), sorted(slot for _, own in reports for slot in own)
    assert calls <= 1.1 * len(slots)
    # Slots an interval apart are the law: no two workers hold the same, no window holds too many.
    assert min(after - before for before, after in pairwise(slots)) >= policy.slot_interval(RATE, 1.0)


@pytest.mark.parametrize("name", ["book", "report", "refund"])
def test_each_script_is_short_runs_on_a_full_server_and_states_what_it_keeps(name: str) -> None:
    lines = files("worker.limiter").joinpath("lua", f"{name}.lua").read_text().splitlines()
    assert len(lines) < 60
    assert lines[0] == "#!lua flags=allow-oom"
    assert lines[1].startswith(f"-- {name}(")
    assert {line.split()[1] for line in lines if line.startswith("-- ")} >= {
        "KEYS",
        "ARGV",
        "Result",
        "Keeps",
        "Twice",
    }
