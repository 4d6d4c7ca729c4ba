"""One bad id in a star hurts only itself, and costs few requests (R16)."""

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planner_rounds import LOST, Crm, FlushLoop
from tests.support.planner_values import CREATED
from worker.contract import Relation
from worker.planner.actions import ErrorClass
from worker.planner.fold import Intent, Version
from worker.planner.retry_policy import RetryPolicy

BUYERS = [Relation("estate:address:buyer", 501, 9000 + number) for number in range(500)]


def linked(relations: list[Relation]) -> dict[Relation, list[Intent]]:
    """One job per relation."""
    return {
        relation: [Intent(Version(1, number), f"job-{number}", "create")]
        for number, relation in enumerate(relations)
    }


@pytest.mark.parametrize("atomic", [True, False], ids=["nothing done", "the rest done"])
@pytest.mark.parametrize("at", [0, 1, 249, 250, 373, 498, 499])
def test_one_bad_id_in_a_star_of_500_fails_alone_and_costs_two_requests_per_halving_at_most(
    at: int, atomic: bool
) -> None:
    crm = Crm(bad=[BUYERS[at]], atomic=atomic)
    loop = FlushLoop(crm.answer)
    loop.add_intents(linked(BUYERS))
    loop.run()
    assert {outcome.job for outcome in loop.outcomes if outcome.result == "failed"} == {f"job-{at}"}
    assert crm.relations.keys() == set(BUYERS) - {BUYERS[at]}
    assert len(loop.sent) - 1 <= 2 * ceil(log2(500))


@given(
    st.sets(st.integers(0, 39)),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.sampled_from((ErrorClass.RECORD, ErrorClass.STAR)),
)
def test_any_bad_ids_fail_alone_within_two_rounds_per_halving(
    bad: set[int], size: int, atomic: bool, keys: bool, error: ErrorClass
) -> None:
    star, wrong = BUYERS[:size], {BUYERS[number] for number in bad if number < size}
    crm = Crm(bad=wrong, atomic=atomic, error=error, keys=keys)
    loop = FlushLoop(crm.answer)
    loop.add_intents(linked(star))
    loop.run()
    assert {outcome.relation for outcome in loop.outcomes if outcome.result == "failed"} == wrong
    assert crm.relations.keys() == set(star) - wrong
    assert loop.rounds <= 1 + 2 * ceil(log2(max(2, size)))


@pytest.mark.parametrize("upsert", [True, False])
def test_a_bad_id_among_modifies_is_found_without_a_read(upsert: bool) -> None:
    crm = Crm(bad=[BUYERS[5]])
    crm.relations = {buyer: {} for buyer in BUYERS[:16]}
    loop = FlushLoop(crm.answer, RetryPolicy(upsert=upsert))
    loop.add_intents(
        {buyer: [Intent(Version(1, 0), "confirm", "modify", ((CREATED, "a"),))] for buyer in BUYERS[:16]}
    )
    loop.run()
    assert [outcome.relation for outcome in loop.outcomes if outcome.result == "failed"] == [BUYERS[5]]
    assert {action.kind for action in loop.actions()} == {"modify"}
    assert all(crm.relations[buyer] == {CREATED: "a"} for buyer in BUYERS[:16] if buyer != BUYERS[5])


def test_a_star_of_which_the_rest_was_done_is_read_back_and_only_the_bad_id_is_sent_again() -> None:
    loop = FlushLoop(Crm(bad=[BUYERS[5]], atomic=False).answer)
    loop.add_intents(linked(BUYERS[:16]))
    loop.run()
    assert [(action.kind, len(action.children)) for action in loop.actions()] == [
        ("create", 16),
        ("get", 0),
        ("create", 1),
    ]


def test_two_bad_ids_in_different_halves_send_everyone_alone() -> None:
    crm = Crm(bad=[BUYERS[0], BUYERS[15]])
    loop = FlushLoop(crm.answer)
    loop.add_intents(linked(BUYERS[:16]))
    loop.run()
    writes = [len(action.children) for action in loop.actions() if action.kind == "create"]
    assert writes == [16, 8, 8] + [1] * 16


def test_a_star_that_breaks_the_answer_is_split_after_three_losses() -> None:
    crm = Crm()
    loop = FlushLoop(
        lambda action: (
            LOST if action.kind == "create" and BUYERS[3] in action.relations else crm.answer(action)
        )
    )
    loop.add_intents(linked(BUYERS[:8]))
    while len(loop.states) > 1:
        loop.run_round()
    assert set(loop.states) == {BUYERS[3]}
    assert crm.relations.keys() == set(BUYERS[:8]) - {BUYERS[3]}
    writes = [len(action.children) for action in loop.actions() if action.kind == "create"]
    assert writes[:5] == [8, 8, 8, 4, 4]
