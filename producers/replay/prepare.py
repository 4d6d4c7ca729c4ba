"""Stored replays: a set of failed jobs is judged and fixed, shown with what would be sent for it, and worked when somebody says so.

What was not changed goes back into the inbox with its own time: what newer changes decided since, stays decided. Forced or
corrected, it is sent anew as another change. The work itself is `worker.usecases.intake.run_replay`, on any worker.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import msgspec

from producers.job_admin.cancel_dismiss import MOST, PIECE, Wanted, chosen, said
from producers.means import Means, Reread
from producers.replay.resend import anew, checked
from worker.contract import Change, Relation, to_message
from worker.errors import Fault, InvalidChange, NotFound
from worker.ports import (
    AuditEntry,
    ClaimedJob,
    JobFilter,
    JobRecord,
    RelationRecord,
    Replay,
    ReplayEntry,
    ReplayState,
)
from worker.usecases.intake import run_replay

FOLLOWED: Final = 10_000  # jobs of a replay of which it is told what became of them
EXAMPLES: Final = 100  # refused jobs that are named
LISTED: Final = 200  # actions that are shown
PLANNED: Final = 50_000  # relations of a set that are rehearsed
NEWEST: Final = 2**60  # acceptance number of what is not accepted yet

WHY: Final[Mapping[str, str]] = {
    "gone": "is not kept any more",
    "foreign": "is no job of this account",
    "not failed": "is not failed (any more)",
    "dismissed": "was dismissed, or sent anew, since",
    "replaced": "was sent anew before, as",
    "erased": "was about a record that was erased",
    "superseded": "a newer change has been confirmed since",
    "contradicts": "a newer change is open and would be contradicted",
    "as asked": "is already as asked, as far as is known",
    "invalid": "cannot be corrected like this",
    "unreadable": "stands for a message that still cannot be read",
    "refused": "was refused when it was sent anew",
    "forgotten": "was erased from the replay, or kept too long",
}
"""Why a job is not replayed, by the reasons that replays count."""


def prepare(
    means: Means,
    account: str,
    wanted: Wanted,
    *,
    by: str,
    forced: bool = False,
    correction: Mapping[str, Any] | None = None,
    read: Reread | None = None,
    most: int = MOST,
) -> Replay:
    """A replay of these failed jobs, kept for a week and not begun; raises InvalidChange when nothing, or everything, was asked for."""
    what, wanted = said(wanted), _failed(wanted)
    name = f"{account}-{means.name()}"
    sought = _Search(
        means, account, name, forced=forced, correction=checked(correction or {}), read=read or means.read
    )
    for piece in chosen(means, account, wanted):
        if room := most - len(sought.entries):
            sought.look_at(dict(islice(piece.items(), room)))
        sought.more = sought.more or len(piece) > room
        if sought.more:
            break
    paused = means.store.get_pause(account)
    replay = sought.replay(by=by, what=what, paused=paused.reason if paused else "")
    means.acts.save_replay(
        replay,
        sought.entries[::-1] if isinstance(wanted, JobFilter) else sought.entries,
        _deed(means, replay, "prepared", by),
    )
    return find(means, name)


def find(means: Means, replay_id: str) -> Replay:
    """The replay, with how far it is; raises NotFound."""
    replay = means.acts.get_replay(replay_id)
    if replay is None:
        raise NotFound(f"there is no replay {replay_id}; they are kept for a week")
    return replay


def outcomes(means: Means, replay: Replay, *, most: int = FOLLOWED) -> Mapping[str, int]:
    """What has become of the worked jobs by now, by state; of the first `most` of them. Those sent anew count by what was sent."""
    states = Counter[str]()
    for first in range(0, min(replay.done, most), PIECE):
        entries = means.acts.replay_entries(replay.id, first, min(PIECE, replay.done - first))
        found = means.questions.get_jobs([entry.job for entry in entries])
        mine = [job for job in found.values() if job.replay == replay.id]
        states.update(job.state for job in mine if not job.replayed_by)
        states.update(means.questions.get_states([new for job in mine for new in job.replayed_by]).values())
    return states


def start(means: Means, replay_id: str, *, by: str) -> Replay:
    """Let it run, or run on; a worker is to be told by `relations.replay`, or `run` works it here."""
    return _steer(means, replay_id, "running", "started", by)


def stop(means: Means, replay_id: str, *, by: str) -> Replay:
    """Stop it after the piece that is being worked; `start` lets it go on."""
    return _steer(means, replay_id, "stopped", "stopped", by)


def run(means: Means, replay_id: str) -> Replay:
    """Work a replay that was started, to its end or until it is stopped."""
    find(means, replay_id)
    run_replay(means.intake, means.acts, replay_id)
    return find(means, replay_id)


def _steer(means: Means, replay_id: str, to: ReplayState, act: str, by: str) -> Replay:
    means.acts.set_replay_state(replay_id, to, _deed(means, find(means, replay_id), act, by))
    return find(means, replay_id)


def _deed(means: Means, replay: Replay, act: str, by: str) -> AuditEntry:
    return AuditEntry(means.name(), by, f"replay {act}", replay.what, replay.id)


def _failed(wanted: Wanted) -> Wanted:
    if not isinstance(wanted, JobFilter):
        return wanted
    if wanted.state not in ("", "failed"):
        raise InvalidChange([Fault("state", "expected failed, or none: nothing else can be replayed")])
    return msgspec.structs.replace(wanted, state="failed")


@dataclass(slots=True)
class _Search:
    """What has been found so far: the set, who is not of it and why, and what would be sent."""

    means: Means
    account: str
    name: str
    forced: bool
    correction: Mapping[str, Any]
    read: Reread
    entries: list[ReplayEntry] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    going: dict[str, list[ClaimedJob]] = field(default_factory=dict)
    relations: int = 0
    more: bool = False

    def look_at(self, piece: Mapping[str, JobRecord | None]) -> None:
        """Judge a piece of what was asked for, and rehearse what of it would go."""
        unfit = {name: _unfit(self.account, name, job, anew=self.anew) for name, job in piece.items()}
        for name, reason in unfit.items():
            self.refuse(name, reason, _sent_as(piece[name]) if reason == "replaced" else "")
        candidates = [job for name, job in piece.items() if job and not unfit[name]]
        plain = [job for job in candidates if not _is_unreadable(job)]
        sent = {job.id: self.sent_anew(job) for job in candidates if self.anew or job not in plain}
        known = self.means.questions.get_records(self.account, [each for job in plain for each in job.failed])
        back = self.fitting([job for job in plain if job.id not in sent], known)
        self.entries += [ReplayEntry(job.id) for job in back]
        self.entries += [
            ReplayEntry(job, tuple(map(_message, changes))) for job, changes in sent.items() if changes
        ]
        self.relations += sum(len(job.failed) for job in back) + sum(
            len(each.relations) for changes in sent.values() for each in changes
        )
        self.rehearse(back, [each for changes in sent.values() for each in changes])

    @property
    def anew(self) -> bool:
        """Whether everything is sent anew, as another change."""
        return self.forced or bool(self.correction)

    def sent_anew(self, job: JobRecord) -> Sequence[Change]:
        """The changes that would stand in the job's place; none if there is no making them."""
        try:
            changes = self.made_of(job)
            for account in {change.account for change in changes}:
                self.means.intake.policy_of(account)
        except (InvalidChange, NotFound) as error:
            self.refuse(job.id, "invalid" if job.type else "unreadable", f": {error}")
            return ()
        if not changes:
            self.refuse(job.id, "unreadable")
        return changes

    def made_of(self, job: JobRecord) -> Sequence[Change]:
        """The same, or InvalidChange."""
        if not _is_unreadable(job):
            return [
                anew(job, self.correction, self.means.intake.policy_of, forced=self.forced, replay=self.name)
            ]
        kept = self.means.acts.get_payload(job.id)
        return self.read(job, kept.body, self.correction) if kept else ()

    def fitting(self, jobs: Sequence[JobRecord], known: Mapping[Relation, RelationRecord]) -> list[JobRecord]:
        """Those of which something would be sent, by what is open and known of their relations."""
        told = self.means.rehearse(self.account, [_taken(job) for job in jobs], known) if jobs else None
        own = {job.id for job in jobs}
        lost = {
            (each.intent.job, relation): each
            for relation, each in (told.lost if told else ())
            if each.result != "superseded"
            or each.by not in own  # of two jobs of the set both go back, and the newer one wins
        }
        good = []
        for job in jobs:
            fates = [
                _fate(job, lost.get((job.id, relation)), known.get(relation, RelationRecord()))
                for relation in job.failed
            ]
            if not fates or "" in fates:
                good.append(job)
            else:
                self.refuse(job.id, max(fates, key=("as asked", "superseded", "contradicts").index))
        return good

    def rehearse(self, back: Sequence[JobRecord], sent: Sequence[Change]) -> None:
        """Remember what is to be rehearsed, as long as that is not too much."""
        if self.relations > PLANNED:
            return
        self.going.setdefault(self.account, []).extend(map(_taken, back))
        for at, change in enumerate(sent, start=len(self.entries)):
            self.going.setdefault(change.account, []).append(_as_taken(change, at))

    def rehearsed(self) -> Mapping[str, Any]:
        """What would be sent: counts, and the first of the actions."""
        tally, listed = Counter[str](requests=0, actions=0), list[dict[str, Any]]()
        for account, jobs in self.going.items():
            known = self.means.questions.get_records(
                account, dict.fromkeys(relation for job in jobs for relation in job.relations)
            )
            requests = self.means.rehearse(account, jobs, known).requests if jobs else ()
            actions = [action for request in requests for action in request.actions]
            tally.update({"requests": len(requests), "actions": len(actions)})
            tally.update(f"{action.kind}s" if action.kind != "modify" else "modifies" for action in actions)
            listed += [_shown(action) for action in actions[: LISTED - len(listed)]]
        return {**tally, "listed": listed, "whole": self.relations <= PLANNED}

    def replay(self, *, by: str, what: str, paused: str) -> Replay:
        """It all, as it is kept."""
        return Replay(
            id=self.name,
            account=self.account,
            by=by,
            what=what,
            forced=self.forced,
            correction=self.correction,
            eligible=len(self.entries),
            relations=self.relations,
            refused=dict(self.refused),
            examples=self.examples,
            paused=paused,
            more=self.more,
            plan=self.rehearsed(),
        )

    def refuse(self, job: str, reason: str, detail: str = "") -> None:
        """Count a job that is not of the set, if there is a reason."""
        self.refused.update([reason] if reason else [])
        if reason and len(self.examples) < EXAMPLES:
            self.examples[job] = WHY[reason] + detail


def _unfit(account: str, name: str, job: JobRecord | None, *, anew: bool) -> str:
    """Why a job cannot be replayed (or sent anew), whatever is known of its relations."""
    if name.rpartition("-")[0] != account:
        return "foreign"
    if job is None:
        return "gone"
    if job.state != "failed":
        return "not failed"
    if not job.failed and not _is_unreadable(job):
        return "erased"
    return "replaced" if job.replayed_by and (_is_unreadable(job) or not anew) else ""


def _sent_as(job: JobRecord | None) -> str:
    return f" {', '.join(job.replayed_by)}" if job else ""


def _is_unreadable(job: JobRecord) -> bool:
    return job.refusal is not None and job.refusal[1] == "unreadable"


def _fate(job: JobRecord, lost: Any, known: RelationRecord) -> str:
    """Why nothing would be sent for one of a job's relations; nothing if something would."""
    if lost is None:
        return ""
    if lost.result == "superseded":
        return "contradicts"
    return "as asked" if lost.result == "applied" or _is_as_asked(job, known) else "superseded"


def _is_as_asked(job: JobRecord, record: RelationRecord) -> bool:
    known = record.confirmed
    info = all(
        key in known.info and known.info[key].value == value and not known.info[key].removed
        for key, value in job.info
    )
    if job.action == "delete":
        return known.absent > known.present
    return info and (job.action == "modify" or known.present > known.absent)


def _taken(job: JobRecord) -> ClaimedJob:
    return ClaimedJob(job.id, job.action, job.failed, job.info, job.occurred_at, job.number)  # type: ignore[arg-type]


def _as_taken(change: Change, at: int) -> ClaimedJob:
    occurred = NEWEST if change.occurred_at is None else change.occurred_at
    return ClaimedJob(
        f"{change.account}-new{at}", change.action, change.relations, change.info, occurred, NEWEST + at
    )


def _message(change: Change) -> Mapping[str, Any]:
    return {**to_message(change)}


def _shown(action: Any) -> dict[str, Any]:
    """An action as plain data, in the words of the interface."""
    ids: Iterable[tuple[str, tuple[int, ...]]] = (("parentid", action.parents), ("childid", action.children))
    info = {"relationinfo": dict(action.info)} if action.info else {}
    return {
        "action": action.kind,
        "relationtype": action.type,
        **{name: list(each) for name, each in ids},
        **info,
    }
