"""Reads of estates and addresses: what they find, show and refuse, and the fields they look at."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulator import OF_READS, FaultPlan, KeptSimulator, Records, Simulator, Switches, serve
from tests.support.simulator_calls import (
    BUYER,
    SECRET,
    TOKEN,
    codes,
    links,
    read,
    results,
    send,
    simulator,
    star,
)

PEOPLE = {
    "address": {
        9001: {
            "email": ["a@example.test", "b@example.test"],
            "phone": ["0241 1"],
            "KdNr": "815",
            "Name": "Müller",
        },
        9002: {"email": ["b@example.test"], "KdNr": "0815", "Name": "MÜLLER", "ind_7_Feld": "x"},
        9003: {"KdNr": "816", "Name": "Mueller", "Status": "0"},
    },
    "estate": {501: {"objektnr_extern": "PC910", "uuid": "u-1"}, 502: {"objektnr_extern": "pc910"}},
}


@pytest.fixture
def sim():
    made = simulator()
    made.seed(TOKEN, fields=PEOPLE)
    return made


def data(sim, made):
    (result,) = results(sim, made)
    assert result["status"] == {"errorcode": 0, "message": "OK"}
    return result["data"]


def found(sim, module, conditions, **parameters):
    """Return the ids that a read finds."""
    return [record["id"] for record in data(sim, read(module, [], conditions, **parameters))["records"]]


def one(op, val):
    return [{"op": op, "val": val}]


def test_an_answer_looks_as_documented(sim):
    asked = read("address", ["email", "KdNr", "Vorname"], {"email": one("in", ["a@example.test"])})
    (result,) = results(sim, asked)
    assert (result["resourcetype"], result["resourceid"], result["cacheable"]) == ("address", "", True)
    assert result["data"] == {
        "meta": {"cntabsolute": 1},
        "records": [
            {
                "id": 9001,
                "type": "address",
                "elements": {
                    "id": 9001,
                    "email__900100": "a@example.test",
                    "email__900100__Comment": "Kommentar",
                    "email__900101": "b@example.test",
                    "email__900101__Comment": "Kommentar",
                    "KdNr": "815",
                    "Vorname": "",
                },
            }
        ],
    }


def test_nothing_found_is_no_record_and_a_count_of_none(sim):
    nothing = data(sim, read("estate", ["uuid"], {"uuid": one("=", "nobody's")}))
    assert nothing == {"meta": {"cntabsolute": 0}, "records": []}


@pytest.mark.parametrize(
    ("conditions", "ids"),
    [
        ({"KdNr": one("=", "815")}, [9001]),
        ({"KdNr": one("is", 815)}, [9001]),
        ({"KdNr": one("IN", ["815", "816"])}, [9001, 9003]),
        ({"KdNr": one("!=", "815")}, [9002, 9003]),
        ({"KdNr": one("<>", "815")}, [9002, 9003]),
        ({"KdNr": one("not in", ["815", "816"])}, [9002]),
        ({"KdNr": one("like", "%81%")}, [9001, 9002, 9003]),
        ({"KdNr": one("like", "81_")}, []),
        ({"KdNr": one("not like", "0%")}, [9001, 9003]),
        ({"KdNr": [{"op": "like", "val": "%8%"}, {"op": "!=", "val": "815"}]}, [9002, 9003]),
        ({"KdNr": one("like", "%81%"), "Name": one("=", "müller")}, [9001, 9002]),
        ({"email": one("=", "b@example.test")}, [9001, 9002]),
        ({"Email": one("=", "b@example.test")}, [9002]),
        ({"email": one("not in", ["a@example.test"])}, [9002, 9003]),
        ({"email": one("=", "")}, [9003]),
        ({"Telefon1": one("=", "0241 1")}, [9001]),
        ({"ind_7_Feld": one("=", "x")}, [9002]),
        ({}, [9001, 9002, 9003]),
        ([], [9001, 9002, 9003]),
        (None, [9001, 9002, 9003]),
    ],
)
def test_a_filter_lets_through_what_its_conditions_all_hold_for(sim, conditions, ids):
    assert found(sim, "address", conditions) == ids


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (read("address", None), 167),
        (read("address", "email"), 74),
        (read("address", [7]), 291),
        (read("address", ["e-mail"]), 141),
        (read("estate", ["email"]), 141),
        (read("estate", ["uuid"], {"KdNr": one("=", "815")}), 141),
        (read("address", [], {"KdNr": one("~", "815")}), 142),
        (read("address", [], {"KdNr": one(None, "815")}), 142),
        (read("address", [], {"KdNr": one("not =", "815")}), 142),
        (read("address", [], {"KdNr": ["815"]}), 142),
        (read("address", [], {"KdNr": one("in", "815")}), 257),
        (read("address", [], {"KdNr": one("in", [])}), 257),
        (read("address", [], {"KdNr": one("=", ["815"])}), 257),
        (read("address", [], {"KdNr": "815"}), 257),
        (read("address", [], "KdNr"), 257),
        (read("address", [], listlimit=0), 255),
        (read("address", [], listlimit=501), 255),
        (read("address", [], listlimit="20"), 255),
        (read("address", [], listoffset=-1), 255),
        (read("address", [], sortby="age"), 212),
        (read("address", [], sortby=["Name"]), 212),
        (read("address", [], recordids=9001), 185),
        (read("relation", []), 25),
        (read("task", []), 25),
        ({**read("address", []), "resourceid": "x"}, 185),
        ({**read("address", []), "resourceid": "9" * 5000}, 185),
        (read("address", [], recordids=["9" * 5000]), 185),
    ],
)
def test_a_read_is_refused_with_the_code_of_its_fault(sim, made, code):
    assert codes(sim, made) == [code]
    assert sim.log[-1].acts[0].code == code


def test_any_field_that_a_record_has_is_known_and_only_as_long(sim):
    asked = read("address", ["ind_7_Feld"])
    assert codes(sim, asked) == [0]
    sim.seed(TOKEN, fields={"address": {9002: {"ind_7_Feld": None}}})
    assert codes(sim, asked) == [141]


@pytest.mark.parametrize(
    ("parameters", "ids"),
    [
        ({}, list(range(1, 21))),
        ({"listlimit": 500}, list(range(1, 501))),
        ({"listlimit": 500, "listoffset": 500}, list(range(501, 601))),
        ({"listlimit": 500, "listoffset": 600}, []),
        ({"listlimit": 2, "sortby": "KdNr", "sortorder": "DESC"}, [99, 98]),
        ({"listlimit": 3, "sortby": {"Ort": "DESC", "KdNr": "ASC"}}, [1, 101, 103]),
        ({"recordids": [7, "9", 700]}, [7, 9]),
    ],
)
def test_a_page_has_as_many_records_as_asked_for_and_counts_all(parameters, ids):
    sim = simulator()
    records = {number: {"KdNr": number, "Ort": str(number % 2)} for number in range(1, 601)}
    sim.seed(TOKEN, fields={"address": records})
    answer = data(sim, read("address", ["KdNr"], **parameters))
    assert [record["id"] for record in answer["records"]] == ids
    assert answer["meta"]["cntabsolute"] == (2 if "recordids" in parameters else 600)


def test_one_record_is_read_by_its_id_whatever_the_filter_says(sim):
    made = read("estate", ["objektnr_extern"], {"uuid": one("=", "other")})
    (record,) = data(sim, {**made, "resourceid": "501"})["records"]
    assert record["elements"] == {"id": 501, "objektnr_extern": "PC910"}


@pytest.mark.parametrize("module", ["estate", "address"])
def test_a_read_is_signed_for_its_module(sim, module):
    other = {"estate": "address", "address": "estate"}[module]
    assert codes(sim, {**read(module, []), "resourcetype": other}) == [137]
    assert codes(sim, read(module, [])) == [0]


# --- what may be seen


def test_a_record_that_is_missing_or_outside_of_a_closed_module_is_not_found(sim):
    sim.seed(
        TOKEN, records=Records(missing=frozenset({("address", 9001)}), known={"estate": frozenset({502})})
    )
    assert found(sim, "address", {}) == [9002, 9003]
    assert found(sim, "estate", {}) == [502]


@pytest.mark.parametrize("number", [9001, 501])
def test_a_record_without_the_right_to_read_it_is_left_out_or_refuses_the_read(sim, number):
    module, code = ("address", 253) if number == 9001 else ("estate", 149)
    sim.seed(TOKEN, records=Records(no_read=frozenset({(module, number)})))
    assert number not in found(sim, module, {})
    sim.switches = Switches(no_read="refused")
    assert codes(sim, read(module, [])) == [code]
    assert codes(sim, read(module, [], {"uuid": one("=", "of another")})) == [0]


@pytest.mark.parametrize(("value", "ids"), [("included", [9001, 9002, 9003]), ("left_out", [9001, 9002])])
def test_archived_records_are_shown_as_the_switch_says(sim, value, ids):
    sim.switches = Switches(archived=value)
    assert found(sim, "address", {}) == ids


# --- switches


@pytest.mark.parametrize(
    ("compare_case", "umlauts", "ids"),
    [
        ("ignored", "exact", [9001, 9002]),
        ("exact", "exact", [9001]),
        ("ignored", "ae", [9001, 9002, 9003]),
        ("exact", "ae", [9001, 9003]),
        ("ignored", "a", [9001, 9002]),
    ],
)
def test_names_are_compared_as_the_switches_say(sim, compare_case, umlauts, ids):
    sim.switches = Switches(compare_case=compare_case, umlauts=umlauts)
    assert found(sim, "address", {"Name": one("in", ["Müller"])}) == ids


def test_an_umlaut_may_be_its_letter(sim):
    assert found(sim, "address", {"Name": one("=", "Muller")}) == []
    sim.switches = Switches(umlauts="a")
    assert found(sim, "address", {"Name": one("=", "Muller")}) == [9001, 9002]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("numbered", {"email__900200": "b@example.test", "email__900200__Comment": "Kommentar"}),
        ("typed", {"emailbusiness__900200": "b@example.test", "emailbusiness__900200__Comment": "Kommentar"}),
        ("list", {"email": ["b@example.test"]}),
    ],
)
def test_contacts_are_shown_as_the_switch_says(sim, value, shown):
    sim.switches = Switches(contact_values=value)
    (record,) = data(sim, read("address", ["email", "Email"], {"KdNr": one("=", "0815")}))["records"]
    assert record["elements"] == {"id": 9002, **shown, "Email": "b@example.test"}


@pytest.mark.parametrize(("value", "shown"), [("number", 501), ("text", "501")])
def test_ids_are_shown_as_the_switch_says(sim, value, shown):
    sim.switches = Switches(record_ids=value)
    (record,) = data(sim, read("estate", [], {"uuid": one("=", "u-1")}))["records"]
    assert record == {"id": shown, "type": "estate", "elements": {"id": shown}}


@pytest.mark.parametrize(
    ("value", "meta"), [("total", {"cntabsolute": 2}), ("null", {"cntabsolute": None}), ("missing", [])]
)
def test_the_count_is_shown_as_the_switch_says(sim, value, meta):
    sim.switches = Switches(count=value)
    assert data(sim, read("estate", []))["meta"] == meta


# --- fields


def test_fields_are_set_changed_and_taken_away_and_what_is_not_named_stays():
    sim = simulator()
    sim.seed(TOKEN, fields={"address": {1: {"KdNr": 815, "email": ["a@example.test"]}, 2: {"KdNr": "816"}}})
    sim.seed(
        TOKEN, fields={"address": {1: {"email": None, "Name": "A"}, 2: None}, "estate": {3: {"uuid": "u"}}}
    )
    assert sim.fields(TOKEN) == {"address": {1: {"KdNr": "815", "Name": "A"}}, "estate": {3: {"uuid": "u"}}}
    sim.seed(TOKEN, fields={"address": {1: {"KdNr": None, "Name": None}}, "estate": {3: None, 4: None}})
    assert sim.fields(TOKEN) == {}


def test_a_reset_leaves_the_fields(sim):
    sim.reset()
    assert found(sim, "estate", {}) == [501, 502]


def test_accounts_that_share_a_crm_share_its_fields(sim):
    sim.account("other", SECRET)
    assert sim.fields("other") == {}
    sim.share(TOKEN, "other")
    assert sim.fields("other") == sim.fields(TOKEN)


def test_another_process_sets_fields_sees_them_and_finds_them_after_a_restart(tmp_path):
    path = tmp_path / "crm.json"
    fields = {"address": {"9001": {"email": ["a@example.test"], "KdNr": 815}}}
    first = Simulator({TOKEN: SECRET})
    with (
        serve(KeptSimulator(first, path)) as server,
        httpx.Client(base_url=server.base, timeout=10.0) as http,
    ):
        http.post("/_sim/seed", json={"token": TOKEN, "fields": fields}).raise_for_status()
        state = http.get("/_sim/state", params={"token": TOKEN}).json()
        assert state["fields"] == {"address": {"9001": {"email": ["a@example.test"], "KdNr": "815"}}}
        for wrong in ({"user": {"1": {}}}, {"address": {"x": {}}}, {"address": {"1": {"KdNr": {}}}}):
            assert http.post("/_sim/seed", json={"token": TOKEN, "fields": wrong}).status_code == 400
        gone = {"address": {"9001": {"email": None}}}
        http.post("/_sim/seed", json={"token": TOKEN, "fields": gone}).raise_for_status()
    second = Simulator({})
    KeptSimulator(second, path)
    assert second.fields(TOKEN) == first.fields(TOKEN) == {"address": {9001: {"KdNr": "815"}}}


def test_a_file_of_an_older_release_is_read(tmp_path):
    path = tmp_path / "crm.json"
    path.write_text('{"t": {"secret": "s", "relations": [], "records": {}}}')
    kept = Simulator({})
    KeptSimulator(kept, path)
    assert kept.fields("t") == {}


# --- the log


@pytest.mark.parametrize("fault", [None, "lost_before", "garbled"])
def test_the_log_shows_module_and_number_of_values_and_no_value(sim, fault):
    sim.inject(FaultPlan.script([fault]))
    conditions = {"email": one("in", ["a@example.test", "b@example.test"]), "KdNr": one("=", "815")}
    try:
        send(sim, read("address", ["email"], conditions))
    except httpx.TransportError:
        assert fault == "lost_before"
    (act,) = sim.log[-1].acts
    code = None if fault == "lost_before" else 0
    assert act._asdict() == {
        "kind": "read",
        "type": "address",
        "parents": (),
        "children": (),
        "code": code,
        "values": 3,
    }
    assert "example.test" not in repr(sim.log)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_filter_breaks_the_log_or_the_answer(conditions):
    sim = simulator()
    made = read("address", []) | {"parameters": {"data": [], "filter": conditions}}
    assert send(sim, made).status_code == 200
    assert sim.log[-1].acts[0].values >= 0


# --- laws

TEXTS = st.sampled_from(
    ["a@example.test", "A@example.test", "müller", "mueller", "muller", "815", "00815", ""]
)
RECORDS = st.dictionaries(
    st.integers(1, 9),
    st.fixed_dictionaries(
        {}, optional={"email": st.lists(TEXTS, max_size=3), "KdNr": TEXTS, "Status": st.just("0")}
    ),
    max_size=6,
)


@given(
    RECORDS,
    st.sampled_from(["email", "KdNr", "Email"]),
    st.lists(TEXTS, min_size=1, max_size=3),
    st.sampled_from(list(Switches.all(OF_READS))),
)
def test_in_finds_what_one_of_equals_finds_and_not_in_the_rest(records, field, values, switches):
    sim = simulator(switches=switches)
    sim.seed(TOKEN, fields={"address": records})
    everything = found(sim, "address", {})
    singles = {number for value in values for number in found(sim, "address", {field: one("=", value)})}
    assert found(sim, "address", {field: one("in", values)}) == [n for n in everything if n in singles]
    assert found(sim, "address", {field: one("not in", values)}) == [
        n for n in everything if n not in singles
    ]
    likes = {number for value in values for number in found(sim, "address", {field: one("like", value)})}
    assert likes == singles


@given(RECORDS, st.integers(1, 4), st.sampled_from(list(Switches.all(OF_READS))))
def test_pages_are_the_whole_list_in_pieces(records, limit, switches):
    sim = simulator(switches=switches)
    sim.seed(TOKEN, fields={"address": records})
    pages = [found(sim, "address", {}, listlimit=limit, listoffset=start) for start in range(0, 12, limit)]
    assert [number for page in pages for number in page] == found(sim, "address", {})


def test_reads_and_writes_travel_in_one_request_and_fail_alone(sim):
    made = [
        read("address", []),
        star("create", BUYER, [501], [9001]),
        read("estate", ["nothing"]),
        read("estate", []),
    ]
    assert codes(sim, *made) == [0, 0, 141, 0]
    assert links(sim) == {(BUYER, 501, 9001)}
