"""Looks for jobs that match a filter, in the index with the fewest entries, a bounded number at a time.

Open jobs are looked for in the lists that hold them, so that a few among many ended ones are found at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from math import inf
from typing import Final

from worker.ports.queries import CursorPage
from worker.ports.records import FOREVER, JobFilter, JobRecord
from worker.store import codec, keys
from worker.store.account import (
    find_by_keys,
    mark_claims,
    read_alive,
    read_jobs,
    read_jobs_at,
    read_jobs_with_claims,
    read_kept_jobs,
)
from worker.store.database import Database
from worker.store.jobs.job_view import as_record, matches
from worker.store.jobs.stored_job import LoadedJob
from worker.store.keys import bucket_at, bucket_of, short_id
from worker.store.limits import CLOCK_SLACK_US, CLOCK_STEP_US, MAX_EXAMINED
from worker.store.places import PIECE, PLACE_BITS, PLACE_MASK, find_end

MAX_OPEN: Final = MAX_EXAMINED  # jobs in the lists of open ones, of which each is looked at


class JobSearch:
    """One page of a list: a bounded number of entries is looked at.

    A list of a batch ends with the last job that the batch has, by what is counted of it: `seen` are those of
    the pages before, whatever else the list asks for.
    """

    def __init__(
        self, database: Database, account: str, wanted: JobFilter, limit: int, *, seen: int = 0
    ) -> None:
        self._database, self._account, self._wanted, self._limit = database, account, wanted, limit
        self._seen, self._of_batch = seen, 0
        self._now, self._left = database.now(), MAX_EXAMINED
        self._found: list[JobRecord] = []
        self._oldest = wanted.since - CLOCK_SLACK_US  # accepted before: so was everything before it
        self._is_past = False
        self._read, self._piece = read_jobs, limit  # one look at as many as are wanted, then at more

    def by_event(self, sources: Iterable[str], below: int) -> CursorPage[JobRecord] | None:
        """Look for the jobs that have the idempotency key of one of the sources; None if no job has one."""
        digests = chain.from_iterable(keys.digests_of(source, self._wanted.event_id) for source in sources)
        names = chain.from_iterable(find_by_keys(self._database, self._account, list(digests)).values())
        known = read_jobs(self._database, self._account, set(names))
        if not known:
            return None
        entries = sorted(((job.number, short) for short, job in known.items()), reverse=True)
        return self._page(self._look_at([entry for entry in entries if entry[0] < below]))

    def among_failed(self, below: int) -> CursorPage[JobRecord]:
        """Look among the failed jobs that wait for a decision, with acceptance numbers below one."""
        indexes, self._read = self._failed_indexes(), read_kept_jobs
        if below == FOREVER:  # nothing fails before it is accepted
            until = min(filter(None, (self._wanted.until, self._wanted.failed_until)), default=0)
            below = self._number_at("failed", until)
        return self._among(indexes, below, lambda _: True)

    def among_all(self, below: int) -> CursorPage[JobRecord]:
        """Look among all jobs: bucket by bucket, then those that are kept longer than their bucket."""
        if self._wanted.batch:
            accepted = self._database.read(self._account, "hget", f"batch:{self._wanted.batch}", "accepted")
            self._of_batch = int(accepted or 0)
            if self._has_seen_batch():
                return self._page(None)
        buckets = sorted(map(int, self._database.read(self._account, "hkeys", "buckets")), reverse=True)
        if below >> PLACE_BITS:
            for bucket in buckets:
                if self._is_in_time(bucket) and (page := self._among_bucket(bucket, below)):
                    return page
            below = min(PLACE_MASK, self._number_at("keep", self._wanted.until))
        return self._among_kept(below, set(buckets))

    def _among_bucket(self, bucket: int, below: int) -> CursorPage[JobRecord] | None:
        top = (bucket + 1) << PLACE_BITS
        if below <= top:
            return None
        place = self._database.read(self._account, "llen", f"order:{bucket}")
        if below >> PLACE_BITS == bucket + 1:
            place = min(place, below - top - 1)
        elif self._wanted.until and bucket >= bucket_at(self._wanted.until - CLOCK_SLACK_US):
            place = self._end_of(f"order:{bucket}", place, self._wanted.until)
        while place > 0:
            size = min(place, self._left, self._piece)
            if not size:
                return self._page(top + place + 1)
            names = self._database.read(self._account, "lrange", f"order:{bucket}", place - size, place - 1)
            self._left -= size
            entries = [(place - 1 - at, name.decode()) for at, name in enumerate(reversed(names))]
            if (full_at := self._look_at(entries)) is not None:
                return self._page(top + full_at + 1)
            if self._is_past:
                return self._page(None)
            place -= size
        return None

    def _among_kept(self, below: int, buckets: set[int]) -> CursorPage[JobRecord]:
        self._read, alive = read_kept_jobs, read_alive(self._database, self._account, buckets)
        return self._among(["keep"], below, lambda short: bucket_of(short) not in alive)

    def _among(
        self, indexes: Sequence[str], below: int, is_meant: Callable[[str], bool]
    ) -> CursorPage[JobRecord]:
        """Look among those of the indexes' jobs that are meant, with acceptance numbers below one."""
        while self._left:
            entries = self._newest(indexes, below)
            if (full_at := self._look_at([entry for entry in entries if is_meant(entry[1])])) is not None:
                return self._page(full_at)
            if not entries or self._is_past:
                return self._page(None)
            below, self._left = entries[-1][0], self._left - len(entries)
        return self._page(below)

    def _page(self, cursor: int | None) -> CursorPage[JobRecord]:
        text = "" if cursor is None else f"{cursor}.{self._seen}" if self._of_batch else str(cursor)
        return CursorPage(tuple(self._found), text)

    def _has_seen_batch(self) -> bool:
        return 0 < self._of_batch <= self._seen

    def _look_at(self, entries: Sequence[tuple[int, str]]) -> int | None:
        """Add the jobs that match; return the number of the entry that filled the page, None if none did."""
        if self._wanted.state == "parked" and entries:
            entries = self._skip_others(entries)
        found = self._read(self._database, self._account, [short for _, short in entries])
        known, self._piece = mark_claims(self._database, self._account, found), max(PIECE, self._limit)
        self._is_past = any(job.accepted_at < self._oldest for job in known.values())
        for number, short in entries:
            job = known.get(short)
            if job and not job.is_gone(self._now):
                self._seen += job.value.batch == self._wanted.batch
                if matches(job, self._wanted):
                    self._found.append(as_record(job, self._account))
            if len(self._found) == self._limit:
                return number
        self._is_past |= self._has_seen_batch()
        return None

    def _skip_others(self, entries: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
        """Return the entries that are parked, and the last one, which shows how far back they are."""
        times = self._database.read(self._account, "zmscore", "parked", [short for _, short in entries])
        parked = [entry for entry, at in zip(entries[:-1], times, strict=False) if at is not None]
        return [*parked, entries[-1]]

    def _failed_indexes(self) -> list[str]:
        """Return the names of the indexes that have the failures that are asked for."""
        if not (self._wanted.error or self._wanted.type):
            return ["failed"]
        groups = self._database.read_names(self._account, "smembers", "failures")
        return [f"failed:{group}" for group in groups if self._is_wanted(group)]

    def _number_at(self, index: str, until: int) -> int:
        """Return an acceptance number from which on no job of the index was accepted before a time."""
        if not until:
            return FOREVER
        end = self._end_of(index, self._database.read(self._account, "zcard", index), until)
        row = self._database.read(self._account, "zrange", index, end, end, withscores=True)
        return int(row[0][1]) if row else FOREVER

    def _end_of(self, index: str, size: int, until: int) -> int:
        """Return a place in an index of this size from which on no job was accepted before a time."""

        def times_at(places: Sequence[int]) -> list[int]:
            known = read_jobs_at(self._database, self._account, index, places)
            return [job.accepted_at if job else 0 for job in known]

        return find_end(size, until + CLOCK_STEP_US, times_at)

    def _newest(self, indexes: Sequence[str], below: int) -> list[tuple[int, str]]:
        """Return the newest entries of the indexes below a number, each job once."""
        most, reads = min(self._left, self._piece), self._database.reads(self._account)
        for name in indexes:
            reads.zrevrangebyscore(name, f"({below}", "-inf", start=0, num=most, withscores=True)
        rows = {(int(number), short_id(id_.decode())) for row in reads.run() for id_, number in row}
        return sorted(rows, reverse=True)[:most]

    def _is_wanted(self, group: str) -> bool:
        code, error, relation_type = group.split(" ")
        return self._wanted.error in ("", code, error) and self._wanted.type in ("", relation_type)

    def _is_in_time(self, bucket: int) -> bool:
        """Return whether a bucket may have jobs of the time that is asked for."""
        since, until = self._wanted.since, self._wanted.until
        return not (since and bucket < bucket_at(since - CLOCK_SLACK_US)) and not (
            until and bucket > bucket_at(until + CLOCK_SLACK_US)
        )


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
        if sum(reads.run()) > MAX_OPEN:
            return None
        reads = self._database.reads(self._account)
        for key in holders:
            _, command, arguments = READS[key]
            getattr(reads, command)(key, *arguments)
        rows = dict(zip(holders, reads.run(), strict=True))
        works = map(codec.read_open, rows.pop("open", ()))
        names = {name.decode() for name in chain.from_iterable(rows.values())}
        names.update(short_id(intent.job) for work in works for intent in work.intents)
        return names if len(names) <= MAX_OPEN else None

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
