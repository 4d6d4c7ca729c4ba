"""What a flush is given, and what it says of itself: an account's policies, the tools it works with, and its account. Values only."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.contract import Order
from worker.planner.plan import Limits
from worker.planner.retry_policy import Patience
from worker.ports import Api, Clock, Events, Keeper, Limiter, Store, Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """An account's policies, as a flush needs them; durations in seconds."""

    account: str
    limits: Limits
    rate: float
    burst: int
    window: float
    max_batch: int
    doubt: float
    patience: Patience
    order: Callable[[str], Order]
    fingerprint: str = ""
    observe: bool = False
    brake: int = 0  # deletes within an hour; 0: any number


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a flush works with; `name` gives a fresh id, `draw` a number from [0, 1)."""

    store: Store
    limiter: Limiter
    api: Api
    clock: Clock
    keep: Keeper
    name: Callable[[], str]
    draw: Callable[[], float]
    say: Events


@dataclass(slots=True, kw_only=True)
class Flushed:
    """What a flush did, and in how many seconds there is more to do (None: nothing known, or the sweep's affair)."""

    account: str
    id: str = ""
    state: str = "done"  # done, busy, paused, observed, lost
    again: float | None = None
    jobs: int = 0
    relations: int = 0
    requests: int = 0
    actions: int = 0
    least: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    correlations: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Tally)
