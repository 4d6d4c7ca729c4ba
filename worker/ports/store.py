"""The status store: what intake hands in, what it answers, and everything that can be asked and done beside a flush."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol

from worker.contract import Change, Relation
from worker.ports.job_admin import AuditEntry
from worker.ports.records import FOREVER, JobRecord, Pause, RelationEvent, RequestRecord
from worker.ports.work import Lease, RelationRecord

NOBODY: Final[Mapping[str, str]] = MappingProxyType({})


class Submission(NamedTuple):
    """A change with the job id it gets if it is new. `redelivered` sources are told apart by event id alone, not by content.

    `firsts` are the guard keys of the relations it would put first (R12), counted until it is taken.
    """

    job: str
    change: Change
    event_id: str
    redelivered: bool = False
    first_halves: tuple[str, ...] = ()


class Receipt(NamedTuple):
    """What became of a submission: its job, and whether that job existed before."""

    job: str
    duplicate: bool = False


class RefusedChange(NamedTuple):
    """Why a submission was not accepted; `position` in the list that was handed in."""

    position: int
    reason: Literal["conflict", "ahead", "too_old"]
    job: str = ""


class AcceptResult(NamedTuple):
    """The answer of intake for one account: receipts or refusals (then nothing was written), and whether to wake a worker."""

    receipts: tuple[Receipt, ...]
    refused: tuple[RefusedChange, ...] = ()
    wake: bool = False


class UnreadableMessage(NamedTuple):
    """A message that makes no change: whose (by what it says; may be nobody's), everything wrong with it, and its bytes as they came."""

    account: str
    source: str
    event_id: str
    faults: tuple[str, ...]
    body: bytes


class Store(Protocol):
    """The status store and the accounts' inboxes."""

    def accept(
        self, account: str, submissions: Sequence[Submission], *, max_backlog: int, oldest: float
    ) -> AcceptResult:
        """Write the submissions, all or none; the same again answers the same."""

    def reject(self, account: str, job: str, message: UnreadableMessage) -> Receipt:
        """Keep a message as a failed job that waits for a decision; one that comes again is the same job."""

    def accept_rounds(
        self, account: str, rounds: Iterable[Sequence[Submission]], *, max_backlog: int, oldest: float
    ) -> Iterator[AcceptResult]:
        """The same for one round after the other, each all or none; the next may be on its way while the one before is written."""

    def lease(self, account: str, holder: str) -> Lease | None:
        """The account's lease, None while another holder has it. Clears the wake mark."""

    def due_accounts(self, accounts: Sequence[str], *, credentials: Mapping[str, str] = NOBODY) -> list[str]:
        """The accounts with due work that nobody holds and no fresh message waits for; marks them as woken (R22).

        Of those that are paused for their credentials only the ones that now have others, by the fingerprints in `credentials` (R20).
        """

    def tidy(self, account: str, after: int = 0) -> int:
        """Let the account's indexes forget jobs and requests that are forgotten: a bounded part of them, of jobs those with
        acceptance numbers above `after`. Returns the number to go on after; 0 once all were seen."""

    def accounts(self) -> list[str]:
        """Every account that ever had a change."""

    def get_job(self, job_id: str) -> JobRecord | None:
        """One job."""

    def batch_counts(self, account: str, label: str) -> Mapping[str, int]:
        """Counts of a batch label: accepted, and finished by state."""

    def counts(self, account: str) -> Mapping[str, int]:
        """The account's counters: accepted, backlog, open relations, outcomes, requests, actions."""

    def relation_history(
        self, account: str, relation: Relation
    ) -> tuple[RelationRecord, tuple[RelationEvent, ...]]:
        """What is kept of a relation, and the jobs that named it, oldest first."""

    def get_request(self, account: str, request_id: str) -> RequestRecord | None:
        """What was sent and answered."""

    def requeue(
        self, account: str, jobs: Sequence[str], *, mark: str = "", since: int = FOREVER
    ) -> tuple[list[str], bool]:
        """Put the failed relations of these jobs back into the inbox; the jobs that were, and whether to wake a worker.

        What was put back under a mark is not put back under it again, but named again. What was dismissed after `since` (µs) stays.
        """

    def failed_jobs(self, account: str, *, limit: int) -> list[str]:
        """Ids of failed jobs that wait for a decision, oldest first."""

    def get_pause(self, account: str) -> Pause | None:
        """Why the account is stopped, if it is."""

    def pause(self, account: str, pause: Pause, *, deed: AuditEntry | None = None) -> None:
        """Stop the account by hand; the deed says who does."""

    def resume(self, account: str, *, deed: AuditEntry | None = None, since: int | None = None) -> bool:
        """Let it go on, if it is paused since then (µs; None: since ever); whether it was."""
