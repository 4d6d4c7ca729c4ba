"""The records that most refusals name: one that is gone or locked makes every relation with it fail. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from worker.contract import TYPES, Relation, Side
from worker.ports.queries import Queries, walk_pages
from worker.ports.records import Failure, JobFilter, JobRecord

MAX_JOBS: Final = 2000  # failed jobs that are looked at, the newest first
PAGE: Final = 500

Record = tuple[str, int]
"""A module and the id of a record of it, such as ("address", 9001)."""


class RecordFailures(NamedTuple):
    """The refusals that name one record: the relations and jobs they are about, and the most frequent error.

    When the oldest and the newest of the jobs ended (µs), and the newest as an `example`. `side` is the one
    on which most of the relations name it.
    """

    module: str
    record: int
    code: int
    error: str
    relations: int
    jobs: int
    first: int
    last: int
    example: str
    side: Side


def find_suspects(queries: Queries, account: str, *, most: int = MAX_JOBS) -> list[RecordFailures]:
    """Return the failures that wait for a decision by suspect record, the most named one first.

    Of the `most` newest failed jobs.
    """
    failed = JobFilter(state="failed")
    pages = walk_pages(lambda cursor: queries.find_jobs(account, failed, limit=PAGE, cursor=cursor))
    found = (job for page in islice(pages, -(-most // PAGE)) for job in page.entries)
    return group_by_suspect(islice(found, most))


def group_by_suspect(jobs: Iterable[JobRecord]) -> list[RecordFailures]:
    """Return each failure that waits for a decision under the one of its two records that more refusals name.

    Of two that are named as often it is the child, which one relation alone says least about.
    """
    left = [(job, each) for job in jobs for each in job.failures if not each.dismissed]
    named = Counter(record for _, failure in left for record in _records_of(failure.relation))
    by_record: dict[Record, list[tuple[JobRecord, Failure]]] = {}
    for job, failure in left:
        parent, child = _records_of(failure.relation)
        by_record.setdefault(parent if named[parent] > named[child] else child, []).append((job, failure))
    groups = [_to_group(record, failures) for record, failures in by_record.items()]
    return sorted(groups, key=lambda group: (-group.relations, group.module, group.record))


def _records_of(relation: Relation) -> tuple[Record, Record]:
    known = TYPES[relation.type]
    return (known.parent, relation.parent), (known.child, relation.child)


def _to_group(record: Record, failures: Sequence[tuple[JobRecord, Failure]]) -> RecordFailures:
    jobs = {job.id: job for job, _ in failures}
    newest = max(jobs.values(), key=lambda job: job.number)
    [((code, error), _)] = Counter((failure.code, failure.error) for _, failure in failures).most_common(1)
    ended = [job.finished_at for job in jobs.values()]
    relations = len({(failure.relation, job.id) for job, failure in failures})
    as_parent = sum(record == _records_of(failure.relation)[0] for _, failure in failures)
    side: Side = "parent" if 2 * as_parent > len(failures) else "child"
    return RecordFailures(*record, code, error, relations, len(jobs), min(ended), max(ended), newest.id, side)
