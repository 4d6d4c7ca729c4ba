"""The first page: whether all is well, what waits and why, and what was done over the last day."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final, NamedTuple

from ops.dashboard.charts import Labels, Series, side_by_side, stacked_bars
from ops.dashboard.formats import Formatter
from ops.dashboard.page import DashboardDeps, Page, Visit, get
from ops.doctor.findings import Finding, report_troubles, verdict_of
from ops.lookups import gather, read_history
from worker.errors import StoreUnreadable
from worker.ports.metrics import HISTORY_BUCKETS, HISTORY_SECONDS, HistoryPoint
from worker.ports.pace import Waiting
from worker.ports.records import OPEN_STATES
from worker.usecases.health import AccountHealth, Health

BARS: Final = 48
BAR_SECONDS: Final = HISTORY_SECONDS * HISTORY_BUCKETS // BARS
SHOWN_ACCOUNTS: Final = 20  # those in trouble first, then those with most to do
OUTCOMES: Final = (("applied", "good"), ("superseded", "quiet"), ("stale", "warn"), ("failed", "bad"))
WORK: Final = (("accepted", "first"), ("actions", "second"), ("requests", "third"))


class AccountRow(NamedTuple):
    """How an account stands, and why nothing of it is sent now."""

    name: str
    state: AccountHealth
    waits: Waiting | None
    level: str


@get("/")
def show_overview(deps: DashboardDeps, visit: Visit) -> Page:
    """Show the verdict, the accounts, the day, the workers and the sweep."""
    health = deps.runtime.read_health(visit.accounts)
    findings = report_troubles(deps.runtime.find_troubles(health))
    rows = read_accounts(deps, health, findings, SHOWN_ACCOUNTS)
    points = read_day(deps, rows, round(health.now * 1e6))
    return Page(
        "overview.html",
        {
            "verdict": verdict_of(findings),
            "findings": findings,
            "rows": rows,
            "unreadable": health.unreadable,
            "left_out": len(health.accounts) - len(rows),
            "totals": sum_states(health),
            "failures": sum(each.stats.unresolved for each in health.accounts.values()),
            "plots": draw_day(visit, points, round(health.now * 1e6)),
            "day": points,
            "workers": health.live_workers,
            "sweeps": health.sweeps,
            "memory": health.memory,
        },
    )


def read_accounts(
    deps: DashboardDeps, health: Health, findings: Sequence[Finding], most: int
) -> list[AccountRow]:
    """Return the accounts that most should be looked at."""
    levels = {finding.subject: finding.level for finding in findings}

    def urgency(name: str) -> tuple[bool, int, int]:
        stats = health.accounts[name].stats
        return f"account {name}" not in levels, -stats.backlog - stats.open, -stats.unresolved

    names = sorted(health.accounts, key=urgency)[:most]
    listed = [name for name in health.accounts if name in names]
    rows = deps.runtime.ask_each(
        lambda name: read_row(deps, health, name, levels.get(f"account {name}", "ok")), listed
    )
    return list(rows.values())


def read_row(deps: DashboardDeps, health: Health, name: str, level: str) -> AccountRow:
    """Return the row of an account; one that cannot be read in full is bad, and its own page says why."""
    try:
        return AccountRow(name, health.accounts[name], deps.runtime.waits.of_account(name), level)
    except StoreUnreadable:
        return AccountRow(name, health.accounts[name], None, "fail")


def sum_states(health: Health) -> dict[str, int]:
    """Return how many jobs of the accounts are in each open state."""
    totals: Counter[str] = Counter(dict.fromkeys(OPEN_STATES, 0))
    for each in health.accounts.values():
        totals.update(each.stats.open_jobs)
    return dict(totals)


def read_day(deps: DashboardDeps, rows: Sequence[AccountRow], now: int) -> list[HistoryPoint]:
    """Return what these accounts did over the last day, in half hours."""
    stats, buckets = {row.name: row.state.stats for row in rows}, list[HistoryPoint]()
    with suppress(StoreUnreadable):  # of an account that is alone
        read = deps.runtime.ask_each(
            lambda name: read_history(deps.runtime.metrics, name, stats[name]), list(stats)
        )
        buckets += chain.from_iterable(read.values())
    step = BAR_SECONDS * 1_000_000
    start = (now // step - BARS + 1) * step
    return gather(buckets, start=start, seconds=BAR_SECONDS, size=BARS)


def draw_day(visit: Visit, day: Sequence[HistoryPoint], now: int) -> dict[str, Any]:
    """Return the plots of a day: outcomes, and what changes became."""
    f, t = Formatter(visit.texts, visit.zone, now), visit.texts
    first, last = f.instant(day[0].at)[-8:-3], t("now")
    outcomes = [Series(name, tone, [getattr(each, name) for each in day]) for name, tone in OUTCOMES]
    work = [Series(name, tone, [getattr(each, name) for each in day]) for name, tone in WORK]
    return {
        "outcomes": stacked_bars(
            outcomes, Labels(t("Outcomes of relations per half hour"), first, last, f.number)
        ),
        "work": side_by_side(
            work, Labels(t("Changes, actions and requests per half hour"), first, last, f.number)
        ),
    }
