"""Keeps what became of deliveries to webhooks, and counts them; a record that is lost refuses no delivery.

Of refused ones only a few a minute are kept, and beside the answer: a flood of forged ones costs nothing.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from producers.portals.http.refusals import GatheredCounts
from producers.portals.http.threads import Threads
from worker.config import Source
from worker.errors import Unavailable
from worker.ports import Deliveries, DeliveryOutcome, KeptDelivery


class DeliveryLog:
    """Keeps deliveries of sources that keep any."""

    def __init__(self, deliveries: Deliveries, counts: GatheredCounts, threads: Threads) -> None:
        self._deliveries, self._counts, self._threads = deliveries, counts, threads
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly

    async def note(self, source: Source, outcome: DeliveryOutcome, make: Callable[[], KeptDelivery]) -> None:
        """Count a delivery and keep it; `make` is called in a thread, and returns once it is kept."""
        self._counts.count(f"{source.name}:{outcome}")
        if source.delivery_days:
            await self._threads.run_intake(self._keep, make)

    def note_refused(self, source: Source, make: Callable[[], KeptDelivery] | None) -> None:
        """Count a refused delivery, and keep it beside the answer if it can be made."""
        self._counts.count(f"{source.name}:refused")
        if source.delivery_days and make:
            task = asyncio.create_task(self._threads.run_intake(self._keep, make))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _keep(self, make: Callable[[], KeptDelivery]) -> None:
        with suppress(Unavailable):
            self._deliveries.keep(make())
