"""Everything one seed decides, set up on one schedule: producers, broker, workers, sweep, operator, store, API and their clocks."""

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ops.simulator import KINDS, FaultPlan, InjectedFault, Records, Simulator, Switches
from tests.torture.changes import MISSING, changes
from tests.torture.fault_profile import Chaos
from tests.torture.history_checker import Witness, WitnessedStore
from tests.torture.schedule import SECOND, Schedule
from tests.torture.simulated_broker import Broker
from tests.torture.simulated_worker import Worker, World
from worker.contract import TYPES, Change, order_of
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports import Pause
from worker.testing.limiter import MemoryLimiter
from worker.usecases.flush_context import FlushPolicy
from worker.usecases.intake import Intake, IntakePolicy
from worker.usecases.replay import requeue

START = 1_800_000_000 * SECOND  # far from any real run, so that a real clock would show
FAULTS = (
    *KINDS,
    *(InjectedFault("late", seconds) for seconds in (5.0, 30.0, 90.0, 118.0)),
    InjectedFault("latency", 12.0),
    InjectedFault("drip", 20.0),
)
SWITCHES = tuple(Switches.all())
AGITATED = 60.0  # seconds until everything calms down
JUMP = 12.0  # seconds the store's clock may jump ahead in all; `doubt` has a margin of 30 over a signature's life


Tell = Callable[[float, str, tuple[object, ...]], None]
"""Hears when (seconds since the start), who, and what."""


class Ground(Protocol):
    """A store to stand on: made of a clock, with what only its maker can do."""

    def store(self, now: Callable[[], int]) -> Any:
        """A new store."""

    def forget(self, account: str) -> None:
        """The lease on this account ran out by the store's clock."""

    def left(self, account: str) -> list[str]:
        """What is left of open work."""


class Stage:
    """One seed's world; `tell` hears every step."""

    def __init__(self, seed: int, ground: Ground, tell: Tell) -> None:
        self.dice, self._hear = random.Random(seed), tell
        self.schedule = Schedule(self.dice, START)
        self.ground, self.calm = ground, False
        self._chaos, self._ahead = Chaos.draw(self.dice), 0
        self.accounts = self.dice.choice((("acme",), ("acme", "bart")))
        self.changes = changes(self.dice, accounts=self.accounts, now=START)
        self.upsert = self.dice.random() < 0.3
        self.witness = Witness(self.now, ground.forget)
        self.store = WitnessedStore(ground.store(self.now), self.witness)
        self.simulator = self._simulator(seed)
        self.broker = Broker(self.schedule, self.chaos)
        names = (f"{number:018d}" for number in itertools.count())
        self._name = lambda: next(names)
        self.intake = Intake(
            store=self.store,
            policy_of=self._door,
            new_id=self._name,
            wake=self.broker.put,
            emit=lambda *_, **__: None,
        )
        self._lanes = {account: self._lane(account) for account in self.accounts}
        self.workers = self._workers()
        self._begin()

    # --- its clocks and moods

    def now(self) -> int:
        """The store's clock (µs): it jumps ahead now and then."""
        return self.schedule.now + self._ahead

    def chaos(self) -> Chaos:
        """What may go wrong at this moment: everything, and after a while nothing any more."""
        return CALM if self.calm else self._chaos

    def calm_down(self) -> None:
        """No new evil; somebody resumes what was paused."""
        self.calm = True
        self.simulator.inject(FaultPlan())
        for account in self.accounts:
            self.store.resume(account)

    def open(self) -> list[str]:
        """What is not done yet."""
        waiting = [f"{change.event_id} was not accepted" for change in self._unaccepted]
        return waiting + [
            f"{account}: {left}" for account in self.accounts for left in self.ground.left(account)
        ]

    # --- its people

    def _begin(self) -> None:
        dice, schedule = self.dice, self.schedule
        self._unaccepted = list(self.changes)
        pending = list(self.changes)
        while pending:
            account = pending[0].account
            together = [each for each in pending[: dice.choice((1, 1, 3))] if each.account == account]
            pending = [each for each in pending if each not in together]
            self._send_later(together, dice.random() * dice.choice((1.0, AGITATED)))
        schedule.after(self._every(), self._sweep)
        schedule.after(AGITATED * dice.random(), self._operate)
        schedule.after(AGITATED * dice.random(), self._jump)
        schedule.after(AGITATED, self.calm_down)

    def _send_later(self, together: Sequence[Change], seconds: float) -> None:
        self.schedule.after(seconds, lambda: self._send(together))

    def _send(self, together: Sequence[Change]) -> None:
        """A producer that got no answer says the same again; some say it again anyway."""
        self._tell("producer", "sends", together)
        self.intake.accept(together)
        self._unaccepted = [each for each in self._unaccepted if each not in together]
        if self.dice.random() < self.chaos().deaf:
            self._send_later(together, 10 * self.dice.random())

    def _sweep(self) -> None:
        for account in self.store.due_accounts(self.accounts):
            self._tell("sweep", "wakes", account)
            self.broker.put(account, 0.0)
        self.schedule.after(self._every(), self._sweep)

    def _every(self) -> float:
        return self.dice.uniform(5, 15) if self.calm else self.dice.uniform(1, 3)

    def _operate(self) -> None:
        """An operator stops an account, lets it go on, or replays what failed."""
        account = self.dice.choice(self.accounts)
        match self.dice.randrange(3):
            case 0 if not self.calm:
                self._tell("operator", "pauses", account)
                self.store.pause(account, Pause("manual", "by hand", since=self.now()))
            case 1:
                self._tell("operator", "replays", account)
                requeue(self.intake, account, self.store.failed_jobs(account, limit=5))
            case _:
                self._tell("operator", "resumes", account)
                self.store.resume(account)
        if not self.calm:
            self.schedule.after(20 * self.dice.random(), self._operate)

    def _jump(self) -> None:
        ahead = round(self.dice.choice((0.0, 0.0, JUMP * self.dice.random())) * SECOND)
        self._ahead += ahead
        self._tell("the store's clock", "jumps", ahead)

    # --- its parts

    def _simulator(self, seed: int) -> Simulator:
        skew = self.dice.choice((0.0, 0.0, 0.0, 12.0, -12.0, 600.0, -600.0))
        return Simulator(
            {f"token-{account}": "secret" for account in self.accounts},
            switches=self.dice.choice(SWITCHES),
            faults=FaultPlan.random(seed, self._chaos.fault, FAULTS),
            records=Records(
                missing=frozenset(
                    {("address", MISSING), ("estate", MISSING)} if self.dice.random() < 0.3 else ()
                )
            ),
            clock=lambda: self.schedule.now / SECOND + skew,
            sleep=self._pass,
        )

    def _pass(self, seconds: float) -> None:
        """The API takes its time: whoever asked it waits."""
        if asking := self.schedule.current:
            asking.wait(self.schedule.now + round(seconds * SECOND))

    def _workers(self) -> list[Worker]:
        world = World(
            schedule=self.schedule,
            chaos=self.chaos,
            store=self.store,
            limiter=MemoryLimiter(clock=lambda: self.now() / SECOND),
            simulator=self.simulator,
            broker=self.broker,
            lane=self._lanes.__getitem__,
            name=self._name,
            echo=self._tell_of_worker,
        )
        return [Worker(world, f"worker {number}") for number in range(self.dice.choice((1, 2, 3)))]

    def _lane(self, account: str) -> FlushPolicy:
        dice = self.dice
        return FlushPolicy(
            account=account,
            limits=Limits(max_ids=dice.choice((2, 100)), max_actions=dice.choice((1, 3, 50))),
            rate=dice.choice((4.0, 1000.0)),
            burst=dice.choice((1, 8)),
            window=dice.choice((0.0, 1.0)),
            max_batch=dice.choice((1, 3, 1000)),
            doubt=150.0,
            retry=RetryPolicy(backoff=dice.choice(((1.0, 300.0), (0.25, 10.0))), upsert=self.upsert),
            order=lambda name: order_of(TYPES[name]),
        )

    def _door(self, account: str) -> IntakePolicy:
        return IntakePolicy(
            account=account, window=1.0, max_backlog=1_000_000, order=lambda name: order_of(TYPES[name])
        )

    def _tell_of_worker(self, *what: object) -> None:
        self._tell(self.schedule.current.name if self.schedule.current else "", *what)

    def _tell(self, who: str, *what: object) -> None:
        self._hear((self.schedule.now - START) / SECOND, who, what)


CALM = Chaos()
