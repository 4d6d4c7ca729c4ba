"""The status store in memory: the store itself, over a dictionary and the test's clock. For one thread."""

from collections.abc import Callable
from typing import Any

from worker.ports.store import Retention
from worker.store.redis_store import RedisStore
from worker.testing.server import MemoryServer


class MemoryStore(RedisStore):
    """Implements `ports.Store`; `now` gives microseconds since the epoch.

    What stands beside a store, such as its queries, takes its `database`.
    """

    def __init__(
        self, now: Callable[[], int], *, keep: Callable[[str], Retention] = lambda _: Retention()
    ) -> None:
        server: Any = MemoryServer(now)
        super().__init__(server, "memory", keep=keep, now=now)
