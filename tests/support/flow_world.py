"""A small world for flow tests: intake, store, flush, API client and simulator on one clock that only the test moves."""

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ops.simulator import FaultPlan, Records, Simulator, Switches
from ops.simulator.inprocess import InProcess
from worker.contract import TYPES, Change, Relation, order_of
from worker.onoffice.client import Client
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports import Receipt, Store
from worker.testing import FakeClock, steady
from worker.testing.limiter import MemoryLimiter
from worker.usecases.flush import flush
from worker.usecases.flush_context import FlushDeps, FlushPolicy, FlushResult
from worker.usecases.intake import Intake, IntakePolicy

START = 1_800_000_000  # seconds; far from any real test run, so that a real clock would show
INFO = "statusTerminbestaetigung"


@dataclass
class World:
    """Accounts against one simulator; `store` is made of the world's clock."""

    make_store: Callable[[Callable[[], int]], Store]
    accounts: Sequence[str] = ("acme",)
    switches: Switches = field(default_factory=Switches)
    faults: FaultPlan | None = None
    records: Records = field(default_factory=Records)
    seed: int = 0
    lane: Mapping[str, object] = field(default_factory=dict)

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
        names = (f"{number:018d}" for number in itertools.count())
        self.name = lambda: next(names)
        self.limiter = MemoryLimiter(clock=lambda: self.clock.now() / 1e6)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.receipts: list[Receipt] = []
        self.apis = {account: self._api(account) for account in self.accounts}
        self.intake = Intake(
            store=self.store,
            policy_of=self._intake_policy,
            new_id=self.name,
            wake=lambda *_: None,
            emit=self.emit,
        )

    def emit(self, event: str, /, **fields: object) -> None:
        """Keep what was said."""
        self.events.append((event, fields))

    def accept(self, *changes: Change) -> list[Receipt]:
        """Hand changes to intake, account by account."""
        receipts = [
            receipt
            for part in self.intake.accept_by_account(changes)
            for receipt in _good(part.error, part.receipts)
        ]
        self.receipts += receipts
        return receipts

    def flush(self, account: str = "acme") -> FlushResult:
        """One flush."""
        tools = FlushDeps(
            store=self.store,
            limiter=self.limiter,
            api=self.apis[account],
            clock=self.clock,
            keep_lease=steady,
            new_id=self.name,
            draw=self.random.random,
            emit=self.emit,
        )
        return flush(self.lane_of(account), tools)

    def drain(self, *, turns: int = 2000) -> None:
        """Flush every account until nothing is open, moving the clock to when work is next due."""
        for _ in range(turns):
            waits = [again for account in self.accounts if (again := self.flush(account).next_in) is not None]
            if not waits:
                if not self.open_accounts():
                    return
                waits = [1.0]
            self.clock.sleep(max(min(waits), 0.001))
        raise AssertionError(f"still open after {turns} turns: {self.open_accounts()}")

    def open_accounts(self) -> dict[str, Mapping[str, int]]:
        """The accounts that still have work."""
        counts = {account: self.store.counts(account) for account in self.accounts}
        return {account: each for account, each in counts.items() if each.get("backlog") or each.get("open")}

    def relations(self, account: str = "acme") -> dict[Relation, dict[str, str]]:
        """What the CRM has in the end, late writes landed."""
        return dict(self.simulator.relations(f"token-{account}"))

    def sent(self) -> list[str]:
        """The kinds of all actions that the API executed, in order."""
        return [act.kind for entry in self.simulator.log if entry.executed for act in entry.acts]

    def lane_of(self, account: str) -> FlushPolicy:
        """Generous by default: the tests are about right and wrong, not about pace."""
        lane = FlushPolicy(
            account=account,
            limits=Limits(max_ids=100, max_actions=50),
            rate=1000.0,
            burst=1000,
            window=0.0,
            max_batch=1000,
            doubt=150.0,
            retry=RetryPolicy(),
            order=lambda name: order_of(TYPES[name]),
        )
        return replace(lane, **self.lane)

    def _api(self, account: str) -> Client:
        return Client(
            "https://crm.example.test/api.php",
            f"token-{account}",
            "secret",
            timeout=30.0,
            transport=InProcess(self.simulator),
        )

    def _intake_policy(self, account: str) -> IntakePolicy:
        return IntakePolicy(
            account=account, window=1.0, max_backlog=1_000_000, order=lambda name: order_of(TYPES[name])
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
    """A change, `at` seconds after the start."""
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
class Asked:
    """What should be true of a relation in the end; `overtaken` if a newer create may have made a delete unnecessary."""

    present: bool = False
    info: dict[str, str] = field(default_factory=dict)
    overtaken: bool = False

    def allows(self, seen: Mapping[str, str] | None) -> bool:
        """Whether what the CRM shows is what was asked for: older info may survive only a delete that was never sent."""
        if seen is None or not self.present:
            return (seen is not None) == self.present
        return self.info.items() <= seen.items() if self.overtaken else self.info == seen


def asked_for(changes: Iterable[tuple[Change, Relation]]) -> dict[Relation, Asked]:
    """The end state that changes ask for, by the words of the architecture: latest wins, presence and each info key by itself."""
    asked: dict[Relation, Asked] = {}
    for each, relation in sorted(changes, key=lambda pair: pair[0].occurred_at or 0):
        wanted = asked.setdefault(relation, Asked())
        if each.action == "delete":
            wanted.info, wanted.overtaken = {}, True
        if each.action != "modify":
            wanted.present = each.action == "create"
        wanted.info.update(each.info)
    return asked


def _good(error: Exception | None, receipts: tuple[Receipt, ...]) -> tuple[Receipt, ...]:
    if error:
        raise error
    return receipts
