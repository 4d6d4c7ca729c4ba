"""The laws of pace, adaptation and breaker, on the pure functions."""

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.contract.instant import SECOND, to_us
from worker.limiter import policy
from worker.limiter.policy import PaceState
from worker.ports.pace import Feedback, Grant

START = 1_800_000_000 * SECOND
FEEDBACKS = get_args(Feedback)
rates = st.floats(0.05, 200)
bursts = st.integers(1, 20)
max_waits = st.integers(0, 3 * SECOND)
steps = st.lists(
    st.tuples(
        st.integers(0, 2 * SECOND),
        st.sampled_from(["book", "book", "book", "refund", *FEEDBACKS]),
    ),
    max_size=80,
)


def booked(
    state: PaceState, now: int, *, rate: float = 4.0, burst: int = 8, max_wait: int = 0
) -> tuple[PaceState, Grant]:
    return policy.book(state, now, rate=rate, burst=burst, max_wait=max_wait)


def failing(times: int, state: PaceState | None = None) -> PaceState:
    state = state or PaceState()
    for _ in range(times):
        state = policy.report(state, START, feedback="failed")
    return state


@given(rates, bursts, max_waits, steps)
@example(4.0, 8, 0, [(0, "book")] * 9 + [(0, "slow")] + [(0, "book")] * 9)
@example(1.0, 1, 2 * SECOND, [(0, "book"), (0, "book"), (0, "refund"), (0, "book"), (0, "book")])
def test_never_more_than_burst_plus_rate_times_t_slots_in_any_t(
    rate: float, burst: int, max_wait: int, moves: list[tuple[int, str]]
) -> None:
    state, now, held = PaceState(), START, dict[int, int]()
    last = Grant(booked=False)
    for gap, move in moves:
        now += gap
        if move == "book":
            state, last = booked(state, now, rate=rate, burst=burst, max_wait=max_wait)
            held |= {last.slot: now + to_us(last.wait)} if last.booked else {}
        elif move == "refund":
            after = policy.refund(state, last)
            if after != state:
                held.pop(last.slot)
            state = after
        else:
            state = policy.report(state, now, feedback=move)
    sent = sorted(held.values())
    for first in range(len(sent)):
        for last_ in range(first, len(sent)):
            assert last_ - first + 1 <= burst + (sent[last_] - sent[first]) * rate / SECOND + 1e-9


@given(rates, bursts, max_waits, st.lists(st.integers(0, SECOND), max_size=40))
def test_a_booked_slot_waits_at_most_max_wait_and_a_refused_one_is_free_after_its_wait(
    rate: float, burst: int, max_wait: int, gaps: list[int]
) -> None:
    state, now = PaceState(), START
    for gap in gaps:
        now += gap
        after, grant = booked(state, now, rate=rate, burst=burst, max_wait=max_wait)
        wait = to_us(grant.wait)
        if grant.booked:
            assert wait <= max_wait
        else:
            assert after == state
            assert wait > max_wait
            assert booked(state, now + wait, rate=rate, burst=burst)[1].booked
            assert not booked(state, now + wait - 1, rate=rate, burst=burst)[1].booked
        state = after


def test_an_idle_account_sends_its_burst_at_once_and_then_by_the_rate() -> None:
    state, waits = PaceState(), []
    for _ in range(11):
        state, grant = booked(state, START, max_wait=SECOND)
        waits.append(grant.wait)
    assert waits == [0.0] * 8 + [0.25, 0.5, 0.75]
    assert policy.slot_interval(3.0, 1.0) == 333_334


def test_halving_the_pace_grants_no_fresh_burst() -> None:
    state = PaceState()
    for _ in range(8):
        state, _grant = booked(state, START)
    state = policy.report(state, START, feedback="slow")
    assert booked(state, START)[1].wait == 0.5


def test_pace_halves_down_to_a_sixteenth_and_rises_slowly_to_all_of_it() -> None:
    down, up = [1.0], [1 / 16]
    while down[-1] != policy.slow_down(down[-1]):
        down.append(policy.slow_down(down[-1]))
    while up[-1] != policy.speed_up(up[-1]):
        up.append(policy.speed_up(up[-1]))
    assert down == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]
    assert up[-1] == 1
    assert {after - before for before, after in pairwise(up)} == {1 / 32}


def test_the_fifth_failure_in_a_row_opens_the_breaker_for_five_seconds() -> None:
    assert booked(failing(4), START)[1].booked
    grant = booked(failing(5), START)[1]
    assert (grant.booked, grant.wait, grant.reason) == (False, 5.0, "breaker")


@pytest.mark.parametrize("feedback", ["ok", "alive", "slow"])
def test_any_answer_ends_the_streak_of_failures(feedback: Feedback) -> None:
    state = policy.report(failing(4), START, feedback=feedback)
    assert policy.report(state, START, feedback="failed").open_until == 0


def test_a_half_open_breaker_lets_exactly_one_probe_through() -> None:
    now = START + 5 * SECOND
    state, first = booked(failing(5), now)
    _, second = booked(state, now)
    assert (first.booked, first.probe) == (True, True)
    assert (second.booked, second.reason) == (False, "breaker")


def test_a_probe_that_never_reports_is_replaced_after_its_life() -> None:
    state, _ = booked(failing(5), START + 5 * SECOND)
    _, grant = booked(state, START + 5 * SECOND + policy.PROBE_LIFETIME)
    assert (grant.booked, grant.probe) == (True, True)


def test_an_unused_probe_given_back_goes_to_the_next_one_to_ask() -> None:
    now = START + 5 * SECOND
    state, probe = booked(failing(5), now)
    assert booked(policy.refund(state, probe), now)[1].probe


def test_each_failed_probe_doubles_the_cool_down_up_to_five_minutes() -> None:
    state, now, cooldowns = failing(5), START + 5 * SECOND, []
    for _ in range(8):
        state, grant = booked(state, now)
        assert grant.probe
        state = policy.report(state, now, feedback="failed")
        cooldowns.append(booked(state, now)[1].wait)
        now += to_us(cooldowns[-1])
    assert cooldowns == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_probe_that_succeeds_closes_the_breaker() -> None:
    now = START + 5 * SECOND
    state, _ = booked(failing(5), now)
    state = policy.report(state, now, feedback="ok")
    grants = [
        booked(state, now, max_wait=10 * SECOND)[1],
        booked(failing(4, state), now, max_wait=20 * SECOND)[1],
    ]
    assert [(grant.booked, grant.probe) for grant in grants] == [(True, False)] * 2


def test_failures_that_come_in_after_the_breaker_opened_do_not_prolong_it() -> None:
    late = policy.report(failing(5), START + SECOND, feedback="failed")
    assert booked(late, START + SECOND)[1].wait == 4


def test_retry_after_stops_the_account_to_the_microsecond() -> None:
    state = policy.report(PaceState(), START, feedback="slow", retry_after=30 * SECOND)
    early = booked(state, START + 30 * SECOND - 1)[1]
    assert (early.booked, early.reason, early.wait) == (False, "retry_after", 1e-6)
    assert booked(state, START + 30 * SECOND)[1].booked


def test_a_shorter_retry_after_does_not_cut_a_longer_one() -> None:
    state = policy.report(PaceState(), START, feedback="slow", retry_after=30 * SECOND)
    state = policy.report(state, START, feedback="slow", retry_after=5 * SECOND)
    assert booked(state, START)[1].wait == 30


def test_a_clock_that_steps_back_a_day_and_more_does_not_stop_the_account() -> None:
    state = PaceState(tat=START, failures=5, open_until=START, not_before=START)
    assert booked(state, START - 2 * policy.LONGEST_RETRY_AFTER)[1].booked


def test_what_the_api_asks_for_after_the_clock_stepped_back_holds() -> None:
    state = policy.report(PaceState(), START, feedback="slow", retry_after=30 * SECOND)
    state = policy.report(state, START, feedback="suspect", retry_after=30 * SECOND)
    now = START - 2 * policy.LONGEST_RETRY_AFTER
    rests = policy.report(state, now, feedback="suspect", retry_after=7 * SECOND)
    assert booked(rests, now)[1].suspects_wait == 7.0
    stopped = policy.report(rests, now, feedback="slow", retry_after=9 * SECOND)
    assert booked(stopped, now)[1].wait == 9.0


def test_a_failure_that_is_dated_ahead_is_no_trouble_once_the_clock_stepped_back() -> None:
    state = policy.report(failing(1), START, feedback="ok")
    assert booked(state, START)[1].troubled
    assert booked(state, START - policy.TROUBLE)[1].troubled
    assert not booked(state, START - policy.TROUBLE - 1)[1].troubled


@given(st.sampled_from([1.0, 0.5]), st.integers(0, 6), st.sampled_from(FEEDBACKS))
def test_only_an_answer_that_changes_nothing_is_not_worth_reporting(
    factor: float, failures: int, feedback: Feedback
) -> None:
    state = PaceState(factor=factor, failures=failures, reason=feedback)
    _, grant = booked(state, START)
    assert grant.needs_report(feedback) == (policy.report(state, START, feedback=feedback) != state)


@given(st.sampled_from([1 / 16, 0.5, 1.0]), st.lists(st.sampled_from(["suspect", "alive"]), max_size=20))
def test_what_suspected_relations_bring_about_never_slows_the_account_nor_opens_its_breaker(
    factor: float, feedbacks: list[Feedback]
) -> None:
    state = PaceState(factor=factor)
    for feedback in feedbacks:
        state = policy.report(state, START, feedback=feedback)
        assert state.factor >= factor
        assert state.failures == (feedback == "suspect")
        assert state.open_until == 0


@pytest.mark.parametrize("failures", range(1, 7))
def test_an_answer_to_a_harmless_read_gives_back_what_failures_cost_unless_they_opened_the_breaker(
    failures: int,
) -> None:
    state = policy.report(failing(failures, PaceState(factor=3 / 4)), START, feedback="alive")
    kept = 3 / 4 if failures < policy.FAILURES_TO_OPEN else 1 / 16
    assert (state.factor, state.failures) == (policy.speed_up(kept), 0)


def test_what_came_before_a_failure_was_answered_is_not_given_back() -> None:
    state = policy.report(failing(1), START, feedback="slow")
    assert policy.report(failing(1, state), START, feedback="alive").factor == policy.speed_up(1 / 4)


def test_suspected_relations_rest_for_as_long_as_they_were_told_but_for_five_minutes_at_most() -> None:
    state = policy.report(PaceState(), START, feedback="suspect", retry_after=7 * SECOND)
    assert booked(state, START + SECOND)[1].suspects_wait == 6.0
    shorter = policy.report(state, START, feedback="suspect", retry_after=SECOND)
    assert booked(shorter, START + SECOND)[1].suspects_wait == 6.0
    longest = policy.report(state, START, feedback="suspect", retry_after=9_000 * SECOND)
    grant = booked(longest, START)[1]
    assert (grant.booked, grant.suspects_wait) == (True, 300.0)
    assert booked(longest, START - 400 * SECOND)[1].suspects_wait == 0.0  # the clock stepped back


@given(rates, bursts, st.integers(0, 30))
def test_refunding_the_latest_slot_is_as_if_it_had_not_been_booked(
    rate: float, burst: int, before: int
) -> None:
    state = PaceState()
    for _ in range(before):
        state, _grant = booked(state, START, rate=rate, burst=burst, max_wait=10 * SECOND)
    after, grant = booked(state, START, rate=rate, burst=burst, max_wait=10 * SECOND)
    again = policy.refund(after, grant)
    assert booked(again, START, rate=rate, burst=burst)[1] == booked(state, START, rate=rate, burst=burst)[1]
    assert policy.refund(again, grant) == again


def test_a_slot_that_later_ones_build_on_cannot_be_refunded() -> None:
    state, first = booked(PaceState(), START)
    state, _second = booked(state, START)
    assert policy.refund(state, first) == state


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (PaceState(failures=4), "closed"),
        (PaceState(failures=5), "open"),
        (PaceState(failures=7, probe=True), "half_open"),
    ],
)
def test_operators_read_the_breaker_as_one_word(state: PaceState, word: str) -> None:
    assert policy.describe(state)["breaker"] == word
