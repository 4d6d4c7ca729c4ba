"""The two stores of a scenario, each with what only its maker can do: expire a lease, find open work."""

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import redis

from tests.support.store_steps import dump_keys
from worker.ports.erasure import RecordRef
from worker.store.callbacks import RedisCallbacks
from worker.store.database import Database
from worker.store.job_admin import RedisJobAdmin
from worker.store.metrics import RedisMetrics
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore
from worker.testing import MemoryStore

PREFIX = "torture"
OPEN = ("queue", "claimed", "open", "due", "guard", "journal", "look_ups", "parked")


class MemoryStoreFixture:
    """The store in memory; its leases expire by the clock that it is given."""

    def make_store(self, now: Callable[[], int]) -> MemoryStore:
        """Make a new store."""
        self._store = MemoryStore(now)
        return self._store

    def make_job_admin(self, now: Callable[[], int]) -> RedisJobAdmin:
        """Make what people act by on the store's jobs."""
        return RedisJobAdmin(self._store.database)

    def make_queries(self) -> RedisQueries:
        """Make the queries over the store's data."""
        return RedisQueries(self._store.database)

    def make_metrics(self) -> RedisMetrics:
        """Make the metrics beside the store's data."""
        return RedisMetrics(self._store.database)

    def make_callbacks(self) -> RedisCallbacks:
        """Make the store of callbacks beside the store's data."""
        return RedisCallbacks(cast(Any, self._store))

    def names(self, account: str, who: RecordRef) -> list[str]:
        """Return the keys of the account that have the record's number in their name or value."""
        return names_in(self._store.database.redis.contents(), account, who)

    def keep_lease(self, account: str) -> None:
        """Do nothing: the store keeps it by the scenario's clock."""

    def expire_lease(self, account: str) -> None:
        """Do nothing: the store does it."""

    def open_work(self, account: str) -> list[str]:
        """Return the names of the keys of open work that are not empty."""
        database = self._store.database
        return [name for name in OPEN if database.redis.exists(database.key(account, name))]


class RedisStoreFixture:
    """The store on a Redis server, with the scenario's clock.

    The server would expire leases by its own clock, sooner or later than the scenario, which removes them.
    """

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def make_store(self, now: Callable[[], int]) -> RedisStore:
        """Make a new store in an emptied database.

        Every third transition is called twice, as redis-py does after a lost answer.
        """
        self._client.flushdb()
        self._store = store = RedisStore(self._client, PREFIX, now=now)
        _repeat_scripts(store.database)
        return store

    def make_job_admin(self, now: Callable[[], int]) -> RedisJobAdmin:
        """Make what people act by on the store's jobs; its scripts are repeated as the store's are."""
        job_admin = RedisJobAdmin(Database(self._client, PREFIX, now))
        _repeat_scripts(job_admin.database)
        return job_admin

    def make_queries(self) -> RedisQueries:
        """Make the queries over the store's data."""
        return RedisQueries(self._store.database)

    def make_metrics(self) -> RedisMetrics:
        """Make the metrics beside the store's data."""
        return RedisMetrics(self._store.database)

    def make_callbacks(self) -> RedisCallbacks:
        """Make the store of callbacks beside the store's data."""
        return RedisCallbacks(self._store)

    def names(self, account: str, who: RecordRef) -> list[str]:
        """Return the keys of the account that have the record's number in their name or value."""
        dumped = dump_keys(self._client, f"{PREFIX}:{{{account}}}:*")
        return names_in({key.decode(): value for key, (value, _) in dumped.items()}, account, who)

    def keep_lease(self, account: str) -> None:
        """Let the server not remove the lease, however long its machine takes for this scenario."""
        self._client.persist(f"{PREFIX}:{{{account}}}:holder")

    def expire_lease(self, account: str) -> None:
        """Remove the lease."""
        self._client.delete(f"{PREFIX}:{{{account}}}:holder")

    def open_work(self, account: str) -> list[str]:
        """Return the names of the keys of open work that exist."""
        return [name for name in OPEN if self._client.exists(f"{PREFIX}:{{{account}}}:{name}")]


def _repeat_scripts(database: Database) -> None:
    scripts = database.scripts
    database.scripts = {name: _repeat_every_third_call(script) for name, script in scripts.items()}


def record_pattern(who: RecordRef) -> re.Pattern[bytes]:
    """Return a pattern of the record's number, also with marks between its thousands."""
    grouped = f"{who.number:,}".replace(",", "[.,]")
    return re.compile(rf"(?<![0-9])(?:{who.number}|{grouped})(?![0-9])".encode())


def names_in(content: Mapping[str, Any], account: str, who: RecordRef) -> list[str]:
    """Return the keys of an account that have the record's number in their name or value."""
    pattern, inside = record_pattern(who), f"{{{account}}}:"
    return [
        key
        for key, value in content.items()
        if inside in key and (pattern.search(key.encode()) or pattern.search(repr(value).encode()))
    ]


def _repeat_every_third_call(script: Any) -> Callable[..., Any]:
    """Return the script called twice every third time, which must not matter."""
    calls = itertools.count()

    def call(**arguments: Any) -> Any:
        if next(calls) % 3 == 0:
            script(**arguments)
        return script(**arguments)

    return call
