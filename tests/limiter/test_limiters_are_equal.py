"""One state machine drives the limiter in memory and the one on a real server side by side."""

from typing import get_args
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from ops.dev.redis_server import RedisServer
from worker.limiter.redis_limiter import RedisLimiter
from worker.ports.pace import Feedback, Grant
from worker.testing import MemoryLimiter

ACCOUNT = "acme"
FEEDBACKS = get_args(Feedback)


class SideBySide(RuleBasedStateMachine):
    client: Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis = RedisLimiter(self.client, f"t{uuid4().hex}")
        self.memory = MemoryLimiter()
        self.now = 1_800_000_000.0
        self.last = Grant(booked=False)

    @rule(seconds=st.one_of(st.floats(0, 2), st.sampled_from([5.0, 10.0, 150.0, 300.0, -1.0, -90_000.0])))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        rate=st.sampled_from([0.3, 4.0, 7.7]),
        burst=st.sampled_from([1, 8]),
        max_wait=st.sampled_from([0.0, 0.25, 90.0]),
    )
    def book(self, rate: float, burst: int, max_wait: float) -> None:
        grants = [
            ask(ACCOUNT, rate=rate, burst=burst, max_wait=max_wait, now=self.now)
            for limiter in (self.memory, self.redis)
            for ask in (limiter.peek, limiter.book)
        ]
        assert grants[0] == grants[1] == grants[2] == grants[3]
        self.last = grants[0]

    @rule(
        feedback=st.sampled_from(FEEDBACKS),
        retry_after=st.sampled_from([0.0, 0.0, 1.5, 100_000.0]),
        text=st.text(max_size=70),
    )
    def report(self, feedback: Feedback, retry_after: float, text: str) -> None:
        turns = [
            limiter.report(ACCOUNT, feedback, retry_after=retry_after, reason=text, now=self.now)
            for limiter in (self.memory, self.redis)
        ]
        assert turns[0] == turns[1]

    @rule(times=st.integers(4, 6))
    def fail(self, times: int) -> None:
        for _ in range(times):
            self.report("failed", 0.0, "HTTP 502")

    @precondition(lambda self: self.memory.state(ACCOUNT)["breaker"] == "open")
    @rule(feedback=st.sampled_from(FEEDBACKS))
    def probe(self, feedback: Feedback) -> None:
        self.now = max(self.now, float(self.memory.state(ACCOUNT)["open_until"]))
        self.book(4.0, 8, 90.0)
        self.report(feedback, 0.0, "")

    @rule(times=st.integers(1, 8))
    def fail_probes(self, times: int) -> None:
        self.fail(5)
        for _ in range(times):
            self.probe("failed")

    @rule(seconds=st.floats(0, 300))
    def run_ahead_and_step_back(self, seconds: float) -> None:
        for _ in range(4):
            self.report("slow", 0.0, "HTTP 429")
        for _ in range(3):
            self.book(0.3, 1, 90.0)
        self.now -= seconds
        self.book(0.3, 1, 0.0)

    @rule()
    def refund(self) -> None:
        assert self.memory.refund(ACCOUNT, self.last) == self.redis.refund(ACCOUNT, self.last)

    @precondition(lambda self: self.last.booked)
    @rule()
    def reset(self) -> None:
        self.memory.reset(ACCOUNT)
        self.redis.reset(ACCOUNT)
        self.last = Grant(booked=False)

    @invariant()
    def states_are_equal(self) -> None:
        assert self.memory.state(ACCOUNT) == self.redis.state(ACCOUNT)


@pytest.mark.parametrize("decode", [False, True])
def test_the_limiter_in_memory_and_the_one_on_redis_are_equal(
    redis_server: RedisServer, decode: bool
) -> None:
    with Redis.from_url(redis_server.url, decode_responses=decode) as client:
        machine = type("Machine", (SideBySide,), {"client": client})
        quiet = settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        )
        run_state_machine_as_test(machine, settings=quiet)
