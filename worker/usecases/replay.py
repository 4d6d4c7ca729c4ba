"""Works a replay: failed jobs go back into the inbox, or new changes are accepted in their place.

Judging which jobs belong to a replay, and showing it before it runs, is `producers.replay`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from worker.contract import Change, from_message
from worker.errors import BacklogFull, Fault
from worker.ports.erasure import ERASED
from worker.ports.job_admin import ALL_FAILED, JobAdmin
from worker.ports.records import FOREVER, AuditEntry, JobRecord
from worker.ports.replays import Replay, ReplayEntry
from worker.ports.store import Receipt
from worker.usecases.intake import Intake

PIECE: Final = 500  # jobs of a replay that are worked at once
MAX_LOGGED_FAULTS: Final = 100


class _PieceResult(NamedTuple):
    """How many jobs of a piece were sent again, and how many were not, by reason."""

    back: int
    missed: Counter[str]


def run_replay(intake: Intake, job_admin: JobAdmin, replay_id: str) -> Replay | None:
    """Work a running replay until it is done or stopped, and return it; None if it does not exist.

    While its account is inspected it goes no further; the sweep continues it.

    Every piece is counted once, so any worker may call this again at any time. A piece is as large as there
    is room in the inbox; raises BacklogFull where there is none.
    """
    size = PIECE
    while (replay := job_admin.get_replay(replay_id)) and replay.state == "running":
        if job_admin.is_inspected(replay.account):
            return replay
        try:
            _work_next_piece(intake, job_admin, replay, size)
        except BacklogFull:
            if size == 1:
                raise
            size //= 2
        else:
            size = min(PIECE, 2 * size)
    if replay:
        intake.emit(
            "replay.done",
            account=replay.account,
            replay=replay.id,
            state=replay.state,
            eligible=replay.eligible,
            done=replay.done,
            back=replay.back,
            missed=dict(replay.missed),
        )
    return replay


def requeue(
    intake: Intake,
    account: str,
    jobs: Iterable[str],
    *,
    replay_id: str = "",
    dismissed_until: int = FOREVER,
    only: Mapping[str, Collection[str]] = ALL_FAILED,
) -> list[str]:
    """Put failed relations of these jobs back into the inbox; return the jobs that went back.

    Those that wait for a decision, or of a job in `only` just these, by name.

    A job that this replay has put back before is returned too, but not put back twice. A job that was
    dismissed after `dismissed_until` (µs) stays as it is.
    """
    policy = intake.policy_of(account)
    back, wake = intake.store.requeue(account, list(jobs), mark=replay_id, since=dismissed_until, only=only)
    if wake:
        intake.wake_worker(policy)
    return back


def _work_next_piece(intake: Intake, job_admin: JobAdmin, replay: Replay, size: int) -> None:
    entries = job_admin.replay_entries(replay.id, replay.done, size)
    unchanged = _requeue_unchanged(intake, replay, [entry for entry in entries if not entry.changes])
    replaced = _send_changes(intake, job_admin, replay, [entry for entry in entries if entry.changes])
    missed = unchanged.missed + replaced.missed
    end = replay.done + len(entries)
    if not entries and end < replay.eligible:  # the rest of the set is no longer stored
        missed["forgotten"] = replay.eligible - end
        end = replay.eligible
    entry = AuditEntry(intake.new_id(), replay.by, "replay done", replay.what, replay.id)
    job_admin.advance_replay(
        replay, replay.done, end, back=unchanged.back + replaced.back, missed=missed, audit_entry=entry
    )


def _requeue_unchanged(intake: Intake, replay: Replay, entries: Sequence[ReplayEntry]) -> _PieceResult:
    """Put the jobs back into the inbox as they are."""
    if not entries:
        return _PieceResult(0, Counter())
    back = requeue(
        intake,
        replay.account,
        [entry.job for entry in entries],
        replay_id=replay.id,
        dismissed_until=replay.made_at,
        only={entry.job: entry.relations for entry in entries if entry.relations},
    )
    missed = Counter(
        _reason_to_skip(entry, intake.store.get_job(entry.job), replay) or "not failed"
        for entry in entries
        if entry.job not in back
    )
    return _PieceResult(len(back), missed)


def _send_changes(
    intake: Intake, job_admin: JobAdmin, replay: Replay, entries: Sequence[ReplayEntry]
) -> _PieceResult:
    """Accept the new changes of each entry, and link them with the job that they replace, if it names one.

    A job none of whose changes is accepted stays failed, as it was before. What a worker has sent that died
    before it said so is linked whatever people did to the job since: it cannot be called back.
    """
    missed, back, sendable = Counter[str](), 0, list[tuple[ReplayEntry, JobRecord | None]]()
    for entry in entries:
        job = intake.store.get_job(entry.job) if entry.job else None
        reason = _reason_to_skip(entry, job, replay) if entry.job else ""
        if reason and not _was_sent(intake, entry):
            missed[reason] += 1
        else:
            sendable.append((entry, job))
    if sendable and job_admin.get_replay(replay.id) is None:  # a record that it would send was erased
        return _PieceResult(0, Counter())
    changes = [change for entry, job in sendable for change in _read_changes(entry, job)]
    results = iter(intake.accept_valid(changes))
    for entry, _ in sendable:
        answers = [next(results) for _ in entry.changes]
        accepted = [answer.job for answer in answers if isinstance(answer, Receipt)]
        if not accepted:
            _report_refused(intake, replay, entry, answers)
            missed["refused"] += 1
            continue
        if entry.job:
            job_admin.link_replacement(
                entry.job, accepted, by=replay.by, mark=replay.id, only=entry.relations
            )
        back += 1
    return _PieceResult(back, missed)


def _report_refused(
    intake: Intake, replay: Replay, entry: ReplayEntry, answers: Iterable[Receipt | tuple[Fault, ...]]
) -> None:
    faults = [str(fault) for answer in answers if not isinstance(answer, Receipt) for fault in answer]
    intake.emit(
        "replay.refused",
        account=replay.account,
        replay=replay.id,
        job=entry.job,
        faults=faults[:MAX_LOGGED_FAULTS],
    )


def _was_sent(intake: Intake, entry: ReplayEntry) -> bool:
    """Return whether something was sent in place of the entry's job already."""
    changes = _read_changes(entry, None)
    accounts = dict.fromkeys(change.account for change in changes)
    names = chain.from_iterable(
        intake.store.find_accepted(account, [change for change in changes if change.account == account])
        for account in accounts
    )
    return any(job.replays == entry.job for job in map(intake.store.get_job, names) if job)


def _read_changes(entry: ReplayEntry, job: JobRecord | None) -> list[Change]:
    """Return the changes of an entry, with what they have of the job that they replace."""
    correlation = job.correlation if job else ""
    return [
        msgspec.structs.replace(
            from_message(message).change,
            correlation=correlation,
            delivered=entry.delivered,
            replays=entry.job,
        )
        for message in entry.changes
    ]


def _reason_to_skip(entry: ReplayEntry, job: JobRecord | None, replay: Replay) -> str:
    """Return why a job of the set is not replayed after all, because of what people did since the preview.

    Empty if it is replayed.
    """
    if job is None:
        return "gone"
    if job.replay == replay.id:  # this replay sent it before its worker died, and it was not counted yet
        return ""
    if job.state != "failed":
        return "not failed"
    if job.by == ERASED and not job.failed:
        return "erased"
    if entry.relations and not any(str(relation) in entry.relations for relation in job.failed):
        return "not failed"
    decided = [job.dismissed] if not entry.relations else []
    decided += [each.dismissed for each in job.failures if str(each.relation) in entry.relations]
    return "dismissed" if any(each and each.at > replay.made_at for each in decided) else ""
