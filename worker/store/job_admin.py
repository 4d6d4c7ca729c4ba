"""People's acts on jobs: read, decided, and committed while nobody else has come in between."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Final, NamedTuple, TypeVar

import msgspec

from worker.contract import Reference, Relation
from worker.errors import BacklogFull, StoreUnavailable, Unavailable
from worker.ports import (
    ALL_FAILED,
    CANCELLED,
    AdminResult,
    AuditEntry,
    AuditPage,
    ErasedPiece,
    Lease,
    Payload,
    RecordRef,
    Replay,
    ReplayEntry,
    ReplayState,
    UnsettledRequests,
)
from worker.redis.client import Client, is_refusal, translate_errors
from worker.store import codec, job_references, jobs
from worker.store.account import (
    META_FIELDS,
    AccountCommit,
    Before,
    Meta,
    commit_of_people,
    read_jobs_with_claims,
    read_memories,
    read_meta,
    send_act,
    trim_audit_log,
)
from worker.store.database import Database, repeat_while_overtaken
from worker.store.erasure import RecordEraser, erase_jobs
from worker.store.jobs import FAILED, LoadedJob
from worker.store.keys import account_of, short_id
from worker.store.lease import RedisLease
from worker.store.limits import (
    JOBS_PER_CALL,
    MAX_EXAMINED,
    MAX_REPLAYS,
    MAX_SETS_BYTES,
    RELATIONS_PER_CALL,
    REPLAY_LIFETIME,
    Retention,
)
from worker.store.look_ups import enter_list, enter_look_ups, leave_look_ups
from worker.store.record_text import RecordText

REPLAY_MS: Final = round(REPLAY_LIFETIME * 1000)

Answer = TypeVar("Answer")


class _Link(NamedTuple):
    """A failed job, the jobs that replace it or `only` these relations of it, and who or what did that."""

    job: str
    new: tuple[str, ...]
    by: str
    mark: str
    only: Collection[str]


class RedisJobAdmin:
    """Implements `ports.JobAdmin`. Pass `now` (µs) in tests only; production uses Redis's clock."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        *,
        keep: Callable[[str], Retention] = lambda _: Retention(),
        now: Callable[[], int] | None = None,
    ) -> None:
        self.database, self._retention = Database(client, prefix, now), keep

    # --- jobs

    def cancel(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """End changes that wait in the queue."""
        return self._act_in_pieces(account, jobs, lambda piece: self._cancel(account, piece, audit_entry))

    def dismiss(
        self,
        account: str,
        jobs: Sequence[str],
        audit_entry: AuditEntry,
        *,
        only: Mapping[str, Collection[str]] = ALL_FAILED,
    ) -> AdminResult:
        """Mark failed jobs, or just these relations of them, as decided, so that they wait no longer."""
        return self._act_in_pieces(
            account, jobs, lambda piece: self._dismiss(account, piece, audit_entry, only)
        )

    def resolve(
        self,
        account: str,
        jobs: Sequence[str],
        records: Mapping[Reference, int],
        audit_entry: AuditEntry,
    ) -> AdminResult:
        """Write which records references of jobs are that wait for them, or have failed for them."""
        return self._act_in_pieces(
            account, jobs, lambda piece: self._resolve(account, piece, records, audit_entry)
        )

    def look_up_now(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """Let parked jobs be looked up at once."""
        return self._act_in_pieces(
            account, jobs, lambda piece: self._look_up_now(account, piece, audit_entry)
        )

    def link_replacement(
        self, job: str, new: Sequence[str], *, by: str, mark: str = "", only: Collection[str] = ()
    ) -> None:
        """Link a failed job with those sent in its place, perhaps on another account, and dismiss it."""
        link = _Link(job, tuple(new), by, mark, only)
        for account in dict.fromkeys(account_of(job_id) for job_id in (*new, job)):
            self._repeat(account, partial(self._link, account, link))

    def _cancel(self, account: str, wanted: Sequence[str], entry: AuditEntry) -> tuple[int, AdminResult]:
        commit, found, known = self._begin_act(account, wanted, entry, over_queue=True)
        done, refused, fresh, ended = list[str](), dict[str, str](), list[tuple[LoadedJob, Before]](), 0
        looked_at = 0
        for id_ in wanted:
            job = found.get(short_id(id_))
            looked_at += 1
            if job and (job.is_queued or job_references.waits(job)):
                fresh.append((job, Before.of(job)))
                ended += job.value.left
            elif not job or not jobs.is_cancelled(job):
                refused[id_] = job.state if job else "gone"
                continue
            done.append(id_)
            if ended >= RELATIONS_PER_CALL:
                break
        self._end_in_queue(commit, fresh, CANCELLED)
        commit.audit(entry, len(fresh), known)
        if fresh or not known:
            send_act(commit)
        return looked_at, AdminResult(tuple(done), refused)

    def _end_in_queue(
        self, commit: AccountCommit, ended: Sequence[tuple[LoadedJob, Before]], by: str
    ) -> None:
        """End jobs in the queue; their entries stay there as dead ones until they come to its head."""
        relations = list(dict.fromkeys(relation for job, _ in ended for relation in job.relations()))
        memories = read_memories(self.database, commit.account, relations, now=commit.now, opens=False)
        dead = 0
        for job, before in ended:
            if is_unresolved := job_references.waits(job):
                leave_look_ups(commit, job)
            dead += not is_unresolved
            outcomes = jobs.end_in_queue(job, by, commit.totals, now=commit.now, keep=commit.keep)
            for outcome in outcomes:
                memories[outcome.relation][1].add(job.short, "superseded", by)
            commit.put(job, before)
        commit.put_memories(memory for _, memory in memories.values())
        if dead:
            commit.run("HINCRBY", "meta", "dead", dead)

    def _dismiss(
        self, account: str, wanted: Sequence[str], entry: AuditEntry, only: Mapping[str, Collection[str]]
    ) -> tuple[int, AdminResult]:
        commit, found, known = self._begin_act(account, wanted, entry)
        done, refused, fresh = list[str](), dict[str, str](), 0
        for id_ in wanted:
            job = found.get(short_id(id_))
            if not job or job.value.state != FAILED:
                refused[id_] = job.state if job else "gone"
                continue
            before = Before.of(job)
            if jobs.dismiss(job, only.get(id_, ()), commit.now, entry.by, entry.note):
                commit.put(job, before)
                fresh += 1
            done.append(id_)
        commit.audit(entry, fresh, known)
        if fresh or not known:
            send_act(commit)
        return len(wanted), AdminResult(tuple(done), refused)

    def _resolve(
        self, account: str, wanted: Sequence[str], records: Mapping[Reference, int], entry: AuditEntry
    ) -> tuple[int, AdminResult]:
        commit, found, known = self._begin_act(account, wanted, entry, over_queue=True)
        done, refused, fresh = list[str](), dict[str, str](), 0
        for id_ in wanted:
            job = found.get(short_id(id_))
            if job and not job_references.is_chosen(job, records):
                if reason := job_references.reason_not_to_choose(job, records):
                    refused[id_] = reason
                    continue
                self._choose(commit, job, records, entry.by)
                fresh += 1
            elif not job:
                refused[id_] = "gone"
                continue
            done.append(id_)
        commit.audit(entry, fresh, known)
        if fresh or not known:
            send_act(commit)
        return len(wanted), AdminResult(tuple(done), refused)

    def _choose(
        self, commit: AccountCommit, job: LoadedJob, records: Mapping[Reference, int], by: str
    ) -> None:
        before = Before.of(job)
        if job_references.waits(job):
            leave_look_ups(commit, job)
        job_references.choose(job, records, by, commit.totals, now=commit.now)
        commit.put(job, before)
        if job.is_unresolved:
            enter_look_ups(commit, job)
        else:
            enter_list(commit, "queue", [job])

    def _look_up_now(self, account: str, wanted: Sequence[str], entry: AuditEntry) -> tuple[int, AdminResult]:
        commit, found, known = self._begin_act(account, wanted, entry, over_queue=True)
        done, refused, fresh = list[str](), dict[str, str](), 0
        for id_ in wanted:
            job = found.get(short_id(id_))
            if not job or not job_references.waits(job):
                refused[id_] = job.state if job else "gone"
                continue
            before = Before.of(job)
            if job_references.look_up_now(job, now=commit.now):
                commit.put(job, before)
                enter_look_ups(commit, job)
                fresh += 1
            done.append(id_)
        commit.audit(entry, fresh, known)
        if fresh or not known:
            send_act(commit)
        return len(wanted), AdminResult(tuple(done), refused)

    def _link(self, account: str, link: "_Link") -> None:
        job_id = link.job
        ours = [id_ for id_ in link.new if account_of(id_) == account]
        original = [job_id] if account_of(job_id) == account else []
        commit, found, _ = self._begin_act(account, [*ours, *original], None, over_queue=True)
        is_any = False
        for id_ in ours:
            if (job := found.get(short_id(id_))) and job.value.replays != job_id:
                before = Before.of(job)
                job.value.replays = job_id
                commit.put(job, before)
                is_any = True
        job = found.get(short_id(job_id)) if original else None
        if job and job.value.state == FAILED:
            before, value = Before.of(job), job.value
            replaced_by = tuple(dict.fromkeys((*value.replayed_by, *link.new))) if link.only else link.new
            changed = (replaced_by, link.mark or value.replay)
            is_news = changed != (value.replayed_by, value.replay)
            value.replayed_by, value.replay = changed
            if jobs.replace(job, link.only, commit.now, link.by) or is_news:
                commit.put(job, before)
                is_any = True
        if is_any:
            send_act(commit)

    def _begin_act(
        self,
        account: str,
        wanted: Iterable[str],
        entry: AuditEntry | None,
        *,
        over_queue: bool = False,
    ) -> tuple[AccountCommit, dict[str, LoadedJob], bytes | None]:
        """Read jobs that are still kept, and the audit entry if it is written; return them with a commit."""
        now = self.database.now()
        reads = self.database.reads(account)
        reads.hmget("meta", META_FIELDS)
        reads.hget("deed", entry.name if entry else "")
        meta_row, known = reads.run()
        meta = Meta.read(meta_row)
        found = read_jobs_with_claims(self.database, account, dict.fromkeys(map(short_id, wanted)))
        keep = self._retention(account)
        commit = commit_of_people(self.database, account, keep, now=now, meta=meta, over_queue=over_queue)
        return commit, {short: job for short, job in found.items() if not job.is_gone(now)}, known

    def _act_in_pieces(
        self,
        account: str,
        wanted: Sequence[str],
        act: Callable[[Sequence[str]], tuple[int, AdminResult]],
    ) -> AdminResult:
        """Act on the jobs in pieces; the audit entry counts them all."""
        left, done, refused = list(dict.fromkeys(wanted)), list[str](), dict[str, str]()
        while left:
            piece = left[:JOBS_PER_CALL]
            looked_at, result = self._repeat(account, partial(act, piece))
            left = left[looked_at:]
            done += result.done
            refused |= result.refused
        return AdminResult(tuple(done), refused)

    # --- the audit log and payloads

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Add an entry to the audit log."""

        def act() -> None:
            commit, _, known = self._begin_act(account, (), audit_entry)
            if not known:
                commit.audit(audit_entry, audit_entry.count, None)
                send_act(commit)

        self._repeat(account, act)
        trim_audit_log(self.database, account)

    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> AuditPage:
        """Return a page of the audit log, newest first."""
        start = -1
        if cursor:
            start = self.database.read(account, "zrevrank", "deeds", cursor)
            if start is None:  # the cursor's entry is so old that it was dropped
                return AuditPage((), "")
        ids = self.database.read(account, "zrevrange", "deeds", start + 1, start + limit, withscores=True)
        if not ids:
            return AuditPage((), "")
        reads = self.database.reads(account)
        reads.hmget("deed", [id_ for id_, _ in ids])
        entries = (
            codec.read_audit_entry(id_.decode(), int(at), row)
            for (id_, at), row in zip(ids, reads.run()[0], strict=True)
            if row
        )
        return AuditPage(tuple(entries), ids[-1][0].decode() if len(ids) == limit else "")

    def get_payload(self, job: str) -> Payload | None:
        """Return what is kept of the unreadable message that the job stands for."""
        fields = ("body", "faults", "size", "delivered")
        row = self.database.read(account_of(job), "hmget", f"payload:{job}", fields)
        body, faults, size, delivered = row
        if body is None:
            return None
        known = None if delivered is None else delivered == b"1"
        return Payload(body, msgspec.json.decode(faults, type=tuple[str, ...]), int(size), known)

    # --- replays

    def save_replay(self, replay: Replay, entries: Sequence[ReplayEntry], audit_entry: AuditEntry) -> None:
        """Save a replay and its set; if a piece of the set is lost on the way, there is no replay."""
        texts = [codec.replay_entry(entry) for entry in entries]
        self._repeat(replay.account, lambda: self._make_room(replay, sum(map(len, texts))))
        for start in range(0, len(texts), MAX_EXAMINED):
            piece = texts[start : start + MAX_EXAMINED]
            self._repeat(replay.account, partial(self._save_piece, replay, start, piece))
        self._repeat(replay.account, lambda: self._save_replay(replay, audit_entry))

    def _make_room(self, replay: Replay, size: int) -> None:
        """Count the bytes of a set among those of a week; raise BacklogFull when they are too many."""
        commit = self._replay_commit(replay.account, adds=True)
        reads = self.database.reads(replay.account)
        reads.exists(f"replay:{replay.id}")
        reads.hmget("meta", ("sets", "sets_since"))
        exists, (known, since) = reads.run()
        is_new_week = commit.now - int(since or 0) > REPLAY_MS * 1000
        total = (0 if is_new_week else int(known or 0)) + size
        if exists:
            return
        if total > MAX_SETS_BYTES:
            end = f"{MAX_SETS_BYTES} bytes; run or narrow those that are there, or wait"
            raise BacklogFull(f"the sets of a week's replays would be more than {end}", retry_after=3600.0)
        commit.run("HSET", "meta", "sets", total, "sets_since", commit.now if is_new_week else since)
        send_act(commit)

    def _save_piece(self, replay: Replay, start: int, piece: Sequence[bytes]) -> None:
        commit, key = self._replay_commit(replay.account, adds=True), f"replay:{replay.id}"
        reads = self.database.reads(replay.account)
        reads.exists(key)
        reads.llen(f"{key}:jobs")
        exists, length = reads.run()
        if exists or length != start:
            return
        commit.run("RPUSH", f"{key}:jobs", *piece)
        commit.run("PEXPIRE", f"{key}:jobs", REPLAY_MS)
        send_act(commit)

    def _save_replay(self, replay: Replay, entry: AuditEntry) -> None:
        commit, key = self._replay_commit(replay.account, adds=True), f"replay:{replay.id}"
        reads = self.database.reads(replay.account)
        reads.exists(key)
        reads.zcard("replays")
        reads.hget("deed", entry.name)
        exists, count, known = reads.run()
        if exists:
            return
        about = ("about", codec.encode(replay), "state", "previewed", "made", commit.now, "at", 0, "back", 0)
        commit.run("HSET", key, *about)
        for name in (key, f"{key}:jobs"):
            commit.run("PEXPIRE", name, REPLAY_MS)
        commit.run("ZADD", "replays", commit.now, replay.id)
        if count >= MAX_REPLAYS:
            commit.run("ZREMRANGEBYRANK", "replays", 0, -MAX_REPLAYS - 1)
        commit.run("PEXPIRE", "replays", REPLAY_MS)
        if not known:
            commit.audit(entry, replay.eligible, None)
        send_act(commit)

    def get_replay(self, replay_id: str) -> Replay | None:
        """Return one replay, with its progress."""
        return codec.replay(self.database.read(account_of(replay_id), "hgetall", f"replay:{replay_id}"))

    def list_replays(self, account: str, *, limit: int = 50) -> list[Replay]:
        """Return the account's replays, newest first."""
        ids = [id_.decode() for id_ in self.database.read(account, "zrevrange", "replays", 0, limit - 1)]
        reads = self.database.reads(account)
        for id_ in ids:
            reads.hgetall(f"replay:{id_}")
        return [replay for row in reads.run() if (replay := codec.replay(row))]

    def replay_entries(self, replay_id: str, start: int, most: int) -> list[ReplayEntry]:
        """Return a piece of the replay's set."""
        if most <= 0:
            return []
        account, key = account_of(replay_id), f"replay:{replay_id}:jobs"
        rows = self.database.read(account, "lrange", key, start, start + most - 1)
        return [codec.read_replay_entry(row) for row in rows]

    def set_replay_state(
        self, replay_id: str, to: ReplayState, audit_entry: AuditEntry
    ) -> ReplayState | None:
        """Start, continue or stop a replay; return its state."""
        return self._repeat(account_of(replay_id), lambda: self._set_replay_state(replay_id, to, audit_entry))

    def _set_replay_state(self, replay_id: str, to: ReplayState, entry: AuditEntry) -> ReplayState | None:
        account, key = account_of(replay_id), f"replay:{replay_id}"
        commit = self._replay_commit(account)
        replay, known, lifetimes = self._read_replay(account, replay_id, entry)
        if replay is None or replay.state == "done":
            return replay.state if replay else None
        if to == "running":
            commit.run("ZADD", "running", commit.now, replay_id)
            commit.run("PEXPIRE", "running", max(1, *lifetimes))
        else:
            commit.run("ZREM", "running", replay_id)
        if replay.state != to:
            commit.run("HSET", key, "state", to)
            if to == "running" and not replay.run_at:
                commit.run("HSET", key, "run", commit.now)
            if not known:
                commit.audit(entry, replay.done, None)
        send_act(commit)
        return to

    def advance_replay(
        self,
        replay: Replay,
        start: int,
        end: int,
        *,
        back: int,
        missed: Mapping[str, int],
        audit_entry: AuditEntry,
    ) -> ReplayState | None:
        """Count a piece of the set as worked, once; return the replay's state."""

        def act() -> ReplayState | None:
            key, commit = f"replay:{replay.id}", self._replay_commit(replay.account)
            before, known, _ = self._read_replay(replay.account, replay.id, audit_entry)
            if before is None:
                return None
            is_last = end == replay.eligible
            if before.done != start or before.state == "done" or (start == end and not is_last):
                return before.state
            commit.run("HSET", key, "at", end)
            commit.count(key, {"back": back, **{f"missed:{reason}": by for reason, by in missed.items()}})
            if not is_last:
                if before.state == "running":
                    commit.run("ZADD", "running", "XX", commit.now, replay.id)
                send_act(commit)
                return before.state
            commit.run("ZREM", "running", replay.id)
            commit.run("HSET", key, "state", "done", "finished", commit.now)
            if not known:
                commit.audit(audit_entry, before.back + back, None)
            send_act(commit)
            return "done"

        return self._repeat(replay.account, act)

    def stalled_replays(self, account: str, seconds: float) -> list[str]:
        """Return the replays that should run and have not advanced for so long."""
        before = self.database.now() - round(seconds * 1e6)
        ids = [
            id_.decode() for id_ in self.database.read(account, "zrangebyscore", "running", "-inf", before)
        ]
        reads = self.database.reads(account)
        for id_ in ids:
            reads.exists(f"replay:{id_}")
        exists = dict(zip(ids, reads.run(), strict=True))
        if gone := [id_ for id_, there in exists.items() if not there]:
            commit = self._replay_commit(account)
            commit.run("ZREM", "running", *gone)
            self._repeat(account, lambda: send_act(commit))
        return [id_ for id_, there in exists.items() if there]

    def touch_replay(self, replay_id: str) -> None:
        """Note that the replay was given to a worker."""

        def act() -> None:
            commit = self._replay_commit(account_of(replay_id))
            commit.run("ZADD", "running", "XX", commit.now, replay_id)
            send_act(commit)

        self._repeat(account_of(replay_id), act)

    def _replay_commit(self, account: str, *, adds: bool = False) -> AccountCommit:
        """Return a commit that holds while no other person has done anything since now."""
        meta = read_meta(self.database, account)
        keep, now = self._retention(account), self.database.now()
        return commit_of_people(self.database, account, keep, now=now, meta=meta, adds=adds)

    def _read_replay(
        self, account: str, replay_id: str, entry: AuditEntry
    ) -> tuple[Replay | None, bytes | None, tuple[int, int]]:
        reads = self.database.reads(account)
        reads.hgetall(f"replay:{replay_id}")
        reads.hget("deed", entry.name)
        reads.pttl(f"replay:{replay_id}")
        reads.pttl("running")
        row, known, lifetime, running = reads.run()
        return codec.replay(row), known, (lifetime, running)

    # --- erasure

    def unsettled_requests(self, account: str) -> UnsettledRequests:
        """Return the requests that were begun and not settled, oldest first.

        Raises Unavailable for an account whose worker died with claimed changes: a flush goes on with them.
        """
        reads = self.database.reads(account)
        reads.hgetall("journal")
        reads.exists("claimed")
        journal, claimed_ids = reads.run()
        if claimed_ids:
            raise Unavailable(
                f"a worker died with claimed changes of account {account}; the next flush goes on with them: "
                "if it is paused, resume it, and try again",
                retry_after=5.0,
            )
        return UnsettledRequests(self.database.now(), codec.begun(journal))

    def open_relations_with(self, account: str, who: RecordRef) -> list[Relation]:
        """Return the open relations whose work names a record."""
        text, named = RecordText(who), list[Relation]()
        pages = self.database.scan_hash(account, "open")
        for name, work in chain.from_iterable(page.items() for page in pages):
            relation = Relation.parse(name.decode())
            if who.is_part_of(relation) or text.is_in_open(codec.read_open(work)):
                named.append(relation)
        return sorted(set(named))

    def erase_jobs(
        self, lease: Lease, who: RecordRef, after: int, *, waiting: Collection[str] = ()
    ) -> ErasedPiece:
        """Erase a record from the next jobs, but not from those that are waiting."""
        assert isinstance(lease, RedisLease)  # noqa: S101 another store's lease would be a mistake of ours
        leased = lease.leased
        replays = {} if after else RecordEraser(leased, who).erase_replays()
        piece = self._repeat(lease.account, lambda: erase_jobs(leased, who, after, waiting=waiting))
        return piece._replace(counts={**piece.counts, **replays})

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> ErasedPiece:
        """Erase a record from a part of everything else that is kept."""
        assert isinstance(lease, RedisLease)  # noqa: S101 another store's lease would be a mistake of ours
        lease.renew()  # raises if it was lost
        return RecordEraser(lease.leased, who).erase_next(cursor)

    def rewrite_append_only_file(self) -> str:
        """Let the server rewrite its append-only file, which holds what was erased until then."""
        redis = self.database.redis
        of_nodes = {"target_nodes": "primaries"} if hasattr(redis, "get_node_from_key") else {}
        try:
            with translate_errors():
                redis.bgrewriteaof(**of_nodes)
        except StoreUnavailable as error:
            if not is_refusal(error):
                raise
            if "in progress" in str(error):
                return "is being rewritten already; ask again when that is done, it may have begun before"
            return (
                f"was not rewritten, the server forbids it ({error}): what was erased stays there until "
                "the server rewrites it by itself (auto-aof-rewrite-percentage), or whoever runs it calls "
                "BGREWRITEAOF"
            )
        return "is being rewritten in the background; each replica rewrites its own"

    def _repeat(self, account: str, act: Callable[[], Answer]) -> Answer:
        return repeat_while_overtaken(account, act)
