"""Taking a record out of all that the store in memory keeps beside jobs and open work."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from worker.ports import ERASED, RecordRef
from worker.testing.account import AccountState
from worker.testing.stored import Kept, Replaying, replace


def mentions(who: RecordRef, value: Any) -> bool:
    """Whether a value, written down, has the record's number in it."""
    text = value if isinstance(value, bytes) else msgspec.json.encode(value)
    grouped = f"{who.number:,}".replace(",", "[.,]")
    return re.search(rf"(?<![0-9])(?:{who.number}|{grouped})(?![0-9])".encode(), text) is not None


def scrub(state: AccountState, who: RecordRef, *, now: int) -> Mapping[str, int]:
    """Counts of what went."""
    counts = Counter[str]()
    state.hand = None
    if state.pause and mentions(who, state.pause.detail):
        state.pause = state.pause._replace(detail=ERASED)
    for name, deed in state.deeds.items():
        if mentions(who, [deed.by, deed.act, deed.what, deed.count, deed.note]):
            state.deeds[name] = replace(deed, what=ERASED, note="")
            counts["deeds"] += 1
    for relation in [
        each for each in list(state.memories) if who.is_part_of(each) and state.memory(each, now)
    ]:
        del state.memories[relation]
        counts["memories"] += 1
    for name, sent in state.requests.items():
        record = sent.record
        about = any(who.is_part_of(relation) for action in record.actions for relation in action.relations)
        if now < sent.ends and (
            about or mentions(who, [record.correlations, record.answers, record.message])
        ):
            state.requests[name] = sent._replace(ends=0)
            counts["requests"] += 1
    for label in [
        label for label, batch in state.batches.items() if mentions(who, label) and now < batch.ends
    ]:
        del state.batches[label]
        counts["batches"] += 1
    counts["payloads"] += sum(
        _forgotten(state, job, kept, who) for job, kept in list(state.payloads.items()) if state.job(job, now)
    )
    counts["replays"] += sum(
        _shortened(state, name, held, who) for name, held in list(state.replays.items()) if now < held.ends
    )
    return +counts


def _forgotten(state: AccountState, name: str, kept: Kept, who: RecordRef) -> bool:
    job = state.jobs[name]
    if not any(mentions(who, each) for each in (kept.payload.body, kept.payload.faults, job.record.event_id)):
        return False
    del state.payloads[name]
    state.failed.pop(name, None)
    job.record = replace(job.record, event_id="", refusal=(0, "unreadable", "", ""), by=ERASED)
    return True


def _shortened(state: AccountState, name: str, held: Replaying, who: RecordRef) -> bool:
    replay = held.replay
    if mentions(who, replay.correction) or any(each.changes and mentions(who, each) for each in held.entries):
        del state.replays[name]
        return True
    if not mentions(who, (replay.what, replay.plan, replay.examples)):
        return False
    held.replay = replace(replay, what=ERASED, plan={}, examples={})
    return True
