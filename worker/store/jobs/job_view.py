"""A job as people see it, and whether it is one they ask for. Pure."""

import msgspec

from worker.contract import Reference, Relation
from worker.planner.fold import RESULTS
from worker.ports.records import Dismissal, Failure, JobFilter, JobRecord
from worker.ports.references import JobReference, Parking
from worker.store.jobs.stored_job import (
    ACTION_OF,
    FAILED,
    NO_EVENT,
    SIDES,
    UNKNOWN_REFUSAL,
    LoadedJob,
)


def as_record(job: LoadedJob, account: str) -> JobRecord:
    """Return the job as people see it."""
    v = job.value
    return JobRecord(
        id=f"{account}-{job.short}",
        account=account,
        state=job.state,
        action=ACTION_OF[v.action],
        type=v.type,
        parents=v.parents,
        children=v.children,
        info=tuple(sorted(v.info.items())) if v.info else (),
        source=v.source,
        event_id="" if v.event_id == NO_EVENT else v.event_id or job.short,
        batch=v.batch,
        occurred_at=job.occurred_at,
        accepted_at=job.accepted_at,
        finished_at=v.finished_at,
        attempts=v.attempts,
        total=v.total,
        counts=dict(zip(RESULTS, v.counts, strict=True)),
        refusal=v.refusal,
        requests=v.requests,
        failures=job.failures(),
        by=v.by,
        number=job.number,
        dismissed=Dismissal(*v.dismissed) if v.dismissed else None,
        replays=v.replays,
        replayed_by=v.replayed_by,
        replay=v.replay,
        correlation=v.correlation,
        allow_empty=v.allow_empty,
        references=tuple(
            JobReference(SIDES[each.side], each.reference, *msgspec.structs.astuple(each)[3:])
            for each in v.references
        ),
        parked=Parking(*v.parked) if v.parked else None,
        replaces=SIDES[v.replaces] if v.replaces else "",
        removals=job.removals(),
    )


def matches(job: LoadedJob, wanted: JobFilter) -> bool:
    """Return whether it is what a list asks for."""
    v = job.value
    return (
        wanted.state in ("", job.state)
        and wanted.type in ("", v.type)
        and (not wanted.parent or wanted.parent in v.parents)
        and (not wanted.child or wanted.child in v.children)
        and wanted.source in ("", v.source)
        and wanted.batch in ("", v.batch)
        and (not wanted.event_id or wanted.event_id == (v.event_id or job.short))
        and (not wanted.reference or _names(job, wanted.reference))
        and wanted.since <= job.accepted_at
        and (not wanted.until or job.accepted_at < wanted.until)
        and wanted.failed_since <= v.finished_at
        and (not wanted.failed_until or v.finished_at < wanted.failed_until)
        and (not (wanted.error or wanted.state == "failed") or _has_failure(job, wanted))
    )


def _names(job: LoadedJob, reference: Reference) -> bool:
    """Return whether it names a record by all that a reference says."""
    wanted = {*reference.fields}
    return any(each.module == reference.module and wanted <= {*each.fields} for each in job.value.references)


def _has_failure(job: LoadedJob, wanted: JobFilter) -> bool:
    """Return whether a failure that waits for a decision is what a list asks for."""
    v = job.value
    if job.has_failed_as_a_whole:
        code, error = (v.refusal or UNKNOWN_REFUSAL)[:2]
        return wanted.error in ("", str(code), error)
    if v.state != FAILED or v.dismissed:
        return False
    return any(
        wanted.fits_failure(Failure(Relation.parse(name), *v.refusals[place])) for name, place in v.undecided
    )
