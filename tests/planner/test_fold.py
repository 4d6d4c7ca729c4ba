"""The fold: the latest wins, for presence and for each info key, and no intent is lost silently (R6–R10)."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.planner_values import (
    CLEARED,
    CONFIRMED,
    CREATED,
    INTENTS,
    LATE_INTENTS,
    LATER,
    deciding,
    intent,
)
from worker.planner.fold import (
    NEVER,
    NOTHING,
    ConfirmedState,
    Intent,
    JobVersion,
    LostIntent,
    Target,
    Version,
    confirm,
    fold,
    note_overtaken_delete,
)

SHUFFLED = INTENTS.flatmap(lambda intents: st.tuples(st.just(intents), st.permutations(intents)))
UPSERT = st.booleans()


class End(NamedTuple):
    """How a relation ends, and which versions decided that."""

    presence: bool | None
    decisive: JobVersion
    info: dict[str, tuple[str, JobVersion]]


def history(intents: list[Intent], known: ConfirmedState, cleared: JobVersion, *, upsert: bool) -> End:
    """Fold the naive way: apply all that was asked for or confirmed, from the oldest to the newest."""
    events: list[tuple[JobVersion, str, dict[str, str]]] = [
        (intent.job_version, intent.action, dict(intent.info)) for intent in intents
    ]
    events += [(known.present, "create", {}), (known.absent, "delete", {}), (cleared, "clear", {})]
    events += [(was.job_version, "confirm", {key: was.value}) for key, was in known.info.items()]
    presence, decisive, info = None, NEVER, dict[str, tuple[str, JobVersion]]()
    for mark, action, values in sorted(events, key=lambda event: event[0].version):
        if action in ("delete", "clear"):
            info.clear()
        if action in ("create", "delete") or (action == "modify" and upsert):
            presence, decisive = action != "delete", mark
        info |= {key: (value, mark) for key, value in values.items()}
    wanted = {intent.job_version for intent in intents}
    created = [
        intent for intent in intents if intent.action == "create" or (upsert and intent.action == "modify")
    ]
    deleted = max(
        [known.absent, cleared, *(intent.job_version for intent in intents if intent.action == "delete")]
    )
    if any(
        intent.job_version > deleted for intent in created
    ):  # what an older delete removed comes back with the create
        wanted |= {was.job_version for was in known.info.values() if was.removed}
    changed = decisive in {intent.job_version for intent in intents}
    return End(
        presence if changed else None,
        decisive if changed else NEVER,
        {key: (value, mark) for key, (value, mark) in info.items() if mark in wanted},
    )


def end(target: Target | None) -> End:
    if target is None:
        return End(None, NEVER, {})
    return End(target.presence, target.decisive, {key: (value, mark) for key, value, mark in target.info})


def confirmed(target: Target | None, known: ConfirmedState) -> ConfirmedState:
    """Return what is confirmed once the API has confirmed the whole target."""
    return confirm(target, known, keys=dict(target.patch)) if target else known


@given(INTENTS, CONFIRMED, CLEARED, UPSERT)
def test_the_latest_wins_for_presence_and_for_each_info_key_by_itself(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    folded = fold(intents, known, cleared=cleared, upsert=upsert)
    assert end(folded.target) == history(intents, known, cleared, upsert=upsert)


@given(SHUFFLED, CONFIRMED, CLEARED, UPSERT)
def test_order_of_arrival_makes_no_difference(
    drawn: tuple[list[Intent], list[Intent]], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    intents, shuffled = drawn
    assert fold(shuffled, known, cleared=cleared, upsert=upsert) == fold(
        intents, known, cleared=cleared, upsert=upsert
    )


@given(INTENTS, CONFIRMED, CLEARED, UPSERT)
def test_a_wish_that_comes_twice_counts_once(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    assert fold(intents + intents, known, cleared=cleared, upsert=upsert) == fold(
        intents, known, cleared=cleared, upsert=upsert
    )


@given(INTENTS, CONFIRMED, UPSERT)
def test_the_short_way_of_an_only_intent_ends_where_the_long_way_does(
    intents: list[Intent], known: ConfirmedState, upsert: bool
) -> None:
    assert fold(intents[:1], known, upsert=upsert) == fold(intents[:1] * 2, known, upsert=upsert)


@given(INTENTS, CONFIRMED, CLEARED, UPSERT)
def test_folding_what_was_folded_changes_nothing(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    target = fold(intents, known, cleared=cleared, upsert=upsert).target
    if target:
        refolded = fold(target.intents, known, cleared=target.cleared, upsert=upsert)
        assert (refolded.target, refolded.lost) == (target, ())


@given(INTENTS, CONFIRMED, CLEARED, UPSERT)
def test_every_wish_is_either_in_the_target_or_lost_never_both(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    folded = fold(intents, known, cleared=cleared, upsert=upsert)
    kept = folded.target.intents if folded.target else ()
    assert sorted([*kept, *(lost.intent for lost in folded.lost)]) == sorted(intents)


@given(INTENTS, CONFIRMED, CLEARED, UPSERT)
def test_an_intent_that_lost_names_a_newer_job_and_whether_the_api_had_confirmed_it(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    here = {mark.job: mark for mark in [*(intent.job_version for intent in intents), cleared]}
    there = {
        mark.job: mark
        for mark in (known.present, known.absent, *(was.job_version for was in known.info.values()))
    }
    for lost in fold(intents, known, cleared=cleared, upsert=upsert).lost:
        winner = (here if lost.result == "superseded" else there)[lost.by]
        assert lost.result in ("superseded", "stale")
        assert winner.version > lost.intent.version


@given(INTENTS, CONFIRMED, CLEARED, UPSERT)
def test_the_intents_behind_a_target_agree_with_it(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    target = fold(intents, known, cleared=cleared, upsert=upsert).target
    asks = {"create": True, "delete": False, "modify": True if upsert else None}
    if target:
        info_versions = {mark for _, _, mark in target.info}
        brought_back = info_versions - {
            one.job_version for one in intents
        }  # what a delete that came late had taken away
        agreeing = {
            one.job_version
            for one in target.intents
            if target.presence is not None and asks[one.action] is target.presence
        }
        behind = {one.job_version for one in target.intents}
        assert behind >= agreeing | (info_versions - brought_back)
        assert behind == agreeing | info_versions or brought_back


@given(INTENTS, CONFIRMED, CLEARED, UPSERT)
def test_what_the_api_confirmed_asks_for_nothing_more(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    target = fold(intents, known, cleared=cleared, upsert=upsert).target
    folded = fold(intents, confirmed(target, known), cleared=cleared, upsert=upsert)
    assert folded.target is None
    assert sorted(lost.intent for lost in folded.lost) == sorted(intents)


@given(INTENTS, CONFIRMED, CLEARED, UPSERT)
def test_confirming_presence_leaves_just_the_info(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    target = fold(intents, known, cleared=cleared, upsert=upsert).target
    if target:
        left = fold(target.intents, confirm(target, known), cleared=target.cleared, upsert=upsert).target
        assert end(left) == End(None, NEVER, end(target).info)


@given(INTENTS, LATE_INTENTS, CONFIRMED, UPSERT)
def test_intents_that_join_an_open_target_end_where_one_fold_of_all_ends(
    some: list[Intent], others: list[Intent], known: ConfirmedState, upsert: bool
) -> None:
    """Presence, info and their versions are equal; more intents may stand behind the target."""
    first, at_once = fold(some, known, upsert=upsert), fold(some + others, known, upsert=upsert)
    joined = fold(
        [*others, *(first.target.intents if first.target else ())],
        known,
        cleared=first.cleared,
        upsert=upsert,
    )
    assert end(joined.target) == end(at_once.target)
    assert joined.cleared == at_once.cleared
    assert {lost.intent for lost in first.lost + joined.lost} <= {lost.intent for lost in at_once.lost}


@given(SHUFFLED, UPSERT)
def test_what_a_delete_made_void_is_not_applied_with_a_newer_create_however_late_it_comes(
    drawn: tuple[list[Intent], list[Intent]], upsert: bool
) -> None:
    """Of a relation that is to be absent, an older delete that comes late is done all the same."""
    intents, shuffled = drawn
    behind, cleared = tuple[Intent, ...](), NEVER
    for asked in shuffled:
        folded = fold([*behind, asked], cleared=cleared, upsert=upsert)
        behind, cleared = folded.target.intents if folded.target else (), folded.cleared
    at_once = fold(intents, upsert=upsert).target
    if at_once and at_once.presence is not False:
        assert behind == at_once.intents


@given(INTENTS, LATE_INTENTS, UPSERT)
def test_intents_that_come_after_the_api_confirmed_the_first_end_in_the_same_memory(
    some: list[Intent], others: list[Intent], upsert: bool
) -> None:
    """The same in what decides: the newest version about presence, and of info newer than every delete."""
    split = NOTHING
    for window in (some, others):
        folded = fold(window, split, upsert=upsert)
        split = note_overtaken_delete(confirmed(folded.target, split), folded.cleared)
    assert deciding(split) == deciding(confirmed(fold(some + others, upsert=upsert).target, NOTHING))


@given(INTENTS, CONFIRMED)
def test_an_upsert_is_a_create_in_all_but_its_name(intents: list[Intent], known: ConfirmedState) -> None:
    as_creates = [replace(one, action="create") if one.action == "modify" else one for one in intents]
    assert end(fold(intents, known, upsert=True).target) == end(fold(as_creates, known).target)


def test_create_then_delete_is_not_nothing_but_a_delete() -> None:
    folded = fold([intent(1, "create"), intent(2, "delete")])
    assert folded.target
    assert folded.target.presence is False
    assert [(lost.intent.job, lost.result, lost.by) for lost in folded.lost] == [("a1", "superseded", "a2")]


def test_two_creates_stand_behind_one_target_together() -> None:
    folded = fold([intent(1, "create"), intent(2, "create")])
    assert folded.target
    assert ([one.job for one in folded.target.intents], folded.lost) == (["a1", "a2"], ())


def test_a_create_and_its_confirmation_are_one_target() -> None:
    target = fold([intent(1, "create"), intent(2, "modify", bestaetigung="bestätigt")]).target
    assert target
    assert (target.presence, target.patch) == (True, ((CREATED, "bestätigt"),))


def test_a_modify_that_is_older_than_the_delete_it_meets_is_superseded_by_it() -> None:
    folded = fold([intent(2, "delete"), intent(1, "modify", rueckmeldung="aktiv")])
    assert [(lost.intent.job, lost.result, lost.by) for lost in folded.lost] == [("a1", "superseded", "a2")]


def test_two_keys_of_two_modifies_are_both_set_and_one_key_goes_to_the_newer() -> None:
    older, newer = (
        intent(1, "modify", bestaetigung="gesendet", rueckmeldung="aktiv"),
        intent(2, "modify", bestaetigung="gecancelt"),
    )
    target = fold([newer, older]).target
    assert target
    assert target.patch == ((CREATED, "gecancelt"), (LATER, "aktiv"))


def test_a_late_delete_is_stale_and_names_the_create_that_was_confirmed() -> None:
    known = ConfirmedState(present=JobVersion(Version(5, 0), "winner"))
    assert fold([intent(3, "delete")], known).lost == (LostIntent(intent(3, "delete"), "stale", "winner"),)


def test_the_very_wish_that_was_confirmed_is_applied_not_stale() -> None:
    asked = intent(3, "create")
    known = confirmed(fold([asked]).target, NOTHING)
    assert fold([asked], known).lost == (LostIntent(asked, "applied", "a3"),)


@pytest.mark.parametrize("upsert", [True, False])
def test_a_modify_by_itself_asks_for_presence_only_as_an_upsert(upsert: bool) -> None:
    target = fold([intent(1, "modify", bestaetigung="gesendet")], upsert=upsert).target
    assert target
    assert target.presence is (True if upsert else None)
