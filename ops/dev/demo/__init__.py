"""`relations demo`: the main uses through real parts (server, simulator, worker, HTTP intake), with checks.

`steps` are the three uses, `burst` and `agency` make what is sent, `crm_state` reads the result.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ops.dev.demo import crm_state, report, steps
from ops.dev.demo.agency import CrmRelations
from ops.dev.demo.burst import Burst, count_fewest_actions, make_burst
from ops.dev.demo.report import DemoConsole
from ops.dev.stack import QUICK, Shape, running
from worker.errors import RelationsError
from worker.ports.records import ENDED_STATES

__all__ = ["run"]

AGO: Final = 600_000_000  # µs before now that the burst happened
FAULT_RATE: Final = 0.1  # of all requests
# With faults: small requests, so that many can fail, and large batches, so that a contradiction is folded
# away before a write of it is in doubt.
FAULTY_LIMITS: Final = {"max_actions": 5, "max_batch": 10_000}


def run(*, changes: int = 5000, seed: int = 1, faults: bool = False, json: bool = False) -> int:
    """Run the demo; return 0 if the CRM ends as asked for, else 1.

    After 0 nothing is left behind; after 1 the logs stay. With `json`, only one document is printed.
    """
    console, directory = DemoConsole(silent=json), Path(tempfile.mkdtemp(prefix="relations-demo-"))
    facts: dict[str, Any] = {"ok": False}
    try:
        facts = run_steps(directory, console, changes=changes, seed=seed, faults=faults)
        _show(facts, console, json=json)
    except RelationsError as error:
        sys.stderr.write(f"{error}\n")
    except KeyboardInterrupt:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    if facts["ok"]:
        shutil.rmtree(directory, ignore_errors=True)
        return 0
    sys.stderr.write(f"the logs are in {directory}\n")
    return 1


def _show(facts: dict[str, Any], console: DemoConsole, *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n")
        return
    console.title("What came of it")
    console.show(report.render(facts))


def run_steps(
    directory: Path, console: DemoConsole, *, changes: int, seed: int, faults: bool
) -> dict[str, Any]:
    """Start the stack, run the three steps, and return the facts with their checks."""
    console.title("The system, as real processes")
    shape = Shape(defaults={**QUICK, **(FAULTY_LIMITS if faults else {})})
    with running(directory, shape, echo=console.echo) as stack:
        context = steps.DemoContext(stack, stack.runtime(), console)
        start = time.time_ns() // 1000 - AGO
        burst = make_burst(changes, seed=seed, accounts=list(stack.credentials), start=start)
        console.title("1 · Enqueue from a CRM webhook")
        facts = {"webhook": steps.send_webhooks(context)}
        console.title("2 · Background processing for a portal")
        facts["burst"] = steps.send_burst(context, burst, faults=FAULT_RATE if faults else 0.0, seed=seed)
        after_burst = _compare(context, burst.expected)
        console.title("3 · Replay of failed jobs")
        facts["replay"] = steps.replay_failed(context, burst)
        stack.simulate("land", {})  # delayed writes arrive now, and must change nothing
        facts |= _totals(context, burst) | {
            "after_burst": after_burst,
            "after_replay": _compare(context, burst.expected_after_repair),
        }
    checks = _check(facts, burst)
    return facts | {
        "checks": checks,
        "ok": all(checks.values()),
        "seconds": round(time.monotonic() - console.started, 1),
        "repeat": f"relations demo --changes {changes} --seed {seed}{' --faults' if faults else ''}",
    }


def _compare(context: steps.DemoContext, burst_relations: Mapping[str, CrmRelations]) -> dict[str, Any]:
    """Compare the CRM's relations with the expected ones, and count the jobs that failed by now."""
    before = context.before_burst
    expected = {account: relations | before[account] for account, relations in burst_relations.items()}
    actual = {account: crm_state.read_relations(context.stack, account) for account in expected}
    wrong = crm_state.describe_differences(actual, expected)
    return {
        "relations": sum(map(len, actual.values())),
        "wrong": len(wrong),
        "examples": wrong[:5],
        "failed_jobs": sum(len(context.store.failed_jobs(account, limit=100_000)) for account in expected),
    }


def _totals(context: steps.DemoContext, burst: Burst) -> dict[str, Any]:
    """Return outcomes, faults, and the fewest actions that could have been sent for the burst's end state."""
    states, results = crm_state.count_outcomes(context.queries, context.stack.credentials)
    return {
        "jobs": {state: states[state] for state in ENDED_STATES},
        "open_jobs": crm_state.count_open_jobs(states),
        "unequal_jobs": results.pop("unequal", 0),
        "outcomes": dict(results),
        "least": sum(
            count_fewest_actions(relations, burst.absent[account])
            for account, relations in burst.expected.items()
        ),
        "faults": context.stack.simulate("stats")["faults"],
    }


def _check(facts: dict[str, Any], burst: Burst) -> dict[str, bool]:
    """Return the result of every check."""
    return {
        "redelivered_is_the_same_job": facts["webhook"]["redelivered_is_the_same_job"],
        "never_without_broker": facts["webhook"]["violations"] == 0,
        "accepted_once": facts["burst"]["accepted"] == burst.changes,
        "as_asked": facts["after_burst"]["wrong"] == 0,
        "only_missing_failed": facts["after_burst"]["failed_jobs"] == sum(map(len, burst.missing.values())),
        "as_asked_after_replay": facts["after_replay"]["wrong"] == facts["after_replay"]["failed_jobs"] == 0,
        "one_outcome_each": facts["open_jobs"] == facts["unequal_jobs"] == 0,
    }
