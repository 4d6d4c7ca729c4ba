"""What people do to jobs besides sending them, and what is kept of who did what; nothing here is on the way of a change."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from worker.contract import TYPES, Relation
from worker.errors import NotFound
from worker.ports.records import JobRecord
from worker.ports.work import Lease

CANCELLED: Final = "cancelled"
"""What a change is superseded by that was cancelled."""
ERASED: Final = "erased"
"""What a relation is superseded by, and a job was emptied by, when a record was erased."""
UNROUTED: Final = "unrouted"
"""The lane of messages that name no known account; no account may have this name."""


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what, to what (in words) and to how many, under a fresh sortable name. `at` (µs) and `count` are the store's to say."""

    name: str
    by: str
    act: str
    what: str = ""
    note: str = ""
    count: int = 0
    at: int = 0


class AuditPage(NamedTuple):
    """Deeds, newest first, and the cursor of the next page (empty: no more)."""

    deeds: tuple[AuditEntry, ...]
    next: str


class AdminResult(NamedTuple):
    """The jobs that were acted on, and why the others were not: the state they are in, or `gone`."""

    done: tuple[str, ...]
    refused: Mapping[str, str]


class Payload(NamedTuple):
    """What is kept of an unreadable message: its bytes (of `size`; fewer if it was cut) and everything that was wrong with it."""

    body: bytes
    faults: tuple[str, ...]
    size: int


class RecordRef(NamedTuple):
    """A record of a module, e.g. address 9001: whoever it is about may ask to be erased."""

    module: str
    number: int

    @property
    def sides(self) -> dict[str, str]:
        """The relation types it can stand in, and on which side: `p`, `c` or `pc`."""
        named = {
            name: "p" * (each.parent == self.module) + "c" * (each.child == self.module)
            for name, each in TYPES.items()
        }
        return {name: sides for name, sides in named.items() if sides}

    def is_on(self, side: str, name: str, number: int) -> bool:
        """Whether an id on this side (`p` or `c`) of a relation type is the record's."""
        return (
            number == self.number
            and (TYPES[name].parent if side == "p" else TYPES[name].child) == self.module
        )

    def stands_in(self, relation: Relation) -> bool:
        """Whether it is one of the two."""
        return self.is_on("p", relation.type, relation.parent) or self.is_on(
            "c", relation.type, relation.child
        )


def record_ref(module: str, number: int) -> RecordRef:
    """The record; raises NotFound for a module that no relation type knows."""
    modules = sorted({name for each in TYPES.values() for name in (each.parent, each.child)})
    if module not in modules:
        raise NotFound(f'there is no module "{module}"; known are {", ".join(modules)}')
    return RecordRef(module, number)


ReplayState = Literal["previewed", "running", "stopped", "done"]


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay: a set of failed jobs that was fixed and judged, what would be sent for it, and how far it is. Times in µs.

    `eligible` jobs are its set, `refused` counts the others by reason (`examples` names some). Of the set, `done` were worked so
    far: `back` went back or were sent anew, the rest is counted by reason in `missed`. `plan` is plain data.
    """

    id: str
    account: str
    by: str
    what: str
    forced: bool = False
    correction: Mapping[str, Any] = {}
    eligible: int = 0
    relations: int = 0
    refused: Mapping[str, int] = {}
    examples: Mapping[str, str] = {}
    paused: str = ""
    more: bool = False
    plan: Mapping[str, Any] = {}
    state: ReplayState = "previewed"
    made_at: int = 0
    run_at: int = 0
    finished_at: int = 0
    done: int = 0
    back: int = 0
    missed: Mapping[str, int] = {}


class ReplayEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One job of a replay's set; with `changes` (messages), these are sent anew in its place."""

    job: str
    changes: tuple[Mapping[str, Any], ...] = ()


class JobAdmin(Protocol):
    """Every act names what it was done to; the same again does nothing more, and answers the same."""

    def cancel(self, account: str, jobs: Sequence[str], deed: AuditEntry) -> AdminResult:
        """End changes that wait in the inbox, untaken, as superseded by `CANCELLED`."""

    def dismiss(self, account: str, jobs: Sequence[str], deed: AuditEntry) -> AdminResult:
        """Let failed jobs wait for a decision no longer."""

    def link_replacement(self, job: str, new: Sequence[str], *, by: str, mark: str = "") -> None:
        """Link a failed job with those sent in its place (by the replay `mark`), and dismiss it."""

    def add_audit_entry(self, account: str, deed: AuditEntry) -> None:
        """Remember a deed."""

    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> AuditPage:
        """Who did what, newest first."""

    def get_payload(self, job: str) -> Payload | None:
        """What is kept of the unreadable message that the job stands for."""

    def save_replay(self, replay: Replay, entries: Sequence[ReplayEntry], deed: AuditEntry) -> None:
        """Keep a replay and its set, for a week."""

    def get_replay(self, replay_id: str) -> Replay | None:
        """One replay, with how far it is."""

    def list_replays(self, account: str, *, limit: int = 50) -> Sequence[Replay]:
        """The account's replays, newest first."""

    def replay_entries(self, replay_id: str, start: int, most: int) -> Sequence[ReplayEntry]:
        """A piece of its set."""

    def set_replay_state(self, replay_id: str, to: ReplayState, deed: AuditEntry) -> ReplayState | None:
        """Let it run (on), or stop it; the state it is in then."""

    def advance_replay(
        self, replay: Replay, start: int, end: int, *, back: int, missed: Mapping[str, int], deed: AuditEntry
    ) -> ReplayState | None:
        """Count a piece of the set as worked, once; with the last piece the replay is done. The state it is in then."""

    def stalled_replays(self, account: str, seconds: float) -> Sequence[str]:
        """The replays that should run and have not come on for so long: their worker died, or nobody was told."""

    def touch_replay(self, replay_id: str) -> None:
        """It was given to a worker once more, which gets its time."""

    def count_unsettled(self, account: str) -> int:
        """Requests that were begun and not settled."""

    def open_relations_with(self, account: str, who: RecordRef) -> Sequence[Relation]:
        """The open relations whose work names a record: its own, and those that were split from a star with one of its own."""

    def erase_jobs(self, lease: Lease, who: RecordRef, after: int) -> tuple[int, Mapping[str, int]]:
        """Take a record out of the next jobs numbered above `after`; where to go on (0: done), and counts of what was changed."""

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> tuple[int, Mapping[str, int]]:
        """Take a record out of a part of everything else that is kept; where to go on (0: done), and counts of what was changed."""


def summarize_ids(wanted: Iterable[str]) -> str:
    """Ids in words: the first few, and how many more."""
    ids = list(wanted)
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")


def needs_decision(job: JobRecord) -> bool:
    """Whether it failed and was neither dismissed nor emptied."""
    return job.state == "failed" and job.dismissed is None and job.by != ERASED
