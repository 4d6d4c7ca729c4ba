"""What people and monitors ask of the status store; no change passes here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from worker.contract import Relation
from worker.planner.relation_state import RelationRecord
from worker.ports.records import FailureGroup, JobFilter, JobPage, JobRecord, JobState, RequestPage


class Queries(Protocol):
    """Reads of the store; each examines a bounded number of entries, however many jobs there are."""

    def find_jobs(self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = "") -> JobPage:
        """Return the jobs that match, newest first; a page may hold few or none and still have a next one."""

    def count_by_state(self, account: str) -> Mapping[str, int]:
        """Count jobs by state: those open now, all that ever ended, and `unresolved` failures."""

    def get_states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the states of these jobs, of one account or several, without unknown and forgotten ones."""

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        """Return these jobs, of one account or several, without unknown and forgotten ones."""

    def get_records(self, account: str, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what is open and confirmed about these relations now."""

    def failure_groups(self, account: str) -> Sequence[FailureGroup]:
        """Return the jobs that need a decision, by error and type, the largest group first."""

    def list_requests(self, account: str, *, limit: int = 50, cursor: str = "") -> RequestPage:
        """Return what was sent and answered, newest first."""
