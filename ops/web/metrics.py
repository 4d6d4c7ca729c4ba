"""What Prometheus scrapes: every number there is, read from Redis at each scrape, so that whichever process is asked tells the same.

A metric is a line in one of the tables below, which `docs/reference/metrics.md` is made of; labels are words of the code and accounts.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from producers.portals.http.problems import refused
from worker.errors import Unavailable
from worker.ports import BOUNDS, UNROUTED, AccountStats, Pace
from worker.wiring import Runtime

ALIVE: Final = 30.0  # seconds since its last sign of life within which a worker counts
OPEN_STATES: Final = ("sending", "retrying", "verifying")
BREAKERS: Final = ("closed", "half_open", "open")


class Stand(NamedTuple):
    """One account as it is scraped."""

    standing: AccountStats
    pace: Pace
    now: float  # seconds
    observes: bool = False


class Gauge(NamedTuple):
    """A number of each account as it is now; with a label, several of them."""

    name: str
    help: str
    read: Callable[[Stand], Mapping[str, float] | float]
    label: str = ""


class Counted(NamedTuple):
    """A counter of each account: a field of the store's, or all labels that were tallied under a name."""

    name: str
    help: str
    tallied: str = ""
    label: str = ""
    field: str = ""
    per: float = 1.0


def _age(of: Stand) -> float:
    return max(0.0, of.now - of.standing.oldest / 1e6) if of.standing.oldest else 0.0


def _paused(of: Stand) -> Mapping[str, float]:
    pause = of.standing.pause
    return {pause.reason: 1.0} if pause and (not pause.until or pause.until / 1e6 > of.now) else {}


def _states(of: Stand) -> Mapping[str, float]:
    return {
        "queued": of.standing.backlog,
        **{state: of.standing.counts.get(state, 0) for state in OPEN_STATES},
    }


GAUGES: Final = (
    Gauge("relations_backlog", "Changes that wait in the inbox.", lambda of: of.standing.backlog),
    Gauge(
        "relations_oldest_seconds", "Age of the change at the head of the inbox; 0 for an empty one.", _age
    ),
    Gauge("relations_jobs", "Jobs that have not ended.", _states, "state"),
    Gauge("relations_open", "Relations whose wishes have no outcome yet.", lambda of: of.standing.open),
    Gauge("relations_begun", "Requests that were begun and not settled.", lambda of: of.standing.begun),
    Gauge("relations_unresolved", "Failed jobs that wait for a decision.", lambda of: of.standing.unresolved),
    Gauge("relations_paused", "1 while the account is stopped, by the reason.", _paused, "reason"),
    Gauge(
        "relations_observing",
        "1 while the account only observes: its changes wait by design.",
        lambda of: float(of.observes),
    ),
    Gauge(
        "relations_pace",
        "Share of its rate that the account is sent at: 1 is full pace.",
        lambda of: of.pace["factor"],
    ),
    Gauge(
        "relations_failures_in_a_row",
        "Requests without a usable answer since the last one that had one.",
        lambda of: of.pace["failures"],
    ),
    Gauge(
        "relations_breaker",
        "1 for the state the breaker is in.",
        lambda of: {each: float(of.pace["breaker"] == each) for each in BREAKERS},
        "state",
    ),
    Gauge(
        "relations_held_seconds",
        "How long no request may go out, because the API said so (Retry-After) or the breaker is open.",
        lambda of: max(0.0, of.pace["not_before"] - of.now, of.pace["open_until"] - of.now),
    ),
)

COUNTERS: Final = (
    Counted("relations_accepted", "Changes that were accepted.", field="accepted"),
    Counted(
        "relations_unreadable",
        "Messages that made no change and are kept as failed jobs.",
        field="unreadable",
    ),
    Counted("relations_requests_sent", "Requests that were settled.", field="requests"),
    Counted("relations_actions_sent", "Actions of those requests.", field="actions"),
    Counted("relations_outcomes", "Outcomes of relations: one per job and relation.", "outcomes", "outcome"),
    Counted("relations_failed", "Outcomes that are failures, by class of the error.", "failures", "class"),
    Counted("relations_taken", "Changes that flushes took from the inbox.", "changes", "how"),
    Counted("relations_flushes", "Flushes that held an account, by how they ended.", "flushes", "state"),
    Counted("relations_flush_seconds", "Time that flushes took.", "flush", per=1e6),
    Counted(
        "relations_requests",
        "Requests by what they tell of the account: ok, slow (429) or failed.",
        "requests",
        "feedback",
    ),
    Counted("relations_actions", "Actions by kind; `get` reads back what is in doubt.", "actions", "kind"),
    Counted("relations_carried", "Relations that actions were about, by kind.", "carried", "kind"),
    Counted(
        "relations_answers",
        "Answers to actions: ok, unknown, not_sent, or the class of the error.",
        "answers",
        "answer",
    ),
    Counted("relations_doubts", "Relations whose write got no answer.", "doubts", "of"),
    Counted(
        "relations_splits", "Stars that were rejected, and so are tried in smaller company.", "splits", "of"
    ),
    Counted("relations_recovered", "Requests found begun by a worker that died.", "recovered", "of"),
    Counted("relations_waits", "Slots that were not free at once, by why.", "waits", "reason"),
    Counted(
        "relations_pauses",
        "Times the account was stopped by what the API said, or by the brake.",
        "pauses",
        "reason",
    ),
    Counted("relations_breaker_turns", "Times the breaker opened or closed.", "breaker", "turn"),
    Counted(
        "relations_deeds",
        "Jobs that people's deeds were about: cancelled, dismissed, replayed, erased; pauses count as 1.",
        "deed",
        "deed",
    ),
)

HISTOGRAMS: Final = (
    ("relations_request_seconds", "How long the API took to answer a request.", "latency"),
    ("relations_waited_seconds", "How long a change waited from being accepted to being taken.", "waited"),
)

SYSTEM: Final = (
    ("relations_workers", f"Workers that gave a sign of life in the last {ALIVE:g} seconds."),
    ("relations_worker_processes", "Processes of those workers."),
    ("relations_last_sweep_timestamp_seconds", "When the last sweep was; 0 if there was none."),
    ("relations_sweeps_total", "Sweeps that were made."),
    ("relations_sweep_repairs_total", "Wake-ups that were lost and that sweeps sent again."),
    ("relations_store_memory_bytes", "Memory that Redis uses."),
    ("relations_store_memory_max_bytes", "Memory that Redis may use; 0 for any."),
)


@dataclass(frozen=True, slots=True)
class MetricsCollector(Collector):
    """Collects them from a runtime; `now` in seconds."""

    runtime: Runtime
    now: Callable[[], float]

    def collect(self) -> Iterator[Metric]:
        """Every metric, in six round trips however many accounts there are; raises Unavailable."""
        runtime, now = self.runtime, self.now()
        names = [*runtime.settings.accounts, UNROUTED]
        standings, paces = runtime.metrics.account_stats(names), runtime.limiter.states(names)
        observers = {name for name, account in runtime.settings.accounts.items() if account.mode == "observe"}
        stands = {name: Stand(standings[name], paces[name], now, name in observers) for name in names}
        yield from _gauges(stands)
        yield from _counters(stands)
        yield from _histograms(stands)
        yield from _system(runtime, now)


def metrics(
    runtime: Runtime, *, now: Callable[[], float] = time.time
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint `GET /metrics` over a runtime: the text format, or OpenMetrics for who asks for it; 503 while Redis is away."""
    registry = CollectorRegistry()
    registry.register(MetricsCollector(runtime, now))

    async def endpoint(request: Request) -> Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        try:
            return Response(await run_in_threadpool(encode, registry), headers={"Content-Type": kind})
        except Unavailable as error:
            return refused(error)

    return endpoint


def _gauges(stands: Mapping[str, Stand]) -> Iterator[Metric]:
    for gauge in GAUGES:
        family = GaugeMetricFamily(gauge.name, gauge.help, labels=["account", *filter(None, [gauge.label])])
        for account, stand in stands.items():
            found = gauge.read(stand)
            for label, value in found.items() if isinstance(found, Mapping) else [("", found)]:
                family.add_metric([account, *filter(None, [label])], value)
        yield family


def _counters(stands: Mapping[str, Stand]) -> Iterator[Metric]:
    for counted in COUNTERS:
        family = CounterMetricFamily(
            counted.name, counted.help, labels=["account", *filter(None, [counted.label])]
        )
        for account, stand in stands.items():
            for label, value in _found(counted, stand.standing).items():
                family.add_metric([account, *filter(None, [label])], value / counted.per)
        yield family


def _found(counted: Counted, standing: AccountStats) -> Mapping[str, float]:
    """The counter's values by label; one without a label is there from the start, so that its first rise is seen."""
    if counted.field:
        return {"": standing.counts.get(counted.field, 0)}
    if not counted.label:
        return {"": standing.tally.get(f"{counted.tallied}:us", 0)}
    return _tallied(standing, counted.tallied)


def _tallied(standing: AccountStats, name: str) -> dict[str, float]:
    return {
        key.removeprefix(f"{name}:"): value
        for key, value in standing.tally.items()
        if key.startswith(f"{name}:")
    }


def _histograms(stands: Mapping[str, Stand]) -> Iterator[Metric]:
    for name, text, tallied in HISTOGRAMS:
        family = HistogramMetricFamily(name, text, labels=["account"])
        for account, stand in stands.items():
            found, total = _tallied(stand.standing, tallied), 0.0
            buckets = []
            for bound in (*BOUNDS[tallied], math.inf):
                total += found.get(f"{bound:g}", 0)
                buckets.append(("+Inf" if math.isinf(bound) else str(bound), total))
            family.add_metric([account], buckets, found.get("us", 0) / 1e6)
        yield family


def _system(runtime: Runtime, now: float) -> Iterator[Metric]:
    workers = [worker for worker in runtime.metrics.list_workers() if worker.at / 1e6 > now - ALIVE]
    sweeps, memory = runtime.metrics.sweep_stats(), runtime.metrics.memory_usage()
    processes = sum(worker.concurrency for worker in workers)
    values = (
        len(workers),
        processes,
        sweeps.at / 1e6,
        sweeps.made,
        sweeps.repaired,
        memory.used,
        memory.limit,
    )
    for (name, text), value in zip(SYSTEM, values, strict=True):
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        yield kind(name, text, value=value)
