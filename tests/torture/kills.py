"""Every process of a real stack killed by SIGKILL, one a second, under load and with a faulty API; then calm, and what is left.

The victims: worker (with its pool), one pool child, beat, API, Redis. Now and then the broker loses its queues, too.
"""

import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from ops.dev.processes import children
from ops.dev.redis_server import Persist
from ops.dev.stack import QUICK, Shape, Stack, running
from ops.dev.supervisor import Supervisor
from tests.torture.load import Crowd
from tests.torture.verdict import Verdict, judge
from worker.wiring import Runtime

AGREEING: Final = ("nord", "sued", "west")
QUARRELLING: Final = "streit"
VICTIMS: Final = ("worker", "child", "beat", "api", "redis", "queues")
QUEUES: Final = (
    "relations.flush",
    "relations.ops",
)  # those of wake-ups; what is in `relations.intake` is not accepted yet
TIMEOUT: Final = 2.0
LIMITS: Final = {**QUICK, "window": 0.2, "timeout": TIMEOUT, "doubt": 120.0 + TIMEOUT, "max_actions": 20}
FAULTS: Final = (
    "lost_after",
    "lost_before",
    "gateway_after",
    "gateway_before",
    "server_error",
    "server_error_after",
    "throttle",
)
FAULTY: Final = 0.1  # of all requests
EVERY: Final = 1.0  # seconds between kills
CALM: Final = 90.0  # seconds until accounts without quarrel must be done, however slow the machine
POLL: Final = 0.05

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """One run: what was done to the system, what came of it, and the seconds until everything was done after the last kill.

    Apart from that, `in_doubt` relations waited `doubt_seconds` until a write without an answer could land no more (R14).
    """

    persist: Persist
    seconds: float
    kills: Mapping[str, int]
    ended_by_themselves: Mapping[str, int]
    faults: Mapping[str, int]
    recovery: float
    in_doubt: int
    doubt_seconds: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Kills:
    """The same under both ways to persist."""

    always: Killed
    everysec: Killed


def run(*, seconds: float, first: int, echo: Say) -> Kills:
    """Half of the seconds each under AOF `always` and `everysec`; `first` seeds changes, faults and the choice of victims."""
    one = partial(torture, seconds=seconds / 2, seed=first, echo=echo)
    return Kills(always=one("always"), everysec=one("everysec"))


def torture(
    persist: Persist, *, seconds: float, seed: int, echo: Say, quarrel: bool = True, every: float = EVERY
) -> Killed:
    """One run. Without the quarrel nothing has to wait until a doubt ends, which takes two minutes."""
    quarrelling = QUARRELLING if quarrel else ""
    shape = Shape(accounts=(*AGREEING, QUARRELLING), defaults=LIMITS, persist=persist)
    with (
        tempfile.TemporaryDirectory(prefix="relations-kills-", ignore_cleanup_errors=True) as place,
        running(Path(place), shape) as stack,
    ):
        supervisor, crowd = (
            Supervisor(stack, echo=echo),
            Crowd(stack, seed=seed, agreeing=AGREEING, quarrelling=quarrelling),
        )
        stack.simulate("faults", {"random": {"seed": seed, "rate": FAULTY, "kinds": FAULTS}})
        crowd.start()
        violence = Violence(stack, supervisor, random.Random(f"kills {seed}"))
        violence.rage(seconds, every)
        stack.simulate("faults", {})
        crowd.stop()
        runtime, calm = stack.runtime(), Calm(supervisor)
        recovery = calm.wait(
            lambda: crowd.silent and not _open(runtime, AGREEING), since=violence.last, seconds=CALM
        )
        echo(f"{persist}: {sum(violence.kills.values())} kills; done {recovery:.1f} s after the last")
        in_doubt, doubting = _open(runtime, (QUARRELLING,)), 0.0
        if quarrel:
            rest = LIMITS["doubt"] + CALM
            doubting = calm.wait(
                lambda: not (_open(runtime, shape.accounts) or _unsettled(runtime)),
                since=violence.last,
                seconds=rest,
            )
        excused = violence.outages if persist == "everysec" else []
        verdict = judge(stack, runtime, crowd.books, outages=excused, agreeing=AGREEING)
        faults = stack.simulate("stats")["faults"]
        stack.kill()
        return Killed(
            persist=persist,
            seconds=seconds,
            kills=dict(violence.kills),
            ended_by_themselves=dict(supervisor.ends),
            faults=faults,
            recovery=round(recovery, 1),
            in_doubt=in_doubt,
            doubt_seconds=round(doubting, 1),
            verdict=verdict,
        )


class Violence:
    """Kills by dice: counts of what was done, when Redis went down, and when the last kill was."""

    def __init__(self, stack: Stack, supervisor: Supervisor, dice: random.Random) -> None:
        self.stack, self.supervisor, self.dice = stack, supervisor, dice
        self.kills: Counter[str] = Counter()
        self.outages: list[float] = []
        self.last = time.monotonic()

    def rage(self, seconds: float, every: float) -> None:
        """Kill something `every` so many seconds, in turns: each victim once, as the dice order them; the last turn is finished."""
        until, queue = time.monotonic() + seconds, list[str]()
        while queue or time.monotonic() < until:
            queue = queue or self.dice.sample(VICTIMS, len(VICTIMS))
            self.strike(queue.pop())
            rest = time.monotonic() + every
            while time.monotonic() < rest:
                self.supervisor.tend()
                time.sleep(POLL)

    def strike(self, victim: str) -> None:
        """Do it."""
        self.last = time.monotonic()
        if victim == "queues":
            self.stack.runtime().client.delete(*QUEUES)
        elif victim == "child":
            if not (pool := children(self.stack.processes["worker"].pid)):
                return  # its worker is just coming up
            os.kill(self.dice.choice(pool), signal.SIGKILL)
        else:
            if victim == "redis":
                self.outages.append(self.last)
            self.stack.replace(victim)
        self.kills[victim] += 1


class Calm:
    """Waiting, while ended parts are still started again."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor

    def wait(self, done: Callable[[], bool], *, since: float, seconds: float) -> float:
        """The seconds since `since` when it was done, or when patience was over: then the verdict says what is stuck."""
        until = time.monotonic() + seconds
        while not done() and time.monotonic() < until:
            self.supervisor.tend()
            time.sleep(POLL)
        return time.monotonic() - since


def _open(runtime: Runtime, accounts: tuple[str, ...]) -> int:
    """Relations and changes that wait for an outcome."""
    counts = [runtime.store.counts(account) for account in accounts]
    return sum(each["backlog"] + each["open"] for each in counts)


def _unsettled(runtime: Runtime) -> int:
    """Messages of changes that the broker has still to deliver, for the first time or again."""
    client: Any = runtime.client
    return int(client.llen("relations.intake")) + sum(
        b"relations.accept" in message for message in client.hvals("unacked")
    )
