"""Keeps what became of deliveries to webhooks, and counts them; a record that is lost refuses no delivery.

Of refused ones only a few a minute are kept, and beside the answer: a flood of forged ones costs nothing.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from producers.portals.http.refusals import GatheredCounts, Sampler
from producers.portals.http.threads import Threads
from worker.config import Source
from worker.ports.deliveries import Deliveries, DeliveryOutcome, KeptDelivery
from worker.ports.services import EventSink


class DeliveryLog:
    """Keeps deliveries of sources that keep any."""

    def __init__(
        self, deliveries: Deliveries, counts: GatheredCounts, threads: Threads, emit: EventSink
    ) -> None:
        self._deliveries, self._counts, self._threads = deliveries, counts, threads
        self._emit, self._sampler = emit, Sampler()
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly

    async def note(self, source: Source, outcome: DeliveryOutcome, make: Callable[[], KeptDelivery]) -> None:
        """Count a delivery and keep it; `make` is called in a thread, and returns once it is kept."""
        self._counts.count(f"{source.name}:{outcome}")
        if source.delivery_days:
            await self._threads.run_intake(partial(self._keep, source.name, make))

    def note_refused(self, source: Source, make: Callable[[], KeptDelivery] | None) -> None:
        """Count a refused delivery, and keep it beside the answer if it can be made."""
        self._counts.count(f"{source.name}:refused")
        if source.delivery_days and make:
            keep = partial(self._keep, source.name, make)
            task = asyncio.create_task(self._threads.run_intake(keep))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _keep(self, source: str, make: Callable[[], KeptDelivery]) -> None:
        try:
            self._deliveries.keep(make())
        except Exception as error:  # also a bug of ours: its changes are accepted
            if (unlogged := self._sampler.take(source)) is not None:
                self._emit("delivery.lost", source=source, error=type(error).__name__, unlogged=unlogged)
