"""The two stores a story can stand on, each with what only its maker may do: end a lease by the story's clock, look for open work."""

import itertools
from collections.abc import Callable
from typing import Any

import redis

from worker.store.redis_store import RedisStore
from worker.testing import MemoryStore

PREFIX = "torture"
OPEN = ("inbox", "open", "due", "guard", "arriving", "journal")


class MemoryGround:
    """The store in memory, whose leases run out by the clock it is handed."""

    def store(self, now: Callable[[], int]) -> MemoryStore:
        """A new one."""
        self._store = MemoryStore(now)
        return self._store

    def forget(self, account: str) -> None:
        """Nothing to do."""

    def left(self, account: str) -> list[str]:
        """The books of open work that are not empty."""
        state = self._store._state(account)
        books = (
            state.inbox,
            state.opens,
            state.due,
            any(state.guards.values()),
            any(state.arriving.values()),
            state.journal,
        )
        return [name for name, book in zip(OPEN, books, strict=True) if book]


class RedisGround:
    """The store on a server of its own, its clock handed in; the server's clock ends no lease, so the story does."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def store(self, now: Callable[[], int]) -> RedisStore:
        """A new one in an empty database; now and then a transition is called twice, as redis-py does after a lost answer."""
        self._client.flushdb()
        store = RedisStore(self._client, PREFIX, now=now)
        scripts = store._client.scripts
        scripts |= {name: _now_and_then_twice(script) for name, script in scripts.items()}
        return store

    def forget(self, account: str) -> None:
        """Remove the lease."""
        self._client.delete(f"{PREFIX}:{{{account}}}:lease")

    def left(self, account: str) -> list[str]:
        """The keys of open work that are still there."""
        return [name for name in OPEN if self._client.exists(f"{PREFIX}:{{{account}}}:{name}")]


def _now_and_then_twice(script: Any) -> Callable[..., Any]:
    """A call whose first answer gets lost every third time, so that it is made again; that must not matter."""
    calls = itertools.count()

    def call(**what: Any) -> Any:
        if next(calls) % 3 == 0:
            script(**what)
        return script(**what)

    return call
