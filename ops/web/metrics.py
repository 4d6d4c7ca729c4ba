"""The metrics for Prometheus, read from Redis at each scrape, so that every process gives the same numbers.

A metric is a row in one of the tables below, which `docs/reference/metrics.md` is made of. Labels are
accounts and words of the code.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from producers.portals.http.deps import RedisProbe
from worker.errors import StoreUnavailable
from worker.ports import BOUNDS, UNROUTED, AccountStats, Pace, count_open_jobs
from worker.usecases.health import (
    HEARTBEAT_AGE,
    SEVERITIES,
    Health,
    Trouble,
    find_process_troubles,
    find_store_trouble,
    find_troubles,
)
from worker.wiring import Runtime

ENDED_STATES: Final = ("succeeded", "superseded", "failed")
OUTCOMES: Final = ("applied", "superseded", "stale", "failed")
BREAKERS: Final = ("closed", "half_open", "open")


class AccountSample(NamedTuple):
    """What a scrape finds of one account."""

    stats: AccountStats
    pace: Pace
    now: float  # seconds
    observes: bool
    claim_at: float | None


TROUBLE: Final = (
    "relations_trouble",
    "1 for each thing that is wrong, which `relations doctor` and `/readyz` tell too: "
    f"{', '.join(SEVERITIES)}.",
)
TROUBLE_LABELS: Final = ("trouble", "severity", "account")


class Gauge(NamedTuple):
    """A metric of each account as it is now; `read` gives one number, or one per value of the label."""

    name: str
    help: str
    read: Callable[[AccountSample], Mapping[str, float] | float]
    label: str = ""


class Counter(NamedTuple):
    """A metric of each account that only rises.

    It is a field of the account's counts, or whatever was tallied under a name, by label; divided by `unit`.
    """

    name: str
    help: str
    tally: str = ""
    label: str = ""
    field: str = ""
    unit: float = 1.0


def _oldest_age(sample: AccountSample) -> float:
    return max(0.0, sample.now - sample.stats.oldest / 1e6) if sample.stats.oldest else 0.0


def _pause_reasons(sample: AccountSample) -> Mapping[str, float]:
    pause = sample.stats.pause
    return {pause.reason: 1.0} if pause and (not pause.until or pause.until / 1e6 > sample.now) else {}


def _open_jobs(sample: AccountSample) -> Mapping[str, float]:
    stats = sample.stats
    return {**count_open_jobs(stats.backlog, stats.counts, begun=stats.begun)}


def _job_outcomes(sample: AccountSample) -> Mapping[str, float]:
    return {outcome: sample.stats.counts.get(f"relations_{outcome}", 0) for outcome in OUTCOMES}


GAUGES: Final = (
    Gauge("relations_backlog", "Changes that wait in the inbox.", lambda sample: sample.stats.backlog),
    Gauge(
        "relations_oldest_seconds",
        "Age of the change at the head of the inbox; 0 for an empty one.",
        _oldest_age,
    ),
    Gauge("relations_jobs", "Jobs that have not ended.", _open_jobs, "state"),
    Gauge("relations_open", "Relations whose changes have no outcome yet.", lambda sample: sample.stats.open),
    Gauge("relations_begun", "Requests that were begun and not settled.", lambda sample: sample.stats.begun),
    Gauge(
        "relations_job_outcomes",
        "Outcomes as the jobs have them now, also jobs that are forgotten: a failure that was put back is "
        "none any more. The true number beside `relations_outcomes_total`, which never falls.",
        _job_outcomes,
        "outcome",
    ),
    Gauge(
        "relations_ended_jobs",
        "Jobs that have ended, by how, also those that are forgotten; one that was put back has not.",
        lambda sample: {state: sample.stats.counts.get(state, 0) for state in ENDED_STATES},
        "state",
    ),
    Gauge(
        "relations_unresolved",
        "Failed jobs that wait for a decision.",
        lambda sample: sample.stats.unresolved,
    ),
    Gauge("relations_paused", "1 while the account is stopped, by the reason.", _pause_reasons, "reason"),
    Gauge(
        "relations_observing",
        "1 while the account only observes: its changes wait by design.",
        lambda sample: float(sample.observes),
    ),
    Gauge(
        "relations_claim_age_seconds",
        "Age of the extendedclaim that is read from a file, by the call or the hand that wrote it.",
        lambda sample: {"": max(0.0, sample.now - sample.claim_at)} if sample.claim_at else {},
    ),
    Gauge(
        "relations_pace",
        "Share of its rate that the account is sent at: 1 is full pace.",
        lambda sample: sample.pace["factor"],
    ),
    Gauge(
        "relations_failures_in_a_row",
        "Requests without a usable answer since the last one that had one.",
        lambda sample: sample.pace["failures"],
    ),
    Gauge(
        "relations_breaker",
        "1 for the state the breaker is in.",
        lambda sample: {state: float(sample.pace["breaker"] == state) for state in BREAKERS},
        "state",
    ),
    Gauge(
        "relations_held_seconds",
        "How long no request may go out, because the API said so (Retry-After) or the breaker is open.",
        lambda sample: max(
            0.0, sample.pace["not_before"] - sample.now, sample.pace["open_until"] - sample.now
        ),
    ),
)

COUNTERS: Final = (
    Counter("relations_accepted", "Changes that were accepted.", field="accepted"),
    Counter(
        "relations_unreadable",
        "Messages that made no change and are kept as failed jobs.",
        field="unreadable",
    ),
    Counter("relations_requests_sent", "Requests that were settled.", field="requests"),
    Counter("relations_actions_sent", "Actions of those requests.", field="actions"),
    Counter(
        "relations_outcomes",
        "Outcomes of relations as they were written, by flushes and by operators: one per job and relation, "
        "and one more each time that a failure was put back.",
        "outcomes",
        "outcome",
    ),
    Counter(
        "relations_failed",
        "Those of them that are failures, by class of the error.",
        "failures",
        "class",
    ),
    Counter(
        "relations_taken",
        "Changes that flushes took from the inbox; one that was put back counts each time.",
        "changes",
        "how",
    ),
    Counter(
        "relations_references",
        "References that were looked up, by result: found, remembered from an earlier look-up, not_found, "
        "several, or refused by the API.",
        "references",
        "result",
    ),
    Counter("relations_flushes", "Flushes that held an account, by how they ended.", "flushes", "state"),
    Counter("relations_flush_seconds", "Time that flushes took.", "flush", unit=1e6),
    Counter(
        "relations_requests",
        "Requests by what they show of the account: ok, alive (an answered probe), slow (429), failed, "
        "or suspect (it failed for the relations in it).",
        "requests",
        "feedback",
    ),
    Counter("relations_actions", "Actions by kind; `get` reads back what is in doubt.", "actions", "kind"),
    Counter("relations_carried", "Relations that actions were about, by kind.", "carried", "kind"),
    Counter(
        "relations_answers",
        "Answers to actions: ok, unknown, not_sent, or the class of the error.",
        "answers",
        "answer",
    ),
    Counter("relations_doubts", "Relations whose write got no answer.", "doubts", "of"),
    Counter(
        "relations_splits", "Stars that were rejected, and so are tried in smaller company.", "splits", "of"
    ),
    Counter("relations_recovered", "Requests found begun by a worker that died.", "recovered", "of"),
    Counter(
        "relations_mended",
        "Contradictions in what is stored that were mended, by kind; `lost` are changes that it has lost.",
        "mended",
        "kind",
    ),
    Counter("relations_waits", "Slots that were not free at once, by why.", "waits", "reason"),
    Counter(
        "relations_pauses",
        "Times the account was stopped by what the API said, or by the brake.",
        "pauses",
        "reason",
    ),
    Counter("relations_breaker_turns", "Times the breaker opened or closed.", "breaker", "turn"),
    Counter(
        "relations_callbacks",
        "Messages of callbacks: made, delivered, abandoned; and attempts that failed.",
        "callbacks",
        "how",
    ),
    Counter(
        "relations_deeds",
        "What operators did: jobs cancelled, dismissed or replayed, things an erasure changed; a pause is 1.",
        "deed",
        "deed",
    ),
)

HISTOGRAMS: Final = (
    ("relations_request_seconds", "How long the API took to answer a request.", "latency"),
    ("relations_waited_seconds", "How long a change waited from being accepted to being taken.", "waited"),
)

SYSTEM: Final = (
    ("relations_workers", f"Workers that sent a heartbeat in the last {HEARTBEAT_AGE:g} seconds."),
    ("relations_worker_processes", "Processes of those workers."),
    ("relations_last_sweep_timestamp_seconds", "When the last sweep was; 0 if there was none."),
    ("relations_sweeps_total", "Sweeps that were made."),
    ("relations_sweep_repairs_total", "Wake-ups that were lost and that sweeps sent again."),
    ("relations_store_memory_bytes", "Memory that Redis uses."),
    ("relations_store_memory_max_bytes", "Memory that Redis may use; 0 for any."),
)


REFUSALS: Final = (
    ("relations_keys_refused", "Requests that were refused for their key, by why.", ("reason",)),
    (
        "relations_webhooks_refused",
        "Deliveries that were refused, by source (empty: none of that name) and why.",
        ("source", "reason"),
    ),
)

PROCESS: Final = (
    (
        "relations_store_up",
        "1 while Redis answers; else there are only metrics of this process.",
    ),
    (
        "relations_settings_stale",
        "1 while the settings file cannot be used, and this process runs on old ones.",
    ),
    ("relations_wake_failing", "1 while the broker takes no wake-ups: what is accepted waits for the sweep."),
)
SCRAPE_SECONDS: Final = 4.0  # that a scrape waits for Redis; Prometheus itself waits for 10, many set 5


class CollectedMetrics(Collector):
    """Metrics that were read already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        yield from self._families


class MetricsReader:
    """Reads all metrics of a runtime, and those of this process alone while Redis does not answer in time."""

    def __init__(self, runtime: Runtime, *, now: Callable[[], float]) -> None:
        collector = MetricsCollector(runtime, now)
        self._runtime = runtime
        self._probe = RedisProbe(collector.read, seconds=SCRAPE_SECONDS)

    async def read(self) -> CollectedMetrics:
        """Return the metrics, within `SCRAPE_SECONDS`."""
        self._runtime.live_settings.refresh()
        try:
            stored, troubles = await self._probe.check()
        except StoreUnavailable as error:
            stored, troubles = [], [find_store_trouble(str(error))]
        faults, wake_trouble = (
            self._runtime.live_settings.faults,
            str(getattr(self._runtime.wake, "trouble", "")),
        )
        troubles = [*find_process_troubles(wake_trouble, faults), *troubles]
        values = bool(stored), bool(faults), bool(wake_trouble)
        own = [
            GaugeMetricFamily(name, text, value=float(value))
            for (name, text), value in zip(PROCESS, values, strict=True)
        ]
        return CollectedMetrics([*stored, *own, _trouble_metric(troubles)])


@dataclass(frozen=True, slots=True)
class MetricsCollector(Collector):
    """Collects all metrics of a runtime; `now` is in seconds since the epoch."""

    runtime: Runtime
    now: Callable[[], float]

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, in six round trips however many accounts there are; raise Unavailable."""
        yield from self._metrics(self._read_health())

    def read(self) -> tuple[list[Metric], list[Trouble]]:
        """Return every metric, and what is wrong with the system."""
        health = self._read_health()
        known = {name: found for name, found in health.accounts.items() if name != UNROUTED}
        return list(self._metrics(health)), list(find_troubles(health._replace(accounts=known)))

    def _read_health(self) -> Health:
        health = self.runtime.read_health([*self.runtime.settings.accounts, UNROUTED])
        return health._replace(now=self.now())

    def _metrics(self, health: Health) -> Iterator[Metric]:
        samples = {
            name: AccountSample(found.stats, found.pace, health.now, found.observes, found.claim_at)
            for name, found in health.accounts.items()
        }
        for gauge in GAUGES:
            yield _gauge(gauge, samples)
        for counter in COUNTERS:
            yield _counter(counter, samples)
        for name, text, tally in HISTOGRAMS:
            yield _histogram(name, text, tally, samples)
        refused = self.runtime.metrics.refusals()
        yield from _refused(refused, {"", *self.runtime.settings.sources})
        yield from _system(health)


def _gauge(gauge: Gauge, samples: Mapping[str, AccountSample]) -> Metric:
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=_labels(gauge.label))
    for account, sample in samples.items():
        found = gauge.read(sample)
        for label, value in found.items() if isinstance(found, Mapping) else [("", found)]:
            family.add_metric([account, label] if label else [account], value)
    return family


def _counter(counter: Counter, samples: Mapping[str, AccountSample]) -> Metric:
    family = CounterMetricFamily(counter.name, counter.help, labels=_labels(counter.label))
    for account, sample in samples.items():
        for label, value in _counts(counter, sample.stats).items():
            family.add_metric([account, label] if label else [account], value / counter.unit)
    return family


def _labels(label: str) -> list[str]:
    return ["account", label] if label else ["account"]


def _counts(counter: Counter, stats: AccountStats) -> Mapping[str, float]:
    """Return the values by label; a counter without one starts at 0, so that its first rise is seen."""
    if counter.field:
        return {"": stats.counts.get(counter.field, 0)}
    if not counter.label:
        return {"": stats.tally.get(f"{counter.tally}:us", 0)}
    return _tallied(stats, counter.tally)


def _tallied(stats: AccountStats, name: str) -> dict[str, float]:
    prefix = f"{name}:"
    return {key.removeprefix(prefix): value for key, value in stats.tally.items() if key.startswith(prefix)}


def _histogram(name: str, text: str, tally: str, samples: Mapping[str, AccountSample]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["account"])
    for account, sample in samples.items():
        found, total = _tallied(sample.stats, tally), 0.0
        buckets = []
        for bound in (*BOUNDS[tally], math.inf):
            total += found.get(f"{bound:g}", 0)
            buckets.append(("+Inf" if math.isinf(bound) else str(bound), total))
        family.add_metric([account], buckets, found.get("us", 0) / 1e6)
    return family


def _refused(counts: Mapping[str, int], sources: Collection[str]) -> Iterator[Metric]:
    """Yield how many keys and webhooks were refused; of sources that have left the settings, nothing."""
    by_kind: dict[str, dict[tuple[str, ...], int]] = {"key": {}, "webhook": {}}
    for name, count in counts.items():
        kind, *labels = name.split(":")
        if kind == "key" or labels[0] in sources:
            by_kind[kind][tuple(labels)] = count
    for (name, text, label_names), values in zip(REFUSALS, by_kind.values(), strict=True):
        family = CounterMetricFamily(name, text, labels=list(label_names))
        for labels_of, count in values.items():
            family.add_metric(list(labels_of), count)
        yield family


def _trouble_metric(troubles: Iterable[Trouble]) -> Metric:
    family = GaugeMetricFamily(*TROUBLE, labels=TROUBLE_LABELS)
    for name, severity, account in dict.fromkeys(
        (each.name, each.severity, each.account) for each in troubles
    ):
        family.add_metric([name, severity, account], 1.0)
    return family


def _system(health: Health) -> Iterator[Metric]:
    workers, sweeps, memory = health.live_workers, health.sweeps, health.memory
    values = (
        len(workers),
        sum(worker.concurrency for worker in workers),
        sweeps.at / 1e6,
        sweeps.made,
        sweeps.repaired,
        *((memory.used, memory.limit) if memory else ()),
    )
    for (name, text), value in zip(SYSTEM, values, strict=False):  # the store may not tell its memory
        family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        yield family(name, text, value=value)
