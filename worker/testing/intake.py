"""How the store in memory takes in changes and unreadable messages."""

from collections.abc import Sequence
from typing import Any, Literal

from worker.planner.fold import RESULTS
from worker.ports import FOREVER, JobRecord, Payload, Receipt, RefusedChange, Submission, UnreadableMessage
from worker.store.limits import CLOCK_AHEAD_US, MAX_FAULT_LENGTH, MAX_PAYLOAD_BYTES, MAX_PAYLOADS
from worker.testing.account import AccountState
from worker.testing.stored import StoredJob, StoredPayload, to_us

RefusalReason = Literal["conflict", "ahead", "too_old"]


def sort_submissions(
    state: AccountState, submissions: Sequence[Submission], now: int, *, oldest: int
) -> tuple[list[Receipt], list[RefusedChange], list[Submission]]:
    """Return a receipt for each that may pass, a refusal for each that may not, and those that are new."""
    receipts: list[Receipt] = []
    refused: list[RefusedChange] = []
    new: dict[tuple[str, str], Submission] = {}
    for position, entry in enumerate(submissions):
        key = (entry.change.source, entry.event_id)
        known = _known_job(state, new.get(key), key, now)
        if reason := _conflict(entry, known) if known else _untimely(entry, now, oldest):
            refused.append(RefusedChange(position, reason, known[0] if known else ""))
        elif known is None:
            new[key] = entry
        is_duplicate = known is not None and known[0] != entry.job
        receipts.append(Receipt(known[0] if known else entry.job, duplicate=is_duplicate))
    return receipts, refused, list(new.values())


def add_job(state: AccountState, account: str, entry: Submission, now: int) -> None:
    """Add a new job: to the inbox, to the index, to the counters."""
    change = entry.change
    state.counts["accepted"] += 1
    number = state.counts["accepted"]
    record = _new_record(
        entry.job,
        account,
        now,
        number=number,
        action=change.action,
        type=change.type,
        parents=change.parents,
        children=change.children,
        info=change.info,
        source=change.source,
        event_id=entry.event_id,
        batch=change.batch,
        correlation=change.correlation,
        allow_empty=change.allow_empty,
        occurred_at=now if change.occurred_at is None else min(change.occurred_at, now),
        total=len(change.parents) * len(change.children),
    )
    key = (change.source, entry.event_id)
    job = StoredJob(record, number, _fingerprint(entry), record.total, key)
    state.jobs[entry.job] = job
    state.events[key] = state.index[number] = entry.job
    state.inbox.append(entry.job)
    if change.batch:
        batch = state.batch_counts(change.batch, now)
        batch.counts["accepted"] += 1
        batch.expires = FOREVER


def add_unreadable(state: AccountState, account: str, job: str, message: UnreadableMessage, now: int) -> None:
    """Add a failed job with the message's bytes; the oldest messages beyond a number lose theirs."""
    state.counts.update(accepted=1, failed=1, unreadable=1)
    number, expires = state.counts["accepted"], now + to_us(state.retention.failed)
    record = _new_record(
        job,
        account,
        now,
        number=number,
        state="failed",
        occurred_at=now,
        finished_at=now,
        source=message.source,
        event_id=message.event_id,
        refusal=(0, "unreadable", message.faults[0][:MAX_FAULT_LENGTH], ""),
    )
    state.jobs[job] = StoredJob(record, number, "", 0, expires=expires)
    state.index[number], state.failed[job] = job, number
    payload = Payload(message.body[:MAX_PAYLOAD_BYTES], message.faults, len(message.body))
    state.payloads[job] = StoredPayload(payload, expires)
    for old in list(state.payloads)[:-MAX_PAYLOADS]:
        del state.payloads[old]


def _known_job(
    state: AccountState, earlier: Submission | None, key: tuple[str, str], now: int
) -> tuple[str, str] | None:
    """Return the job that has this key already, and the fingerprint of its content."""
    if earlier:
        return earlier.job, _fingerprint(earlier)
    if job := state.job(state.events.get(key, ""), now):
        return job.record.id, job.fingerprint
    event = state.remembered_events.get(key)
    return (event.job, event.fingerprint) if event and now < event.expires else None


def _fingerprint(entry: Submission) -> str:
    return "" if entry.redelivered else entry.change.fingerprint


def _conflict(entry: Submission, known: tuple[str, str]) -> RefusalReason | None:
    return None if entry.redelivered or known[1] == _fingerprint(entry) else "conflict"


def _untimely(entry: Submission, now: int, oldest: int) -> RefusalReason | None:
    occurred = entry.change.occurred_at
    if occurred is None or oldest <= occurred <= now + CLOCK_AHEAD_US:
        return None
    return "too_old" if occurred < oldest else "ahead"


def _new_record(job: str, account: str, now: int, **fields: Any) -> JobRecord:
    """Return the record of a job that was just accepted."""
    defaults: dict[str, Any] = {
        "state": "queued",
        "action": "",
        "type": "",
        "parents": (),
        "children": (),
        "info": (),
        "batch": "",
        "total": 0,
        "finished_at": 0,
        "attempts": 0,
        "counts": dict.fromkeys(RESULTS, 0),
        "refusal": None,
        "requests": (),
        "failed": (),
        "by": "",
    }
    return JobRecord(**{"id": job, "account": account, "accepted_at": now, **defaults, **fields})
