"""What is stored beside jobs and memories, as bytes and back: open relations, replays, the audit log."""

from collections.abc import Mapping

import msgspec

from worker.errors import StoreUnreadable
from worker.planner.actions import Request
from worker.planner.fold import NEVER, Intent, JobVersion
from worker.planner.relation_state import OpenRelation, Refusal, Stage
from worker.ports.records import AuditEntry
from worker.ports.replays import Replay, ReplayEntry
from worker.ports.work import BegunRequest

encode = msgspec.json.Encoder().encode  # for what people may read


class StoredOpen(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An open relation as it is stored: flat, with field names that every release so far reads and writes.

    `may_empty` are the jobs among its wishes that may take the last relation of a record (R12).
    """

    wishes: tuple[Intent, ...]
    cleared: JobVersion = NEVER
    since: int = 0
    not_before: int = 0
    tries: int = 0
    losses: int = 0
    misses: int = 0
    verify: bool = False
    refused: bool = False
    absent: bool = False
    part: str = ""
    reduced: bool = False
    held: bool = False
    refusal: Refusal | None = None
    may_empty: tuple[str, ...] = ()
    suspicion: int = 0


_decode_stored_open = msgspec.json.Decoder(StoredOpen).decode
_decode_request = msgspec.json.Decoder(Request).decode


def counts(row: Mapping[bytes, bytes]) -> dict[str, int]:
    """Read counters, without those that are zero."""
    return {name.decode(): int(value) for name, value in row.items() if value != b"0"}


def begun(journal: Mapping[bytes, bytes]) -> tuple[BegunRequest, ...]:
    """Read the journal, oldest request first."""
    entries = []
    for request_id, value in journal.items():
        signed, _, request = value.partition(b" ")
        entries.append(BegunRequest(request_id.decode(), int(signed), _decode_request(request)))
    return tuple(sorted(entries, key=lambda entry: (entry.signed, entry.request_id)))


def kept_audit_entry(entry: AuditEntry, row: bytes | None) -> AuditEntry:
    """Return an entry of the audit log with the words that stand there: they may have been erased since."""
    return read_audit_entry(entry.name, 0, row) if row else entry


def audit_row(entry: AuditEntry, count: int) -> bytes:
    """Return an entry of the audit log as it is stored, with this count."""
    return encode((entry.by, entry.act, entry.what, count, entry.note))


def read_audit_entry(entry_id: str, at: int, row: bytes) -> AuditEntry:
    """Read an entry of the audit log."""
    by, act, what, count, note = msgspec.json.decode(row, type=tuple[str, str, str, int, str])
    return AuditEntry(entry_id, by, act, what, note, count, at)


def replay_entry(entry: ReplayEntry) -> bytes:
    """Return one entry of a replay's set: nearly always just the job's id."""
    return encode(entry) if entry.changes or entry.relations else entry.job.encode()


def read_replay_entry(text: bytes) -> ReplayEntry:
    """Read one entry of a replay's set."""
    return (
        msgspec.json.decode(text, type=ReplayEntry) if text.startswith(b"{") else ReplayEntry(text.decode())
    )


def replay(row: Mapping[bytes, bytes]) -> Replay | None:
    """Read a replay: what was fixed when it was saved, and its progress."""
    if b"about" not in row:
        return None
    number = {name: int(row.get(name, 0)) for name in (b"made", b"run", b"finished", b"at", b"back")}
    return msgspec.structs.replace(
        msgspec.json.decode(row[b"about"], type=Replay),
        state=row[b"state"].decode(),
        made_at=number[b"made"],
        run_at=number[b"run"],
        finished_at=number[b"finished"],
        done=number[b"at"],
        back=number[b"back"],
        missed={name[7:].decode(): int(count) for name, count in row.items() if name.startswith(b"missed:")},
    )


def encode_open(opened: OpenRelation) -> bytes:
    """Encode an open relation as it is stored."""
    stage = opened.stage
    return encode(
        StoredOpen(
            tuple([_stored_intent(intent) for intent in opened.intents]),  # type: ignore[misc]
            opened.cleared,
            opened.since,
            opened.not_before,
            opened.rejections,
            opened.lost_writes,
            opened.failures,
            stage.reads,
            stage is Stage.READ_REJECTED,
            stage is Stage.WRITE_ABSENT,
            opened.part,
            opened.reduced,
            opened.held,
            opened.refusal,
            tuple([intent.job for intent in opened.intents if intent.allow_empty]),
            opened.suspicion,
        )
    )


def read_open(text: bytes) -> OpenRelation:
    """Read an open relation; raise StoreUnreadable for what is none."""
    try:
        stored, stage = _decode_stored_open(text), Stage.WRITE
    except msgspec.MsgspecError as error:
        raise StoreUnreadable("what is stored of an open relation cannot be read") from error
    if stored.verify:
        stage = Stage.READ_REJECTED if stored.refused else Stage.READ_BACK
    elif stored.absent:
        stage = Stage.WRITE_ABSENT
    intents = stored.wishes
    if may_empty := stored.may_empty:
        intents = tuple(
            msgspec.structs.replace(intent, allow_empty=intent.job in may_empty) for intent in intents
        )
    return OpenRelation(
        intents,
        stored.cleared,
        stored.since,
        stored.not_before,
        stored.tries,
        stored.losses,
        stored.misses,
        stage,
        stored.part,
        stored.reduced,
        stored.held,
        stored.refusal,
        stored.suspicion,
    )


def _stored_intent(intent: Intent) -> tuple[object, ...]:
    """Return an intent as it is stored: without its last field, which older releases do not know."""
    return intent.version, intent.job, intent.action, intent.info, intent.correlation
