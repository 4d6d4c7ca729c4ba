"""What people and monitors ask of the status store; nothing here is on the way of a change."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from worker.contract import Relation
from worker.ports.records import FailureGroup, JobFilter, JobPage, JobRecord, JobState, RequestPage
from worker.ports.work import RelationRecord


class Queries(Protocol):
    """Each answer examines a bounded number of entries, however many jobs there are."""

    def find_jobs(self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = "") -> JobPage:
        """Jobs that fit, newest first; a page may hold few or none and still have a next one."""

    def count_by_state(self, account: str) -> Mapping[str, int]:
        """Jobs by state: those open now, those that ended since the account's beginning, and `unresolved` failures."""

    def get_states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """The states of these jobs, of one account or of several; what is not there (any more) is left out."""

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        """These jobs, of one account or of several; what is not there (any more) is left out."""

    def get_records(self, account: str, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """What is open and known of these relations now."""

    def failure_groups(self, account: str) -> Sequence[FailureGroup]:
        """What waits for a decision, by error and type, the most jobs first."""

    def list_requests(self, account: str, *, limit: int = 50, cursor: str = "") -> RequestPage:
        """What was sent and answered, newest first."""
