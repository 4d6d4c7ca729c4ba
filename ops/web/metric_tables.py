"""Which metrics there are, as tables that `docs/reference/metrics.md` is made of.

Labels are accounts and words of the code. `metrics` reads what the rows say and writes it for Prometheus.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from worker.planner.fold import RESULTS
from worker.ports.metrics import AccountStats
from worker.ports.pace import Pace
from worker.ports.records import ENDED_STATES
from worker.usecases.health import HEARTBEAT_AGE, SEVERITIES, Health

BREAKERS: Final = ("closed", "half_open", "open")


class AccountSample(NamedTuple):
    """What a scrape finds of one account."""

    stats: AccountStats
    pace: Pace
    now: float  # seconds
    observes: bool
    claim_at: float | None


class Measure(NamedTuple):
    """A metric of each account: `read` gives one number, or one per value of the label."""

    name: str
    help: str
    read: Callable[[AccountSample], Mapping[str, float] | float]
    label: str = ""


class SystemMetric(NamedTuple):
    """A metric of the whole system, None where the store does not tell; a counter if it ends in `_total`."""

    name: str
    help: str
    read: Callable[[Health], float | None]


def tallied(stats: AccountStats, name: str) -> dict[str, float]:
    """Return what was tallied under a name, by label."""
    prefix = f"{name}:"
    return {key.removeprefix(prefix): value for key, value in stats.tally.items() if key.startswith(prefix)}


def _counted(field: str) -> Callable[[AccountSample], float]:
    return lambda sample: sample.stats.counts.get(field, 0)


def _tallied(name: str, *begins: str) -> Callable[[AccountSample], Mapping[str, float]]:
    """Read what was tallied under a name; what `begins` names is there from the start, at 0.

    Of a series that begins with its first rise, Prometheus sees no rise.
    """
    return lambda sample: dict.fromkeys(begins, 0.0) | tallied(sample.stats, name)


def _oldest_age(sample: AccountSample) -> float:
    return max(0.0, sample.now - sample.stats.oldest / 1e6) if sample.stats.oldest else 0.0


def _pause_reasons(sample: AccountSample) -> Mapping[str, float]:
    pause = sample.stats.pause
    return {pause.reason: 1.0} if pause and (not pause.until or pause.until / 1e6 > sample.now) else {}


def _job_outcomes(sample: AccountSample) -> Mapping[str, float]:
    return {outcome: sample.stats.counts.get(f"relations_{outcome}", 0) for outcome in RESULTS}


GAUGES: Final = (
    Measure("relations_backlog", "Changes that wait in the inbox.", lambda sample: sample.stats.backlog),
    Measure(
        "relations_oldest_seconds",
        "Age of the change at the head of the inbox; 0 for an empty one.",
        _oldest_age,
    ),
    Measure(
        "relations_jobs", "Jobs that have not ended.", lambda sample: {**sample.stats.open_jobs}, "state"
    ),
    Measure(
        "relations_open", "Relations whose changes have no outcome yet.", lambda sample: sample.stats.open
    ),
    Measure(
        "relations_begun", "Requests that were begun and not settled.", lambda sample: sample.stats.begun
    ),
    Measure(
        "relations_job_outcomes",
        "Outcomes as the jobs have them now, also jobs that are forgotten: a failure that was put back is "
        "none any more. The true number beside `relations_outcomes_total`, which never falls.",
        _job_outcomes,
        "outcome",
    ),
    Measure(
        "relations_ended_jobs",
        "Jobs that have ended, by how, also those that are forgotten; one that was put back has not.",
        lambda sample: {state: sample.stats.counts.get(state, 0) for state in ENDED_STATES},
        "state",
    ),
    Measure(
        "relations_unresolved",
        "Failed jobs that wait for a decision.",
        lambda sample: sample.stats.unresolved,
    ),
    Measure("relations_paused", "1 while the account is stopped, by the reason.", _pause_reasons, "reason"),
    Measure(
        "relations_observing",
        "1 while the account only observes: its changes wait by design.",
        lambda sample: float(sample.observes),
    ),
    Measure(
        "relations_claim_age_seconds",
        "Age of the extendedclaim that is read from a file, by the call or the hand that wrote it.",
        lambda sample: {"": max(0.0, sample.now - sample.claim_at)} if sample.claim_at else {},
    ),
    Measure(
        "relations_pace",
        "Share of its rate that the account is sent at: 1 is full pace.",
        lambda sample: sample.pace["factor"],
    ),
    Measure(
        "relations_failures_in_a_row",
        "Requests without a usable answer since the last one that had one.",
        lambda sample: sample.pace["failures"],
    ),
    Measure(
        "relations_breaker",
        "1 for the state the breaker is in.",
        lambda sample: {state: float(sample.pace["breaker"] == state) for state in BREAKERS},
        "state",
    ),
    Measure(
        "relations_held_seconds",
        "How long no request may go out, because the API said so (Retry-After) or the breaker is open.",
        lambda sample: max(
            0.0, sample.pace["not_before"] - sample.now, sample.pace["open_until"] - sample.now
        ),
    ),
)

COUNTERS: Final = (
    Measure("relations_accepted", "Changes that were accepted.", _counted("accepted")),
    Measure(
        "relations_unreadable",
        "Messages that made no change and are kept as failed jobs.",
        _counted("unreadable"),
    ),
    Measure(
        "relations_requests_sent",
        "Requests that were sent, as `relations requests` lists them.",
        _counted("requests"),
    ),
    Measure("relations_actions_sent", "Actions of those requests.", _counted("actions")),
    Measure(
        "relations_outcomes",
        "Outcomes of relations as they were written, by flushes and by operators: one per job and relation, "
        "and one more each time that a failure was put back.",
        _tallied("outcomes", *RESULTS),
        "outcome",
    ),
    Measure(
        "relations_failed",
        "Those of them that are failures, by class of the error.",
        _tallied("failures"),
        "class",
    ),
    Measure(
        "relations_taken",
        "Changes that flushes took from the inbox; one that was put back counts each time.",
        _tallied("changes"),
        "how",
    ),
    Measure(
        "relations_references",
        "References that were looked up, by result: found, remembered from an earlier look-up, not_found, "
        "several, or refused by the API.",
        _tallied("references"),
        "result",
    ),
    Measure(
        "relations_flushes", "Flushes that held an account, by how they ended.", _tallied("flushes"), "state"
    ),
    Measure(
        "relations_flush_seconds",
        "Time that flushes took.",
        lambda sample: sample.stats.tally.get("flush:us", 0) / 1e6,
    ),
    Measure(
        "relations_requests",
        "Requests by what they show of the account: ok, alive (an answered probe), slow (429), failed, "
        "or suspect (it failed for the relations in it).",
        _tallied("requests"),
        "feedback",
    ),
    Measure(
        "relations_actions",
        "Actions by kind; `get` reads relations, `read` looks records up.",
        _tallied("actions"),
        "kind",
    ),
    Measure("relations_carried", "Relations that actions were about, by kind.", _tallied("carried"), "kind"),
    Measure(
        "relations_answers",
        "Answers to actions: ok, unknown, not_sent, or the class of the error.",
        _tallied("answers"),
        "answer",
    ),
    Measure(
        "relations_doubts", "Relations whose write got no answer.", _tallied("doubts", "relations"), "of"
    ),
    Measure(
        "relations_splits",
        "Stars that were rejected, and so are tried in smaller company.",
        _tallied("splits"),
        "of",
    ),
    Measure(
        "relations_recovered",
        "Requests found begun by a worker that died.",
        _tallied("recovered", "requests"),
        "of",
    ),
    Measure(
        "relations_mended",
        "Contradictions in what is stored that were mended, by kind; `lost` are changes that it has lost.",
        _tallied("mended"),
        "kind",
    ),
    Measure("relations_waits", "Slots that were not free at once, by why.", _tallied("waits"), "reason"),
    Measure(
        "relations_pauses",
        "Times the account was stopped by what the API said, or by the brake.",
        _tallied("pauses"),
        "reason",
    ),
    Measure("relations_breaker_turns", "Times the breaker opened or closed.", _tallied("breaker"), "turn"),
    Measure(
        "relations_callbacks",
        "Messages of callbacks: made, delivered, abandoned; and attempts that failed.",
        _tallied("callbacks", "abandoned"),
        "how",
    ),
    Measure(
        "relations_deeds",
        "What operators did: jobs cancelled, dismissed or replayed, things an erasure changed; a pause is 1.",
        _tallied("deed"),
        "deed",
    ),
)

HISTOGRAMS: Final = (
    ("relations_request_seconds", "How long the API took to answer a request.", "latency"),
    ("relations_waited_seconds", "How long a change waited from being accepted to being taken.", "waited"),
)

SYSTEM: Final = (
    SystemMetric(
        "relations_workers",
        f"Workers that sent a heartbeat in the last {HEARTBEAT_AGE:g} seconds.",
        lambda health: len(health.live_workers),
    ),
    SystemMetric(
        "relations_worker_processes",
        "Processes of those workers.",
        lambda health: sum(worker.concurrency for worker in health.live_workers),
    ),
    SystemMetric(
        "relations_last_sweep_timestamp_seconds",
        "When the last sweep was; 0 if there was none.",
        lambda health: health.sweeps.at / 1e6,
    ),
    SystemMetric("relations_sweeps_total", "Sweeps that were made.", lambda health: health.sweeps.made),
    SystemMetric(
        "relations_sweep_repairs_total",
        "Wake-ups that were lost and that sweeps sent again.",
        lambda health: health.sweeps.repaired,
    ),
    SystemMetric(
        "relations_store_memory_bytes",
        "Memory that Redis uses.",
        lambda health: health.memory.used if health.memory else None,
    ),
    SystemMetric(
        "relations_store_memory_max_bytes",
        "Memory that Redis may use; 0 for any.",
        lambda health: health.memory.limit if health.memory else None,
    ),
)

REFUSALS: Final = (
    ("relations_keys_refused", "Requests that were refused for their key, by why.", ("reason",)),
    (
        "relations_webhooks_refused",
        "Deliveries that were refused, by source (empty: none of that name) and why.",
        ("source", "reason"),
    ),
)

DELIVERIES: Final = (
    "relations_deliveries",
    "Deliveries to each source by what became of them: made (jobs), nothing_to_do (a rule says so), no_rule "
    "(fits), unreadable, refused; one that comes again counts again.",
    ("source", "outcome"),
)

PROCESS: Final = (
    ("relations_store_up", "1 while Redis answers; else there are only metrics of this process."),
    (
        "relations_settings_stale",
        "1 while the settings file or rules in it cannot be used, and this process runs on old ones.",
    ),
    ("relations_wake_failing", "1 while the broker takes no wake-ups: what is accepted waits for the sweep."),
)

TROUBLE: Final = (
    "relations_trouble",
    "1 for each thing that is wrong, which `relations doctor` and `/readyz` tell too: "
    f"{', '.join(SEVERITIES)}.",
)
TROUBLE_LABELS: Final = ("trouble", "severity", "account")
