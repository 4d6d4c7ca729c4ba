"""One outage after the other, with real processes: no API, no broker, no memory for Redis.

Before them, a huge account runs beside many small ones. Store and broker are two servers, so that each can
fail alone.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from ops.bench.workloads import chunks, links
from ops.dev.redis_server import RedisServer, run_server
from ops.dev.stack import QUICK, Shape, Stack, running
from worker.contract import Change
from worker.errors import Unavailable
from worker.wiring import Runtime

HUGE: Final = "huge"
SMALL: Final = tuple(f"small-{number:03d}" for number in range(200))
FEW: Final = SMALL[:20]
HUGE_CHANGES: Final = 100_000
RATE: Final = 20.0
BURST: Final = 10
LIMITS: Final = {**QUICK, "window": 0.2, "rate": RATE, "burst": BURST, "max_ids": 100, "max_actions": 50}
PROBES: Final = (5, 10, 20, 40, 80, 160, 300)  # seconds between probes; the last repeats
FAILURES_TO_OPEN: Final = 5  # a breaker
TIME_LIMIT: Final = 900.0  # seconds until work must be done
AT_ONCE: Final = 1000  # changes
ATTEMPTS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageResult:
    """What was sent, and the result; durations in seconds."""

    changes: int
    lost: int  # changes that did not succeed
    small_done: float  # until all small accounts were done …
    huge_waiting: int  # … while so many changes of the huge one still waited
    over_pace: float  # requests above the rate in the worst window; the burst and one on its way are allowed
    outage: float
    requests_in_outage: int
    requests_allowed: int  # as many as the failures that open a breaker, and its probes, make
    recovery: float  # from the API's return until all was done
    slowest_accept: float  # the slowest answer of intake while the broker was away
    swept: float  # from the broker's return until what came in meanwhile was done
    refused: int  # changes that a full Redis refused, each with an error
    drained: int  # changes that it finished all the same


def run(*, seconds: float, first: int, echo: Callable[[str], None]) -> OutageResult:
    """Run all of it once; the API is away for `seconds`. `first` seeds the changes."""
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
            outages = _OutageRun(stack, runtime, broker, first, echo)
            numbers = (
                outages.check_fairness()
                | outages.stop_api(seconds)
                | outages.stop_broker()
                | outages.fill_redis()
            )
            return OutageResult(changes=outages.accepted, lost=outages.count_lost(), **numbers)


@contextmanager
def _producer(stack: Stack) -> Iterator[Runtime]:
    """Yield a producer in this process that sends its messages in the background, as all do."""
    runtime = stack.runtime(background=True)
    yield runtime
    runtime.client.close()


class _OutageRun:
    """One run. Each outage is a method that returns its numbers."""

    def __init__(
        self, stack: Stack, runtime: Runtime, broker: RedisServer, first: int, echo: Callable[[str], None]
    ) -> None:
        self.stack, self.runtime, self.broker, self.echo = stack, runtime, broker, echo
        self.accepted, self._seeds = 0, count(first)
        self._parents = count(1_000_000)

    def check_fairness(self) -> dict[str, Any]:
        """Run a mailing of one account and five changes of each of the others."""
        for chunk in chunks(links(HUGE_CHANGES, account=HUGE, seed=next(self._seeds)), AT_ONCE):
            self.accept(chunk)
        started = time.monotonic()
        for account in SMALL:
            self.accept(self.new_changes(account, 5))
        self.wait_until_done(SMALL)
        done, waiting = time.monotonic() - started, self.count_open([HUGE])
        self.echo(
            f"{len(SMALL)} small accounts were done after {done:.1f} s;"
            f" the huge one still had {waiting:,} changes"
        )
        self.wait_until_done([HUGE])
        worst = max(requests_over_rate(self.request_times(account), RATE) for account in (HUGE, *FEW))
        return {"small_done": round(done, 2), "huge_waiting": waiting, "over_pace": round(worst, 2)}

    def stop_api(self, seconds: float) -> dict[str, Any]:
        """Let every request fail for a while, and keep sending changes."""
        self.stack.simulate(
            "faults", {"random": {"seed": 1, "rate": 1.0, "kinds": ["gateway_before", "lost_before"]}}
        )
        before, started = self.count_requests(), time.monotonic()
        while time.monotonic() - started < seconds:
            for account in FEW:
                self.accept(self.new_changes(account, 1))
            time.sleep(0.5)
        length, requests = time.monotonic() - started, self.count_requests() - before
        self.stack.simulate("faults", {})
        self.echo(f"the API was away for {length:.0f} s and saw {requests} requests of {len(FEW)} accounts")
        return {
            "outage": round(length, 1),
            "requests_in_outage": requests,
            "requests_allowed": len(FEW) * (FAILURES_TO_OPEN + count_probes(length)),
            "recovery": round(self.wait_until_done(FEW), 1),
        }

    def stop_broker(self) -> dict[str, Any]:
        """Kill the broker: intake answers as before, and the sweep finds what came in."""
        self.broker.kill()
        slowest = 0.0
        for _ in range(ATTEMPTS):
            started = time.monotonic()
            self.accept(self.new_changes(FEW[0], 1))
            slowest = max(slowest, time.monotonic() - started)
        self.broker.restart()
        swept = self.wait_until_done(FEW)
        self.echo(
            f"without a broker intake answered within {1000 * slowest:.1f} ms;"
            f" swept {swept:.1f} s after its return"
        )
        return {"slowest_accept": round(slowest, 4), "swept": round(swept, 1)}

    def fill_redis(self) -> dict[str, Any]:
        """Let Redis have no memory: each new change is refused with an error, and the backlog drains."""
        for chunk in chunks(self.new_changes(HUGE, 20_000), AT_ONCE):
            self.accept(chunk)
        waiting, refused = self.count_open([HUGE]), 0
        self.runtime.client.config_set("maxmemory", "1")
        for account in FEW:
            refused += not self.accept(self.new_changes(account, 1))
        self.wait_until_done([HUGE])
        self.runtime.client.config_set("maxmemory", "0")
        self.echo(f"a full Redis refused {refused} of {len(FEW)} changes and finished {waiting:,}")
        return {"refused": refused, "drained": waiting}

    # --- helpers

    def new_changes(self, account: str, number: int) -> list[Change]:
        """Make so many changes of relations that none named before."""
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
        """Send the changes to intake; return whether they were accepted."""
        try:
            self.runtime.intake().accept(changes)
        except Unavailable:
            return False
        self.accepted += len(changes)
        return True

    def count_open(self, accounts: Sequence[str]) -> int:
        """Count the jobs of these accounts that have not ended."""
        counts = [self.runtime.store.counts(account) for account in accounts]
        return sum(numbers.get("accepted", 0) - _count_ended(numbers) for numbers in counts)

    def count_lost(self) -> int:
        """Count the accepted changes that did not succeed."""
        return self.accepted - sum(
            self.runtime.store.counts(account).get("succeeded", 0) for account in (HUGE, *SMALL)
        )

    def count_requests(self) -> int:
        """Count the requests that the API has seen so far."""
        return int(self.stack.simulate("stats")["requests"])

    def request_times(self, account: str) -> list[float]:
        """Return when the API saw requests of an account, as far as its log goes."""
        log = self.stack.simulate("log", limit="10000")
        return [entry["at"] for entry in log if entry["account"] == account]

    def wait_until_done(self, accounts: Sequence[str]) -> float:
        """Wait until these accounts have no open jobs; return the seconds. Raises TimeoutError."""
        started = time.monotonic()
        while self.count_open(accounts):
            if time.monotonic() - started > TIME_LIMIT:
                open_changes = self.count_open((HUGE, *SMALL))
                raise TimeoutError(f"still open after {TIME_LIMIT:g} s: {open_changes} changes")
            time.sleep(0.2)
        return time.monotonic() - started


def requests_over_rate(times: Sequence[float], rate: float) -> float:
    """Return by how many requests the worst window has more than `rate` times its length."""
    worst, lowest = 0.0, float("inf")
    for number, at in enumerate(sorted(times)):
        lowest = min(lowest, number - rate * at)
        worst = max(worst, number + 1 - rate * at - lowest)
    return worst


def count_probes(seconds: float) -> int:
    """Return how many probes an open breaker sends in so many seconds at most."""
    probes, at = 0, 0.0
    while (at := at + PROBES[min(probes, len(PROBES) - 1)]) <= seconds:
        probes += 1
    return probes


def _count_ended(counts: Any) -> int:
    return sum(counts.get(state, 0) for state in ("succeeded", "superseded", "failed"))
