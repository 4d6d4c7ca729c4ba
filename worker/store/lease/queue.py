"""An account's queue as the holder of its lease sees it, and the note of the batch being worked (R21)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice, repeat
from types import MappingProxyType
from typing import Final, NamedTuple

from worker.ports.work import CLOCK_ERROR_US
from worker.store.account import read_jobs
from worker.store.database import Commit, Database
from worker.store.jobs.stored_job import QUEUED, LoadedJob
from worker.store.limits import DEADLY_LOSSES

MAX_DEAD_PASSED = 20_000  # jobs that ended in the queue, which one read looks past
WORK_FIELDS: Final = ("size", "half", "alone", "losses", "held", "full")
LOOKED_AT = 1000  # entries at the head of the queue, for one that waits


class Queue:
    """The head of the queue: what is listed, and the jobs of it that were read."""

    def __init__(
        self,
        listed: Sequence[str] = (),
        jobs: Mapping[str, LoadedJob] = MappingProxyType({}),
        *,
        dead: int = 0,
        is_whole: bool = False,
    ) -> None:
        self._listed, self._jobs, self._dead, self._is_whole = listed, jobs, dead, is_whole
        self._places = _first_places(listed)
        self._waiting = [job if job and job.value.state == QUEUED else None for job in map(jobs.get, listed)]
        if len(self._places) < len(listed):  # what waits is listed once; any other entry is dead
            for place, short in enumerate(listed):
                if self._places[short] != place:
                    self._waiting[place] = None

    @classmethod
    def read(
        cls, database: Database, account: str, listed: Sequence[bytes], *, want: int, dead: int
    ) -> "Queue":
        """Read as many waiting jobs as wanted, past those that ended there."""
        if want <= 0:
            return cls(dead=dead)
        if dead:
            want += min(max(0, dead), MAX_DEAD_PASSED)
            listed = _list(database, account, want)
        names = _names(listed[:want])
        jobs = read_jobs(database, account, names)
        return cls(names, jobs, dead=dead, is_whole=len(listed) < want)

    @classmethod
    def locate(cls, database: Database, account: str, wanted: Collection[str], *, dead: int) -> "Queue":
        """Read the queue as far as the jobs that somebody has read before."""
        names = _names(_list(database, account, len(wanted) + MAX_DEAD_PASSED))
        return cls(names, read_jobs(database, account, names), dead=dead)

    def choose(self, most: int, relations: int) -> list[LoadedJob]:
        """Return the next waiting jobs, as many as fit, but at least one when anything fits."""
        chosen = list(islice(filter(None, self._waiting), max(0, most)))
        for place, job in enumerate(chosen):
            relations -= job.value.total
            if relations < 0:
                return chosen[: place or 1]
        return chosen

    def has(self, wanted: Collection[str]) -> bool:
        """Return whether all of these are listed."""
        return self._places.keys() >= {*wanted}

    def correct_dead(self, commit: Commit) -> bool:
        """Correct the number of entries that do not wait, if all of the queue was read; return whether."""
        by = self._waiting.count(None) - self._dead
        if not by or not self._is_whole:
            return False
        commit.run("HINCRBY", "meta", "dead", by)
        self._dead += by
        return True

    def drop_dead_head(self, commit: Commit) -> None:
        """Let what ended in the queue, or is not stored any more, leave it while it is before all others."""
        waits = (place for place, job in enumerate(self._waiting) if job)
        self._cut(next(waits, len(self._waiting)), commit)

    def cut_after(self, wanted: Collection[str], commit: Commit) -> None:
        """Cut the queue after the last of these; others before it have ended there."""
        self._cut(1 + max(map(self._places.get, wanted, repeat(-1)), default=-1), commit)

    def _cut(self, length: int, commit: Commit) -> None:
        if not length:
            return
        commit.run("LTRIM", "queue", length, -1)
        cut = filter(None, map(self._jobs.get, self._listed[:length]))
        commit.run("HINCRBY", "meta", "bytes", -sum([job.size for job in cut]))
        # More only where a server has lost writes: they were never counted.
        dead = min(self._waiting[:length].count(None), self._dead)
        if dead > 0:
            commit.run("HINCRBY", "meta", "dead", -dead)
            self._dead -= dead
        self._listed, self._waiting = self._listed[length:], self._waiting[length:]
        self._places = _first_places(self._listed)


def _first_places(listed: Sequence[str]) -> dict[str, int]:
    return dict(zip(reversed(listed), range(len(listed) - 1, -1, -1), strict=True))


class QueueHead(NamedTuple):
    """Whether a job waits in the queue, and when the first was accepted (µs; 0: not known)."""

    exists: bool = False
    accepted_at: int = 0

    @classmethod
    def read(cls, database: Database, account: str, listed: Sequence[bytes], *, dead: int) -> "QueueHead":
        """Look at the first entries of the queue."""
        if not listed:
            return cls()
        names = _names(_list(database, account, LOOKED_AT) if dead else listed)
        found = read_jobs(database, account, names)
        for short in names:
            if (job := found.get(short)) is None:
                return cls(exists=True)  # the next read drops it
            if job.value.state == QUEUED:
                is_known = job.accepted_at <= database.now() + CLOCK_ERROR_US  # or the clock was set back
                return cls(True, job.accepted_at if is_known else 0)
        return cls(exists=len(names) == LOOKED_AT)


def enter_list(commit: Commit, key: str, waiting: Sequence[LoadedJob]) -> None:
    """Let jobs wait in the queue, or in the list of those whose records are to be looked up (`look_ups`)."""
    if waiting:
        commit.run("RPUSH", key, *(job.short for job in waiting))
        commit.run("HINCRBY", "meta", "bytes", sum(len(job.encode()) for job in waiting))


class WorkNote(NamedTuple):
    """The batch being worked: its limit, what to read if its worker dies, what is alone in it, its holder."""

    size: int = 0
    half: int = 0
    alone: str = ""
    losses: int = 0
    worked_by: str = ""
    full: bool = False

    @classmethod
    def read(cls, row: Sequence[bytes | None]) -> "WorkNote":
        """Read the values of WORK_FIELDS."""
        size, half, alone, losses, worked_by, full = [(cell or b"").decode() for cell in row]
        return cls(int(size or 0), int(half or 0), alone, int(losses or 0), worked_by, full == "1")

    def pairs(self) -> list[object]:
        """Return fields and values as they are written."""
        values = (self.size, self.half, self.alone, self.losses, self.worked_by, int(self.full))
        return [cell for pair in zip(WORK_FIELDS, values, strict=True) for cell in pair]

    def limit(self, holder: str, most: int) -> int:
        """Return how much to read: half of what killed its worker; in a repeated call as much; else twice."""
        if not self.size:
            return most
        if self.worked_by and self.worked_by != holder:
            return min(most, self.half)
        return min(most, self.size if self.worked_by else self.size * 2)

    def next(self, holder: str, limit: int, things: Sequence[str], *, full: bool) -> "WorkNote":
        """Return the note of the batch that was read now."""
        alone = things[0] if len(things) == 1 else ""
        half = max(1, len(things) // 2) if things else limit
        is_same = self.worked_by and alone and self.alone == alone
        losses = self.losses + (self.worked_by != holder) if is_same else 0
        return WorkNote(limit, half, alone, losses, holder, full)

    @property
    def is_condemned(self) -> bool:
        """Whether three workers in a row did not survive it."""
        return self.losses >= DEADLY_LOSSES


def _list(database: Database, account: str, most: int) -> list[bytes]:
    listed: list[bytes] = database.read(account, "lrange", "queue", 0, most - 1)
    return listed


def _names(listed: Iterable[bytes]) -> list[str]:
    return [name.decode() for name in listed]
