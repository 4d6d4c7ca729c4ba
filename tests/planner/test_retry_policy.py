"""The retry policy as tables: what answers and reads lead to, how long to wait, how stars are split."""

from itertools import product
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_values import intent
from worker.planner.actions import ActionResult, ErrorClass, Kind, Verdict
from worker.planner.fold import Intent
from worker.planner.relation_state import OpenRelation, Refusal, RelationState, Stage, reopen
from worker.planner.retry_policy import (
    MIN_HALVED,
    SECOND,
    SPLIT_AFTER,
    Decision,
    NextStep,
    RetryPolicy,
    backoff,
    decide,
    decide_after_read,
    retry_or_fail,
    split_part,
)

KINDS: tuple[Kind, ...] = ("create", "modify", "delete", "get")
E, RETRY = ErrorClass, RetryPolicy(max_attempts=3, give_up_after=60.0, backoff=(1.0, 30.0))
PERMANENT = (E.SHAPE, E.STAR, E.RIGHTS, E.SYNC, E.TRANSIENT, E.OTHER)


def decided(
    kind: Kind,
    outcome: ActionResult,
    opened: OpenRelation | None = None,
    *,
    alone: bool = True,
    now: int = 0,
    upsert: bool = False,
) -> Decision:
    retry = RETRY._replace(upsert=upsert)
    return decide(kind, outcome, opened or OpenRelation(()), alone=alone, retry=retry, now=now, draw=0.5)


def rejected(error: ErrorClass) -> ActionResult:
    return ActionResult(Verdict.REJECTED, 1, error)


# What a rejection of a relation that was alone in its action leads to.
ALONE: dict[Kind, dict[NextStep, tuple[ErrorClass, ...]]] = {
    "create": {
        NextStep.KEEP: (E.CREDENTIALS, E.CLOCK),
        NextStep.READ_REJECTED: (E.AMBIGUOUS,),
        NextStep.FAIL: (E.RECORD, E.ABSENT, *PERMANENT),
    },
    "modify": {
        NextStep.KEEP: (E.CREDENTIALS, E.CLOCK),
        NextStep.RETRY: (E.AMBIGUOUS, E.ABSENT),
        NextStep.FAIL: (E.RECORD, *PERMANENT),
    },
    "delete": {
        NextStep.KEEP: (E.CREDENTIALS, E.CLOCK),
        NextStep.READ_REJECTED: (E.AMBIGUOUS, E.RECORD, E.ABSENT),
        NextStep.FAIL: PERMANENT,
    },
}
# What no answer leads to, by whether the write may have been carried out.
NO_ANSWER: dict[Verdict, dict[Kind, NextStep]] = {
    Verdict.UNKNOWN: {
        "create": NextStep.READ_BACK,
        "modify": NextStep.TRY_LATER,
        "delete": NextStep.READ_BACK,
        "get": NextStep.READ_BACK,
    },
    Verdict.NOT_SENT: {
        "create": NextStep.TRY_LATER,
        "modify": NextStep.TRY_LATER,
        "delete": NextStep.TRY_LATER,
        "get": NextStep.TRY_LATER,
    },
}


@pytest.mark.parametrize(
    ("kind", "error", "expected"),
    [(kind, error, do) for kind, row in ALONE.items() for do, errors in row.items() for error in errors],
)
def test_a_rejection_alone_is_decided_by_its_class(kind: Kind, error: ErrorClass, expected: NextStep) -> None:
    assert decided(kind, rejected(error)).step is expected


@pytest.mark.parametrize("kind", ALONE)
def test_the_table_of_rejections_is_complete(kind: Kind) -> None:
    assert sorted(error for errors in ALONE[kind].values() for error in errors) == sorted(ErrorClass)


@pytest.mark.parametrize(("kind", "error"), list(product(("create", "modify"), ErrorClass)))
def test_a_rejection_with_others_is_split_unless_the_account_is_at_fault(
    kind: Kind, error: ErrorClass
) -> None:
    at_fault = error in (E.CREDENTIALS, E.CLOCK)
    assert decided(kind, rejected(error), alone=False).step is (NextStep.KEEP if at_fault else NextStep.SPLIT)


@pytest.mark.parametrize(("verdict", "kind", "alone"), list(product(NO_ANSWER, KINDS, (True, False))))
def test_no_answer_leads_to_a_read_unless_nothing_was_sent_or_nothing_can_be_read(
    verdict: Verdict, kind: Kind, alone: bool
) -> None:
    assert decided(kind, ActionResult(verdict), alone=alone).step is NO_ANSWER[verdict][kind]


@pytest.mark.parametrize(("kind", "error", "alone"), list(product(KINDS, ErrorClass, (True, False))))
def test_ok_is_confirmed_whatever_else_the_answer_says(kind: Kind, error: ErrorClass, alone: bool) -> None:
    assert decided(kind, ActionResult(Verdict.OK, 7, error), alone=alone) == Decision(NextStep.CONFIRM)


@given(
    st.sampled_from(KINDS),
    st.builds(ActionResult, st.sampled_from(Verdict), st.integers(0, 999), st.sampled_from(ErrorClass)),
    st.builds(
        OpenRelation,
        st.just(()),
        rejections=st.integers(0, 99),
        lost_writes=st.integers(0, 99),
        failures=st.integers(0, 9999),
        stage=st.sampled_from(Stage),
    ),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**12),
    st.floats(0, 1, exclude_max=True),
)
def test_there_is_a_decision_for_everything(
    kind: Kind, outcome: ActionResult, opened: OpenRelation, alone: bool, upsert: bool, now: int, draw: float
) -> None:
    decision = decide(
        kind, outcome, opened, alone=alone, retry=RETRY._replace(upsert=upsert), now=now, draw=draw
    )
    assert isinstance(decision.step, NextStep)
    assert 0 <= decision.delay <= 30.0
    assert (
        decision.step not in (NextStep.TRY_LATER, NextStep.READ_BACK, NextStep.RETRY)
        or decision.delay >= 0.25
    )


@pytest.mark.parametrize("kind", ["create", "modify"])
def test_a_star_without_an_answer_is_suspected_at_the_third_loss(kind: Kind) -> None:
    lost = ActionResult(Verdict.UNKNOWN)
    splits = [
        decided(kind, lost, OpenRelation((), lost_writes=before), alone=False).step is NextStep.SPLIT
        for before in range(SPLIT_AFTER + 1)
    ]
    assert splits == [False, False, True, True]
    assert decided(kind, lost, OpenRelation((), lost_writes=99), alone=True).step is not NextStep.SPLIT


@pytest.mark.parametrize(("verdict", "kind"), list(product(NO_ANSWER, KINDS)))
def test_no_answer_is_given_up_on_by_age_and_a_definite_answer_never_is(verdict: Verdict, kind: Kind) -> None:
    since = OpenRelation((), since=5 * SECOND)
    assert decided(kind, ActionResult(verdict), since, now=65 * SECOND).step is not NextStep.FAIL
    assert decided(kind, ActionResult(verdict), since, now=65 * SECOND + 1).step is NextStep.FAIL
    assert decided(kind, rejected(E.AMBIGUOUS), since, now=99 * SECOND).step is not NextStep.FAIL


@pytest.mark.parametrize("error", [E.AMBIGUOUS, E.ABSENT])
def test_a_modify_that_comes_too_early_is_tried_as_often_as_allowed(error: ErrorClass) -> None:
    decisions = [
        decided("modify", rejected(error), OpenRelation((), rejections=tries)).step for tries in range(3)
    ]
    assert decisions == [NextStep.RETRY, NextStep.RETRY, NextStep.FAIL]


def test_an_upsert_may_create_what_it_cannot_modify_but_not_over_and_over() -> None:
    assert decided("modify", rejected(E.ABSENT), upsert=True).step is NextStep.CREATE
    assert (
        decided("modify", rejected(E.ABSENT), OpenRelation((), stage=Stage.WRITE_ABSENT), upsert=True).step
        is NextStep.RETRY
    )


# --- read-backs (R15)

AMBIGUOUS, NO_RECORD = Refusal(168, "ambiguous", ""), Refusal(79, "record", "")
LINKED, UNLINKED = intent(1, "create"), intent(1, "delete")


def step_after_read(asked: Intent, saw: bool | None, refusal: Refusal | None, tries: int = 0) -> NextStep:
    state = reopen(
        OpenRelation(
            (asked,),
            stage=Stage.READ_REJECTED if refusal else Stage.READ_BACK,
            refusal=refusal,
            rejections=tries,
        ),
        upsert=False,
    )
    assert isinstance(state, RelationState)
    return decide_after_read(state, saw, retry=RETRY, draw=0.5).step


@pytest.mark.parametrize(
    ("asked", "saw", "refusal", "expected"),
    [
        (LINKED, True, None, NextStep.CONFIRM),
        (LINKED, True, NO_RECORD, NextStep.CONFIRM),
        (LINKED, False, None, NextStep.TRY_LATER),
        (LINKED, None, None, NextStep.TRY_LATER),
        (LINKED, False, AMBIGUOUS, NextStep.RETRY),
        (LINKED, None, AMBIGUOUS, NextStep.RETRY),
        (LINKED, False, NO_RECORD, NextStep.FAIL),
        (LINKED, None, NO_RECORD, NextStep.FAIL),
        (UNLINKED, False, None, NextStep.CONFIRM),
        (UNLINKED, False, NO_RECORD, NextStep.CONFIRM),
        (
            UNLINKED,
            None,
            None,
            NextStep.TRY_LATER,
        ),  # an id that is not in the answer proves nothing by itself
        (UNLINKED, None, AMBIGUOUS, NextStep.CONFIRM),  # but the API's own refusal does
        (UNLINKED, True, None, NextStep.TRY_LATER),
        (UNLINKED, True, AMBIGUOUS, NextStep.RETRY),
        (UNLINKED, True, NO_RECORD, NextStep.FAIL),
    ],
)
def test_a_read_back_decides_what_the_answer_left_open(
    asked: Intent, saw: bool | None, refusal: Refusal | None, expected: NextStep
) -> None:
    assert step_after_read(asked, saw, refusal) is expected


@pytest.mark.parametrize("asked", [LINKED, UNLINKED])
def test_an_ambiguous_refusal_is_tried_as_often_as_allowed(asked: Intent) -> None:
    assert [step_after_read(asked, asked is UNLINKED, AMBIGUOUS, tries) for tries in range(3)] == [
        NextStep.RETRY,
        NextStep.RETRY,
        NextStep.FAIL,
    ]


def test_only_what_time_may_cure_is_tried_again() -> None:
    cured = {
        error
        for error in ErrorClass
        if retry_or_fail(OpenRelation((), refusal=Refusal(1, error.value, "")), RETRY, 0.5).step
        is NextStep.RETRY
    }
    assert cured == {E.AMBIGUOUS, E.ABSENT}
    refused = OpenRelation((), refusal=Refusal(168, E.AMBIGUOUS.value, ""), rejections=1)
    assert retry_or_fail(refused, RETRY, 0.5) == Decision(NextStep.RETRY, backoff(1, RETRY, 0.5))
    assert retry_or_fail(OpenRelation(()), RETRY, 0.5).step is NextStep.FAIL


# --- waiting


@given(st.integers(0, 10_000), st.floats(0.01, 10), st.floats(10, 1000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter_below_a_doubling_bound_and_never_a_busy_loop(
    failures: int, first: float, longest: float, draw: float
) -> None:
    seconds = backoff(failures, RetryPolicy(backoff=(first, longest)), draw)
    assert first / 4 <= seconds <= min(longest, first * 2 ** min(failures, 20))
    assert seconds == max(first / 4, draw * min(longest, first * 2 ** min(failures, 20)))


# --- halving


def levels(size: int, culprits: set[int]) -> int:
    """Return how often stars are sent until every culprit is alone; a star with one is rejected."""
    parts = {"": list(range(size))}
    level = 0
    while failing := {
        part: members
        for part, members in parts.items()
        if len(members) > 1 and culprits.intersection(members)
    }:
        level += 1
        parts = {part: members for part, members in parts.items() if part not in failing}
        for part, members in failing.items():
            several = (
                sum(
                    other[: len(part) - 1] == part[:-1] and len(other) == len(part) and bool(part)
                    for other in failing
                )
                == 2
            )
            for position, member in enumerate(members):
                parts.setdefault(split_part(part, position, len(members), sibling_failed=several), []).append(
                    member
                )
    assert sorted(member for members in parts.values() for member in members) == list(range(size))
    return level


@given(st.integers(2, 500).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_one_culprit_is_alone_after_as_many_halvings_as_the_star_has_bits(star: tuple[int, int]) -> None:
    size, culprit = star
    assert levels(size, {culprit}) <= ceil(log2(size))


@given(
    st.integers(2, 60).flatmap(
        lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1), min_size=2))
    )
)
def test_several_culprits_take_no_more_levels_than_one(star: tuple[int, set[int]]) -> None:
    size, culprits = star
    assert levels(size, culprits) <= ceil(log2(size))


@given(st.text("01", max_size=5), st.integers(1, 40), st.booleans())
def test_a_star_is_split_into_two_nearly_equal_halves_or_everyone_goes_alone(
    part: str, size: int, sibling_failed: bool
) -> None:
    parts = [split_part(part, position, size, sibling_failed=sibling_failed) for position in range(size)]
    if sibling_failed or size < MIN_HALVED:
        assert len(set(parts)) == size
    else:
        assert parts == [part + "0"] * ceil(size / 2) + [part + "1"] * (size // 2)
    assert part not in parts
