"""Which claimed work need not be written: as much as depends on nothing that is, found in one walk."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from tests.support.store_values import BUYER
from worker.contract import Relation
from worker.planner.fold import Intent, Version
from worker.planner.relation_state import OpenRelation
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
