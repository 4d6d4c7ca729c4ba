"""Kills of the processes of a real stack by SIGKILL, one a second, under load and with a faulty API.

The targets: worker (with its pool), one pool child, beat, API, Redis. Sometimes the broker loses its queues.
"""

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from ops.dev.processes import children
from ops.dev.redis_server import Persist
from ops.dev.stack import QUICK, Shape, Stack, running
from ops.dev.supervisor import Supervisor
from tests.torture.load_generator import LoadGenerator
from tests.torture.operator_load import ActedResult, OperatorLoad
from tests.torture.result import TortureResult, compare
from worker.wiring import Runtime

ORDINARY: Final = ("nord", "sued", "west")
CONTENDED: Final = "streit"
ACTED: Final = "amt"  # the account of an operator
TARGETS: Final = ("worker", "child", "beat", "api", "redis", "queues")
# The queues of wake-ups. Messages in `relations.intake` are not deleted: they are not accepted yet.
QUEUES: Final = ("relations.flush", "relations.ops")
TIMEOUT: Final = 2.0
LIMITS: Final = {
    **QUICK,
    "window": 0.2,
    "timeout": TIMEOUT,
    "doubt": 120.0 + TIMEOUT,
    "max_actions": 20,
    "max_batch": 25,  # so that a flush has several batches in hand when it is killed
    "in_flight": 3,
}
FAULTS: Final = (
    "lost_after",
    "lost_before",
    "gateway_after",
    "gateway_before",
    "server_error",
    "server_error_after",
    "throttle",
)
FAULT_RATE: Final = 0.1  # of all requests
INTERVAL: Final = 1.0  # seconds between kills
RECOVERY_LIMIT: Final = 90.0  # seconds until ordinary accounts must be done, however slow the machine
POLL: Final = 0.05

Echo = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRun:
    """One run: what was done to the system, and the result; `recovery` is the seconds after the last kill.

    `in_doubt` relations of the contended account then waited `doubt_seconds` more, until a write without an
    answer could not arrive any more (R14).
    """

    persist: Persist
    seconds: float
    kills: Mapping[str, int]
    ended_by_themselves: Mapping[str, int]
    faults: Mapping[str, int]
    recovery: float
    in_doubt: int
    doubt_seconds: float
    result: TortureResult
    acted: ActedResult | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRuns:
    """One run under each way of Redis to persist."""

    always: KillRun
    everysec: KillRun


def run(*, seconds: float, first: int, echo: Echo) -> KillRuns:
    """Run half of the time each under AOF `always` and `everysec`.

    `first` seeds the changes, the faults and the choice of targets.
    """
    one = partial(torture, seconds=seconds / 2, seed=first, echo=echo)
    return KillRuns(always=one("always"), everysec=one("everysec"))


def torture(
    persist: Persist,
    *,
    seconds: float,
    seed: int,
    echo: Echo,
    contend: bool = True,
    interval: float = INTERVAL,
) -> KillRun:
    """Run once; without the contended account and the operator nothing waits until a doubt ends.

    That takes two minutes.
    """
    shape = Shape(accounts=(*ORDINARY, CONTENDED, ACTED), defaults=LIMITS, persist=persist)
    with (
        tempfile.TemporaryDirectory(prefix="relations-kills-", ignore_cleanup_errors=True) as folder,
        running(Path(folder), shape) as stack,
    ):
        supervisor, runtime = Supervisor(stack, echo=echo), stack.runtime()
        load = LoadGenerator(stack, seed=seed, ordinary=ORDINARY, contended=CONTENDED if contend else "")
        operator = OperatorLoad(stack, ACTED, seed=seed)
        killer = ProcessKiller(stack, supervisor, random.Random(f"kills {seed}"))
        with _faults_under_load(stack, load, seed):
            if contend:
                operator.start()
            killer.run(seconds, interval)
        operator.stop()
        wait = partial(_wait, supervisor, since=killer.last_kill)
        recovery = wait(lambda: load.finished and not _count_open(runtime, ORDINARY), limit=RECOVERY_LIMIT)
        echo(f"{persist}: {sum(killer.kills.values())} kills; done {recovery:.1f} s after the last")
        in_doubt = _count_open(runtime, (CONTENDED,))
        limit = LIMITS["doubt"] + RECOVERY_LIMIT
        doubt_seconds = (
            wait(lambda: operator.finished and _all_done(runtime, shape.accounts), limit=limit)
            if contend
            else 0.0
        )
        redis_kills = killer.redis_kills if persist == "everysec" else []
        result = compare(stack, runtime, load.changes, redis_kills=redis_kills, ordinary=ORDINARY)
        acted = operator.compare(runtime, strict=persist == "always") if contend else None
        kill_run = KillRun(
            persist=persist,
            seconds=seconds,
            kills=dict(killer.kills),
            ended_by_themselves=dict(supervisor.ends),
            faults=stack.simulate("stats")["faults"],
            recovery=round(recovery, 1),
            in_doubt=in_doubt,
            doubt_seconds=round(doubt_seconds, 1),
            result=result,
            acted=acted,
        )
        stack.kill()
        return kill_run


class ProcessKiller:
    """Kills targets at random, and records the kills, those of Redis and the last one with their times."""

    def __init__(self, stack: Stack, supervisor: Supervisor, rng: random.Random) -> None:
        self.stack, self.supervisor, self.rng = stack, supervisor, rng
        self.kills: Counter[str] = Counter()
        self.redis_kills: list[float] = []
        self.last_kill = time.monotonic()

    def run(self, seconds: float, interval: float) -> None:
        """Kill one target per interval, in complete rounds: each target once, in random order."""
        deadline, targets = time.monotonic() + seconds, list[str]()
        while targets or time.monotonic() < deadline:
            targets = targets or self.rng.sample(TARGETS, len(TARGETS))
            self.kill(targets.pop())
            next_kill = time.monotonic() + interval
            while time.monotonic() < next_kill:
                self.supervisor.tend()
                time.sleep(POLL)

    def kill(self, target: str) -> None:
        """Kill one target."""
        self.last_kill = time.monotonic()
        if target == "queues":
            self.stack.runtime().client.delete(*QUEUES)
        elif target == "child":
            if not (pool := children(self.stack.processes["worker"].pid)):
                return  # its worker is just starting
            os.kill(self.rng.choice(pool), signal.SIGKILL)
        else:
            if target == "redis":
                self.redis_kills.append(self.last_kill)
            self.stack.replace(target)
        self.kills[target] += 1


@contextmanager
def _faults_under_load(stack: Stack, load: LoadGenerator, seed: int) -> Iterator[None]:
    stack.simulate("faults", {"random": {"seed": seed, "rate": FAULT_RATE, "kinds": FAULTS}})
    load.start()
    yield
    stack.simulate("faults", {})
    load.stop()


def _wait(supervisor: Supervisor, done: Callable[[], bool], *, since: float, limit: float) -> float:
    """Wait until `done()` or the limit, while ended parts are restarted; return the seconds since `since`."""
    deadline = time.monotonic() + limit
    while not done() and time.monotonic() < deadline:
        supervisor.tend()
        time.sleep(POLL)
    return time.monotonic() - since


def _count_open(runtime: Runtime, accounts: tuple[str, ...]) -> int:
    """Count relations and changes that wait for an outcome."""
    counts = [runtime.store.counts(account) for account in accounts]
    return sum(each["backlog"] + each["open"] + each.get("parked", 0) for each in counts)


def _all_done(runtime: Runtime, accounts: tuple[str, ...]) -> bool:
    # In the order that a message goes: one that is accepted in between is counted as open, not overlooked.
    return not (_count_undelivered(runtime) or _count_open(runtime, accounts))


def _count_undelivered(runtime: Runtime) -> int:
    """Count messages of changes that the broker has still to deliver, for the first time or again."""
    client: Any = runtime.client
    with client.pipeline() as pipeline:  # at one moment: a message goes from one to the other, and back
        pipeline.llen("relations.intake")
        pipeline.hvals("relations/unacked")
        waiting, taken = pipeline.execute()
    return int(waiting) + sum(b"relations.accept" in message for message in taken)
