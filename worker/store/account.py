"""What the store reads and writes of one account: jobs with their indexes and counters, and memories."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from worker.contract import Relation, account_of
from worker.ports.records import AuditEntry
from worker.ports.requests import RequestRecord
from worker.ports.store import Retention
from worker.redis.client import translate_unreadable
from worker.store import codec
from worker.store.database import Commit, Database
from worker.store.jobs.stored_job import (
    FAILED,
    QUEUED,
    SENDING,
    STATES,
    IndexedState,
    LoadedJob,
    StoredJob,
    count_step,
)
from worker.store.keys import bucket_of, short_id
from worker.store.limits import MAX_REQUESTS
from worker.store.memories import Memory, end_of, expiry_of


class AccountCommit(Commit):
    """A commit that writes jobs together with their indexes and counters."""

    def __init__(
        self,
        database: Database,
        account: str,
        keep: Retention,
        *,
        now: int,
        generation: int = 0,
        adds: bool = False,
    ) -> None:
        super().__init__(database, account, adds=adds)
        self.account, self.keep, self.now, self.generation = account, keep, now, generation
        self.totals, self._numbers = Counter[str](), Counter[str]()
        self._steps: dict[tuple[IndexedState, IndexedState, str, int | None], int] = defaultdict(int)
        self._failed_ms = round(1000 * keep.failed)
        self._finished_ms = round(1000 * keep.finished)

    def raise_version(self, name: str, known: int) -> None:
        """Raise a version (v: of the lease's holder, p: of people), while it is still what is known."""
        self.check("meta", name, known or "")
        self.run("HINCRBY", "meta", name, 1)

    def put(self, job: LoadedJob, before: IndexedState, event: bytes | None = None) -> None:
        """Write a job, and what changed of it in the indexes; `event` is the value of its idempotency key."""
        v, after = job.value, IndexedState.of(job)
        bucket = None if job.is_kept else bucket_of(job.short)
        self._steps[before, after, v.batch, bucket] += 1
        if (new := after.counts[3] - before.counts[3]) > 0:
            self._count_failures(v, new)
        if after.state == FAILED and before.is_open and bucket is not None:
            self._keep(job, bucket, event)
        self._set["kept" if job.is_kept else f"jobs:{bucket}"] += (job.short, job.encode())
        if after.groups != before.groups:
            self.index_failures(job, before.groups, after.groups)

    def put_new_kept(self, job: LoadedJob, event: bytes) -> None:
        """Write a job that has failed as it came."""
        self.hset("kept", job.short, job.encode())
        self.run("ZADD", "keep", job.number, job.short)
        self.hset("events:kept", job.value.digest, event)
        self.run("RPUSH", f"order:{bucket_of(job.short)}", job.short)
        self.count_open(bucket_of(job.short), 0, self._finished_ms)
        self.index_failures(job, frozenset(), job.groups)

    def index_failures(self, job: LoadedJob, before: frozenset[str], now: frozenset[str]) -> None:
        """Let the job wait for decisions in these groups, and no longer in others."""
        for key in _failure_keys(before - now, is_last=not now):
            self.run("ZREM", key, f"{self.account}-{job.short}")
        if not (new := now - before):
            return
        self.run("SADD", "failures", *sorted(new))
        self.run("KEEP", "failures", self._failed_ms)
        for key in _failure_keys(new, is_last=True):
            self.run("ZADD", key, job.number, f"{self.account}-{job.short}")
            self.run("KEEP", key, self._failed_ms)

    def drop_kept(self, job: LoadedJob, event: bytes | None) -> None:
        """Forget a job that is kept; `event` is the value of its idempotency key, perhaps a later job's."""
        self.hdel("kept", job.short)
        self.run("ZREM", "keep", job.short)
        if event and event.partition(b" ")[0] == job.short.encode():
            self.check("events:kept", job.value.digest, event)
            self.hdel("events:kept", job.value.digest)
        self.index_failures(job, job.groups, frozenset())

    def put_memories(self, memories: Iterable[Memory]) -> None:
        """Write the memories of relations."""
        expires, written = end_of(self.now, self.keep), self._set[f"memories:{self.generation}"]
        for memory in memories:
            written += (memory.name, memory.encode(expires))

    def put_requests(self, records: Collection[RequestRecord]) -> None:
        """List what was sent, and count it; what an observing account would send is no request yet."""
        if not records:
            return
        for record in records:
            self.run("SET", f"request:{record.id}", codec.encode(record), "PX", self._finished_ms)
            if not record.observed:
                self.totals.update(requests=1, actions=len(record.answers))
        self.run("LPUSH", "requests", *(record.id for record in records))
        self.run("LTRIM", "requests", 0, MAX_REQUESTS - 1)

    def audit(self, entry: AuditEntry | None, count: int, known: bytes | None) -> None:
        """Add an entry to the audit log, or just its count to one that is there; the words there stay."""
        if entry is None or (known and not count):
            return
        kept = codec.kept_audit_entry(entry, known)
        total = kept.count + count if known else count
        self.hset("deed", entry.name, codec.audit_row(kept, total))
        self.count("numbers", {f"deed:{entry.act}": count})
        if not known:
            self.run("ZADD", "deeds", self.now, entry.name)

    def send(self, commit_id: str = "") -> None:
        """Write everything; raise Check when a condition does not hold."""
        labels = self._count_steps()
        for name, by in self.totals.items():
            if name.startswith("relations_") and by > 0:  # as they come, whatever becomes of the job
                self._numbers[f"outcomes:{name.removeprefix('relations_')}"] = by
        self.count("counts", self.totals)
        self.count("numbers", self._numbers)
        for label, counts in labels.items():
            self.count(f"batch:{label}", counts)
            if counts["failed"] < 0:
                self.run("PERSIST", f"batch:{label}")
            else:
                self.run("KEEP", f"batch:{label}", round(1000 * self.keep.memory))
        super().send(commit_id)

    def _count_steps(self) -> dict[str, Counter[str]]:
        """Count what the jobs did, as often as several did the same; return the counts of their labels."""
        labels: dict[str, Counter[str]] = defaultdict(Counter)
        for (before, after, label, bucket), times in self._steps.items():
            count_step(before, after, times, self.totals)
            if before.is_open is after.is_open:
                continue
            if before.is_open and bucket is not None:
                self.count_open(bucket, -times, self._finished_ms)
            if label:
                ended, by = (after, times) if before.is_open else (before, -times)
                labels[label][STATES[ended.state]] += by
        return labels

    def _count_failures(self, v: StoredJob, new: int) -> None:
        """Count the errors of so many failures, the last ones of a job."""
        for place in v.refused[len(v.refused) - new :]:
            self._numbers[f"failures:{v.refusals[place][1]}"] += 1

    def _keep(self, job: LoadedJob, bucket: int, event: bytes | None) -> None:
        """Move a job from its bucket to those that failed once."""
        job.is_kept = True
        self.hdel(f"jobs:{bucket}", job.short)
        self.run("ZADD", "keep", job.number, job.short)
        if event:
            self.hset("events:kept", job.value.digest, event)


def _failure_keys(groups: frozenset[str], *, is_last: bool) -> list[str]:
    """Return the indexes of these groups, and with the last of a job's groups that of all failures."""
    return [*(["failed"] if groups and is_last else []), *(f"failed:{group}" for group in sorted(groups))]


# --- reading


def read_alive(database: Database, account: str, buckets: Iterable[int]) -> set[int]:
    """Return which of these buckets of jobs have not expired."""
    names, reads = list(buckets), database.reads(account)
    for bucket in names:
        reads.exists(f"order:{bucket}")
    return {bucket for bucket, exists in zip(names, reads.run(), strict=True) if exists}


def read_jobs(database: Database, account: str, shorts: Iterable[str]) -> dict[str, LoadedJob]:
    """Return these jobs, also such whose lifetime is over, without those that are not stored."""
    found: dict[str, LoadedJob] = {}
    reads, buckets = database.reads(account), _by_bucket(shorts)
    for bucket, names in buckets.items():
        reads.hmget(f"jobs:{bucket}", names)
    missing: list[str] = []
    for names, texts in zip(buckets.values(), reads.run(), strict=True):
        for short, text in zip(names, texts, strict=True):
            if text is None:
                missing.append(short)
            else:
                found[short] = LoadedJob.read(short, text, is_kept=False)
    # After the buckets: a job moves from its bucket to the kept ones, never back.
    return found | _read_kept(database, account, missing)


def read_kept_jobs(database: Database, account: str, shorts: Iterable[str]) -> dict[str, LoadedJob]:
    """Return these jobs as `read_jobs` does; sooner if they are those that failed once."""
    names = list(shorts)
    kept = _read_kept(database, account, names)
    return kept | read_jobs(database, account, [short for short in names if short not in kept])


def _read_kept(database: Database, account: str, shorts: Sequence[str]) -> dict[str, LoadedJob]:
    texts = database.read(account, "hmget", "kept", shorts) if shorts else ()
    return {
        short: LoadedJob.read(short, text, is_kept=True)
        for short, text in zip(shorts, texts, strict=True)
        if text is not None
    }


def read_jobs_at(
    database: Database, account: str, index: str, places: Sequence[int]
) -> list[LoadedJob | None]:
    """Return the jobs at these places of an index by acceptance, None for one that is gone."""
    reads = database.reads(account)
    for place in places:
        getattr(reads, "lrange" if index.startswith("order:") else "zrange")(index, place, place)
    names = [short_id(row[0].decode()) if row else "" for row in reads.run()]
    read = read_jobs if index.startswith("order:") else read_kept_jobs
    known = read(database, account, filter(None, names))
    return [known.get(name) for name in names]


def read_jobs_with_claims(database: Database, account: str, shorts: Iterable[str]) -> dict[str, LoadedJob]:
    """Return these jobs, marked if a flush has claimed them, and if a request with them is under way."""
    return mark_claims(database, account, read_jobs(database, account, shorts))


def mark_claims(database: Database, account: str, found: dict[str, LoadedJob]) -> dict[str, LoadedJob]:
    """Return the jobs, marked if a flush has claimed them, and if a request with them is under way."""
    if unsure := [job for job in found.values() if job.value.state in (QUEUED, SENDING)]:
        reads = database.reads(account)
        reads.lrange("claimed", 0, -1)
        reads.hgetall("journal")
        claimed_ids, journal = reads.run()
        with translate_unreadable(account):
            ids, sent = set(claimed_ids), relations_sent(journal)
        for job in unsure:
            job.is_claimed = job.short.encode() in ids
            job.is_sent = bool(sent) and not sent.isdisjoint(job.all_relations())
    return found


def relations_sent(journal: Mapping[bytes, bytes]) -> frozenset[Relation]:
    """Return the relations of the requests that were begun and not settled."""
    requests = (entry.request for entry in codec.begun(journal))
    return frozenset(relation for request in requests for relation in request.relations())


def read_memories(
    database: Database, account: str, relations: Sequence[Relation], *, now: int, opens: bool = True
) -> dict[Relation, Memory]:
    """Return what is remembered of these relations, with what is open of them."""
    if not relations:
        return {}
    names = list(map(str, relations))
    reads = database.reads(account)
    reads.hmget("memories:0", names)
    reads.hmget("memories:1", names)
    if opens:
        reads.hmget("open", names)
    older, newer, *opened = reads.run()
    found = {}
    works = opened[0] if opens else [None] * len(names)
    for relation, name, one, other, work in zip(relations, names, older, newer, works, strict=True):
        text = max(one, other, key=expiry_of) if one and other else one or other
        found[relation] = memory = Memory.read(name, text, account, now)
        if work:
            memory.open = codec.read_open(work)
    return found


def read_events(database: Database, account: str, digests: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the values of idempotency keys."""
    if not digests:
        return {}
    reads = database.reads(account)
    for generation in ("0", "1"):
        reads.hmget(f"events:{generation}", digests)
    found: dict[bytes, bytes] = {}
    for row in reads.run():
        found |= {digest: value for digest, value in zip(digests, row, strict=True) if value}
    return found


def find_by_keys(database: Database, account: str, digests: Sequence[bytes]) -> dict[bytes, list[str]]:
    """Return the ids of the jobs that have these idempotency keys, by key, without those that no job has."""
    if not digests:
        return {}
    reads = database.reads(account)
    for key in ("events:0", "events:1", "events:kept"):
        reads.hmget(key, digests)
    found: dict[bytes, list[str]] = {}
    for row in reads.run():
        for digest, value in zip(digests, row, strict=True):
            if value:
                found.setdefault(digest, []).append(value.partition(b" ")[0].decode())
    return found


def group_by_account(jobs: Iterable[str]) -> dict[str, list[str]]:
    """Return ids without their accounts, by account."""
    groups: dict[str, list[str]] = {}
    for job in jobs:
        groups.setdefault(account_of(job), []).append(short_id(job))
    return groups


def _by_bucket(shorts: Iterable[str]) -> dict[int, list[str]]:
    """Return ids by the bucket that has them."""
    buckets: dict[int, list[str]] = defaultdict(list)
    for short in shorts:
        buckets[bucket_of(short)].append(short)
    return buckets


# --- the entries by which the relations of a guarded record (R12) are found


def guarded_relation(member: str) -> Relation:
    """Return the relation that an entry is of."""
    return Relation.parse(member.rpartition("|")[2])


def closed_guards(database: Database, account: str, members: Collection[bytes], *, now: int) -> list[bytes]:
    """Return which of these entries are of relations that are closed, and have no write in doubt."""
    by_member = {member: guarded_relation(member.decode()) for member in members}
    found = read_memories(database, account, list(dict.fromkeys(by_member.values())), now=now)
    return [
        member
        for member, relation in by_member.items()
        if not (memory := found[relation]).open and not (memory.doubt and memory.doubt.until > now)
    ]
