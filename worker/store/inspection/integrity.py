"""The invariants of an account's stored data: what contradicts itself, and what is written to mend it. Pure.

A `Survey` is shown everything that was read, piece by piece, in the order of its methods. Jobs that were
accepted after it began are left out: their numbers are higher than `accepted` was.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from worker.contract import Relation
from worker.planner.fold import RESULTS
from worker.planner.relation_state import OpenRelation, Stage
from worker.ports.store import Retention
from worker.store import codec
from worker.store.inspection.flaws import (
    ENDED,
    Flaw,
    StoredNumbers,
    Tally,
    Write,
    count_writes,
    fingerprint_of,
    flaw,
    keep_writes,
    restore,
)
from worker.store.jobs import job_references
from worker.store.jobs.stored_job import FAILED, NO_EVENT, PARKED, QUEUED, STATES, LoadedJob
from worker.store.keys import bucket_of, short_id
from worker.store.memories import Memory

GuardOf = Callable[[Relation], str]


class Survey:
    """Everything of one account, held against its invariants."""

    def __init__(
        self, account: str, stored: StoredNumbers, keep: Retention, now: int, guard_of: GuardOf
    ) -> None:
        self.account, self.stored, self.keep, self.now, self.guard_of = account, stored, keep, now, guard_of
        self.tally = Tally(stored, self._ends_ms)
        self.waiting, self.dead = dict[str, None](), 0
        self.unresolved: dict[str, int] = {}  # jobs of which a record is looked up, by when (0: as listed)
        self.names: dict[str, int] = {}  # open relations, by when they are due
        self.stranded: list[LoadedJob] = []  # jobs that are not worked as they say
        self._open_of: dict[str, list[str]] = {}
        self._claimed = set(stored.claimed)
        self._claimed_names = set[str]()
        self._failures: dict[str, tuple[int, frozenset[str]]] = {}
        self._kept: dict[str, int] = {}
        self._kept_in: dict[int, set[str]] = {}
        self._guards: dict[str, str] = {}
        self._expired = set[str]()
        self._reopened: dict[str, OpenRelation] = {}

    # --- open relations

    def see_open(self, rows: Mapping[bytes, bytes]) -> None:
        """Note open relations."""
        for name, text in rows.items():
            opened, relation = codec.read_open(text), name.decode()
            self.names[relation] = opened.not_before or opened.since
            for intent in opened.intents:
                names = self._open_of.setdefault(short_id(intent.job), [])
                if relation not in names:
                    names.append(relation)
            if guard := self.guard_of(Relation.parse(relation)):
                self._guards[relation] = guard

    def check_due(self, due: Mapping[str, int]) -> Iterator[Flaw]:
        """Yield where the times that relations are due contradict what is open."""
        for name, at in self.names.items():
            if due.get(name) != at:
                message = "is due at another time than it says" if name in due else "is open and never due"
                yield flaw("due", name, message, ("ZADD", "due", at, name))
        for name in due.keys() - self.names.keys():
            yield flaw("due", name, "is due and not open", ("ZREM", "due", name))

    def check_guards(self, members: Collection[str]) -> Iterator[Flaw]:
        """Yield open relations of guarded records that the guard cannot find (R12)."""
        for name, guard in self._guards.items():
            entry = f"{guard}|f|{name}"
            if entry not in members and f"{guard}|h|{name}" not in members:
                yield flaw("guard", name, "is open and not guarded", ("ZADD", "guard", 0, entry))

    def check_closed_guards(
        self, members: Iterable[str], memories: Mapping[Relation, Memory]
    ) -> Iterator[Flaw]:
        """Yield guards of relations that are closed, with no write that may land.

        What finds a create in doubt (c) may outlive the memory of it, until the account is tidied.
        """
        for member in members:
            _, mark, name = member.rsplit("|", 2)
            memory = memories.get(Relation.parse(name))
            if mark != "c" and name not in self.names and not (memory and memory.doubt):
                yield flaw("guard", name, "is guarded and not open", ("ZREM", "guard", member))

    # --- jobs

    def check_jobs(self, jobs: Iterable[LoadedJob], with_key: Collection[str]) -> Iterator[Flaw]:
        """Yield what is wrong with jobs; `with_key` are those whose idempotency keys name them."""
        for job in jobs:
            if job.number > self.stored.accepted:
                self.tally.highest = max(self.tally.highest, job.number)
                continue
            if not job.is_kept and job.short in self._kept:  # moved there, and never back
                write = ("HDEL", f"jobs:{bucket_of(job.short)}", job.short)
                yield flaw("job", self._id(job.short), "is stored twice", write)
                continue
            self.tally.count(job, self._claimed)
            yield from self._check_job(job)
            if not job.is_gone(self.now) and job.short not in with_key:
                yield from self._check_event(job)

    def check_order(self, bucket: int, listed: Collection[str], stored: Collection[str]) -> Iterator[Flaw]:
        """Yield jobs that the list of their bucket has not; that of kept ones may have ended before them."""
        kept = self._kept_in.get(bucket, ()) if listed else ()
        for short in sorted({*stored, *kept} - set(listed)):
            key = f"order:{bucket}"
            yield flaw("index", key, f"does not list {short}", ("RPUSH", key, short))

    def _check_job(self, job: LoadedJob) -> Iterator[Flaw]:
        v = job.value
        if job.is_kept:
            self._note_kept(job)
        if job.is_unresolved and not (self._is_sound(job) and v.state in ENDED):
            self.unresolved[job.short] = v.parked[1] if v.parked else 0
            yield from self._check_unresolved(job)
            return
        if not self._is_sound(job):
            self.stranded.append(job)
            return
        if v.state == QUEUED:
            self._note_waiting(job)
            return
        if v.state == FAILED and not job.is_kept:
            yield flaw("job", self._id(job.short), "has failed and is not kept", *keep_writes(job))
            return
        if job.waits_for_decision and not job.is_gone(self.now):
            self._failures[self._id(job.short)] = (job.number, job.groups)

    def _note_waiting(self, job: LoadedJob) -> None:
        self.waiting[job.short] = None
        if job.short in self._claimed:
            self._claimed_names.update(map(str, job.relations()))

    def _note_kept(self, job: LoadedJob) -> None:
        self._kept[job.short] = job.number
        self._kept_in.setdefault(bucket_of(job.short), set()).add(job.short)
        if job.is_gone(self.now):
            self._expired.add(self._id(job.short))

    def _is_sound(self, job: LoadedJob) -> bool:
        """Return whether the state of a job, its counts and its open relations agree."""
        v, opened = job.value, self._open_of.get(job.short, [])
        if not job.is_open:
            return v.state in ENDED
        has_relations = v.state == QUEUED or job_references.waits(job) or v.left == len(opened)
        return v.state not in ENDED and v.total == v.left + sum(v.counts) and has_relations

    def _check_unresolved(self, job: LoadedJob) -> Iterator[Flaw]:
        """Yield the flaw of a job that waits for a look-up and says something else; none of it is open."""
        v, state, left, was_open = job.value, job.value.state, job.value.left, job.is_open
        is_sound = self._is_sound(job)
        v.state = PARKED if v.parked else QUEUED
        if v.state != state or not is_sound:
            job_references.count_left(v)
            v.finished_at, v.expires = 0, 0
            message = f"is {STATES[state]} with {left} relations to do, and waits to be looked up"
            writes = (*self._put(job, was_open), *count_writes(job, state, {}))
            yield flaw("job", self._id(job.short), message, *writes)

    def _check_event(self, job: LoadedJob) -> Iterator[Flaw]:
        value = job.value
        if value.event_id == NO_EVENT or not value.digest:
            return
        key = "events:kept" if value.state == FAILED else f"events:{self.stored.events}"
        if not (value.total or value.references or value.replaces):
            text = f"{job.short} unreadable"
        else:
            text = f"{job.short} {fingerprint_of(self.account, job)}"
        yield flaw("event", self._id(job.short), "has no idempotency key", ("HSET", key, value.digest, text))

    # --- the queue

    def check_claims(self) -> Iterator[Flaw]:
        """Yield claims of jobs that need none, and a number of claimed relations that is wrong."""
        stranded = {job.short for job in self.stranded}
        for short in self._claimed - self.waiting.keys() - stranded:
            writes = ("LREM", "claimed", 1, short)
            yield flaw("claimed", self._id(short), "is claimed, and has ended or is worked", writes)
        held = len(self._claimed_names - self.names.keys())
        if held != self.stored.held:
            message = f"counts {self.stored.held} claimed relations, of which there are {held}"
            yield flaw("counter", "held", message, ("HINCRBY", "meta", "held", held - self.stored.held))
        for short in self._claimed:
            self.waiting.pop(short, None)

    def see_queue(self, listed: Iterable[str], others: Mapping[str, LoadedJob]) -> None:
        """Note entries of the queue; `others` are jobs of it that nobody has shown."""
        for short in listed:
            job = others.get(short)
            if short in self.waiting:
                del self.waiting[short]
            elif not (job and job.is_queued and job.number > self.stored.accepted):
                self.dead += 1

    def check_queue(self) -> Iterator[Flaw]:
        """Yield jobs that stand nowhere, and a number of ended ones in the queue that is wrong."""
        for short in self.waiting:
            yield flaw("queue", self._id(short), "waits and is not in the queue", ("RPUSH", "queue", short))
        if self.dead != self.stored.dead:
            message = f"counts {self.stored.dead} entries that wait no more, of which there are {self.dead}"
            yield flaw("counter", "dead", message, ("HINCRBY", "meta", "dead", self.dead - self.stored.dead))

    def check_look_ups(
        self, listed: Collection[str], parked: Mapping[str, int], others: Mapping[str, LoadedJob]
    ) -> Iterator[Flaw]:
        """Yield jobs that wait for a look-up nowhere or at another time, and entries of others.

        `others` are jobs of these lists that nobody has shown.
        """
        for short, until in self.unresolved.items():
            if not until and short not in listed:
                message = "waits to be looked up and is not listed"
                yield flaw("look_up", self._id(short), message, ("RPUSH", "look_ups", short))
            elif until and parked.get(short) != until:
                message = "is parked and not looked up when it says"
                yield flaw("look_up", self._id(short), message, ("ZADD", "parked", until, short))
        known = self.unresolved | {short: -1 for short, job in others.items() if job_references.waits(job)}
        for short in dict.fromkeys(listed):
            if known.get(short, 1) > 0:
                writes = ("LREM", "look_ups", 0, short)
                yield flaw(
                    "look_up", self._id(short), "is to be looked up and does not wait for that", writes
                )
        for short in parked:
            if known.get(short, 0) == 0:
                message = "is to be looked up and is not parked"
                yield flaw("look_up", self._id(short), message, ("ZREM", "parked", short))

    def check_stranded(self, job: LoadedJob, memories: Mapping[Relation, Memory]) -> Iterator[Flaw]:
        """Yield the flaw of an open job that is not worked as it says; what has no outcome is opened again.

        Its outcomes are taken from what is remembered of its relations. A failed one counts only if the job
        names it: it may have been put back.
        """
        opened, results, todo = self._open_of.get(job.short, []), Counter[str](), list[Relation]()
        for relation in job.all_relations():
            if str(relation) in opened:
                continue
            result = memories[relation].result_of(job.short)
            if result is None or (result == "failed" and str(relation) not in job.value.failed):
                todo.append(relation)
            else:
                results[result] += 1
        v, was_open = job.value, job.is_open
        state, counts = v.state, dict(zip(RESULTS, v.counts, strict=True))
        if not opened and sum(v.counts) == v.total:  # every outcome is counted
            results, todo = Counter(counts), []
        message = f"is {STATES[state]} with {v.left} relations to do, of which {len(opened)} are open"
        restore(job, results, len(opened) + len(todo), now=self.now, keep=self.keep)
        writes = [write for relation in todo for write in self._reopen(job, relation, memories[relation])]
        deltas = {str(name): results[name] - counts[name] for name in RESULTS}
        writes += [*self._put(job, was_open), *count_writes(job, state, deltas)]
        yield flaw("job", self._id(job.short), message, *writes)

    def _reopen(self, job: LoadedJob, relation: Relation, memory: Memory) -> Iterator[Write]:
        """Yield the writes that let a relation be worked for a job, beside others that ask for it."""
        claimed, name = job.as_claimed(self.account, ()), str(relation)
        intent = claimed.intent(claimed.asks_of(relation))
        before = self._reopened.get(name) or memory.open or OpenRelation((), since=self.now)
        # What was sent of it is not known, so it is read back first (R14).
        stage = before.stage if before.stage.reads else Stage.READ_BACK
        intents = tuple(sorted((*before.intents, intent)))
        opened = msgspec.structs.replace(before, intents=intents, stage=stage)
        self._reopened[name] = opened
        yield "HSET", "open", name, codec.encode_open(opened)
        yield "ZADD", "due", opened.not_before or opened.since, name
        if guard := self.guard_of(relation):
            yield "ZADD", "guard", 0, f"{guard}|f|{name}"

    def _put(self, job: LoadedJob, was_open: bool) -> Iterator[Write]:
        """Yield the writes of a restored job."""
        bucket = bucket_of(job.short)
        if job.value.state == FAILED and not job.is_kept:
            yield from keep_writes(job)
        else:
            yield "HSET", "kept" if job.is_kept else f"jobs:{bucket}", job.short, job.encode()
        if job.is_open is not was_open and not job.is_kept:
            yield "OPEN", bucket, 1 if job.is_open else -1, self._ends_ms

    @property
    def _ends_ms(self) -> int:
        return round(1000 * self.keep.finished)

    # --- indexes

    def check_kept(self, keep: Mapping[str, int]) -> Iterator[Flaw]:
        """Yield where the list of kept jobs contradicts them."""
        for short, number in self._kept.items():
            if keep.get(short) != number:
                yield flaw("index", "keep", f"does not list {short}", ("ZADD", "keep", number, short))

    def check_failures(
        self, failed: Mapping[str, Mapping[str, int]], groups: Collection[str]
    ) -> Iterator[Flaw]:
        """Yield where the lists of failed jobs that wait contradict the jobs; `failed` by its key."""
        wanted: dict[str, dict[str, int]] = {"failed": {}}
        for id_, (number, in_groups) in self._failures.items():
            wanted["failed"][id_] = number
            for group in in_groups:
                wanted.setdefault(f"failed:{group}", {})[id_] = number
        for group in sorted(self.groups() - {*groups}):
            yield flaw("index", "failures", f"does not name {group}", ("SADD", "failures", group))
        for key in wanted.keys() | failed.keys():
            known, right = failed.get(key, {}), wanted.get(key, {})
            for id_, number in right.items():
                if known.get(id_) != number:
                    yield flaw("index", key, f"does not list {id_}", ("ZADD", key, number, id_))
            for id_ in known.keys() - right.keys() - self._expired:
                yield flaw("index", key, f"lists {id_}, which does not wait", ("ZREM", key, id_))

    def _id(self, short: str) -> str:
        return f"{self.account}-{short}"

    def named_buckets(self) -> set[int]:
        """Return the buckets of open jobs that something names."""
        return {*map(bucket_of, self._open_of), *map(bucket_of, self._claimed)}

    def groups(self) -> set[str]:
        """Return the groups of failed jobs that wait for a decision."""
        return {group for _, in_groups in self._failures.values() for group in in_groups}
