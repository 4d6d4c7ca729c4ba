"""What a flush is given and returns: an account's policies, the adapters it works with, its result."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.contract import GuardedSide, Order
from worker.planner.dry_run import DryRunPolicy
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports import Clock, EventSink
from worker.ports.pace import Limiter
from worker.ports.requests import Api, SenderOpener
from worker.ports.store import Store
from worker.ports.work import LeaseKeeper


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushPolicy:
    """An account's policies, as a flush needs them; durations in seconds.

    `doubt` is how long a lost request may still land, `order` tells of a relation type which half of a swap
    goes first, `in_flight` is how many requests may be on their way at once. `guarded` tells which record a
    type guards: what the guard refuses is held for `hold_for` (R12). `fingerprint` stands for the account's
    credentials. An account that only observes (`observe`) writes nothing. Records that references name are
    remembered for `look_up_memory`, a change of which one is not found is parked for `park_for`; phone
    numbers are those of a `country`.
    """

    account: str
    limits: Limits
    rate: float
    burst: int
    window: float
    max_batch: int
    doubt: float
    retry: RetryPolicy
    order: Callable[[str], Order]
    guarded: Callable[[str], GuardedSide]
    hold_for: float
    in_flight: int = 1
    fingerprint: str = ""
    observe: bool = False
    look_up_memory: float = 3600.0
    park_for: float = 7 * 86_400.0
    country: str = "DE"
    max_deletes_per_hour: int = 0  # 0: any number

    @property
    def dry_run(self) -> DryRunPolicy:
        """How the account's changes are planned."""
        return DryRunPolicy(self.limits, self.order, self.guarded, self.retry.upsert, self.max_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushDeps:
    """What a flush works with.

    `open_sender` sends requests of `api` beside the flush, `new_id` returns a fresh id, `draw` a random
    number from [0, 1).
    """

    store: Store
    limiter: Limiter
    api: Api
    open_sender: SenderOpener
    clock: Clock
    keep_lease: LeaseKeeper
    new_id: Callable[[], str]
    draw: Callable[[], float]
    emit: EventSink


@dataclass(slots=True, kw_only=True)
class FlushResult:
    """What a flush did, and in how many seconds there is more to do (None: not known, or left to the sweep).

    `counters` are added to the account's metrics, under `name:label`.
    """

    account: str
    id: str = ""
    state: str = "done"  # done, busy, paused, observed, lost
    next_in: float | None = None
    jobs: int = 0
    relations: int = 0
    requests: int = 0
    actions: int = 0
    least: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    correlations: tuple[str, ...] = ()
    counters: Counter[str] = field(default_factory=Counter)
