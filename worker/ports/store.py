"""The status store: what intake submits, what it gets back, and what can be read and done besides a flush."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from worker.contract import Change, Relation
from worker.planner.relation_state import RelationRecord
from worker.ports.job_admin import ALL_FAILED
from worker.ports.pace import Pause
from worker.ports.records import FOREVER, AuditEntry, JobRecord, RelationEvent
from worker.ports.requests import RequestRecord
from worker.ports.work import Lease

MAX_KEPT_BODY: Final = 64 * 1024  # bytes kept of an unreadable message
NOBODY: Final[Mapping[str, str]] = MappingProxyType({})


class Retention(NamedTuple):
    """How long finished jobs and failed jobs are kept, and event ids remembered at least, in seconds.

    Failed jobs of an earlier time may be `promised` a longer life. Of an account that the settings do not
    have (`is_set`), what they said last counts.
    """

    finished: float = 7 * 86_400.0
    failed: float = 30 * 86_400.0
    remembered: float = 4 * 86_400.0
    promised: float = 0.0
    is_set: bool = True

    @property
    def memory(self) -> float:
        """How long a relation's memory is kept: as long as the longest-lived job it may judge (R8)."""
        return max(self.finished, self.failed, self.promised)

    def at_least(self, other: "Retention") -> "Retention":
        """Return what keeps everything as long as either does."""
        finished, failed, remembered = map(max, self[:3], other[:3])
        return Retention(finished, failed, remembered)


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A change with the job id that it gets if it is new.

    One that a webhook delivered is recognised by its event id alone, not by its content. A replace that
    `removes_first` does not wait with that until all that it names is there.
    """

    job: str
    change: Change
    event_id: str
    removes_first: bool = False


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What became of a submission: its job, and whether that job existed before."""

    job: str
    duplicate: bool = False


class RefusedChange(NamedTuple):
    """Why a submission was not accepted, and its position in the list.

    `conflict`: another change has this event id, as `job`. `ahead`: it occurs in the future. `too_old`: it is
    older than the relation memory. Both are by the store's clock, which is at `now` (µs).
    """

    position: int
    reason: Literal["conflict", "ahead", "too_old"]
    job: str = ""
    now: int = 0


class AcceptResult(NamedTuple):
    """The receipts of one account's submissions, or refusals with nothing written; and whether to wake."""

    receipts: tuple[Receipt, ...]
    refused: tuple[RefusedChange, ...] = ()
    wake: bool = False


class IntakeBounds(NamedTuple):
    """How many changes of an account may wait, how many seconds old they may be, and how many bytes."""

    backlog: int
    oldest: float
    backlog_bytes: int = 2**53


class UnreadableMessage(NamedTuple):
    """A message that is no change: the account it names (perhaps unknown), every fault, and its bytes.

    One that was `delivered` is a webhook's, and `source` is that webhook. The bytes may be cut to the first
    MAX_KEPT_BODY of `size` (0: all of them).
    """

    account: str
    source: str
    event_id: str
    faults: tuple[str, ...]
    body: bytes
    delivered: bool = False
    size: int = 0


class Store(Protocol):
    """The status store and the accounts' inboxes."""

    def accept(self, account: str, submissions: Sequence[Submission], bounds: IntakeBounds) -> AcceptResult:
        """Write the submissions, all or none; a repeated call returns the same."""

    def reject(self, account: str, job: str, message: UnreadableMessage) -> Receipt:
        """Keep a message as a failed job that needs a decision; a repeated message is the same job."""

    def find_accepted(self, account: str, changes: Iterable[Change]) -> Sequence[str]:
        """Return the jobs that have the event ids of these changes."""

    def accept_rounds(
        self, account: str, rounds: Iterable[Sequence[Submission]], bounds: IntakeBounds
    ) -> Iterator[AcceptResult]:
        """Accept list after list, each all or none; one may be prepared while the one before is written."""

    def lease(self, account: str, holder: str) -> Lease | None:
        """Take the account's lease and clear its woken mark; return None while another worker has it."""

    def due_accounts(self, accounts: Sequence[str], *, credentials: Mapping[str, str] = NOBODY) -> list[str]:
        """Return accounts with due work, without a lease or a recent flush message; mark them as woken (R22).

        An account that is paused for its credentials is among them only if it has others now, by the
        fingerprints in `credentials` (R20).
        """

    def bring_forward(self, account: str, by: int) -> int:
        """Let what is dated ahead be due by so many µs earlier, because the clock was set back.

        Return how much that is; what is repeated is due too early, which costs a try.
        """

    def tidy(self, account: str, after: int = 0) -> int:
        """Remove jobs and requests that have expired from the account's indexes, a bounded number of them.

        Jobs are examined from the acceptance number `after` on; return the number to go on after, 0 once all
        were seen.
        """

    def accounts(self) -> list[str]:
        """Return every account that ever had a change."""

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return one job, None if it is unknown or forgotten."""

    def batch_counts(self, account: str, label: str) -> Mapping[str, int]:
        """Count the jobs of a batch label: accepted, and finished by state."""

    def counts(self, account: str) -> Mapping[str, int]:
        """Return the account's counters: accepted, backlog, open relations, outcomes, requests, actions."""

    def relation_history(
        self, account: str, relation: Relation
    ) -> tuple[RelationRecord, tuple[RelationEvent, ...]]:
        """Return what is kept of a relation, and the jobs that were about it, oldest first."""

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        """Return what was sent and answered, None if it is unknown or forgotten."""

    def requeue(
        self,
        account: str,
        jobs: Sequence[str],
        *,
        mark: str = "",
        since: int = FOREVER,
        only: Mapping[str, Collection[str]] = ALL_FAILED,
    ) -> tuple[list[str], bool]:
        """Put failed relations of jobs back into the inbox; return the jobs, and whether to wake a worker.

        Those that wait for a decision go back, or all of a job in which none does any more; of a job in
        `only` just these, by name. A job is put back once under the same `mark`, but is among the returned
        again. What was dismissed after `since` (µs) stays as it is.
        """

    def failed_jobs(self, account: str, *, limit: int) -> list[str]:
        """Return the ids of failed jobs that need a decision, oldest first."""

    def get_pause(self, account: str) -> Pause | None:
        """Return the pause of the account, if it is paused."""

    def pause(self, account: str, pause: Pause, *, audit_entry: AuditEntry | None = None) -> None:
        """Pause the account for an operator, who is in the audit entry."""

    def resume(
        self, account: str, *, audit_entry: AuditEntry | None = None, since: int | None = None
    ) -> bool:
        """Resume the account if it is paused, and since then (µs; None: any time); return whether it was."""
