"""What people and monitors ask of the status store; no change passes here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypedDict, TypeVar

from worker.contract import Relation
from worker.planner.relation_state import RelationRecord
from worker.ports.drift import ConfirmedPage
from worker.ports.pace import Pause
from worker.ports.records import FailureGroup, JobFilter, JobRecord, JobState, RelationEvent

Entry = TypeVar("Entry")


class AccountState(NamedTuple):
    """What the store knows of an account that decides whether something of it is sent, read at `now` (µs).

    The pause in force, credentials that were `refused` lately (their fingerprint), whether a worker has it at
    work, how many changes wait in the inbox and since when the first does (µs), the open relation that is due
    next, and the relations of requests that were begun and not settled.
    """

    now: int
    pause: Pause | None = None
    refused: str = ""
    is_leased: bool = False
    waiting: int = 0
    oldest: int = 0
    next_due: Relation | None = None
    sent: frozenset[Relation] = frozenset()


class CursorPage(NamedTuple, Generic[Entry]):
    """Some entries of a list, newest first, and the cursor of those behind them; empty after the last."""

    entries: tuple[Entry, ...]
    next: str


class CursorDict(TypedDict):
    """The cursor of the next page of a document; null after the last."""

    next: str | None


AnyPage = TypeVar("AnyPage", bound=CursorPage[Any] | CursorDict)


def walk_pages(find_page: Callable[[str], AnyPage], cursor: str = "") -> Iterator[AnyPage]:
    """Yield the pages of a list, from the first or from that of the cursor to the last."""
    while True:
        page = find_page(cursor)
        yield page
        if not (cursor := next_cursor(page)):
            return


def next_cursor(page: CursorPage[Any] | CursorDict) -> str:
    """Return where the next page begins; empty after the last."""
    return (page["next"] or "") if isinstance(page, dict) else page.next


def fill_page(
    find_page: Callable[[int, str], AnyPage],
    get_entries: Callable[[AnyPage], Sequence[Entry]],
    limit: int,
    cursor: str,
) -> tuple[list[Entry], str]:
    """Return `limit` entries, if there are as many, and the cursor of the next; empty after the last.

    `find_page` is given how many are still wanted, and the cursor.
    """
    found, after = list[Entry](), ""
    for page in walk_pages(lambda at: find_page(limit - len(found), at), cursor):
        found.extend(get_entries(page))
        after = next_cursor(page)
        if len(found) >= limit:
            break
    return found, after


class JobLookups(Protocol):
    """Looks jobs up by a filter or by their ids."""

    def find_jobs(
        self, account: str, wanted: JobFilter, *, limit: int = 50, cursor: str = ""
    ) -> CursorPage[JobRecord]:
        """Return the jobs that match, newest first; a page may hold few or none and still have a next one."""

    def get_jobs(self, jobs: Sequence[str]) -> Mapping[str, JobRecord]:
        """Return these jobs, of one account or several, without unknown and forgotten ones."""


class Queries(JobLookups, Protocol):
    """Reads of the store; each examines a bounded number of entries, however many jobs there are."""

    def get_states(self, jobs: Sequence[str]) -> Mapping[str, JobState]:
        """Return the states of these jobs, of one account or several, without unknown and forgotten ones."""

    def find_delivered(self, account: str, source: str, event_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the jobs that a webhook's events became, by event id, without those that became none."""

    def get_records(self, account: str, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what is open and confirmed about these relations now."""

    def relation_events(
        self, account: str, relations: Sequence[Relation]
    ) -> Mapping[Relation, Sequence[RelationEvent]]:
        """Return what is remembered of the outcomes of these relations, oldest first."""

    def account_state(self, account: str) -> AccountState:
        """Return what decides whether something of the account is sent now."""

    def is_work_due(self, account: str, *, window: float) -> bool:
        """Return whether anything of the account could be worked now.

        What is in the inbox waits `window` seconds for company.
        """

    def confirmed_page(self, account: str, cursor: str, most: int) -> ConfirmedPage:
        """Return what is known of about so many remembered relations; raises Invalid for a bad cursor.

        Each is on one page at least that is remembered from the first page to the last.
        """

    def sample_confirmed(self, account: str, count: int) -> ConfirmedPage:
        """Return what is known of remembered relations drawn so many times, each as likely as any other."""

    def failure_groups(self, account: str) -> Sequence[FailureGroup]:
        """Return the jobs that need a decision, by error and type, the largest group first."""
