"""Writes what intake accepts, and keeps what it could not read."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final

import msgspec

from worker.contract import Change, Reference
from worker.contract.instant import to_us
from worker.errors import BacklogFull
from worker.ports.store import (
    AcceptResult,
    IntakeBounds,
    Receipt,
    RefusedChange,
    Retention,
    Submission,
    UnreadableMessage,
)
from worker.redis.client import translate_errors
from worker.redis.scripts import ScriptCall
from worker.store import codec, keys
from worker.store.account import AccountCommit, find_by_keys, read_jobs
from worker.store.acts import Acts, commit_of_people, send_act
from worker.store.database import Database, Overtaken, Registry, repeat_while_overtaken
from worker.store.jobs.stored_job import (
    ACTIONS,
    FAILED,
    TO_BE_READ_FIRST,
    LoadedJob,
    StoredJob,
    StoredReference,
)
from worker.store.keys import LAYOUT, bucket_of, delivery, event, short_id
from worker.store.limits import MAX_CONTENTS, MAX_FAULT_LENGTH, MAX_PAYLOAD_BYTES, MAX_PAYLOADS
from worker.store.meta import META_FIELDS, Meta
from worker.store.migration import ensure_layout

REGISTRATION_MEMORY: Final = 60.0
"""Seconds after which an account is registered again: a failover or an older backup may have lost it."""
ANY_CONTENT: Final = "unreadable"
"""What earlier releases and repair note in place of the content of a message that could not be read."""
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


class RedisIntake(Acts):
    """What `ports.Store` does for intake."""

    @cached_property
    def registry(self) -> Registry:
        """The names of all accounts."""
        return Registry(self.database, "accounts", seconds=REGISTRATION_MEMORY)

    def accept(self, account: str, submissions: Sequence[Submission], bounds: IntakeBounds) -> AcceptResult:
        """Write the submissions, all or none; a repeated call answers the same."""
        if not submissions:
            return AcceptResult(())
        self.registry.add(account)
        call = self._accept_call(account, submissions, bounds)
        answer = self._accept(account, call)
        return _read_accepted(answer, account, submissions, bounds)

    def accept_rounds(
        self, account: str, rounds: Iterable[Sequence[Submission]], bounds: IntakeBounds
    ) -> Iterator[AcceptResult]:
        """Accept one round after the other; the next is on its way while Redis writes the one before."""
        self.registry.add(account)
        layout = self.database.read(account, "hget", "meta", "layout")
        # Now, or what is on its way would be accepted out of turn.
        ensure_layout(self.database, account, self.retention(account), layout)
        sent = deque[tuple[Sequence[Submission], ScriptCall]]()

        def list_calls() -> Iterator[ScriptCall]:
            for submissions in rounds:
                call = self._accept_call(account, submissions, bounds)
                sent.append((submissions, call))
                yield call

        with translate_errors():
            for answer in self.database.scripts["accept"].run_pipelined(list_calls()):
                submissions, call = sent.popleft()
                if answer[0] == b"layout":
                    answer = self._accept(account, call)
                yield _read_accepted(answer, account, submissions, bounds)

    def _accept(self, account: str, call: ScriptCall) -> Any:
        """Run the script, on a new account once more after it got its layout."""
        script = self.database.scripts["accept"]
        with translate_errors():
            answer = script(keys=call.keys, args=call.args)
            if answer[0] == b"layout":
                ensure_layout(self.database, account, self.retention(account), answer[1] or None)
                answer = script(keys=call.keys, args=call.args)
        return answer

    def _accept_call(
        self, account: str, submissions: Sequence[Submission], bounds: IntakeBounds
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
            if needs_look_up(entry):
                bucket = -bucket
            rows += (short, digest, fingerprint, occurred, bucket, label, value)
        names = [f"{base}:{name}" for name in ACCEPT_KEYS]
        for number in buckets:
            names += (f"{base}:jobs:{number}", f"{base}:order:{number}")
        names += [f"{base}:batch:{label}" for label in labels]
        names += (f"{base}:holder", f"{base}:{keys.NEVER}")
        keep = self.retention(account)
        period = to_us(max(keep.finished, keep.remembered))
        oldest = to_us(bounds.oldest)
        head = (self.database.now_text(), bounds.backlog, oldest, period, LAYOUT, len(buckets))
        return ScriptCall(names, [*head, len(submissions), bounds.backlog_bytes, *buckets, *rows])

    def find_accepted(self, account: str, changes: Iterable[Change]) -> list[str]:
        """Return the jobs that have the event ids of these changes."""
        digests = [_digest_of(change, change.event_id) for change in changes if change.event_id]
        found = find_by_keys(self.database, account, digests)
        return [f"{account}-{shorts[-1]}" for shorts in found.values()]

    def reject(self, account: str, job: str, message: UnreadableMessage) -> Receipt:
        """Keep a message as a failed job that waits for a decision; one that comes again is the same job."""
        self.registry.add(account)
        known = repeat_while_overtaken(account, lambda: self._reject(account, short_id(job), message))
        return Receipt(f"{account}-{known}", duplicate=known != short_id(job))

    def _reject(self, account: str, short: str, message: UnreadableMessage) -> str:
        database, keep, now = self.database, self.retention(account), self.database.now()
        digests = _digests_of(message)
        content = _content_of(message.body, message.size or len(message.body))
        reads = database.reads(account)
        reads.hmget("meta", META_FIELDS)
        reads.hmget("events:kept", digests)
        reads.hget("counts", "accepted")
        reads.zcard("payloads")
        meta_row, known, accepted, payloads = reads.run()
        meta = Meta.read(meta_row)
        if meta.layout != LAYOUT.encode():
            ensure_layout(self.database, account, self.retention(account), meta.layout)
            raise Overtaken
        kept = _read_kept_contents(database, account, dict(zip(digests, known, strict=True)), now)
        same = [name for name, text in kept.values() if message.delivered or text in (content, ANY_CONTENT)]
        if same or len(kept) == len(digests):
            return same[0] if same else kept[digests[-1]][0]
        digest = next(each for each in digests if each not in kept)
        commit = commit_of_people(database, account, keep, now=now, meta=meta, adds=True)
        commit.check("counts", "accepted", accepted or "")
        number = int(accepted or 0) + 1
        fault, source, event_id = message.faults[0], message.source, message.event_id
        job = unreadable_job(
            short, number, fault, source=source, event_id=event_id, digest=digest, now=now, keep=keep
        )
        commit.put_new_kept(job, f"{short} {content}".encode())
        commit.totals.update(accepted=1, failed=1, unreadable=1)
        _keep_payload(commit, f"{account}-{short}", number, message, lifetime=round(1000 * keep.failed))
        if payloads >= MAX_PAYLOADS:
            for old in database.read(account, "zrange", "payloads", 0, payloads - MAX_PAYLOADS):
                commit.run("ZREM", "payloads", old)
                commit.run("DEL", f"payload:{old.decode()}")
        send_act(commit)
        return short


def _digests_of(message: UnreadableMessage) -> list[bytes]:
    """Return where it may stand: a webhook's has one key whatever is in it, others one for each content."""
    if message.delivered:
        return [keys.unreadable_delivery(message.source, message.event_id)]
    return [keys.unreadable(message.source, message.event_id, place) for place in range(MAX_CONTENTS)]


def _content_of(body: bytes, size: int) -> str:
    """Return characters that are equal for equal bytes, of which there may be more than the body has."""
    return blake2b(b"%d %s" % (size, body), digest_size=9).hexdigest()


def _read_kept_contents(
    database: Database, account: str, known: Mapping[bytes, bytes | None], now: int
) -> dict[bytes, tuple[str, str]]:
    """Return the jobs that stand for unreadable messages, and what each knows of its content, by digest."""
    entries = {digest: text.decode().partition(" ") for digest, text in known.items() if text}
    jobs = read_jobs(database, account, {name for name, _, _ in entries.values()})
    alive = {name for name, job in jobs.items() if not job.is_gone(now)}
    return {
        digest: (name, _read_content(database, account, name) if text == ANY_CONTENT else text)
        for digest, (name, _, text) in entries.items()
        if name in alive
    }


def _read_content(database: Database, account: str, short: str) -> str:
    """Return the content of a message by what is kept of it, ANY_CONTENT if that is not all of it."""
    payload = f"payload:{account}-{short}"
    body, size = database.read(account, "hmget", payload, ("body", "size"))
    is_whole = body is not None and int(size) == len(body)
    return _content_of(body, len(body)) if is_whole else ANY_CONTENT


def _keep_payload(
    commit: AccountCommit, job: str, number: int, message: UnreadableMessage, *, lifetime: int
) -> None:
    """Keep what came for a job that stands for an unreadable message, so many ms."""
    body, faults = message.body[:MAX_PAYLOAD_BYTES], codec.encode(message.faults)
    known = ("size", message.size or len(message.body), "delivered", int(message.delivered))
    commit.run("HSET", f"payload:{job}", "body", body, "faults", faults, *known)
    commit.run("PEXPIRE", f"payload:{job}", lifetime)
    commit.run("ZADD", "payloads", number, job)
    commit.run("KEEP", "payloads", lifetime)


def _read_accepted(
    answer: Any, account: str, submissions: Sequence[Submission], bounds: IntakeBounds
) -> AcceptResult:
    """Read the answer of accept.lua; raises BacklogFull."""
    if answer[0] == b"full":
        in_bytes = answer[1] == b"bytes"
        most = f"max_backlog_bytes, {bounds.backlog_bytes}" if in_bytes else f"max_backlog, {bounds.backlog}"
        raise BacklogFull(
            f"the changes of account {account} that wait would be more than {most}; "
            "try again when some are done",
            retry_after=30.0,
        )
    if answer[0] == b"refused":
        refused = (
            RefusedChange(
                position, reason.decode(), f"{account}-{job.decode()}" if job else "", now=int(answer[2])
            )
            for position, reason, job in answer[1]
        )
        return AcceptResult((), tuple(refused))
    known = {position: Receipt(f"{account}-{job.decode()}", duplicate=True) for position, job in answer[2]}
    receipts = (known.get(position) or Receipt(entry.job) for position, entry in enumerate(submissions))
    return AcceptResult(tuple(receipts), wake=bool(answer[1]))


_pack = msgspec.msgpack.Encoder().encode


def encode_submission(entry: Submission) -> tuple[str, bytes, bytes]:
    """Return the id, the event's digest and the value of a new job, without the head that the script adds."""
    change, short = entry.change, short_id(entry.job)
    digest = _digest_of(change, entry.event_id)
    value = (
        ACTIONS[change.action],
        change.type,
        change.parents,
        change.children,
        # 0 stands for the time of acceptance
        0 if change.occurred_at is None else max(1, change.occurred_at),
        digest,
        "" if entry.event_id == short else entry.event_id,
        dict(change.info) if change.info else None,
        change.source,
        change.batch,
        change.correlation,
        change.allow_empty,
    )
    if change.replaces or change.parent_references or change.child_references or change.replays:
        references = (*_stored("p", change.parent_references), *_stored("c", change.child_references))
        phase = TO_BE_READ_FIRST if _is_read_first(entry) else 0
        stored = StoredJob(
            *value,
            replays=change.replays,
            references=references,
            replaces=change.replaces[:1],
            phase=phase,
        )
        if phase:
            stored.total = stored.left = stored.not_ended
        return short, digest, _pack(stored)
    return short, digest, _pack(value)


def _digest_of(change: Change, event_id: str) -> bytes:
    """Return the idempotency key of a change with this event id."""
    return (delivery if change.delivered else event)(change.source, event_id)


def needs_look_up(entry: Submission) -> bool:
    """Return whether something has to be read before the change can be carried out."""
    return bool(entry.change.parent_references or entry.change.child_references) or _is_read_first(entry)


def _is_read_first(entry: Submission) -> bool:
    """Return whether it is a replace that has nothing to create before it removes."""
    return bool(entry.change.replaces) and (entry.removes_first or not _names_any(entry.change))


def _names_any(change: Change) -> bool:
    """Return whether the side that a replace is about is to have any record at all."""
    if change.replaces == "parent":
        return bool(change.parents or change.parent_references)
    return bool(change.children or change.child_references)


def _stored(side: str, references: Sequence[Reference]) -> list[StoredReference]:
    return [StoredReference(side, *reference) for reference in references]


def unreadable_job(
    short: str,
    number: int,
    fault: str,
    *,
    source: str,
    event_id: str,
    digest: bytes,
    now: int,
    keep: Retention,
) -> LoadedJob:
    """Return the failed job that stands for an unreadable message."""
    value = StoredJob(
        digest=digest,
        event_id="" if event_id == short else event_id,
        source=source,
        state=FAILED,
        finished_at=now,
        expires=now + to_us(keep.failed),
        left=0,
        total=0,
        refusal=(0, "unreadable", fault[:MAX_FAULT_LENGTH], ""),
    )
    return LoadedJob(short, now, number, value, is_kept=True)
