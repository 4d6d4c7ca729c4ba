"""`relations demo`: the main job through real parts (server, simulator, Celery worker, HTTP intake), and the proof that it was done.

`acts` are the three uses, `burst` and `office` make up what is sent, `crm` reads what came of it, `report` draws it.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ops.dev.demo import acts, crm, report
from ops.dev.demo.burst import Burst, burst
from ops.dev.demo.least import least
from ops.dev.demo.office import World
from ops.dev.demo.stage import Stage
from ops.dev.stack import QUICK, Shape, running
from worker.errors import RelationsError

__all__ = ["run"]

AGO: Final = 600_000_000  # µs before now that the burst happened
FAULTY: Final = 0.1  # of all requests
# Small requests, so that many can go wrong; large batches, so that a contradiction is folded away before a write of it is in doubt.
SMALL: Final = {"max_actions": 5, "max_batch": 10_000}


def run(*, changes: int = 5000, seed: int = 1, faults: bool = False, json: bool = False) -> int:
    """The exit code: 0 if everything came out as asked for, and then nothing is left behind; else 1, and the logs stay.

    With `json`, one document is printed and nothing else.
    """
    stage, directory = Stage(silent=json), Path(tempfile.mkdtemp(prefix="relations-demo-"))
    facts: dict[str, Any] = {"ok": False}
    try:
        facts = play(directory, stage, changes=changes, seed=seed, faults=faults)
        _show(facts, stage, json=json)
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


def _show(facts: dict[str, Any], stage: Stage, *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n")
        return
    stage.title("What came of it")
    stage.show(report.picture(facts))


def play(directory: Path, stage: Stage, *, changes: int, seed: int, faults: bool) -> dict[str, Any]:
    """The facts of one performance."""
    stage.title("The system, as real processes")
    with running(directory, Shape(defaults={**QUICK, **(SMALL if faults else {})}), echo=stage.echo) as stack:
        scene = acts.Scene(stack, stack.runtime(), stage)
        made = burst(changes, seed=seed, accounts=list(stack.credentials), start=time.time_ns() // 1000 - AGO)
        stage.title("1 · Enqueue from a CRM webhook")
        webhook = acts.webhooks(scene)
        stage.title("2 · Background processing for a portal")
        facts = {
            "webhook": webhook,
            "burst": acts.portal(scene, made, faults=FAULTY if faults else 0.0, seed=seed),
        }
        after_burst = _ending(scene, made.asked)
        stage.title("3 · Replay of failed jobs")
        facts["replay"] = acts.replay(scene, made)
        stack.simulate("land", {})  # what was late on its way arrives now, and must change nothing
        facts |= _totals(scene, made) | {
            "after_burst": after_burst,
            "after_replay": _ending(scene, made.mended),
        }
    return _judged(facts, made) | {
        "seconds": round(time.monotonic() - stage.started, 1),
        "repeat": f"relations demo --changes {changes} --seed {seed}{' --faults' if faults else ''}",
    }


def _ending(scene: acts.Scene, asked: Mapping[str, World]) -> dict[str, Any]:
    """The CRM's relations beside what was asked for, and the jobs that failed by now."""
    whole = {account: world | scene.before[account] for account, world in asked.items()}
    held = {account: crm.relations(scene.stack, account) for account in whole}
    wrong = crm.differences(held, whole)
    failed = sum(len(scene.store.failed_jobs(account, limit=100_000)) for account in whole)
    return {
        "relations": sum(map(len, held.values())),
        "wrong": len(wrong),
        "examples": wrong[:5],
        "failed_jobs": failed,
    }


def _totals(scene: acts.Scene, made: Burst) -> dict[str, Any]:
    """Outcomes, faults, and the least that could have been sent for the burst's end state."""
    states, results = crm.outcomes(scene.questions, scene.stack.credentials)
    return {
        "jobs": {state: states[state] for state in ("succeeded", "superseded", "failed")},
        "open_jobs": crm.open_jobs(states),
        "unequal_jobs": results.pop("unequal", 0),
        "outcomes": dict(results),
        "least": sum(least(made.asked[account], made.absent[account]) for account in made.asked),
        "faults": scene.stack.simulate("stats")["faults"],
    }


def _judged(facts: dict[str, Any], made: Burst) -> dict[str, Any]:
    """The facts with every check of them."""
    checks = {
        "redelivered_is_the_same_job": facts["webhook"]["redelivered_is_the_same_job"],
        "never_without_broker": facts["webhook"]["violations"] == 0,
        "accepted_once": facts["burst"]["accepted"] == made.changes,
        "as_asked": facts["after_burst"]["wrong"] == 0,
        "only_missing_failed": facts["after_burst"]["failed_jobs"] == sum(map(len, made.missing.values())),
        "as_asked_after_replay": facts["after_replay"]["wrong"] == facts["after_replay"]["failed_jobs"] == 0,
        "one_outcome_each": facts["open_jobs"] == facts["unequal_jobs"] == 0,
    }
    return facts | {"checks": checks, "ok": all(checks.values())}
