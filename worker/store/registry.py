"""The names of all accounts, or of all sources: no script can write them, in a slot of their own."""

import math
from contextlib import suppress
from time import monotonic

from worker.errors import StoreUnavailable
from worker.redis.client import translate_errors
from worker.store.database import Database


class Registry:
    """A set of names; one that was added `seconds` ago is added again: a failover may have lost it."""

    def __init__(self, database: Database, key: str, *, seconds: float) -> None:
        self._database, self._key, self._seconds = database, key, seconds
        self._added_at: dict[str, float] = {}

    def add(self, name: str) -> None:
        """Add the name, or leave it to a later call: a cluster's node may be down."""
        now = monotonic()
        if now - self._added_at.get(name, -math.inf) < self._seconds:
            return
        with suppress(StoreUnavailable), translate_errors():
            self._database.redis.sadd(self._key, name)
            self._added_at[name] = now

    def names(self) -> set[str]:
        """Return all names that were added."""
        with translate_errors():
            return {name.decode() for name in self._database.redis.smembers(self._key)}
