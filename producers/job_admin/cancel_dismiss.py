"""Cancelling queued changes and dismissing failed jobs, by their ids or by a filter; what a filter chooses is looked up here too."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec

from producers.means import Means
from worker.contract import write_instant
from worker.errors import Fault, InvalidChange
from worker.ports import AdminResult, AuditEntry, JobFilter, JobRecord, JobState, summarize_ids

MOST: Final = 100_000  # jobs one act is about
PIECE: Final = 500  # jobs looked up at once
NOTHING_CHOSEN: Final = "say which jobs: their ids, or at least one of state, type, parent, child, error, source, batch, since, until"
FOREIGN: Final = "foreign"

Wanted = Sequence[str] | JobFilter


def cancel(means: Means, account: str, wanted: Wanted, *, by: str, note: str = "") -> AdminResult:
    """End what waits in the inbox as superseded; nothing that a worker has taken is touched."""
    what = said(wanted)
    jobs, foreign = _ids(means, account, wanted, state="queued")
    acted = means.acts.cancel(account, jobs, AuditEntry(means.name(), by, "cancelled", what, note))
    return acted._replace(refused={**acted.refused, **foreign})


def dismiss(means: Means, account: str, wanted: Wanted, *, by: str, note: str = "") -> AdminResult:
    """Let failed jobs wait for a decision no longer; they stay failed, and can still be replayed by their ids."""
    what = said(wanted)
    jobs, foreign = _ids(means, account, wanted, state="failed")
    acted = means.acts.dismiss(account, jobs, AuditEntry(means.name(), by, "dismissed", what, note))
    return acted._replace(refused={**acted.refused, **foreign})


def said(wanted: Wanted) -> str:
    """What was chosen, in words; raises InvalidChange when that is nothing, or everything."""
    if not isinstance(wanted, JobFilter):
        if not wanted:
            raise InvalidChange([Fault("", NOTHING_CHOSEN)])
        return summarize_ids(wanted)
    given: dict[str, object] = {
        name: value for name, value in msgspec.structs.asdict(wanted).items() if value
    }
    if not given:
        raise InvalidChange([Fault("", NOTHING_CHOSEN)])
    given |= {
        name: write_instant(at) for name, at in (("since", wanted.since), ("until", wanted.until)) if at
    }
    return ", ".join(f"{name} {value}" for name, value in given.items())


def chosen(means: Means, account: str, wanted: Wanted) -> Iterator[Mapping[str, JobRecord | None]]:
    """The jobs in pieces, those by a filter newest first; None for an id of which nothing is there (any more)."""
    if isinstance(wanted, JobFilter):
        yield from _pages(means, account, wanted)
        return
    ids = iter(dict.fromkeys(wanted))
    while piece := list(islice(ids, PIECE)):
        found = means.questions.get_jobs(piece)
        yield {job: found.get(job) for job in piece}


def _pages(means: Means, account: str, wanted: JobFilter) -> Iterator[Mapping[str, JobRecord]]:
    cursor = ""
    while True:
        page = means.questions.find_jobs(account, wanted, limit=PIECE, cursor=cursor)
        if page.jobs:
            yield {job.id: job for job in page.jobs}
        if not (cursor := page.next):
            return


def sifted(
    means: Means, account: str, wanted: Wanted, state: JobState
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """In pieces the jobs that can be acted on like this, those of the account in that state; and of the others why not."""
    for piece in chosen(means, account, _settled(wanted, state)):
        unfit = {
            name: FOREIGN if name.rpartition("-")[0] != account else job.state if job else "gone"
            for name, job in piece.items()
        }
        fit = [name for name, why in unfit.items() if why == state]
        yield fit, {name: why for name, why in unfit.items() if why != state}


def _settled(wanted: Wanted, state: JobState) -> Wanted:
    """What can be acted on like this: a filter asks for jobs in that state; raises InvalidChange if for nothing, everything or others."""
    said(wanted)
    if not isinstance(wanted, JobFilter):
        return wanted
    if wanted.state not in ("", state):
        raise InvalidChange(
            [Fault("state", f"expected {state}, or none: others cannot be acted on like this")]
        )
    return msgspec.structs.replace(wanted, state=state)


def _ids(means: Means, account: str, wanted: Wanted, *, state: JobState) -> tuple[list[str], dict[str, str]]:
    """The account's own ids, and those that are not. By a filter only those in that state, as many as one act is about."""
    wanted = _settled(wanted, state)
    if isinstance(wanted, JobFilter):
        return list(islice((job for piece in chosen(means, account, wanted) for job in piece), MOST)), {}
    foreign = {job: FOREIGN for job in wanted if job.rpartition("-")[0] != account}
    return [job for job in wanted if job not in foreign], foreign
