"""What a flush has claimed and not written: jobs and open relations that it may end soon.

The ids of the jobs stand in Redis. Whoever finds them there after a crash folds the jobs once more: none of
their relations has had an outcome, and what was begun is in the journal. Pure.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from worker.contract import Relation
from worker.planner.relation_state import OpenRelation
from worker.ports.work import ClaimedJob, OpenWrite, Writes
from worker.store.jobs.stored_job import LoadedJob


@dataclass(slots=True)
class ClaimedWorkChange:
    """What one commit changes of the claimed work, once it has been carried out."""

    jobs: dict[str, None] = field(default_factory=dict)
    taken: dict[Relation, OpenRelation] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    closed: set[Relation] = field(default_factory=set)

    @property
    def growth(self) -> int:
        """By how many the claimed open relations become more."""
        return len(self.taken) - len(self.closed)


@dataclass(slots=True)
class ClaimedWork:
    """Claimed jobs and their open relations that are not written; `recovered` are those of a dead worker."""

    jobs: set[str] = field(default_factory=set)
    relations: dict[Relation, OpenRelation] = field(default_factory=dict)
    recovered: set[str] | None = None
    is_recovered: bool = False

    def take(
        self, claimed: Mapping[str, ClaimedJob], writes: Writes, opened: Collection[Relation]
    ) -> ClaimedWorkChange:
        """Return which jobs and relations need not be written now: a new fold of the jobs gives the same.

        `claimed` are by their ids without the account.
        """
        reported = {outcome.job for outcome in writes.outcomes} | set(writes.job_states)
        relations = {
            relation: write.open
            for relation, write in writes.opens.items()
            if write.open and not write.guard and relation not in opened and _is_fresh(write.open, reported)
        }
        jobs = {job.job: job.relations for job in claimed.values() if relations.keys() >= {*job.relations}}
        for id_ in reported:
            jobs.pop(id_, None)
        _drop_foreign(relations, jobs)
        return ClaimedWorkChange(
            {short: None for short, job in claimed.items() if job.job in jobs}, relations
        )

    def leave(
        self,
        changed: Collection[str],
        still_open: Iterable[LoadedJob],
        writes: Writes,
        change: ClaimedWorkChange,
    ) -> dict[Relation, OpenWrite]:
        """Return what is written of open relations, and note in the change what is claimed no longer.

        A job that is `changed` leaves it; what is claimed of those that are `still_open` is written.
        """
        written = dict(writes.opens)
        for relation in change.taken:
            del written[relation]
        change.closed = self.relations.keys() & written.keys()
        change.left = self.jobs.intersection(changed)
        left_open = [job for job in still_open if job.short in change.left]
        for relation in chain.from_iterable(job.all_relations() for job in left_open):
            if relation in self.relations and relation not in written:
                written[relation] = OpenWrite(self.relations[relation])
                change.closed.add(relation)
        return written

    def apply(self, change: ClaimedWorkChange) -> None:
        """Let a change take effect."""
        for relation in change.closed:
            self.relations.pop(relation, None)
        self.relations.update(change.taken)
        self.jobs.difference_update(change.left)
        self.jobs.update(change.jobs)


def _drop_foreign(claimed: dict[Relation, OpenRelation], jobs: dict[str, tuple[Relation, ...]]) -> None:
    """Take out relations with an intent of another job, then jobs with one of these, and so on.

    Each is looked at once, however long the chain by which one leads to the next.
    """
    foreign = [
        relation for relation, work in claimed.items() for intent in work.intents if intent.job not in jobs
    ]
    if not foreign:
        return
    jobs_of, relations_of = defaultdict[Relation, list[str]](list), defaultdict[str, list[Relation]](list)
    for job, relations in jobs.items():
        for relation in relations:
            jobs_of[relation].append(job)
    for relation, work in claimed.items():
        for intent in work.intents:
            relations_of[intent.job].append(relation)
    while foreign:
        relation = foreign.pop()
        claimed.pop(relation, None)
        for job in jobs_of.pop(relation, ()):
            if jobs.pop(job, None) is not None:
                foreign += relations_of[job]


def as_old(write: OpenWrite, since: int) -> OpenWrite:
    """Return the write of a recovered relation, which keeps its place among those that are due."""
    if write.open is None or write.open.since <= since:
        return write
    return msgspec.structs.replace(write, open=msgspec.structs.replace(write.open, since=since))


def _is_fresh(opened: OpenRelation, reported: Collection[str]) -> bool:
    """Return whether the open work is what a fold of its intents with what is confirmed gives.

    Its newest delete was confirmed before, is one of them, or was folded away now.
    """
    if opened != OpenRelation(opened.intents, opened.cleared, opened.since):
        return False
    return opened.cleared.job not in reported
