"""Jobs, memories and idempotency keys as release 0.1.0 stored them, read as those of this release. Pure."""

from collections.abc import Mapping

import msgspec

from worker.planner.fold import NEVER, RESULTS, ConfirmedInfo, ConfirmedState, JobVersion
from worker.planner.relation_state import Doubt
from worker.store.jobs.stored_job import ACTIONS, FAILED, NO_EVENT, NUMBER_OF, LoadedJob, StoredJob
from worker.store.keys import short_id
from worker.store.memories import Memory


class OldMemory(
    msgspec.Struct, frozen=True, rename={"present": "p", "absent": "a", "info": "i", "doubt": "d"}
):
    """A relation's memory as release 0.1.0 stored it."""

    present: JobVersion = NEVER
    absent: JobVersion = NEVER
    info: dict[str, ConfirmedInfo] = {}
    doubt: Doubt | None = None


_decode_memory = msgspec.json.Decoder(OldMemory).decode
_decode_info = msgspec.json.Decoder(dict[str, str]).decode
_decode_refusal = msgspec.json.Decoder(tuple[int, str, str, str]).decode
_decode_dismissal = msgspec.json.Decoder(tuple[str, str]).decode


def read_event(value: bytes) -> bytes:
    """Return the value of an idempotency key without the account."""
    job, _, fingerprint = value.decode().partition(" ")
    return f"{short_id(job)} {fingerprint}".encode()


def read_memory(relation: str, row: Mapping[bytes, bytes]) -> Memory:
    """Return the memory of a relation, of the fields of its hash."""
    memory = Memory(relation)
    if text := row.get(b"k"):
        old = _decode_memory(text)
        memory = Memory(relation, ConfirmedState(old.present, old.absent, old.info), old.doubt)
    events = []
    for name, value in sorted(row.items()):
        if name.startswith(b"#"):
            result, _, why = value.decode().partition(" ")
            events.append((short_id(name[1:].decode()), RESULTS.index(result), why))
    memory.events = tuple(events)
    return memory


def read_job(short: str, row: Mapping[bytes, bytes], *, expires: int) -> LoadedJob:
    """Return a job, of the fields of its hash."""
    text = {name.decode(): value.decode() for name, value in row.items()}
    state = NUMBER_OF[text["s"]]  # type: ignore[index]
    event_id = text.get("e")
    at, _, why = text.get("d", "").partition(" ")
    value = StoredJob(
        action=ACTIONS[text["a"]],
        type=text["t"],
        parents=_ids(text["p"]),
        children=_ids(text["c"]),
        occurred_at=int(text["o"]),
        digest=bytes.fromhex(text.get("k", "")),
        event_id=NO_EVENT if event_id is None else "" if event_id == short else event_id,
        info=_decode_info(text["i"]) if "i" in text else None,
        source=text.get("u", ""),
        batch=text.get("b", ""),
        correlation=text.get("ci", ""),
        allow_empty="ae" in text,
        state=state,
        finished_at=int(text.get("f", 0)),
        expires=expires,
        left=int(text["r"]),
        total=int(text["z"]),
        counts=tuple(int(text.get(name, 0)) for name in ("ok", "su", "st", "fa")),  # type: ignore[arg-type]
        attempts=int(text.get("m", 0)),
        requests=tuple(text.get("w", "").split()),
        by=text.get("y", ""),
        refusal=_decode_refusal(text["x"]) if "x" in text else None,
        failed=tuple(text.get("fr", "").split()),
        again=tuple(text.get("ag", "").split()),
        requeued_at=int(text.get("bk", 0)),
        dismissed=(int(at), *_decode_dismissal(why)) if at else None,
        replays=text.get("rp", ""),
        replayed_by=tuple(text.get("rb", "").split()),
        replay=text.get("rm", ""),
    )
    is_kept = state == FAILED or value.requeued_at > 0
    return LoadedJob(short, int(text["n"]), int(text["q"]), value, is_kept=is_kept)


def _ids(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()
