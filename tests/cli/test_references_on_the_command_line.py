"""Records by references on the command line: sent, previewed, imported by columns, shown while parked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.simulator import Simulator
from tests.support.cli_runner import TOKEN, Cli, first_job
from tests.support.store_steps import count_by_state
from worker.contract import Relation
from worker.wiring import Runtime

INTERESTED = "estate:address:interested"
ESTATE, ANNA, NOBODY = (
    "estate:objektnr_extern=00815",
    "address:email=anna@example.test",
    "address:email=nobody@example.test",
)


@pytest.fixture(autouse=True)
def seeded(simulator: Simulator) -> None:
    fields = {
        "estate": {501: {"objektnr_extern": "00815"}},
        "address": {9001: {"email": "anna@example.test"}},
    }
    simulator.seed(TOKEN, {}, fields=fields)


def test_a_change_is_sent_between_records_that_are_named_by_references(
    cli: Cli, drain: Callable[[], None], simulator: Simulator
) -> None:
    job = first_job(cli("send", "create", INTERESTED, ESTATE, f"{ANNA},address:KdNr=7", "9002"))
    assert json.loads(cli("jobs", "show", job, "--json").stdout)["relations"]["total"] == 3
    alone = first_job(cli("send", "create", INTERESTED, ESTATE, ANNA))
    drain()
    assert Relation(INTERESTED, 501, 9001) in simulator.relations(TOKEN)
    shown = cli("jobs", "show", alone).stdout
    assert f"create {INTERESTED} 501 → 9001" in shown
    assert f"  parent {ESTATE} is 501, looked up 2" in shown
    listed = cli("jobs", "list", "--state", "parked").stdout
    assert "501 9002 →" not in listed
    assert f"{INTERESTED} 501 → 9001 9002 address:KdNr=7" in listed
    assert "reference until" in listed
    assert "1 change parked" in cli("accounts", "list").stdout
    refused = cli("send", "create", INTERESTED, ANNA, ESTATE, code=1)
    assert "parentid: is a record of estate, not of address" in refused.stderr


def test_a_dry_run_says_what_is_looked_up_first_and_plans_the_rest(cli: Cli, tmp_path: Path) -> None:
    change = {"action": "create", "relationtype": INTERESTED, "parentid": 501, "childid": 9001}
    (tmp_path / "c.ndjson").write_text(
        "\n".join(json.dumps({**change, "childid": child}) for child in (9001, ANNA, NOBODY))
    )
    mixed = cli("send", str(tmp_path / "c.ndjson"), "--dry-run").stdout
    assert "Look up: 2 records in 1 read, for 2 changes; what these come to is known then" in mixed
    assert f"  #2 create {INTERESTED} by {ANNA}" in mixed
    assert "Fold: 1 change → 1 relation" in mixed
    alone = cli("send", "create", INTERESTED, ESTATE, ANNA, "--dry-run").stdout
    assert "Look up: 2 records in 2 reads, for 1 change" in alone
    assert "Plan:" not in alone
    counted = json.loads(cli("import", str(tmp_path / "c.ndjson"), "--dry-run", "--json").stdout)["accounts"]
    assert [(each["changes"], each["looked_up"], each["actions"]) for each in counted] == [(3, 2, 2)]


def test_a_table_of_external_numbers_and_e_mails_is_imported(
    cli: Cli, drain: Callable[[], None], simulator: Simulator, runtime: Runtime, tmp_path: Path
) -> None:
    file = tmp_path / "enquiries.csv"
    file.write_text(
        "Objekt;E-Mail\n00815;anna@example.test\n00815;nobody@example.test\n815;anna@example.test\n"
    )
    columns = ("--map", "Objekt=estate:objektnr_extern", "--map", "E-Mail=childid=address:email")
    constants = ("--set", "action=create", "--set", f"type={INTERESTED}")
    imported = cli("import", str(file), *columns, *constants, "--json")
    assert json.loads(imported.stdout)["accepted"] == 3
    assert json.loads(cli("import", str(file), *columns, *constants, "--json").stdout)["known"] == 3
    drain()
    assert set(simulator.relations(TOKEN)) == {Relation(INTERESTED, 501, 9001)}
    assert count_by_state(runtime.metrics, "acme")["parked"] == 2
    wrong = cli("import", str(file), "--map", "Objekt=person:name", *constants, code=2)
    assert "or a record's own such as childid=address:email" in wrong.stderr
