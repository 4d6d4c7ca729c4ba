"""A scenario: everything that one seed decides, on one schedule.

It has producers, a broker, workers, the sweep, an operator, a store, the API and the clocks of all.
"""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ops.simulator import KINDS, OF_RELATIONS, FaultPlan, InjectedFault, Records, Simulator, Switches
from ops.simulator.faults import Kind, Record
from tests.torture.changes import (
    BAD_RECORDS,
    BARRED,
    MISSING,
    as_replaces,
    fields_of_records,
    make_changes,
    name_records,
)
from tests.torture.checked_ports import CheckedJobAdmin, CheckedStore
from tests.torture.fault_profile import FaultProfile
from tests.torture.history_checker import HistoryChecker
from tests.torture.schedule import SECOND, Schedule
from tests.torture.simulated_broker import SimulatedBroker
from tests.torture.simulated_callbacks import CallbackEnvironment, SimulatedCallbacks
from tests.torture.simulated_drift import DriftEnvironment, SimulatedDrift
from tests.torture.simulated_operator import OperatorEnvironment, SimulatedOperator
from tests.torture.simulated_process import SimulatedProcess
from tests.torture.simulated_worker import SimulatedWorker, WorkerEnvironment
from worker.contract import TYPES, Change, guarded_side, order_of
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports.erasure import RecordRef
from worker.ports.metrics import Metrics
from worker.ports.store import IntakeBounds
from worker.testing import MemoryLimiter
from worker.usecases.flush_context import FlushPolicy
from worker.usecases.intake import Intake, IntakePolicy

START = 1_800_000_000 * SECOND  # far from the time of any real run, so that a use of a real clock would show
ODD_ANSWERS: tuple[Kind, ...] = ("maintenance", "page", "empty", "byte_order_mark", "odd_reads")
API_FAULTS = (
    *(kind for kind in KINDS if kind not in ODD_ANSWERS),
    *(InjectedFault("late", seconds) for seconds in (5.0, 30.0, 90.0, 118.0)),
    InjectedFault("latency", 12.0),
    InjectedFault("drip", 20.0),
)
SWITCHES = tuple(Switches.all(OF_RELATIONS))
NO_FAULTS = FaultProfile()
FAULTY_SECONDS = 60.0  # until the faults end
# Seconds that the store's clock may jump ahead in all; `doubt` has a margin of 30 over a signature's life.
JUMP = 12.0

Trace = Callable[[float, str, tuple[object, ...]], None]
"""Is called with the time (seconds since the start), the actor, and what it does."""


class StoreFixture(Protocol):
    """Makes the store of a scenario, and does with it what only its maker can do."""

    def make_store(self, now: Callable[[], int]) -> Any:
        """Make a new store that uses this clock (µs)."""

    def make_job_admin(self, now: Callable[[], int]) -> Any:
        """Make what people act by on the store's jobs."""

    def make_queries(self) -> Any:
        """Make the queries over the store's data."""

    def make_metrics(self) -> Metrics:
        """Make the metrics beside the store's data."""

    def make_callbacks(self) -> Any:
        """Make the store of callbacks beside the store's data."""

    def names(self, account: str, who: RecordRef) -> list[str]:
        """Return the places of an account where the record's number is kept."""

    def keep_lease(self, account: str) -> None:
        """Keep the lease of this account until it has expired by the scenario's clock."""

    def expire_lease(self, account: str) -> None:
        """Remove the lease of this account, which has expired by the scenario's clock."""

    def open_work(self, account: str) -> list[str]:
        """Return the names of what is left of open work."""


class Scenario:
    """All that happens with one seed; `trace` is called for every step."""

    def __init__(self, seed: int, fixture: StoreFixture, trace: Trace) -> None:
        self.rng, self._trace_to = random.Random(seed), trace
        self.schedule = Schedule(self.rng, START)
        self.fixture, self.is_calm = fixture, False
        self._faults, self._ahead = FaultProfile.draw(self.rng), 0
        self.accounts = self.rng.choice((("acme",), ("acme", "bart")))
        self.changes = make_changes(self.rng, accounts=self.accounts, now=START)
        self.upsert = self.rng.random() < 0.3
        self.checker = HistoryChecker(self.now, fixture.expire_lease, fixture.keep_lease)
        # Drawn beside the rest, so that a seed is the same as before there were references and replaces.
        self.uses_references = random.Random(f"references {seed}").random() < 0.3
        beside = random.Random(f"replaces {seed}")
        self.uses_replaces = beside.random() < 0.3
        if self.uses_replaces:
            self.changes = as_replaces(beside, self.changes)
        is_barred = self.uses_replaces and beside.random() < 0.4
        self._barred = frozenset([beside.choice(BARRED)] if is_barred else [])
        self.store = CheckedStore(
            fixture.make_store(self.now),
            self.checker,
            upsert=self.upsert,
            name_records=name_records if self.uses_references else lambda change: change,
        )
        self.simulator = self._make_simulator(seed)
        for account in self.accounts:
            self.simulator.seed(f"token-{account}", fields=fields_of_records())
        self.broker = SimulatedBroker(self.schedule, self.faults)
        ids = (f"{number:018d}" for number in itertools.count())
        self._new_id = lambda: next(ids)
        self.callbacks = self._make_callbacks(seed)
        self.intake = Intake(
            store=self.store,
            policy_of=_intake_policy,
            new_id=self._new_id,
            wake=self.broker.put,
            emit=lambda *_, **__: None,
            watch=self.callbacks.make().watch if self.callbacks else lambda *_: None,
        )
        self._policies = {account: self._flush_policy(account) for account in self.accounts}
        self._worker_environment = self._make_worker_environment()
        self._operator_environment = self._make_operator_environment()
        self.workers = self._make_workers()
        self.operator = SimulatedOperator(self._operator_environment)
        self.drift = self._make_drift(seed)
        self._schedule_events()

    # --- its state

    def now(self) -> int:
        """Return the time of the store's clock (µs), which jumps ahead now and then."""
        return self.schedule.now + self._ahead

    def faults(self) -> FaultProfile:
        """Return what may go wrong now; at the end, nothing."""
        return NO_FAULTS if self.is_calm else self._faults

    @property
    def processes(self) -> list[SimulatedProcess]:
        """The processes whose deaths are counted."""
        callbacks = self.callbacks.processes if self.callbacks else ()
        return [*self.workers, *callbacks, *((self.drift,) if self.drift else ())]

    def end_faults(self) -> None:
        """Let no more faults happen, and resume what was paused."""
        self.is_calm = True
        self.simulator.inject(FaultPlan())
        if self.uses_references or self.uses_replaces:  # or what names them would be parked for days
            self._create_missing_records()
        for account in self.accounts:
            self.store.resume(account)

    def unfinished(self) -> list[str]:
        """Return what is not done yet, as sentences."""
        if waiting := self._open_work():
            return waiting
        waiting = self.callbacks.law.unfinished() if self.callbacks else []
        return waiting + (["drift is not read"] if self.drift and not self.drift.has_finished else [])

    def _open_work(self) -> list[str]:
        waiting = [f"{change.event_id} was not accepted" for change in self._unaccepted]
        waiting += [] if self.operator.has_finished else ["the operator has not finished"]
        return waiting + [
            f"{account}: {name}" for account in self.accounts for name in self.fixture.open_work(account)
        ]

    # --- producers, sweep, and the store's clock

    def _schedule_events(self) -> None:
        rng, schedule = self.rng, self.schedule
        self._unaccepted = list(self.changes)
        pending = list(self.changes)
        while pending:
            account = pending[0].account
            together = [change for change in pending[: rng.choice((1, 1, 3))] if change.account == account]
            pending = [change for change in pending if change not in together]
            self._send_later(together, rng.random() * rng.choice((1.0, FAULTY_SECONDS)))
        schedule.after(self._sweep_interval(), self._sweep)
        schedule.after(FAULTY_SECONDS * rng.random(), self._jump_ahead)
        if rng.random() < 0.5:
            schedule.after(FAULTY_SECONDS * rng.random(), self._create_missing_records)
        schedule.after(FAULTY_SECONDS, self.end_faults)

    def _send_later(self, together: Sequence[Change], seconds: float) -> None:
        self.schedule.after(seconds, lambda: self._send(together))

    def _send(self, together: Sequence[Change]) -> None:
        """Send changes; a producer that misses the answer sends them once more."""
        self._trace("producer", "sends", together)
        self.intake.accept(together)
        self._unaccepted = [change for change in self._unaccepted if change not in together]
        if self.rng.random() < self.faults().producer_misses_answer:
            self._send_later(together, 10 * self.rng.random())

    def _sweep(self) -> None:
        for account in self.store.due_accounts(self.accounts):
            self._trace("sweep", "wakes", account)
            self.broker.put(account, 0.0)
        for account in self.accounts:
            self.store.tidy(account)
        self.schedule.after(self._sweep_interval(), self._sweep)

    def _sweep_interval(self) -> float:
        return self.rng.uniform(5, 15) if self.is_calm else self.rng.uniform(1, 3)

    def _create_missing_records(self) -> None:
        self._trace("somebody", "creates the missing records")
        for account in self.accounts:
            self.simulator.seed(f"token-{account}", records=Records())

    def _jump_ahead(self) -> None:
        ahead = round(self.rng.choice((0.0, 0.0, JUMP * self.rng.random())) * SECOND)
        self._ahead += ahead
        self._trace("the store's clock", "jumps", ahead)

    # --- its parts

    def _make_simulator(self, seed: int) -> Simulator:
        skew = self.rng.choice((0.0, 0.0, 0.0, 12.0, -12.0, 600.0, -600.0))
        return Simulator(
            {f"token-{account}": "secret" for account in self.accounts},
            switches=self.rng.choice(SWITCHES),
            faults=replace(self._api_faults(seed), records=self._bad_records()),
            records=Records(
                missing=frozenset(MISSING if self.rng.random() < 0.5 else ()), no_write=self._barred
            ),
            clock=lambda: self.schedule.now / SECOND + skew,
            sleep=self._pause_caller,
        )

    def _api_faults(self, seed: int) -> FaultPlan:
        """Draw what goes wrong with requests; in some scenarios the API answers oddly, too."""
        has_odd_ones = random.Random(f"odd answers {seed}").random() < 0.4
        kinds = (*API_FAULTS, *ODD_ANSWERS) if has_odd_ones else API_FAULTS
        return FaultPlan.random(seed, self._faults.api_fault, kinds)

    def _bad_records(self) -> Mapping[Record, InjectedFault]:
        """Draw a record that makes every request fail that names it, or none."""
        bad = [self.rng.choice(BAD_RECORDS)] if self.rng.random() < self._faults.bad_record else []
        return FaultPlan.of_records(bad, self.rng.choice(API_FAULTS)).records

    def _pause_caller(self, seconds: float) -> None:
        """Let the worker wait whose request takes this long."""
        if caller := self.schedule.current:
            caller.wait(self.schedule.now + round(seconds * SECOND))

    def _make_worker_environment(self) -> WorkerEnvironment:
        return WorkerEnvironment(
            schedule=self.schedule,
            faults=self.faults,
            store=self.store,
            limiter=MemoryLimiter(clock=lambda: self.now() / SECOND),
            simulator=self.simulator,
            broker=self.broker,
            policy_of=self._policies.__getitem__,
            new_id=self._new_id,
            trace=self._trace_worker,
        )

    def _make_workers(self) -> list[SimulatedWorker]:
        count = self.rng.choice((1, 2, 3))
        return [SimulatedWorker(self._worker_environment, f"worker {number}") for number in range(count)]

    def _make_callbacks(self, seed: int) -> SimulatedCallbacks | None:
        chance = random.Random(f"callbacks {seed}")
        if chance.random() >= 0.3:
            return None
        environment = CallbackEnvironment(
            schedule=self.schedule,
            accounts=self.accounts,
            store=self.store,
            callback_store=self.fixture.make_callbacks(),
            job_admin=self.fixture.make_job_admin(self.now),
            metrics=self.fixture.make_metrics(),
            checker=self.checker,
            chance=chance,
            new_id=self._new_id,
            is_calm=lambda: self.is_calm,
            trace=self._trace_worker,
        )
        return SimulatedCallbacks(environment)

    def _make_drift(self, seed: int) -> SimulatedDrift | None:
        chance = random.Random(f"drift {seed}")
        if chance.random() >= 0.3:
            return None
        environment = DriftEnvironment(
            worker=self._worker_environment,
            operator=self._operator_environment,
            checker=self.checker,
            chance=chance,
            others_have_finished=lambda: self.is_calm and not self._open_work(),
        )
        return SimulatedDrift(environment)

    def _make_operator_environment(self) -> OperatorEnvironment:
        return OperatorEnvironment(
            schedule=self.schedule,
            faults=self.faults,
            accounts=self.accounts,
            store=self.store,
            queries=self.fixture.make_queries(),
            job_admin=CheckedJobAdmin(self.fixture.make_job_admin(self.now), self.store),
            checker=self.checker,
            policy_of=self._policies.__getitem__,
            intake_policy_of=_intake_policy,
            wake=self.broker.put,
            new_id=self._new_id,
            is_calm=lambda: self.is_calm,
            may_erase=not (self.uses_references or self.uses_replaces),
            callbacks=self.callbacks,
            trace=self._trace_worker,
        )

    def _flush_policy(self, account: str) -> FlushPolicy:
        rng = self.rng
        return FlushPolicy(
            account=account,
            limits=Limits(max_ids=rng.choice((2, 100)), max_actions=rng.choice((1, 3, 50))),
            rate=rng.choice((0.2, 1.0, 4.0, 1000.0)),
            burst=rng.choice((1, 8)),
            window=rng.choice((0.0, 1.0)),
            max_batch=rng.choice((1, 3, 1000)),
            doubt=150.0,
            retry=RetryPolicy(
                max_attempts=rng.choice((2, 8)),
                give_up_after=rng.choice((60.0, 600.0, 86_400.0)),
                backoff=rng.choice(((1.0, 300.0), (0.25, 10.0))),
                upsert=self.upsert,
            ),
            order=lambda name: order_of(TYPES[name]),
            guarded=lambda name: guarded_side(TYPES[name]),
            hold_for=rng.choice((0.0, 600.0)),
            in_flight=rng.choice((1, 2, 4)),
        )

    def _trace_worker(self, *step: object) -> None:
        self._trace(self.schedule.current.name if self.schedule.current else "", *step)

    def _trace(self, actor: str, *step: object) -> None:
        self._trace_to((self.schedule.now - START) / SECOND, actor, step)


def _intake_policy(account: str) -> IntakePolicy:
    return IntakePolicy(account=account, window=1.0, bounds=IntakeBounds(1_000_000, 30 * 86_400.0))
