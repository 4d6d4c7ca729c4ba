"""The name of an account is the same name, refused in the same words, wherever it comes in."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from producers.portals import AsyncRelations, Relations
from producers.portals.imports import check_values
from tests.support.cli_runner import make_cli, make_environ, write_settings
from tests.support.http_front import BUYER, Front, problem
from worker.config import load_settings
from worker.contract import explain_account_name, from_message
from worker.errors import Invalid
from worker.usecases.intake import accept_messages

BAD = ["Acme", "ä", "a b", "_acme", "a.b", "much-too-long-" * 3, "{a}"]


@pytest.mark.parametrize("name", ["a", "0", "acme-2", "a_b", "x" * 32])
def test_good_names_are_good_everywhere(name: str, tmp_path: Path) -> None:
    assert explain_account_name(name) == ""
    assert from_message({**BUYER, "account": name}).change.account == name
    environ = make_environ(write_settings(tmp_path, "https://crm.example.test", name), "redis://127.0.0.1/0")
    assert list(load_settings(environ, tmp_path).accounts) == [name]


def refuse(act: Callable[[], object]) -> str:
    """Return the message of the fault that an act is refused with."""
    with pytest.raises(Invalid) as refused:
        act()
    (fault,) = refused.value.faults
    return fault.message


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused_in_the_same_words(name: str, tmp_path: Path, front: Front) -> None:
    reason = explain_account_name(name)
    assert reason.startswith(
        "expected an account name (1 to 32 of a-z 0-9 _ -, a letter or digit first), got "
    )
    assert refuse(lambda: from_message({**BUYER, "account": name})) == reason
    assert [fault.message for fault in check_values({"account": name})] == [reason]
    table = f'[accounts."{name}"]\ntoken = "{"t" * 32}"\nsecret = "{"s" * 64}"\n'
    (tmp_path / "relations.toml").write_text(table, "utf-8")
    assert refuse(lambda: load_settings({}, tmp_path)) == reason
    assert refuse(lambda: Relations("http://127.0.0.1:1", "key", account=name)) == reason
    assert refuse(lambda: AsyncRelations("http://127.0.0.1:1", "key", account=name)) == reason
    assert refuse(lambda: Relations("http://127.0.0.1:1", "key").batch(name, "one")) == reason

    http = front.client("admin")
    answers = [
        http.post("/v1/changes", json={**BUYER, "account": name}),
        http.get("/v1/jobs", params={"account": name}),
        http.get("/v1/batches/one", params={"account": name}),
        http.post("/v1/jobs/cancel", json={"account": name, "batch": "one"}),
        http.post("/v1/erasures", json={"account": name, "module": "address", "id": 1}),
        http.post(f"/v1/accounts/{quote(name, safe='')}/pause"),
    ]
    for answer in answers:
        assert problem(answer, 422)["errors"] == [{"path": "account", "message": reason}]

    messages = [{**BUYER, "account": name}]
    accept_messages(front.runtime.intake(), messages, message_id="task", source="celery", correlation="")
    (kept,) = front.store.failed_jobs("unrouted", limit=1)
    assert f"account: {reason}"[:200] in (front.job(kept).refusal or ())


@pytest.mark.parametrize("name", BAD)
def test_commands_refuse_bad_names_before_they_begin(name: str, tmp_path: Path) -> None:
    cli = make_cli(make_environ(write_settings(tmp_path, "https://crm.example.test", "acme"), "redis://x"))
    reason = explain_account_name(name)
    for words in (
        ("accounts", "pause", name),
        ("accounts", "resume", name),
        ("jobs", "list", "--account", name),
        ("import", "rows.csv", "--account", name),
        ("keys", "new", "portal", "--account", "acme", "--account", name),
    ):
        assert reason in json.dumps(cli(*words, code=2).stderr, ensure_ascii=False).replace('\\"', '"')
