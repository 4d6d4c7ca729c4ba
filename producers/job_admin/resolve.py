"""Says which records the references of jobs are, and has parked changes looked up at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Final

import msgspec

from producers.job_admin.selection import (
    MAX_JOBS,
    Selection,
    describe_selection,
    find_jobs,
    is_foreign,
    select_jobs,
)
from worker.config import refuse_secrets
from worker.contract import Reference, read_reference
from worker.errors import Fault, InvalidChange, NotFound
from worker.ports import Wake
from worker.ports.job_admin import AdminResult, JobAdmin
from worker.ports.queries import JobLookups, Queries
from worker.ports.records import AuditEntry, JobFilter, JobRecord, JobState
from worker.ports.references import JobReference

PARKED: Final[tuple[JobState, ...]] = ("parked",)


class RecordChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which records a person says that the references of a job are: by its sides, or by their texts."""

    parent: int = 0
    child: int = 0
    references: Mapping[str, int] = MappingProxyType({})


def find_choice(job: JobRecord, choice: RecordChoice) -> dict[Reference, int]:
    """Return the records by the references that a choice is about; raises InvalidChange.

    A side stands for its one reference without a record; what was chosen before may be said again.
    """
    records, faults = dict[Reference, int](), list[Fault]()
    for side, path, record in (("parent", "parentid", choice.parent), ("child", "childid", choice.child)):
        if record:
            found = _find_on_side(job, side, record)
            if len(found) == 1:
                records[found[0]] = record
            else:
                faults.append(Fault(path, _which_reference(side, found)))
    for text, record in choice.references.items():
        if reference := _find_by_text(job, text):
            records[reference] = record
        else:
            faults.append(Fault("references", f"the job has none like this; it has {_list(job)}"))
    if not (records or faults):
        faults.append(Fault("", "say which record it is: parentid, childid, or one of references"))
    if faults:
        raise InvalidChange(faults)
    return records


def _find_on_side(job: JobRecord, side: str, record: int) -> list[Reference]:
    """Return the references on a side that have no record; without any, those that have this one."""
    own = [each for each in job.references if each.side == side]
    left = [each.reference for each in own if not each.record]
    return left or [each.reference for each in own if each.record == record]


def _which_reference(side: str, found: Sequence[Reference]) -> str:
    if not found:
        return f"no reference of the {side} waits for a record"
    return f"{len(found)} references of the {side} wait for a record; say which one is meant, by its text"


def _find_by_text(job: JobRecord, text: str) -> Reference | None:
    """Return the reference of a job that a text names: its short form, or that of several fields."""
    try:
        wanted = str(read_reference(text))
    except ValueError:
        wanted = text
    return next((each.reference for each in job.references if str(each.reference) in (wanted, text)), None)


def _list(job: JobRecord) -> str:
    return ", ".join(each.reference.without_values for each in job.references) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceService:
    """Resolves references by hand, and has them looked up at once; the audit log says who did.

    `wake` lets a worker take the account. Neither ids nor values stand in the audit log.
    """

    queries: Queries
    job_admin: JobAdmin
    new_id: Callable[[], str]
    wake: Wake

    def resolve(
        self,
        account: str,
        job_id: str,
        choice: RecordChoice,
        *,
        by: str,
        everywhere: bool = False,
    ) -> AdminResult:
        """Write which records the references of a job are; `everywhere` of all parked jobs that have them.

        Raises NotFound for an unknown job, and InvalidChange for a choice that says nothing of it.
        """
        refuse_secrets(by=by)
        records, jobs = preview_choice(self.queries, account, job_id, choice, everywhere=everywhere)
        what = f"{job_id} and others like it" if everywhere else job_id
        note = ", ".join(each.without_values for each in records)
        entry = AuditEntry(self.new_id(), by, "resolved", what, note)
        result = self.job_admin.resolve(account, jobs, records, entry)
        if result.done:
            self.wake(account, 0.0)
        return result

    def look_up(self, account: str, selection: Selection, *, by: str, note: str = "") -> AdminResult:
        """Have parked changes looked up at once."""
        what = describe_selection(selection)
        refuse_secrets(selection=what, by=by, note=note)
        jobs, refused, _ = select_jobs(self.queries, account, selection, PARKED)
        entry = AuditEntry(self.new_id(), by, "looked up", what, note)
        result = self.job_admin.look_up_now(account, jobs, entry)
        if result.done:
            self.wake(account, 0.0)
        return result._replace(refused={**refused, **result.refused})


def preview_choice(
    lookups: JobLookups, account: str, job_id: str, choice: RecordChoice, *, everywhere: bool
) -> tuple[Mapping[Reference, int], list[str]]:
    """Return the records by the references that a choice is about, and the jobs that it resolves.

    Raises NotFound for an unknown job, and InvalidChange for a choice that says nothing of it.
    """
    records = find_choice(_find_job(lookups, account, job_id), choice)
    others = _find_alike(lookups, account, records) if everywhere else ()
    return records, list(dict.fromkeys((job_id, *islice(others, MAX_JOBS))))


def _find_job(lookups: JobLookups, account: str, job_id: str) -> JobRecord:
    """Return a job of the account; raises NotFound."""
    job = None if is_foreign(job_id, account) else lookups.get_jobs([job_id]).get(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id} of account {account}")
    return job


def _find_alike(lookups: JobLookups, account: str, records: Mapping[Reference, int]) -> Iterator[str]:
    """Yield the parked jobs that wait for one of these references."""
    for piece in find_jobs(lookups, account, JobFilter(state="parked")):
        yield from (job_id for job_id, job in piece.items() if job and _waits_for(job.references, records))


def _waits_for(own: Sequence[JobReference], records: Mapping[Reference, int]) -> bool:
    return any(not each.record and each.reference in records for each in own)
