"""Which failed jobs can be replayed, and the reasons why others cannot. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from producers.job_admin.selection import NarrowedJobs, Selection, is_foreign, pick_failures
from worker.contract import Relation
from worker.planner.fold import Intent, LostIntent
from worker.ports.erasure import ERASED
from worker.ports.job_admin import REPLACED
from worker.ports.records import Failure, JobRecord
from worker.ports.work import RelationRecord

REASONS: Final[Mapping[str, str]] = {
    "gone": "is not kept any more",
    "foreign": "is no job of this account",
    "not failed": "is not failed (any more)",
    "other relations": "has no failed relation that fits",
    "dismissed": "was dismissed, or sent anew, since",
    "replaced": "was sent anew before, as",
    "erased": "was about a record that was erased",
    "superseded": "a newer change has been confirmed since",
    "contradicts": "a newer change is open and would be contradicted",
    "as asked": "is already as asked, as far as is known",
    "invalid": "cannot be corrected like this",
    "unreadable": "stands for a message that still cannot be read",
    "elsewhere": "would go into an account that this key is not for",
    "refused": "was refused when it was sent anew",
    "too old": "was confirmed for a change so old that one of its time is not accepted any more",
    "forgotten": "was erased from the replay, or kept too long",
}
"""Why a job is not replayed, by the reasons that a replay stores and counts."""

PRECEDENCE: Final = ("as asked", "superseded", "contradicts")
"""Of a job whose relations have different reasons, the last of these is its reason."""


def judge_job(
    account: str, job_id: str, job: JobRecord | None, selection: Selection, *, as_new_change: bool
) -> tuple[tuple[Relation, ...], str]:
    """Return the failed relations of a selected job that are replayed; with a reason, it cannot be.

    That is whatever is known of its relations. A job that failed as a whole is replayed without any. What was
    sent anew already, perhaps corrected, does not go back as it was.
    """
    if is_foreign(job_id, account):
        return (), "foreign"
    if job is None:
        return (), "gone"
    if job.state != "failed":
        return (), "not failed"
    if is_unreadable(job):
        return (), "replaced" if job.replayed_by else ""
    if has_failed_look_up(job):
        return (), _reason_not_to_look_up(job, selection, as_new_change=as_new_change)
    if not job.failures:
        return (), "erased"
    if not (picked := pick_failures(job, selection)):
        return (), "other relations"
    left = [each for each in picked if as_new_change or not _was_replaced(each)]
    return tuple(each.relation for each in left), "" if left else "replaced"


def _was_replaced(failed: Failure | JobRecord) -> bool:
    return failed.dismissed is not None and failed.dismissed.why == REPLACED


def has_failed_look_up(job: JobRecord) -> bool:
    """Return whether the job failed as a whole, because a record that it names was not found or not read."""
    is_whole = bool(job.refusal) and not job.counts["failed"]
    return job.state == "failed" and is_whole and not is_unreadable(job) and job.by != ERASED


def _reason_not_to_look_up(job: JobRecord, selection: Selection, *, as_new_change: bool) -> str:
    """Return why a failed look-up is not repeated that a selection may be about; empty if it can be."""
    if isinstance(selection, NarrowedJobs) and not _fits(job, selection):
        return "other relations"
    return "replaced" if _was_replaced(job) and not as_new_change else ""


def _fits(job: JobRecord, selection: NarrowedJobs) -> bool:
    """Return whether a job that failed as a whole is what the filter says of single relations."""
    wanted, (code, error, _, _) = selection.filter, job.refusal or (0, "", "", "")
    return (
        wanted.error in ("", str(code), error)
        and wanted.type in ("", job.type)
        and wanted.parent in (0, *job.parents)
        and wanted.child in (0, *job.children)
    )


def is_unreadable(job: JobRecord) -> bool:
    """Return whether the job stands for a message that made no valid change."""
    return job.refusal is not None and job.refusal[1] == "unreadable"


def jobs_without_effect(
    jobs: Sequence[tuple[JobRecord, Sequence[Relation]]],
    lost: Iterable[tuple[Relation, LostIntent]],
    records: Mapping[Relation, RelationRecord],
) -> Mapping[str, str]:
    """Return the jobs of which nothing would be sent if these relations went back, each with the reason.

    `lost` are the intents that a dry run of these jobs dropped. One that another of these jobs supersedes
    does not count: both go back, and the newer one wins.
    """
    own = {job.id for job, _ in jobs}
    dropped = {
        (intent.intent.job, relation): intent
        for relation, intent in lost
        if intent.result != "superseded" or intent.by not in own
    }
    without_effect = {}
    for job, relations in jobs:
        reasons = [
            _reason_of_relation(dropped.get((job.id, relation)), records.get(relation, RelationRecord()))
            for relation in relations
        ]
        if all(reasons):
            without_effect[job.id] = max(reasons, key=PRECEDENCE.index)
    return without_effect


def _reason_of_relation(lost: LostIntent | None, record: RelationRecord) -> str:
    """Return why nothing would be sent for one of the job's relations; empty if something would."""
    if lost is None:
        return ""
    if lost.result == "superseded":
        return "contradicts"
    is_so = lost.result == "applied" or _has_effect_already(lost.intent, record)
    return "as asked" if is_so else "superseded"


def _has_effect_already(intent: Intent, record: RelationRecord) -> bool:
    """Return whether the relation is confirmed to be as a job wants it."""
    confirmed = record.confirmed
    if intent.action == "delete":
        return confirmed.absent > confirmed.present
    if intent.action == "create" and confirmed.present <= confirmed.absent:
        return False
    return all(
        key in confirmed.info and confirmed.info[key].value == value and not confirmed.info[key].removed
        for key, value in intent.info
    )
