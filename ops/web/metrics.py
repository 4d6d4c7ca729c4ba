"""The metrics for Prometheus, read from Redis at each scrape: every process gives the same numbers."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ops.web.metric_tables import (
    COUNTERS,
    DELIVERIES,
    GAUGES,
    HISTOGRAMS,
    PROCESS,
    REFUSALS,
    SYSTEM,
    TROUBLE,
    TROUBLE_LABELS,
    AccountSample,
    Measure,
    tallied,
)
from producers.portals.http.deps import RedisProbe
from worker.contract.message import UNROUTED
from worker.errors import StoreUnavailable
from worker.ports.deliveries import DeliveryOutcome
from worker.ports.metrics import BOUNDS
from worker.usecases.health import Health, Trouble, find_process_troubles, find_store_trouble, find_troubles
from worker.wiring import Runtime

Family = GaugeMetricFamily | CounterMetricFamily

SCRAPE_SECONDS: Final = 4.0  # that a scrape waits for Redis; Prometheus itself waits for 10, many set 5


class CollectedMetrics(Collector):
    """Metrics that were read already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield from self._families


class MetricsReader:
    """Reads all metrics of a runtime, and those of this process alone while Redis does not answer in time.

    `now` is in seconds since the epoch.
    """

    def __init__(self, runtime: Runtime, *, now: Callable[[], float]) -> None:
        self._runtime, self._now = runtime, now
        self._probe = RedisProbe(self._read_stored, seconds=SCRAPE_SECONDS)

    async def read(self) -> CollectedMetrics:
        """Return the metrics, within `SCRAPE_SECONDS`."""
        self._runtime.live_settings.refresh()
        try:
            stored, troubles = await self._probe.check()
        except StoreUnavailable as error:
            stored, troubles = [], [find_store_trouble(str(error))]
        faults = self._runtime.live_settings.faults
        wake_trouble = str(getattr(self._runtime.wake, "trouble", ""))
        troubles = [*find_process_troubles(wake_trouble, faults), *troubles]
        values = bool(stored), bool(faults), bool(wake_trouble)
        own = [
            GaugeMetricFamily(name, text, value=float(value))
            for (name, text), value in zip(PROCESS, values, strict=True)
        ]
        return CollectedMetrics([*stored, *own, _trouble_metric(troubles)])

    def _read_stored(self) -> tuple[list[Metric], list[Trouble]]:
        """Return every metric that is in Redis, and what is wrong with the system; raise Unavailable.

        It costs seven round trips however many accounts there are.
        """
        health = self._runtime.read_health([*self._runtime.settings.accounts, UNROUTED])
        health = health._replace(now=self._now())
        known = {name: found for name, found in health.accounts.items() if name != UNROUTED}
        return list(self._metrics(health)), list(find_troubles(health._replace(accounts=known)))

    def _metrics(self, health: Health) -> Iterator[Metric]:
        samples = {
            name: AccountSample(found.stats, found.pace, health.now, found.observes, found.claim_at)
            for name, found in health.accounts.items()
        }
        for kind, metrics in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for metric in metrics:
                labels = ["account", *filter(None, [metric.label])]
                yield _add_accounts(kind(metric.name, metric.help, labels=labels), metric, samples)
        yield from (_histogram(name, text, tally, samples) for name, text, tally in HISTOGRAMS)
        sources = self._runtime.settings.sources
        yield from _refused(self._runtime.metrics.refusals(), {"", *sources})
        yield _delivered(self._runtime.metrics.deliveries(), sources)
        yield from _system(health)


def _add_accounts(family: Family, metric: Measure, samples: Mapping[str, AccountSample]) -> Metric:
    """Return the family with what each account has of the metric."""
    for account, sample in samples.items():
        found = metric.read(sample)
        for label, value in found.items() if isinstance(found, Mapping) else [("", found)]:
            family.add_metric([account, label] if label else [account], value)
    return family


def _histogram(name: str, text: str, tally: str, samples: Mapping[str, AccountSample]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["account"])
    for account, sample in samples.items():
        found, total = tallied(sample.stats, tally), 0.0
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
        match name.split(":"):
            case ["key", reason]:
                by_kind["key"][reason,] = count
            case ["webhook", source, reason] if source in sources:
                by_kind["webhook"][source, reason] = count
    for (name, text, label_names), values in zip(REFUSALS, by_kind.values(), strict=True):
        family = CounterMetricFamily(name, text, labels=list(label_names))
        for labels_of, count in values.items():
            family.add_metric(list(labels_of), count)
        yield family


def _delivered(counts: Mapping[str, int], sources: Iterable[str]) -> Metric:
    """Return the deliveries of the settings' sources; each begins at 0, so that its first rise is seen."""
    name, text, labels = DELIVERIES
    family = CounterMetricFamily(name, text, labels=list(labels))
    for source in sources:
        for outcome in get_args(DeliveryOutcome):
            family.add_metric([source, outcome], counts.get(f"{source}:{outcome}", 0))
    return family


def _trouble_metric(troubles: Iterable[Trouble]) -> Metric:
    family = GaugeMetricFamily(*TROUBLE, labels=TROUBLE_LABELS)
    for name, severity, account in dict.fromkeys(
        (each.name, each.severity, each.account) for each in troubles
    ):
        family.add_metric([name, severity, account], 1.0)
    return family


def _system(health: Health) -> Iterator[Metric]:
    for metric in SYSTEM:
        family = CounterMetricFamily if metric.name.endswith("_total") else GaugeMetricFamily
        if (value := metric.read(health)) is not None:
            yield family(metric.name, metric.help, value=value)
