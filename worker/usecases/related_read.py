"""Reads of what is related to records, many in one action: what replaces have to remove. Pure bookkeeping."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from worker.contract import Reference, Side
from worker.planner.actions import Action, ActionResult, Answer, ErrorClass, Verdict
from worker.planner.lookup import COMPANY, take_together
from worker.ports.references import UnresolvedJob

ACCOUNT_ERRORS: Final = (ErrorClass.CREDENTIALS, ErrorClass.CLOCK)
"""Errors that are about the account, so that they say nothing of what was asked."""
ReadOutcome = frozenset[int] | ActionResult
"""What is related to a record, or the result that does not say it."""
Asked = tuple[str, Side, int]
"""A relation type, the side whose record is asked about, and that record."""


class RelatedRead:
    """The reads that jobs ask for whose records are known, and what came of them."""

    def __init__(
        self, jobs: Iterable[UnresolvedJob], answers: Mapping[Reference, Answer], max_ids: int
    ) -> None:
        self._asked, self._jobs = dict[str, Asked](), defaultdict[Asked, list[UnresolvedJob]](list)
        for job in jobs:
            if asked := _asked_by(job, answers):
                self._asked[job.job] = asked
                self._jobs[asked].append(job)
        self._failures = {asked: min(job.failures for job in same) for asked, same in self._jobs.items()}
        self._max_ids = max_ids
        self._outcomes: dict[Asked, ReadOutcome] = {}
        self._waiting = deque(self._plan())

    def _plan(self) -> Iterator[Action]:
        groups: dict[tuple[int, str, Side], list[int]] = defaultdict(list)
        for (type_, side, record), failures in self._failures.items():
            groups[min(failures, len(COMPANY) - 1), type_, side].append(record)
        for (level, type_, side), found in sorted(groups.items()):
            records = tuple(sorted(found))
            most = min(COMPANY[level], self._max_ids)
            for start in range(0, len(records), most):
                ids = records[start : start + most]
                yield Action("get", type_, ids if side == "parent" else (), ids if side == "child" else ())

    def next_request(self, most: int) -> list[Action]:
        """Return the reads that travel together next, at most so many; none if all were sent."""
        return take_together(self._waiting, most, self._has_failed)

    def _has_failed(self, read: Action) -> bool:
        return any(self._failures[asked] for asked in _asked_of(read))

    def jobs_behind(self, read: Action) -> Iterator[UnresolvedJob]:
        """Yield the jobs that wait for a read."""
        for asked in _asked_of(read):
            yield from self._jobs[asked]

    def note(self, action: Action, result: ActionResult) -> None:
        """Note the answer to a read; a record that the answer leaves out has nothing related."""
        if result.verdict is Verdict.NOT_SENT or result.error in ACCOUNT_ERRORS:
            return
        for asked in _asked_of(action):
            record = asked[2]
            is_known = result.verdict is Verdict.OK and record not in result.unreadable
            self._outcomes[asked] = result.related.get(record, frozenset()) if is_known else result

    def outcome_of(self, job: UnresolvedJob) -> ReadOutcome | None:
        """Return what a job's read found; None if it was not sent."""
        return self._outcomes.get(self._asked[job.job]) if job.job in self._asked else None


def _asked_by(job: UnresolvedJob, answers: Mapping[Reference, Answer]) -> Asked | None:
    """Return what a replace asks for; None of another job, or of one whose record is not found."""
    if not job.replaced or any(not answers.get(each, Answer()).record for each in job.references):
        return None
    replaced, reference = job.replaced, job.replaced.reference
    return replaced.type, replaced.asked, replaced.record or (answers[reference].record if reference else 0)


def _asked_of(action: Action) -> Iterator[Asked]:
    side: Side = "parent" if action.parents else "child"
    for record in action.parents or action.children:
        yield action.type, side, record
