"""Which claimed work need not be written: as much as depends on nothing that is, found in one walk."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from tests.support.planner_values import CONFIRMED, INTENTS
from tests.support.store_values import BUYER
from worker.contract import Relation
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import ConfirmedState, Intent, JobVersion, Version
from worker.planner.relation_state import OpenRelation, add_intents
from worker.ports.work import ClaimedJob, OpenWrite, Writes
from worker.store.lease.claimed_work import ClaimedWork, ClaimedWorkChange

RELATIONS = [Relation(BUYER, 501, child) for child in range(1, 7)]


class Counted(tuple[Relation, ...]):
    """Relations that count how often somebody walks through them."""

    walks = 0

    def __iter__(self) -> Iterator[Relation]:
        Counted.walks += 1
        return super().__iter__()


def take(jobs: Mapping[str, tuple[Relation, ...]], opened: Collection[Relation]) -> ClaimedWorkChange:
    """Return what is claimed of jobs that name these relations, some of which are open already."""
    intents: dict[Relation, tuple[Intent, ...]] = {}
    for number, (short, relations) in enumerate(jobs.items()):
        intent = Intent(Version(1, number), f"acme-{short}", "create")
        for relation in tuple(relations):
            intents[relation] = (*intents.get(relation, ()), intent)
    opens = {relation: OpenWrite(OpenRelation(found)) for relation, found in intents.items()}
    claimed = {
        short: ClaimedJob(f"acme-{short}", "create", relations, (), 1, number)
        for number, (short, relations) in enumerate(jobs.items())
    }
    return ClaimedWork().take(claimed, Writes(opens=opens), opened)


def test_a_chain_of_jobs_that_cannot_be_held_back_is_walked_once() -> None:
    chain = [Relation(BUYER, 501, child) for child in range(1, 2502)]
    jobs: dict[str, Any] = {f"{at:04}": Counted(chain[at : at + 2]) for at in range(2500)}
    Counted.walks = 0
    change = take(jobs, chain[:1])
    assert (change.jobs, change.taken) == ({}, {})
    assert Counted.walks <= 6 * len(jobs)


@given(
    st.lists(st.lists(st.sampled_from(RELATIONS), min_size=1, max_size=3, unique=True), max_size=8),
    st.sets(st.sampled_from(RELATIONS), max_size=3),
)
def test_what_is_held_back_is_all_that_shares_no_relation_with_what_is_written(
    named: list[list[Relation]], opened: set[Relation]
) -> None:
    jobs = {f"j{at}": tuple(relations) for at, relations in enumerate(named)}
    written, before = set(opened), -1
    while before != len(written):
        before = len(written)
        written |= {each for relations in jobs.values() if written & set(relations) for each in relations}
    change = take(jobs, opened)
    assert list(change.jobs) == [short for short, relations in jobs.items() if not written & set(relations)]
    assert change.taken.keys() == {each for relations in named for each in relations} - written


@given(INTENTS, CONFIRMED, st.booleans())
def test_what_is_held_back_is_what_a_new_fold_gives_after_a_crash(
    intents: list[Intent], known: ConfirmedState, upsert: bool
) -> None:
    state, lost, memory = add_intents(tuple(intents), None, known, None, now=1, upsert=upsert)
    outcomes = [RelationOutcome(each.intent.job, RELATIONS[0], each.result, each.by) for each in lost]
    opens = {RELATIONS[0]: OpenWrite(state.open if state else None)}
    claimed = {each.job: ClaimedJob(each.job, each.action, (RELATIONS[0],), (), 1, 1) for each in intents}
    change = ClaimedWork().take(claimed, Writes(opens=opens, outcomes=outcomes), ())
    again = tuple(each for each in intents if each.job in change.jobs)
    assert change.taken == ({RELATIONS[0]: state.open} if again and state else {})
    if again:
        assert add_intents(again, None, memory, None, now=1, upsert=upsert) == (state, (), memory)


def test_what_a_confirmed_delete_made_void_need_not_be_written() -> None:
    intent, gone = Intent(Version(2, 2), "acme-2", "create"), JobVersion(Version(1, 1), "acme-1")
    state, _, _ = add_intents((intent,), None, ConfirmedState(absent=gone), None, now=1, upsert=False)
    assert state
    claimed = {"2": ClaimedJob("acme-2", "create", (RELATIONS[0],), (), 2, 2)}
    change = ClaimedWork().take(claimed, Writes(opens={RELATIONS[0]: OpenWrite(state.open)}), ())
    assert change.taken == {RELATIONS[0]: state.open}
