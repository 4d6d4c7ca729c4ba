"""Threads beside the event loop, so shared out that nobody's questions keep changes from being accepted."""

from collections.abc import Callable
from functools import partial
from threading import Semaphore
from typing import Final, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

INTAKE_THREADS: Final = 16
OTHER_THREADS: Final = 32
THREADS_PER_KEY: Final = 4
WEBHOOK_THREADS: Final = 16
MAPPING_THREADS: Final = 2  # of these that map at a time; more would only take the event loop's time

Params = ParamSpec("Params")
Result = TypeVar("Result")


class Threads:
    """The threads of one application: some for intake and webhooks alone, and a few others for each key."""

    def __init__(self) -> None:
        self._others = CapacityLimiter(OTHER_THREADS)
        self.run_intake = partial(to_thread.run_sync, limiter=CapacityLimiter(INTAKE_THREADS))
        self._webhooks, self.mapping = CapacityLimiter(WEBHOOK_THREADS), Semaphore(MAPPING_THREADS)
        self._keys: dict[str, CapacityLimiter] = {}  # by name; there are as many as in the settings

    async def run_webhook(self, function: Callable[[], Result]) -> Result:
        """Run what takes a webhook, and holds `mapping` while it maps: a slow one stops nobody else."""
        return await to_thread.run_sync(function, limiter=self._webhooks)

    async def run_for(
        self, key: str, function: Callable[Params, Result], *args: Params.args, **options: Params.kwargs
    ) -> Result:
        """Run what the key of this name asks for or does, a few at a time."""
        async with self._keys.setdefault(key, CapacityLimiter(THREADS_PER_KEY)):
            return await to_thread.run_sync(partial(function, *args, **options), limiter=self._others)
