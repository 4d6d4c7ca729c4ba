"""A small world for flow tests: intake, store, flush, API client and simulator on one clock."""

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ops.simulator import FaultPlan, Records, Simulator, Switches
from ops.simulator.inprocess import InProcess
from tests.support.httpx_transport import HttpxTransport
from tests.support.inline_sender import open_inline_sender
from worker.contract import TYPES, Change, Relation, guarded_side, order_of
from worker.onoffice.client import Client
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports.records import JobRecord
from worker.ports.store import IntakeBounds, Receipt, Store
from worker.testing import FakeClock, MemoryLimiter, skip_renewal
from worker.usecases.flush import flush
from worker.usecases.flush_context import FlushDeps, FlushPolicy, FlushResult
from worker.usecases.intake import Intake, IntakePolicy

START = 1_800_000_000  # seconds; far from any real test run, so that a real clock would show
INFO = "statusTerminbestaetigung"


@dataclass
class World:
    """Accounts and one simulator.

    `make_store` is given the world's clock, `policy` changes the flush policy.
    """

    make_store: Callable[[Callable[[], int]], Store]
    accounts: Sequence[str] = ("acme",)
    switches: Switches = field(default_factory=Switches)
    faults: FaultPlan | None = None
    records: Records = field(default_factory=Records)
    seed: int = 0
    policy: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = FakeClock(START * 1_000_000)
        self.store = self.make_store(self.clock.now)
        self.simulator = Simulator(
            {f"token-{account}": "secret" for account in self.accounts},
            switches=self.switches,
            faults=self.faults or FaultPlan.script([]),
            records=self.records,
            clock=lambda: self.clock.now() / 1e6,
            sleep=self.clock.sleep,
        )
        self.random = random.Random(self.seed)
        ids = (f"{number:018d}" for number in itertools.count())
        self.new_id = lambda: next(ids)
        self.limiter = MemoryLimiter(clock=lambda: self.clock.now() / 1e6)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.receipts: list[Receipt] = []
        self.apis = {account: self._api(account) for account in self.accounts}
        self.intake = Intake(
            store=self.store,
            policy_of=self._intake_policy,
            new_id=self.new_id,
            wake=lambda *_: None,
            emit=self.emit,
        )

    def emit(self, event: str, /, **fields: object) -> None:
        """Keep a log event."""
        self.events.append((event, fields))

    def accept(self, *changes: Change) -> list[Receipt]:
        """Submit changes to intake, account by account; an error of it is raised."""
        receipts: list[Receipt] = []
        for part in self.intake.accept_by_account(changes):
            if part.error:
                raise part.error
            receipts += part.receipts
        self.receipts += receipts
        return receipts

    def job(self, number: int = 0) -> JobRecord:
        """Return the job of what was accepted as this number."""
        job = self.store.get_job(self.receipts[number].job)
        assert job is not None
        return job

    def jobs(self) -> list[JobRecord]:
        """Return the jobs of all that was accepted, in that order."""
        return [self.job(number) for number in range(len(self.receipts))]

    def flush(self, account: str = "acme") -> FlushResult:
        """Run one flush."""
        return flush(self.policy_of(account), self.flush_deps(account))

    def flush_deps(self, account: str, **others: Any) -> FlushDeps:
        """Return what a flush works with, some of it replaced."""
        deps = FlushDeps(
            store=self.store,
            limiter=self.limiter,
            api=self.apis[account],
            open_sender=open_inline_sender,
            clock=self.clock,
            keep_lease=skip_renewal,
            new_id=self.new_id,
            draw=self.random.random,
            emit=self.emit,
        )
        return replace(deps, **others)

    def drain(self, *, turns: int = 2000) -> None:
        """Flush every account until nothing is open, moving the clock to when work is next due."""
        for _ in range(turns):
            results = [self.flush(account).next_in for account in self.accounts]
            waits = [next_in for next_in in results if next_in is not None]
            if not waits and not self.open_accounts():
                return
            self.clock.advance(max(min(waits, default=1.0), 0.001))
        raise AssertionError(f"still open after {turns} turns: {self.open_accounts()}")

    def open_accounts(self) -> dict[str, Mapping[str, int]]:
        """Return the counters of the accounts that still have work."""
        counts = {account: self.store.counts(account) for account in self.accounts}
        return {
            account: numbers
            for account, numbers in counts.items()
            if numbers.get("backlog") or numbers.get("open")
        }

    def relations(self, account: str = "acme") -> dict[Relation, dict[str, str]]:
        """Return what the CRM has once late writes have landed."""
        return dict(self.simulator.relations(f"token-{account}"))

    def linked(self) -> set[tuple[int, int]]:
        """Return the parents and children of what the CRM has."""
        return {(relation.parent, relation.child) for relation in self.relations()}

    def sent(self) -> list[str]:
        """Return the kinds of all actions that the API executed, in order."""
        return [act.kind for entry in self.simulator.log if entry.executed for act in entry.acts]

    def policy_of(self, account: str) -> FlushPolicy:
        """Return the account's policy: a generous one, but for what the test changes."""
        return replace(generous_policy(account), **self.policy)

    def _api(self, account: str) -> Client:
        return Client(
            "https://crm.example.test/api.php",
            f"token-{account}",
            "secret",
            timeout=30.0,
            transport=HttpxTransport(InProcess(self.simulator)),
        )

    def _intake_policy(self, account: str) -> IntakePolicy:
        return IntakePolicy(account=account, window=1.0, bounds=IntakeBounds(1_000_000, 30 * 86_400.0))


def states(world: World) -> list[str]:
    """Return the states of all that was accepted, in that order."""
    return [job.state for job in world.jobs()]


def writes(world: World) -> list[str]:
    """Return the kinds of all actions that the API executed, without reads."""
    return [kind for kind in world.sent() if kind not in ("get", "read")]


def generous_policy(account: str) -> FlushPolicy:
    """Return a policy for tests that are about right and wrong, not about pace."""
    return FlushPolicy(
        account=account,
        limits=Limits(max_ids=100, max_actions=50),
        rate=1000.0,
        burst=1000,
        window=0.0,
        max_batch=1000,
        doubt=150.0,
        retry=RetryPolicy(),
        order=lambda name: order_of(TYPES[name]),
        guarded=lambda name: guarded_side(TYPES[name]),
        hold_for=600.0,
    )


def change(
    action: str,
    name: str,
    parent: int,
    *children: int,
    at: float | None = None,
    account: str = "acme",
    **rest: object,
) -> Change:
    """Return a change that occurred `at` seconds after the start."""
    return Change(
        account=account,
        action=action,
        type=name,
        parents=(parent,),
        children=children,
        occurred_at=None if at is None else round((START + at) * 1e6),
        **rest,
    )


@dataclass
class ExpectedState:
    """What should be true of a relation in the end.

    `overtaken` if a newer create may have made a delete needless.
    """

    present: bool = False
    info: dict[str, str] = field(default_factory=dict)
    overtaken: bool = False

    def allows(self, seen: Mapping[str, str] | None) -> bool:
        """Return whether the CRM may show this: older info may survive only a delete that was never sent."""
        if seen is None or not self.present:
            return (seen is not None) == self.present
        return self.info.items() <= seen.items() if self.overtaken else self.info == seen


def expected_states(changes: Iterable[tuple[Change, Relation]]) -> dict[Relation, ExpectedState]:
    """Return the end states that changes ask for: the latest wins, for presence and for each info key."""
    states: dict[Relation, ExpectedState] = {}
    for wanted, relation in sorted(changes, key=lambda pair: pair[0].occurred_at or 0):
        state = states.setdefault(relation, ExpectedState())
        if wanted.action == "delete":
            state.info, state.overtaken = {}, True
        if wanted.action != "modify":
            state.present = wanted.action == "create"
        state.info.update(wanted.info)
    return states
