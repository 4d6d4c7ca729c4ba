"""The rules of pace, adaptation and breaker, as functions from state to state.

Times are whole microseconds: whole numbers make the limit exact (never more than burst + rate · t slots in
any t seconds) and equal in Python and Lua. The scripts in `lua/` are the same functions; a state machine test
proves it.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from worker.contract.instant import SECOND
from worker.ports.pace import BreakerChange, Feedback, Grant, Pace, Reason

SLOWEST_FACTOR: Final = 1 / 16
FACTOR_STEP: Final = 1 / 32
FAILURES_TO_OPEN: Final = 5
FIRST_COOLDOWN: Final = 5 * SECOND
LONGEST_COOLDOWN: Final = 300 * SECOND
# Longer than any request may take (`timeout` is at most 120), so two probes never meet.
PROBE_LIFETIME: Final = 150 * SECOND
LONGEST_RETRY_AFTER: Final = 86_400 * SECOND
LONGEST_WAIT: Final = 60 * SECOND
TROUBLE: Final = 600 * SECOND  # outlives every rest of suspected relations
STATE_LIFETIME: Final = 2 * 86_400  # seconds after the last use; outlives every stop
REASON_LENGTH: Final = 60  # one value over 64 bytes would double the memory of the account's hash


@dataclass(frozen=True, slots=True)
class PaceState:
    """What is stored of one account's pace; times in microseconds since the epoch, 0 for never.

    `tat` is GCRA's theoretical arrival time: when all booked slots are paid for. The breaker is open from the
    fifth failure in a row until an answer; from `open_until` on one probe may go out, and `probe` says that
    one is on its way. `steady` is the factor that the failures in a row began with, `failed_at` when the last
    request failed; no suspected relation is tried before `suspects_after`.
    """

    tat: int = 0
    factor: float = 1.0
    failures: int = 0
    cooldown: int = 0
    open_until: int = 0
    probe: bool = False
    not_before: int = 0
    reason: str = ""
    steady: float = 0.0
    suspects_after: int = 0
    failed_at: int = 0


def slot_interval(rate: float, factor: float) -> int:
    """Return the µs between two slots, rounded up so that `rate · factor` per second is never exceeded."""
    return math.ceil(SECOND / (rate * factor))


def slow_down(factor: float) -> float:
    """Return half the factor, a sixteenth at least."""
    return max(SLOWEST_FACTOR, factor / 2)


def speed_up(factor: float) -> float:
    """Return the factor one step higher, 1 at most."""
    return min(1.0, factor + FACTOR_STEP)


def book(state: PaceState, now: int, *, rate: float, burst: int, max_wait: int) -> tuple[PaceState, Grant]:
    """Return the state with the next slot booked and its grant, or the same state and when to come back."""
    open_until = ignore_too_far(state.open_until, now, LONGEST_COOLDOWN)
    not_before = ignore_too_far(state.not_before, now, LONGEST_RETRY_AFTER)
    stopped_until = max(open_until, not_before)
    grant = Grant(booked=False, factor=state.factor, failures=state.failures)
    if stopped_until > now:
        reason: Reason = "breaker" if open_until >= not_before else "retry_after"
        return state, replace(grant, wait=(stopped_until - now) / SECOND, reason=reason)
    slot, cost, wait = next_slot(state, now, rate=rate, burst=burst, max_wait=max_wait)
    grant = replace(grant, wait=wait / SECOND, reason="pace" if wait else "")
    if wait > max_wait:
        return state, grant
    suspects_wait = max(0, ignore_too_far(state.suspects_after, now, LONGEST_COOLDOWN) - now)
    booked = replace(
        grant,
        booked=True,
        probe=state.failures >= FAILURES_TO_OPEN,
        suspects_wait=suspects_wait / SECOND,
        troubled=ignore_too_far(state.failed_at, now, TROUBLE) > now - TROUBLE,
        slot=slot,
        cost=cost,
    )
    return take_slot(state, slot, now), booked


def next_slot(state: PaceState, now: int, *, rate: float, burst: int, max_wait: int) -> tuple[int, int, int]:
    """Return the next slot's tat, its cost, and the wait until it may be used (one step of GCRA).

    The tolerance is the burst at *full* pace: otherwise halving the pace would grant a fresh burst.
    """
    full, cost = slot_interval(rate, 1.0), slot_interval(rate, state.factor)
    furthest = max(round(1 / SLOWEST_FACTOR), burst) * full + max(max_wait, LONGEST_WAIT)
    slot = max(ignore_too_far(state.tat, now, furthest), now) + cost
    return slot, cost, max(0, slot - max(cost, burst * full) - now)


def ignore_too_far(instant: int, now: int, furthest: int) -> int:
    """Return the instant, or 0 if it is further ahead than it was ever set: then the clock stepped back."""
    return instant if instant <= now + furthest else 0


def take_slot(state: PaceState, slot: int, now: int) -> PaceState:
    """Return the state once the slot is booked; behind an open breaker the booking is the one probe."""
    if state.failures < FAILURES_TO_OPEN:
        return replace(state, tat=slot)
    return replace(state, tat=slot, probe=True, open_until=now + PROBE_LIFETIME)


def report(
    state: PaceState, now: int, *, feedback: Feedback, retry_after: int = 0, reason: str = ""
) -> PaceState:
    """Return the state after an answer, or the lack of one.

    A 429 is an answer: it slows the account, and it proves that the transport works. An answer to a harmless
    read gives back the pace that the failures before it cost, unless they opened the breaker.
    """
    if feedback == "suspect":
        return count_suspect(state, now, rest=retry_after, reason=reason)
    if feedback == "alive" and 0 < state.failures < FAILURES_TO_OPEN:
        state = replace(state, factor=max(state.factor, state.steady))
    if feedback == "failed":
        state = count_failure(state, now)
    else:
        state = replace(state, failures=0, cooldown=0, open_until=0, probe=False)
    not_before = state.not_before
    if retry_after > 0:
        known = ignore_too_far(not_before, now, LONGEST_RETRY_AFTER)
        not_before = max(known, now + min(retry_after, LONGEST_RETRY_AFTER))
    factor = speed_up(state.factor) if feedback in ("ok", "alive") else slow_down(state.factor)
    return replace(state, factor=factor, not_before=not_before, reason=(reason or feedback)[:REASON_LENGTH])


def count_failure(state: PaceState, now: int) -> PaceState:
    """Return the state after one more failure.

    The fifth opens the breaker, a probe's opens it for twice as long; failures that come in while it is open
    change nothing.
    """
    steady = state.steady if state.failures else state.factor
    state = replace(state, failures=state.failures + 1, steady=steady, failed_at=now)
    if not state.probe and state.failures != FAILURES_TO_OPEN:
        return state
    cooldown = min(max(2 * state.cooldown, FIRST_COOLDOWN), LONGEST_COOLDOWN)
    return replace(state, cooldown=cooldown, open_until=now + cooldown, probe=False)


def count_suspect(state: PaceState, now: int, *, rest: int, reason: str) -> PaceState:
    """Return the state after a failure that suspected relations brought about: the pace stays as it is.

    It counts as the first failure in a row at most, so that it alone never opens the breaker; and suspected
    relations rest.
    """
    if not state.failures:
        state = replace(state, failures=1, steady=state.factor)
    known = ignore_too_far(state.suspects_after, now, LONGEST_COOLDOWN)
    after = max(known, now + min(rest, LONGEST_COOLDOWN))
    return replace(state, suspects_after=after, failed_at=now, reason=(reason or "suspect")[:REASON_LENGTH])


def breaker_change(before: PaceState, after: PaceState) -> BreakerChange:
    """Return what a report did to the breaker."""
    if before.failures < FAILURES_TO_OPEN <= after.failures:
        return BreakerChange("opened", after.cooldown / SECOND)
    if before.failures >= FAILURES_TO_OPEN > after.failures:
        return BreakerChange("closed")
    return BreakerChange()


def refund(state: PaceState, grant: Grant) -> PaceState:
    """Return the state without the grant's slot, if that is the latest; an unused probe becomes free."""
    if not grant.booked or state.tat != grant.slot:
        return state
    state = replace(state, tat=state.tat - grant.cost)
    return replace(state, probe=False, open_until=0) if grant.probe and state.probe else state


def describe(state: PaceState) -> Pace:
    """Return the state for operators."""
    is_open = state.failures >= FAILURES_TO_OPEN
    return {
        "factor": state.factor,
        "failures": state.failures,
        "breaker": "closed" if not is_open else "half_open" if state.probe else "open",
        "open_until": state.open_until / SECOND,
        "not_before": state.not_before / SECOND,
        "reason": state.reason,
    }
