"""What operators do to jobs, and the audit log of it; no change passes here."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from worker.contract import TYPES, Reference, Relation
from worker.errors import NotFound
from worker.planner.actions import Action
from worker.ports.records import Failure, JobRecord
from worker.ports.work import BegunRequest, Lease, Writes

ALL_FAILED: Final[Mapping[str, Collection[str]]] = MappingProxyType({})
"""Names of no relations: an act is about all the failed relations of each job that wait for a decision."""
CANCELLED: Final = "cancelled"
"""What a cancelled change is superseded by."""
REPLACED: Final = "replaced"
"""Why a failure that was sent anew as another job needs no decision any more."""
ERASED: Final = "erased"
"""What a relation is superseded by, and a job was emptied by, when a record is erased."""


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what, to what (in words) and to how many.

    `name` is a fresh sortable id; the store sets `at` (µs) and `count`.
    """

    name: str
    by: str
    act: str
    what: str = ""
    note: str = ""
    count: int = 0
    at: int = 0


class AuditPage(NamedTuple):
    """Audit entries, newest first, and the cursor of the next page (empty: no more)."""

    entries: tuple[AuditEntry, ...]
    next: str


class AdminResult(NamedTuple):
    """The jobs that were changed, and why the others were not: the state they are in, or `gone`."""

    done: tuple[str, ...]
    refused: Mapping[str, str]


class Payload(NamedTuple):
    """What is kept of an unreadable message: its bytes (fewer than `size` if it was cut) and every fault.

    `delivered` says whether it is a webhook's; None for those that earlier releases kept.
    """

    body: bytes
    faults: tuple[str, ...]
    size: int
    delivered: bool | None = None


class RecordRef(NamedTuple):
    """A record of a module, e.g. address 9001; the person it is about may ask for its erasure."""

    module: str
    number: int

    @property
    def sides(self) -> dict[str, str]:
        """The relation types it can be part of, and on which side: parent `p`, child `c`, or both `pc`."""
        sides = {
            name: "p" * (relation_type.parent == self.module) + "c" * (relation_type.child == self.module)
            for name, relation_type in TYPES.items()
        }
        return {name: where for name, where in sides.items() if where}

    def is_on(self, side: str, name: str, number: int) -> bool:
        """Return whether an id on this side (`p` or `c`) of a relation type is the record's."""
        return (
            number == self.number
            and (TYPES[name].parent if side == "p" else TYPES[name].child) == self.module
        )

    def is_record(self, module: str, number: int) -> bool:
        """Return whether this is the record."""
        return (module, number) == (self.module, self.number)

    def is_part_of(self, relation: Relation) -> bool:
        """Return whether it is the parent or the child of the relation."""
        return self.is_on("p", relation.type, relation.parent) or self.is_on(
            "c", relation.type, relation.child
        )

    def is_named_by(self, action: Action) -> bool:
        """Return whether the action is about one of its relations, or was split from a star of one."""
        split_from = action.split_from
        return any(map(self.is_part_of, action.relations)) or bool(split_from and self.is_part_of(split_from))


class UnsettledRequests(NamedTuple):
    """The requests of an account that were begun and not settled, read at `now` (µs)."""

    now: int
    requests: tuple[BegunRequest, ...]


class Withdrawal(NamedTuple):
    """What ends a record's open relations, how many do, and which must wait for a definite answer.

    `waiting` says until when (µs) a write of each may still land; `jobs` are those that wait with them.
    """

    writes: Writes
    ended: int
    waiting: Mapping[Relation, int]
    jobs: frozenset[str]


class ErasedPiece(NamedTuple):
    """What was erased from a piece of what is kept: where to go on (0: all is done), and counts by kind.

    `in_doubt` are relations whose memory stays until then (µs), because a write of them may still land.
    `looked` counts what was looked at, by kind.
    """

    next: int
    counts: Mapping[str, int]
    in_doubt: Mapping[Relation, int] = MappingProxyType({})
    looked: Mapping[str, int] = MappingProxyType({})


def record_ref(module: str, number: int) -> RecordRef:
    """Return the record; raise NotFound for a module that no relation type has."""
    modules = sorted({module for known in TYPES.values() for module in (known.parent, known.child)})
    if module not in modules:
        raise NotFound(f'there is no module "{module}"; known are {", ".join(modules)}')
    return RecordRef(module, number)


ReplayState = Literal["previewed", "running", "stopped", "done"]


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay: a fixed set of failed jobs, what would be sent for it, and how far it is. Times in µs.

    The set of a `repair` is of new changes, which ask once more for what was confirmed and has drifted.
    `eligible` jobs are in the set, `refused` counts the others by reason (`examples` has some). `done` of the
    set were handled so far: `back` were put back or sent as new jobs, the rest is counted by reason in
    `missed`. `plan` is plain data. It sends into `accounts`, its own and those that kept messages name.
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
    accounts: tuple[str, ...] = ()
    repair: bool = False
    state: ReplayState = "previewed"
    made_at: int = 0
    run_at: int = 0
    finished_at: int = 0
    done: int = 0
    back: int = 0
    missed: Mapping[str, int] = {}


class ReplayEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One job of a replay's set; if it has `changes` (messages), these are sent as new jobs in its place.

    Their event ids are a webhook's if its message was `delivered`. `relations` are the failed ones that it is
    about, by name; without any, it is about all that wait for a decision. Changes without a job replace none.
    """

    job: str
    changes: tuple[Mapping[str, Any], ...] = ()
    delivered: bool = False
    relations: tuple[str, ...] = ()


class JobAdmin(Protocol):
    """What operators do to jobs. A repeated call changes nothing more, and returns the same."""

    def cancel(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """End changes that are still in the inbox as superseded by `CANCELLED`."""

    def dismiss(
        self,
        account: str,
        jobs: Sequence[str],
        audit_entry: AuditEntry,
        *,
        only: Mapping[str, Collection[str]] = ALL_FAILED,
    ) -> AdminResult:
        """Mark failed jobs as needing no decision any more; of those in `only` just these relations."""

    def resolve(
        self,
        account: str,
        jobs: Sequence[str],
        records: Mapping[Reference, int],
        audit_entry: AuditEntry,
    ) -> AdminResult:
        """Write which records these references of jobs are that wait for them, or have failed for them (R26).

        A job whose records are all known then is carried out; else the others are looked up at once.
        """

    def look_up_now(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """Let parked jobs be looked up at once, instead of when their delay is over."""

    def link_replacement(
        self, job: str, new: Sequence[str], *, by: str, mark: str = "", only: Collection[str] = ()
    ) -> None:
        """Link a failed job with those that replace it (by the replay `mark`), and dismiss it.

        With `only`, they replace just these of its relations, and the others still wait for a decision.
        """

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Add an entry to the audit log."""

    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> AuditPage:
        """Return who did what, newest first."""

    def get_payload(self, job: str) -> Payload | None:
        """Return what is kept of the unreadable message that the job stands for."""

    def save_replay(self, replay: Replay, entries: Sequence[ReplayEntry], audit_entry: AuditEntry) -> None:
        """Keep a replay and its set for a week."""

    def get_replay(self, replay_id: str) -> Replay | None:
        """Return one replay, with how far it is."""

    def list_replays(self, account: str, *, limit: int = 50) -> Sequence[Replay]:
        """Return the account's replays, newest first."""

    def replay_entries(self, replay_id: str, start: int, most: int) -> Sequence[ReplayEntry]:
        """Return at most `most` entries of a replay's set, from the position `start` on."""

    def set_replay_state(
        self, replay_id: str, to: ReplayState, audit_entry: AuditEntry
    ) -> ReplayState | None:
        """Run or stop a replay; return the state that it is in then."""

    def advance_replay(
        self,
        replay: Replay,
        start: int,
        end: int,
        *,
        back: int,
        missed: Mapping[str, int],
        audit_entry: AuditEntry,
    ) -> ReplayState | None:
        """Count the entries from `start` to `end` as handled, once; return the state after that."""

    def stalled_replays(self, account: str, seconds: float) -> Sequence[str]:
        """Return running replays without progress for so long: their worker died, or a message was lost."""

    def touch_replay(self, replay_id: str) -> None:
        """Restart the time after which the replay counts as stalled: a worker was given it once more."""

    def unsettled_requests(self, account: str) -> UnsettledRequests:
        """Return the requests that were begun and not settled, oldest first."""

    def open_relations_with(self, account: str, who: RecordRef) -> Sequence[Relation]:
        """Return the open relations that name a record: its own, and those split from a star with it."""

    def erase_jobs(
        self, lease: Lease, who: RecordRef, after: int, *, waiting: Collection[str] = ()
    ) -> ErasedPiece:
        """Erase a record from the next jobs after number `after`, but not from those that are `waiting`.

        First, from 0 on, replays that would send it again: they would do so behind the last job.
        """

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> ErasedPiece:
        """Erase a record from the next part of what else is kept; memories in doubt stay."""

    def rewrite_append_only_file(self) -> str:
        """Let the server rewrite its append-only file; return what became of that, in words."""


def summarize_ids(wanted: Iterable[str]) -> str:
    """Return the first few ids as text, and how many more there are."""
    ids = list(wanted)
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")


def waiting_failures(job: JobRecord) -> tuple[Failure, ...]:
    """Return the failures of a job that wait for a decision; all of them, if none waits any more."""
    if job.dismissed:
        return job.failures
    return tuple(failure for failure in job.failures if failure.dismissed is None)
