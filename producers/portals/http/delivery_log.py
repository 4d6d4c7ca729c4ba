"""Keeps what became of deliveries to webhooks, and counts them; a record that is lost refuses no delivery.

Of refused ones only a few a minute are kept, and beside the answer: a flood of forged ones costs nothing.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from producers.portals.http.refusals import GatheredCounts, Sampler
from producers.portals.http.threads import Threads
from worker.config import Source
from worker.ports.deliveries import DeliveryOutcome, KeptDelivery
from worker.wiring import Runtime


class DeliveryLog:
    """Keeps deliveries of sources that keep any."""

    def __init__(self, runtime: Runtime, threads: Threads) -> None:
        self._runtime, self._threads, self._sampler = runtime, threads, Sampler()
        self._counts = GatheredCounts(runtime.metrics.add_deliveries)
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly

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
                self._runtime.emit(
                    "delivery.lost", source=source.name, error=type(error).__name__, unlogged=unlogged
                )

    def keep_beside(self, source: Source, make: Callable[[], KeptDelivery]) -> None:
        """Keep the record of a delivery beside the answer to it."""
        task = asyncio.create_task(self._threads.run_intake(partial(self.keep, source, make)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
