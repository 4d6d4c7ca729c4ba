"""What one transition writes, in chunks for the scripts that do not block the server for long."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from worker.contract import Relation
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import RESULTS
from worker.ports import Writes
from worker.store import codec

RELATIONS_PER_CHUNK = 500


def split_into_chunks(
    writes: Writes, request_id: str, *, size: int = RELATIONS_PER_CHUNK
) -> Iterator[dict[str, Any]]:
    """Yield the writes for claim.lua and settle.lua in chunks; all that concerns a relation is in one chunk.

    `size` 0 leaves them in one piece.
    """
    written = list(
        dict.fromkeys([*(entry.relation for entry in writes.outcomes), *writes.opens, *writes.confirmed])
    )
    outcomes: dict[Relation, list[RelationOutcome]] = defaultdict(list)
    for entry in writes.outcomes:
        outcomes[entry.relation].append(entry)
    size = size or len(written) or 1
    for start in range(0, max(1, len(written)), size):
        states = writes.job_states if start == 0 else {}
        yield _chunk(writes, written[start : start + size], outcomes, request_id, states=states)


def _chunk(
    writes: Writes,
    written: list[Relation],
    outcomes: Mapping[Relation, list[RelationOutcome]],
    request_id: str,
    *,
    states: Mapping[str, str],
) -> dict[str, Any]:
    opens, memories, totals = [], [], [0, 0, 0, 0]
    jobs: dict[str, _JobWrite] = {job: _JobWrite(state) for job, state in states.items()}
    for relation in written:
        if relation in writes.opens:
            opens.append(_open_write(relation, writes))
        fields: list[object] = []
        if relation in writes.confirmed:
            state, doubt = writes.confirmed[relation]
            memory = codec.StoredMemory(state.present, state.absent, dict(state.info), doubt)
            fields += ["k", codec.encode(memory).decode()]
        for outcome in outcomes.get(relation, ()):
            fields += [f"#{outcome.job}", _event(outcome, request_id)]
            jobs.setdefault(outcome.job, _JobWrite()).add(outcome)
            totals[RESULTS.index(outcome.result)] += 1
        if fields:
            memories.append((str(relation), fields))
    return {
        "opens": opens,
        "relations": memories,
        "jobs": [(job_id, *write.row(request_id)) for job_id, write in jobs.items()],
        "counts": {
            f"relations_{result}": count for result, count in zip(RESULTS, totals, strict=True) if count
        },
    }


class _JobWrite:
    """What one chunk changes of one job."""

    __slots__ = ("by", "counts", "failed", "refusal", "state")

    def __init__(self, state: str = "") -> None:
        self.state, self.by, self.refusal = state, "", ""
        self.counts, self.failed = [0, 0, 0, 0], list[str]()

    def add(self, outcome: RelationOutcome) -> None:
        """Count one outcome; the first refusal becomes the job's."""
        self.counts[RESULTS.index(outcome.result)] += 1
        if outcome.by:
            self.by = outcome.by
        if outcome.result == "failed":
            self.failed.append(str(outcome.relation))
            if outcome.refusal and not self.refusal:
                self.refusal = codec.encode((*outcome.refusal, str(outcome.relation))).decode()

    def row(self, request_id: str) -> tuple[object, ...]:
        """Return the row that `update_job` of the scripts takes."""
        was_sent = self.counts[0] or self.counts[3] or self.state
        return (
            self.counts,
            request_id if was_sent else "",
            self.state,
            self.by,
            self.refusal,
            " ".join(self.failed),
        )


def _open_write(relation: Relation, writes: Writes) -> tuple[object, ...]:
    """Return what `write_open_relations` of the scripts takes."""
    write = writes.opens[relation]
    row: tuple[object, ...] = str(relation), "", 0
    if write.open:
        row = str(relation), codec.encode_open(write.open).decode(), write.open.not_before or write.open.since
    if not write.guard:
        return row
    return (*row, write.guard, write.in_doubt_until)


def _event(outcome: RelationOutcome, request_id: str) -> str:
    """Return an outcome as a relation's history keeps it: the result and why."""
    refusal = outcome.refusal
    why = f"{refusal.code} {refusal.error}" if refusal else outcome.by or request_id
    return f"{outcome.result} {why}".strip()
