"""Prepares a replay: judges failed jobs piece by piece, and plans what would be sent for those that it takes.

A job that is not changed goes back into the inbox with its own time, so that newer changes still win; one
that failed because a record was not found is looked up anew. A forced or corrected one, or an unreadable
message that is read again, is replaced by new changes.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Final

import msgspec

from producers.job_admin.selection import Selection
from producers.replay.eligibility import (
    REASONS,
    has_failed_look_up,
    is_unreadable,
    jobs_without_effect,
    pick_replayable,
    reason_not_to_look_up,
    reason_to_refuse,
)
from producers.replay.resend import Correction, Reparse, hide_values, make_new_change
from worker.contract import Change, Relation, check, to_message
from worker.errors import Fault, InvalidChange, NotFound
from worker.planner.actions import Action
from worker.planner.dry_run import DryRun
from worker.ports import (
    ClaimedJob,
    JobAdmin,
    JobRecord,
    Queries,
    RelationRecord,
    Replay,
    ReplayEntry,
    waiting_failures,
)
from worker.usecases.intake import IntakePolicy

MAX_REASON: Final = 1000  # characters
MAX_EXAMPLES: Final = 100  # refused jobs that are named
MAX_LISTED_ACTIONS: Final = 200
MAX_LISTED_IDS: Final = 5_000  # of all listed actions together
MAX_SET_BYTES: Final = 2**24  # of the changes that replace jobs; the jobs beyond are left to another replay
MAX_PLANNED_RELATIONS: Final = 50_000  # beyond, the plan covers only the first jobs of the set
NEWEST: Final = 2**60  # greater than the acceptance number of any job, and than any time in µs

Picked = tuple[JobRecord, tuple[Relation, ...]]
"""A failed job, and the relations of it that are replayed."""

DryRunOf = Callable[[str, Sequence[ClaimedJob], Mapping[Relation, RelationRecord]], DryRun]
"""Plans what flushes of an account's jobs would send, by what is stored of their relations."""


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
    forced: bool
    correction: Correction
    selection: Selection
    allowed: Collection[str] | None = None
    entries: list[ReplayEntry] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    planned: dict[str, list[ClaimedJob]] = field(default_factory=dict)
    accounts: set[str] = field(default_factory=set)
    relations: int = 0
    look_ups: int = 0
    set_bytes: int = 0
    has_more: bool = False
    new_numbers: Iterator[int] = field(default_factory=count)

    @property
    def as_new_changes(self) -> bool:
        """Whether new changes replace all jobs, instead of their going back as they are."""
        return self.forced or bool(self.correction)

    def judge(self, pieces: Iterable[Mapping[str, JobRecord | None]], limit: int) -> None:
        """Take or refuse each of the selected jobs, until `limit` jobs are taken."""
        for piece in pieces:
            if self.set_bytes > MAX_SET_BYTES:
                self.has_more = True
                return
            room = limit - len(self.entries)
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
        self.accounts.add(change.account)
        self.planned.setdefault(change.account, []).append(
            _claim_change(change, number=next(self.new_numbers))
        )

    def build(self, *, by: str, what: str, paused: str, repair: bool = False) -> Replay:
        """Return the replay as it is stored and shown; `paused` is why its account is paused, if it is."""
        return Replay(
            id=self.replay_id,
            account=self.account,
            by=by,
            what=what,
            forced=self.forced,
            correction=hide_values(self.correction),
            eligible=len(self.entries),
            relations=self.relations,
            refused=dict(self.refused),
            examples=self.examples,
            paused=paused,
            more=self.has_more,
            accounts=tuple(sorted(self.accounts)),
            plan=self._plan(),
            repair=repair,
        )

    def _judge_piece(self, piece: Mapping[str, JobRecord | None]) -> None:
        unchanged, replaced = list[Picked](), list[Picked]()
        for job_id, job in piece.items():
            reason, relations = reason_to_refuse(self.account, job_id, job), tuple[Relation, ...]()
            if job and not reason:
                relations, reason = self._pick(job)
            if reason or job is None:
                replacements = f" {', '.join(job.replayed_by)}" if job and reason == "replaced" else ""
                self.refuse(job_id, reason, replacements)
            elif self.as_new_changes or is_unreadable(job):
                replaced.append((job, relations))
            else:
                unchanged.append((job, relations))
        self._take_unchanged(unchanged)
        self._take_replaced(replaced)

    def _pick(self, job: JobRecord) -> tuple[tuple[Relation, ...], str]:
        """Return the failed relations of a job that are replayed, if it has any, or why none is."""
        if is_unreadable(job):
            return (), ""
        if has_failed_look_up(job):
            return (), reason_not_to_look_up(job, self.selection, as_new_change=self.as_new_changes)
        return pick_replayable(job, self.selection, as_new_change=self.as_new_changes)

    def _take_unchanged(self, jobs: Sequence[Picked]) -> None:
        """Take the jobs of which something would be sent if they went back into the inbox.

        What failed because a record was not found is looked up anew, and what it comes to is not known yet.
        """
        for job in [job for job, _ in jobs if has_failed_look_up(job)]:
            self.entries.append(ReplayEntry(job.id))
            self._count_look_up(self.account)
        if not (jobs := [picked for picked in jobs if not has_failed_look_up(picked[0])]):
            return
        named = [relation for _, relations in jobs for relation in relations]
        records = self.queries.get_records(self.account, named)
        lost = self.dry_run(self.account, [_claim_job(*each) for each in jobs], records).lost
        without_effect = jobs_without_effect(jobs, lost, records)
        for job, relations in jobs:
            if job.id in without_effect:
                self.refuse(job.id, without_effect[job.id])
            else:
                self.entries.append(ReplayEntry(job.id, relations=_names(job, relations)))
                self._plan_for(self.account, _claim_job(job, relations))

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
            self.entries.append(ReplayEntry(job.id, messages, delivered, _names(job, relations)))
            self.set_bytes += len(msgspec.json.encode(messages))
            for change in changes:
                number = next(self.new_numbers)
                if change.references:
                    self._count_look_up(change.account)
                else:
                    self._plan_for(change.account, _claim_change(change, number=number))

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

    def _count_look_up(self, account: str) -> None:
        self.accounts.add(account)
        self.look_ups += 1

    def _plan_for(self, account: str, job: ClaimedJob) -> None:
        """Add a job to what the plan covers, as long as that is not too much."""
        self.accounts.add(account)
        self.relations += len(job.relations)
        if self.relations <= MAX_PLANNED_RELATIONS:
            self.planned.setdefault(account, []).append(job)

    def _plan(self) -> Mapping[str, Any]:
        """Return what would be sent as plain data: counts, and the first of the actions."""
        counts, listed = Counter[str](requests=0, actions=0), list[dict[str, Any]]()
        for account, jobs in self.planned.items():
            relations = dict.fromkeys(relation for job in jobs for relation in job.relations)
            requests = self.dry_run(account, jobs, self.queries.get_records(account, relations)).requests
            actions = [action for request in requests for action in request.actions]
            counts.update({"requests": len(requests), "actions": len(actions)})
            counts.update(f"{action.kind}s" if action.kind != "modify" else "modifies" for action in actions)
            listed += map(_action_json, actions[: MAX_LISTED_ACTIONS - len(listed)])
        listed = list(_within(listed, MAX_LISTED_IDS))
        more = {"look_ups": self.look_ups} if self.look_ups else {}
        return {**counts, **more, "listed": listed, "whole": self.relations <= MAX_PLANNED_RELATIONS}

    def refuse(self, job_id: str, reason: str, detail: str = "") -> None:
        """Count a job that is not taken, and name it with the reason."""
        self.refused[reason] += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples[job_id] = (REASONS[reason] + detail)[:MAX_REASON]


def _within(listed: Iterable[dict[str, Any]], ids: int) -> Iterator[dict[str, Any]]:
    """Yield the first of the actions that have so many ids together."""
    for action in listed:
        ids -= len(action["parentid"]) + len(action["childid"])
        if ids < 0:
            return
        yield action


def _names(job: JobRecord, relations: Sequence[Relation]) -> tuple[str, ...]:
    """Return the names of the relations; none if they are all of the job that wait for a decision."""
    waiting = [failure.relation for failure in waiting_failures(job)]
    return () if waiting == list(relations) else tuple(map(str, relations))


def _claim_job(job: JobRecord, relations: tuple[Relation, ...]) -> ClaimedJob:
    """Return what a flush would read of the job once these of its relations are back in the inbox."""
    return ClaimedJob(
        job.id,
        job.asks,
        relations,
        job.info,
        job.occurred_at,
        job.number,
        allow_empty=job.allow_empty,
    )


def _claim_change(change: Change, *, number: int) -> ClaimedJob:
    """Return what a flush would read of a new change; the greater its number, the later it was accepted."""
    return ClaimedJob(
        f"{change.account}-new{number}",
        change.asks,
        change.relations,
        change.info,
        NEWEST if change.occurred_at is None else change.occurred_at,
        NEWEST + number,
        allow_empty=change.allow_empty,
    )


def _action_json(action: Action) -> dict[str, Any]:
    """Return an action in the fields of the HTTP interface."""
    document = {
        "action": action.kind,
        "relationtype": action.type,
        "parentid": list(action.parents),
        "childid": list(action.children),
    }
    return {**document, "relationinfo": dict(action.info)} if action.info else document
