"""The state of one relation: what it wants next, what has to wait, and that no intent is ever lost."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_values import (
    CONFIRMED,
    CREATED,
    INTENTS,
    LATE_INTENTS,
    LATER,
    LINK,
    SOME_INFO,
    deciding,
    intent,
)
from worker.contract import Info
from worker.planner.actions import Kind, Operation
from worker.planner.fold import (
    NEVER,
    NOTHING,
    ConfirmedInfo,
    ConfirmedState,
    Intent,
    JobVersion,
    Target,
    Version,
    fold,
)
from worker.planner.relation_state import (
    ALONE,
    CREATE_KEYS,
    Doubt,
    OpenRelation,
    RelationState,
    Stage,
    Wait,
    add_intents,
    confirm_write,
    contradicts,
    drop_jobs,
    drop_newest_intent,
    next_operation,
    reopen,
    unfinished_until,
)

KINDS: st.SearchStrategy[Kind] = st.sampled_from(("create", "modify", "delete"))
DOUBTS = st.builds(Doubt, st.integers(0, 9), KINDS, st.just(()) | SOME_INFO)
PROGRESS = st.fixed_dictionaries(
    {
        "not_before": st.integers(0, 9),
        "stage": st.sampled_from(Stage),
        "part": st.just("1/0"),
    }
)


def state_of(
    *intents: Intent,
    known: ConfirmedState = NOTHING,
    doubt: Doubt | None = None,
    upsert: bool = False,
    **progress: object,
) -> RelationState:
    opened = OpenRelation(tuple(sorted(intents)), **progress)
    state = reopen(opened, known, doubt, upsert=upsert)
    assert state
    return state


class Obedient:
    """A relation of which the API confirms every operation."""

    def __init__(self, known: ConfirmedState, *, upsert: bool) -> None:
        self.known, self.upsert = known, upsert
        self.state: RelationState | None = None
        self.outcomes: list[Intent] = []

    def add_intents(self, intents: list[Intent]) -> None:
        self.state, lost, self.known = add_intents(
            tuple(intents),
            self.state.open if self.state else None,
            self.known,
            None,
            now=0,
            upsert=self.upsert,
        )
        self.outcomes += [entry.intent for entry in lost]

    def confirm_operations(self, steps: int) -> None:
        while self.state and steps:
            operation = next_operation(LINK, self.state, now=0)
            assert isinstance(operation, Operation)
            self.state, applied, self.known = confirm_write(
                self.state, keys=frozenset(dict(operation.info)), upsert=self.upsert
            )
            self.outcomes += applied
            steps -= 1


WINDOWS = INTENTS.flatmap(
    lambda intents: st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=len(intents), max_size=len(intents)
    ).map(
        lambda where: [
            ([one for one, (window, _) in zip(intents, where, strict=True) if window == number], steps)
            for number, (_, steps) in enumerate(where[:4])
        ]
    )
)
"""Intents spread over up to four windows, each with up to two operations confirmed after it."""


@given(WINDOWS, CONFIRMED, st.booleans())
def test_however_the_intents_are_spread_over_windows_the_same_is_confirmed_in_the_end(
    windows: list[tuple[list[Intent], int]], known: ConfirmedState, upsert: bool
) -> None:
    """What decides is equal; an intent `superseded` in one history may be `applied` in another."""
    spread, at_once = Obedient(known, upsert=upsert), Obedient(known, upsert=upsert)
    for intents, steps in windows:
        spread.add_intents(intents)
        spread.confirm_operations(steps)
    at_once.add_intents([one for intents, _ in windows for one in intents])
    for relation in (spread, at_once):
        relation.confirm_operations(9)
        assert relation.state is None
    assert deciding(spread.known) == deciding(at_once.known)
    assert (
        Counter(spread.outcomes)
        == Counter(at_once.outcomes)
        == Counter(one for intents, _ in windows for one in intents)
    )


def test_info_older_than_a_stale_delete_stays_void_when_newer_info_came_between() -> None:
    relation = Obedient(NOTHING, upsert=False)
    for intents in [
        [intent(9, "create")],
        [intent(4, "delete"), intent(6, "modify", bestaetigung="a")],
        [intent(3, "modify", rueckmeldung="b")],
    ]:
        relation.add_intents(intents)
        relation.confirm_operations(9)
    assert set(relation.known.info) == {CREATED}
    assert len(relation.outcomes) == 4


# --- what is wanted next (R13)

RELATED, ALSO = intent(2, "create"), intent(3, "modify", bestaetigung="a", rueckmeldung="b")
SET = {CREATED: ConfirmedInfo(ALSO.version, ALSO.job, "a")}
BOTH = ((CREATED, "a"), (LATER, "b"))


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (state_of(RELATED), Operation("create", LINK)),
        (state_of(RELATED, part="1/0"), Operation("create", LINK, (), "1/0")),
        (state_of(RELATED, stage=Stage.READ_BACK, part="1/0"), Operation("get", LINK)),
        (state_of(RELATED, ALSO), Operation("create", LINK)),
        (state_of(RELATED, ALSO, stage=Stage.READ_BACK), Operation("get", LINK)),
        (state_of(RELATED, ALSO, stage=Stage.WRITE_ABSENT), Operation("create", LINK, ((CREATED, "a"),))),
        (
            state_of(RELATED, ALSO, known=ConfirmedState(present=RELATED.job_version)),
            Operation("modify", LINK, BOTH),
        ),
        (
            state_of(RELATED, ALSO, known=ConfirmedState(RELATED.job_version, NEVER, SET)),
            Operation("modify", LINK, ((LATER, "b"),)),
        ),
        (state_of(ALSO), Operation("modify", LINK, BOTH)),
        (state_of(ALSO, stage=Stage.READ_BACK), Operation("modify", LINK, BOTH)),
        (state_of(ALSO, upsert=True), Operation("modify", LINK, BOTH)),
        (state_of(ALSO, upsert=True, stage=Stage.WRITE_ABSENT), Operation("create", LINK, ((CREATED, "a"),))),
        (state_of(RELATED, ALSO, upsert=True), Operation("create", LINK)),
        (state_of(intent(4, "delete")), Operation("delete", LINK)),
        (state_of(intent(4, "delete"), stage=Stage.READ_BACK), Operation("get", LINK)),
        (state_of(intent(1, "delete"), ALSO), Operation("delete", LINK)),
    ],
)
def test_presence_goes_before_info_and_reading_before_writing(
    asked: RelationState, wanted: Operation
) -> None:
    assert next_operation(LINK, asked, now=0) == wanted


@given(INTENTS, CONFIRMED, PROGRESS, st.booleans())
def test_a_create_carries_info_only_if_the_relation_was_read_as_absent_and_never_what_only_modify_takes(
    intents: list[Intent], known: ConfirmedState, progress: dict[str, object], upsert: bool
) -> None:
    state = reopen(OpenRelation(tuple(intents), **progress), known, upsert=upsert)
    operation = next_operation(LINK, state, now=9) if state else None
    if state and isinstance(operation, Operation) and operation.kind == "create":
        carried = {key: value for key, value in state.target.patch if key in CREATE_KEYS}
        assert dict(operation.info) == (carried if state.open.stage is Stage.WRITE_ABSENT else {})


def test_only_the_confirmation_may_go_with_a_create() -> None:
    assert frozenset({CREATED}) == CREATE_KEYS


# --- what has to wait (R14)


@given(INTENTS, CONFIRMED, PROGRESS, DOUBTS, st.booleans())
def test_nothing_is_wanted_before_its_time_nor_against_a_write_that_may_still_land(
    intents: list[Intent], known: ConfirmedState, progress: dict[str, object], doubt: Doubt, upsert: bool
) -> None:
    opened = OpenRelation(tuple(intents), **progress)
    state = reopen(opened, known, doubt, upsert=upsert)
    if state:
        against = contradicts(doubt, state.target)
        for now in range(11):
            free = now >= state.open.not_before and (now >= doubt.until or not against)
            wanted = next_operation(LINK, state, now=now)
            assert isinstance(wanted, Operation) is free
            assert not isinstance(wanted, Wait) or wanted.until > now


@given(INTENTS, CONFIRMED, DOUBTS, st.booleans())
def test_a_doubt_contradicts_just_what_it_would_undo_if_it_landed_last(
    intents: list[Intent], known: ConfirmedState, doubt: Doubt, upsert: bool
) -> None:
    state = reopen(OpenRelation(tuple(intents)), known, upsert=upsert)
    if state:
        wanted = reached(state.target)
        assert contradicts(doubt, state.target) is (
            landed(doubt, wanted, state.target.presence is False) != wanted
        )


def reached(target: Target) -> dict[str, str] | None:
    """Return the info of the relation when the target is reached, None when it is gone."""
    return None if target.presence is False else dict(target.patch)


def landed(doubt: Doubt, info: dict[str, str] | None, gone: bool) -> dict[str, str] | None:
    """Return the same after the write landed, at worst: an account may have its modifies sent as creates.

    Keys that nobody asked for are left out.
    """
    if doubt.kind == "delete":
        return None
    return {} if info is None else {key: dict(doubt.info).get(key, value) for key, value in info.items()}


# --- progress


@given(INTENTS, LATE_INTENTS, CONFIRMED, PROGRESS, st.booleans())
def test_progress_goes_on_with_the_same_target_and_a_changed_one_starts_from_the_beginning_but_not_earlier(
    some: list[Intent], others: list[Intent], known: ConfirmedState, progress: dict[str, object], upsert: bool
) -> None:
    first, _, known = add_intents(tuple(some), None, known, None, now=1, upsert=upsert)
    before = first.with_progress(**progress, rejections=3) if first else None
    after, _, _ = add_intents(
        tuple(others), before.open if before else None, known, None, now=2, upsert=upsert
    )
    if before and after:
        assert after.open.not_before == before.open.not_before
        assert after.open.stage.reads == before.open.stage.reads
        same = (after.target.presence, after.target.patch) == (before.target.presence, before.target.patch)
        progress_now = after.open.since, after.open.rejections, after.open.part
        assert progress_now == ((1, 3, "1/0") if same else (2, 0, ""))


@given(INTENTS, CONFIRMED, st.booleans())
def test_an_open_relation_keeps_exactly_the_intents_behind_its_target(
    intents: list[Intent], known: ConfirmedState, upsert: bool
) -> None:
    state, lost, _ = add_intents(tuple(intents), None, known, None, now=0, upsert=upsert)
    kept = state.open.intents if state else ()
    assert state is None or kept == state.target.intents
    assert sorted([*kept, *(entry.intent for entry in lost)]) == sorted(intents)


@pytest.mark.parametrize(
    ("progress", "known", "doubt", "until"),
    [
        ({}, NOTHING, None, None),
        ({"rejections": 3, "failures": 2, "part": "1/0"}, NOTHING, None, None),
        ({"stage": Stage.WRITE_ABSENT}, NOTHING, Doubt(5, "create"), None),
        ({}, NOTHING, Doubt(6, "delete"), 6),
        ({"stage": Stage.READ_BACK}, NOTHING, None, 5),
        ({"stage": Stage.READ_REJECTED}, NOTHING, Doubt(9, "create"), 9),
        ({"lost_writes": 1}, NOTHING, Doubt(5, "create"), 5),
        ({}, ConfirmedState(present=RELATED.job_version), None, 5),
        ({}, ConfirmedState(info={CREATED: ConfirmedInfo(RELATED.version, RELATED.job)}), None, 5),
        ({}, ConfirmedState(absent=ALSO.job_version), None, None),
    ],
)
def test_a_write_is_unfinished_until_all_that_was_sent_is_accounted_for(
    progress: dict[str, Any], known: ConfirmedState, doubt: Doubt | None, until: int | None
) -> None:
    assert unfinished_until(OpenRelation((RELATED,), **progress), known, doubt, now=5) == until


@pytest.mark.parametrize(
    ("stage", "lost_writes", "expected"),
    [
        (Stage.WRITE, 0, Stage.WRITE),
        (Stage.WRITE_ABSENT, 0, Stage.WRITE),
        (Stage.WRITE_ABSENT, 1, Stage.READ_BACK),
        (Stage.READ_REJECTED, 0, Stage.READ_BACK),
    ],
)
def test_a_changed_target_is_read_back_first_if_a_write_before_it_has_no_answer(
    stage: Stage, lost_writes: int, expected: Stage
) -> None:
    before = OpenRelation((RELATED,), stage=stage, lost_writes=lost_writes)
    newer = intent(9, "delete")
    state, _, _ = add_intents((newer,), before, NOTHING, None, now=0, upsert=False)
    assert state
    assert (state.open.stage, state.open.lost_writes) == (expected, 0)


def test_a_relation_with_nothing_left_to_ask_is_not_reopened() -> None:
    asked = intent(3, "create")
    assert reopen(OpenRelation((asked,)), ConfirmedState(present=asked.job_version), upsert=False) is None


def test_a_create_is_applied_as_soon_as_it_is_there_and_its_info_when_it_is_set() -> None:
    left, applied, known = confirm_write(state_of(RELATED, ALSO), upsert=False)
    assert left
    assert (applied, left.open.intents) == ((RELATED,), (ALSO,))
    assert confirm_write(left, keys=frozenset((CREATED, LATER)), upsert=False)[:2] == (None, (ALSO,))
    assert known.present == RELATED.job_version


def test_what_is_left_after_a_create_keeps_its_age_and_that_it_was_reduced_but_no_failures() -> None:
    left, _, _ = confirm_write(
        state_of(RELATED, ALSO, since=5, reduced=True, rejections=3, lost_writes=2, part="1/0"), upsert=False
    )
    assert left
    assert left.open == OpenRelation((ALSO,), since=5, reduced=True)


def test_info_sent_with_a_create_is_not_sent_again() -> None:
    left, _, _ = confirm_write(
        state_of(RELATED, ALSO, stage=Stage.WRITE_ABSENT), keys=frozenset((CREATED,)), upsert=False
    )
    assert left
    assert next_operation(LINK, left, now=0) == Operation("modify", LINK, ((LATER, "b"),))


def info_of(target: Target | None) -> Info:
    return target.patch if target else ()


@given(INTENTS, st.booleans())
def test_confirming_presence_alone_keeps_all_the_info(intents: list[Intent], upsert: bool) -> None:
    state = reopen(OpenRelation(tuple(sorted(intents)), NEVER), upsert=upsert)
    assert state
    left, applied, _ = confirm_write(state, upsert=upsert)
    assert info_of(left.target if left else None) == state.target.patch
    target = fold(intents, upsert=upsert).target
    assert target
    assert {*applied, *(left.open.intents if left else ())} >= set(target.intents)


# --- intents that are withdrawn

TRIED = st.fixed_dictionaries(
    {
        "since": st.integers(1, 9),
        "not_before": st.integers(0, 9),
        "rejections": st.integers(0, 3),
        "lost_writes": st.integers(0, 1),
        "failures": st.integers(0, 3),
        "stage": st.sampled_from(Stage),
        "part": st.sampled_from(("", "1/0")),
        "reduced": st.booleans(),
        "suspicion": st.integers(0, 5),
    }
)


def restarted(before: OpenRelation, intents: tuple[Intent, ...], **kept: Any) -> OpenRelation:
    """Return how a relation starts from the beginning that asks for something else now."""
    reads = before.stage.reads or before.lost_writes
    stage = Stage.READ_BACK if reads else Stage.WRITE
    return OpenRelation(intents, stage=stage, suspicion=min(before.suspicion, ALONE), **kept)


@given(INTENTS, st.sets(st.integers(0, 7)), CONFIRMED, TRIED, st.booleans())
def test_without_the_intents_of_a_job_the_others_are_as_if_it_had_never_been(
    intents: list[Intent], numbers: set[int], known: ConfirmedState, tried: dict[str, Any], upsert: bool
) -> None:
    before, _, known = add_intents(tuple(intents), None, known, None, now=0, upsert=upsert)
    if before is None:
        return
    before = before.with_progress(**tried)
    dropped = {f"job-{number}" for number in numbers}
    after, lost = drop_jobs(before, dropped, upsert=upsert)
    others = [each for each in before.open.intents if each.job not in dropped]
    kept = after.open.intents if after else ()
    assert sorted([*kept, *(each.intent for each in lost)]) == sorted(others)
    cleared = NEVER if before.open.cleared.job in dropped else before.open.cleared
    never = fold(others, known, cleared=cleared, upsert=upsert).target if others else None
    assert (after.target if after else None) == never
    if after is None:
        return
    assert (after.confirmed, after.doubt, after.open.cleared) == (known, None, after.target.cleared)
    if (after.target.presence, after.target.patch) == (before.target.presence, before.target.patch):
        assert after.open == before.with_progress(intents=kept, cleared=after.target.cleared).open
    else:
        since, not_before = before.open.since, before.open.not_before
        cleared = after.target.cleared
        assert after.open == restarted(before.open, kept, cleared=cleared, since=since, not_before=not_before)


WITHDRAWN = Doubt(9, "create")


def test_without_the_newest_the_others_start_over_with_what_is_known_and_in_doubt() -> None:
    known = ConfirmedState(absent=JobVersion(Version(0, 0), "known"))
    before = state_of(
        intent(1, "create"),
        intent(2, "delete"),
        known=known,
        doubt=WITHDRAWN,
        since=3,
        not_before=5,
        lost_writes=1,
    )
    after, lost = drop_jobs(before, {"a2"}, upsert=False)
    assert after
    assert (after.open.intents, after.target.presence, lost) == ((intent(1, "create"),), True, ())
    assert (after.open.since, after.open.not_before, after.open.stage) == (3, 5, Stage.READ_BACK)
    assert (after.confirmed, after.doubt) == (known, WITHDRAWN)


def test_without_one_of_several_that_ask_for_the_same_trying_goes_on() -> None:
    before = state_of(intent(1, "create"), intent(2, "create"), doubt=WITHDRAWN, rejections=2, part="1/0")
    after, _ = drop_jobs(before, {"a2"}, upsert=False)
    assert after
    assert after.open == OpenRelation((intent(1, "create"),), rejections=2, part="1/0")
    assert after.doubt == WITHDRAWN


def test_what_is_left_of_withdrawn_ones_may_be_stale_by_now() -> None:
    known = ConfirmedState(present=JobVersion(Version(3, 0), "known"))
    before = state_of(intent(1, "modify", bestaetigung="a"), intent(4, "delete"))
    before = RelationState(before.open, known, None, before.target)
    assert drop_jobs(before, {"a1", "a4"}, upsert=False) == (None, ())
    older = state_of(intent(1, "create"), intent(4, "delete"))
    after, lost = drop_jobs(RelationState(older.open, known, None, older.target), {"a4"}, upsert=False)
    assert (after, [(each.intent.job, each.result, each.by) for each in lost]) == (
        None,
        [("a1", "stale", "known")],
    )


def test_a_state_has_all_that_is_known_of_its_relation() -> None:
    modify, known = (
        intent(2, "modify", bestaetigung="a"),
        ConfirmedState(present=JobVersion(Version(1, 0), "x")),
    )
    opened = OpenRelation((intent(1, "delete"), modify), JobVersion(Version(3, 0), "cleared"))
    assert reopen(opened, upsert=False) is not None
    state = reopen(OpenRelation((modify,)), known, WITHDRAWN, upsert=True)
    assert state
    assert (state.confirmed, state.doubt, state.target.presence) == (known, WITHDRAWN, True)
    left_alone = reopen(OpenRelation((modify,)), known, upsert=False)
    assert left_alone
    assert left_alone.target.presence is None


@given(INTENTS, CONFIRMED, TRIED, st.booleans())
def test_the_newest_intent_is_dropped_once_if_the_others_ask_for_something_else(
    intents: list[Intent], known: ConfirmedState, tried: dict[str, Any], upsert: bool
) -> None:
    before, _, _ = add_intents(tuple(intents), None, known, None, now=0, upsert=upsert)
    if before is None:
        return
    before = before.with_progress(**tried)
    after = drop_newest_intent(before, upsert=upsert)
    older = fold(
        before.open.intents[:-1], before.confirmed, cleared=before.open.cleared, upsert=upsert
    ).target
    asks_for_another = older and (older.presence, older.patch) != (
        before.target.presence,
        before.target.patch,
    )
    assert (after is not None) == bool(asks_for_another and not before.open.reduced)
    if after:
        assert (after.target, after.confirmed) == (older, before.confirmed)
        cleared, since = after.target.cleared, before.open.since
        assert after.open == restarted(
            before.open, after.target.intents, cleared=cleared, since=since, reduced=True
        )
