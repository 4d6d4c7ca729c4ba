"""Looks for jobs that match a filter, in the index with the fewest entries, a bounded number at a time."""

from collections.abc import Sequence
from typing import Final

from worker.ports import JobFilter, JobPage, JobRecord
from worker.store.account import read_jobs_with_claims
from worker.store.database import Database
from worker.store.jobs.job_view import as_record, matches
from worker.store.keys import bucket_at, bucket_of, short_id
from worker.store.limits import CLOCK_SLACK_US, MAX_EXAMINED

PLACE_BITS: Final = 32
"""A cursor above this many bits names a bucket and a place in it; any other an acceptance number."""
PIECE: Final = 200
"""Entries that are looked at in one round trip, unless a page is longer."""


class JobSearch:
    """One page of a list: a bounded number of entries is looked at."""

    def __init__(self, database: Database, account: str, wanted: JobFilter, limit: int) -> None:
        self._database, self._account, self._wanted, self._limit = database, account, wanted, limit
        self._now, self._left = database.now(), MAX_EXAMINED
        self._found: list[JobRecord] = []
        self._oldest = wanted.since - CLOCK_SLACK_US  # accepted before: so was everything before it
        self._is_past = False

    def among_failed(self, below: int) -> JobPage:
        """Look among the failed jobs that wait for a decision, with acceptance numbers below one."""
        indexes = self._failed_indexes()
        while self._left:
            entries = self._newest(indexes, below, min(self._left, max(PIECE, self._limit)))
            if not entries:
                return self._page(None)
            if (full_at := self._look_at(entries)) is not None:
                return self._page(full_at)
            below, self._left = entries[-1][0], self._left - len(entries)
        return self._page(below)

    def among_all(self, below: int) -> JobPage:
        """Look among all jobs: bucket by bucket, then those that are kept longer than their bucket."""
        buckets = sorted(map(int, self._database.read(self._account, "hkeys", "buckets")), reverse=True)
        if below >> PLACE_BITS:
            for bucket in buckets:
                if self._is_in_time(bucket) and (page := self._among_bucket(bucket, below)):
                    return page
            below = (1 << PLACE_BITS) - 1
        return self._among_kept(below, set(buckets))

    def _among_bucket(self, bucket: int, below: int) -> JobPage | None:
        top = (bucket + 1) << PLACE_BITS
        if below <= top:
            return None
        place = self._database.read(self._account, "llen", f"order:{bucket}")
        if below >> PLACE_BITS == bucket + 1:
            place = min(place, below - top - 1)
        while place > 0:
            size = min(place, self._left, max(PIECE, self._limit))
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

    def _among_kept(self, below: int, buckets: set[int]) -> JobPage:
        if not self._left:
            return self._page(below)
        first = {"start": 0, "num": self._left, "withscores": True}
        rows = self._database.read(self._account, "zrevrangebyscore", "keep", f"({below}", "-inf", **first)
        reads = self._database.reads(self._account)
        for bucket in buckets:
            reads.exists(f"order:{bucket}")
        alive = {bucket for bucket, exists in zip(buckets, reads.run(), strict=True) if exists}
        entries = [(int(number), name.decode()) for name, number in rows]
        others = [(number, short) for number, short in entries if bucket_of(short) not in alive]
        if (full_at := self._look_at(others)) is not None:
            return self._page(full_at)
        return self._page(entries[-1][0] if len(entries) == self._left else None)

    def _page(self, cursor: int | None) -> JobPage:
        return JobPage(tuple(self._found), "" if cursor is None else str(cursor))

    def _look_at(self, entries: Sequence[tuple[int, str]]) -> int | None:
        """Add the jobs that match; return the number of the entry that filled the page, None if none did."""
        known = read_jobs_with_claims(self._database, self._account, [short for _, short in entries])
        self._is_past = any(job.accepted_at < self._oldest for job in known.values())
        for number, short in entries:
            job = known.get(short)
            if job and not job.is_gone(self._now) and matches(job, self._wanted):
                self._found.append(as_record(job, self._account))
            if len(self._found) == self._limit:
                return number
        return None

    def _failed_indexes(self) -> list[str]:
        """Return the names of the indexes that have the failures that are asked for."""
        if not self._wanted.error:
            return ["failed"]
        groups = (name.decode() for name in self._database.read(self._account, "smembers", "failures"))
        return [f"failed:{group}" for group in groups if self._is_wanted(group)]

    def _newest(self, indexes: Sequence[str], below: int, most: int) -> list[tuple[int, str]]:
        """Return the newest entries of the indexes below a number, each job once."""
        reads = self._database.reads(self._account)
        for name in indexes:
            reads.zrevrangebyscore(name, f"({below}", "-inf", start=0, num=most, withscores=True)
        rows = {(int(number), short_id(id_.decode())) for row in reads.run() for id_, number in row}
        return sorted(rows, reverse=True)[:most]

    def _is_wanted(self, group: str) -> bool:
        code, error, relation_type = group.split(" ")
        return self._wanted.error in (code, error) and self._wanted.type in ("", relation_type)

    def _is_in_time(self, bucket: int) -> bool:
        """Return whether a bucket may have jobs of the time that is asked for."""
        since, until = self._wanted.since, self._wanted.until
        return not (since and bucket < bucket_at(since - CLOCK_SLACK_US)) and not (
            until and bucket > bucket_at(until + CLOCK_SLACK_US)
        )
