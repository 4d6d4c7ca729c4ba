"""What answers change: one outcome per wish whatever comes back, one bad id that hurts only itself, and an end as the newest wishes say."""

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from math import ceil, log2

import pytest
from asking import CREATED, LATE_WISHES, LATER, LINK, WISHES, wish
from hypothesis import given
from hypothesis import strategies as st
from rounds import DOUBT, LOST, OK, Crm, Desk, refused

from worker.contract import Relation
from worker.planner.answer import Effects, Moment, answer, lose
from worker.planner.case import Doubt
from worker.planner.fold import Known, Mark, Version, Wish
from worker.planner.plan import Limits, plan
from worker.planner.retry import SECOND, Patience
from worker.planner.values import Action, ErrorClass, Outcome, Reply, Request, Verdict

BUYERS = [Relation("estate:address:buyer", 501, 9000 + number) for number in range(500)]
RELATIONS = [Relation("calendar:address", parent, child) for parent in (7, 8) for child in (41, 42)]
NO_RECORD, AMBIGUOUS = refused(ErrorClass.RECORD, 79), refused(ErrorClass.AMBIGUOUS, 168)
ENDURING = Patience(max_attempts=50)


def linked(relations: list[Relation]) -> dict[Relation, list[Wish]]:
    """One job per relation."""
    return {each: [Wish(Version(1, number), f"job-{number}", "create")] for number, each in enumerate(relations)}


def asked(*wishes: Wish, send: Callable[[Action], Outcome], upsert: bool = False) -> Desk:
    desk = Desk(send, Patience(max_attempts=4, give_up_after=60.0, backoff=(1.0, 8.0), upsert=upsert))
    desk.enter({LINK: wishes})
    return desk


# --- exactly one outcome

OUTCOMES = st.builds(Outcome, st.sampled_from(Verdict), st.integers(0, 400), st.sampled_from(ErrorClass))
SCRIPTS = st.lists(OUTCOMES, max_size=24)
RELATED = st.dictionaries(st.sampled_from((7, 8, 41, 42)), st.frozensets(st.sampled_from((7, 8, 41, 42))))
BURSTS = st.fixed_dictionaries(dict.fromkeys(RELATIONS, WISHES))


class Scripted:
    """Answers from a list, then yes to everything; reads show whatever was drawn for them."""

    def __init__(self, outcomes: list[Outcome], related: list[dict[int, frozenset[int]]]) -> None:
        self.outcomes, self.related = iter(outcomes), iter(related)

    def __call__(self, action: Action) -> Outcome:
        outcome = next(self.outcomes, OK)
        if action.kind == "get" and outcome.verdict is Verdict.OK:
            return Outcome(Verdict.OK, related=next(self.related, {}))
        return outcome


@given(BURSTS, SCRIPTS, st.lists(RELATED, max_size=4), st.integers(1, 3), st.booleans())
def test_every_wish_is_open_or_has_one_outcome_after_any_answer_and_at_last_all_have(
    burst: dict[Relation, list[Wish]], outcomes: list[Outcome], related: list[dict[int, frozenset[int]]], most: int, upsert: bool
) -> None:
    desk = Desk(Scripted(outcomes, related), Patience(max_attempts=4, upsert=upsert), Limits(max_ids=most, max_actions=3))
    desk.enter(burst)
    wanted = {(each.job, relation) for relation, wishes in burst.items() for each in wishes}
    while desk.cases:
        held = [(each.job, relation) for relation, case in desk.cases.items() for each in case.open.wishes]
        assert Counter(held + [(each.job, each.relation) for each in desk.settled]) == Counter(wanted)
        assert all(case.open.wishes == case.target.wishes for case in desk.cases.values())
        desk.round()
    assert Counter((each.job, each.relation) for each in desk.settled) == Counter(wanted)


@given(BURSTS, SCRIPTS, st.booleans())
def test_an_outcome_says_why(burst: dict[Relation, list[Wish]], outcomes: list[Outcome], upsert: bool) -> None:
    desk = Desk(Scripted(outcomes, []), Patience(max_attempts=4, upsert=upsert))
    desk.enter(burst)
    desk.work()
    jobs = {each.job for wishes in burst.values() for each in wishes}
    for each in desk.settled:
        assert (each.result == "failed") is (each.refusal is not None)
        assert (each.result in ("superseded", "stale")) is (each.by in jobs - {each.job})


@pytest.mark.parametrize("error", sorted(set(ErrorClass) - {ErrorClass.CREDENTIALS, ErrorClass.CLOCK}))
@pytest.mark.parametrize("action", ["create", "modify", "upsert", "late upsert", "delete"])
@pytest.mark.parametrize("shows", [{7: frozenset({42})}, {7: frozenset[int]()}, {}], ids=["there", "gone", "nothing"])
def test_an_api_that_says_no_is_believed_after_a_bounded_number_of_requests(
    action: str, error: ErrorClass, shows: dict[int, frozenset[int]]
) -> None:
    wanted = wish(3, "delete") if action == "delete" else wish(3, "create") if action == "create" else wish(3, "modify", bestaetigung="a")
    desk = Desk(
        lambda sent: Outcome(Verdict.OK, related=shows) if sent.kind == "get" else refused(error),
        Patience(max_attempts=4, upsert="upsert" in action),
    )
    if action == "late upsert":
        desk.known[LINK] = Known(present=Mark(Version(9, 0), "newer")), None
    desk.enter({LINK: [wanted]})
    desk.work(most=40)
    assert not desk.cases
    assert [each.job for each in desk.settled] == ["a3"]


@pytest.mark.parametrize("silence", [LOST, Outcome(Verdict.NOT_SENT)], ids=lambda outcome: outcome.verdict)
@pytest.mark.parametrize("asks", [wish(3, "create"), wish(3, "modify", bestaetigung="a"), wish(3, "delete")], ids=lambda each: each.action)
def test_an_api_that_says_nothing_is_asked_ever_more_rarely_and_given_up_on_by_age(silence: Outcome, asks: Wish) -> None:
    desk = asked(asks, send=lambda _: silence)
    moments = []
    while desk.cases:
        desk.round()
        moments.append(desk.now)
    waits = [after - before - SECOND for before, after in pairwise(moments)]
    assert waits[:5] == [SECOND // 2, SECOND, 2 * SECOND, 4 * SECOND, 4 * SECOND]  # a draw of one half of 1, 2, 4, then the longest, 8
    assert 60 < desk.now / SECOND < 70
    assert desk.results(LINK) == {"a3": "failed"}


def test_a_definite_answer_makes_the_next_wait_short_again() -> None:
    there = Outcome(Verdict.OK, related={7: frozenset({42})})
    answers = iter([LOST, LOST, LOST, there, LOST])
    desk = asked(wish(1, "delete"), send=lambda _: next(answers, OK))
    for _ in range(5):
        desk.round()
    assert desk.cases[LINK].open.not_before - desk.now == SECOND // 2


# --- one bad id hurts only itself (R16)


@pytest.mark.parametrize("atomic", [True, False], ids=["nothing done", "the rest done"])
@pytest.mark.parametrize("at", [0, 1, 249, 250, 373, 498, 499])
def test_one_bad_id_in_a_star_of_500_fails_alone_and_costs_two_requests_per_halving_at_most(at: int, atomic: bool) -> None:
    crm = Crm(bad=[BUYERS[at]], atomic=atomic)
    desk = Desk(crm.answer)
    desk.enter(linked(BUYERS))
    desk.work()
    assert {each.job for each in desk.settled if each.result == "failed"} == {f"job-{at}"}
    assert crm.relations.keys() == set(BUYERS) - {BUYERS[at]}
    assert len(desk.sent) - 1 <= 2 * ceil(log2(500))


@given(st.sets(st.integers(0, 39)), st.integers(1, 40), st.booleans(), st.booleans(), st.sampled_from((ErrorClass.RECORD, ErrorClass.STAR)))
def test_any_bad_ids_fail_alone_within_two_rounds_per_halving(
    bad: set[int], size: int, atomic: bool, keys: bool, error: ErrorClass
) -> None:
    star, wrong = BUYERS[:size], {BUYERS[each] for each in bad if each < size}
    crm = Crm(bad=wrong, atomic=atomic, error=error, keys=keys)
    desk = Desk(crm.answer)
    desk.enter(linked(star))
    desk.work()
    assert {each.relation for each in desk.settled if each.result == "failed"} == wrong
    assert crm.relations.keys() == set(star) - wrong
    assert desk.rounds <= 1 + 2 * ceil(log2(max(2, size)))


@pytest.mark.parametrize("upsert", [True, False])
def test_a_bad_id_among_modifies_is_found_without_a_read(upsert: bool) -> None:
    crm = Crm(bad=[BUYERS[5]])
    crm.relations = {each: {} for each in BUYERS[:16]}
    desk = Desk(crm.answer, Patience(upsert=upsert))
    desk.enter({each: [Wish(Version(1, 0), "confirm", "modify", ((CREATED, "a"),))] for each in BUYERS[:16]})
    desk.work()
    assert [each.relation for each in desk.settled if each.result == "failed"] == [BUYERS[5]]
    assert {action.kind for action in desk.actions()} == {"modify"}
    assert all(crm.relations[each] == {CREATED: "a"} for each in BUYERS[:16] if each != BUYERS[5])


def test_a_star_of_which_the_rest_was_done_is_read_back_and_only_the_bad_id_is_sent_again() -> None:
    desk = Desk(Crm(bad=[BUYERS[5]], atomic=False).answer)
    desk.enter(linked(BUYERS[:16]))
    desk.work()
    assert [(action.kind, len(action.children)) for action in desk.actions()] == [("create", 16), ("get", 0), ("create", 1)]


def test_two_bad_ids_in_different_halves_send_everyone_alone() -> None:
    crm = Crm(bad=[BUYERS[0], BUYERS[15]])
    desk = Desk(crm.answer)
    desk.enter(linked(BUYERS[:16]))
    desk.work()
    writes = [len(action.children) for action in desk.actions() if action.kind == "create"]
    assert writes == [16, 8, 8] + [1] * 16


def test_a_star_that_breaks_the_answer_is_split_after_three_losses() -> None:
    crm = Crm()
    desk = Desk(lambda action: LOST if action.kind == "create" and BUYERS[3] in action.relations else crm.answer(action))
    desk.enter(linked(BUYERS[:8]))
    while len(desk.cases) > 1:
        desk.round()
    assert set(desk.cases) == {BUYERS[3]}
    assert crm.relations.keys() == set(BUYERS[:8]) - {BUYERS[3]}
    writes = [len(action.children) for action in desk.actions() if action.kind == "create"]
    assert writes[:5] == [8, 8, 8, 4, 4]


# --- a merged target that fails for good is tried once more without its newest wish (R9)


def test_a_merged_target_that_is_refused_goes_again_without_its_newest_wish() -> None:
    desk = asked(
        wish(1, "modify", bestaetigung="a"),
        wish(2, "modify", rueckmeldung="wrong"),
        send=lambda action: refused(ErrorClass.SHAPE) if (LATER, "wrong") in action.info else OK,
    )
    desk.work()
    assert desk.results(LINK) == {"a2": "failed", "a1": "applied"}
    assert [action.info for action in desk.actions()] == [((CREATED, "a"), (LATER, "wrong")), ((CREATED, "a"),)]


def test_it_is_tried_without_its_newest_wish_once_and_not_again() -> None:
    wishes = wish(0, "create"), wish(1, "modify", bestaetigung="a"), wish(2, "modify", rueckmeldung="b")
    desk = asked(*wishes, send=lambda _: refused(ErrorClass.SHAPE))
    desk.work()
    assert desk.results(LINK) == {"a2": "failed", "a0": "failed", "a1": "failed"}
    assert len(desk.sent) == 2


def test_wishes_that_ask_for_the_very_same_fail_together_at_once() -> None:
    desk = asked(wish(1, "create"), wish(2, "create"), send=lambda _: NO_RECORD)
    desk.work()
    assert desk.results(LINK) == {"a1": "failed", "a2": "failed"}
    assert len(desk.sent) == 1


def test_what_was_linked_stays_applied_when_its_confirmation_fails() -> None:
    desk = asked(
        wish(1, "create"),
        wish(2, "modify", bestaetigung="a"),
        send=lambda action: refused(ErrorClass.RIGHTS) if action.kind == "modify" else OK,
    )
    desk.work()
    assert desk.results(LINK) == {"a1": "applied", "a2": "failed"}


# --- info and creates (R13), reading back (R14, R15)


@given(BURSTS, SCRIPTS, st.lists(RELATED, max_size=4), st.booleans())
def test_a_create_carries_only_confirmations_and_only_if_the_last_word_was_that_the_relation_is_absent(
    burst: dict[Relation, list[Wish]], outcomes: list[Outcome], related: list[dict[int, frozenset[int]]], upsert: bool
) -> None:
    absent: dict[Relation, bool] = defaultdict(bool)
    script = Scripted(outcomes, related)

    def send(action: Action) -> Outcome:
        outcome = script(action)
        for relation in action.relations:
            if action.kind == "create":
                assert set(dict(action.info)) <= ({CREATED} if absent[relation] else set())
            elif action.kind == "modify" and outcome.verdict is Verdict.REJECTED and outcome.error is ErrorClass.ABSENT:
                absent[relation] = len(action.relations) == 1
            elif action.kind == "get" and outcome.verdict is Verdict.OK:
                one, other = (relation.parent, relation.child) if action.parents else (relation.child, relation.parent)
                absent[relation] = other not in outcome.related.get(one, {other})
        return outcome

    desk = Desk(send, Patience(max_attempts=4, upsert=upsert))
    desk.enter(burst)
    desk.work()


def test_a_lost_link_is_read_back_and_found() -> None:
    crm = Crm()
    answers = iter([LOST])

    def send(action: Action) -> Outcome:
        outcome = crm.answer(action)
        return next(answers, outcome)

    desk = asked(wish(1, "create"), send=send)
    desk.work()
    assert [action.kind for action in desk.actions()] == ["create", "get"]
    assert desk.results(LINK) == {"a1": "applied"}


@pytest.mark.parametrize(
    ("shows", "kinds"),
    [
        ({7: frozenset({42})}, ["delete", "get", "delete"]),
        ({7: frozenset({41})}, ["delete", "get"]),
        ({7: frozenset[int]()}, ["delete", "get"]),
        ({8: frozenset({41})}, ["delete", "get", "delete"]),
        ({}, ["delete", "get", "delete"]),
    ],
    ids=["still there", "another there", "none there", "the id is missing", "no ids at all"],
)
def test_a_lost_unlink_is_done_only_if_the_asked_id_is_in_the_answer_without_it(shows: dict[int, frozenset[int]], kinds: list[str]) -> None:
    answers = iter([LOST, Outcome(Verdict.OK, related=shows)])
    desk = asked(wish(1, "delete"), send=lambda _: next(answers, OK))
    desk.work()
    assert [action.kind for action in desk.actions()] == kinds
    assert desk.results(LINK) == {"a1": "applied"}


def test_an_unlink_refused_for_a_relation_that_no_read_shows_is_applied() -> None:
    desk = asked(wish(1, "delete"), send=Crm(keys=False).answer)
    desk.work()
    assert [action.kind for action in desk.actions()] == ["delete", "get"]
    assert desk.results(LINK) == {"a1": "applied"}


def test_a_lost_read_does_not_make_an_ambiguous_refusal_a_final_one() -> None:
    answers = iter([AMBIGUOUS, LOST, Outcome(Verdict.OK, related={7: frozenset()})])
    desk = asked(wish(1, "create"), send=lambda _: next(answers, OK))
    desk.work()
    assert [action.kind for action in desk.actions()] == ["create", "get", "get", "create"]
    assert desk.results(LINK) == {"a1": "applied"}


def test_an_unlink_waits_until_a_lost_link_can_no_longer_land() -> None:
    answers = iter([LOST])
    desk = asked(wish(1, "create"), send=lambda _: next(answers, OK))
    desk.round()
    desk.enter({LINK: [wish(2, "delete")]})
    desk.wanted()
    assert desk.now == round(DOUBT * SECOND)


def test_info_in_doubt_is_remembered_when_a_second_write_is_lost() -> None:
    answers = iter([LOST, OK, LOST])
    desk = asked(wish(1, "modify", bestaetigung="a"), send=lambda _: next(answers, OK))
    desk.work()
    desk.enter({LINK: [wish(2, "modify", rueckmeldung="a")]})
    desk.round()
    desk.enter({LINK: [wish(3, "modify", bestaetigung="b")]})
    desk.wanted()
    assert desk.now >= round(DOUBT * SECOND)


def test_a_request_whose_sender_died_leaves_its_writes_in_doubt_and_its_reads_to_be_asked_again() -> None:
    desk = Desk(lambda _: OK)
    desk.enter({RELATIONS[0]: [wish(1, "create")], RELATIONS[1]: [wish(1, "delete")], RELATIONS[2]: [wish(1, "modify", bestaetigung="a")]})
    (request,) = plan(desk.wanted(), desk.limits, lambda _: "free").requests
    effects = lose(desk.cases, request, Moment(5 * SECOND, 9 * SECOND, DOUBT, desk.patience, lambda: 0.5))
    until = round((5 + DOUBT) * SECOND)
    kinds = {relation: doubt for relation, (_, doubt) in effects.known.items()}
    assert kinds == {
        RELATIONS[0]: Doubt(until, "create"),
        RELATIONS[1]: Doubt(until, "delete"),
        RELATIONS[2]: Doubt(until, "modify", ((CREATED, "a"),)),
    }
    verified = {relation: case.open.verify for relation, case in effects.cases.items() if case}
    assert verified == {RELATIONS[0]: True, RELATIONS[1]: True, RELATIONS[2]: False}
    assert effects.settled == []


def test_answers_about_relations_that_were_settled_before_change_nothing() -> None:
    request = Request((Action("create", LINK.type, (7,), (41, 42)), Action("get", LINK.type, (7,), (), asked=(LINK,))))
    effects = answer({}, request, Reply((OK, OK)), Moment(0, 0, DOUBT, Patience(), lambda: 0.5))
    assert effects == Effects()


@pytest.mark.parametrize("error", [ErrorClass.CREDENTIALS, ErrorClass.CLOCK])
@pytest.mark.parametrize("kind", ["create", "delete", "get"])
def test_an_account_at_fault_leaves_its_relations_as_they_are(error: ErrorClass, kind: str) -> None:
    desk = asked(wish(1, "delete" if kind == "delete" else "create"), send=lambda _: refused(error))
    desk.cases[LINK] = desk.cases[LINK].having(verify=kind == "get")
    before = dict(desk.cases)
    desk.round()
    assert desk.cases == before
    assert [action.kind for action in desk.actions()] == [kind]


# --- the end of it all (promise 2)

TROUBLE = ("fine", "lost undone", "lost but done", "half done and lost", "lands late", "not sent", "refused", "refused but done")


class Unreliable:
    """A CRM behind a bad line: what happens to each write stands in a script, then the line is good."""

    def __init__(self, crm: Crm, script: list[tuple[str, int]]) -> None:
        self.crm, self.script = crm, iter(script)
        self.late: list[tuple[int, Action]] = []
        self.now: Callable[[], int] = lambda: 0

    def __call__(self, action: Action) -> Outcome:
        self.land(self.now())
        trouble, seconds = next(self.script, ("fine", 0))
        if trouble == "not sent":
            return Outcome(Verdict.NOT_SENT)
        if action.kind == "get" or trouble == "fine":
            return LOST if trouble.startswith("lost") else self.crm.answer(action)
        if trouble == "lands late":
            self.late.append((self.now() + min(seconds, round(DOUBT) - 2) * SECOND, action))
        done = {"lost but done": action.relations, "refused but done": action.relations, "half done and lost": action.relations[::2]}
        for relation in done.get(trouble, ()):
            self.crm.write(action, relation)
        return AMBIGUOUS if trouble.startswith("refused") else LOST

    def land(self, now: int) -> None:
        for _, action in [each for each in self.late if each[0] <= now]:
            for relation in action.relations:
                self.crm.write(action, relation)
        self.late = [each for each in self.late if each[0] > now]


STORMS = st.lists(st.tuples(st.sampled_from(TROUBLE), st.integers(0, 200)), max_size=12)
LATE_BURSTS = st.fixed_dictionaries(dict.fromkeys(RELATIONS, LATE_WISHES))


@given(BURSTS, LATE_BURSTS, st.integers(0, 6), STORMS, st.booleans(), st.booleans())
def test_whatever_is_lost_or_late_the_crm_ends_as_the_newest_wishes_say(
    burst: dict[Relation, list[Wish]],
    later: dict[Relation, list[Wish]],
    rounds: int,
    script: list[tuple[str, int]],
    upsert: bool,
    keys: bool,
) -> None:
    line = Unreliable(Crm(keys=keys), script)
    desk = Desk(line, ENDURING._replace(upsert=upsert))
    line.now = lambda: desk.now
    desk.enter(burst)
    desk.work(most=rounds)
    desk.enter(later)
    desk.work()
    line.land(10**18)
    for relation in RELATIONS:
        there, info = newest([*burst[relation], *later[relation]], upsert=upsert)
        found = line.crm.relations.get(relation)
        assert (found is not None) is there
        assert found is None or info.items() <= found.items()
        failed = [each for each in desk.settled if each.relation == relation and each.result == "failed"]
        assert not failed or not there


def newest(wishes: list[Wish], *, upsert: bool) -> tuple[bool, dict[str, str]]:
    """Whether the relation ends up there, and the info that must be on it: one wish after the other, by time."""
    there, info = False, dict[str, str]()
    for each in sorted(wishes):
        there = each.action == "create" or (each.action == "modify" and (there or upsert))
        info = {} if each.action == "delete" else info | dict(each.info)
    return there, info
