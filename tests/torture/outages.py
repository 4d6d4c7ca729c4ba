"""Everything away in turn, in real processes: a huge account beside many small ones, then no API, no broker, no memory for Redis.

The store and the broker are two servers, so that each can fail alone.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from ops.bench.load import chunks, links
from ops.dev.redis_server import RedisServer, run_server
from ops.dev.stack import QUICK, Shape, Stack, running
from worker.contract import Change
from worker.errors import Unavailable
from worker.wiring import Runtime

HUGE: Final = "huge"
SMALL: Final = tuple(f"small-{number:03d}" for number in range(200))
FEW: Final = SMALL[:20]
CHANGES: Final = 100_000
RATE: Final = 20.0
BURST: Final = 10
LIMITS: Final = {**QUICK, "window": 0.2, "rate": RATE, "burst": BURST, "max_ids": 100, "max_actions": 50}
PROBES: Final = (5, 10, 20, 40, 80, 160, 300)  # seconds from one probe to the next, then always the last
TO_OPEN: Final = 5
PATIENCE: Final = 900.0
AT_ONCE: Final = 1000
TRIES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Endured:
    """What was asked of it, and what came of it; durations in seconds."""

    changes: int
    lost: int  # changes that did not succeed
    small_done: float  # until all small accounts were done …
    huge_waiting: int  # … while so many changes of the huge one still waited
    over_pace: float  # the worst window's requests above the rate; the burst and one on its way are allowed
    outage: float
    asked: int  # requests during the outage
    allowed: int  # as many as failures that open a breaker, and its probes, make
    back: float  # from the API's return until all was done
    muted: float  # the slowest answer of intake while the broker was away
    swept: float  # from the broker's return until what came in meanwhile was done
    refused: int  # changes a full Redis refused, each with an error
    drained: int  # changes it finished all the same


def run(*, seconds: float, first: int, echo: Callable[[str], None]) -> Endured:
    """All of it once; the API is away for `seconds`. `first` seeds the changes."""
    with tempfile.TemporaryDirectory() as folder, run_server(Path(folder) / "broker") as broker:
        shape = Shape(
            accounts=(HUGE, *SMALL),
            defaults=LIMITS,
            parts=("worker", "beat"),
            broker=broker.url,
            workers=2,
            concurrency=1,
        )
        with running(Path(folder), shape, echo=echo) as stack, _producer(stack) as runtime:
            ordeal = _Ordeal(stack, runtime, broker, first, echo)
            numbers = ordeal.fairness() | ordeal.outage(seconds) | ordeal.mute() | ordeal.full()
            return Endured(changes=ordeal.accepted, lost=ordeal.lost(), **numbers)


@contextmanager
def _producer(stack: Stack) -> Iterator[Runtime]:
    """A producer in this process, that hands its messages to a sender as all do."""
    runtime = stack.runtime(background=True)
    yield runtime
    runtime.client.close()


class _Ordeal:
    """One run, trouble by trouble; each gives its numbers."""

    def __init__(
        self, stack: Stack, runtime: Runtime, broker: RedisServer, first: int, echo: Callable[[str], None]
    ) -> None:
        self.stack, self.runtime, self.broker, self.echo = stack, runtime, broker, echo
        self.accepted, self._seeds = 0, count(first)
        self._parents = count(1_000_000)

    def fairness(self) -> dict[str, Any]:
        """A mailing of one account, and five changes of each of the others."""
        for chunk in chunks(links(CHANGES, account=HUGE, seed=next(self._seeds)), AT_ONCE):
            self.accept(chunk)
        started = time.monotonic()
        for account in SMALL:
            self.accept(self.fresh(account, 5))
        self.until(lambda: self.open(SMALL) == 0)
        done, waiting = time.monotonic() - started, self.open([HUGE])
        self.echo(
            f"{len(SMALL)} small accounts were done after {done:.1f} s; the huge one still had {waiting:,} changes"
        )
        self.until(lambda: self.open([HUGE]) == 0)
        worst = max(over(self.moments(account), RATE) for account in (HUGE, *FEW))
        return {"small_done": round(done, 2), "huge_waiting": waiting, "over_pace": round(worst, 2)}

    def outage(self, seconds: float) -> dict[str, Any]:
        """Every request fails for a while, and changes keep coming."""
        self.stack.simulate(
            "faults", {"random": {"seed": 1, "rate": 1.0, "kinds": ["gateway_before", "lost_before"]}}
        )
        before, started = self.requests(), time.monotonic()
        while time.monotonic() - started < seconds:
            for account in FEW:
                self.accept(self.fresh(account, 1))
            time.sleep(0.5)
        length, asked = time.monotonic() - started, self.requests() - before
        self.stack.simulate("faults", {})
        self.echo(f"the API was away for {length:.0f} s and saw {asked} requests of {len(FEW)} accounts")
        begun = time.monotonic()
        self.until(lambda: self.open(FEW) == 0)
        allowed = len(FEW) * (TO_OPEN + probes(length))
        return {
            "outage": round(length, 1),
            "asked": asked,
            "allowed": allowed,
            "back": round(time.monotonic() - begun, 1),
        }

    def mute(self) -> dict[str, Any]:
        """No broker: intake answers as ever, and the sweep finds what came in."""
        self.broker.kill()
        slowest = 0.0
        for _ in range(TRIES):
            begun = time.monotonic()
            self.accept(self.fresh(FEW[0], 1))
            slowest = max(slowest, time.monotonic() - begun)
        self.broker.restart()
        begun = time.monotonic()
        self.until(lambda: self.open(FEW) == 0)
        swept = time.monotonic() - begun
        self.echo(
            f"without a broker intake answered within {1000 * slowest:.1f} ms; swept {swept:.1f} s after its return"
        )
        return {"muted": round(slowest, 4), "swept": round(swept, 1)}

    def full(self) -> dict[str, Any]:
        """No memory: nothing is accepted, each refusal is an error, and the backlog drains."""
        for chunk in chunks(self.fresh(HUGE, 20_000), AT_ONCE):
            self.accept(chunk)
        waiting, refused = self.open([HUGE]), 0
        self.runtime.client.config_set("maxmemory", "1")
        for account in FEW:
            refused += not self.accept(self.fresh(account, 1))
        self.until(lambda: self.open([HUGE]) == 0)
        self.runtime.client.config_set("maxmemory", "0")
        self.echo(f"a full Redis refused {refused} of {len(FEW)} changes and finished {waiting:,}")
        return {"refused": refused, "drained": waiting}

    # --- asking and looking

    def fresh(self, account: str, number: int) -> list[Change]:
        """So many changes of relations that nobody named before."""
        return [
            Change(
                account=account,
                action="create",
                type="estate:address:buyer",
                parents=(next(self._parents),),
                children=(9001,),
            )
            for _ in range(number)
        ]

    def accept(self, changes: Sequence[Change]) -> bool:
        """Whether they were accepted."""
        try:
            self.runtime.intake().accept(changes)
        except Unavailable:
            return False
        self.accepted += len(changes)
        return True

    def open(self, accounts: Sequence[str]) -> int:
        """Jobs of these accounts without an end."""
        counts = [self.runtime.store.counts(account) for account in accounts]
        return sum(each.get("accepted", 0) - _ended(each) for each in counts)

    def lost(self) -> int:
        """Accepted changes that did not succeed."""
        return self.accepted - sum(
            self.runtime.store.counts(account).get("succeeded", 0) for account in (HUGE, *SMALL)
        )

    def requests(self) -> int:
        """What the API has seen so far."""
        return int(self.stack.simulate("stats")["requests"])

    def moments(self, account: str) -> list[float]:
        """When the API saw requests of an account, as far as it remembers."""
        token = self.stack.credentials[account].token
        return [entry["at"] for entry in self.stack.simulate("log", limit="10000") if entry["token"] == token]

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for it; TimeoutError when it does not come."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"still open after {PATIENCE:g} s: {self.open((HUGE, *SMALL))} changes")
            time.sleep(0.2)


def over(moments: Sequence[float], rate: float) -> float:
    """By how many requests a window holds more than `rate` times its length, the worst one."""
    worst, lowest = 0.0, float("inf")
    for number, at in enumerate(sorted(moments)):
        lowest = min(lowest, number - rate * at)
        worst = max(worst, number + 1 - rate * at - lowest)
    return worst


def probes(seconds: float) -> int:
    """How many probes an open breaker sends in so many seconds at most."""
    found, at = 0, 0.0
    while (at := at + PROBES[min(found, len(PROBES) - 1)]) <= seconds:
        found += 1
    return found


def _ended(counts: Any) -> int:
    return sum(counts.get(state, 0) for state in ("succeeded", "superseded", "failed"))
