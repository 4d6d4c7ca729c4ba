"""What replies change: one outcome per intent, and no write that a read should come before."""

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_rounds import DOUBT, LOST, OK, Crm, FlushLoop, refused
from tests.support.planner_values import BURSTS, CREATED, LATER, LINK, RELATIONS, intent
from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Action, ActionResult, ErrorClass, Reply, Request, Verdict
from worker.planner.apply_reply import Effects, ReplyContext, apply_lost_request, apply_reply
from worker.planner.fold import ConfirmedState, Intent, JobVersion, Version
from worker.planner.plan import Limits, plan
from worker.planner.relation_state import Doubt, Stage
from worker.planner.retry_policy import RetryPolicy

NO_RECORD, AMBIGUOUS = refused(ErrorClass.RECORD, 79), refused(ErrorClass.AMBIGUOUS, 168)


def loop_with(*intents: Intent, send: Callable[[Action], ActionResult], upsert: bool = False) -> FlushLoop:
    loop = FlushLoop(send, RetryPolicy(max_attempts=4, give_up_after=60.0, backoff=(1.0, 8.0), upsert=upsert))
    loop.add_intents({LINK: intents})
    return loop


# --- exactly one outcome

OUTCOMES = st.builds(ActionResult, st.sampled_from(Verdict), st.integers(0, 400), st.sampled_from(ErrorClass))
SCRIPTS = st.lists(OUTCOMES, max_size=24)
RELATED = st.dictionaries(st.sampled_from((7, 8, 41, 42)), st.frozensets(st.sampled_from((7, 8, 41, 42))))


class Scripted:
    """Answers from a list, then OK to everything; reads show whatever was drawn for them."""

    def __init__(self, outcomes: list[ActionResult], related: list[dict[int, frozenset[int]]]) -> None:
        self.outcomes, self.related = iter(outcomes), iter(related)

    def __call__(self, action: Action) -> ActionResult:
        outcome = next(self.outcomes, OK)
        if action.kind == "get" and outcome.verdict is Verdict.OK:
            return ActionResult(Verdict.OK, related=next(self.related, {}))
        return outcome


@given(BURSTS, SCRIPTS, st.lists(RELATED, max_size=4), st.integers(1, 3), st.booleans())
def test_every_intent_is_open_or_has_one_outcome_after_any_reply_and_all_have_in_the_end(
    burst: dict[Relation, list[Intent]],
    outcomes: list[ActionResult],
    related: list[dict[int, frozenset[int]]],
    most: int,
    upsert: bool,
) -> None:
    loop = FlushLoop(
        Scripted(outcomes, related),
        RetryPolicy(max_attempts=4, upsert=upsert),
        Limits(max_ids=most, max_actions=3),
    )
    loop.add_intents(burst)
    wanted = {(one.job, relation) for relation, intents in burst.items() for one in intents}
    while loop.states:
        unsettled = [
            (one.job, relation) for relation, state in loop.states.items() for one in state.open.intents
        ]
        assert Counter(unsettled + [(outcome.job, outcome.relation) for outcome in loop.outcomes]) == Counter(
            wanted
        )
        assert all(state.open.intents == state.target.intents for state in loop.states.values())
        loop.run_round()
    assert Counter((outcome.job, outcome.relation) for outcome in loop.outcomes) == Counter(wanted)


@given(BURSTS, SCRIPTS, st.booleans())
def test_an_outcome_says_why(
    burst: dict[Relation, list[Intent]], outcomes: list[ActionResult], upsert: bool
) -> None:
    loop = FlushLoop(Scripted(outcomes, []), RetryPolicy(max_attempts=4, upsert=upsert))
    loop.add_intents(burst)
    loop.run()
    jobs = {one.job for intents in burst.values() for one in intents}
    for outcome in loop.outcomes:
        assert (outcome.result == "failed") is (outcome.refusal is not None)
        assert (outcome.result in ("superseded", "stale")) is (outcome.by in jobs - {outcome.job})


@pytest.mark.parametrize("error", sorted(set(ErrorClass) - {ErrorClass.CREDENTIALS, ErrorClass.CLOCK}))
@pytest.mark.parametrize("action", ["create", "modify", "upsert", "late upsert", "delete"])
@pytest.mark.parametrize(
    "shows", [{7: frozenset({42})}, {7: frozenset[int]()}, {}], ids=["there", "gone", "nothing"]
)
def test_an_api_that_rejects_everything_is_believed_after_a_bounded_number_of_requests(
    action: str, error: ErrorClass, shows: dict[int, frozenset[int]]
) -> None:
    wanted = (
        intent(3, "delete")
        if action == "delete"
        else intent(3, "create")
        if action == "create"
        else intent(3, "modify", bestaetigung="a")
    )
    loop = FlushLoop(
        lambda sent: ActionResult(Verdict.OK, related=shows) if sent.kind == "get" else refused(error),
        RetryPolicy(max_attempts=4, upsert="upsert" in action),
    )
    if action == "late upsert":
        loop.confirmed[LINK] = ConfirmedState(present=JobVersion(Version(9, 0), "newer")), None
    loop.add_intents({LINK: [wanted]})
    loop.run(most=40)
    assert not loop.states
    assert [outcome.job for outcome in loop.outcomes] == ["a3"]


@pytest.mark.parametrize(
    "no_answer", [LOST, ActionResult(Verdict.NOT_SENT)], ids=lambda outcome: outcome.verdict
)
@pytest.mark.parametrize(
    "wanted",
    [intent(3, "create"), intent(3, "modify", bestaetigung="a"), intent(3, "delete")],
    ids=lambda one: one.action,
)
def test_an_api_that_never_answers_is_tried_ever_more_rarely_and_given_up_on_by_age(
    no_answer: ActionResult, wanted: Intent
) -> None:
    loop = loop_with(wanted, send=lambda _: no_answer)
    times = []
    while loop.states:
        loop.run_round()
        times.append(loop.now)
    waits = [after - before - SECOND for before, after in pairwise(times)]
    assert waits[:5] == [
        SECOND // 2,
        SECOND,
        2 * SECOND,
        4 * SECOND,
        4 * SECOND,
    ]  # half of 1, 2, 4, 8, then of the longest, 8
    assert 60 < loop.now / SECOND < 70
    assert loop.results(LINK) == {"a3": "failed"}


def test_a_definite_answer_makes_the_next_wait_short_again() -> None:
    there = ActionResult(Verdict.OK, related={7: frozenset({42})})
    answers = iter([LOST, LOST, LOST, there, LOST])
    loop = loop_with(intent(1, "delete"), send=lambda _: next(answers, OK))
    for _ in range(5):
        loop.run_round()
    assert loop.states[LINK].open.not_before - loop.now == SECOND // 2


# --- a merged target that fails for good is tried once more without its newest intent (R9)


def test_a_merged_target_that_is_rejected_is_tried_once_more_without_its_newest_intent() -> None:
    loop = loop_with(
        intent(1, "modify", bestaetigung="a"),
        intent(2, "modify", rueckmeldung="wrong"),
        send=lambda action: refused(ErrorClass.SHAPE) if (LATER, "wrong") in action.info else OK,
    )
    loop.run()
    assert loop.results(LINK) == {"a2": "failed", "a1": "applied"}
    assert [action.info for action in loop.actions()] == [
        ((CREATED, "a"), (LATER, "wrong")),
        ((CREATED, "a"),),
    ]


def test_a_merged_target_is_tried_without_its_newest_intent_only_once() -> None:
    intents = (
        intent(0, "create"),
        intent(1, "modify", bestaetigung="a"),
        intent(2, "modify", rueckmeldung="b"),
    )
    loop = loop_with(*intents, send=lambda _: refused(ErrorClass.SHAPE))
    loop.run()
    assert loop.results(LINK) == {"a2": "failed", "a0": "failed", "a1": "failed"}
    assert len(loop.sent) == 2


def test_intents_that_ask_for_the_very_same_fail_together_at_once() -> None:
    loop = loop_with(intent(1, "create"), intent(2, "create"), send=lambda _: NO_RECORD)
    loop.run()
    assert loop.results(LINK) == {"a1": "failed", "a2": "failed"}
    assert len(loop.sent) == 1


def test_what_was_linked_stays_applied_when_its_confirmation_fails() -> None:
    loop = loop_with(
        intent(1, "create"),
        intent(2, "modify", bestaetigung="a"),
        send=lambda action: refused(ErrorClass.RIGHTS) if action.kind == "modify" else OK,
    )
    loop.run()
    assert loop.results(LINK) == {"a1": "applied", "a2": "failed"}


# --- info and creates (R13), reading back (R14, R15)


@given(BURSTS, SCRIPTS, st.lists(RELATED, max_size=4), st.booleans())
def test_a_create_carries_only_confirmations_and_only_if_the_last_answer_showed_the_relation_absent(
    burst: dict[Relation, list[Intent]],
    outcomes: list[ActionResult],
    related: list[dict[int, frozenset[int]]],
    upsert: bool,
) -> None:
    absent: dict[Relation, bool] = defaultdict(bool)
    script = Scripted(outcomes, related)

    def send(action: Action) -> ActionResult:
        outcome = script(action)
        for relation in action.relations:
            if action.kind == "create":
                assert set(dict(action.info)) <= ({CREATED} if absent[relation] else set())
            elif (
                action.kind == "modify"
                and outcome.verdict is Verdict.REJECTED
                and outcome.error is ErrorClass.ABSENT
            ):
                absent[relation] = len(action.relations) == 1
            elif action.kind == "get" and outcome.verdict is Verdict.OK:
                one, other = (
                    (relation.parent, relation.child) if action.parents else (relation.child, relation.parent)
                )
                absent[relation] = other not in outcome.related.get(one, {other})
        return outcome

    loop = FlushLoop(send, RetryPolicy(max_attempts=4, upsert=upsert))
    loop.add_intents(burst)
    loop.run()


def test_a_lost_create_is_read_back_and_found() -> None:
    crm = Crm()
    answers = iter([LOST])

    def send(action: Action) -> ActionResult:
        outcome = crm.answer(action)
        return next(answers, outcome)

    loop = loop_with(intent(1, "create"), send=send)
    loop.run()
    assert [action.kind for action in loop.actions()] == ["create", "get"]
    assert loop.results(LINK) == {"a1": "applied"}


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
def test_a_lost_delete_is_done_only_if_the_asked_id_is_in_the_answer_without_it(
    shows: dict[int, frozenset[int]], kinds: list[str]
) -> None:
    answers = iter([LOST, ActionResult(Verdict.OK, related=shows)])
    loop = loop_with(intent(1, "delete"), send=lambda _: next(answers, OK))
    loop.run()
    assert [action.kind for action in loop.actions()] == kinds
    assert loop.results(LINK) == {"a1": "applied"}


def test_a_rejected_delete_of_a_relation_that_no_read_shows_is_applied() -> None:
    loop = loop_with(intent(1, "delete"), send=Crm(keys=False).answer)
    loop.run()
    assert [action.kind for action in loop.actions()] == ["delete", "get"]
    assert loop.results(LINK) == {"a1": "applied"}


def test_a_rejected_delete_is_not_applied_because_the_read_cannot_be_read() -> None:
    odd, there = (
        ActionResult(Verdict.OK, unreadable=frozenset({7})),
        ActionResult(Verdict.OK, related={7: frozenset({42})}),
    )
    answers = iter([NO_RECORD, odd, odd, there])
    loop = loop_with(intent(1, "delete"), send=lambda _: next(answers))
    loop.run()
    assert [action.kind for action in loop.actions()] == ["delete", "get", "get", "get"]
    assert loop.results(LINK) == {"a1": "failed"}


def test_a_lost_read_does_not_make_an_ambiguous_refusal_a_final_one() -> None:
    answers = iter([AMBIGUOUS, LOST, ActionResult(Verdict.OK, related={7: frozenset()})])
    loop = loop_with(intent(1, "create"), send=lambda _: next(answers, OK))
    loop.run()
    assert [action.kind for action in loop.actions()] == ["create", "get", "get", "create"]
    assert loop.results(LINK) == {"a1": "applied"}


def test_a_delete_waits_until_a_lost_create_can_no_longer_land() -> None:
    answers = iter([LOST])
    loop = loop_with(intent(1, "create"), send=lambda _: next(answers, OK))
    loop.run_round()
    loop.add_intents({LINK: [intent(2, "delete")]})
    loop.next_operations()
    assert loop.now == round(DOUBT * SECOND)


def test_info_in_doubt_is_remembered_when_a_second_write_is_lost() -> None:
    answers = iter([LOST, OK, LOST])
    loop = loop_with(intent(1, "modify", bestaetigung="a"), send=lambda _: next(answers, OK))
    loop.run()
    loop.add_intents({LINK: [intent(2, "modify", rueckmeldung="a")]})
    loop.run_round()
    loop.add_intents({LINK: [intent(3, "modify", bestaetigung="b")]})
    loop.next_operations()
    assert loop.now >= round(DOUBT * SECOND)


def test_a_request_whose_sender_died_leaves_its_writes_in_doubt() -> None:
    loop = FlushLoop(lambda _: OK)
    loop.add_intents(
        {
            RELATIONS[0]: [intent(1, "create")],
            RELATIONS[1]: [intent(1, "delete")],
            RELATIONS[2]: [intent(1, "modify", bestaetigung="a")],
        }
    )
    (request,) = plan(loop.next_operations(), loop.limits, lambda _: "free").requests
    effects = apply_lost_request(
        loop.states, request, ReplyContext(5 * SECOND, 9 * SECOND, DOUBT, loop.retry, lambda: 0.5)
    )
    until = round((5 + DOUBT) * SECOND)
    kinds = {relation: doubt for relation, (_, doubt) in effects.confirmed.items()}
    assert kinds == {
        RELATIONS[0]: Doubt(until, "create"),
        RELATIONS[1]: Doubt(until, "delete"),
        RELATIONS[2]: Doubt(until, "modify", ((CREATED, "a"),)),
    }
    stages = {relation: state.open.stage for relation, state in effects.states.items() if state}
    assert list(map(stages.get, RELATIONS[:3])) == [Stage.READ_BACK, Stage.READ_BACK, Stage.WRITE]
    # What kills a worker has to be found in the order in which it was sent, so nothing of it waits (R21).
    at_once = 9 * SECOND + 1
    assert {state.open.not_before < at_once for state in effects.states.values() if state} == {True}
    assert effects.outcomes == []


def test_answers_about_relations_that_were_settled_before_change_nothing() -> None:
    request = Request(
        (Action("create", LINK.type, (7,), (41, 42)), Action("get", LINK.type, (7,), (), asked=(LINK,)))
    )
    effects = apply_reply({}, request, Reply((OK, OK)), ReplyContext(0, 0, DOUBT, RetryPolicy(), lambda: 0.5))
    assert effects == Effects()


@pytest.mark.parametrize("error", [ErrorClass.CREDENTIALS, ErrorClass.CLOCK])
@pytest.mark.parametrize("kind", ["create", "delete", "get"])
def test_an_account_at_fault_leaves_its_relations_as_they_are(error: ErrorClass, kind: str) -> None:
    loop = loop_with(intent(1, "delete" if kind == "delete" else "create"), send=lambda _: refused(error))
    loop.states[LINK] = loop.states[LINK].with_progress(
        stage=Stage.READ_BACK if kind == "get" else Stage.WRITE
    )
    before = dict(loop.states)
    loop.run_round()
    assert loop.states == before
    assert [action.kind for action in loop.actions()] == [kind]
