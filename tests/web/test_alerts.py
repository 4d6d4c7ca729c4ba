"""The alerts of Prometheus fire when they should: `promtool test rules` plays what a scrape tells."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ops.web.metric_tables import COUNTERS, AccountSample
from tests.support.waiting import HANGS_AFTER
from worker.ports.metrics import AccountStats
from worker.ports.pace import Pace

ROOT = Path(__file__).parents[2]
RULES = ROOT / "ops/prometheus/rules.yml"
FIRST_RISES = {  # what a new account has at its first scrapes, and how often the alert's event happens then
    "RelationsFailuresRising": (("relations_outcomes", "failed"), 40),
    "RelationsDoubtsPilingUp": (("relations_doubts", "relations"), 200),
    "RelationsWorkersDie": (("relations_recovered", "requests"), 5),
    "RelationsUnreadable": (("relations_unreadable", ""), 1),
    "RelationsCallbackAbandoned": (("relations_callbacks", "abandoned"), 1),
}
NOTHING_DONE = AccountStats(0, 0, 0, 0, 0, counts={}, tally={}, pause=None)
NO_PACE = Pace(factor=1.0, failures=0, breaker="closed", open_until=0.0, not_before=0.0, reason="")


def first_scrape(name: str) -> dict[str, float]:
    """Return what a counter shows of an account that has done nothing yet, by its label."""
    measure = next(each for each in COUNTERS if each.name == name)
    found: Any = measure.read(AccountSample(NOTHING_DONE, NO_PACE, 0.0, observes=False, claim_at=None))
    return dict(found) if isinstance(found, dict) else {"": found}


def test_who_is_woken_by_an_alert_finds_it_on_the_page() -> None:
    page = (ROOT / "docs/how-to/monitor.md").read_text("utf-8").partition("## When an alert comes")[2]
    rows = re.findall(r"^\| (`Relations.+?) \| (page|ticket) \|", page, re.MULTILINE)
    told = {name: severity for names, severity in rows for name in re.findall(r"`(\w+)`", names)}
    rules = YAML(typ="safe").load(RULES.read_text("utf-8"))["groups"][0]["rules"]
    assert told == {rule["alert"]: rule["labels"]["severity"] for rule in rules}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not on PATH")
@pytest.mark.parametrize("alert", FIRST_RISES)
def test_an_alert_fires_though_its_event_happens_at_once_and_for_the_first_time(
    alert: str, tmp_path: Path
) -> None:
    (name, value), rise = FIRST_RISES[alert]
    measure = next(each for each in COUNTERS if each.name == name)
    series = []
    for label, start in {value: None, **first_scrape(name)}.items():  # None: it is not there yet
        named = f',{measure.label}="{label}"' if label else ""
        begin = "_x5" if start is None else f"{start:g}x5"
        last = (start or 0) + (rise if label == value else 0)
        series.append({"series": f'{name}_total{{account="acme"{named}}}', "values": f"{begin} {last:g}x60"})
    played = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                        "eval_time": "14m",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                ],
            }
        ],
    }
    YAML().dump(played, tmp_path / "alerts.yml")
    run = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "alerts.yml")],
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
    )
    assert run.returncode == 0, run.stdout + run.stderr
