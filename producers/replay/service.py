"""Replays as operators steer them: prepare, find, start, run, stop, and see what became of the jobs.

The work of a running replay is `worker.usecases.replay`; this or any worker can do it.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from producers.job_admin.selection import (
    PIECE,
    Selection,
    describe_selection,
    find_jobs,
    restrict_to_states,
)
from producers.replay.plan import DryRunOf
from producers.replay.prepare import ReplayBuilder
from producers.replay.repair import MAX_RELATIONS, judge_drift, label_of
from producers.replay.resend import Reparse, check_correction
from worker.config import refuse_secrets
from worker.contract.instant import SECOND
from worker.errors import Fault, InvalidChange, NotFound
from worker.ports.drift import DriftedRelation
from worker.ports.job_admin import JobAdmin
from worker.ports.queries import Queries
from worker.ports.records import AuditEntry, JobFilter
from worker.ports.replays import Basis, Replay, ReplayEntry, ReplayState
from worker.ports.store import Store
from worker.usecases.intake import Intake
from worker.usecases.replay import run_replay

MAX_FOLLOWED_JOBS: Final = 10_000  # jobs of a replay whose outcomes are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayService:
    """Prepares replays, which are kept for a week, and steers them; the audit log shows every step."""

    store: Store
    queries: Queries
    job_admin: JobAdmin
    intake: Intake
    dry_run: DryRunOf
    reparse: Reparse

    def prepare(
        self,
        account: str,
        selection: Selection,
        *,
        by: str,
        forced: bool = False,
        correction: Mapping[str, Any] | None = None,
        allowed: Collection[str] | None = None,
    ) -> Replay:
        """Store a replay of the selected failed jobs and return it; nothing is sent before it is started.

        It sends into the `allowed` accounts only; None allows all.
        Raises InvalidChange if nothing or everything is selected, or for a correction that cannot be made.
        """
        what, selection = describe_selection(selection), restrict_to_states(selection, ("failed",))
        correction = correction or {}
        check_correction(correction)
        refuse_secrets(
            selection=what, by=by, set=" ".join(f"{name} {value}" for name, value in correction.items())
        )
        builder = replace(
            self._builder(account),
            selection=selection,
            forced=forced,
            correction=correction,
            allowed=allowed,
        )
        builder.judge(find_jobs(self.queries, account, selection))
        replay = builder.build(by=by, what=what, paused=self._paused(account))
        # A filter finds the newest jobs first; they are replayed in the order of acceptance.
        entries = builder.entries[::-1] if isinstance(selection, JobFilter) else builder.entries
        return self._save(replay, entries, builder.basis)

    def prepare_repair(self, account: str, drifted: Sequence[DriftedRelation], *, by: str) -> Replay:
        """Store a replay of new changes that make drifted relations as they were confirmed, and return it.

        Nothing is sent before it is started. What has changed since it was read is refused.
        Raises InvalidChange for none or too many relations.
        """
        refuse_secrets(by=by)
        by_relation = {found.relation: found for found in drifted}
        if not 1 <= len(by_relation) <= MAX_RELATIONS:
            reason = f"expected 1 to {MAX_RELATIONS} relations, got {len(by_relation)}"
            raise InvalidChange([Fault("relations", reason)])
        builder = self._builder(account)
        memory = self.intake.policy_of(account).bounds.oldest
        oldest = max(found.read_at for found in by_relation.values()) - round(memory * SECOND)
        records = self.queries.get_records(account, by_relation)
        judge_drift(builder, list(by_relation.values()), records, oldest=oldest)
        what = f"drift of {len(by_relation):,} {'relation' if len(by_relation) == 1 else 'relations'}"
        replay = builder.build(by=by, what=what, paused=self._paused(account), repair=True)
        return self._save(replay, builder.entries, builder.basis)

    def _save(self, replay: Replay, entries: Sequence[ReplayEntry], basis: Basis) -> Replay:
        entry = self._audit_entry(replay, "prepared", replay.by)
        self.job_admin.save_replay(replay, entries, entry, erasures=basis.erasures)
        return self.find(replay.id)

    def _builder(self, account: str) -> ReplayBuilder:
        return ReplayBuilder(
            queries=self.queries,
            job_admin=self.job_admin,
            policy_of=self.intake.policy_of,
            dry_run=self.dry_run,
            reparse=self.reparse,
            account=account,
            replay_id=f"{account}-{self.intake.new_id()}",
            basis=self.job_admin.read_basis(account),
        )

    def _paused(self, account: str) -> str:
        pause = self.store.get_pause(account)
        return pause.reason if pause else ""

    def find(self, replay_id: str) -> Replay:
        """Return the replay with its progress; raises NotFound."""
        replay = self.job_admin.get_replay(replay_id)
        if replay is None:
            raise NotFound(f"there is no replay {replay_id}; they are kept for a week")
        return replay

    def start(self, replay_id: str, *, by: str) -> Replay:
        """Let the replay run; a `relations.replay` message makes a worker work it, `run` works it here."""
        return self._set_state(replay_id, "running", "started", by)

    def stop(self, replay_id: str, *, by: str) -> Replay:
        """Stop the replay after the current piece; `start` lets it continue."""
        return self._set_state(replay_id, "stopped", "stopped", by)

    def run(self, replay_id: str) -> Replay:
        """Work a started replay until it is done or stopped."""
        self.find(replay_id)
        run_replay(self.intake, self.job_admin, replay_id)
        return self.find(replay_id)

    def count_outcomes(self, replay: Replay, *, limit: int = MAX_FOLLOWED_JOBS) -> Mapping[str, int]:
        """Count the current states of the replayed jobs, of the first `limit` of them.

        A job that was replaced counts by its replacements; of a repair all changes count.
        """
        states = Counter[str]()
        if replay.repair:
            counts = self.store.batch_counts(replay.account, label_of(replay.id))
            ended = {state: count for state, count in counts.items() if state != "accepted"}
            waiting = counts.get("accepted", 0) - sum(ended.values())
            return +Counter({**ended, "open": waiting})
        for first in range(0, min(replay.done, limit), PIECE):
            entries = self.job_admin.replay_entries(replay.id, first, min(PIECE, replay.done - first))
            found = self.queries.get_jobs([entry.job for entry in entries])
            replaced = {entry.job for entry in entries if entry.changes}
            replayed = [job for job in found.values() if job.replay == replay.id]
            states.update(job.state for job in replayed if job.id not in replaced)
            names = [name for job in replayed if job.id in replaced for name in job.replayed_by]
            made = self.queries.get_jobs(names).values()
            # What other replays had sent in place of the job is there, too.
            states.update(job.state for job in made if job.accepted_at >= replay.run_at)
        return states

    def _set_state(self, replay_id: str, state: ReplayState, act: str, by: str) -> Replay:
        refuse_secrets(by=by)
        replay = self.find(replay_id)
        self.job_admin.set_replay_state(replay_id, state, self._audit_entry(replay, act, by))
        return self.find(replay_id)

    def _audit_entry(self, replay: Replay, act: str, by: str) -> AuditEntry:
        return AuditEntry(self.intake.new_id(), by, f"replay {act}", replay.what, replay.id)
