"""The pace of an account: when the next request may go out, and what its answer does to the pace.

`policy` holds the rules as pure functions, `redis` and `memory` keep the state. Nothing here knows HTTP or waits.
"""

from dataclasses import dataclass
from typing import Literal

Feedback = Literal["ok", "slow", "failed"]
"""What a request told about its account: answered · 429 · no usable answer (transport, timeout, 5xx)."""

Reason = Literal["", "pace", "retry_after", "breaker"]
"""Why a grant makes its holder wait or come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """An answer to `book`: a booked slot `wait` seconds from now, or, not booked, when to come back.

    `factor` scales the account's rate and its `max_actions`; with `probe` only a read may be sent; `open_for` is how
    long the breaker stays open. `slot` and `cost` (microseconds) name what was booked, for a refund.
    """

    booked: bool
    wait: float = 0.0
    factor: float = 1.0
    failures: int = 0
    probe: bool = False
    open_for: float = 0.0
    reason: Reason = ""
    slot: int = 0
    cost: int = 0
