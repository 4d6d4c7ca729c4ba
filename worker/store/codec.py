"""The store's values as bytes and back: what the scripts are handed and what they answer. No I/O."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from worker.contract import Relation
from worker.planner.actions import Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import NEVER, ConfirmedInfo, ConfirmedState, Intent, JobVersion
from worker.planner.relation_state import Doubt, OpenRelation, Refusal, Stage
from worker.ports import (
    AuditEntry,
    BegunRequest,
    ClaimedJob,
    DeleteBrake,
    Dismissal,
    JobRecord,
    Pause,
    RelationRecord,
    Replay,
    ReplayEntry,
    Submission,
    Writes,
)
from worker.store import keys
from worker.store.limits import Retention

RESULTS = ("applied", "superseded", "stale", "failed")
SHOWN = 200  # characters of a fault that a job's record shows
CHUNK = 500  # relations per script call, so that none blocks the server for long

pack = msgspec.msgpack.Encoder().encode  # for scripts, which unpack it
encode = msgspec.json.Encoder().encode  # for what is kept, which people read


class StoredMemory(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"present": "p", "absent": "a", "info": "i", "doubt": "d"},
):
    """A relation's memory as it is kept: for the common case below the 64 bytes that keep its hash compact."""

    present: JobVersion = NEVER
    absent: JobVersion = NEVER
    info: dict[str, ConfirmedInfo] = {}
    doubt: Doubt | None = None


class StoredOpen(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An open relation as it is kept: flat, and in words that every release so far reads and writes."""

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
    spoiled: bool = False
    refusal: Refusal | None = None


_stored_open = msgspec.json.Decoder(StoredOpen).decode
_memory = msgspec.json.Decoder(StoredMemory).decode
_request = msgspec.json.Decoder(Request).decode
_info = msgspec.json.Decoder(dict[str, str]).decode


def submission(entry: Submission) -> tuple[object, ...]:
    """One entry of accept.lua."""
    change, event = entry.change, keys.event(entry.change.source, entry.event_id)
    about = ["a", change.action, "t", change.type, "p", _ids(change.parents), "c", _ids(change.children)]
    fields = [*about, "e", entry.event_id, "k", event]
    if change.info:
        fields += ["i", encode(dict(change.info)).decode()]
    for name, value in (
        ("u", change.source),
        ("b", change.batch),
        ("g", " ".join(entry.first_halves)),
        ("ci", change.correlation),
    ):
        if value:
            fields += [name, value]
    return (
        entry.job,
        event,
        "" if entry.redelivered else change.fingerprint,
        0 if change.occurred_at is None else max(1, change.occurred_at),  # 0 asks for now
        len(change.parents) * len(change.children),
        change.batch,
        entry.first_halves,
        fields,
    )


def taken(row: list[Any]) -> ClaimedJob:
    """A job as read.lua gives it."""
    job, action, name, parents, children, info, occurred, number, again, guards, accepted_at, correlation = (
        row
    )
    relation_type = name.decode()
    if again:
        relations = tuple(Relation.parse(text) for text in again.decode().split())
    else:
        relations = tuple(
            Relation(relation_type, parent, child)
            for parent in _numbers(parents)
            for child in _numbers(children)
        )
    return ClaimedJob(
        job.decode(),
        action.decode(),
        relations,
        tuple(sorted(_info(info).items())) if info else (),
        int(occurred),
        int(number),
        tuple((guards or b"").decode().split()),
        0 if again else int(accepted_at),
        (correlation or b"").decode(),
    )


def record(opened: bytes | None, memory: bytes | None) -> RelationRecord:
    """What the store has of a relation."""
    known, doubt = ConfirmedState(), None
    if memory:
        kept = _memory(memory)
        known, doubt = ConfirmedState(kept.present, kept.absent, kept.info), kept.doubt
    return RelationRecord(_decode_open(opened) if opened else None, known, doubt)


def records(rows: Iterable[list[Any]]) -> dict[Relation, RelationRecord]:
    """What the store has of several."""
    return {Relation.parse(name.decode()): record(opened, memory) for name, opened, memory in rows}


def begun(flat: list[bytes]) -> tuple[BegunRequest, ...]:
    """The journal, oldest first."""
    entries = []
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        signed, _, request = value.partition(b" ")
        entries.append(BegunRequest(name.decode(), int(signed), _request(request)))
    return tuple(sorted(entries, key=lambda entry: (entry.signed, entry.request_id)))


def pause(row: list[Any] | None) -> Pause | None:
    """The pause in force."""
    if not row:
        return None
    reason, detail, since, until, fingerprint = (cell.decode() for cell in row)
    return Pause(reason, detail, int(since), int(until), fingerprint)


def lifetimes(keep: Retention) -> bytes:
    """How long things are kept, as the scripts want it: ms of finished jobs, failed jobs, relation memories, event ids at least."""
    return pack(
        [round(1000 * seconds) for seconds in (keep.finished, keep.failed, keep.memory, keep.remembered)]
    )


def chunks(writes: Writes, request_id: str, *, size: int = CHUNK) -> Iterator[dict[str, Any]]:
    """The writes as take.lua and settle.lua want them, cut by relation, so that each cut is whole for its relations.

    `size` 0 leaves them in one piece.
    """
    relations = list(
        dict.fromkeys([*(entry.relation for entry in writes.outcomes), *writes.opens, *writes.confirmed])
    )
    outcomes: dict[Relation, list[RelationOutcome]] = defaultdict(list)
    for entry in writes.outcomes:
        outcomes[entry.relation].append(entry)
    size = size or len(relations) or 1
    for start in range(0, max(1, len(relations)), size):
        yield _chunk(
            writes,
            relations[start : start + size],
            outcomes,
            request_id,
            states=writes.job_states if start == 0 else {},
        )


def job(account: str, job_id: str, row: Mapping[bytes, bytes]) -> JobRecord:
    """A job as it is kept."""
    text = {name.decode(): value.decode() for name, value in row.items()}
    refusal = msgspec.json.decode(text["x"], type=tuple[int, str, str, str]) if "x" in text else None
    return JobRecord(
        id=job_id,
        account=account,
        state=text["s"],  # type: ignore[arg-type]
        action=text["a"],
        type=text["t"],
        parents=_numbers(row[b"p"]),
        children=_numbers(row[b"c"]),
        info=tuple(sorted(_info(text["i"]).items())) if "i" in text else (),
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
        dismissed=_dismissal(text["d"]) if "d" in text else None,
        replays=text.get("rp", ""),
        replayed_by=tuple(text.get("rb", "").split()),
        replay=text.get("rm", ""),
        correlation=text.get("ci", ""),
    )


def deed(entry: AuditEntry | None) -> bytes:
    """A deed as the scripts want it."""
    return pack((entry.name, entry.by, entry.act, entry.what, entry.note)) if entry else b""


def entry(each: ReplayEntry) -> bytes:
    """One of a replay's set: nearly always nothing but its job."""
    return encode(each) if each.changes else each.job.encode()


def read_entry(text: bytes) -> ReplayEntry:
    """The same back."""
    return (
        msgspec.json.decode(text, type=ReplayEntry) if text.startswith(b"{") else ReplayEntry(text.decode())
    )


def replay(row: Mapping[bytes, bytes]) -> Replay | None:
    """A replay as it is kept: what was fixed, and how far it is."""
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


def brake(asked: DeleteBrake | None, request: Request, account: str) -> bytes:
    """The brake as begin.lua wants it; none for a request that deletes nothing."""
    deletes = request.deletes
    return pack((deletes, asked.planned, asked.limit, asked.detail(account))) if asked and deletes else b""


def _chunk(
    writes: Writes,
    relations: list[Relation],
    outcomes: Mapping[Relation, list[RelationOutcome]],
    request_id: str,
    *,
    states: Mapping[str, str],
) -> dict[str, Any]:
    opens, memories, counts = [], [], [0, 0, 0, 0]
    jobs: dict[str, _Job] = {job: _Job(state) for job, state in states.items()}
    for relation in relations:
        if relation in writes.opens:
            opens.append(_opened(relation, writes))
        fields: list[object] = []
        if relation in writes.confirmed:
            known, doubt = writes.confirmed[relation]
            fields += [
                "k",
                encode(StoredMemory(known.present, known.absent, dict(known.info), doubt)).decode(),
            ]
        for entry in outcomes.get(relation, ()):
            fields += [f"#{entry.job}", _mention(entry, request_id)]
            jobs.setdefault(entry.job, _Job()).add(entry)
            counts[RESULTS.index(entry.result)] += 1
        if fields:
            memories.append((str(relation), fields))
    return {
        "opens": opens,
        "relations": memories,
        "jobs": [(name, *entry.row(request_id)) for name, entry in jobs.items()],
        "counts": {f"relations_{name}": count for name, count in zip(RESULTS, counts, strict=True) if count},
    }


class _Job:
    """What one chunk does to one job."""

    __slots__ = ("by", "counts", "failed", "refusal", "state")

    def __init__(self, state: str = "") -> None:
        self.state, self.by, self.refusal = state, "", ""
        self.counts, self.failed = [0, 0, 0, 0], list[str]()

    def add(self, entry: RelationOutcome) -> None:
        """Count one outcome; the first refusal stands for the job."""
        self.counts[RESULTS.index(entry.result)] += 1
        if entry.by:
            self.by = entry.by
        if entry.result == "failed":
            self.failed.append(str(entry.relation))
            if entry.refusal and not self.refusal:
                self.refusal = encode((*entry.refusal, str(entry.relation))).decode()

    def row(self, request_id: str) -> tuple[object, ...]:
        """As `set_job` of the scripts wants it."""
        travelled = request_id if any((self.counts[0], self.counts[3], self.state)) else ""
        return self.counts, travelled, self.state, self.by, self.refusal, " ".join(self.failed)


def _opened(relation: Relation, writes: Writes) -> tuple[object, ...]:
    entry = writes.opens[relation]
    blob, due = (
        (_encode_open(entry.open).decode(), entry.open.not_before or entry.open.since)
        if entry.open
        else ("", 0)
    )
    side = {"first": "|f|", "held": "|h|", "": ""}[entry.side]
    return (str(relation), blob, due, entry.guard, side) if entry.guard else (str(relation), blob, due)


def _encode_open(opened: OpenRelation) -> bytes:
    stage = opened.stage
    return encode(
        StoredOpen(
            opened.intents,
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
            opened.waits_for_swap,
            opened.first_half_failed,
            opened.refusal,
        )
    )


def _decode_open(text: bytes) -> OpenRelation:
    kept, stage = _stored_open(text), Stage.WRITE
    if kept.verify:
        stage = Stage.READ_REJECTED if kept.refused else Stage.READ_BACK
    elif kept.absent:
        stage = Stage.WRITE_ABSENT
    return OpenRelation(
        kept.wishes,
        kept.cleared,
        kept.since,
        kept.not_before,
        kept.tries,
        kept.losses,
        kept.misses,
        stage,
        kept.part,
        kept.reduced,
        kept.held,
        kept.spoiled,
        kept.refusal,
    )


def _mention(entry: RelationOutcome, request_id: str) -> str:
    why = f"{entry.refusal.code} {entry.refusal.error}" if entry.refusal else entry.by or request_id
    return f"{entry.result} {why}".strip()


def _dismissal(text: str) -> Dismissal:
    at, _, rest = text.partition(" ")
    return Dismissal(int(at), *msgspec.json.decode(rest, type=tuple[str, str]))


def _ids(ids: tuple[int, ...]) -> str:
    return str(ids[0]) if len(ids) == 1 else ",".join(map(str, ids))


def _numbers(text: bytes) -> tuple[int, ...]:
    return tuple(map(int, text.split(b","))) if text else ()
