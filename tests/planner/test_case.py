"""One relation in hand: what it wants next, what it may not do yet, and that nothing is forgotten on the way."""

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_values import CREATED, KNOWN, LATE_WISHES, LATER, LINK, SOME_INFO, WISHES, intent
from worker.planner.actions import Info, Kind, Operation
from worker.planner.fold import (
    NEVER,
    NOTHING,
    ConfirmedInfo,
    ConfirmedState,
    Intent,
    JobVersion,
    Target,
    fold,
)
from worker.planner.relation_state import (
    CREATE_KEYS,
    Doubt,
    OpenRelation,
    RelationState,
    Wait,
    add_intents,
    advance,
    contradicts,
    reopen,
    step,
)

KINDS: st.SearchStrategy[Kind] = st.sampled_from(("create", "modify", "delete"))
DOUBTS = st.builds(Doubt, st.integers(0, 9), KINDS, st.just(()) | SOME_INFO)
PROGRESS = st.fixed_dictionaries(
    {
        "not_before": st.integers(0, 9),
        "verify": st.booleans(),
        "absent": st.booleans(),
        "part": st.just("1/0"),
    }
)


def case(
    *intents: Intent,
    known: ConfirmedState = NOTHING,
    doubt: Doubt | None = None,
    upsert: bool = False,
    **progress: object,
) -> RelationState:
    made = reopen(OpenRelation(tuple(sorted(intents)), **progress), known, doubt, upsert=upsert)  # type: ignore[arg-type]
    assert made
    return made


class MemoryUsage(NamedTuple):
    """The part of a memory that decides anything."""

    presence: JobVersion
    absent: JobVersion
    info: dict[str, JobVersion]


def counting(known: ConfirmedState) -> MemoryUsage:
    return MemoryUsage(
        known.presence,
        known.absent,
        {key: was.job_version for key, was in known.info.items() if was.job_version > known.absent},
    )


class Hand:
    """A relation whose API says yes to whatever it is asked, as often as it is asked."""

    def __init__(self, known: ConfirmedState, *, upsert: bool) -> None:
        self.known, self.upsert = known, upsert
        self.case: RelationState | None = None
        self.outcomes: list[Intent] = []

    def add_intents(self, intents: list[Intent]) -> None:
        self.case, lost, self.known = add_intents(
            tuple(intents), self.case.open if self.case else None, self.known, None, now=0, upsert=self.upsert
        )
        self.outcomes += [each.intent for each in lost]

    def go_on(self, steps: int) -> None:
        while self.case and steps:
            operation = step(LINK, self.case, now=0)
            assert isinstance(operation, Operation)
            self.case, applied, self.known = advance(
                self.case, presence=True, keys=frozenset(dict(operation.info)), upsert=self.upsert
            )
            self.outcomes += applied
            steps -= 1


WINDOWS = WISHES.flatmap(
    lambda intents: st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=len(intents), max_size=len(intents)
    ).map(
        lambda where: [
            ([each for each, (window, _) in zip(intents, where, strict=True) if window == number], steps)
            for number, (_, steps) in enumerate(where[:4])
        ]
    )
)
"""Wishes dealt out to up to four windows, after each of which the API confirms none, one or two operations."""


@given(WINDOWS, KNOWN, st.booleans())
def test_however_the_wishes_are_dealt_out_to_windows_the_memory_ends_the_same(
    windows: list[tuple[list[Intent], int]], known: ConfirmedState, upsert: bool
) -> None:
    """The same in all that counts; the outcomes are one per wish, but `superseded` in one history may be `applied` in another."""
    dealt, at_once = Hand(known, upsert=upsert), Hand(known, upsert=upsert)
    for intents, steps in windows:
        dealt.add_intents(intents)
        dealt.go_on(steps)
    at_once.add_intents([each for intents, _ in windows for each in intents])
    for hand in (dealt, at_once):
        hand.go_on(9)
        assert hand.case is None
    assert counting(dealt.known) == counting(at_once.known)
    assert (
        Counter(dealt.outcomes)
        == Counter(at_once.outcomes)
        == Counter(each for intents, _ in windows for each in intents)
    )


def test_info_older_than_a_stale_unlink_stays_void_when_newer_info_came_between() -> None:
    hand = Hand(NOTHING, upsert=False)
    for intents in [
        [intent(9, "create")],
        [intent(4, "delete"), intent(6, "modify", bestaetigung="a")],
        [intent(3, "modify", rueckmeldung="b")],
    ]:
        hand.add_intents(intents)
        hand.go_on(9)
    assert set(hand.known.info) == {CREATED}
    assert len(hand.outcomes) == 4


# --- what is wanted next (R13)

RELATED, ALSO = intent(2, "create"), intent(3, "modify", bestaetigung="a", rueckmeldung="b")
SET = {CREATED: ConfirmedInfo(*ALSO.job_version, "a")}
BOTH = ((CREATED, "a"), (LATER, "b"))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (case(RELATED), Operation("create", LINK)),
        (case(RELATED, part="1/0"), Operation("create", LINK, (), "1/0")),
        (case(RELATED, verify=True, part="1/0"), Operation("get", LINK)),
        (case(RELATED, ALSO), Operation("create", LINK)),
        (case(RELATED, ALSO, verify=True), Operation("get", LINK)),
        (case(RELATED, ALSO, absent=True), Operation("create", LINK, ((CREATED, "a"),))),
        (
            case(RELATED, ALSO, known=ConfirmedState(present=RELATED.job_version)),
            Operation("modify", LINK, BOTH),
        ),
        (
            case(RELATED, ALSO, known=ConfirmedState(RELATED.job_version, NEVER, SET)),
            Operation("modify", LINK, ((LATER, "b"),)),
        ),
        (case(ALSO), Operation("modify", LINK, BOTH)),
        (case(ALSO, verify=True), Operation("modify", LINK, BOTH)),
        (case(ALSO, upsert=True), Operation("modify", LINK, BOTH)),
        (case(ALSO, upsert=True, absent=True), Operation("create", LINK, ((CREATED, "a"),))),
        (case(RELATED, ALSO, upsert=True), Operation("create", LINK)),
        (case(intent(4, "delete")), Operation("delete", LINK)),
        (case(intent(4, "delete"), verify=True), Operation("get", LINK)),
        (case(intent(1, "delete"), ALSO), Operation("delete", LINK)),
    ],
)
def test_presence_goes_before_info_and_reading_before_writing(
    asked: RelationState, wanted: Operation
) -> None:
    assert step(LINK, asked, now=0) == wanted


@given(WISHES, KNOWN, PROGRESS, st.booleans())
def test_a_create_carries_info_only_if_the_relation_was_read_as_absent_and_never_what_only_modify_takes(
    intents: list[Intent], known: ConfirmedState, progress: dict[str, object], upsert: bool
) -> None:
    made = reopen(OpenRelation(tuple(intents), **progress), known, upsert=upsert)  # type: ignore[arg-type]
    operation = step(LINK, made, now=9) if made else None
    if made and isinstance(operation, Operation) and operation.kind == "create":
        carried = {key: value for key, value in made.target.patch if key in CREATE_KEYS}
        assert dict(operation.info) == (carried if made.open.absent else {})


def test_only_the_confirmation_may_go_with_a_create() -> None:
    assert frozenset({CREATED}) == CREATE_KEYS


# --- what has to wait (R14)


@given(WISHES, KNOWN, PROGRESS, DOUBTS, st.booleans())
def test_nothing_is_wanted_before_its_time_nor_against_a_write_that_may_still_land(
    intents: list[Intent], known: ConfirmedState, progress: dict[str, object], doubt: Doubt, upsert: bool
) -> None:
    made = reopen(OpenRelation(tuple(intents), **progress), known, doubt, upsert=upsert)  # type: ignore[arg-type]
    if made:
        against = contradicts(doubt, made.target)
        for now in range(11):
            free = now >= made.open.not_before and (now >= doubt.until or not against)
            todo = step(LINK, made, now=now)
            assert isinstance(todo, Operation) is free
            assert not isinstance(todo, Wait) or todo.until > now


@given(WISHES, KNOWN, DOUBTS, st.booleans())
def test_a_doubt_contradicts_just_what_it_would_undo_if_it_landed_last(
    intents: list[Intent], known: ConfirmedState, doubt: Doubt, upsert: bool
) -> None:
    made = reopen(OpenRelation(tuple(intents)), known, upsert=upsert)
    if made:
        wanted = reached(made.target)
        assert contradicts(doubt, made.target) is (
            landed(doubt, wanted, made.target.presence is False) != wanted
        )


def reached(target: Target) -> dict[str, str] | None:
    """The info of the relation when the target is reached, None when it is gone; info that is set is set on something."""
    return None if target.presence is False else dict(target.patch)


def landed(doubt: Doubt, info: dict[str, str] | None, gone: bool) -> dict[str, str] | None:
    """The same after the write landed, at worst: an account may have its modifies sent as creates. Keys nobody asked for are left out."""
    if doubt.kind == "delete":
        return None
    return {} if info is None else {key: dict(doubt.info).get(key, value) for key, value in info.items()}


# --- progress


@given(WISHES, LATE_WISHES, KNOWN, PROGRESS, st.booleans())
def test_progress_goes_on_with_the_same_target_and_a_changed_one_starts_afresh_but_not_earlier(
    some: list[Intent], others: list[Intent], known: ConfirmedState, progress: dict[str, object], upsert: bool
) -> None:
    first, _, known = add_intents(tuple(some), None, known, None, now=1, upsert=upsert)
    before = first.with_progress(**progress, tries=3) if first else None
    after, _, _ = add_intents(
        tuple(others), before.open if before else None, known, None, now=2, upsert=upsert
    )
    if before and after:
        assert (after.open.not_before, after.open.verify) == (before.open.not_before, before.open.verify)
        same = (after.target.presence, after.target.patch) == (before.target.presence, before.target.patch)
        assert (after.open.since, after.open.tries, after.open.part) == (
            (1, 3, "1/0") if same else (2, 0, "")
        )


@given(WISHES, KNOWN, st.booleans())
def test_an_open_relation_keeps_exactly_the_wishes_behind_its_target(
    intents: list[Intent], known: ConfirmedState, upsert: bool
) -> None:
    made, lost, _ = add_intents(tuple(intents), None, known, None, now=0, upsert=upsert)
    kept = made.open.intents if made else ()
    assert made is None or kept == made.target.intents
    assert sorted([*kept, *(each.intent for each in lost)]) == sorted(intents)


def test_a_relation_with_nothing_left_to_ask_is_not_reopened() -> None:
    asked = intent(3, "create")
    assert reopen(OpenRelation((asked,)), ConfirmedState(present=asked.job_version), upsert=False) is None


def test_a_link_is_applied_as_soon_as_it_is_there_and_its_info_when_it_is_set() -> None:
    left, applied, known = advance(case(RELATED, ALSO), presence=True, upsert=False)
    assert left
    assert (applied, left.open.intents) == ((RELATED,), (ALSO,))
    assert advance(left, presence=True, keys=frozenset((CREATED, LATER)), upsert=False)[:2] == (None, (ALSO,))
    assert known.present == RELATED.job_version


def test_what_is_left_after_a_link_keeps_its_age_and_that_it_was_reduced_but_no_troubles() -> None:
    left, _, _ = advance(
        case(RELATED, ALSO, since=5, reduced=True, tries=3, losses=2, part="1/0"), presence=True, upsert=False
    )
    assert left
    assert left.open == OpenRelation((ALSO,), since=5, reduced=True)


def test_info_sent_with_a_create_is_not_sent_again() -> None:
    left, _, _ = advance(
        case(RELATED, ALSO, absent=True), presence=True, keys=frozenset((CREATED,)), upsert=False
    )
    assert left
    assert step(LINK, left, now=0) == Operation("modify", LINK, ((LATER, "b"),))


def info_of(target: Target | None) -> Info:
    return target.patch if target else ()


@given(WISHES, st.booleans())
def test_advancing_by_presence_alone_keeps_all_the_info(intents: list[Intent], upsert: bool) -> None:
    made = reopen(OpenRelation(tuple(sorted(intents)), NEVER), upsert=upsert)
    assert made
    left, applied, _ = advance(made, presence=True, upsert=upsert)
    assert info_of(left.target if left else None) == made.target.patch
    assert {*applied, *(left.open.intents if left else ())} >= set(
        fold(intents, upsert=upsert).target.intents
    )  # type: ignore[union-attr]
