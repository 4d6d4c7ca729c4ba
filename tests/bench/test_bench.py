"""The benches count right: end states, peers' calls, summaries, charts, and one tiny run of everything."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from rich.console import Console

from ops.bench import chart, comparison, limiter, report
from ops.bench.comparison import SMOKE, summarize
from ops.bench.environments import NotInstalled, environment
from ops.bench.peers import call
from ops.bench.peers.catalogue import PEERS
from ops.bench.workloads import count_wrong, end_state, scatter
from ops.dev.demo.burst import make_burst
from ops.simulator import Simulator
from ops.simulator.inprocess import InProcess
from worker.contract import Relation, from_message

TOKEN, SECRET = "token", "secret"
ONE = Relation("estate:address:buyer", 501, 9001)


def test_the_wanted_end_state_of_a_burst_is_the_one_that_the_burst_itself_names() -> None:
    burst = make_burst(500, seed=3, accounts=["nord"], start=1_700_000_000_000_000)
    changes = [from_message(arrival.message).change for arrival in burst.arrivals]
    assert end_state(changes) == burst.expected_after_repair["nord"]


def test_wrong_is_what_is_missing_what_is_too_many_and_what_has_another_info() -> None:
    other = ONE._replace(child=9002)
    assert count_wrong({ONE: {}}, {ONE: {}}) == 0
    assert count_wrong({}, {ONE: {}}) == count_wrong({ONE: {}}, {}) == 1
    assert count_wrong({ONE: {"a": "b"}, other: {}}, {ONE: {}}) == 2


def test_no_two_changes_of_a_scatter_share_a_record() -> None:
    changes = scatter(100, account="one")
    assert len({each.parents for each in changes}) == len({each.children for each in changes}) == 100


def test_the_api_takes_what_a_peer_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = Simulator({TOKEN: SECRET})
    for name, value in {"PEER_API": "http://api/api.php", "PEER_TOKEN": TOKEN, "PEER_SECRET": SECRET}.items():
        monkeypatch.setenv(name, value)
    client = httpx.Client(transport=InProcess(simulator))
    monkeypatch.setattr(call, "client", lambda: client)
    appointment, confirmed = Relation("calendar:address", 7, 9001), {"statusTerminbestaetigung": "bestätigt"}
    call.apply(_change("create", ONE))
    call.apply(_change("create", appointment))
    call.apply(_change("modify", appointment, confirmed))
    assert simulator.relations(TOKEN) == {ONE: {}, appointment: confirmed}
    for _ in range(2):  # what is not there is deleted, too
        call.apply(_change("delete", ONE))
    assert ONE not in simulator.relations(TOKEN)
    with pytest.raises(call.Refused):
        call.apply(_change("modify", ONE, confirmed))


def test_a_peer_that_cannot_be_installed_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(NotInstalled, match="nobody-has-this"):
        environment("peer", ["nobody-has-this==1.0"])
    assert not list(tmp_path.rglob("python*"))


def test_every_peer_is_a_module_with_fixed_versions_and_ways_to_start_it() -> None:
    for peer in PEERS:
        assert Path(call.__file__).with_name(f"{peer.module}.py").exists()
        assert all("==" in each or each.startswith("packaging") for each in peer.requires)
        assert len({variant.name for variant in peer.variants}) == len(peer.variants) >= 1


def test_rounds_are_summed_up_by_their_median_with_the_least_and_the_most() -> None:
    run = {"who": "ours", "how": "defaults", "load": "mailing", "latency": 0.0}
    rounds = [{**run, "rate": rate, "wrong": wrong} for rate, wrong in ((30.0, 0), (10.0, 2), (20.0, 0))]
    (row,) = summarize([*rounds])
    assert (row["rate"], row["least"], row["most"], row["rounds"], row["wrong"]) == (20.0, 10.0, 30.0, 3, 2)


def test_a_chart_is_well_formed_and_its_bars_are_as_long_as_their_values() -> None:
    bars = [
        chart.Bar("ours & theirs", 200.0, 150.0, 250.0, True),
        chart.Bar("<them>", 50.0, 50.0, 50.0, False),
    ]
    drawn = chart.draw([chart.Panel("a", "b", bars)])
    rows = ElementTree.fromstring(drawn).findall("{http://www.w3.org/2000/svg}rect")
    assert [row.get("class") for row in rows] == ["ours", "theirs"]
    assert float(rows[0].get("width", 0)) == pytest.approx(4 * float(rows[1].get("width", 0)))
    assert "prefers-color-scheme: dark" in drawn


def test_of_a_tiny_run_every_table_can_be_printed() -> None:
    facts = {"machine": report.machine(), "work": comparison.compare(SMOKE, echo=lambda _: None)}
    (run,) = facts["work"]["runs"]
    assert (run["changes"], run["actions"], run["requests"], run["wrong"]) == (200, 2, 1, 0)
    console = Console(width=150, record=True, quiet=True)
    console.print(report.tables(facts))
    assert chart.panels_of(facts)[0].bars[0].name == "ours, defaults"


def test_contenders_of_our_limiter_get_what_the_pace_allows_in_about_a_call_each() -> None:
    facts = limiter.contend("ours", Path(sys.executable), 0.3)
    assert 0 < facts["granted"] <= facts["allowed"] + 1
    assert facts["calls_per_grant"] < 2


def _change(action: str, relation: Relation, info: dict[str, str] | None = None) -> call.ChangeDict:
    name, parent, child = relation
    return {"action": action, "type": name, "parents": [parent], "children": [child], "info": info or {}}
