"""What is kept of an account itself: its layout, versions, generations, and the retention that binds."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from worker.contract.instant import to_us
from worker.errors import StoreUnreadable
from worker.ports.store import Retention
from worker.store.database import Database

NOTHING: Final = Retention(0, 0, 0)


class Meta(NamedTuple):
    """The account's layout, versions, dead jobs in its queue, the generations in use (since µs), and more.

    `replaced` is whether anything was ever replaced; the seconds are the longest retention that still binds,
    `shorter_since` (µs) is since when the settings say less, and `later_…_s` the longest that they said
    since then.
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
    later_finished_s: int = 0
    later_failed_s: int = 0
    later_remembered_s: int = 0

    @property
    def later(self) -> Retention:
        """The longest that the settings said since they say less; nothing while they do not."""
        if not self.shorter_since:
            return NOTHING
        return Retention(self.later_finished_s, self.later_failed_s, self.later_remembered_s)

    def note(self, wanted: Retention, *, now: int) -> "Meta":
        """Return what is noted once the settings say this (in whole seconds), as long as more was promised.

        When a promise is over, what was promised after it binds from then on, which is longer than it has to.
        """
        longest, later = self.noted.at_least(wanted), self.later.at_least(wanted)
        if wanted == longest:
            return self._noting(wanted, 0, NOTHING)
        if self.shorter_since and now - self.shorter_since > to_us(self.noted.memory):
            return self._noting(later, now, wanted) if later != wanted else self._noting(wanted, 0, NOTHING)
        return self._noting(longest, self.shorter_since or now, later)

    def _noting(self, noted: Retention, since: int, later: Retention) -> "Meta":
        return self._replace(
            finished_s=int(noted.finished),
            failed_s=int(noted.failed),
            remembered_s=int(noted.remembered),
            shorter_since=since,
            later_finished_s=int(later.finished),
            later_failed_s=int(later.failed),
            later_remembered_s=int(later.remembered),
        )

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
        """Read the values of META_FIELDS; raise StoreUnreadable for what is no number."""
        layout, *numbers = row
        try:
            return cls(layout, *[int(number or 0) for number in numbers])
        except ValueError as error:
            raise StoreUnreadable("what is stored of the account's versions cannot be read") from error


META_FIELDS: Final = ("layout", "v", "p", *Meta._fields[3:])
NOTED_FIELDS: Final = Meta._fields[-7:]
"""The fields about what was promised to be kept."""


def read_meta(database: Database, account: str) -> Meta:
    """Read the account's layout, versions and generations."""
    return Meta.read(database.read(account, "hmget", "meta", META_FIELDS))
