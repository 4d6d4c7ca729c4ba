"""What a flush is given, and what it says of itself: an account's policies, the tools it works with, and its account. Values only."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.contract import Order
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.ports import Api, Clock, EventSink, FlushCounters, LeaseKeeper, Limiter, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushPolicy:
    """An account's policies, as a flush needs them; durations in seconds."""

    account: str
    limits: Limits
    rate: float
    burst: int
    window: float
    max_batch: int
    doubt: float
    retry: RetryPolicy
    order: Callable[[str], Order]
    fingerprint: str = ""
    observe: bool = False
    max_deletes_per_hour: int = 0  # deletes within an hour; 0: any number


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushDeps:
    """What a flush works with; `name` gives a fresh id, `draw` a number from [0, 1)."""

    store: Store
    limiter: Limiter
    api: Api
    clock: Clock
    keep_lease: LeaseKeeper
    new_id: Callable[[], str]
    draw: Callable[[], float]
    emit: EventSink


@dataclass(slots=True, kw_only=True)
class FlushResult:
    """What a flush did, and in how many seconds there is more to do (None: nothing known, or the sweep's affair)."""

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
    counters: FlushCounters = field(default_factory=FlushCounters)
