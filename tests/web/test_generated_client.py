"""A client that a program makes of the OpenAPI document sends, polls and replays."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.http_front import KEYS, MISSING, Front
from tests.support.waiting import HANGS_AFTER

PACKAGE = "generated_relations_client"


@pytest.fixture
def package(tmp_path: Path, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of the package that was generated."""
    (tmp_path / "openapi.json").write_text(json.dumps(http.get("/openapi.json").json()))
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    options = ["--path", "openapi.json", "--config", "config.yaml", "--meta", "none", "--fail-on-warning"]
    command = [sys.executable, "-m", "openapi_python_client", "generate", *options, "--output-path", PACKAGE]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANGS_AFTER)
    assert run.returncode == 0, run.stdout + run.stderr
    subprocess.run([sys.executable, "-m", "compileall", "-q", PACKAGE], cwd=tmp_path, check=True)
    monkeypatch.syspath_prepend(tmp_path)
    return PACKAGE


def test_a_generated_client_sends_polls_and_replays(front: Front, package: str) -> None:
    def call(name: str, *path: Any, **more: Any) -> Any:
        answer = import_module(f"{package}.api.{name}").sync_detailed(*path, client=client, **more)
        assert answer.status_code < 300, answer.content
        return answer.parsed

    models: Any = import_module(f"{package}.models")
    made: Any = import_module(package)
    client = made.AuthenticatedClient(base_url=front.url, token=KEYS["admin"][0])
    link = models.Change(
        account="acme",
        action=models.ChangeAction.CREATE,
        relationtype=models.ChangeRelationtype.ESTATEADDRESSBUYER,
        parentid=501,
        childid=[9001, MISSING],
    )
    (entry,) = call("changes.post_changes", body=[link], idempotency_key="made").jobs
    front.runtime.flush("acme")
    job = call("jobs.get_job", entry.id)
    assert (job.id, job.state.value, job.childid, job.error.childid) == (
        entry.id,
        "failed",
        [9001, MISSING],
        MISSING,
    )
    assert [each.id for each in call("jobs.list_jobs", account="acme").jobs] == [entry.id]
    form = models.ReplayForm(account="acme", jobs=[entry.id])
    form.set_ = models.ReplayFormSet.from_dict({"childid": 9002})
    replay = call("replays.prepare_replay", body=form)
    assert (replay.eligible, replay.plan.creates, replay.state.value) == (1, 1, "previewed")
    assert call("replays.run_replay", replay.id).id == replay.id
    assert front.sent_replays == [replay.id]
    refused = import_module(f"{package}.api.jobs.get_job").sync(f"acme-{'0' * 18}", client=client)
    assert isinstance(refused, models.ProblemDict)
    assert refused.status == 404
