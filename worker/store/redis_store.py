"""The status store on Redis or Valkey: each method is one script or one read, each account in one slot.

The keys and their lifetimes are in `keys.py`, the transitions in `lua/`, the values' bytes in `codec.py`.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import msgspec

from worker.contract import Relation
from worker.errors import BacklogFull, StoreUnavailable
from worker.ports import (
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
from worker.store import codec, keys
from worker.store.lease import RedisLease
from worker.store.limits import LEASE_LIFETIME_MS, MAX_EXAMINED, MAX_PAYLOAD_BYTES, Retention
from worker.store.scripts import StoreClient

__all__ = ["RedisStore", "Retention"]

MAX_SILENT_ACCOUNTS: Final = 3
"""Accounts that may be out of reach before a sweep ends: each may cost the time of a failing connection."""

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
        self._client = StoreClient(client, prefix, now)
        self._retention = keep
        self._registered_at: dict[str, float] = {}

    def accept(
        self, account: str, submissions: Sequence[Submission], *, max_backlog: int, oldest: float
    ) -> AcceptResult:
        """Write the submissions, all or none; a repeated call answers the same."""
        if not submissions:
            return AcceptResult(())
        self._register(account)
        call = self._accept_call(account, submissions, max_backlog, oldest)
        with translate_errors():
            answer = self._client.scripts["accept"](keys=call.keys, args=call.args)
        return _read_accepted(answer, account, submissions, max_backlog)

    def accept_rounds(
        self, account: str, rounds: Iterable[Sequence[Submission]], *, max_backlog: int, oldest: float
    ) -> Iterator[AcceptResult]:
        """Accept one round after the other; the next is on its way while Redis writes the one before."""
        self._register(account)
        sent = deque[Sequence[Submission]]()

        def list_calls() -> Iterator[ScriptCall]:
            for submissions in rounds:
                sent.append(submissions)
                yield self._accept_call(account, submissions, max_backlog, oldest)

        with translate_errors():
            for answer in self._client.scripts["accept"].run_pipelined(list_calls()):
                yield _read_accepted(answer, account, sent.popleft(), max_backlog)

    def _accept_call(
        self, account: str, submissions: Sequence[Submission], max_backlog: int, oldest: float
    ) -> ScriptCall:
        packed = codec.pack([codec.submission(entry) for entry in submissions])
        base = keys.base(self._client.prefix, account)
        return ScriptCall([base], [self._client.now(), max_backlog, round(oldest * 1e6), packed])

    def reject(self, account: str, job: str, message: UnreadableMessage) -> Receipt:
        """Keep a message as a failed job that waits for a decision; one that comes again is the same job."""
        self._register(account)
        known = self._client.run_now(
            "reject",
            account,
            job,
            keys.unreadable(message.source, message.event_id),
            codec.lifetimes(self._retention(account)),
            codec.unreadable_refusal(message.faults[0]),
            message.body[:MAX_PAYLOAD_BYTES],
            codec.encode(message.faults),
            len(message.body),
            *("e", message.event_id, "u", message.source),
        ).decode()
        return Receipt(known, duplicate=known != job)

    def lease(self, account: str, holder: str) -> RedisLease | None:
        """Return the account's lease, None while another holder has it."""
        answer = self._client.run_now("lease", account, holder, LEASE_LIFETIME_MS)
        if not answer[0]:
            return None
        pause = codec.pause(answer[2]) if len(answer) > 2 else None
        lifetimes = codec.lifetimes(self._retention(account))
        return RedisLease(account, holder, pause, answer[1].decode(), self._client, lifetimes)

    def due_accounts(self, accounts: Sequence[str], *, credentials: Mapping[str, str] = NOBODY) -> list[str]:
        """Return the accounts to send a flush message for; what cannot be asked is left to the next sweep."""
        due, silent = list[str](), 0
        for account in accounts:
            try:
                if self._client.run_now("due_accounts", account, credentials.get(account, "")):
                    due.append(account)
            except StoreUnavailable:
                silent += 1
                if silent == MAX_SILENT_ACCOUNTS:
                    break
        return due

    def tidy(self, account: str, after: int = 0) -> int:
        """Drop what has expired from a part of the account's indexes; return the number to continue after."""
        return int(self._client.run_now("tidy", account, after, MAX_EXAMINED))

    def accounts(self) -> list[str]:
        """Return every account that ever had a change."""
        with translate_errors():
            members = self._client.redis.smembers(keys.accounts(self._client.prefix))
        return sorted(member.decode() for member in members)

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return one job."""
        account = keys.account_of(job_id)
        with translate_errors():
            row = self._client.redis.hgetall(self._client.key(account, f"job:{job_id}"))
        return codec.job(job_id, row) if row else None

    def batch_counts(self, account: str, label: str) -> Mapping[str, int]:
        """Return the counts of a batch label."""
        return self._read_counts(account, f"batch:{label}")

    def counts(self, account: str) -> Mapping[str, int]:
        """Return the account's counters, with how much is waiting now."""
        with translate_errors():
            listed = self._client.redis.llen(self._client.key(account, "inbox"))
            opened = self._client.redis.hlen(self._client.key(account, "open"))
            dead = self._client.redis.get(self._client.key(account, "dead"))
        waiting = {"backlog": int(listed) - int(dead or 0), "open": int(opened)}
        return {**self._read_counts(account, "counts"), **waiting}

    def relation_history(
        self, account: str, relation: Relation
    ) -> tuple[RelationRecord, tuple[RelationEvent, ...]]:
        """Return what is kept of a relation, and the jobs that named it, oldest first."""
        with translate_errors():
            opened = self._client.redis.hget(self._client.key(account, "open"), str(relation))
            row = self._client.redis.hgetall(self._client.key(account, f"rel:{relation}"))
        record = codec.record(opened, row.get(b"k"))
        waiting = [
            RelationEvent(intent.job, "", "") for intent in (record.open.intents if record.open else ())
        ]
        return record, (*codec.history(row), *waiting)

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        """Return what was sent and answered."""
        with translate_errors():
            row = self._client.redis.get(self._client.key(account, f"request:{request_id}"))
        return msgspec.json.decode(row, type=RequestRecord) if row else None

    def requeue(
        self, account: str, jobs: Sequence[str], *, mark: str = "", since: int = FOREVER
    ) -> tuple[list[str], bool]:
        """Put the failed relations of these jobs back into the inbox."""
        wake, *requeued = self._client.run_now("requeue", account, mark, since, *jobs)
        return [job.decode() for job in requeued], bool(wake)

    def failed_jobs(self, account: str, *, limit: int) -> list[str]:
        """Return the ids of failed jobs that wait for a decision, oldest first."""
        return [job.decode() for job in self._client.run("failed_jobs", account, limit)]

    def get_pause(self, account: str) -> Pause | None:
        """Return why the account is paused, if it is."""
        return codec.pause(self._client.run_now("get_pause", account))

    def pause(self, account: str, pause: Pause, *, audit_entry: AuditEntry | None = None) -> None:
        """Pause the account for an operator."""
        self._client.run_now("pause", account, *codec.pause_args(pause), codec.audit_entry(audit_entry))

    def resume(
        self, account: str, *, audit_entry: AuditEntry | None = None, since: int | None = None
    ) -> bool:
        """End the pause, if there is one (since then); return whether there was."""
        entry = codec.audit_entry(audit_entry)
        return bool(self._client.run_now("resume", account, entry, "" if since is None else since))

    def _read_counts(self, account: str, name: str) -> dict[str, int]:
        with translate_errors():
            return codec.counts(self._client.redis.hgetall(self._client.key(account, name)))

    def _register(self, account: str) -> None:
        """Register the account, or leave it to a later change: a cluster's node may be down."""
        now = monotonic()
        if now - self._registered_at.get(account, -math.inf) < REGISTRATION_MEMORY:
            return
        with suppress(StoreUnavailable), translate_errors():
            self._client.redis.sadd(keys.accounts(self._client.prefix), account)
            self._registered_at[account] = now


def _read_accepted(
    answer: Any, account: str, submissions: Sequence[Submission], max_backlog: int
) -> AcceptResult:
    """Read the answer of accept.lua; raises BacklogFull."""
    if answer[0] == b"full":
        raise BacklogFull(
            f"account {account} has {max_backlog} changes waiting; try again when some are done",
            retry_after=30.0,
        )
    if answer[0] == b"refused":
        refused = (
            RefusedChange(position, reason.decode(), job.decode()) for position, reason, job in answer[1]
        )
        return AcceptResult((), tuple(refused))
    known = {position: Receipt(job.decode(), duplicate=True) for position, job in answer[2]}
    receipts = (known.get(position) or Receipt(entry.job) for position, entry in enumerate(submissions))
    return AcceptResult(tuple(receipts), wake=bool(answer[1]))
