"""`python -m ops.bench.replay [--jobs N] [--json]`: failed jobs replayed through the real stack, beside the
same changes sent afresh.

Every job failed of a record that was not there; then it is there. Measured is what a person waits for: the
preview, until all are back in the inbox, and until all are done.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from ops.bench.program import Echo, Facts, run_program
from ops.bench.temporary import BATCH, OPEN_WIDE, drained, temporary_stack
from ops.bench.workloads import chunks
from ops.dev.stack import Shape, Stack
from producers.services import build_services
from worker.contract import Change
from worker.ports.records import JobFilter
from worker.wiring import Runtime

ACCOUNT: Final = "one"
BUYER: Final = "estate:address:buyer"
MISSING: Final = 1_000_000  # ids from here on are of addresses that come into being later
DEADLINE: Final = 300.0


def main(argv: Sequence[str] | None = None) -> int:
    """Fail, mend, replay, print."""
    run_program(argv, "replay", __doc__, jobs=10_000, measure=measure, show=_show)
    return 0


def measure(jobs: int, _echo: Echo) -> dict[str, float]:
    """Seconds of each step, and the whole replay as a multiple of sending the same afresh."""
    shape = Shape(accounts=(ACCOUNT,), defaults=OPEN_WIDE, parts=("worker", "beat"), concurrency=2)
    with temporary_stack(shape) as stack:
        return _measure(stack, jobs)


def _show(facts: Facts) -> str:
    return "\n".join(f"{name:34} {value:>10,.2f}" for name, value in facts.items())


def _measure(stack: Stack, jobs: int) -> dict[str, float]:
    runtime = stack.runtime()
    _know(stack, [])
    _send(runtime, jobs, MISSING)
    _know(stack, None)
    replays, started = build_services(runtime).replays, time.monotonic()
    prepared = replays.prepare(ACCOUNT, JobFilter(state="failed"), by="bench")
    shown = time.monotonic()
    replays.start(prepared.id, by="bench")
    done = replays.run(prepared.id)
    back = time.monotonic()
    drained(runtime, ACCOUNT, back + DEADLINE)
    ended = time.monotonic()
    outcomes = replays.count_outcomes(done, limit=jobs)
    if (prepared.eligible, done.back, outcomes) != (jobs, jobs, {"succeeded": jobs}):
        raise RuntimeError(
            f"of {jobs} jobs {prepared.eligible} were eligible, {done.back} replayed: {outcomes}"
        )
    fresh = _send(runtime, jobs, 1)
    return {
        "jobs": float(jobs),
        "preview, s": shown - started,
        "back in the inbox, s": back - shown,
        "all done, s": ended - shown,
        "sent afresh, all done, s": fresh,
        "replay / afresh": (ended - shown) / fresh,
    }


def _send(runtime: Runtime, jobs: int, first: int) -> float:
    """One buyer each for estates in turn; the seconds until the last outcome."""
    changes = [
        Change(account=ACCOUNT, action="create", type=BUYER, parents=(501 + at % 50,), children=(first + at,))
        for at in range(jobs)
    ]
    started = time.monotonic()
    for chunk in chunks(changes, BATCH):
        runtime.intake().accept(chunk)
    drained(runtime, ACCOUNT, started + DEADLINE)
    return time.monotonic() - started


def _know(stack: Stack, addresses: list[int] | None) -> None:
    """Let the CRM have these addresses only, or any (None)."""
    records: dict[str, Any] = {} if addresses is None else {"known": {"address": addresses}}
    stack.simulate("seed", {"token": stack.credentials[ACCOUNT].token, "records": records})


if __name__ == "__main__":
    sys.exit(main())
