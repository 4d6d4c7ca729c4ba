"""The demo as anyone runs it: real processes, and every check in the document that it prints holds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import HANGS_AFTER

RUN = """
import sys
from ops.dev.demo import run
sys.exit(run(changes=300, seed=int(sys.argv[1]), faults=sys.argv[2] == 'faults', json=True))
"""


def run_demo(seed: int, mode: str) -> dict[str, Any]:
    """Run the demo, which must end with 0; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(seed), mode],
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=["no faults", "faults"])
def facts(request: pytest.FixtureRequest) -> dict[str, Any]:
    return run_demo(7, request.param)


def test_every_check_of_the_demo_holds(facts: dict[str, Any]) -> None:
    assert facts["ok"] is True
    assert facts["checks"]
    assert all(facts["checks"].values())


def test_every_change_was_accepted_once_and_has_an_outcome(facts: dict[str, Any]) -> None:
    assert facts["burst"]["accepted"] == 300 < facts["burst"]["sent"]
    assert sum(facts["jobs"].values()) == 300 + len(facts["webhook"]["jobs"])
    assert facts["open_jobs"] == facts["jobs"]["failed"] == 0


def test_changes_with_missing_addresses_failed_and_were_replayed(facts: dict[str, Any]) -> None:
    assert facts["replay"]["replayed"] == facts["after_burst"]["failed_jobs"] >= 3
    assert (
        facts["after_replay"]["relations"] == facts["after_burst"]["relations"] + facts["replay"]["replayed"]
    )


def test_one_failure_is_shown_with_why_and_what_to_do(facts: dict[str, Any]) -> None:
    example = facts["replay"]["example"]
    assert "failed: 80 Unknown record" in example
    assert "Check in onOffice that the record exists" in example


def test_it_takes_fewer_actions_than_changes_and_fewer_requests_than_actions(facts: dict[str, Any]) -> None:
    assert facts["burst"]["requests"] < facts["burst"]["actions"] < facts["burst"]["accepted"]


def test_requests_fail_exactly_with_faults(facts: dict[str, Any]) -> None:
    assert bool(facts["faults"]) == facts["repeat"].endswith("--faults")


def test_a_part_that_does_not_start_ends_the_demo_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = (
        "import sys, ops.dev.stack as stack; stack.SIMULATOR = 'raise SystemExit(\"no simulator today\")'\n"
    )
    command = [sys.executable, "-c", broken + "from ops.dev.demo import run; sys.exit(run(changes=3))"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=HANGS_AFTER, check=False, env=environ
    )
    assert done.returncode == 1
    assert "no simulator today" in done.stderr
    [kept] = tmp_path.glob("relations-demo-*")
    assert str(kept) in done.stderr
    assert (kept / "simulator.log").is_file()
