"""Jobs whose records are to be looked up: the lists they wait in, and what a lease's holder does there.

What a look-up makes of a job is in `job_references.py`. What references led to lately is remembered, so that
a burst of one reference costs one look-up.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from itertools import chain

import msgspec

from worker.contract import TYPES, Reference, Relation
from worker.ports.references import LookUpBatch, LookUpResult
from worker.store.account import AccountCommit, read_jobs
from worker.store.database import Commit, Database, repeat_while_overtaken
from worker.store.jobs import job_references
from worker.store.jobs.stored_job import QUEUED, IndexedState, LoadedJob
from worker.store.keys import short_id
from worker.store.lease.leased_account import LeasedAccount
from worker.store.lease.queue import enter_list
from worker.store.lease.replaced import Place, note_replaced, read_coming
from worker.store.limits import JOBS_PER_CALL, MAX_EXAMINED
from worker.store.memories import Memory


class ReferenceMemory:
    """What an account's references led to within the last so many `seconds`, in hashes of that time each."""

    def __init__(self, database: Database, account: str, seconds: float) -> None:
        self._database, self._account = database, account
        self._period = max(1, round(seconds * 1e6))

    def read(self, references: Collection[Reference]) -> dict[Reference, int]:
        """Return the records of references, without those that the API has not known since."""
        if not references:
            return {}
        now, digests = self._database.now(), [_digest(reference) for reference in references]
        rows = self._read(now, digests)
        known: dict[Reference, tuple[int, int]] = {}
        for reference, values in zip(references, rows, strict=True):
            for value in filter(None, values):
                record, asked_at = map(int, value.split())
                if now - asked_at <= self._period:
                    known[reference] = (record, asked_at)
        names = {record_name(reference.module, record) for reference, (record, _) in known.items()}
        gone_at = self._gone_at(now, sorted(names))
        return {
            reference: record
            for reference, (record, asked_at) in known.items()
            if gone_at.get(record_name(reference.module, record), 0) < asked_at
        }

    def exists(self) -> bool:
        """Return whether anything is remembered."""
        now, reads = self._database.now(), self._database.reads(self._account)
        for key in (self._key(now - self._period), self._key(now)):
            reads.exists(key)
        return any(reads.run())

    def write(self, commit: Commit, records: Mapping[Reference, int]) -> None:
        """Remember what references led to, as of now."""
        now = self._database.now()
        self._put(commit, now, [(_digest(each), f"{record} {now}") for each, record in records.items()])

    def forget(self, commit: Commit, records: Iterable[tuple[str, int]]) -> None:
        """Let references lead to these records (module, id) no more before they were looked up again."""
        now = self._database.now()
        self._put(commit, now, [(record_name(*record), now) for record in records])

    def _put(self, commit: Commit, now: int, pairs: Collection[tuple[bytes, object]]) -> None:
        if pairs:
            key = self._key(now)
            commit.run("HSET", key, *chain.from_iterable(pairs))
            commit.run("PEXPIRE", key, 2 * self._period // 1000 + 1)

    def _gone_at(self, now: int, names: Collection[bytes]) -> dict[bytes, int]:
        rows = self._read(now, names) if names else []
        return {
            name: max(map(int, filter(None, row)), default=0) for name, row in zip(names, rows, strict=True)
        }

    def _read(self, now: int, fields: Collection[bytes]) -> list[tuple[bytes | None, ...]]:
        reads = self._database.reads(self._account)
        for key in (self._key(now - self._period), self._key(now)):
            reads.hmget(key, list(fields))
        return list(zip(*reads.run(), strict=True))

    def _key(self, now: int) -> str:
        return f"references:{now // self._period}"


def _digest(reference: Reference) -> bytes:
    fields = "\0".join(chain.from_iterable(reference.fields))
    return blake2b(f"{reference.module}\0{fields}".encode(), digest_size=12).digest()


def record_name(module: str, record: int) -> bytes:
    """Return the field that says since when the API knows a record no more."""
    return f"{module} {record}".encode()


class LookUps:
    """What the holder of a lease does for jobs that wait for their records: a part of `ports.Lease`."""

    leased: LeasedAccount

    def read_look_ups(self, most: int) -> LookUpBatch:
        """Return the changes whose records are to be looked up now: new ones in order, then parked ones."""
        database, account = self.leased.database, self.leased.account
        now, reads = database.now(), database.reads(account)
        reads.lrange("look_ups", 0, most - 1)
        reads.zrangebyscore("parked", "-inf", now, start=0, num=most)
        reads.zcard("parked")
        listed, parked, count = reads.run()
        names = dict.fromkeys(short.decode() for short in (*listed, *parked))
        found = read_jobs(database, account, names)
        waiting = {short for short, job in found.items() if job_references.waits(job)}
        if stray := sorted(names.keys() - waiting):
            repeat_while_overtaken(account, lambda: _drop_stray(self.leased, stray))
        unresolved = [found[short] for short in names if short in waiting]
        return LookUpBatch(
            now, tuple(job_references.as_unresolved(job, account) for job in unresolved), count
        )

    def known_records(self, references: Collection[Reference], *, memory: float) -> Mapping[Reference, int]:
        """Return the records that references led to within so many seconds, and that the API still knows."""
        return self._memory(memory).read(references)

    def write_look_ups(
        self, results: Sequence[LookUpResult], records: Mapping[Reference, int], *, memory: float
    ) -> None:
        """Write what became of the changes that were looked up, and which records references lead to."""
        remembered = self._memory(memory)
        for start in range(0, max(1, len(results)), JOBS_PER_CALL):
            piece, learned = results[start : start + JOBS_PER_CALL], {} if start else records
            repeat_while_overtaken(
                self.leased.account, partial(_write_piece, self.leased, piece, learned, remembered)
            )

    def forget_records(self, relations: Iterable[Relation], *, memory: float) -> None:
        """Let references lead to the records of these relations no more before they were looked up again."""
        remembered = self._memory(memory)
        records = {
            record
            for each in relations
            for record in ((TYPES[each.type].parent, each.parent), (TYPES[each.type].child, each.child))
        }

        def forget() -> None:
            commit = self.leased.commit()
            remembered.forget(commit, sorted(records))
            self.leased.send(commit)

        if records and remembered.exists():
            repeat_while_overtaken(self.leased.account, forget)

    def _memory(self, seconds: float) -> ReferenceMemory:
        return ReferenceMemory(self.leased.database, self.leased.account, seconds)


def _drop_stray(leased: LeasedAccount, stray: Sequence[str]) -> None:
    """Drop entries of jobs that do not wait for a record."""
    commit = leased.commit()
    for short in stray:
        commit.run("LREM", "look_ups", 0, short)
    commit.run("ZREM", "parked", *stray)
    leased.send(commit)


def _write_piece(
    leased: LeasedAccount,
    results: Sequence[LookUpResult],
    records: Mapping[Reference, int],
    memory: ReferenceMemory,
) -> None:
    database, account = leased.database, leased.account
    by_short = {short_id(result.job): result for result in results}
    found = read_jobs(database, account, by_short)
    leased.jobs |= found
    commit, changed = leased.commit(), dict[str, IndexedState]()
    resolved, replaces = list[LoadedJob](), list[LoadedJob]()
    places = {short: _place_read(job, by_short[short]) for short, job in found.items()}
    coming = read_coming(database, account, {*filter(None, places.values())}, now=commit.now)
    for short, result in by_short.items():
        job = found.get(short)
        if job is None or not job_references.waits(job):
            continue  # a person has decided in between
        changed[short] = IndexedState.of(job)
        leave_look_ups(commit, job)
        if place := places[short]:
            replaces.append(job)
            result = _with_more(result, coming.get(place, frozenset()))
        job_references.settle(job, result, now=commit.now, keep=leased.keep)
        if result.parked:
            commit.run("ZADD", "parked", result.parked.until, short)
        elif job.is_open:
            resolved.append(job)
    _note_replaced(leased, commit, replaces)
    leased.put_jobs(commit, changed)
    enter_list(commit, "queue", resolved)
    memory.write(commit, records)
    leased.send(commit)


def _note_replaced(leased: LeasedAccount, commit: AccountCommit, replaces: Sequence[LoadedJob]) -> None:
    """Remember of these replaces that they have read, and which relations are their own."""
    if replaces:
        relations = list(dict.fromkeys(relation for job in replaces for relation in job.all_relations()))
        found = dict[Relation, Memory]()
        for start in range(0, len(relations), MAX_EXAMINED):
            found |= leased.read_relations(relations[start : start + MAX_EXAMINED], now=commit.now)
        leased.memories |= note_replaced(commit, leased.database, replaces, found)
        leased.meta = leased.meta._replace(replaced=1)


def _with_more(result: LookUpResult, others: frozenset[int]) -> LookUpResult:
    return msgspec.structs.replace(result, related=(result.related or frozenset()) | others)


def _place_read(job: LoadedJob, result: LookUpResult) -> Place | None:
    """Return the record of which a replace has read what there is, if the result is of such a read."""
    side = job_references.replaced_side(job.value)
    if side is None or result.related is None:
        return None
    found = result.answers[side.reference].record if side.reference else 0
    return side.type, side.asked, side.record or found


def leave_look_ups(commit: Commit, job: LoadedJob) -> None:
    """Let a job that waits for a record to be found wait there no longer, before it is changed."""
    if job.value.state == QUEUED:
        commit.run("LREM", "look_ups", 1, job.short)
        commit.run("HINCRBY", "meta", "bytes", -job.size)
    else:
        commit.run("ZREM", "parked", job.short)


def enter_look_ups(commit: Commit, job: LoadedJob) -> None:
    """Let a job wait for its records to be looked up: now, or when its delay is over."""
    if job.value.state == QUEUED:
        enter_list(commit, "look_ups", [job])
    elif job.value.parked:
        commit.run("ZADD", "parked", job.value.parked[1], job.short)
