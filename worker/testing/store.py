"""The status store in memory: the store itself, over a dictionary and the test's clock. For one thread."""

from collections.abc import Callable
from typing import Any

from worker.ports.deliveries import DeliveryRetention
from worker.store.deliveries import RedisDeliveries
from worker.store.job_admin import RedisJobAdmin
from worker.store.metrics import RedisMetrics
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore, Retention
from worker.testing.server import MemoryServer

PREFIX = "memory"


class MemoryStore(RedisStore):
    """Implements `ports.Store`; `now` gives microseconds since the epoch."""

    def __init__(
        self, now: Callable[[], int], *, keep: Callable[[str], Retention] = lambda _: Retention()
    ) -> None:
        server: Any = MemoryServer(now)
        super().__init__(server, PREFIX, keep=keep, now=now)
        self.now, self.keep = now, keep


class MemoryJobAdmin(RedisJobAdmin):
    """Implements `ports.JobAdmin` over what a MemoryStore holds."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store.database.redis, PREFIX, keep=store.keep, now=store.now)


class MemoryQueries(RedisQueries):
    """Implements `ports.Queries` over what a MemoryStore holds."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store.database.redis, PREFIX, now=store.now)


class MemoryMetrics(RedisMetrics):
    """Implements `ports.Metrics` over what a MemoryStore holds."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store.database.redis, PREFIX)


class MemoryDeliveries(RedisDeliveries):
    """Implements `ports.Deliveries` over what a MemoryStore holds."""

    def __init__(
        self,
        store: MemoryStore,
        *,
        keep: Callable[[str], DeliveryRetention] = lambda _: DeliveryRetention(),
    ) -> None:
        super().__init__(store.database.redis, PREFIX, keep=keep, now=store.now)
