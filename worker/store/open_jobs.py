"""Looks for open jobs in the lists that hold them, so that a few among many ended ones are found at once."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from math import inf
from typing import Final

from worker.ports.queries import CursorPage
from worker.ports.records import JobFilter, JobRecord
from worker.store import codec
from worker.store.account import read_alive, read_jobs_at, read_jobs_with_claims
from worker.store.database import Database
from worker.store.jobs.job_view import as_record, matches
from worker.store.jobs.stored_job import LoadedJob
from worker.store.keys import bucket_of, short_id
from worker.store.limits import MAX_EXAMINED
from worker.store.places import PIECE, PLACE_BITS, PLACE_MASK, find_end

OUTSIDE: Final = -1  # in the place of a bucket, for jobs that are kept longer than theirs: they come last
TAKEN: Final = ("claimed", "open")
HOLDERS: Final[Mapping[str, tuple[str, ...]]] = {  # in which a job is before it is in the next one
    "queued": ("look_ups", "queue"),
    "parked": ("parked",),
    **dict.fromkeys(("sending", "held", "retrying", "verifying"), TAKEN),
}
"""The keys that name every job of an open state, and others."""
READS: Final = {  # the size of a key, and all of it
    "look_ups": ("llen", "lrange", (0, -1)),
    "queue": ("llen", "lrange", (0, -1)),
    "claimed": ("llen", "lrange", (0, -1)),
    "parked": ("zcard", "zrange", (0, -1)),
    "open": ("hlen", "hvals", ()),
}


class OpenJobSearch:
    """One page of a list of open jobs, in the order and with the cursors of a list of all jobs."""

    def __init__(self, database: Database, account: str, wanted: JobFilter, limit: int) -> None:
        self._database, self._account, self._wanted, self._limit = database, account, wanted, limit

    def find(self, below: int) -> CursorPage[JobRecord] | None:
        """Return the page; None where there are too many to look at each of them."""
        if (names := self._read_names()) is None:
            return None
        known = read_jobs_with_claims(self._database, self._account, names).values()
        found = [job for job in known if matches(job, self._wanted)]
        alive = read_alive(self._database, self._account, {bucket_of(job.short) for job in found})
        start = self._rank_of(below, alive)
        if start is None:
            return None
        ranks = {job.short: _rank(job, alive) for job in found}
        rest = sorted(
            (job for job in found if ranks[job.short] < start), key=lambda job: ranks[job.short], reverse=True
        )
        shown = tuple(as_record(job, self._account) for job in rest[: self._limit])
        if len(rest) <= self._limit:
            return CursorPage(shown, "")
        following = self._cursor_after(rest[self._limit - 1], alive)
        return None if following is None else CursorPage(shown, str(following))

    def _read_names(self) -> set[str] | None:
        """Return the ids of the jobs that may be in the state; None for more than a page looks at."""
        holders, reads = HOLDERS[self._wanted.state], self._database.reads(self._account)
        for key in holders:
            getattr(reads, READS[key][0])(key)
        if sum(reads.run()) > MAX_EXAMINED:
            return None
        reads = self._database.reads(self._account)
        for key in holders:
            _, command, arguments = READS[key]
            getattr(reads, command)(key, *arguments)
        rows = dict(zip(holders, reads.run(), strict=True))
        works = map(codec.read_open, rows.pop("open", ()))
        names = {name.decode() for name in chain.from_iterable(rows.values())}
        names.update(short_id(intent.job) for work in works for intent in work.intents)
        return names if len(names) <= MAX_EXAMINED else None

    def _rank_of(self, below: int, alive: set[int]) -> tuple[int, float] | None:
        """Return the rank that the jobs after a cursor are below; None where its job is gone."""
        bucket, place = (below >> PLACE_BITS) - 1, (below & PLACE_MASK) - 1
        if bucket < 0:
            return OUTSIDE, below
        if bucket not in alive or not place:
            return bucket, 0
        name = self._database.read(self._account, "lindex", f"order:{bucket}", place)
        if name is None:
            return bucket, inf
        known = read_jobs_with_claims(self._database, self._account, [name.decode()])
        return (bucket, known[name.decode()].number) if known else None

    def _cursor_after(self, job: LoadedJob, alive: set[int]) -> int | None:
        """Return the cursor after a job; None for one that its bucket does not list."""
        bucket, number = _rank(job, alive)
        if bucket == OUTSIDE:
            return number
        key = f"order:{bucket}"
        size = self._database.read(self._account, "llen", key)
        end = find_end(size, number + 1, partial(self._numbers_at, key))
        start = max(0, end - PIECE - 1)
        names = self._database.read(self._account, "lrange", key, start, end - 1)
        name = job.short.encode()
        return ((bucket + 1) << PLACE_BITS) + start + names.index(name) + 1 if name in names else None

    def _numbers_at(self, key: str, places: Sequence[int]) -> list[int]:
        """Return the numbers of the jobs at some places of a bucket's order, 0 for one that is gone."""
        known = read_jobs_at(self._database, self._account, key, places)
        return [job.number if job else 0 for job in known]


def _rank(job: LoadedJob, alive: set[int]) -> tuple[int, int]:
    """Return what jobs are sorted by in a list of all: their bucket, and their number in it."""
    bucket = bucket_of(job.short)
    return (bucket if bucket in alive else OUTSIDE), job.number
