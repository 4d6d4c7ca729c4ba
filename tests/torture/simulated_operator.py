"""A simulated operator: acts on jobs, records and accounts in a process of its own, which may die in between.

Once the faults are over, what was begun is finished: replays run to their end, and every erasure is repeated
until nothing is left to wait for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from producers.job_admin.cancel_dismiss import JobAdminService
from producers.job_admin.erase import EraseService
from producers.replay.service import ReplayService
from tests.support.erasing import erase_record
from tests.torture.changes import RECORDS, TYPES, children_of
from tests.torture.fault_profile import FaultProfile
from tests.torture.history_checker import HistoryChecker
from tests.torture.schedule import SECOND, Schedule
from tests.torture.simulated_callbacks import SimulatedCallbacks
from tests.torture.simulated_process import InterruptiblePort, SimulatedProcess
from worker.ports import Wake
from worker.ports.erasure import ERASED, RecordRef
from worker.ports.pace import Pause
from worker.ports.records import JobFilter
from worker.store.deliveries import RedisDeliveries
from worker.usecases.callbacks import Callbacks
from worker.usecases.cancel_taken import TakenJobs
from worker.usecases.dry_run import dry_run_jobs
from worker.usecases.flush_context import FlushPolicy
from worker.usecases.intake import Intake, IntakePolicy
from worker.usecases.replay import requeue
from worker.usecases.withdrawal import withdraw_record

NAME = "operator"
RESTS = (1.0, 4.0, 12.0)  # seconds between two acts at most; drawn for each scenario


@dataclass(slots=True, kw_only=True)
class OperatorEnvironment:
    """What the operator works with; `pause` and `resume` act at once."""

    schedule: Schedule
    faults: Callable[[], FaultProfile]
    accounts: Sequence[str]
    store: Any
    queries: Any
    job_admin: Any
    checker: HistoryChecker
    policy_of: Callable[[str], FlushPolicy]
    intake_policy_of: Callable[[str], IntakePolicy]
    wake: Wake
    new_id: Callable[[], str]
    is_calm: Callable[[], bool]
    may_erase: bool
    callbacks: SimulatedCallbacks | None
    trace: Callable[..., None]


class SimulatedOperator(SimulatedProcess):
    """Somebody who acts at random until the faults end, and then finishes everything."""

    def __init__(self, environment: OperatorEnvironment) -> None:
        super().__init__(environment.schedule, environment.faults, environment.trace)
        self.environment, self.has_finished = environment, False
        store = InterruptiblePort(environment.store, "store", self)
        job_admin = InterruptiblePort(environment.job_admin, "job_admin", self)
        self.callbacks = environment.callbacks.make(self) if environment.callbacks else None
        self.intake = make_intake(environment, store=store, callbacks=self.callbacks)
        self.jobs = JobAdminService(
            queries=environment.queries,
            job_admin=job_admin,
            new_id=environment.new_id,
            cancel_taken=TakenJobs(
                store=store,
                queries=environment.queries,
                job_admin=job_admin,
                policy_of=environment.policy_of,
                clock=self,
                keep_lease=self.keep_lease,
                new_id=environment.new_id,
                wake=environment.wake,
            ).cancel,
        )
        self.replays = make_replays(environment, store=store, job_admin=job_admin, intake=self.intake)
        database = environment.store.database
        self.erasure = EraseService(
            store=store,
            job_admin=job_admin,
            deliveries=RedisDeliveries(database),
            clock=self,
            new_id=environment.new_id,
            withdraw=lambda account, *known: withdraw_record(
                *known, environment.policy_of(account), by=ERASED
            ),
            now=database.now,
            wake=environment.wake,
            keep_lease=self.keep_lease,
        )
        self._erased: dict[tuple[str, RecordRef], None] = {}
        self.actor = self.schedule.spawn(NAME, self._run)

    # --- the process

    def _run(self) -> None:
        once = self._pause, self._dismiss, self._requeue
        twice = self._resume, self._cancel, self._replay, self._erase
        more = (self._resend,) if self.callbacks else ()
        rest = self.schedule.rng.choice(RESTS)
        while not self.environment.is_calm():
            self.actor.wait(self.schedule.now + round(rest * self.random() * SECOND))
            self._try(self.schedule.rng.choice((*once, *twice, *twice, *more)))
        while not self._try(self._finish):
            self.actor.wait(self.schedule.now + SECOND)
        self.has_finished = True
        self.actor.wait()

    def _try(self, act: Callable[[str], None]) -> bool:
        """Act on one of the accounts; return whether it came to its end."""
        account = self.schedule.rng.choice(self.environment.accounts)
        self.trace(act.__name__.strip("_"), account)
        if not self.attempt(lambda: act(account)):
            return False
        self.environment.checker.acts[act.__name__.strip("_")] += 1
        return True

    # --- acts

    def _pause(self, account: str) -> None:
        if not self.environment.is_calm():
            self.environment.store.pause(account, Pause("hand", "a test"))

    def _resume(self, account: str) -> None:
        self.environment.store.resume(account)

    def _cancel(self, account: str) -> None:
        if jobs := self._some_jobs(account):
            self.jobs.cancel(account, jobs, by=NAME)

    def _dismiss(self, account: str) -> None:
        if jobs := self._some_jobs(account):
            self.jobs.dismiss(account, jobs, by=NAME)

    def _requeue(self, account: str) -> None:
        requeue(self.intake, account, self.environment.store.failed_jobs(account, limit=5))

    def _replay(self, account: str) -> None:
        rng = self.schedule.rng
        wanted, correction = JobFilter(state="failed"), dict[str, Any]()
        if rng.random() < 0.4:
            wanted = JobFilter(state="failed", type=rng.choice(TYPES))
            child = {"childid": rng.choice(children_of(wanted.type))}
            correction = rng.choice((child, {"action": "create"}, {"action": "delete"}))
        replay = self.replays.prepare(
            account, wanted, by=NAME, forced=rng.random() < 0.3, correction=correction
        )
        self.sleep(rng.choice((0.0, 1.0, 10.0)))
        if rng.random() < 0.9:
            self.replays.start(replay.id, by=NAME)
            self.environment.checker.acts["replayed"] += self.replays.run(replay.id).back

    def _erase(self, account: str) -> None:
        """Erase a record of an accepted change: most others are not known at all."""
        accepted = self.environment.checker.accepted.get(account)
        if not (accepted and self.environment.may_erase):
            return
        change = self.schedule.rng.choice(accepted).change
        relation = self.schedule.rng.choice(change.relations)
        records = [RecordRef(*each) for each in RECORDS if RecordRef(*each).is_part_of(relation)]
        record = self.schedule.rng.choice(records)
        self._erased[account, record] = None
        erase_record(self.erasure, account, *record, by=NAME)

    def _resend(self, account: str) -> None:
        if self.callbacks and (messages := self.callbacks.store.list_messages(account).entries):
            self.callbacks.resend(self.schedule.rng.choice(messages).id, by=NAME)

    def _finish(self, _: str) -> None:
        """Let every started replay run to its end, and every erasure finish."""
        for account in self.environment.accounts:
            for replay in self.environment.job_admin.list_replays(account):
                if replay.state == "running":
                    self.replays.run(replay.id)
        for account, record in self._erased:
            erase_record(
                self.erasure, account, *record, by=NAME, on_wait=lambda error: self.trace("waits", error)
            )
        self.environment.checker.erased.update(self._erased)

    def _some_jobs(self, account: str) -> list[str]:
        jobs = [entry.job for entry in self.environment.checker.accepted.get(account, ())]
        return self.schedule.rng.sample(jobs, min(len(jobs), self.schedule.rng.choice((1, 2, 5))))


def make_replays(
    environment: OperatorEnvironment, *, store: Any, job_admin: Any, intake: Intake
) -> ReplayService:
    """Return the service of a process that has these ports."""

    def dry_run(account: str, *jobs_and_records: Any) -> Any:
        return dry_run_jobs(*jobs_and_records, environment.policy_of(account).dry_run)

    return ReplayService(
        store=store,
        queries=environment.queries,
        job_admin=job_admin,
        intake=intake,
        dry_run=dry_run,
        reparse=lambda *_: (),
    )


def make_intake(
    environment: OperatorEnvironment, *, store: Any, callbacks: Callbacks | None = None
) -> Intake:
    """Return the intake of a process that has this store."""
    return Intake(
        store=store,
        policy_of=environment.intake_policy_of,
        new_id=environment.new_id,
        wake=environment.wake,
        emit=lambda *_, **__: None,
        watch=callbacks.watch if callbacks else lambda *_: None,
    )
