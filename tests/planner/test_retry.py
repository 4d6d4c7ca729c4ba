"""The retry policy as tables: what every answer and every read-back leads to, how long to wait, how stars are halved."""

from itertools import product
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_values import wish
from worker.planner.actions import ErrorClass, Kind, Outcome, Verdict
from worker.planner.fold import Wish
from worker.planner.relation_state import Case, Open, Refusal, reopen
from worker.planner.retry_policy import SECOND, SMALL, SPLIT_AFTER, Decision, Do, Patience, again, backoff, decide, halves, judge

KINDS: tuple[Kind, ...] = ("create", "modify", "delete", "get")
E, PATIENCE = ErrorClass, Patience(max_attempts=3, give_up_after=60.0, backoff=(1.0, 30.0))
PERMANENT = (E.SHAPE, E.STAR, E.RIGHTS, E.SYNC, E.TRANSIENT, E.OTHER)


def decided(
    kind: Kind, outcome: Outcome, opened: Open | None = None, *, alone: bool = True, now: int = 0, upsert: bool = False
) -> Decision:
    patience = PATIENCE._replace(upsert=upsert)
    return decide(kind, outcome, opened or Open(()), alone=alone, patience=patience, now=now, draw=0.5)


def rejected(error: ErrorClass) -> Outcome:
    return Outcome(Verdict.REJECTED, 1, error)


# What a rejection of a relation that was alone in its action leads to.
ALONE: dict[Kind, dict[Do, tuple[ErrorClass, ...]]] = {
    "create": {Do.HOLD: (E.CREDENTIALS, E.CLOCK), Do.CHECK: (E.AMBIGUOUS,), Do.FAIL: (E.RECORD, E.ABSENT, *PERMANENT)},
    "modify": {Do.HOLD: (E.CREDENTIALS, E.CLOCK), Do.RETRY: (E.AMBIGUOUS, E.ABSENT), Do.FAIL: (E.RECORD, *PERMANENT)},
    "delete": {Do.HOLD: (E.CREDENTIALS, E.CLOCK), Do.CHECK: (E.AMBIGUOUS, E.RECORD, E.ABSENT), Do.FAIL: PERMANENT},
}
# What silence leads to, by whether the write may have been carried out.
SILENCE: dict[Verdict, dict[Kind, Do]] = {
    Verdict.UNKNOWN: {"create": Do.ASK, "modify": Do.LATER, "delete": Do.ASK, "get": Do.ASK},
    Verdict.NOT_SENT: {"create": Do.LATER, "modify": Do.LATER, "delete": Do.LATER, "get": Do.LATER},
}


@pytest.mark.parametrize(
    ("kind", "error", "expected"), [(kind, error, do) for kind, row in ALONE.items() for do, errors in row.items() for error in errors]
)
def test_a_rejection_alone_is_decided_by_its_class(kind: Kind, error: ErrorClass, expected: Do) -> None:
    assert decided(kind, rejected(error)).do is expected


@pytest.mark.parametrize("kind", ALONE)
def test_the_table_of_rejections_is_complete(kind: Kind) -> None:
    assert sorted(error for errors in ALONE[kind].values() for error in errors) == sorted(ErrorClass)


@pytest.mark.parametrize(("kind", "error"), list(product(("create", "modify"), ErrorClass)))
def test_a_rejection_in_company_is_split_unless_the_account_is_at_fault(kind: Kind, error: ErrorClass) -> None:
    at_fault = error in (E.CREDENTIALS, E.CLOCK)
    assert decided(kind, rejected(error), alone=False).do is (Do.HOLD if at_fault else Do.SPLIT)


@pytest.mark.parametrize(("verdict", "kind", "alone"), list(product(SILENCE, KINDS, (True, False))))
def test_silence_is_asked_about_unless_nothing_was_sent_or_nothing_can_be_read(verdict: Verdict, kind: Kind, alone: bool) -> None:
    assert decided(kind, Outcome(verdict), alone=alone).do is SILENCE[verdict][kind]


@pytest.mark.parametrize(("kind", "error", "alone"), list(product(KINDS, ErrorClass, (True, False))))
def test_ok_is_confirmed_whatever_else_the_answer_says(kind: Kind, error: ErrorClass, alone: bool) -> None:
    assert decided(kind, Outcome(Verdict.OK, 7, error), alone=alone) == Decision(Do.CONFIRM)


@given(
    st.sampled_from(KINDS),
    st.builds(Outcome, st.sampled_from(Verdict), st.integers(0, 999), st.sampled_from(ErrorClass)),
    st.builds(Open, st.just(()), tries=st.integers(0, 99), losses=st.integers(0, 99), misses=st.integers(0, 9999), absent=st.booleans()),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**12),
    st.floats(0, 1, exclude_max=True),
)
def test_there_is_a_decision_for_everything(
    kind: Kind, outcome: Outcome, opened: Open, alone: bool, upsert: bool, now: int, draw: float
) -> None:
    decision = decide(kind, outcome, opened, alone=alone, patience=PATIENCE._replace(upsert=upsert), now=now, draw=draw)
    assert isinstance(decision.do, Do)
    assert 0 <= decision.delay <= 30.0
    assert decision.do not in (Do.LATER, Do.ASK, Do.RETRY) or decision.delay >= 0.25


@pytest.mark.parametrize("kind", ["create", "modify"])
def test_a_star_without_an_answer_is_suspected_at_the_third_loss(kind: Kind) -> None:
    lost = Outcome(Verdict.UNKNOWN)
    splits = [decided(kind, lost, Open((), losses=before), alone=False).do is Do.SPLIT for before in range(SPLIT_AFTER + 1)]
    assert splits == [False, False, True, True]
    assert decided(kind, lost, Open((), losses=99), alone=True).do is not Do.SPLIT


@pytest.mark.parametrize(("verdict", "kind"), list(product(SILENCE, KINDS)))
def test_silence_is_given_up_on_by_age_and_a_definite_answer_never_is(verdict: Verdict, kind: Kind) -> None:
    since = Open((), since=5 * SECOND)
    assert decided(kind, Outcome(verdict), since, now=65 * SECOND).do is not Do.FAIL
    assert decided(kind, Outcome(verdict), since, now=65 * SECOND + 1).do is Do.FAIL
    assert decided(kind, rejected(E.AMBIGUOUS), since, now=99 * SECOND).do is not Do.FAIL


@pytest.mark.parametrize("error", [E.AMBIGUOUS, E.ABSENT])
def test_a_modify_that_comes_too_early_is_tried_as_often_as_allowed(error: ErrorClass) -> None:
    decisions = [decided("modify", rejected(error), Open((), tries=tries)).do for tries in range(3)]
    assert decisions == [Do.RETRY, Do.RETRY, Do.FAIL]


def test_an_upsert_may_create_what_it_cannot_modify_but_not_over_and_over() -> None:
    assert decided("modify", rejected(E.ABSENT), upsert=True).do is Do.INSERT
    assert decided("modify", rejected(E.ABSENT), Open((), absent=True), upsert=True).do is Do.RETRY


# --- read-backs (R15)

AMBIGUOUS, NO_RECORD = Refusal(168, "ambiguous", ""), Refusal(79, "record", "")
LINKED, UNLINKED = wish(1, "create"), wish(1, "delete")


def seen(asked: Wish, saw: bool | None, refusal: Refusal | None, tries: int = 0) -> Do:
    case = reopen(Open((asked,), refused=refusal is not None, refusal=refusal, tries=tries), upsert=False)
    assert isinstance(case, Case)
    return judge(case, saw, patience=PATIENCE, draw=0.5).do


@pytest.mark.parametrize(
    ("asked", "saw", "refusal", "expected"),
    [
        (LINKED, True, None, Do.CONFIRM),
        (LINKED, True, NO_RECORD, Do.CONFIRM),
        (LINKED, False, None, Do.LATER),
        (LINKED, None, None, Do.LATER),
        (LINKED, False, AMBIGUOUS, Do.RETRY),
        (LINKED, None, AMBIGUOUS, Do.RETRY),
        (LINKED, False, NO_RECORD, Do.FAIL),
        (LINKED, None, NO_RECORD, Do.FAIL),
        (UNLINKED, False, None, Do.CONFIRM),
        (UNLINKED, False, NO_RECORD, Do.CONFIRM),
        (UNLINKED, None, None, Do.LATER),  # an id that is not in the answer proves nothing by itself
        (UNLINKED, None, AMBIGUOUS, Do.CONFIRM),  # but the API's own refusal does
        (UNLINKED, True, None, Do.LATER),
        (UNLINKED, True, AMBIGUOUS, Do.RETRY),
        (UNLINKED, True, NO_RECORD, Do.FAIL),
    ],
)
def test_a_read_back_decides_what_the_answer_left_open(asked: Wish, saw: bool | None, refusal: Refusal | None, expected: Do) -> None:
    assert seen(asked, saw, refusal) is expected


@pytest.mark.parametrize("asked", [LINKED, UNLINKED])
def test_an_ambiguous_refusal_is_tried_as_often_as_allowed(asked: Wish) -> None:
    assert [seen(asked, asked is UNLINKED, AMBIGUOUS, tries) for tries in range(3)] == [Do.RETRY, Do.RETRY, Do.FAIL]


def test_only_what_time_may_cure_is_tried_again() -> None:
    cured = {error for error in ErrorClass if again(Open((), refusal=Refusal(1, error.value, "")), PATIENCE, 0.5).do is Do.RETRY}
    assert cured == {E.AMBIGUOUS, E.ABSENT}
    assert again(Open(()), PATIENCE, 0.5).do is Do.FAIL


# --- waiting


@given(st.integers(0, 10_000), st.floats(0.01, 10), st.floats(10, 1000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter_below_a_doubling_bound_and_never_a_busy_loop(
    failures: int, first: float, longest: float, draw: float
) -> None:
    seconds = backoff(failures, Patience(backoff=(first, longest)), draw)
    assert first / 4 <= seconds <= min(longest, first * 2 ** min(failures, 20))
    assert seconds == max(first / 4, draw * min(longest, first * 2 ** min(failures, 20)))


# --- halving


def levels(size: int, culprits: set[int]) -> int:
    """How often stars of a part are sent until every culprit is alone: each star with a culprit among others is rejected as a whole."""
    parts = {"": list(range(size))}
    level = 0
    while failing := {part: members for part, members in parts.items() if len(members) > 1 and culprits.intersection(members)}:
        level += 1
        parts = {part: members for part, members in parts.items() if part not in failing}
        for part, members in failing.items():
            several = sum(other[: len(part) - 1] == part[:-1] and len(other) == len(part) and bool(part) for other in failing) == 2
            for position, member in enumerate(members):
                parts.setdefault(halves(part, position, len(members), sibling_failed=several), []).append(member)
    assert sorted(member for members in parts.values() for member in members) == list(range(size))
    return level


@given(st.integers(2, 500).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_one_culprit_is_alone_after_as_many_halvings_as_the_star_has_bits(star: tuple[int, int]) -> None:
    size, culprit = star
    assert levels(size, {culprit}) <= ceil(log2(size))


@given(st.integers(2, 60).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1), min_size=2))))
def test_several_culprits_take_no_more_levels_than_one(star: tuple[int, set[int]]) -> None:
    size, culprits = star
    assert levels(size, culprits) <= ceil(log2(size))


@given(st.text("01", max_size=5), st.integers(1, 40), st.booleans())
def test_halves_are_two_of_nearly_equal_size_or_everyone_alone(part: str, size: int, sibling_failed: bool) -> None:
    parts = [halves(part, position, size, sibling_failed=sibling_failed) for position in range(size)]
    if sibling_failed or size <= SMALL:
        assert len(set(parts)) == size
    else:
        assert parts == [part + "0"] * ceil(size / 2) + [part + "1"] * (size // 2)
    assert part not in parts
