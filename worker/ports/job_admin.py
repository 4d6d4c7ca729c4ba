"""What operators do to jobs; no change passes here."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from worker.contract import Reference
from worker.ports.erasure import Erasure
from worker.ports.records import AuditEntry, Failure, JobRecord
from worker.ports.replays import Replays

ALL_FAILED: Final[Mapping[str, Collection[str]]] = MappingProxyType({})
"""Names of no relations: an act is about all the failed relations of each job that wait for a decision."""
CANCELLED: Final = "cancelled"
"""What a cancelled change is superseded by."""
REPLACED: Final = "replaced"
"""Why a failure that was sent anew as another job needs no decision any more."""


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


class JobAdmin(Replays, Erasure, Protocol):
    """What operators do to jobs. A repeated call changes nothing more, and returns the same."""

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Add an entry to the audit log; of one that is there, raise the count to this one's."""

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

    def get_payload(self, job: str) -> Payload | None:
        """Return what is kept of the unreadable message that the job stands for."""


def summarize_ids(wanted: Iterable[str]) -> str:
    """Return the first few ids as text, and how many more there are."""
    ids = list(wanted)
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")


def waiting_failures(job: JobRecord) -> tuple[Failure, ...]:
    """Return the failures of a job that wait for a decision; all of them, if none waits any more."""
    if job.dismissed:
        return job.failures
    return tuple(failure for failure in job.failures if failure.dismissed is None)
