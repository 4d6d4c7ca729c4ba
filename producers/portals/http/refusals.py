"""Counts refused keys and deliveries to webhooks, and logs or keeps a sample: a flood of them fills no disk.

The numbers are gathered for a second before they are added to the store's, so that a flood costs it nothing.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from starlette.concurrency import run_in_threadpool

from producers.errors import Forbidden, RefusalReason, TooLarge, TooSlow, Unauthorized, Unsupported
from worker.config import Source
from worker.errors import Invalid, InvalidSettings, NotFound, RelationsError
from worker.ports.deliveries import DeliveryOutcome, KeptDelivery
from worker.wiring import Runtime

LOGGED_A_MINUTE: Final = 10  # of each kind of refusal
MINUTE: Final = 60.0
GATHERED: Final = 1.0  # seconds for which numbers are gathered


class Sampler:
    """Lets the first few events of a kind pass in each minute, and counts the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, ...], float] = {}
        self._passed, self._dropped = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()

    def take(self, *kind: str) -> int | None:
        """Return how many of this kind were dropped before it; None if it is dropped itself."""
        now = self._clock()
        if now >= self._windows.get(kind, now):
            self._windows[kind], self._passed[kind] = now + MINUTE, 0
        if self._passed[kind] >= LOGGED_A_MINUTE:
            self._dropped[kind] += 1
            return None
        self._passed[kind] += 1
        return self._dropped.pop(kind, 0)


class GatheredCounts:
    """Counts things by name; `add` writes the numbers of a second, in a thread."""

    def __init__(self, add: Callable[[Mapping[str, int]], None]) -> None:
        self._add = add
        self._counts = defaultdict[str, int](int)
        self._writing: asyncio.Task[None] | None = None

    def count(self, name: str) -> None:
        """Count one more of this name; called in the event loop."""
        self._counts[name] += 1
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._counts:
            await asyncio.sleep(GATHERED)
            counts, self._counts = self._counts, defaultdict(int)
            await run_in_threadpool(self._add, counts)


class RefusalLog:
    """Notes refusals, and counts them. Kinds are words of ours and source names."""

    def __init__(self, runtime: Runtime) -> None:
        self._emit, self._counts = runtime.emit, GatheredCounts(runtime.metrics.add_refusals)
        self._sampler = Sampler()

    def note_key(self, error: RelationsError, path: str) -> None:
        """Note that a route refused a request for its key."""
        reason = reason_of(error)
        self._counts.count(f"key:{reason}")
        if (unlogged := self._sampler.take("key", reason)) is not None:
            self._emit("key.refused", path=path, reason=reason, unlogged=unlogged)

    def note_webhook(self, source: str, error: RelationsError) -> bool:
        """Note that a delivery to this source ("": there is none of that name) was refused.

        Returns whether it is one of the few of its kind that are logged.
        """
        reason = reason_of(error) if source else "unknown_source"
        self._counts.count(f"webhook:{source}:{reason}")
        unlogged = self._sampler.take("webhook", source, reason)
        if unlogged is None:
            return False
        self._emit(
            "webhook.refused",
            source=source,
            error=type(error).__name__,
            reason=reason,
            faults=faults_of(error),
            unlogged=unlogged,
        )
        return True


class DeliveryLog:
    """Counts deliveries, and keeps those of sources that keep any; a record that is lost refuses none."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._sampler = runtime, Sampler()
        self._counts = GatheredCounts(runtime.metrics.add_deliveries)

    def count(self, source: Source, outcome: DeliveryOutcome) -> None:
        """Count a delivery; called in the event loop."""
        self._counts.count(f"{source.name}:{outcome}")

    def keep(self, source: Source, make: Callable[[], KeptDelivery]) -> None:
        """Make the record of a delivery and keep it, if the source keeps any; called in a thread."""
        if not source.delivery_days:
            return
        try:
            self._runtime.deliveries.keep(make())
        except Exception as error:  # also a bug of ours: its changes are accepted
            if (unlogged := self._sampler.take(source.name)) is not None:
                kind = type(error).__name__
                self._runtime.emit("delivery.lost", source=source.name, error=kind, unlogged=unlogged)


def reason_of(error: RelationsError) -> RefusalReason:
    """Return why something was refused, as one of a few words."""
    if isinstance(error, Unauthorized | Forbidden):
        return error.reason
    kinds: Mapping[type[RelationsError], RefusalReason] = {
        TooLarge: "too_large",
        TooSlow: "too_slow",
        Unsupported: "unsupported",
        InvalidSettings: "settings",
        Invalid: "unreadable",
        NotFound: "unknown_source",
    }
    return next((reason for kind, reason in kinds.items() if isinstance(error, kind)), "unavailable")


def faults_of(error: RelationsError) -> list[str]:
    """Return what an error says, fault by fault."""
    return [str(fault) for fault in error.faults] if isinstance(error, Invalid) else [str(error)]
