"""Reads all that is stored of an account, page by page, for a survey: what, and in which order."""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

from worker.ports.integrity import FlawProgress
from worker.ports.store import Retention
from worker.store import codec
from worker.store.account import find_by_keys, guarded_relation, read_jobs_with_claims, read_memories
from worker.store.inspection.flaws import Flaw, StoredNumbers
from worker.store.inspection.integrity import Survey
from worker.store.jobs.stored_job import LoadedJob
from worker.store.keys import bucket_at
from worker.store.limits import MAX_EXAMINED
from worker.store.meta import META_FIELDS, Meta
from worker.store.redis_store import RedisStore


class SurveyReader:
    """Shows a survey everything of one account, once."""

    def __init__(self, store: RedisStore, account: str, guard_of: Any, on_progress: FlawProgress) -> None:
        self._database, self._account, self._on_progress = store.database, account, on_progress
        self._keep: Retention = store.retention(account)
        self._now = store.database.now()
        guard = partial(guard_of, account)
        self.survey = Survey(account, self._read_numbers(), self._keep, self._now, guard)

    def run(self) -> Iterator[Flaw]:
        """Yield every flaw."""
        survey = self.survey
        for page in self._database.scan_hash(self._account, "open"):
            survey.see_open(page)
        yield from self._check_jobs()
        accepted = self._read_accepted()
        wrong = list(survey.tally.check_numbers(accepted))
        yield from wrong
        if wrong:
            return
        yield from survey.check_due(self._members("due"))
        yield from self._check_guards()
        yield from survey.check_claims()
        for listed in self._list("queue"):
            others = [short for short in listed if short not in survey.waiting]
            survey.see_queue(listed, read_jobs_with_claims(self._database, self._account, others))
        yield from survey.check_queue()
        listed = list(chain.from_iterable(self._list("look_ups")))
        parked = self._members("parked")
        others = [short for short in (*listed, *parked) if short not in survey.unresolved]
        found = read_jobs_with_claims(self._database, self._account, others)
        yield from survey.check_look_ups(listed, parked, found)
        yield from self._check_stranded()
        yield from self._check_indexes(accepted)
        yield from survey.tally.check_counters()

    # --- numbers

    def _read_numbers(self) -> StoredNumbers:
        reads = self._database.reads(self._account, at_once=True)
        reads.hmget("meta", META_FIELDS)
        reads.hgetall("counts")
        reads.hgetall("buckets")
        reads.lrange("claimed", 0, -1)
        meta_row, counts, buckets, claimed = reads.run()
        meta, numbers = Meta.read(meta_row), codec.counts(counts)
        return StoredNumbers(
            numbers.get("accepted", 0),
            meta.dead,
            meta.held,
            meta.events,
            numbers,
            {int(bucket): int(count) for bucket, count in buckets.items()},
            tuple(short.decode() for short in claimed),
        )

    # --- jobs

    def _check_jobs(self) -> Iterator[Flaw]:
        for page in self._database.scan_hash(self._account, "kept"):
            yield from self._check_page(page, is_kept=True)
        for bucket in self._find_buckets():
            ids = set[str]()
            for page in self._database.scan_hash(self._account, f"jobs:{bucket}"):
                ids.update(short.decode() for short in page)
                yield from self._check_page(page, is_kept=False)
            listed = set(chain.from_iterable(self._list(f"order:{bucket}")))
            yield from self.survey.check_order(bucket, listed, ids)
            self._on_progress("jobs", self.survey.tally.jobs)

    def _check_page(self, page: dict[bytes, bytes], *, is_kept: bool) -> Iterator[Flaw]:
        found = [LoadedJob.read(short.decode(), text, is_kept=is_kept) for short, text in page.items()]
        keys = find_by_keys(self._database, self._account, [job.value.digest for job in found])
        known = {job.short for job in found if job.short in keys.get(job.value.digest, ())}
        yield from self.survey.check_jobs(found, known)

    def _find_buckets(self) -> list[int]:
        """Return the buckets that there are: those that are counted, and any other that has jobs."""
        oldest = self._now - round(1e6 * max(self._keep.finished, self._keep.failed))
        known = self.survey.stored.buckets
        likely = {*range(bucket_at(oldest), bucket_at(self._now) + 2), *self.survey.named_buckets()}
        reads, places = self._database.reads(self._account), sorted(likely - known.keys())
        for bucket in places:
            reads.exists(f"jobs:{bucket}")
        return sorted([*known, *(each for each, exists in zip(places, reads.run(), strict=True) if exists)])

    def _check_stranded(self) -> Iterator[Flaw]:
        for job in self.survey.stranded:
            memories = read_memories(self._database, self._account, list(job.all_relations()), now=self._now)
            yield from self.survey.check_stranded(job, memories)

    # --- indexes

    def _check_guards(self) -> Iterator[Flaw]:
        members = set[str]()
        for page in self._pages("zrange", "guard", withscores=True):
            names = [name.decode() for name, _ in page]
            members.update(names)
            relations = list(map(guarded_relation, names))
            found = read_memories(self._database, self._account, relations, now=self._now, opens=False)
            yield from self.survey.check_closed_guards(names, found)
        yield from self.survey.check_guards(members)

    def _check_indexes(self, accepted: int) -> Iterator[Flaw]:
        survey = self.survey
        groups = set(self._database.read_names(self._account, "smembers", "failures"))
        yield from survey.check_kept(self._members("keep"))
        names = ["failed", *(f"failed:{group}" for group in sorted(groups | survey.groups()))]
        yield from survey.check_failures({name: self._members(name) for name in names}, groups)
        buckets, reads = survey.tally.buckets(), self._database.reads(self._account)
        for bucket in buckets:
            reads.pttl(f"jobs:{bucket}")
            reads.pttl(f"order:{bucket}")
        left = reads.run()
        yield from survey.tally.check_buckets(
            dict(zip(buckets, zip(left[::2], left[1::2], strict=True), strict=True))
        )
        labels, reads = survey.tally.labels(), self._database.reads(self._account)
        for label in labels:
            reads.hgetall(f"batch:{label}")
        counts = dict(zip(labels, map(codec.counts, reads.run()), strict=True))
        yield from survey.tally.check_labels(counts, self._read_accepted() if labels else accepted)

    def _read_accepted(self) -> int:
        return int(self._database.read(self._account, "hget", "counts", "accepted") or 0)

    # --- pages

    def _list(self, key: str) -> Iterator[list[str]]:
        return ([name.decode() for name in page] for page in self._pages("lrange", key))

    def _pages(self, command: str, key: str, **options: Any) -> Iterator[list[Any]]:
        start = 0
        while page := self._database.read(
            self._account, command, key, start, start + MAX_EXAMINED - 1, **options
        ):
            yield page
            start += len(page)

    def _members(self, key: str) -> dict[str, int]:
        pages = self._pages("zrange", key, withscores=True)
        return {name.decode(): int(score) for page in pages for name, score in page}
