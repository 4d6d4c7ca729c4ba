"""The memory of a relation as it is stored, with the last outcomes of jobs that named it. Pure."""

from operator import itemgetter
from typing import Final

import msgspec

from worker.contract.instant import SECOND
from worker.errors import StoreUnreadable
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import (
    NEVER,
    NOTHING,
    RESULTS,
    ConfirmedInfo,
    ConfirmedState,
    JobVersion,
    Result,
    Version,
)
from worker.planner.relation_state import Doubt, OpenRelation, RelationRecord
from worker.ports.records import RelationEvent
from worker.ports.store import Retention
from worker.store.jobs.stored_job import NUMBERS
from worker.store.keys import short_id
from worker.store.limits import MAX_HISTORY

_pack = msgspec.msgpack.Encoder().encode
Event = tuple[str, int, str]  # id, number of the result, by or why
ID: Final = itemgetter(0)  # of an event


class StoredMemory(msgspec.Struct, array_like=True, gc=False):
    """What is stored of a relation. New fields come at the end.

    `expires` in whole seconds. A version is (occurred_at, number, id); its id is "" if it is that of the last
    outcome. `events` are the last outcomes, `info` has (key, occurred_at, number, id, value, removed),
    `own_replaces` (occurred_at, number).
    """

    expires: int = 0
    events: tuple[Event, ...] = ()
    present: tuple[int, int, str] | None = None
    absent: tuple[int, int, str] | None = None
    info: tuple[tuple[str, int, int, str, str, bool], ...] = ()
    doubt: Doubt | None = None
    is_known: bool = False
    own_replaces: tuple[Version, ...] = ()


_decode = msgspec.msgpack.Decoder(StoredMemory).decode


class Memory(msgspec.Struct, gc=False):
    """What is remembered of a relation: what is confirmed and in doubt (None: nothing), last outcomes.

    `own_replaces` are the last replaces that name the relation, or found it and are to remove it: what became
    of that is told by their outcomes, and not by their reads. `expires` says when it ends (s), as it was read
    or written last. `open` is what was open of the relation when that was read with it.
    """

    name: str = ""
    confirmed: ConfirmedState | None = None
    doubt: Doubt | None = None
    events: tuple[Event, ...] = ()
    own_replaces: tuple[Version, ...] = ()
    expires: int = 0
    open: OpenRelation | None = None

    @classmethod
    def read(cls, name: str, text: bytes | None, account: str, now: int) -> "Memory":
        """Read what is remembered of the relation of this name; nothing once its lifetime is over."""
        if text is None:
            return cls(name)
        try:
            stored = _decode(text)
        except msgspec.MsgspecError as error:
            raise StoreUnreadable(f"what is remembered of {name} cannot be read") from error
        if stored.expires * SECOND <= now:
            return cls(name)
        confirmed = None
        if stored.is_known or stored.present or stored.absent:
            confirmed = _read_confirmed(stored, account, stored.events[-1][0] if stored.events else "")
        return cls(name, confirmed, stored.doubt, stored.events, stored.own_replaces, stored.expires)

    def encode(self, expires: int) -> bytes:
        """Encode what is remembered until then (seconds), and longer than what it takes the place of.

        That may stand in the other generation still; of two, the one that ends later counts.
        """
        if expires <= self.expires:
            expires = self.expires + 1
        self.expires = expires
        events, confirmed, own = self.events, self.confirmed, self.own_replaces
        if len(events) > MAX_HISTORY:  # ids sort by time
            newest = {event[0] for event in sorted(events)[-MAX_HISTORY:]}
            self.events = events = tuple(event for event in events if event[0] in newest)
        if confirmed is None:
            if not own:
                return _pack((expires, events))
            confirmed = NOTHING
        last = events[-1][0] if events else ""
        present, absent = _short_version(confirmed.present, last), _short_version(confirmed.absent, last)
        if (present or absent) and not (confirmed.info or self.doubt or own):
            return _pack((expires, events, present, absent) if absent else (expires, events, present))
        info = tuple(
            (key, *_shorten(known.version, known.job, last), known.value, known.removed)
            for key, known in confirmed.info.items()
        )
        whole = (expires, events, present, absent, info, self.doubt, self.confirmed is not None)
        return _pack((*whole, own) if own else whole)

    def add(self, short: str, result: Result, why: str) -> None:
        """Add the outcome of a job, in place of an earlier one of it."""
        events = self.events
        if events and short in map(ID, events):
            events = tuple([event for event in events if event[0] != short])
        self.events = (*events, (short, NUMBERS[result], why))

    def result_of(self, short: str) -> Result | None:
        """Return the outcome of a job, None if none is remembered."""
        return next((RESULTS[result] for job, result, _ in self.events if job == short), None)

    @property
    def state(self) -> ConfirmedState:
        """What is confirmed."""
        return NOTHING if self.confirmed is None else self.confirmed

    @property
    def record(self) -> RelationRecord:
        """What is known of the relation."""
        return RelationRecord(self.open, self.state, self.doubt)

    def history(self, account: str) -> list[RelationEvent]:
        """Return the outcomes of the jobs that named the relation, oldest first."""
        return [
            RelationEvent(f"{account}-{short}", RESULTS[result], why)
            for short, result, why in sorted(self.events)
        ]


def why_of(outcome: RelationOutcome, request_id: str) -> str:
    """Return why a relation has this outcome: the refusal, the newer job, or the request."""
    refusal = outcome.refusal
    return f"{refusal.code} {refusal.error}".strip() if refusal else outcome.by or request_id


def end_of(now: int, keep: Retention) -> int:
    """Return until when a memory is kept that is written now (seconds)."""
    return -(-(now + round(keep.memory * SECOND)) // SECOND)


def _read_confirmed(stored: StoredMemory, account: str, last: str) -> ConfirmedState:
    present, absent = stored.present, stored.absent
    return ConfirmedState(
        JobVersion(Version(present[0], present[1]), f"{account}-{present[2] or last}") if present else NEVER,
        JobVersion(Version(absent[0], absent[1]), f"{account}-{absent[2] or last}") if absent else NEVER,
        {
            key: ConfirmedInfo(Version(at, number), f"{account}-{job or last}", value, removed)
            for key, at, number, job, value, removed in stored.info
        },
    )


def _short_version(kept: JobVersion, last: str) -> tuple[int, int, str] | None:
    return None if kept.version.occurred_at < 0 else _shorten(kept.version, kept.job, last)


def _shorten(version: Version, job: str, last: str) -> tuple[int, int, str]:
    """Return a version as it is stored: the id of its job is "" if it is that of the last outcome."""
    short = short_id(job)
    return version.occurred_at, version.accepted, "" if short == last else short


def expiry_of(text: bytes) -> int:
    """Return when a stored memory ends (seconds)."""
    return _decode(text).expires
