"""`relations import --url`: from a machine that has neither Redis nor settings."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli.errors import Exit
from ops.cli.root import main
from tests.support.http_front import KEYS, Front, running

LINKS = ("--set", "action=create", "--set", "relationtype=estate:address:buyer")


def run(front: Front, text: str, *words: str, key: str = "portal", folder: Path, **more: str) -> Result:
    """Import a text over HTTP, without any settings."""
    env = {
        "RELATIONS_CONFIG": "/nowhere.toml",
        "RELATIONS_URL": front.url,
        "RELATIONS_KEY": KEYS[key][0],
        **more,
    }
    (folder / "links.csv").write_text(text)
    return CliRunner().invoke(main, ["import", str(folder / "links.csv"), *LINKS, *words], env=env)


def test_rows_are_accepted_over_http_and_known_the_second_time(front: Front, tmp_path: Path) -> None:
    text = "parentid,childid\n" + "".join(f"1,{n}\n" for n in range(1, 1202))
    first = run(front, text, "--account", "acme", folder=tmp_path)
    assert (first.exit_code, front.store.counts("acme")["accepted"]) == (Exit.OK, 1201), first.output
    assert "0 accepted, 1,201 known already" in run(front, text, "--account", "acme", folder=tmp_path).output


def test_a_row_that_the_server_refuses_is_the_only_one_rejected(front: Front, tmp_path: Path) -> None:
    text = "account,parentid,childid,event_id\nacme,1,2,a\nacme,3,4,a\nacme,5,6,b\nbeta,7,8,a\n"
    result = run(front, text, "--json", folder=tmp_path)
    assert (result.exit_code, json.loads(result.stdout)["accepted"]) == (Exit.PARTLY, 3)
    (reject,) = map(json.loads, (tmp_path / "links.csv.rejects.ndjson").read_text("utf-8").splitlines())
    assert (reject["line"], reject["faults"][0]["path"]) == (3, "event_id")


@pytest.mark.parametrize(("key", "account"), [("viewer", "acme"), ("acme", "beta")])
def test_a_key_without_the_right_ends_the_import(
    front: Front, tmp_path: Path, key: str, account: str
) -> None:
    result = run(front, "parentid,childid\n1,2\n", "--account", account, key=key, folder=tmp_path)
    assert result.exit_code == Exit.FAILED
    assert "HTTP 403" in result.output
    assert "Stopped" not in result.output


def test_an_unknown_key_ends_the_import_without_a_hint_to_continue(front: Front, tmp_path: Path) -> None:
    result = run(
        front, "parentid,childid\n1,2\n", "--account", "acme", folder=tmp_path, RELATIONS_KEY="unknown"
    )
    assert (result.exit_code, len(result.output.splitlines())) == (Exit.FAILED, 1)
    assert "HTTP 401" in result.output


def test_a_dry_run_for_another_machine_needs_no_settings(front: Front, tmp_path: Path) -> None:
    text = "account,parentid,childid\nacme,1,2\nwhoever,1,2\n,1,2\n"
    result = run(front, text, "--dry-run", folder=tmp_path, RELATIONS_KEY="")
    assert result.exit_code == Exit.PARTLY
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [["acme", "1"], ["whoever", "1"]]
    assert "1 rejected. Nothing was sent. Checked and planned by the defaults" in result.stderr
    assert front.store.counts("acme").get("accepted", 0) == 0


def test_a_key_that_may_only_send_still_learns_what_was_accepted(
    front: Front, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KEYS, "sender", ("canary-key-sender", ("acme",), ("send",)))
    with running(tmp_path, redis_url) as other_front:
        text, words = "parentid,childid\n1,2\n1,3\n", ("--account", "acme", "--wait", "--batch", "spring")
        for counts in (
            "2 accepted, 0 known already, 0 rejected; batch spring",
            "0 accepted, 2 known already, 0 rejected",
        ):
            result = run(other_front, text, *words, key="sender", folder=tmp_path)
            assert (result.exit_code, "HTTP 403" in result.stderr) == (Exit.FAILED, True)
            assert counts in result.stdout
