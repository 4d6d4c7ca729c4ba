"""`relations import --url`: from a machine that has neither Redis nor settings."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from front import KEYS, Front

from ops.cli import main
from ops.cli.errors import Exit

LINKS = ("--set", "action=create", "--set", "relationtype=estate:address:buyer")


def run(front: Front, text: str, *words: str, key: str = "portal", folder: Path) -> Result:
    """Import a text over HTTP; no settings are to be found."""
    env = {"RELATIONS_CONFIG": "/nowhere.toml", "RELATIONS_URL": front.url, "RELATIONS_KEY": KEYS[key][0]}
    (folder / "links.csv").write_text(text)
    return CliRunner().invoke(main, ["import", str(folder / "links.csv"), *LINKS, *words], env=env)


def test_lines_are_accepted_over_http_and_known_again(front: Front, tmp_path: Path) -> None:
    text = "parentid,childid\n" + "".join(f"1,{n}\n" for n in range(1, 1202))
    first = run(front, text, "--account", "acme", folder=tmp_path)
    assert (first.exit_code, front.store.counts("acme")["accepted"]) == (Exit.OK, 1201), first.output
    assert "0 accepted, 1,201 known already" in run(front, text, "--account", "acme", folder=tmp_path).output


def test_what_the_server_refuses_costs_its_line_only(front: Front, tmp_path: Path) -> None:
    text = "account,parentid,childid,event_id\nacme,1,2,a\nacme,3,4,a\nacme,5,6,b\nbeta,7,8,a\n"
    result = run(front, text, "--json", folder=tmp_path)
    assert (result.exit_code, json.loads(result.stdout)["accepted"]) == (Exit.PARTLY, 3)
    (reject,) = map(json.loads, (tmp_path / "links.csv.rejects.ndjson").read_text("utf-8").splitlines())
    assert (reject["line"], reject["faults"][0]["path"]) == (3, "event_id")


@pytest.mark.parametrize(("key", "account"), [("viewer", "acme"), ("acme", "beta")])
def test_a_key_that_may_not_ends_the_import(front: Front, tmp_path: Path, key: str, account: str) -> None:
    result = run(front, "parentid,childid\n1,2\n", "--account", account, key=key, folder=tmp_path)
    assert result.exit_code == Exit.FAILED
    assert "HTTP 403" in result.output
