"""What the documentation leaves open: every switch changes exactly what it says."""

from dataclasses import fields
from typing import get_args, get_type_hints

import pytest

from ops.simulator import OF_READS, OF_RELATIONS, Records, Switches
from tests.support.simulator_calls import (
    APPOINTMENT,
    BUYER,
    TOKEN,
    codes,
    get,
    links,
    results,
    simulator,
    star,
)

SENT, CONFIRMED = {"statusTerminbestaetigung": "gesendet"}, {"statusTerminbestaetigung": "bestätigt"}
FEEDBACK = {"statusTerminrueckmeldung": "inaktiv"}


def test_all_covers_every_value_of_every_switch_alone_and_together():
    covered = list(Switches.all())
    assert covered[0] == Switches()
    for field in fields(Switches):
        values = get_args(get_type_hints(Switches)[field.name]) or (True, False)
        assert {getattr(switches, field.name) for switches in covered} == set(values)
    assert len(set(covered)) == len(covered)
    assert all(
        getattr(covered[-1], field.name) != getattr(Switches(), field.name) for field in fields(Switches)
    )


@pytest.mark.parametrize("names", [OF_READS, OF_RELATIONS])
def test_of_some_switches_the_others_stay_as_they_are(names):
    assert not set(OF_READS) & set(OF_RELATIONS)
    changed = {
        field.name
        for switches in Switches.all(names)
        for field in fields(Switches)
        if getattr(switches, field.name) != getattr(Switches(), field.name)
    }
    assert changed == set(names)


@pytest.mark.parametrize(("value", "code"), [("ok", 0), ("78", 78), ("173", 173)])
def test_a_repeated_create_is_answered_by_the_switch_and_the_relation_stays(value, code):
    sim = simulator(switches=Switches(duplicate_create=value))
    sim.seed(TOKEN, [(BUYER, 1, 2)])
    assert codes(sim, star("create", BUYER, [1], [2])) == [code]
    assert links(sim) == {(BUYER, 1, 2)}


@pytest.mark.parametrize(("value", "left"), [("in_order", set()), ("reversed", {(BUYER, 1, 2)})])
def test_the_actions_of_a_request_are_executed_in_the_order_of_the_switch(value, left):
    sim = simulator(switches=Switches(execution=value, absent_delete="ok"))
    acts = star("create", BUYER, [1], [2]), star("delete", BUYER, 1, 2), star("get", BUYER, [1], [2])
    assert codes(sim, *acts) == [0, 0, 167]
    assert links(sim) == left


@pytest.mark.parametrize(("value", "code"), [("168", 168), ("ok", 0)])
def test_a_delete_of_nothing_is_answered_by_the_switch(value, code):
    assert codes(simulator(switches=Switches(absent_delete=value)), star("delete", BUYER, 1, 2)) == [code]


@pytest.mark.parametrize(("value", "left"), [("atomic", set()), ("partial", {2, 4}), ("half", {2})])
def test_a_star_with_a_bad_id_leaves_behind_what_the_switch_says(value, left):
    sim = simulator(
        switches=Switches(array_create=value), records=Records(missing=frozenset({("address", 3)}))
    )
    assert codes(sim, star("create", BUYER, [1], [2, 3, 4])) == [80]
    assert links(sim) == {(BUYER, 1, child) for child in left}


@pytest.mark.parametrize(("value", "changed"), [("atomic", set()), ("partial", {2, 4}), ("half", {2})])
def test_a_modify_of_a_star_with_an_absent_relation_follows_the_same_switch(value, changed):
    sim = simulator(switches=Switches(array_create=value))
    sim.seed(TOKEN, [(APPOINTMENT, 1, 2), (APPOINTMENT, 1, 4)])
    assert codes(sim, star("modify", APPOINTMENT, [1], [2, 3, 4], SENT)) == [180]
    assert sim.relations(TOKEN) == {
        (APPOINTMENT, 1, child): SENT if child in changed else {} for child in (2, 4)
    }


@pytest.mark.parametrize(("value", "info"), [("keep", SENT), ("overwrite", CONFIRMED)])
def test_a_create_of_an_existing_relation_keeps_or_overwrites_its_info(value, info):
    sim = simulator(switches=Switches(existing_info=value))
    sim.seed(TOKEN, {(APPOINTMENT, 1, 2): SENT})
    assert codes(sim, star("create", APPOINTMENT, [1], [2], CONFIRMED)) == [0]
    assert sim.relations(TOKEN) == {(APPOINTMENT, 1, 2): info}


def test_a_create_with_info_modifies_what_exists_if_the_documentations_example_is_right():
    sim = simulator(switches=Switches(modify_is_create=True, duplicate_create="78"))
    sim.seed(TOKEN, {(APPOINTMENT, 1, 2): SENT})
    assert codes(
        sim,
        star("create", APPOINTMENT, [1], [2], CONFIRMED | FEEDBACK),
        star("create", APPOINTMENT, [1], [3], SENT),
    ) == [0, 0]
    assert sim.relations(TOKEN) == {(APPOINTMENT, 1, 2): CONFIRMED | FEEDBACK, (APPOINTMENT, 1, 3): SENT}


@pytest.mark.parametrize(
    ("value", "address", "estate", "user"), [("80", 80, 80, 80), ("by_module", 292, 293, 80)]
)
def test_the_code_of_an_unknown_record_follows_the_switch(value, address, estate, user):
    missing = frozenset({("address", 5), ("estate", 6), ("user", 7)})
    sim = simulator(switches=Switches(unknown_record=value), records=Records(missing=missing))
    made = [
        star("create", BUYER, [1], [5]),
        star("create", BUYER, [6], [1]),
        star("create", "estate:user:officer", [1], [7]),
    ]
    assert codes(sim, *made) == [address, estate, user]


@pytest.mark.parametrize(
    ("value", "mixed", "empty"),
    [
        ("list", {"1": ["2"], "9": []}, [{"9": []}]),
        ("absent", {"1": ["2"]}, [[]]),
        ("no_records", {"1": ["2"]}, []),
    ],
)
def test_ids_without_relations_are_shown_as_the_switch_says(value, mixed, empty):
    sim = simulator(switches=Switches(empty_ids=value))
    sim.seed(TOKEN, [(BUYER, 1, 2)])
    found, nothing = results(sim, get(BUYER, parentids=[1, 9]), get(BUYER, parentids=[9]))
    assert found["data"]["records"][0]["elements"] == mixed
    assert [record["elements"] for record in nothing["data"]["records"]] == empty
