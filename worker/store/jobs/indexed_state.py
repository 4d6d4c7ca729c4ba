"""What indexes and counters know of a job, and what a step from one such state to another counts. Pure."""

from collections import Counter
from typing import Final

import msgspec

from worker.store.jobs.stored_job import FAILED, OUTCOME_COUNTERS, QUEUED, STATES, LoadedJob

NO_GROUPS: Final = frozenset[str]()


class IndexedState(msgspec.Struct, frozen=True, gc=False):
    """What indexes and counters know of a job: its state, its outcomes, and the groups of its failures."""

    state: int
    counts: tuple[int, int, int, int]
    is_open: bool
    groups: frozenset[str]

    @classmethod
    def of(cls, job: LoadedJob) -> "IndexedState":
        """Return what they are to know of a job now."""
        v = job.value
        return cls(v.state, v.counts, v.left > 0, job.groups if v.state == FAILED else NO_GROUPS)


def count_step(before: IndexedState, after: IndexedState, times: int, totals: Counter[str]) -> None:
    """Count so many jobs that went from here to there: open states as they are, what ended as it comes.

    The queue counts its own.
    """
    for state, by in ((before.state, -times), (after.state, times)):
        if before.state != after.state and state != QUEUED:
            totals[STATES[state]] += by
    for counter, known, found in zip(OUTCOME_COUNTERS.values(), before.counts, after.counts, strict=True):
        if known != found:
            totals[counter] += times * (found - known)
