"""What the API accepts, refuses and answers for each call."""

import pytest

from ops.simulator import Records
from ops.simulator.catalogue import KNOWN_TYPES
from tests.support.simulator_calls import (
    APPOINTMENT,
    BROKER,
    BUYER,
    TOKEN,
    URN,
    action,
    codes,
    get,
    links,
    results,
    simulator,
    star,
)

CONFIRMED, SENT = {"statusTerminbestaetigung": "bestätigt"}, {"statusTerminbestaetigung": "gesendet"}
FEEDBACK = {"statusTerminrueckmeldung": "aktiv"}


def test_the_overview_lists_63_types():
    assert len(KNOWN_TYPES) == 63
    assert KNOWN_TYPES["address:contact:address"] == ("address", "address")
    assert KNOWN_TYPES["estate:file:foto"] == ("estate", "file")


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (star("create", BUYER, [1], [2, 3]), 0),
        (star("create", BUYER, [1, 2], [3]), 0),
        (star("create", BUYER, [1, 2], [3, 4]), 219),
        (star("create", BUYER, 1, [2]), 194),
        (star("create", BUYER, [1], "2"), 194),
        (star("create", BUYER, [1], ["2"]), 228),
        (star("create", BUYER, [1], [True]), 228),
        (star("create", BUYER, [1], [0]), 228),
        (star("create", BUYER, [1], []), 185),
        (star("create", BUYER, [1], list(range(1, 501))), 0),
        (star("create", BUYER, [1], list(range(1, 502))), 302),
        (star("create", "estate:address:friend", [1], [2]), 132),
        (star("create", "user:messengerUser:is", [1], [2]), 132),
        (action("create", {"relationtype": BUYER, "parentid": [1], "childid": [2]}), 132),
        (
            action(
                "create",
                {"relationtype": URN.replace("de-ns", "dens") + BUYER, "parentid": [1], "childid": [2]},
            ),
            132,
        ),
        (action("create", {"relationtype": URN + BUYER, "parentid": [1]}), 167),
        (star("create", APPOINTMENT, [1], [2], CONFIRMED), 0),
        (star("create", APPOINTMENT, [1], [2], []), 0),
        (star("create", APPOINTMENT, [1], [2], FEEDBACK), 179),
        (star("create", APPOINTMENT, [1], [2], {"statusTerminbestaetigung": "best√tigt"}), 179),
        (star("create", APPOINTMENT, [1], [2], "gesendet"), 179),
        (star("create", BUYER, [1], [2], CONFIRMED), 179),
        (star("delete", BUYER, [1], 2), 228),
        (star("delete", BUYER, 1, "2"), 228),
        (star("delete", BUYER, 1, 2), 168),
        (star("delete", "user:messengerUser:is", 1, 2), 132),
        (star("modify", BUYER, [1], [2], CONFIRMED), 182),
        (star("modify", "user:messengerUser:is", [1], [2], CONFIRMED), 182),
        (star("modify", APPOINTMENT, [1], [2], CONFIRMED), 180),
        (star("modify", APPOINTMENT, [1], [2], {"statusTerminbestaetigung": "ja"}), 181),
        (star("modify", APPOINTMENT, [1], [2], {"colour": "red"}), 181),
        (star("modify", APPOINTMENT, [1], [2]), 181),
        (star("modify", APPOINTMENT, [1, 2], [2, 3], CONFIRMED), 219),
        (get(BUYER), 167),
        (get(BUYER, parentids=[1], childids=[2]), 282),
        (get(BUYER, parentids=1), 194),
        (get("estate:address:friend", parentids=[1]), 132),
    ],
)
def test_an_action_is_answered_with_the_code_of_its_fault(made, code):
    sim = simulator()
    assert codes(sim, made) == [code]
    assert bool(sim.relations(TOKEN)) == (code == 0)


def test_a_create_links_every_pair_of_its_star_and_names_no_record():
    sim = simulator()
    (result,) = results(sim, star("create", BUYER, [1], [2, 3]))
    assert result["data"]["records"] == []
    assert links(sim) == {(BUYER, 1, 2), (BUYER, 1, 3)}


def test_a_delete_answers_success_and_removes_one_relation():
    sim = simulator()
    sim.seed(TOKEN, [(BUYER, 1, 2), (BUYER, 1, 3)])
    (result,) = results(sim, star("delete", BUYER, 1, 2))
    assert result["data"]["records"] == [{"id": 0, "type": "", "elements": {"success": "success"}}]
    assert links(sim) == {(BUYER, 1, 3)}


def test_a_modify_sets_the_keys_it_names_and_leaves_the_others():
    sim = simulator()
    sim.seed(TOKEN, {(APPOINTMENT, 1, 2): SENT})
    assert codes(sim, star("modify", APPOINTMENT, [1], [2], FEEDBACK)) == [0]
    assert sim.relations(TOKEN) == {(APPOINTMENT, 1, 2): SENT | FEEDBACK}


def test_a_get_answers_ids_as_text_by_the_asked_id():
    sim = simulator()
    sim.seed(TOKEN, [(BUYER, 1051, 50), (BUYER, 1051, 8), (BUYER, 7, 8)])
    (result,) = results(sim, get(BUYER, parentids=[15, 1051]))
    assert result["data"]["records"] == [
        {"id": "relatedIds", "type": "", "elements": {"15": [], "1051": ["50", "8"]}}
    ]
    assert result["cacheable"] is True
    (result,) = results(sim, get(BUYER, childids=[8]))
    assert result["data"]["records"][0]["elements"] == {"8": ["1051", "7"]}


def test_a_unit_is_the_same_relation_under_both_of_its_names():
    sim = simulator()
    assert codes(sim, star("create", "complex:estate:units", [1], [2])) == [0]
    assert links(sim) == {("estate:estateUnit", 1, 2)}


def test_all_contact_persons_are_not_contact_persons():
    sim = simulator()
    sim.seed(TOKEN, [("estate:address:contactPersonAll", 1, 2)])
    assert results(sim, get(BROKER, parentids=[1]))[0]["data"]["records"][0]["elements"] == {"1": []}


@pytest.mark.parametrize(
    ("records", "code", "word"),
    [
        (Records(missing=frozenset({("address", 2)})), 80, "Unknown record"),
        (Records(known={"estate": frozenset({9})}), 80, "Unknown record"),
        (Records(no_write=frozenset({("address", 2)})), 261, "address(es) with id(s) 2"),
        (Records(no_write=frozenset({("estate", 1)})), 262, "estate(s) with id(s) 1"),
        (Records(brokers=frozenset({3})), 263, "real estate agent"),
    ],
)
def test_a_special_record_refuses_a_create_with_its_code(records, code, word):
    sim = simulator(records=records)
    (result,) = results(sim, star("create", BROKER, [1], [2]))
    assert result["status"]["errorcode"] == code
    assert word in result["status"]["message"]
    assert sim.relations(TOKEN) == {}


def test_a_module_without_rights_table_is_253():
    assert codes(
        simulator(records=Records(no_write=frozenset({("calendar", 1)}))),
        star("create", APPOINTMENT, [1], [2]),
    ) == [253]


def test_a_delete_needs_the_right_to_write_too():
    sim = simulator()
    sim.seed(TOKEN, [(BUYER, 1, 2)], records=Records(no_write=frozenset({("estate", 1)})))
    assert codes(sim, star("delete", BUYER, 1, 2)) == [262]
    assert links(sim) == {(BUYER, 1, 2)}


def test_deleting_the_last_broker_of_an_estate_is_noted_as_a_violation():
    sim = simulator()
    sim.seed(TOKEN, [(BROKER, 1, 42), (BROKER, 1, 43), (BROKER, 2, 42)])
    assert codes(sim, star("delete", BROKER, 1, 42)) == [0]
    assert sim.violations(TOKEN) == ()
    assert codes(sim, star("delete", BROKER, 1, 43)) == [0]
    assert sim.violations(TOKEN) == ((BROKER, 1, 43),)
