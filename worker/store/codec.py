"""The store's values as bytes and back: the scripts' arguments and answers, and what is stored. No I/O."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from worker.contract import Relation
from worker.planner.actions import Request
from worker.planner.fold import NEVER, RESULTS, ConfirmedInfo, ConfirmedState, Intent, JobVersion
from worker.planner.relation_state import Doubt, OpenRelation, Refusal, Stage
from worker.ports import (
    AuditEntry,
    BegunRequest,
    ClaimedJob,
    DeleteBrake,
    Dismissal,
    JobRecord,
    Pause,
    RelationEvent,
    RelationRecord,
    Replay,
    ReplayEntry,
    ReplayState,
    Submission,
)
from worker.store import keys
from worker.store.limits import MAX_FAULT_LENGTH, Retention

pack = msgspec.msgpack.Encoder().encode  # for scripts, which unpack it
encode = msgspec.json.Encoder().encode  # for what is stored, which people may read


class StoredMemory(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"present": "p", "absent": "a", "info": "i", "doubt": "d"},
):
    """A relation's memory as it is stored: usually below the 64 bytes that keep its hash compact."""

    present: JobVersion = NEVER
    absent: JobVersion = NEVER
    info: dict[str, ConfirmedInfo] = {}
    doubt: Doubt | None = None


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


_decode_stored_open = msgspec.json.Decoder(StoredOpen).decode
_decode_memory = msgspec.json.Decoder(StoredMemory).decode
_decode_request = msgspec.json.Decoder(Request).decode
_decode_info = msgspec.json.Decoder(dict[str, str]).decode


def submission(entry: Submission) -> tuple[object, ...]:
    """Return one entry for accept.lua."""
    change, event = entry.change, keys.event(entry.change.source, entry.event_id)
    fields = [
        "a",
        change.action,
        "t",
        change.type,
        "p",
        _join_ids(change.parents),
        "c",
        _join_ids(change.children),
    ]
    fields += ["e", entry.event_id, "k", event]
    if change.info:
        fields += ["i", encode(dict(change.info)).decode()]
    optional = {
        "u": change.source,
        "b": change.batch,
        "ci": change.correlation,
        "ae": "1" if change.allow_empty else "",
    }
    for name, value in optional.items():
        if value:
            fields += [name, value]
    return (
        entry.job,
        event,
        "" if entry.redelivered else change.fingerprint,
        0 if change.occurred_at is None else max(1, change.occurred_at),  # 0 stands for now
        len(change.parents) * len(change.children),
        change.batch,
        fields,
    )


def claimed_job(row: list[Any]) -> ClaimedJob:
    """Read a job of read.lua."""
    (
        job,
        action,
        type_,
        parents,
        children,
        info,
        occurred,
        number,
        remaining,
        accepted,
        correlation,
        allow_empty,
    ) = row
    if remaining:  # it was put back, and only these are left to do
        named = tuple(Relation.parse(text) for text in remaining.decode().split())
    else:
        relation_type = type_.decode()
        named = tuple(
            Relation(relation_type, parent, child)
            for parent in _split_ids(parents)
            for child in _split_ids(children)
        )
    return ClaimedJob(
        job.decode(),
        action.decode(),
        named,
        _read_info(info),
        int(occurred),
        int(number),
        0 if remaining else int(accepted),
        (correlation or b"").decode(),
        bool(allow_empty),
    )


def relations(names: Iterable[bytes]) -> tuple[Relation, ...]:
    """Read relations by their names."""
    return tuple(Relation.parse(name.decode()) for name in names)


def record(opened: bytes | None, memory: bytes | None) -> RelationRecord:
    """Read what the store has of a relation: its open work and its memory."""
    confirmed, doubt = ConfirmedState(), None
    if memory:
        stored = _decode_memory(memory)
        confirmed, doubt = ConfirmedState(stored.present, stored.absent, stored.info), stored.doubt
    return RelationRecord(_decode_open(opened) if opened else None, confirmed, doubt)


def records(rows: Iterable[list[Any]]) -> dict[Relation, RelationRecord]:
    """Read what the store has of several relations."""
    return {Relation.parse(name.decode()): record(opened, memory) for name, opened, memory in rows}


def history(row: Mapping[bytes, bytes]) -> list[RelationEvent]:
    """Read the outcomes of the jobs that named a relation, oldest first."""
    outcomes = sorted(
        (name[1:].decode(), value.decode()) for name, value in row.items() if name.startswith(b"#")
    )
    events = ((job, *outcome.partition(" ")) for job, outcome in outcomes)
    return [RelationEvent(job, result, detail) for job, result, _, detail in events]


def counts(row: Mapping[bytes, bytes]) -> dict[str, int]:
    """Read counters, without those that are zero."""
    return {name.decode(): int(value) for name, value in row.items() if value != b"0"}


def begun(flat: list[bytes]) -> tuple[BegunRequest, ...]:
    """Read the journal, oldest request first."""
    entries = []
    for request_id, value in zip(flat[::2], flat[1::2], strict=True):
        signed, _, request = value.partition(b" ")
        entries.append(BegunRequest(request_id.decode(), int(signed), _decode_request(request)))
    return tuple(sorted(entries, key=lambda entry: (entry.signed, entry.request_id)))


def pause(row: list[Any] | None) -> Pause | None:
    """Read the pause in force."""
    if not row:
        return None
    reason, detail, since, until, fingerprint = (cell.decode() for cell in row)
    return Pause(reason, detail, int(since), int(until), fingerprint)


def pause_args(pause: Pause) -> tuple[str, str, int, str]:
    """Return the pause as pause.lua takes it."""
    return pause.reason, pause.detail, pause.until, pause.fingerprint


def unreadable_refusal(fault: str) -> bytes:
    """Return the refusal of a job that stands for an unreadable message."""
    return encode((0, "unreadable", fault[:MAX_FAULT_LENGTH], ""))


def lifetimes(keep: Retention) -> bytes:
    """Return the lifetimes (ms) for the scripts: finished jobs, failed jobs, memories, event ids at least."""
    seconds = keep.finished, keep.failed, keep.memory, keep.remembered
    return pack([round(1000 * each) for each in seconds])


def job(job_id: str, row: Mapping[bytes, bytes]) -> JobRecord:
    """Read a job; `keys.py` explains the fields."""
    text = {name.decode(): value.decode() for name, value in row.items()}
    refusal = msgspec.json.decode(text["x"], type=tuple[int, str, str, str]) if "x" in text else None
    return JobRecord(
        id=job_id,
        account=keys.account_of(job_id),
        state=text["s"],  # type: ignore[arg-type]
        action=text["a"],
        type=text["t"],
        parents=_split_ids(row[b"p"]),
        children=_split_ids(row[b"c"]),
        info=_read_info(row.get(b"i")),
        source=text.get("u", ""),
        event_id=text.get("e", ""),
        batch=text.get("b", ""),
        occurred_at=int(text["o"]),
        accepted_at=int(text["n"]),
        finished_at=int(text.get("f", 0)),
        attempts=int(text.get("m", 0)),
        total=int(text["z"]),
        counts=dict(zip(RESULTS, (int(text.get(name, 0)) for name in ("ok", "su", "st", "fa")), strict=True)),
        refusal=refusal,
        requests=tuple(text.get("w", "").split()),
        failed=tuple(map(Relation.parse, text.get("fr", "").split())),
        by=text.get("y", ""),
        number=int(text.get("q", 0)),
        dismissed=_read_dismissal(text["d"]) if "d" in text else None,
        replays=text.get("rp", ""),
        replayed_by=tuple(text.get("rb", "").split()),
        replay=text.get("rm", ""),
        correlation=text.get("ci", ""),
        allow_empty="ae" in text,
    )


def audit_entry(entry: AuditEntry | None) -> bytes:
    """Return an entry of the audit log for the scripts, empty for none."""
    return pack((entry.name, entry.by, entry.act, entry.what, entry.note)) if entry else b""


def read_audit_entry(entry_id: str, at: int, row: bytes) -> AuditEntry:
    """Read an entry of the audit log."""
    by, act, what, count, note = msgspec.json.decode(row, type=tuple[str, str, str, int, str])
    return AuditEntry(entry_id, by, act, what, note, count, at)


def replay_entry(entry: ReplayEntry) -> bytes:
    """Return one entry of a replay's set: nearly always just the job's id."""
    return encode(entry) if entry.changes else entry.job.encode()


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


def replay_state(answer: bytes) -> ReplayState | None:
    """Read the state that a script answers; None when there is no such replay."""
    return answer.decode() or None  # type: ignore[return-value]


def brake(allowed: DeleteBrake | None, request: Request, account: str) -> bytes:
    """Return the brake for begin.lua, empty for a request that deletes nothing."""
    if not allowed or not request.deletes:
        return b""
    return pack((request.deletes, allowed.planned, allowed.limit, allowed.detail(account)))


def _read_dismissal(text: str) -> Dismissal:
    at, _, rest = text.partition(" ")
    return Dismissal(int(at), *msgspec.json.decode(rest, type=tuple[str, str]))


def _read_info(text: bytes | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(_decode_info(text).items())) if text else ()


def _join_ids(ids: tuple[int, ...]) -> str:
    return str(ids[0]) if len(ids) == 1 else ",".join(map(str, ids))


def _split_ids(text: bytes) -> tuple[int, ...]:
    return tuple(map(int, text.split(b","))) if text else ()


def encode_open(opened: OpenRelation) -> bytes:
    """Encode an open relation as it is stored."""
    stage = opened.stage
    return encode(
        StoredOpen(
            tuple([intent[:-1] for intent in opened.intents]),  # type: ignore[misc]
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
        )
    )


def _decode_open(text: bytes) -> OpenRelation:
    stored, stage = _decode_stored_open(text), Stage.WRITE
    if stored.verify:
        stage = Stage.READ_REJECTED if stored.refused else Stage.READ_BACK
    elif stored.absent:
        stage = Stage.WRITE_ABSENT
    intents = stored.wishes
    if may_empty := stored.may_empty:
        intents = tuple(intent._replace(allow_empty=intent.job in may_empty) for intent in intents)
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
    )
