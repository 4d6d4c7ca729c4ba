"""What people and monitors ask of the store, over bounded entries."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

import msgspec

from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.errors import Fault, Invalid
from worker.planner.relation_state import RelationRecord
from worker.ports.drift import ConfirmedPage
from worker.ports.queries import AccountState, CursorPage
from worker.ports.records import (
    FOREVER,
    OPEN_STATES,
    FailureGroup,
    JobFilter,
    JobRecord,
    JobState,
    RelationEvent,
)
from worker.ports.requests import RequestRecord
from worker.redis.client import tells_unreadable
from worker.store import keys
from worker.store.account import (
    find_by_keys,
    group_by_account,
    read_jobs_with_claims,
    read_kept_jobs,
    read_memories,
    relations_sent,
)
from worker.store.database import Database
from worker.store.job_search import JobSearch, OpenJobSearch
from worker.store.jobs.job_view import as_record
from worker.store.jobs.stored_job import LoadedJob
from worker.store.lease.queue import QueueHead
from worker.store.lease.replaced import read_relations
from worker.store.limits import MAX_EXAMINED
from worker.store.meta import META_FIELDS, Meta
from worker.store.pauses import PAUSE_FIELDS, KnownPause
from worker.store.places import refuse_foreign

GROUP_ENDS: Final = 20  # jobs at either end of a group that are read, for one that is still kept


class RedisQueries:
    """Implements `ports.Queries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @tells_unreadable
    def find_jobs(
        self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = ""
    ) -> CursorPage[JobRecord]:
        """Return the jobs that match, newest first; a page may hold few or none and still have a next one."""
        place, _, seen = cursor.partition(".")
        search = JobSearch(self._database, account, wanted, limit, seen=int(seen or 0))
        below = int(place) if place else FOREVER
        page: CursorPage[JobRecord] | None = None
        if wanted.event_id and wanted.source:
            page = search.by_event([wanted.source], below)
        if page is None and (wanted.error or wanted.state == "failed"):
            return search.among_failed(below)
        if page is None and wanted.state in OPEN_STATES:
            page = OpenJobSearch(self._database, account, wanted, limit).find(below)
        return search.among_all(below) if page is None else page

    def find_event(self, account: str, event_id: str, sources: Collection[str]) -> Sequence[JobRecord]:
        """Return the jobs that one of these sources has given this event id, by their keys."""
        search = JobSearch(self._database, account, JobFilter(event_id=event_id), MAX_EXAMINED)
        page = search.by_event(sources, FOREVER)
        return page.entries if page else ()

    def get_states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the states of these jobs, without those that are not there (any more)."""
        return {id_: job.state for id_, (_, job) in self._get_jobs(jobs).items()}

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        """Return these jobs, without those that are not there (any more)."""
        return {id_: as_record(job, account) for id_, (account, job) in self._get_jobs(jobs).items()}

    def find_delivered(self, account: str, source: str, event_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the jobs that a webhook's events became, by event id."""
        digests = {keys.delivery(source, event_id): event_id for event_id in event_ids}
        found = find_by_keys(self._database, account, list(digests))
        return {digests[digest]: f"{account}-{shorts[0]}" for digest, shorts in found.items()}

    def get_records(self, account: str, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what is open and known of these relations now."""
        wanted, records, now = list(relations), dict[Relation, RelationRecord](), self._database.now()
        for start in range(0, len(wanted), MAX_EXAMINED):
            found = read_relations(self._database, account, wanted[start : start + MAX_EXAMINED], now=now)
            records |= {relation: memory.record for relation, memory in found.items()}
        return records

    def relation_events(
        self, account: str, relations: Sequence[Relation]
    ) -> dict[Relation, tuple[RelationEvent, ...]]:
        """Return the outcomes that are remembered of these relations, oldest first."""
        found = read_memories(self._database, account, relations, now=self._database.now(), opens=False)
        return {relation: tuple(memory.history(account)) for relation, memory in found.items()}

    @tells_unreadable
    def account_state(self, account: str) -> AccountState:
        """Return what decides whether something of the account is sent now."""
        now, reads = self._database.now(), self._database.reads(account)
        reads.hmget("pause", PAUSE_FIELDS)
        reads.hmget("refused", ("fingerprint", "until"))
        reads.hget("holder", "token")
        reads.hget("meta", "dead")
        reads.llen("queue")
        reads.lrange("queue", 0, 0)
        reads.zrange("due", 0, 0)
        reads.hgetall("journal")
        reads.llen("look_ups")
        pause, (refused, until), holder, dead, length, listed, due, journal, look_ups = reads.run()
        queued = length - int(dead or 0)
        head = QueueHead.read(self._database, account, listed, dead=int(dead or 0)) if queued else QueueHead()
        return AccountState(
            now,
            KnownPause.read(pause).in_force(now),
            refused.decode() if refused and now < int(until or 0) else "",
            bool(holder),
            queued + look_ups,
            head.accepted_at,
            Relation.parse(due[0].decode()) if due else None,
            relations_sent(journal),
        )

    def is_work_due(self, account: str, *, window: float) -> bool:
        """Return whether anything of the account could be worked now."""
        now, reads = self._database.now(), self._database.reads(account)
        reads.exists("claimed")
        reads.hlen("journal")
        reads.llen("look_ups")
        reads.zrange("due", 0, 0, withscores=True)
        reads.zrange("parked", 0, 0, withscores=True)
        reads.lrange("queue", 0, 0)
        reads.hget("meta", "dead")
        claimed, begun, look_ups, due, parked, listed, dead = reads.run()
        if claimed or begun or look_ups or any(at <= now for _, at in (*due, *parked)):
            return True
        head = QueueHead.read(self._database, account, listed, dead=int(dead or 0))
        return head.exists and head.accepted_at + round(window * SECOND) <= now

    # --- what is confirmed

    def confirmed_page(self, account: str, cursor: str, most: int) -> ConfirmedPage:
        """Return a page of the remembered relations: first of the older generation, then of the newer.

        So one that is written meanwhile, and moves from the older to the newer, is not missed.
        """
        reads = self._database.reads(account)
        reads.hmget("meta", META_FIELDS)
        reads.hlen("memories:0")
        reads.hlen("memories:1")
        meta, *lengths = reads.run()
        older = 1 - Meta.read(meta).memories
        first = (0, older, 0) if lengths[older] else (1, 1 - older, 0)
        is_newer, generation, place = _read_cursor(cursor) if cursor else first
        place, found = self._database.read(account, "hscan", f"memories:{generation}", place, count=most)
        names = list(found)
        if is_newer:
            seen = self._read_fields(account, f"memories:{1 - generation}", names)
            names = [name for name, text in zip(names, seen, strict=True) if text is None]
        following = f"{is_newer}.{generation}.{int(place)}" if place else ""
        if not place and not is_newer:
            following = f"1.{1 - generation}.0"
        return self._as_page(account, names, sum(lengths), following)

    def sample_confirmed(self, account: str, count: int) -> ConfirmedPage:
        """Return remembered relations drawn by chance; one that is drawn twice is there once."""
        reads = self._database.reads(account)
        reads.hlen("memories:0")
        reads.hlen("memories:1")
        lengths = reads.run()
        reads = self._database.reads(account)
        for generation, length in enumerate(lengths):
            if share := round(count * length / max(1, sum(lengths))):
                reads.hrandfield(f"memories:{generation}", -share)  # negative: each draw is independent
        names = dict.fromkeys(name for drawn in reads.run() for name in drawn)
        return self._as_page(account, list(names), sum(lengths))

    def _read_fields(self, account: str, key: str, fields: Sequence[bytes]) -> list[bytes | None]:
        reads = self._database.reads(account)
        for start in range(0, len(fields), MAX_EXAMINED):
            reads.hmget(key, fields[start : start + MAX_EXAMINED])
        return [text for texts in reads.run() for text in texts]

    def _as_page(
        self, account: str, names: Sequence[bytes], total: int, following: str = ""
    ) -> ConfirmedPage:
        relations = [Relation.parse(name.decode()) for name in names]
        records = self.get_records(account, relations)
        return ConfirmedPage(self._database.now(), records, total, following)

    @tells_unreadable
    def failure_groups(self, account: str) -> list[FailureGroup]:
        """Return the failed jobs that wait for a decision by error and type, the largest group first.

        Its first and last are those that are still kept of a bounded number of jobs at either end.
        """
        names = sorted(self._database.read_names(account, "smembers", "failures"))
        reads = self._database.reads(account)
        for name in names:
            reads.zcard(f"failed:{name}")
            reads.zrange(f"failed:{name}", 0, GROUP_ENDS - 1)
            reads.zrange(f"failed:{name}", -GROUP_ENDS, -1)
        rows = reads.run()
        ends = [
            list(dict.fromkeys(keys.short_id(id_.decode()) for id_ in (*oldest, *newest)))
            for oldest, newest in zip(rows[1::3], rows[2::3], strict=True)
        ]
        now = self._database.now()
        known = read_kept_jobs(self._database, account, {*chain.from_iterable(ends)})
        kept = {short: job for short, job in known.items() if not job.is_gone(now)}
        groups = [
            _as_group(account, name, count - len(shorts), [kept[short] for short in shorts if short in kept])
            for name, count, shorts in zip(names, rows[::3], ends, strict=True)
            if not kept.keys().isdisjoint(shorts)
        ]
        return sorted(groups, key=lambda group: (-group.jobs, group.code, group.error, group.type))

    @tells_unreadable
    def list_requests(self, account: str, *, limit: int = 50, cursor: str = "") -> CursorPage[RequestRecord]:
        """Return what was sent and answered, newest first."""
        start = -1
        if cursor:
            start = self._database.read(account, "lpos", "requests", cursor)
            if start is None:
                # Listed as they are answered, so an older one may be listed still when this one was dropped.
                if not self._database.read(account, "exists", f"request:{cursor}"):
                    refuse_foreign(cursor, self._database.read_names(account, "lrange", "requests", -1, -1))
                return CursorPage((), "")
        ids = self._database.read_names(account, "lrange", "requests", start + 1, start + limit)
        reads = self._database.reads(account)
        for id_ in ids:
            reads.get(f"request:{id_}")
        requests = tuple(msgspec.json.decode(row, type=RequestRecord) for row in reads.run() if row)
        return CursorPage(requests, ids[-1] if len(ids) == limit else "")

    def _get_jobs(self, jobs: Sequence[str]) -> dict[str, tuple[str, LoadedJob]]:
        now, found = self._database.now(), dict[str, tuple[str, LoadedJob]]()
        for account, shorts in group_by_account(jobs).items():
            for short, job in read_jobs_with_claims(self._database, account, shorts).items():
                if not job.is_gone(now):
                    found[f"{account}-{short}"] = (account, job)
        return {id_: found[id_] for id_ in jobs if id_ in found}


def _as_group(account: str, name: str, others: int, jobs: Sequence[LoadedJob]) -> FailureGroup:
    """Return a group by those jobs at its ends that are kept, oldest first, and how many `others` it has."""
    first, last = jobs[0], jobs[-1]
    code, error, relation_type = name.split(" ")
    # What was accepted first may have ended last.
    begun, ended = sorted((first.value.finished_at, last.value.finished_at))
    newest = f"{account}-{last.short}"
    return FailureGroup(int(code), error, relation_type, others + len(jobs), begun, ended, newest)


def _read_cursor(cursor: str) -> tuple[int, int, int]:
    """Return whether the newer generation is read, which one that is, and the place in it."""
    parts = cursor.split(".")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) <= 20 for part in parts):
        raise Invalid([Fault("cursor", "expected the `next` of a page")])
    is_newer, generation, place = map(int, parts)
    return min(is_newer, 1), generation % 2, place
