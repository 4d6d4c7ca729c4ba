"""The status store on Redis or Valkey: what intake, sweep and people read and do, each account in one slot.

The keys and their lifetimes are in `keys.py`, what happens to jobs and memories in theirs.
"""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import msgspec

from worker.contract import Relation
from worker.errors import BacklogFull, StoreUnavailable
from worker.ports import (
    ALL_FAILED,
    FOREVER,
    NOBODY,
    AcceptResult,
    AuditEntry,
    JobRecord,
    Pause,
    Receipt,
    RefusedChange,
    RelationEvent,
    RelationRecord,
    RequestRecord,
    Submission,
    UnreadableMessage,
)
from worker.redis.client import Client, translate_errors
from worker.redis.scripts import ScriptCall
from worker.store import codec, job_references, jobs, keys
from worker.store.account import (
    META_FIELDS,
    AccountCommit,
    Before,
    Meta,
    read_jobs,
    read_jobs_with_claims,
    read_memories,
)
from worker.store.acts import commit_of_people, send_act
from worker.store.clock_step import bring_forward
from worker.store.database import (
    Check,
    Database,
    Overtaken,
    check_layout,
    repeat_while_overtaken,
)
from worker.store.due import Wakeable, read_wakeable
from worker.store.jobs import LoadedJob, encode_submission
from worker.store.keys import LAYOUT, bucket_of, short_id
from worker.store.lease import RedisLease
from worker.store.leased_account import LeasedAccount
from worker.store.limits import (
    FIRST_WAKE_DELAY_US,
    LEASE_LIFETIME_MS,
    MAX_PAYLOAD_BYTES,
    MAX_PAYLOADS,
    UNBOUNDED,
    Retention,
)
from worker.store.migration import migrate
from worker.store.pauses import PAUSE_FIELDS, KnownPause, end_pause, read_pause, restart_pause, set_pause
from worker.store.tidy import tidy

__all__ = ["RedisStore", "Retention"]

MAX_SILENT_ACCOUNTS: Final = 3
"""Accounts that may be out of reach before a sweep ends: each may cost the time of a failing connection."""
ACCOUNTS_AT_ONCE: Final = 500
"""Accounts that one round trip of a sweep asks for."""

REGISTRATION_MEMORY: Final = 60.0
"""Seconds after which an account is registered again: a failover or an older backup may have lost it."""


class RedisStore:
    """Implements `ports.Store`. Pass `now` (µs) in tests only; production uses Redis's clock."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        *,
        keep: Callable[[str], Retention] = lambda _: Retention(),
        now: Callable[[], int] | None = None,
    ) -> None:
        self.database = Database(client, prefix, now)
        self.retention = keep
        self._registered_at: dict[str, float] = {}

    # --- intake

    def accept(
        self,
        account: str,
        submissions: Sequence[Submission],
        *,
        max_backlog: int,
        oldest: float,
        max_bytes: int = UNBOUNDED,
    ) -> AcceptResult:
        """Write the submissions, all or none; a repeated call answers the same."""
        if not submissions:
            return AcceptResult(())
        self._register(account)
        call = self._accept_call(account, submissions, max_backlog, oldest, max_bytes)
        answer = self._accept(account, call)
        return _read_accepted(answer, account, submissions, max_backlog, max_bytes)

    def accept_rounds(
        self,
        account: str,
        rounds: Iterable[Sequence[Submission]],
        *,
        max_backlog: int,
        oldest: float,
        max_bytes: int = UNBOUNDED,
    ) -> Iterator[AcceptResult]:
        """Accept one round after the other; the next is on its way while Redis writes the one before."""
        self._register(account)
        layout = self.database.read(account, "hget", "meta", "layout")
        self._ensure_layout(account, layout)  # now, or what is on its way would be accepted out of turn
        sent = deque[tuple[Sequence[Submission], ScriptCall]]()

        def list_calls() -> Iterator[ScriptCall]:
            for submissions in rounds:
                call = self._accept_call(account, submissions, max_backlog, oldest, max_bytes)
                sent.append((submissions, call))
                yield call

        with translate_errors():
            for answer in self.database.scripts["accept"].run_pipelined(list_calls()):
                submissions, call = sent.popleft()
                if answer[0] == b"layout":
                    answer = self._accept(account, call)
                yield _read_accepted(answer, account, submissions, max_backlog, max_bytes)

    def _accept(self, account: str, call: ScriptCall) -> Any:
        """Run the script, on a new account once more after it got its layout."""
        script = self.database.scripts["accept"]
        with translate_errors():
            answer = script(keys=call.keys, args=call.args)
            if answer[0] == b"layout":
                self._ensure_layout(account, answer[1] or None)
                answer = script(keys=call.keys, args=call.args)
        return answer

    def _ensure_layout(self, account: str, found: bytes | None) -> None:
        """Give an account its layout, or refuse that of a newer release."""
        if not check_layout(found, account):
            migrate(self.database, account, self.retention(account))

    def _accept_call(
        self,
        account: str,
        submissions: Sequence[Submission],
        max_backlog: int,
        oldest: float,
        max_bytes: int,
    ) -> ScriptCall:
        base = keys.base(self.database.prefix, account)
        rows: list[Any] = []
        buckets: dict[int, int] = {}
        labels: dict[str, int] = {}
        for entry in submissions:
            short, digest, value = encode_submission(entry)
            change = entry.change
            bucket = buckets.setdefault(bucket_of(short), len(buckets) + 1)
            label = labels.setdefault(change.batch, len(labels) + 1) if change.batch else 0
            fingerprint = "" if change.delivered else change.fingerprint
            occurred = 0 if change.occurred_at is None else max(1, change.occurred_at)
            if jobs.needs_look_up(change):
                bucket = -bucket
            rows += (short, digest, fingerprint, occurred, bucket, label, value)
        names = [f"{base}:{name}" for name in ACCEPT_KEYS]
        for number in buckets:
            names += (f"{base}:jobs:{number}", f"{base}:order:{number}")
        names += [f"{base}:batch:{label}" for label in labels]
        keep = self.retention(account)
        period = jobs.to_us(max(keep.finished, keep.remembered))
        head = (self.database.now_text(), max_backlog, jobs.to_us(oldest), period, LAYOUT, len(buckets))
        return ScriptCall(names, [*head, len(submissions), max_bytes, *buckets, *rows])

    def reject(self, account: str, job: str, message: UnreadableMessage) -> Receipt:
        """Keep a message as a failed job that waits for a decision; one that comes again is the same job."""
        self._register(account)
        known = repeat_while_overtaken(account, lambda: self._reject(account, short_id(job), message))
        return Receipt(f"{account}-{known}", duplicate=known != short_id(job))

    def _reject(self, account: str, short: str, message: UnreadableMessage) -> str:
        database, keep, now = self.database, self.retention(account), self.database.now()
        unreadable = keys.unreadable_delivery if message.delivered else keys.unreadable
        digest = unreadable(message.source, message.event_id)
        reads = database.reads(account)
        reads.hmget("meta", META_FIELDS)
        reads.hget("events:kept", digest)
        reads.hget("counts", "accepted")
        reads.zcard("payloads")
        meta_row, known, accepted, payloads = reads.run()
        meta = Meta.read(meta_row)
        if meta.layout != LAYOUT.encode():
            self._ensure_layout(account, meta.layout)
            raise Overtaken
        if known:
            name: str = known.partition(b" ")[0].decode()
            job = read_jobs(database, account, [name]).get(name)
            if job and not job.is_gone(now):
                return name
        commit = commit_of_people(database, account, keep, now=now, meta=meta, adds=True)
        commit.check("counts", "accepted", accepted or "")
        number = int(accepted or 0) + 1
        fault, source, event_id = message.faults[0], message.source, message.event_id
        job = jobs.unreadable_job(
            short, number, fault, source=source, event_id=event_id, digest=digest, now=now, keep=keep
        )
        commit.put_new_kept(job, f"{short} unreadable".encode())
        commit.totals.update(accepted=1, failed=1, unreadable=1)
        payload, lifetime = f"payload:{account}-{short}", round(1000 * keep.failed)
        body = message.body[:MAX_PAYLOAD_BYTES]
        faults = codec.encode(message.faults)
        known = ("size", message.size or len(message.body), "delivered", int(message.delivered))
        commit.run("HSET", payload, "body", body, "faults", faults, *known)
        commit.run("PEXPIRE", payload, lifetime)
        commit.run("ZADD", "payloads", number, f"{account}-{short}")
        commit.run("PEXPIRE", "payloads", lifetime)
        if payloads >= MAX_PAYLOADS:
            for old in database.read(account, "zrange", "payloads", 0, payloads - MAX_PAYLOADS):
                commit.run("ZREM", "payloads", old)
                commit.run("DEL", f"payload:{old.decode()}")
        send_act(commit)
        return short

    # --- work

    def lease(self, account: str, holder: str) -> RedisLease | None:
        """Return the account's lease, None while another holder has it."""
        return repeat_while_overtaken(account, lambda: self._lease(account, holder))

    def _lease(self, account: str, holder: str) -> RedisLease | None:
        now = self.database.now()
        reads = self.database.reads(account)
        reads.hmget("meta", META_FIELDS)
        reads.hget("holder", "token")
        reads.hmget("pause", PAUSE_FIELDS)
        reads.hmget("refused", ("fingerprint", "until"))
        reads.exists("inbox")
        reads.pttl("holder")
        meta_row, token, pause, (refused, until), is_old, lifetime = reads.run()
        meta = Meta.read(meta_row)
        if meta.layout != LAYOUT.encode():
            self._ensure_layout(account, meta.layout)
            raise Overtaken
        if is_old:  # a producer of an earlier release has accepted something
            migrate(self.database, account, self.retention(account))
        if token and token != holder.encode():
            self._shorten_lease(account, token, lifetime)
            return None
        if restart_pause(self.database, account, self.retention(account), KnownPause.read(pause), now):
            raise Overtaken
        commit = AccountCommit(self.database, account, self.retention(account), now=now)
        commit.check("holder", "token", token or b"")
        commit.check("meta", "layout", LAYOUT)
        commit.run("HSET", "holder", "token", holder, "step", 0)
        commit.run("PEXPIRE", "holder", LEASE_LIFETIME_MS)
        commit.run("DEL", "wake")
        try:
            commit.send()
        except Check as failed:
            if failed.found != holder:
                raise Overtaken from None
        return RedisLease(
            LeasedAccount(self.database, account, holder, meta=meta, keep=self.retention(account)),
            pause=KnownPause.read(pause),
            refused_credentials=refused.decode() if refused and now < int(until) else "",
            now=now,
        )

    def _shorten_lease(self, account: str, token: bytes, lifetime: int) -> None:
        """Give a lease its lifetime anew that has more left than it was ever given, or none at all.

        The clock stepped back, or a write was lost. Its holder, if there is one, renews it within.
        """
        if not token or 0 <= lifetime <= LEASE_LIFETIME_MS:
            return
        commit = self._commit(account)
        commit.check("holder", "token", token)
        commit.run("PEXPIRE", "holder", LEASE_LIFETIME_MS)
        commit.try_send()

    def _commit(self, account: str) -> AccountCommit:
        return AccountCommit(self.database, account, self.retention(account), now=self.database.now())

    def due_accounts(self, accounts: Sequence[str], *, credentials: Mapping[str, str] = NOBODY) -> list[str]:
        """Return the accounts to send a flush message for; what cannot be asked is left to the next sweep."""
        due, silent = list[str](), 0
        pieces = [accounts[at : at + ACCOUNTS_AT_ONCE] for at in range(0, len(accounts), ACCOUNTS_AT_ONCE)]
        while pieces:
            piece = pieces.pop(0)
            try:
                for account, found in read_wakeable(self.database, piece).items():
                    if self._wake_if_due(account, found, credentials.get(account, "")):
                        due.append(account)
            except StoreUnavailable:
                if len(piece) > 1:  # one node of a cluster may be away: account by account
                    pieces = [[account] for account in piece] + pieces
                    continue
                silent += 1
                if silent == MAX_SILENT_ACCOUNTS:
                    break
        return due

    def _wake_if_due(self, account: str, found: Wakeable, fingerprint: str) -> bool:
        now = self.database.now()
        self._shorten_lease(account, found.holder, found.lifetime)
        if restart_pause(self.database, account, self.retention(account), KnownPause(found.pause), now):
            return False
        delay = found.next_delay(now, fingerprint)
        if delay is None:
            return False
        if found.is_old:  # an older release has accepted it, or it was not migrated yet
            return True
        commit = AccountCommit(self.database, account, self.retention(account), now=now)
        commit.check("wake", "at", found.woken_at or "")
        commit.check("holder", "token", "")
        commit.run("HSET", "wake", "at", now, "delay", delay)
        return commit.try_send()  # or somebody else was first

    def bring_forward(self, account: str, by: int) -> int:
        """Let what is dated ahead be due by so many µs earlier, because the clock was set back."""
        return bring_forward(self.database, account, self.retention(account), by)

    def tidy(self, account: str, after: int = 0) -> int:
        """Drop what has expired from a part of the account's data; return the number to continue after."""
        return tidy(self.database, account, self.retention(account), after)

    # --- reading

    def accounts(self) -> list[str]:
        """Return every account that ever had a change."""
        with translate_errors():
            members = self.database.redis.smembers(keys.accounts(self.database.prefix))
        return sorted(member.decode() for member in members)

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return one job."""
        account, short = keys.account_of(job_id), short_id(job_id)
        job = read_jobs_with_claims(self.database, account, [short]).get(short)
        return job.as_record(account) if job and not job.is_gone(self.database.now()) else None

    def batch_counts(self, account: str, label: str) -> Mapping[str, int]:
        """Return the counts of a batch label."""
        return codec.counts(self.database.read(account, "hgetall", f"batch:{label}"))

    def counts(self, account: str) -> Mapping[str, int]:
        """Return the account's counters, with how much is waiting now."""
        reads = self.database.reads(account)
        reads.llen("queue")
        reads.llen("look_ups")
        reads.hlen("open")
        reads.hmget("meta", ("dead", "held"))
        reads.hgetall("counts")
        listed, unresolved, opened, (dead, held), counts = reads.run()
        waiting = {"backlog": listed + unresolved - int(dead or 0), "open": opened + int(held or 0)}
        return {**codec.counts(counts), **waiting}

    def relation_history(
        self, account: str, relation: Relation
    ) -> tuple[RelationRecord, tuple[RelationEvent, ...]]:
        """Return what is kept of a relation, and the jobs that named it, oldest first."""
        [(record, memory)] = read_memories(
            self.database, account, [relation], now=self.database.now()
        ).values()
        waiting = [
            RelationEvent(intent.job, "", "") for intent in (record.open.intents if record.open else ())
        ]
        return record, (*memory.history(account), *waiting)

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        """Return what was sent and answered."""
        row = self.database.read(account, "get", f"request:{request_id}")
        return msgspec.json.decode(row, type=RequestRecord) if row else None

    def failed_jobs(self, account: str, *, limit: int) -> list[str]:
        """Return the ids of failed jobs that wait for a decision, oldest first."""
        found, start, now = list[str](), 0, self.database.now()
        while len(found) < limit:
            names = self.database.read(account, "zrange", "failed", start, start + limit - len(found) - 1)
            if not names:
                break
            ids = [name.decode() for name in names]
            known = read_jobs(self.database, account, map(short_id, ids))
            found += [id_ for id_ in ids if (job := known.get(short_id(id_))) and not job.is_gone(now)]
            start += len(ids)
        return found

    # --- people

    def requeue(
        self,
        account: str,
        jobs: Sequence[str],
        *,
        mark: str = "",
        since: int = FOREVER,
        only: Mapping[str, Collection[str]] = ALL_FAILED,
    ) -> tuple[list[str], bool]:
        """Put the failed relations of these jobs, or only some of them, back into the inbox."""
        return repeat_while_overtaken(account, lambda: self._requeue(account, jobs, mark, since, only))

    def _requeue(
        self,
        account: str,
        wanted: Sequence[str],
        mark: str,
        since: int,
        only: Mapping[str, Collection[str]],
    ) -> tuple[list[str], bool]:
        now = self.database.now()
        reads = self.database.reads(account)
        reads.hmget("meta", META_FIELDS)
        reads.hmget("wake", ("at", "idle"))
        meta, (marked_at, is_idle) = reads.run()
        woken = marked_at and not is_idle
        found = read_jobs_with_claims(self.database, account, dict.fromkeys(map(short_id, wanted)))
        commit = commit_of_people(
            self.database, account, self.retention(account), now=now, meta=Meta.read(meta), adds=True
        )
        requeued, lists = list[str](), dict[str, list[str]]()
        for id_ in wanted:
            job = found.get(short_id(id_))
            if job is None or job.is_gone(now):
                continue
            before = bool(mark) and job.value.replay == mark
            can_be = jobs.failures_to_requeue(job, since, only.get(id_, ()))
            key = "" if before else _put_back(commit, job, can_be, mark, since)
            if key:
                lists.setdefault(key, []).append(job.short)
            waits = not mark and job.is_queued and bool(job.value.again)
            if key or can_be or before or waits:
                requeued.append(id_)
        if not lists:
            return requeued, False
        claimed = self.database.read(account, "lrange", "claimed", 0, -1)
        for short in set(lists.get("queue", ())).intersection(map(bytes.decode, claimed)):
            commit.run("LREM", "claimed", 0, short)  # it ended there; who finds it there folds it once more
        for key, shorts in lists.items():
            commit.run("RPUSH", key, *shorts)
            commit.run("HINCRBY", "meta", "bytes", sum(len(found[short].encode()) for short in shorts))
        if not woken:
            commit.run("DEL", "wake")
            commit.run("HSET", "wake", "at", now, "delay", FIRST_WAKE_DELAY_US)
        send_act(commit)
        return requeued, not woken

    def get_pause(self, account: str) -> Pause | None:
        """Return why the account is paused, if it is."""
        keep = self.retention(account)
        return repeat_while_overtaken(account, lambda: read_pause(self.database, account, keep))

    def pause(self, account: str, pause: Pause, *, audit_entry: AuditEntry | None = None) -> None:
        """Pause the account for an operator."""
        keep = self.retention(account)
        repeat_while_overtaken(account, lambda: set_pause(self.database, account, pause, keep, audit_entry))

    def resume(
        self, account: str, *, audit_entry: AuditEntry | None = None, since: int | None = None
    ) -> bool:
        """End the pause, if there is one (since then); return whether there was."""
        keep = self.retention(account)
        return repeat_while_overtaken(
            account, lambda: end_pause(self.database, account, keep, audit_entry, since)
        )

    def _register(self, account: str) -> None:
        """Register the account, or leave it to a later change: a cluster's node may be down."""
        now = monotonic()
        if now - self._registered_at.get(account, -math.inf) < REGISTRATION_MEMORY:
            return
        with suppress(StoreUnavailable), translate_errors():
            self.database.redis.sadd(keys.accounts(self.database.prefix), account)
            self._registered_at[account] = now


ACCEPT_KEYS: Final = (
    "meta",
    "queue",
    "counts",
    "wake",
    "events:0",
    "events:1",
    "events:kept",
    "buckets",
    "look_ups",
)


def _put_back(commit: AccountCommit, job: LoadedJob, failures: Collection[str], mark: str, since: int) -> str:
    """Put a failed job back with these failures, or to be looked up; return the list it joins, if any."""
    before, dismissed = Before.of(job), job.value.dismissed
    if failures:
        jobs.requeue(job, failures, mark, commit.totals, now=commit.now)
    elif job_references.has_failed_look_up(job) and not (dismissed and dismissed[0] > since):
        job_references.look_up_again(job, mark, commit.totals, now=commit.now)
    else:
        return ""
    commit.put(job, before)
    return "queue" if failures else "look_ups"


def _read_accepted(
    answer: Any, account: str, submissions: Sequence[Submission], max_backlog: int, max_bytes: int
) -> AcceptResult:
    """Read the answer of accept.lua; raises BacklogFull."""
    if answer[0] == b"full":
        in_bytes = answer[1] == b"bytes"
        most = f"max_backlog_bytes, {max_bytes}" if in_bytes else f"max_backlog, {max_backlog}"
        raise BacklogFull(
            f"the changes of account {account} that wait would be more than {most}; "
            "try again when some are done",
            retry_after=30.0,
        )
    if answer[0] == b"refused":
        refused = (
            RefusedChange(position, reason.decode(), f"{account}-{job.decode()}" if job else "")
            for position, reason, job in answer[1]
        )
        return AcceptResult((), tuple(refused))
    known = {position: Receipt(f"{account}-{job.decode()}", duplicate=True) for position, job in answer[2]}
    receipts = (known.get(position) or Receipt(entry.job) for position, entry in enumerate(submissions))
    return AcceptResult(tuple(receipts), wake=bool(answer[1]))
