"""The lease on an account: everything only its holder may do, each step carried out at most once (R17)."""

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from os import urandom
from typing import Final, TypeVar

from worker.contract import TYPES, Reference, Relation
from worker.errors import LeaseLost, StoreRolledBack
from worker.planner.actions import Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.relation_state import OpenRelation
from worker.ports import (
    MAX_COUNTDOWN,
    BegunRequest,
    ClaimedJob,
    DeleteBrake,
    LookUpBatch,
    LookUpResult,
    OpenWrite,
    Pause,
    RelationRecord,
    StoreFlaw,
    WorkBatch,
    Writes,
)
from worker.store import codec, job_references, jobs
from worker.store.account import (
    META_FIELDS,
    PAUSE_FIELDS,
    AccountCommit,
    Before,
    KnownPause,
    Meta,
    enter_list,
    leave_look_ups,
    read_events,
    read_jobs,
    read_memories,
    read_meta,
    set_pause,
    write_pause,
)
from worker.store.claimed_work import ClaimedWork, ClaimedWorkChange, as_old
from worker.store.database import Check, Database, Overtaken, repeat_while_overtaken
from worker.store.jobs import QUEUED, LoadedJob
from worker.store.keys import short_id
from worker.store.limits import (
    BRAKE_WINDOW_US,
    FIRST_IDLE_US,
    FIRST_WAKE_DELAY_US,
    JOBS_PER_CALL,
    LEASE_LIFETIME_MS,
    LONGEST_IDLE_US,
    MAX_REQUESTS,
    Retention,
)
from worker.store.memories import Memory, why_of
from worker.store.queue import WORK_FIELDS, Queue, QueueHead, WorkNote
from worker.store.reference_memory import ReferenceMemory
from worker.store.replaced import Found, Replaced, note_replaced, with_replaced

SOON_US: Final = round(MAX_COUNTDOWN * 1e6)
MINUTE_US: Final = 60_000_000
CLOCK_ERROR_US: Final = 1_000_000  # by which what we take for the server's time may be wrong

Answer = TypeVar("Answer")


class RedisLease:
    """Implements `ports.Lease`; for one thread, but `renew` may be called from another.

    `step` numbers the commits: a lost answer may repeat one, but it is carried out once. A store that knows
    of fewer steps, or has another journal than the holder knows, has lost what it acknowledged:
    StoreRolledBack. What was read of jobs and memories stays true until the holder itself writes it, or the
    account's version shows that a person did.
    """

    def __init__(
        self,
        database: Database,
        account: str,
        holder: str,
        *,
        meta: Meta,
        pause: KnownPause,
        refused_credentials: str,
        keep: Retention,
        now: int,
    ) -> None:
        self.account, self.holder = account, holder
        self.pause, self.refused_credentials = pause.in_force(now), refused_credentials
        self._database, self._keep, self._known_pause = database, keep, pause
        self._step, self._meta, self._nonce = 0, meta, urandom(6).hex()
        self._version = meta.lease_version
        self._queue = Queue()
        self._jobs: dict[str, LoadedJob] = {}
        self._memories: dict[Relation, Memory] = {}
        self._opened: set[Relation] = set()
        self._claimed = ClaimedWork()
        self._is_unsure = False  # whether the last commit was carried out
        self._begun: dict[bytes, bytes] | None = None  # the journal; None before it was read
        self._found_nothing, self._read_at = False, now

    # --- reading

    def read(self, *, max_jobs: int, max_relations: int) -> WorkBatch:
        """Return the next batch; it stays where it is until claimed."""
        return repeat_while_overtaken(self.account, lambda: self._read(max_jobs, max_relations))

    def records(self, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what the store has of these relations."""
        found = self._read_memories(list(relations), now=self._database.now())
        return self._note(found)

    def _read_memories(self, relations: Sequence[Relation], *, now: int) -> Found:
        """Read what is open and remembered of these relations."""
        found = read_memories(self._database, self.account, relations, now=now)
        return with_replaced(self._database, self.account, found) if self._meta.replaced else found

    def _note(
        self, found: Mapping[Relation, tuple[RelationRecord, Memory]]
    ) -> dict[Relation, RelationRecord]:
        """Remember what was read of relations; return it, with the open work that is claimed only."""
        records: dict[Relation, RelationRecord] = {}
        for relation, (record, memory) in found.items():
            self._memories[relation] = memory
            if record.open:
                self._opened.add(relation)
            elif held := self._claimed.held.get(relation):
                record = RelationRecord(held, record.confirmed, record.doubt)
            records[relation] = record
        return records

    def guarded_relations(self, guards: Sequence[str]) -> Mapping[str, Sequence[Relation]]:
        """Return the relations of these guarded records that are open, or closed with a write in doubt."""
        reads = self._database.reads(self.account)
        for guard in guards:
            reads.zrangebylex("guard", f"[{guard}|", f"[{guard}|\xff")
        return {
            guard: tuple(Relation.parse(name.decode().rpartition("|")[2]) for name in names)
            for guard, names in zip(guards, reads.run(), strict=True)
        }

    # --- writing

    def claim(self, jobs: Sequence[ClaimedJob], begun: Sequence[BegunRequest], writes: Writes) -> bool:
        """Move jobs from the queue into open relations; False when one has ended since it was read."""
        if not jobs:
            self._repeat(lambda: self._claim({}, begun, writes))
            return True
        wanted = {short_id(job.job): job for job in jobs}
        try:
            return self._claim(wanted, begun, writes)
        except Overtaken:
            return False

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None = None) -> int | Pause:
        """Journal a request and return when it is signed (µs), or why it must not be sent."""
        return self._repeat(lambda: self._begin(request_id, request, brake))

    def settle(self, request_id: str, writes: Writes) -> None:
        """Write the outcomes of a begun request, and clear its journal."""
        self._repeat(lambda: self._settle(request_id, writes))

    def set_pause(self, pause: Pause) -> None:
        """Pause the account."""
        repeat_while_overtaken(
            self.account, lambda: set_pause(self._database, self.account, pause, self._keep)
        )

    def renew(self) -> None:
        """Prolong the lease by its whole lifetime."""
        commit = self._commit(self._database.now(), counted=False)
        commit.run("PEXPIRE", "holder", LEASE_LIFETIME_MS)
        if not commit.try_send():
            raise self._lost()

    def release(self, *, window: float = 0.0, rest: float = 0.0) -> float | None:
        """Give the lease back; return the seconds until work is next due, None if there is none."""
        if self._claimed.jobs and not self._is_unsure and self._claimed.recovered is None:
            self._repeat(self._put_down)
        due_in = repeat_while_overtaken(self.account, lambda: self._release(window, rest))
        return None if due_in is None else due_in / 1e6

    # --- records to be looked up

    def read_look_ups(self, most: int) -> LookUpBatch:
        """Return the changes whose records are to be looked up now: new ones in order, then parked ones."""
        now, reads = self._database.now(), self._database.reads(self.account)
        reads.lrange("look_ups", 0, most - 1)
        reads.zrangebyscore("parked", "-inf", now, start=0, num=most)
        reads.zcard("parked")
        listed, parked, count = reads.run()
        names = dict.fromkeys(short.decode() for short in (*listed, *parked))
        found = read_jobs(self._database, self.account, names)
        waiting = {short for short, job in found.items() if job_references.waits(job)}
        if stray := names.keys() - waiting:
            self._repeat(lambda: self._drop_stray_look_ups(sorted(stray)))
        unresolved = [found[short] for short in names if short in waiting]
        jobs_ = tuple(job_references.as_unresolved(job, self.account) for job in unresolved)
        return LookUpBatch(now, jobs_, count)

    def known_records(self, references: Collection[Reference], *, memory: float) -> Mapping[Reference, int]:
        """Return the records that references led to within so many seconds, and that the API still knows."""
        return self._reference_memory(memory).read(references)

    def write_look_ups(
        self, results: Sequence[LookUpResult], records: Mapping[Reference, int], *, memory: float
    ) -> None:
        """Write what became of the changes that were looked up, and which records references lead to."""
        for start in range(0, max(1, len(results)), JOBS_PER_CALL):
            piece, learned = results[start : start + JOBS_PER_CALL], {} if start else records
            self._repeat(partial(self._write_look_ups, piece, learned, memory))

    def _write_look_ups(
        self, results: Sequence[LookUpResult], records: Mapping[Reference, int], memory: float
    ) -> None:
        by_short = {short_id(result.job): result for result in results}
        found = read_jobs(self._database, self.account, by_short)
        self._jobs |= found
        commit, resolved = self._commit(self._database.now()), list[LoadedJob]()
        changed, replaced = dict[str, Before](), list[Replaced]()
        for short, result in by_short.items():
            job = found.get(short)
            if job is None or not job_references.waits(job):
                continue  # a person has decided in between
            changed[short] = Before.of(job)
            leave_look_ups(commit, job)
            job_references.settle(job, result, commit.totals, now=commit.now, keep=self._keep)
            if result.parked:
                commit.run("ZADD", "parked", result.parked.until, short)
            elif job.is_open:
                resolved.append(job)
            if result.related is not None:
                replaced.append(job_references.as_replaced(job, self.account))
        note_replaced(commit, self._database, self.account, replaced)
        self._put_jobs(commit, changed)
        enter_list(commit, "queue", resolved)
        self._reference_memory(memory).write(commit, records)
        self._send(commit)
        if replaced:
            self._meta = self._meta._replace(replaced=1)

    def forget_records(self, relations: Iterable[Relation], *, memory: float) -> None:
        """Let references lead to the records of these relations no more before they were looked up again."""
        known = self._reference_memory(memory)
        records = {
            record
            for each in relations
            for record in ((TYPES[each.type].parent, each.parent), (TYPES[each.type].child, each.child))
        }
        if records and known.exists():
            self._repeat(lambda: self._forget_records(known, sorted(records)))

    def _forget_records(self, known: ReferenceMemory, records: Collection[tuple[str, int]]) -> None:
        commit = self._commit(self._database.now())
        known.forget(commit, records)
        self._send(commit)

    def _drop_stray_look_ups(self, stray: Sequence[str]) -> None:
        """Drop entries of jobs that do not wait for a record."""
        commit = self._commit(self._database.now())
        for short in stray:
            commit.run("LREM", "look_ups", 0, short)
        commit.run("ZREM", "parked", *stray)
        self._send(commit)

    def _reference_memory(self, seconds: float) -> ReferenceMemory:
        return ReferenceMemory(self._database, self.account, seconds)

    # --- the steps

    def _read(self, max_jobs: int, max_relations: int) -> WorkBatch:
        now = self._database.now()
        reads = self._database.reads(self.account)
        reads.hmget("meta", META_FIELDS)
        reads.hget("holder", "token")
        reads.hmget("work", WORK_FIELDS)
        reads.zrangebyscore("due", "-inf", now, start=0, num=max_jobs)
        reads.hgetall("journal")
        reads.lrange("queue", 0, max_jobs - 1)
        reads.lrange("claimed", 0, -1)
        reads.llen("queue")
        reads.llen("look_ups")
        reads.zrange("parked", 0, 0, withscores=True)
        meta, token, work, due, journal, listed, claimed_ids, length, unresolved, parked = reads.run()
        if token != self.holder.encode():
            raise self._lost()
        self._begun, self._read_at, self._found_nothing = dict(journal), now, False
        self._meta = Meta.read(meta)
        if self._meta.lease_version != self._version:
            self._forget()
            self._version = self._meta.lease_version
        if claimed_ids and (not self._claimed.jobs or self._claimed.recovered is not None):
            return self._recover([short.decode() for short in claimed_ids], journal, now)
        note = WorkNote.read(work)
        limit = note.limit(self.holder, max_jobs)
        # One that grows again after a death leaves none, so that what killed keeps its place in the order.
        for_queue = min(limit // 4, length) if limit == max_jobs else 0
        relations = tuple(Relation.parse(name.decode()) for name in due[: limit - for_queue])
        self._queue = Queue.read(
            self._database, self.account, listed, want=limit - len(relations), dead=self._meta.dead
        )
        chosen = self._queue.choose(limit - len(relations), max_relations - len(relations))
        self._jobs |= {job.short: job for job in chosen}
        wanted = {job.short: job.relations() for job in chosen}
        named = dict.fromkeys((*relations, *chain.from_iterable(wanted.values())))
        found = self._read_memories(list(named), now=now)
        things = [*map(str, relations), *wanted]
        note = note.next(self.holder, limit, things, full=limit == max_jobs)
        commit = self._commit(now)
        commit.run("HSET", "work", *note.pairs())
        mended = self._mend(commit, [relation for relation in relations if not found[relation][0].open])
        self._queue.drop_dead_head(commit)
        self._turn_memories(commit)
        self._send(commit)
        records = self._known_records(found)
        relations = tuple(relation for relation in relations if relation in self._opened)
        claimed = tuple(job.as_claimed(self.account, wanted[job.short]) for job in chosen)
        begun, is_small = codec.begun(journal), limit < max_jobs
        look_ups = bool(unresolved or (parked and parked[0][1] <= now))
        self._found_nothing = not (claimed or relations or begun or look_ups)
        return WorkBatch(
            now,
            claimed,
            relations,
            records,
            begun,
            note.is_condemned,
            is_small,
            mended=mended,
            look_ups=look_ups,
        )

    def _mend(self, commit: AccountCommit, closed: Sequence[Relation]) -> tuple[StoreFlaw, ...]:
        """Mend what a read shows to contradict itself; `closed` are due and not open."""
        flaws = [StoreFlaw("due", str(relation), "is due and not open") for relation in closed]
        if closed:
            commit.run("ZREM", "due", *map(str, closed))
        if self._meta.held and not self._claimed.jobs:
            message = f"counts {self._meta.held} claimed relations, and nothing is claimed"
            flaws.append(StoreFlaw("counter", "held", message))
            commit.run("HSET", "meta", "held", 0)
            self._meta = self._meta._replace(held=0)
        if self._queue.correct_dead(commit):
            message = f"counts {self._meta.dead} entries that wait no more, and others do"
            flaws.append(StoreFlaw("counter", "dead", message))
        return tuple(flaws)

    def _recover(self, claimed_ids: Sequence[str], journal: Mapping[bytes, bytes], now: int) -> WorkBatch:
        """Return the jobs that a dead worker had claimed, for those of their relations that are not open."""
        self._jobs |= read_jobs(self._database, self.account, claimed_ids)
        waiting = [
            job
            for short in claimed_ids
            if (job := self._jobs.get(short)) and job.value.state == QUEUED and not job.is_unresolved
        ]
        named = dict.fromkeys(relation for job in waiting for relation in job.relations())
        found = self._read_memories(list(named), now=now)
        records = self._known_records(found)
        self._claimed = ClaimedWork(jobs=set(claimed_ids), recovered={job.short for job in waiting})
        claimed = []
        for job in waiting:
            id_ = f"{self.account}-{job.short}"
            left = tuple(each for each in job.relations() if not _has_intent(found[each][0].open, id_))
            if left:
                claimed.append(job.as_claimed(self.account, left))
        return WorkBatch(now, tuple(claimed), (), records, codec.begun(journal), recovered=True)

    def _known_records(
        self, found: Mapping[Relation, tuple[RelationRecord, Memory]]
    ) -> dict[Relation, RelationRecord]:
        """Return what there is of relations, without those of which there is nothing."""
        return {
            relation: record
            for relation, record in self._note(found).items()
            if record.open or found[relation][1].confirmed is not None
        }

    def _claim(self, wanted: Mapping[str, ClaimedJob], begun: Sequence[BegunRequest], writes: Writes) -> bool:
        recovered = self._claimed.recovered
        self._load(writes, wanted)
        if any(short not in self._jobs or self._jobs[short].value.state != QUEUED for short in wanted):
            return False
        commit, change = self._commit(self._database.now()), ClaimedWorkChange()
        if recovered is not None:
            self._end_recovery(commit, writes)
        elif wanted:
            change = self._take(commit, wanted, writes)
        claimed = list(recovered or wanted)
        changed = {short: Before.of(self._jobs[short]) for short in claimed if short not in change.jobs}
        for short in claimed:
            jobs.claim(self._jobs[short])
        if begun:
            commit.run("HDEL", "journal", *(entry.request_id for entry in begun))
        self._write(commit, writes, "", changed, change)
        self._send(commit, change)
        for entry in begun if self._begun is not None else ():
            self._begun.pop(entry.request_id.encode(), None)  # type: ignore[union-attr]
        if recovered is not None:
            self._claimed = ClaimedWork(is_recovered=True)
        return True

    def _take(
        self, commit: AccountCommit, wanted: Mapping[str, ClaimedJob], writes: Writes
    ) -> ClaimedWorkChange:
        """Take jobs out of the queue, and claim them as far as they need not be written now."""
        if not self._queue.has(wanted):
            self._queue = Queue.locate(self._database, self.account, wanted, dead=self._meta.dead)
        self._queue.cut_after(wanted, commit)
        commit.totals["sending"] += len(wanted)
        change = self._claimed.take(wanted.values(), writes, self._opened)
        if change.jobs:
            commit.run("RPUSH", "claimed", *change.jobs)
            if not self._claimed.jobs:
                commit.run("HSET", "meta", "held_since", commit.now)
        return change

    def _end_recovery(self, commit: AccountCommit, writes: Writes) -> None:
        """Let everything that a dead worker had claimed be written, as old as it is."""
        since = self._meta.held_since
        for relation, write in writes.opens.items():
            if relation not in self._opened:
                writes.opens[relation] = as_old(write, since)
        commit.run("DEL", "claimed")
        commit.run("HSET", "meta", "held", 0)

    def _begin(self, request_id: str, request: Request, brake: DeleteBrake | None) -> int | Pause:
        now = self._database.now()
        if self._known_pause.in_force(now):
            return self._paused(now) or self._begin(request_id, request, brake)
        commit = self._commit(now)
        commit.check("pause", "since", self._known_pause.since)
        if self._begun is not None:
            commit.check("journal", "#", len(self._begun))
            for name, known in self._begun.items():
                commit.check("journal", name.decode(), known)
        stopped, entry = None, b"%d %s" % (now, codec.encode(request))
        if brake and request.deletes:
            stopped = self._apply_brake(commit, request.deletes, brake, now)
        if stopped:
            write_pause(commit, stopped, braked=False)
        else:
            commit.hset("journal", request_id, entry)
        try:
            self._send(commit)
        except Check as failed:
            if failed.position > 3:
                raise self._rolled_back() from None
            # Somebody paused or resumed the account.
            return self._paused(now) or self._begin(request_id, request, brake)
        if stopped:
            self._known_pause = KnownPause(stopped, braked=True)
            return stopped
        if self._begun is not None:
            self._begun[request_id.encode()] = entry
        return now

    def _settle(self, request_id: str, writes: Writes) -> None:
        self._load(writes, ())
        commit = self._commit(self._database.now())
        record = writes.request
        if request_id:
            commit.run("HDEL", "journal", request_id)
        if record:
            lifetime = round(1000 * self._keep.finished)
            commit.run("SET", f"request:{record.id}", codec.encode(record), "PX", lifetime)
            commit.run("LPUSH", "requests", record.id)
            commit.run("LTRIM", "requests", 0, MAX_REQUESTS - 1)
            if not record.observed:
                commit.totals.update(requests=1, actions=len(record.actions))
        change = ClaimedWorkChange()
        self._write(commit, writes, request_id, {}, change)
        self._send(commit, change)
        if self._begun is not None:
            self._begun.pop(request_id.encode(), None)

    def _put_down(self) -> None:
        """Write the open relations that are claimed only, and their jobs."""
        self._load(Writes(), self._claimed.jobs)
        commit, change = self._commit(self._database.now()), ClaimedWorkChange()
        left = {short: Before.of(self._jobs[short]) for short in self._claimed.jobs if short in self._jobs}
        self._write(commit, Writes(), "", left, change)
        self._send(commit, change)

    def _release(self, window: float, rest: float) -> int | None:
        now = self._database.now()
        reads = self._database.reads(self.account)
        reads.hmget("holder", ("token",))
        reads.hmget("meta", META_FIELDS)
        reads.hmget("work", WORK_FIELDS)
        reads.zrange("due", 0, 0, withscores=True)
        reads.hlen("journal")
        reads.lrange("queue", 0, 0)
        reads.hmget("pause", PAUSE_FIELDS)
        reads.hget("wake", "at")
        reads.exists("claimed")
        reads.hget("work", "idle")
        reads.exists("look_ups")
        reads.zrange("parked", 0, 0, withscores=True)
        *row, look_ups, parked = reads.run()
        [token], meta, work, due, begun, listed, pause_row, woken, claimed_ids, idle = row
        if token != self.holder.encode():
            raise self._lost()
        times = [int(score) for _, score in (*due, *parked)]
        times += [now] if begun or claimed_ids or look_ups else []
        head = QueueHead.read(self._database, self.account, listed, dead=Meta.read(meta).dead)
        commit = AccountCommit(self._database, self.account, self._keep, now=now)
        commit.check("holder", "token", self.holder)
        commit.check("wake", "at", woken or b"")
        commit.run("DEL", "holder")
        is_any = bool(times or head.exists)
        idle_us = self._note_end(commit, WorkNote.read(work), int(idle or 0), is_any=is_any)
        times = [max(now + idle_us, at) for at in times]
        if head.exists:  # it waits `window` from its acceptance, but not for what others left behind
            is_new = head.accepted_at + CLOCK_ERROR_US >= self._read_at
            times.append(max(head.accepted_at + round(window * 1e6), 0 if is_new else now + idle_us))
        rest_us = round(rest * 1e6)
        due_in = _due_in(times, KnownPause.read(pause_row).in_force(now), now, rest_us)
        if due_in is not None:
            delay = due_in + FIRST_WAKE_DELAY_US if due_in <= SOON_US else max(rest_us, idle_us)
            if delay:
                mark = ("at", now, "delay", delay, *(("idle", 1) if idle_us else ()))
                commit.run("HSET", "wake", *mark)
        try:
            commit.send(f"{self._nonce}.end")
        except Check as failed:
            if failed.position == 0:
                raise self._lost() from None
            raise Overtaken from None
        return due_in

    def _note_end(self, commit: AccountCommit, note: WorkNote, idle: int, *, is_any: bool) -> int:
        """Note the end of the batch; return how long what is left waits because nothing was found (µs).

        That doubles with each flush in a row: only a store that contradicts itself has something due, and
        nothing to do.
        """
        if self._claimed.is_recovered:
            pass  # the note is that of the dead worker's batch, which the next flush reads a part of
        elif note.full or not is_any:
            commit.run("DEL", "work")
        else:
            commit.run("HDEL", "work", "held", "idle")
        if not (self._found_nothing and is_any):
            return 0
        commit.run("HSET", "work", "idle", idle + 1)
        return min(FIRST_IDLE_US << min(idle, 20), LONGEST_IDLE_US)

    # --- parts of them

    def _write(
        self,
        commit: AccountCommit,
        writes: Writes,
        request_id: str,
        changed: dict[str, Before],
        change: ClaimedWorkChange,
    ) -> None:
        """Write everything that one transition changes; `changed` jobs are written in any case."""
        totals, memories, skipped = commit.totals, self._memories, len(self.account) + 1
        by_job: dict[str, list[RelationOutcome]] = {id_[skipped:]: [] for id_ in writes.job_states}
        touched: dict[Relation, Memory] = {}
        for relation, (state, doubt) in writes.confirmed.items():
            touched[relation] = memory = memories[relation]
            memory.confirmed, memory.doubt = state, doubt
        for outcome in writes.outcomes:
            short, relation = outcome.job[skipped:], outcome.relation
            touched[relation] = memory = memories[relation]
            memory.add(short, outcome.result, why_of(outcome, request_id))
            if (found := by_job.get(short)) is None:
                by_job[short] = [outcome]
            else:
                found.append(outcome)
        commit.put_memories(touched.values())
        to_be_read: list[LoadedJob] = []
        for short, outcomes in by_job.items():
            if (job := self._jobs.get(short)) is None:
                continue
            before = changed.get(short) or Before.of(job)
            doing = writes.job_states.get(f"{self.account}-{short}") if writes.job_states else None
            if jobs.settle(job, outcomes, doing, request_id, totals, now=commit.now, keep=self._keep):
                changed[short] = before
                if job.is_unresolved:
                    to_be_read.append(job)
        self._put_jobs(commit, changed)
        enter_list(commit, "look_ups", to_be_read)
        written = self._claimed.leave(changed, self._jobs, writes, change)
        self._write_opens(commit, written, change.closed)
        if change.held:
            commit.run("HINCRBY", "meta", "held", change.held)
        if self._claimed.jobs and change.left >= self._claimed.jobs and not change.jobs:
            commit.run("DEL", "claimed")

    def _put_jobs(self, commit: AccountCommit, changed: Mapping[str, Before]) -> None:
        """Write jobs; one that ended when its idempotency key is old, or as failed, has that written anew."""
        since, old = self._meta.events_since, list[LoadedJob]()
        for short, before in changed.items():
            job = self._jobs[short]
            is_at_end = before.is_open and not job.value.left and not job.is_kept
            if is_at_end and (job.value.state == jobs.FAILED or job.accepted_at < since):
                old.append(job)
        events = read_events(self._database, self.account, [job.value.digest for job in old])
        for short, before in changed.items():
            job = self._jobs[short]
            event = events.get(job.value.digest) if events else None
            if event and job.accepted_at < since:
                commit.hset(f"events:{self._meta.events}", job.value.digest, event)
            commit.put(job, before, event)

    def _write_opens(
        self, commit: AccountCommit, opens: Mapping[Relation, OpenWrite], unwritten: Container[Relation]
    ) -> None:
        """Write open relations; of those that were never written, nothing has to go."""
        dues: list[object] = []
        closed: list[str] = []
        for relation, write in opens.items():
            name = str(relation)
            if write.open:
                commit.hset("open", name, codec.encode_open(write.open))
                dues += (write.open.not_before or write.open.since, name)
            elif relation not in unwritten:
                commit.hdel("open", name)
                closed.append(name)
            if write.guard:
                if write.open or write.in_doubt_until > commit.now:
                    commit.run("ZADD", "guard", 0, f"{write.guard}|f|{name}")
                else:
                    commit.run("ZREM", "guard", f"{write.guard}|f|{name}", f"{write.guard}|h|{name}")
        if closed:
            commit.run("ZREM", "due", *closed)
        if dues:
            commit.run("ZADD", "due", *dues)

    def _load(self, writes: Writes, more: Iterable[str]) -> None:
        """Read the jobs and memories that a transition needs and nobody has read."""
        skipped = len(self.account) + 1
        named = {outcome.job[skipped:] for outcome in writes.outcomes}
        named.update([job[skipped:] for job in writes.job_states], more)
        if missing := named - self._jobs.keys():
            found_jobs = read_jobs(self._database, self.account, missing)
            for job in found_jobs.values():
                if (
                    job.short in self._claimed.jobs
                    and job.value.state == QUEUED
                    and not self._claimed.recovered
                ):
                    jobs.claim(job)
            self._jobs |= found_jobs
        relations = {outcome.relation for outcome in writes.outcomes} | writes.confirmed.keys()
        if unknown := sorted(relations - self._memories.keys()):
            found = read_memories(
                self._database, self.account, unknown, now=self._database.now(), opens=False
            )
            self._memories |= {relation: memory for relation, (_, memory) in found.items()}

    def _turn_memories(self, commit: AccountCommit) -> None:
        """Begin a new generation of memories once the older one has outlived what it holds."""
        meta = self._meta
        if meta.memories_since and commit.now - meta.memories_since <= round(self._keep.memory * 1e6):
            return
        generation = meta.memories
        if meta.memories_since:
            generation = 1 - generation
            commit.run("DEL", f"memories:{generation}")
        commit.run("HSET", "meta", "memories", generation, "memories_since", commit.now)
        self._meta = meta._replace(memories=generation, memories_since=commit.now)

    def _apply_brake(self, commit: AccountCommit, deletes: int, brake: DeleteBrake, now: int) -> Pause | None:
        """Count these deletes of the hour, or return the pause if they are too many."""
        row = self._database.read(self.account, "hgetall", "deletes")
        minute, resumed_at = now // MINUTE_US, int(row.pop(b"go", 0))
        old = [name for name in row if int(name) <= minute - 60]
        sent = sum(int(count) for name, count in row.items() if name not in old)
        was_resumed = resumed_at and now < resumed_at + BRAKE_WINDOW_US  # a person let the deletes continue
        total = sent + (deletes if was_resumed else brake.planned)
        if old:
            commit.run("HDEL", "deletes", *old)
        if total > brake.limit:
            commit.run("HDEL", "deletes", "go")
            return Pause("brake", brake.detail(self.account) % total, since=now)
        commit.run("HINCRBY", "deletes", minute, deletes)
        commit.run("PEXPIRE", "deletes", BRAKE_WINDOW_US // 1000 + 60_000)
        return None

    def _paused(self, now: int) -> Pause | None:
        """Return the pause in force now, and remember it."""
        reads = self._database.reads(self.account)
        reads.hget("holder", "token")
        reads.hmget("pause", PAUSE_FIELDS)
        token, pause = reads.run()
        if token != self.holder.encode():
            raise self._lost()
        self._known_pause = KnownPause.read(pause)
        return self._known_pause.in_force(now)

    # --- commits

    def commit(self) -> AccountCommit:
        """Return the next step, to be filled by an erasure or an inspection."""
        return self._commit(self._database.now())

    def send(self, commit: AccountCommit) -> None:
        """Send a step that others have filled; nothing that was read before counts any more.

        Raises Overtaken when one of its own conditions does not hold, because a person came first.
        """
        try:
            self._send(commit)
        except Check:
            raise Overtaken from None
        self._forget()

    def read_meta(self) -> Meta:
        """Read the account's versions anew, so that the next step depends on nothing before."""
        self._read_again()
        return self._meta

    def leave(self) -> None:
        """Give the lease back without a look at what is due, as if nobody had had it."""
        commit = AccountCommit(self._database, self.account, self._keep, now=self._database.now())
        commit.check("holder", "token", self.holder)
        commit.run("DEL", "holder")
        if not commit.try_send():
            raise self._lost()

    def _repeat(self, act: Callable[[], Answer]) -> Answer:
        return repeat_while_overtaken(self.account, act)

    def _commit(self, now: int, *, counted: bool = True) -> AccountCommit:
        generation = self._meta.memories
        commit = AccountCommit(self._database, self.account, self._keep, now=now, generation=generation)
        commit.check("holder", "token", self.holder)
        if counted:
            commit.check("holder", "step", self._step)
            commit.run("HINCRBY", "holder", "step", 1)
            commit.raise_version("v", self._version)
        return commit

    def _send(self, commit: AccountCommit, change: ClaimedWorkChange | None = None) -> None:
        """Send a step; raise LeaseLost, or Overtaken when a person has changed what was read."""
        try:
            commit.send(f"{self._nonce}.{self._step}")
        except Check as failed:
            if failed.position == 0:
                self._forget()
                raise self._lost() from None
            if failed.position == 1 and failed.found != str(self._step + 1):
                self._forget()
                raise self._rolled_back() from None
            if failed.position == 2:
                self._read_again()
                raise Overtaken from None
            if failed.position > 2:
                self._forget()
                raise
        except BaseException:
            self._forget()  # what was read may have changed on the way
            self._is_unsure = True
            raise
        self._step += 1
        self._version += 1
        if change:
            self._claimed.apply(change)

    def _read_again(self) -> None:
        """Forget what was read, because a person or the sweep has changed some of it."""
        self._forget()
        self._meta = read_meta(self._database, self.account)
        self._version = self._meta.lease_version

    def _forget(self) -> None:
        self._jobs, self._memories, self._queue = {}, {}, Queue()
        self._opened = set()

    def _rolled_back(self) -> StoreRolledBack:
        self._is_unsure = True  # what is claimed is for the next holder, who reads what there is
        return StoreRolledBack(f"the store has lost writes of account {self.account} it had acknowledged")

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"the lease on account {self.account} is not ours any more")


def _has_intent(opened: OpenRelation | None, job: str) -> bool:
    """Return whether a job has a say in open work."""
    return opened is not None and any(intent.job == job for intent in opened.intents)


def _due_in(times: Sequence[int], pause: Pause | None, now: int, rest: int) -> int | None:
    """Return in how many µs work is next due; None if there is none, or the account is stopped."""
    if not times or (pause and not pause.until):
        return None
    return max(0, min(times) - now, pause.until - now if pause else 0, rest)
