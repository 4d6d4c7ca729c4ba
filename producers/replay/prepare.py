"""Prepares a replay: judges failed jobs piece by piece, and takes those of which something would be sent.

A job that is not changed goes back into the inbox with its own time, so that newer changes still win; one
that failed because a record was not found is looked up anew. A forced or corrected one, or an unreadable
message that is read again, is replaced by new changes.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import msgspec

from producers.job_admin.selection import MAX_JOBS, Selection, name_relations
from producers.replay.eligibility import (
    REASONS,
    has_failed_look_up,
    is_unreadable,
    jobs_without_effect,
    judge_job,
)
from producers.replay.plan import DryRunOf, ReplayPlan, claim_job
from producers.replay.resend import Correction, Reparse, hide_values, make_new_change
from worker.config import refuse_secrets
from worker.contract import Change, Relation, check, to_message
from worker.errors import Fault, InvalidChange, NotFound
from worker.ports.job_admin import JobAdmin
from worker.ports.queries import Queries
from worker.ports.records import JobRecord
from worker.ports.replays import Basis, Replay, ReplayEntry
from worker.usecases.intake import IntakePolicy

MAX_REASON: Final = 1000  # characters
MAX_EXAMPLES: Final = 100  # refused jobs that are named
MAX_SET_BYTES: Final = 2**24  # of the changes that replace jobs; the jobs beyond are left to another replay

Picked = tuple[JobRecord, tuple[Relation, ...]]
"""A failed job, and the relations of it that are replayed."""


@dataclass(slots=True, kw_only=True)
class ReplayBuilder:
    """A replay in the making: the jobs it takes, those it refuses and why, and the work that is planned.

    `allowed` are the accounts that it may send into, None for all: a kept message may name another account
    than the one that keeps it.
    """

    queries: Queries
    job_admin: JobAdmin
    policy_of: Callable[[str], IntakePolicy]
    dry_run: DryRunOf
    reparse: Reparse
    account: str
    replay_id: str
    basis: Basis
    selection: Selection = ()
    forced: bool = False
    correction: Correction = field(default_factory=dict)
    allowed: Collection[str] | None = None
    entries: list[ReplayEntry] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    plan: ReplayPlan = field(default_factory=ReplayPlan)
    set_bytes: int = 0
    has_more: bool = False

    @property
    def as_new_changes(self) -> bool:
        """Whether new changes replace all jobs, instead of their going back as they are."""
        return self.forced or bool(self.correction)

    def judge(self, pieces: Iterable[Mapping[str, JobRecord | None]]) -> None:
        """Take or refuse each of the selected jobs, until MAX_JOBS are taken."""
        for piece in pieces:
            if self.set_bytes > MAX_SET_BYTES:
                self.has_more = True
                return
            room = MAX_JOBS - len(self.entries)
            self._judge_piece(dict(islice(piece.items(), room)))
            if len(piece) > room:
                self.has_more = True
                return

    def take_change(self, change: Change) -> None:
        """Take a new change that replaces no job."""
        try:
            check(change, self.policy_of(change.account).overrides)
        except InvalidChange as error:
            self.refuse(change.event_id or "", "invalid", f": {error}")
            return
        self.entries.append(ReplayEntry("", ({**to_message(change)},)))
        self.plan.add_change(change)

    def build(self, *, by: str, what: str, paused: str, repair: bool = False) -> Replay:
        """Return the replay as it is stored and shown; `paused` is why its account is paused, if it is."""
        return Replay(
            id=self.replay_id,
            account=self.account,
            by=by,
            what=what,
            forced=self.forced,
            correction=hide_values(self.correction),
            made_at=self.basis.read_at,
            eligible=len(self.entries),
            relations=self.plan.relations,
            refused=dict(self.refused),
            examples=self.examples,
            paused=paused,
            more=self.has_more,
            accounts=tuple(sorted(self.plan.accounts)),
            plan=self.plan.describe(self.dry_run, self.queries),
            repair=repair,
        )

    def _judge_piece(self, piece: Mapping[str, JobRecord | None]) -> None:
        unchanged, replaced = list[Picked](), list[Picked]()
        for job_id, job in piece.items():
            relations, reason = judge_job(
                self.account, job_id, job, self.selection, as_new_change=self.as_new_changes
            )
            if reason or job is None:
                replacements = f" {', '.join(job.replayed_by)}" if job and reason == "replaced" else ""
                self.refuse(job_id, reason, replacements)
            elif self.as_new_changes or is_unreadable(job):
                replaced.append((job, relations))
            elif has_failed_look_up(job):  # looked up anew; what it comes to is not known yet
                self.entries.append(ReplayEntry(job.id))
                self.plan.add_look_up(self.account)
            else:
                unchanged.append((job, relations))
        self._take_unchanged(unchanged)
        self._take_replaced(replaced)

    def _take_unchanged(self, jobs: Sequence[Picked]) -> None:
        """Take the jobs of which something would be sent if they went back into the inbox."""
        if not jobs:
            return
        named = [relation for _, relations in jobs for relation in relations]
        records = self.queries.get_records(self.account, named)
        lost = self.dry_run(self.account, [claim_job(*each) for each in jobs], records).lost
        without_effect = jobs_without_effect(jobs, lost, records)
        for job, relations in jobs:
            if job.id in without_effect:
                self.refuse(job.id, without_effect[job.id])
            else:
                self.entries.append(ReplayEntry(job.id, relations=name_relations(job, relations)))
                self.plan.add_job(self.account, job, relations)

    def _take_replaced(self, jobs: Sequence[Picked]) -> None:
        """Take the jobs that valid new changes can replace."""
        for job, relations in jobs:
            try:
                changes = self._make_changes(job, relations)
            except (InvalidChange, NotFound) as error:
                self.refuse(job.id, "unreadable" if is_unreadable(job) else "invalid", f": {error}")
                continue
            if not changes:
                self.refuse(job.id, "unreadable")
                continue
            if not self._may_send(changes):
                self.refuse(job.id, "elsewhere")
                continue
            messages, delivered = tuple({**to_message(change)} for change in changes), changes[0].delivered
            self.entries.append(ReplayEntry(job.id, messages, delivered, name_relations(job, relations)))
            self.set_bytes += len(msgspec.json.encode(messages))
            for change in changes:
                self.plan.add_change(change)

    def _make_changes(self, job: JobRecord, relations: Sequence[Relation]) -> Sequence[Change]:
        """Return the changes that would replace the job; raises InvalidChange, or NotFound for an account."""
        changes: Sequence[Change] = ()
        if not is_unreadable(job):
            changes = [
                make_new_change(job, relations, self.correction, forced=self.forced, replay_id=self.replay_id)
            ]
        elif payload := self.job_admin.get_payload(job.id):
            if len(payload.body) < payload.size:
                reason = f"was cut to {len(payload.body)} of {payload.size} bytes, so it cannot be read again"
                raise InvalidChange([Fault("", reason)])
            changes = self.reparse(job, payload, self.correction)
        for change in changes if self._may_send(changes) else ():
            check(change, self.policy_of(change.account).overrides)
        return changes

    def _may_send(self, changes: Iterable[Change]) -> bool:
        return self.allowed is None or all(change.account in self.allowed for change in changes)

    def refuse(self, job_id: str, reason: str, detail: str = "") -> None:
        """Count a job that is not taken, and name it with the reason.

        Raises Invalid where somebody has given a secret as the id of a job.
        """
        self.refused[reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            refuse_secrets(jobs=job_id)
            self.examples[job_id] = (REASONS[reason] + detail)[:MAX_REASON]
