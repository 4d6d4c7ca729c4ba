"""Erases a record from all that the store in memory keeps beside jobs and open work."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from worker.contract import Relation
from worker.ports import ERASED, ErasedPiece, RecordRef
from worker.testing.account import AccountState
from worker.testing.stored import StoredPayload, StoredReplay, StoredRequest, replace


def names_record(who: RecordRef, value: Any) -> bool:
    """Return whether a value, as text, has the record's number in it."""
    text = value if isinstance(value, bytes) else msgspec.json.encode(value)
    grouped = f"{who.number:,}".replace(",", "[.,]")
    return re.search(rf"(?<![0-9])(?:{who.number}|{grouped})(?![0-9])".encode(), text) is not None


def erase_record(state: AccountState, who: RecordRef, *, now: int) -> ErasedPiece:
    """Erase the record, all at once."""
    state.batch = None
    if state.pause and names_record(who, state.pause.detail):
        state.pause = state.pause._replace(detail=ERASED)
    in_doubt = _memories_in_doubt(state, who, now)
    counts = Counter(
        deeds=_erase_audit_log(state, who),
        memories=_erase_memories(state, who, now),
        requests=_erase_requests(state, who, now),
        batches=_erase_batches(state, who, now),
        payloads=sum(
            _erase_payload(state, job, stored, who, now) for job, stored in [*state.payloads.items()]
        ),
    )
    return ErasedPiece(0, +counts, in_doubt)


def _erase_audit_log(state: AccountState, who: RecordRef) -> int:
    named = [
        entry
        for entry in state.audit_log.values()
        if names_record(who, [entry.by, entry.act, entry.what, entry.count, entry.note])
    ]
    for entry in named:
        state.audit_log[entry.name] = replace(entry, what=ERASED, note="")
    return len(named)


def _memories_in_doubt(state: AccountState, who: RecordRef, now: int) -> dict[Relation, int]:
    return {
        relation: stored.doubt.until
        for relation in filter(who.is_part_of, [*state.relations])
        if (stored := state.relation(relation, now)) and stored.doubt and stored.doubt.until > now
    }


def _erase_memories(state: AccountState, who: RecordRef, now: int) -> int:
    named = [each for each in [*state.relations] if who.is_part_of(each) and state.relation(each, now)]
    over = set(named) - _memories_in_doubt(state, who, now).keys()
    for relation in over:
        del state.relations[relation]
    return len(over)


def _erase_requests(state: AccountState, who: RecordRef, now: int) -> int:
    def is_named(stored: StoredRequest) -> bool:
        record = stored.record
        free_text = [record.correlations, record.answers, record.message]
        return any(map(who.is_named_by, record.actions)) or names_record(who, free_text)

    named = [id_ for id_, stored in state.requests.items() if now < stored.expires and is_named(stored)]
    for request_id in named:
        state.requests[request_id] = state.requests[request_id]._replace(expires=0)
    return len(named)


def _erase_batches(state: AccountState, who: RecordRef, now: int) -> int:
    labels = [
        label for label, batch in state.batches.items() if names_record(who, label) and now < batch.expires
    ]
    for label in labels:
        del state.batches[label]
    return len(labels)


def _erase_payload(state: AccountState, job_id: str, stored: StoredPayload, who: RecordRef, now: int) -> bool:
    job = state.job(job_id, now)
    if not job or not any(
        names_record(who, text) for text in (stored.payload.body, stored.payload.faults, job.record.event_id)
    ):
        return False
    del state.payloads[job_id]
    state.failed.pop(job_id, None)
    job.record = replace(job.record, event_id="", refusal=(0, "unreadable", "", ""), by=ERASED)
    return True


def erase_replays(state: AccountState, who: RecordRef, *, now: int) -> Mapping[str, int]:
    """Erase the record from the replays, and return what went."""
    replays = [*state.replays.items()]
    return +Counter(replays=sum(_erase_replay(state, id_, stored, who, now) for id_, stored in replays))


def _erase_replay(state: AccountState, id_: str, stored: StoredReplay, who: RecordRef, now: int) -> bool:
    """Delete a replay that would send the record again; of others, drop what shows it."""
    replay = stored.replay
    if now >= stored.expires:
        return False
    if names_record(who, replay.correction) or any(
        entry.changes and names_record(who, entry) for entry in stored.entries
    ):
        del state.replays[id_]
        return True
    if not names_record(who, (replay.what, replay.plan, replay.examples)):
        return False
    stored.replay = replace(replay, what=ERASED, plan={}, examples={})
    return True
