"""What is kept of an account itself: its layout, versions, generations, and the retention that binds."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from worker.ports.store import Retention
from worker.store.database import Database


class Meta(NamedTuple):
    """The account's layout, versions, dead jobs in its queue, the generations in use (since µs), and more.

    `replaced` is whether anything was ever replaced; the seconds are the longest retention that still binds,
    and `shorter_since` (µs) is since when the settings say less.
    """

    layout: bytes | None = None
    lease_version: int = 0
    people_version: int = 0
    dead: int = 0
    held: int = 0
    held_since: int = 0
    events: int = 0
    events_since: int = 0
    memories: int = 0
    memories_since: int = 0
    replaced: int = 0
    finished_s: int = 0
    failed_s: int = 0
    remembered_s: int = 0
    shorter_since: int = 0

    @property
    def noted(self) -> Retention:
        """The longest retention that still binds; nothing before one was noted."""
        return Retention(self.finished_s, self.failed_s, self.remembered_s)

    def retention(self, settings: Retention) -> Retention:
        """Return how long things are kept by these settings, and by what was promised before."""
        if self.failed_s and not settings.is_set:
            return self.noted
        return settings._replace(promised=self.noted.memory)

    @classmethod
    def read(cls, row: Sequence[bytes | None]) -> "Meta":
        """Read the values of META_FIELDS."""
        layout, *numbers = row
        return cls(layout, *(int(number or 0) for number in numbers))


META_FIELDS: Final = ("layout", "v", "p", *Meta._fields[3:])


def read_meta(database: Database, account: str) -> Meta:
    """Read the account's layout, versions and generations."""
    return Meta.read(database.read(account, "hmget", "meta", META_FIELDS))
