"""Laws that hold for every history of calls, faults and switches."""

import httpx
from hypothesis import given
from hypothesis import strategies as st

from ops.simulator import KINDS, OF_RELATIONS, FaultPlan, InjectedFault, Switches
from tests.support.simulator_calls import (
    BROKER,
    BUYER,
    TOKEN,
    Clock,
    codes,
    get,
    links,
    results,
    send,
    simulator,
    star,
)

ids = st.integers(1, 6)
stars = st.one_of(
    st.tuples(ids.map(lambda one: [one]), st.lists(ids, min_size=1, max_size=4)),
    st.tuples(st.lists(ids, min_size=1, max_size=4), ids.map(lambda one: [one])),
)
creates = st.tuples(st.just("create"), st.sampled_from([BUYER, BROKER]), stars)
deletes = st.tuples(st.just("delete"), st.sampled_from([BUYER, BROKER]), st.tuples(ids, ids))
histories = st.lists(creates | deletes, max_size=12)


def pairs(name, parents, children):
    return {(name, parent, child) for parent in parents for child in children}


def read(sim, name, parent):
    """Return the children that the API names, in whatever way it shows an empty answer."""
    records = results(sim, get(name, parentids=[parent]))[0]["data"]["records"]
    return set(map(int, (records[0]["elements"] or {}).get(str(parent), []) if records else []))


@given(histories)
def test_the_simulator_is_a_set_of_relations(history):
    sim, model = simulator(), set()
    for kind, name, (parents, children) in history:
        if kind == "create":
            model |= pairs(name, parents, children)
            assert codes(sim, star(kind, name, parents, children)) == [0]
        else:
            assert codes(sim, star(kind, name, parents, children)) == [
                0 if (name, parents, children) in model else 168
            ]
            model.discard((name, parents, children))
        assert links(sim) == model


@given(histories, st.sampled_from(list(Switches.all(OF_RELATIONS))), creates, deletes)
def test_a_create_is_read_back_and_a_delete_is_not_under_every_switch(history, switches, create, delete):
    sim = simulator(switches=switches)
    for kind, name, (parents, children) in history:
        send(sim, star(kind, name, parents, children))
    _, name, (parents, children) = create
    (code,) = codes(sim, star("create", name, parents, children))
    if code == 0:
        assert all(set(children) <= read(sim, name, parent) for parent in parents)
    _, name, (parent, child) = delete
    send(sim, star("delete", name, parent, child))
    assert child not in read(sim, name, parent)


@given(histories)
def test_both_ends_of_a_relation_tell_the_same(history):
    sim = simulator()
    for kind, name, (parents, children) in history:
        send(sim, star(kind, name, parents, children))
    down = results(sim, get(BUYER, parentids=list(range(1, 7))))[0]["data"]["records"][0]["elements"]
    up = results(sim, get(BUYER, childids=list(range(1, 7))))[0]["data"]["records"][0]["elements"]
    assert {(parent, child) for parent in down for child in down[parent]} == {
        (parent, child) for child in up for parent in up[child]
    }


@given(histories, st.integers(0, 2**32), st.sampled_from(list(Switches.all(OF_RELATIONS))))
def test_what_executed_under_faults_equals_the_same_calls_without_faults(history, seed, switches):
    """Half stars apart, which are no call anyone made, and late requests, which nobody lets land here."""
    kinds = [
        InjectedFault(kind, seconds=1e9 if kind == "late" else 0.0) for kind in KINDS if kind != "half_star"
    ]
    sim = simulator(faults=FaultPlan.random(seed, 0.5, kinds), switches=switches, sleep=lambda _: None)
    calm = simulator(switches=switches)
    for kind, name, (parents, children) in history:
        made = star(kind, name, parents, children)
        try:
            send(sim, made)
        except httpx.TransportError:
            assert sim.log[-1].fault in ("lost_after", "lost_before", "late")
        if sim.log[-1].executed:
            send(calm, made)
    assert links(sim) == links(calm)
    assert [entry.acts for entry in sim.log if entry.executed] == [entry.acts for entry in calm.log]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 110), ids), min_size=1, max_size=8)
)  # whole seconds: finer ones round to a tie
def test_late_requests_land_in_the_order_of_their_time(calls):
    clock, model = Clock(), set()
    sim = simulator(
        faults=FaultPlan.script(InjectedFault("late", seconds=due) for _, due, _ in calls), clock=clock
    )
    for linked, _, child in calls:
        try:
            send(sim, star("create", BUYER, [1], [child]) if linked else star("delete", BUYER, 1, child))
        except httpx.ReadTimeout:
            assert not sim.log[-1].executed
    clock.now += 500
    for linked, _, child in sorted(calls, key=lambda call: call[1]):
        (model.add if linked else model.discard)((BUYER, 1, child))
    assert links(sim) == model


@given(histories)
def test_an_estate_loses_its_only_broker_exactly_as_often_as_violations_say(history):
    sim, lost = simulator(), 0
    for kind, name, (parents, children) in history:
        before = {parent for kind_of, parent, _ in links(sim) if kind_of == BROKER}
        send(sim, star(kind, name, parents, children))
        lost += len(before - {parent for kind_of, parent, _ in links(sim) if kind_of == BROKER})
    assert len(sim.violations(TOKEN)) == lost
