"""The rules of pace, adaptation and breaker, as functions from state to state.

Inside, time is whole microseconds: whole numbers make the law exact (never more than burst + rate · t slots in any
t seconds) and equal in Python and Lua. The scripts in `lua/` are these functions once more; a state machine proves it.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from worker.limiter import BreakerChange, Feedback, Grant, Pace, Reason

SECOND: Final = 1_000_000
SLOWEST: Final = 1 / 16
RAISE: Final = 1 / 32
FAILURES_TO_OPEN: Final = 5
FIRST_COOLDOWN: Final = 5 * SECOND
LONGEST_COOLDOWN: Final = 300 * SECOND
PROBE_LIFE: Final = (
    150 * SECOND
)  # longer than any request may take (`timeout` is at most 120), so two probes never meet
LONGEST_STOP: Final = 86_400 * SECOND
LONGEST_WAIT: Final = 60 * SECOND
LONGEST_REASON: Final = 60  # one value over 64 bytes would double the memory of the account's hash


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered of one account; times in microseconds since the epoch, 0 for never.

    `tat` is when the pace is even again (GCRA's theoretical arrival time); the breaker is open from the fifth
    failure in a row until an answer; from `open_until` on one probe may go out, and `probe` says that one is.
    """

    tat: int = 0
    factor: float = 1.0
    failures: int = 0
    cooldown: int = 0
    open_until: int = 0
    probe: bool = False
    not_before: int = 0
    reason: str = ""


def ticks(seconds: float) -> int:
    """Seconds as whole microseconds."""
    return round(seconds * SECOND)


def interval(rate: float, factor: float) -> int:
    """Microseconds between two slots at `rate · factor` per second, rounded up so that the rate is never exceeded."""
    return math.ceil(SECOND / (rate * factor))


def slower(factor: float) -> float:
    """Half the pace, down to a sixteenth."""
    return max(SLOWEST, factor / 2)


def faster(factor: float) -> float:
    """A little more pace, up to all of it."""
    return min(1.0, factor + RAISE)


def fewer(max_actions: int, factor: float) -> int:
    """How many actions a request may carry at this factor: at least one."""
    return max(1, int(max_actions * factor))


def book(state: State, now: int, *, rate: float, burst: int, max_wait: int) -> tuple[State, Grant]:
    """The state with the next slot booked and its grant, or the same state and when to come back."""
    open_until = believable(state.open_until, now, LONGEST_COOLDOWN)
    not_before = believable(state.not_before, now, LONGEST_STOP)
    if max(open_until, not_before) > now:
        reason: Reason = "breaker" if open_until >= not_before else "retry_after"
        return state, grant(
            state, wait=max(open_until, not_before) - now, open_for=max(0, open_until - now), reason=reason
        )
    slot, cost, wait = step(state.tat, now, factor=state.factor, rate=rate, burst=burst, max_wait=max_wait)
    reason = "pace" if wait else ""
    if wait > max_wait:
        return state, grant(state, wait=wait, reason=reason)
    return take(state, slot, now), grant(state, booked=True, wait=wait, reason=reason, slot=slot, cost=cost)


def step(
    tat: int, now: int, *, factor: float, rate: float, burst: int, max_wait: int
) -> tuple[int, int, int]:
    """One step of GCRA: the slot's own tat, what it costs, and the wait until it may be used.

    The tolerance is the burst at *full* pace: otherwise halving the pace would hand out a fresh burst.
    """
    full, cost = interval(rate, 1.0), interval(rate, factor)
    lead = max(round(1 / SLOWEST), burst) * full + max(max_wait, LONGEST_WAIT)
    slot = max(believable(tat, now, lead), now) + cost
    return slot, cost, max(0, slot - max(cost, burst * full) - now)


def believable(instant: int, now: int, lead: int) -> int:
    """The instant, or never if it lies further ahead than it can have been set: then the clock stepped back."""
    return instant if instant <= now + lead else 0


def take(state: State, slot: int, now: int) -> State:
    """The state once the slot is booked; behind an open breaker the booking is the one probe."""
    if state.failures < FAILURES_TO_OPEN:
        return replace(state, tat=slot)
    return replace(state, tat=slot, probe=True, open_until=now + PROBE_LIFE)


def grant(
    state: State,
    *,
    wait: int,
    reason: Reason,
    booked: bool = False,
    open_for: int = 0,
    slot: int = 0,
    cost: int = 0,
) -> Grant:
    """The grant in seconds, with what it tells about the account."""
    return Grant(
        booked=booked,
        wait=wait / SECOND,
        factor=state.factor,
        failures=state.failures,
        probe=booked and state.failures >= FAILURES_TO_OPEN,
        open_for=open_for / SECOND,
        reason=reason,
        slot=slot,
        cost=cost,
    )


def report(state: State, now: int, *, feedback: Feedback, retry_after: int = 0, reason: str = "") -> State:
    """The state after an answer, or the lack of one.

    A 429 is an answer: it slows the account, and it proves that the transport works.
    """
    state = (
        failed(state, now)
        if feedback == "failed"
        else replace(state, failures=0, cooldown=0, open_until=0, probe=False)
    )
    pace = faster(state.factor) if feedback == "ok" else slower(state.factor)
    held = (
        max(state.not_before, now + min(retry_after, LONGEST_STOP)) if retry_after > 0 else state.not_before
    )
    return replace(state, factor=pace, not_before=held, reason=(reason or feedback)[:LONGEST_REASON])


def failed(state: State, now: int) -> State:
    """One more failure: the fifth opens the breaker, a probe's opens it for twice as long; latecomers change nothing."""
    state = replace(state, failures=state.failures + 1)
    if not state.probe and state.failures != FAILURES_TO_OPEN:
        return state
    cooldown = min(max(2 * state.cooldown, FIRST_COOLDOWN), LONGEST_COOLDOWN)
    return replace(state, cooldown=cooldown, open_until=now + cooldown, probe=False)


def turn(before: State, after: State) -> BreakerChange:
    """What a report did to the breaker."""
    if before.failures < FAILURES_TO_OPEN <= after.failures:
        return BreakerChange("opened", after.cooldown / SECOND)
    return (
        BreakerChange("closed") if before.failures >= FAILURES_TO_OPEN > after.failures else BreakerChange()
    )


def refund(state: State, grant: Grant) -> State:
    """The state without the grant's slot, if it is the latest; an unused probe may be sent by the next one to ask."""
    if not grant.booked or state.tat != grant.slot:
        return state
    state = replace(state, tat=state.tat - grant.cost)
    return replace(state, probe=False, open_until=0) if grant.probe and state.probe else state


def describe(state: State) -> Pace:
    """The state for operators."""
    is_open = state.failures >= FAILURES_TO_OPEN
    return {
        "factor": state.factor,
        "failures": state.failures,
        "breaker": "closed" if not is_open else "half_open" if state.probe else "open",
        "open_until": state.open_until / SECOND,
        "not_before": state.not_before / SECOND,
        "reason": state.reason,
    }
