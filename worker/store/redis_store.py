"""The status store on Redis or Valkey: every method one script or one read, each account in one cluster slot.

The keys and their lifetimes are in `keys.py`, the transitions in `lua/`, the values' bytes in `wire.py`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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
from worker.redis.client import Call, Client, available, script
from worker.store import codec, keys
from worker.store.lease import RedisLease, Scripts
from worker.store.limits import EXAMINED, LEASE, PAYLOAD, PAYLOADS, SWEEP_DELAY, Retention

__all__ = ["Retention", "RedisStore"]

LONGEST: Final = round(SWEEP_DELAY * 1e6)  # µs
PATIENCE: Final = 3  # accounts whose node does not answer before a sweep ends: each may cost the time of a connection that fails
PARTS: Final[
    Mapping[str, tuple[str, ...]]
] = {  # of scripts that share more than the clock, the lease and the pause
    "take": ("inbox", "relation", "failures", "end", "job", "write"),
    "settle": ("relation", "failures", "end", "job", "write"),
    "replay": ("failures",),
    "reject": ("failures",),
    "stop": ("deed",),
    "resume": ("deed",),
    "accept": ("inbox",),
    "due": ("inbox",),
    "read": ("inbox",),
    "release": ("inbox",),
    "tidy": ("inbox",),
}


class RedisStore:
    """Implements `ports.Store`. Hand `now` (µs) in tests only; production lets Redis say what time it is."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        *,
        keep: Callable[[str], Retention] = lambda _: Retention(),
        now: Callable[[], int] | None = None,
    ) -> None:
        # redis-py types every answer for clients that decode and that wait; ours does neither, so answers are bytes.
        self._client: Any = client
        self._prefix, self._keep = prefix, keep
        self._now: Callable[[], str] = (lambda: str(now())) if now else (lambda: "")
        self._scripts = Scripts(
            **{
                name: script(client, "worker.store", name, "shared", *PARTS.get(name, ()))
                for name in Scripts._fields
            }
        )
        self._registered: set[str] = set()

    def accept(
        self, account: str, submissions: Sequence[Submission], *, max_backlog: int, oldest: float
    ) -> AcceptResult:
        """Write the submissions, all or none; the same again answers the same."""
        if not submissions:
            return AcceptResult(())
        self._register(account)
        call = self._accepting(account, submissions, max_backlog, oldest)
        with available():
            answer = self._scripts.accept(keys=call.keys, args=call.args)
        return _accepted(answer, account, submissions, max_backlog)

    def accept_rounds(
        self, account: str, rounds: Iterable[Sequence[Submission]], *, max_backlog: int, oldest: float
    ) -> Iterator[AcceptResult]:
        """The same for one round after the other; the next is on its way while Redis writes the one before."""
        self._register(account)
        sent = deque[Sequence[Submission]]()

        def calls() -> Iterator[Call]:
            for submissions in rounds:
                sent.append(submissions)
                yield self._accepting(account, submissions, max_backlog, oldest)

        with available():
            for answer in self._scripts.accept.each(calls()):
                yield _accepted(answer, account, sent.popleft(), max_backlog)

    def _accepting(
        self, account: str, submissions: Sequence[Submission], max_backlog: int, oldest: float
    ) -> Call:
        packed = codec.pack([codec.submission(entry) for entry in submissions])
        return Call(
            [keys.base(self._prefix, account)], [self._now(), max_backlog, round(oldest * 1e6), packed]
        )

    def reject(self, account: str, job: str, message: UnreadableMessage) -> Receipt:
        """Keep a message as a failed job that waits for a decision; one that comes again is the same job."""
        self._register(account)
        body, refusal = (
            message.body[:PAYLOAD],
            codec.encode((0, "unreadable", message.faults[0][: codec.SHOWN], "")),
        )
        said = (
            job,
            keys.unreadable(message.source, message.event_id),
            codec.lifetimes(self._keep(account)),
            PAYLOADS,
            refusal,
        )
        kept = body, codec.encode(message.faults), len(message.body)
        known = self._run(
            self._scripts.reject,
            account,
            self._now(),
            *said,
            *kept,
            "e",
            message.event_id,
            "u",
            message.source,
        )
        return Receipt(known.decode(), duplicate=known.decode() != job)

    def lease(self, account: str, holder: str) -> RedisLease | None:
        """The account's lease, None while another holder has it."""
        answer = self._run(self._scripts.lease, account, self._now(), holder, round(LEASE * 1000))
        if not answer[0]:
            return None
        stopped = (codec.pause(answer[2]) if len(answer) > 2 else None), answer[1].decode()
        lifetimes = codec.lifetimes(self._keep(account))
        return RedisLease(
            account, holder, stopped, keys.base(self._prefix, account), self._scripts, lifetimes, self._now
        )

    def due_accounts(self, accounts: Sequence[str], *, credentials: Mapping[str, str] = NOBODY) -> list[str]:
        """The accounts that a flush message should be sent for now; what a few cannot be asked is left to the next time."""
        found, away = list[str](), 0
        for account in accounts:
            try:
                woken = self._run(
                    self._scripts.due, account, self._now(), LONGEST, credentials.get(account, "")
                )
                found += [account] if woken else []
            except StoreUnavailable:
                away += 1
                if away == PATIENCE:
                    break
        return found

    def tidy(self, account: str, after: int = 0) -> int:
        """Let the account's indexes forget what is forgotten; where to go on."""
        return int(self._run(self._scripts.tidy, account, self._now(), after, EXAMINED))

    def accounts(self) -> list[str]:
        """Every account that ever had a change."""
        with available():
            return sorted(name.decode() for name in self._client.smembers(keys.accounts(self._prefix)))

    def get_job(self, job_id: str) -> JobRecord | None:
        """One job."""
        account = job_id.rpartition("-")[0]
        with available():
            row = self._client.hgetall(self._key(account, f"job:{job_id}"))
        return codec.job(account, job_id, row) if row else None

    def batch_counts(self, account: str, label: str) -> Mapping[str, int]:
        """Counts of a batch label."""
        return self._counts(account, f"batch:{label}")

    def counts(self, account: str) -> Mapping[str, int]:
        """The account's counters, with what is waiting now."""
        with available():
            listed, opened = (
                self._client.llen(self._key(account, "inbox")),
                self._client.hlen(self._key(account, "open")),
            )
            dead = self._client.get(self._key(account, "dead"))
        return {
            **self._counts(account, "counts"),
            "backlog": int(listed) - int(dead or 0),
            "open": int(opened),
        }

    def relation_history(
        self, account: str, relation: Relation
    ) -> tuple[RelationRecord, tuple[RelationEvent, ...]]:
        """What is kept of a relation, and the jobs that named it, oldest first."""
        with available():
            opened = self._client.hget(self._key(account, "open"), str(relation))
            row = self._client.hgetall(self._key(account, f"rel:{relation}"))
        record = codec.record(opened, row.get(b"k"))
        named = {
            name[1:].decode(): value.decode().partition(" ")
            for name, value in row.items()
            if name.startswith(b"#")
        }
        ended = [RelationEvent(job, result, detail) for job, (result, _, detail) in sorted(named.items())]
        waiting = [
            RelationEvent(intent.job, "", "") for intent in (record.open.intents if record.open else ())
        ]
        return record, tuple(ended + waiting)

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        """What was sent and answered."""
        with available():
            row = self._client.get(self._key(account, f"request:{request_id}"))
        return msgspec.json.decode(row, type=RequestRecord) if row else None

    def requeue(
        self, account: str, jobs: Sequence[str], *, mark: str = "", since: int = FOREVER
    ) -> tuple[list[str], bool]:
        """Put the failed relations of these jobs back into the inbox."""
        wake, *back = self._run(self._scripts.replay, account, self._now(), mark, since, *jobs)
        return [job.decode() for job in back], bool(wake)

    def failed_jobs(self, account: str, *, limit: int) -> list[str]:
        """Ids of failed jobs, oldest first."""
        return [member.decode() for member in self._run(self._scripts.failed, account, limit)]

    def get_pause(self, account: str) -> Pause | None:
        """Why the account is stopped, if it is."""
        return codec.pause(self._run(self._scripts.paused, account, self._now()))

    def pause(self, account: str, pause: Pause, *, audit_entry: AuditEntry | None = None) -> None:
        """Stop the account by hand."""
        told = pause.reason, pause.detail, pause.until, pause.fingerprint, codec.deed(audit_entry)
        self._run(self._scripts.stop, account, self._now(), *told)

    def resume(self, account: str, *, audit_entry: AuditEntry | None = None, since: int | None = None) -> bool:
        """Let it go on, if it is paused since then; whether it was."""
        return bool(
            self._run(
                self._scripts.resume, account, self._now(), codec.deed(audit_entry), "" if since is None else since
            )
        )

    def _counts(self, account: str, key: str) -> dict[str, int]:
        with available():
            return {
                name.decode(): int(value)
                for name, value in self._client.hgetall(self._key(account, key)).items()
                if value != b"0"
            }

    def _register(self, account: str) -> None:
        """Before the account's first change, or with a later one: in a cluster its node may be up and the registry's down."""
        if account not in self._registered:
            with suppress(StoreUnavailable), available():
                self._client.sadd(keys.accounts(self._prefix), account)
                self._registered.add(account)

    def _key(self, account: str, name: str) -> str:
        return f"{keys.base(self._prefix, account)}:{name}"

    def _run(self, script: Any, account: str, *args: str | bytes | int) -> Any:
        with available():
            return script(keys=[keys.base(self._prefix, account)], args=args)


def _accepted(answer: Any, account: str, submissions: Sequence[Submission], max_backlog: int) -> AcceptResult:
    """What accept.lua answered; raises BacklogFull."""
    if answer[0] == b"full":
        raise BacklogFull(
            f"account {account} has {max_backlog} changes waiting; try again when some are done",
            retry_after=30.0,
        )
    if answer[0] == b"refused":
        return AcceptResult(
            (), tuple(RefusedChange(at, reason.decode(), job.decode()) for at, reason, job in answer[1])
        )
    known = {at: Receipt(job.decode(), duplicate=True) for at, job in answer[2]}
    receipts = tuple(known.get(at) or Receipt(entry.job) for at, entry in enumerate(submissions))
    return AcceptResult(receipts, wake=bool(answer[1]))
