"""The memory of a relation as it is stored, with the last outcomes of jobs that named it. Pure."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import NEVER, NOTHING, RESULTS, ConfirmedInfo, ConfirmedState, JobVersion, Version
from worker.planner.relation_state import Doubt
from worker.ports import RelationEvent
from worker.store.keys import short_id
from worker.store.limits import MAX_HISTORY, Retention

SECOND: Final = 1_000_000

_pack = msgspec.msgpack.Encoder().encode
Event = tuple[str, int, str]  # id, number of the result, by or why


class StoredMemory(msgspec.Struct, array_like=True, gc=False):
    """What is stored of a relation. New fields come at the end.

    `expires` in whole seconds. A version is (occurred_at, number, id); its id is "" if it is that of the last
    outcome. `events` are the last outcomes, `info` has (key, occurred_at, number, id, value, removed).
    """

    expires: int = 0
    events: tuple[Event, ...] = ()
    present: tuple[int, int, str] | None = None
    absent: tuple[int, int, str] | None = None
    info: tuple[tuple[str, int, int, str, str, bool], ...] = ()
    doubt: Doubt | None = None
    is_known: bool = False


_decode = msgspec.msgpack.Decoder(StoredMemory).decode


class Memory:
    """What is remembered of a relation: what is confirmed and in doubt (None: nothing), last outcomes."""

    __slots__ = ("confirmed", "doubt", "events")

    def __init__(
        self,
        confirmed: ConfirmedState | None = None,
        doubt: Doubt | None = None,
        events: tuple[Event, ...] = (),
    ) -> None:
        self.confirmed, self.doubt, self.events = confirmed, doubt, events

    @classmethod
    def read(cls, text: bytes | None, account: str, now: int) -> "Memory":
        """Read what is remembered; nothing once its lifetime is over."""
        if text is None:
            return cls()
        stored = _decode(text)
        if stored.expires * SECOND <= now:
            return cls()
        if not stored.is_known and not (stored.present or stored.absent or stored.info or stored.doubt):
            return cls(events=stored.events)
        last = stored.events[-1][0] if stored.events else ""

        def version(kept: tuple[int, int, str] | None) -> JobVersion:
            return JobVersion(Version(kept[0], kept[1]), f"{account}-{kept[2] or last}") if kept else NEVER

        info = {
            key: ConfirmedInfo(Version(at, number), f"{account}-{job or last}", value, removed)
            for key, at, number, job, value, removed in stored.info
        }
        return cls(
            ConfirmedState(version(stored.present), version(stored.absent), info), stored.doubt, stored.events
        )

    def encode(self, now: int, keep: Retention) -> bytes:
        """Encode what is remembered from now on."""
        expires = -(-(now + round(keep.memory * SECOND)) // SECOND)
        if self.confirmed is None:
            return _pack((expires, self.events))
        last = self.events[-1][0] if self.events else ""

        def version(kept: JobVersion) -> tuple[int, int, str] | None:
            if kept is NEVER or kept == NEVER:
                return None
            short = short_id(kept.job)
            return (*kept.version, "" if short == last else short)

        confirmed = self.confirmed
        present, absent = version(confirmed.present), version(confirmed.absent)
        if not confirmed.info and self.doubt is None and (present or absent):
            row: tuple[Any, ...] = (expires, self.events, present)
            return _pack((*row, absent) if absent else row)
        info = tuple(
            (key, *known.version, _short_if(known.job, last), known.value, known.removed)
            for key, known in confirmed.info.items()
        )
        return _pack((expires, self.events, present, absent, info, self.doubt, True))

    def add(self, outcomes: Iterable[RelationOutcome], request_id: str) -> None:
        """Add outcomes of jobs; of the oldest beyond a number none is kept."""
        events = self.events
        for outcome in outcomes:
            short = short_id(outcome.job)
            if events and any(event[0] == short for event in events):
                events = tuple(event for event in events if event[0] != short)
            events = (*events, (short, RESULTS.index(outcome.result), _why(outcome, request_id)))
        if len(events) > MAX_HISTORY:
            kept = {event[0] for event in sorted(events)[-MAX_HISTORY:]}
            events = tuple(event for event in events if event[0] in kept)
        self.events = events

    @property
    def state(self) -> ConfirmedState:
        """What is confirmed."""
        return NOTHING if self.confirmed is None else self.confirmed

    def history(self, account: str) -> list[RelationEvent]:
        """Return the outcomes of the jobs that named the relation, oldest first."""
        return [
            RelationEvent(f"{account}-{short}", RESULTS[result], why)
            for short, result, why in sorted(self.events)
        ]


def _short_if(job: str, last: str) -> str:
    short = short_id(job)
    return "" if short == last else short


def _why(outcome: RelationOutcome, request_id: str) -> str:
    """Return why a relation has this outcome: the refusal, the newer job, or the request."""
    refusal = outcome.refusal
    return f"{refusal.code} {refusal.error}".strip() if refusal else outcome.by or request_id


def expiry_of(text: bytes) -> int:
    """Return when a stored memory ends (seconds)."""
    return _decode(text).expires
