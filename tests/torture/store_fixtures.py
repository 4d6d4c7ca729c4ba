"""The two stores of a scenario, each with what only its maker can do: expire a lease, find open work."""

import itertools
from collections.abc import Callable
from typing import Any

import redis

from worker.store.redis_store import RedisStore
from worker.testing import MemoryStore

PREFIX = "torture"
OPEN = ("queue", "open", "due", "guard", "journal")


class MemoryStoreFixture:
    """The store in memory; its leases expire by the clock that it is given."""

    def make_store(self, now: Callable[[], int]) -> MemoryStore:
        """Make a new store."""
        self._store = MemoryStore(now)
        return self._store

    def expire_lease(self, account: str) -> None:
        """Do nothing: the store does it."""

    def open_work(self, account: str) -> list[str]:
        """Return the names of the keys of open work that are not empty."""
        database = self._store.database
        return [name for name in OPEN if database.redis.exists(database.key(account, name))]


class RedisStoreFixture:
    """The store on a Redis server, with the scenario's clock.

    The server expires leases by its own clock, too slowly for the scenario, so the scenario removes them.
    """

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def make_store(self, now: Callable[[], int]) -> RedisStore:
        """Make a new store in an emptied database.

        Every third transition is called twice, as redis-py does after a lost answer.
        """
        self._client.flushdb()
        store = RedisStore(self._client, PREFIX, now=now)
        scripts = store.database.scripts
        scripts |= {name: _repeat_every_third_call(script) for name, script in scripts.items()}
        return store

    def expire_lease(self, account: str) -> None:
        """Remove the lease."""
        self._client.delete(f"{PREFIX}:{{{account}}}:holder")

    def open_work(self, account: str) -> list[str]:
        """Return the names of the keys of open work that exist."""
        return [name for name in OPEN if self._client.exists(f"{PREFIX}:{{{account}}}:{name}")]


def _repeat_every_third_call(script: Any) -> Callable[..., Any]:
    """Return the script called twice every third time, which must not matter."""
    calls = itertools.count()

    def call(**arguments: Any) -> Any:
        if next(calls) % 3 == 0:
            script(**arguments)
        return script(**arguments)

    return call
