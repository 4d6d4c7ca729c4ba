"""The fold: the latest wins, for presence and for each info key by itself, and nobody is forgotten (R6–R10)."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_values import CLEARED, CREATED, KNOWN, LATE_WISHES, LATER, WISHES, intent
from worker.planner.fold import (
    NEVER,
    NOTHING,
    ConfirmedState,
    Intent,
    JobVersion,
    Target,
    Version,
    confirm,
    fold,
    overtaken,
)

SHUFFLED = WISHES.flatmap(lambda intents: st.tuples(st.just(intents), st.permutations(intents)))
UPSERT = st.booleans()


class End(NamedTuple):
    """How a relation ends, and by whose word."""

    presence: bool | None
    decisive: JobVersion
    info: dict[str, tuple[str, JobVersion]]


def history(intents: list[Intent], known: ConfirmedState, cleared: JobVersion, *, upsert: bool) -> End:
    """The naive way: live through everything that was wished or confirmed, from the oldest to the newest."""
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
    asked = {intent.job_version for intent in intents}
    linked = [
        intent for intent in intents if intent.action == "create" or (upsert and intent.action == "modify")
    ]
    unlinked = max(
        [known.absent, cleared, *(intent.job_version for intent in intents if intent.action == "delete")]
    )
    if any(
        intent.job_version > unlinked for intent in linked
    ):  # what an older unlink took away comes back with the link
        asked |= {was.job_version for was in known.info.values() if was.removed}
    changed = decisive in {intent.job_version for intent in intents}
    return End(
        presence if changed else None,
        decisive if changed else NEVER,
        {key: (value, mark) for key, (value, mark) in info.items() if mark in asked},
    )


def end(target: Target | None) -> End:
    if target is None:
        return End(None, NEVER, {})
    return End(target.presence, target.decisive, {key: (value, mark) for key, value, mark in target.info})


def confirmed(target: Target | None, known: ConfirmedState) -> ConfirmedState:
    """The memory once the API has said yes to all of it."""
    return confirm(target, known, presence=True, keys=dict(target.patch)) if target else known


def counting(known: ConfirmedState) -> tuple[JobVersion, JobVersion, dict[str, JobVersion]]:
    """The part of a memory that decides anything: marks of info that an unlink made void are just not tidied away."""
    return (
        known.presence,
        known.absent,
        {key: was.job_version for key, was in known.info.items() if was.job_version > known.absent},
    )


@given(WISHES, KNOWN, CLEARED, UPSERT)
def test_the_latest_wins_for_presence_and_for_each_info_key_by_itself(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    folded = fold(intents, known, cleared=cleared, upsert=upsert)
    assert end(folded.target) == history(intents, known, cleared, upsert=upsert)


@given(SHUFFLED, KNOWN, CLEARED, UPSERT)
def test_order_of_arrival_makes_no_difference(
    cases: tuple[list[Intent], list[Intent]], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    intents, shuffled = cases
    assert fold(shuffled, known, cleared=cleared, upsert=upsert) == fold(
        intents, known, cleared=cleared, upsert=upsert
    )


@given(WISHES, KNOWN, CLEARED, UPSERT)
def test_a_wish_that_comes_twice_counts_once(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    assert fold(intents + intents, known, cleared=cleared, upsert=upsert) == fold(
        intents, known, cleared=cleared, upsert=upsert
    )


@given(WISHES, UPSERT)
def test_the_short_way_of_a_lonely_wish_ends_where_the_long_way_does(
    intents: list[Intent], upsert: bool
) -> None:
    assert fold(intents[:1], upsert=upsert) == fold(intents[:1] * 2, upsert=upsert)


@given(WISHES, KNOWN, CLEARED, UPSERT)
def test_folding_what_was_folded_changes_nothing(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    target = fold(intents, known, cleared=cleared, upsert=upsert).target
    if target:
        again = fold(target.intents, known, cleared=target.cleared, upsert=upsert)
        assert (again.target, again.lost) == (target, ())


@given(WISHES, KNOWN, CLEARED, UPSERT)
def test_every_wish_is_either_in_the_target_or_lost_never_both(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    folded = fold(intents, known, cleared=cleared, upsert=upsert)
    kept = folded.target.intents if folded.target else ()
    assert sorted([*kept, *(lost.intent for lost in folded.lost)]) == sorted(intents)


@given(WISHES, KNOWN, CLEARED, UPSERT)
def test_whoever_lost_is_told_a_newer_job_and_whether_the_api_had_confirmed_it(
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


@given(WISHES, KNOWN, CLEARED, UPSERT)
def test_the_wishes_behind_a_target_agree_with_it(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    target = fold(intents, known, cleared=cleared, upsert=upsert).target
    asks = {"create": True, "delete": False, "modify": True if upsert else None}
    if target:
        deciding = {mark for _, _, mark in target.info}
        brought_back = deciding - {
            each.job_version for each in intents
        }  # what a delete that came late had taken away
        agreeing = {
            each.job_version
            for each in target.intents
            if target.presence is not None and asks[each.action] is target.presence
        }
        behind = {each.job_version for each in target.intents}
        assert behind >= agreeing | (deciding - brought_back)
        assert behind == agreeing | deciding or brought_back


@given(WISHES, KNOWN, CLEARED, UPSERT)
def test_what_the_api_confirmed_asks_for_nothing_more(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    target = fold(intents, known, cleared=cleared, upsert=upsert).target
    folded = fold(intents, confirmed(target, known), cleared=cleared, upsert=upsert)
    assert folded.target is None
    assert sorted(lost.intent for lost in folded.lost) == sorted(intents)


@given(WISHES, KNOWN, CLEARED, UPSERT)
def test_confirming_presence_leaves_just_the_info(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    target = fold(intents, known, cleared=cleared, upsert=upsert).target
    if target:
        left = fold(
            target.intents, confirm(target, known, presence=True), cleared=target.cleared, upsert=upsert
        ).target
        assert end(left) == End(None, NEVER, end(target).info)


@given(WISHES, KNOWN, CLEARED, UPSERT)
def test_an_unconfirmed_target_leaves_the_memory_alone(
    intents: list[Intent], known: ConfirmedState, cleared: JobVersion, upsert: bool
) -> None:
    target = fold(intents, known, cleared=cleared, upsert=upsert).target
    assert target is None or confirm(target, known, presence=False) == known


@given(WISHES, LATE_WISHES, KNOWN, UPSERT)
def test_wishes_that_join_an_open_target_end_where_one_fold_of_all_ends(
    some: list[Intent], others: list[Intent], known: ConfirmedState, upsert: bool
) -> None:
    """Presence, info and whose word they are are equal; more wishes may stand behind the target, since turns were folded away."""
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


@given(WISHES, LATE_WISHES, UPSERT)
def test_wishes_that_come_after_the_api_confirmed_the_first_end_in_the_same_memory(
    some: list[Intent], others: list[Intent], upsert: bool
) -> None:
    """The same in what counts: the newest mark of presence, and those of the info that is newer than the newest unlink."""
    split = NOTHING
    for window in (some, others):
        folded = fold(window, split, upsert=upsert)
        split = overtaken(confirmed(folded.target, split), folded.cleared)
    assert counting(split) == counting(confirmed(fold(some + others, upsert=upsert).target, NOTHING))


@given(WISHES, KNOWN)
def test_an_upsert_is_a_create_in_all_but_its_name(intents: list[Intent], known: ConfirmedState) -> None:
    created = [each._replace(action="create") if each.action == "modify" else each for each in intents]
    assert end(fold(intents, known, upsert=True).target) == end(fold(created, known).target)


def test_link_then_unlink_is_not_nothing_but_an_unlink() -> None:
    folded = fold([intent(1, "create"), intent(2, "delete")])
    assert folded.target
    assert folded.target.presence is False
    assert [(lost.intent.job, lost.result, lost.by) for lost in folded.lost] == [("a1", "superseded", "a2")]


def test_two_links_stand_behind_one_target_together() -> None:
    folded = fold([intent(1, "create"), intent(2, "create")])
    assert folded.target
    assert ([each.job for each in folded.target.intents], folded.lost) == (["a1", "a2"], ())


def test_a_link_and_its_confirmation_are_one_target() -> None:
    target = fold([intent(1, "create"), intent(2, "modify", bestaetigung="bestätigt")]).target
    assert target
    assert (target.presence, target.patch) == (True, ((CREATED, "bestätigt"),))


def test_a_modify_that_is_older_than_the_unlink_it_meets_is_superseded_by_it() -> None:
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


def test_a_late_unlink_is_stale_and_names_the_link_that_was_confirmed() -> None:
    known = ConfirmedState(present=JobVersion(Version(5, 0), "winner"))
    assert fold([intent(3, "delete")], known).lost == ((intent(3, "delete"), "stale", "winner"),)


def test_the_very_wish_that_was_confirmed_is_applied_not_stale() -> None:
    asked = intent(3, "create")
    known = confirmed(fold([asked]).target, NOTHING)
    assert fold([asked], known).lost == ((asked, "applied", "a3"),)


@pytest.mark.parametrize("upsert", [True, False])
def test_a_modify_by_itself_asks_for_presence_only_as_an_upsert(upsert: bool) -> None:
    target = fold([intent(1, "modify", bestaetigung="gesendet")], upsert=upsert).target
    assert target
    assert target.presence is (True if upsert else None)
