"""Searches: what is sent for them, and what any answer means for them."""

import html
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.onoffice.test_wire_read import ANSWERS, SHAPES, answer
from worker.onoffice import wire
from worker.onoffice.wire import signature
from worker.planner.actions import MAX_VALUES, Action, ActionResult, ErrorClass, FoundRecord, Search, Verdict

NOW = 1_700_000_000
EMAIL = Search("address", "email", ("a@example.test", "b@example.test"), ("email", "Name"))
NUMBER = Search("estate", "objektnr_extern", ("PC910", "00815"), ("objektnr_extern",))
GET = Action("get", "estate:address:buyer", (15,), ())
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
FIELDS = st.sampled_from(["email", "phone", "KdNr", "uuid", "objektnr_extern", "ind_1876_Feld_adressen21"])
SEARCHES = st.builds(
    lambda module, field, values, others, offset: Search(
        module, field, tuple(values), tuple(dict.fromkeys((field, *others))), offset
    ),
    st.sampled_from(["estate", "address"]),
    FIELDS,
    st.lists(TEXTS, min_size=1, max_size=5),
    st.lists(FIELDS, max_size=3),
    st.integers(0, 2000),
)


def encode(*actions: Action | Search, claim: str | None = None) -> list[dict[str, Any]]:
    body = wire.body(
        actions,
        token="tok",
        secret="sec",
        timestamp=NOW,
        identifiers=wire.identifiers("r1", len(actions)),
        modify_action="modify",
        extendedclaim=claim,
    )
    sent: list[dict[str, Any]] = json.loads(body)["request"]["actions"]
    return sent


def result(search: Search, identifier: str, records: Any, total: Any, **status: Any) -> dict[str, Any]:
    return {
        "actionid": "urn:onoffice-de-ns:smart:2.5:smartml:action:read",
        "resourceid": "",
        "resourcetype": search.module,
        "cacheable": True,
        "identifier": identifier,
        "data": {"meta": {"cntabsolute": total}, "records": records},
        "status": {"errorcode": 0, "message": "OK"} | status,
    }


def record(number: Any, elements: Any, module: str = "address") -> dict[str, Any]:
    return {"id": number, "type": module, "elements": elements}


def read(search: Search, records: Any, total: Any, **status: Any) -> ActionResult:
    (outcome,) = wire.read(answer([result(search, "r.0", records, total, **status)]), [search], ["r.0"])
    return outcome


def found(search: Search, records: Any, total: Any) -> tuple[FoundRecord, ...]:
    outcome = read(search, records, total)
    assert outcome.verdict is Verdict.OK, outcome
    return outcome.found


def values(elements: Any, *data: str) -> dict[str, tuple[str, ...]]:
    search = Search("address", data[0], ("x",), data)
    (one,) = found(search, [record(7, elements)], 1)
    return dict(one.values)


# --- what is sent


def test_a_search_looks_as_documented() -> None:
    (action,) = encode(NUMBER)
    assert action.pop("hmac")
    assert action == {
        "actionid": "urn:onoffice-de-ns:smart:2.5:smartml:action:read",
        "resourceid": "",
        "resourcetype": "estate",
        "identifier": "r1.0",
        "timestamp": NOW,
        "hmac_version": "2",
        "parameters": {
            "data": ["objektnr_extern"],
            "filter": {"objektnr_extern": [{"op": "in", "val": ["PC910", "00815"]}]},
            "listlimit": 500,
            "listoffset": 0,
        },
    }


@given(st.lists(SEARCHES | st.just(GET), min_size=1, max_size=6), st.none() | st.just("claim"))
def test_searches_and_actions_travel_together_each_with_the_signature_of_its_kind(
    actions: list[Action | Search], claim: str | None
) -> None:
    for action, sent in zip(actions, encode(*actions, claim=claim), strict=True):
        resource = action.module if isinstance(action, Search) else "idsfromrelation"
        assert sent["resourcetype"] == resource
        assert sent["actionid"].rsplit(":", 1)[1] == action.kind
        parts = {key: sent[key] for key in ("timestamp", "resourcetype", "actionid")}
        assert sent["hmac"] == signature("sec", token="tok", **parts)
        assert list(sent["parameters"]) == sorted(sent["parameters"])
        assert sent["parameters"].get("extendedclaim") == claim


@given(SEARCHES)
def test_the_api_understands_the_search_as_it_was(search: Search) -> None:
    ((sent,),) = (encode(search),)
    given_ = sent["parameters"]
    ((field, ((expression,))),) = given_["filter"].items()
    assert expression["op"] == "in"
    parts = (sent["resourcetype"], field, tuple(expression["val"]), tuple(given_["data"]))
    assert Search(*parts, given_["listoffset"]) == search


def test_five_hundred_values_are_one_action() -> None:
    many = Search("address", "KdNr", tuple(map(str, range(MAX_VALUES))), ("KdNr",), offset=500)
    (sent,) = encode(many)
    assert len(sent["parameters"]["filter"]["KdNr"][0]["val"]) == 500
    assert sent["parameters"]["listoffset"] == 500


# --- records


@pytest.mark.parametrize("number", [9001, "9001"])
@pytest.mark.parametrize("total", [1, "1"])
def test_ids_and_counts_may_be_numbers_or_texts(number: Any, total: Any) -> None:
    outcome = read(NUMBER, [record(number, {"id": number, "objektnr_extern": "PC910"}, "estate")], total)
    assert outcome == ActionResult(
        Verdict.OK, found=(FoundRecord(9001, {"objektnr_extern": ("PC910",)}),), total=1
    )


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"email__13027": "a@x.test", "email__13028": "b@x.test"}, ("a@x.test", "b@x.test")),
        ({"email__1": "a@x.test", "email__1__Comment": "b@x.test"}, ("a@x.test",)),
        ({"emailbusiness__3757": "a@x.test", "emailprivate__3758": "b@x.test"}, ("a@x.test", "b@x.test")),
        ({"email": ["a@x.test", "", None, "b@x.test"]}, ("a@x.test", "b@x.test")),
        ({"email": {"1": "a@x.test", "3": "b@x.test"}}, ("a@x.test", "b@x.test")),
        ({"email": "a@x.test"}, ("a@x.test",)),
        ({"email": "a@x.test", "email__1": "a@x.test"}, ("a@x.test",)),
        ({"email": None}, ()),
        ({"email": ""}, ()),
        ({"email": []}, ()),
        ({"Email": "a@x.test"}, ("a@x.test",)),  # as a server that ignores the case of names answers
        ({"Name": "a@x.test", "defaultemail__1": "b@x.test", "emails": "c", "email__x": "d"}, ()),
        ({}, ()),
        ([], ()),
    ],
)
def test_the_entries_of_a_contact_field_are_found_under_all_its_keys(
    elements: Any, expected: tuple[str, ...]
) -> None:
    assert values(elements, "email") == {"email": expected}


def test_the_main_entry_is_one_of_the_entries_and_a_field_of_its_own_where_it_was_asked_for() -> None:
    elements = {"Email": "main@x.test", "email__1": "other@x.test", "defaultemail__2": "default@x.test"}
    assert values(elements, "email", "Email", "defaultemail") == {
        "email": ("main@x.test", "other@x.test"),
        "Email": ("main@x.test",),
        "defaultemail": ("default@x.test",),
    }
    assert values({"Telefon1": "0241", "phone__3": "0221"}, "phone", "Telefon1")["phone"] == ("0241", "0221")


@pytest.mark.parametrize(
    ("value", "text"), [(815, "815"), ("00815", "00815"), (815.0, "815"), (8.5, "8.5"), (True, "1"), (0, "0")]
)
def test_a_number_is_its_text(value: Any, text: str) -> None:
    assert values({"KdNr": value}, "KdNr") == {"KdNr": (text,)}


def test_a_key_that_was_asked_for_by_its_whole_name_is_that_field() -> None:
    assert values({"ind__7": "a", "ind": "b"}, "ind__7", "ind") == {"ind__7": ("a",), "ind": ("b",)}


def test_a_record_that_is_there_for_each_of_its_entries_is_one_record_and_counts_once() -> None:
    rows = [
        record(7, {"email__1": "a@x.test"}),
        record("7", {"email__2": "b@x.test"}),
        record(8, {"email__3": "c@x.test"}),
    ]
    search = Search("address", "email", ("x",), ("email",))
    outcome = read(search, rows, 3)
    assert (outcome.found, outcome.total) == (
        (
            FoundRecord(7, {"email": ("a@x.test", "b@x.test")}),
            FoundRecord(8, {"email": ("c@x.test",)}),
        ),
        2,
    )


@pytest.mark.parametrize(
    ("offset", "count", "total", "expected"),
    [(0, 2, 0, 2), (500, 2, 502, 502), (500, 2, 1, 502), (0, 0, 0, 0)],
)
def test_there_are_at_least_as_many_records_as_are_shown(
    offset: int, count: int, total: int, expected: int
) -> None:
    search = Search("estate", "uuid", ("x",), ("uuid",), offset)
    rows = [record(number, [], "estate") for number in range(1, count + 1)]
    assert read(search, rows, total).total == expected


def test_a_page_behind_the_last_record_is_empty() -> None:
    outcome = read(Search("estate", "uuid", ("x",), ("uuid",), 500), [], 500)
    assert (outcome.verdict, outcome.found, outcome.total) == (Verdict.OK, (), 500)


# --- what is no answer is never "not found"


@pytest.mark.parametrize("records", [[], {}])
def test_not_found_is_an_empty_list_and_a_count_of_none(records: Any) -> None:
    assert read(EMAIL, records, 0) == ActionResult(Verdict.OK)


@pytest.mark.parametrize(
    ("records", "total"),
    [
        ([], ""),
        ([], -1),
        ([], "many"),
        ([], 1),  # it counts one, and shows none
        (None, 0),
        ("", 0),
        (False, 0),
        ([None], 1),
        ([[]], 1),
        (["7"], 1),
        ([{"elements": {}}], 1),
        ([record(0, {})], 1),
        ([record("seven", {})], 1),
        ([record(7.5, {})], 1),
        ([record(7, {}, "estate")], 1),
        ([record(7, None)], 1),
        ([record(7, "email")], 1),
        ([record(7, ["a@example.test"])], 1),
        ([record(7, {"email": [["a@example.test"]]})], 1),
        ([record(7, {"email": [{"value": "a@example.test"}]})], 1),
        ([record(6, {}), record(None, {})], 2),
    ],
)
def test_what_cannot_be_read_is_unknown_and_says_why(records: Any, total: Any) -> None:
    outcome = read(EMAIL, records, total)
    assert (outcome.verdict, outcome.error, outcome.found) == (Verdict.UNKNOWN, ErrorClass.TRANSIENT, ())
    assert outcome.message
    assert "example.test" not in outcome.message


@pytest.mark.parametrize("data", [None, [], {}, "", {"meta": {"cntabsolute": None}}])
def test_data_without_records_is_unknown(data: Any) -> None:
    row = result(EMAIL, "r.0", [], 0) | {"data": data}
    (outcome,) = wire.read(answer([row]), [EMAIL], ["r.0"])
    assert outcome.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("count", [0, 1, MAX_VALUES - 1, MAX_VALUES])
@pytest.mark.parametrize("meta", [[], {}, {"cntabsolute": None}])
def test_without_a_count_only_a_full_page_has_another_one_behind_it(meta: Any, count: int) -> None:
    rows = [record(number, {}) for number in range(1, count + 1)]
    row = result(EMAIL, "r.0", [], 0) | {"data": {"meta": meta, "records": rows}}
    (outcome,) = wire.read(answer([row]), [EMAIL], ["r.0"])
    assert (len(outcome.found), outcome.total) == (count, count + (count == MAX_VALUES))


PHP_DATA = st.fixed_dictionaries(
    {},
    optional={
        "meta": st.fixed_dictionaries({}, optional={"cntabsolute": st.integers(-1, 5) | SHAPES}) | SHAPES,
        "records": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "id": st.integers(0, 9) | SHAPES,
                    "type": st.just("address") | SHAPES,
                    "elements": st.dictionaries(st.sampled_from(["email", "email__1", "Name"]), SHAPES)
                    | SHAPES,
                },
            )
            | SHAPES
        )
        | SHAPES,
    },
)


@given(PHP_DATA | SHAPES, st.sampled_from([0, 3]))
def test_only_a_readable_and_empty_answer_is_not_found(data: Any, offset: int) -> None:
    search = Search("address", "email", ("a@example.test",), ("email", "Name"), offset)
    row = json.loads(json.dumps(result(search, "r.0", [], 0) | {"data": data}))
    (outcome,) = wire.read(answer([row]), [search], ["r.0"])
    if outcome.verdict is Verdict.OK and not outcome.found:
        assert row["data"]["records"] in ([], {})
        meta = row["data"].get("meta")
        count = meta.get("cntabsolute") if isinstance(meta, dict) else None
        assert count is None or 0 <= int(count) <= offset
    for one in outcome.found:
        assert one.id > 0
        assert one.values.keys() == {"email", "Name"}
        assert all(text for texts in one.values.values() for text in texts)
    assert outcome.total >= len(outcome.found)


@given(ANSWERS, st.sampled_from([200, 429, 500]))
def test_no_answer_is_an_error_and_only_an_answered_search_is_ok(content: bytes, status: int) -> None:
    actions = (EMAIL, NUMBER, GET)
    outcomes = wire.read(content, actions, wire.identifiers("r", 3), status=status)
    assert len(outcomes) == 3
    for outcome in outcomes:
        assert outcome.verdict is not Verdict.OK or not outcome.message


@given(st.permutations(range(3)))
def test_searches_get_their_own_answers_in_any_order(order: list[int]) -> None:
    searches = [Search("address", "KdNr", (str(number),), ("KdNr",)) for number in range(3)]
    rows = [
        result(search, f"r.{number}", [record(number + 1, {"KdNr": number})], 1)
        for number, search in enumerate(searches)
    ]
    outcomes = wire.read(answer([rows[place] for place in order]), searches, wire.identifiers("r", 3))
    assert [outcome.found[0].id for outcome in outcomes] == [1, 2, 3]


def test_a_result_without_identifier_must_be_of_the_same_module() -> None:
    rows = [result(NUMBER, "", [], 0), result(EMAIL, "", [], 0)]
    outcomes = wire.read(answer(rows), [EMAIL, NUMBER], wire.identifiers("r", 2))
    assert {outcome.verdict for outcome in outcomes} == {Verdict.UNKNOWN}


@pytest.mark.parametrize(
    ("code", "verdict", "error"),
    [
        (141, Verdict.REJECTED, ErrorClass.OTHER),
        (149, Verdict.REJECTED, ErrorClass.RIGHTS),
        (70, Verdict.UNKNOWN, ErrorClass.TRANSIENT),
        (137, Verdict.REJECTED, ErrorClass.CREDENTIALS),
    ],
)
def test_an_error_of_a_search_is_classified_as_every_other(
    code: int, verdict: Verdict, error: ErrorClass
) -> None:
    outcome = read(EMAIL, [], 0, errorcode=code, message="Unknown field: ind_1")
    assert (outcome.verdict, outcome.error, outcome.code) == (verdict, error, code)
    assert outcome.message == "Unknown field: ind_1"


# --- what was searched for is personal data

QUOTES = [
    str,
    str.upper,
    lambda text: json.dumps(text)[1:-1],
    lambda text: html.escape(text),
    lambda text: quote(text),
    lambda text: text.replace("'", "\\'"),
    lambda text: f"%{text}%",
]
PERSONAL = [
    "max.müller@example.test",
    "o'brien@example.test",
    "+49 241 4456/12",
    "Erika Müßig",
    "PC910",
    "815",
]


@pytest.mark.parametrize("in_quotes", QUOTES)
@pytest.mark.parametrize("value", PERSONAL)
@pytest.mark.parametrize("at_top", [True, False])
def test_no_message_quotes_a_value_that_was_searched_for(in_quotes: Any, value: str, at_top: bool) -> None:
    search = Search("address", "email", ("", " ", value), ("email",))
    message = f"Invalid value '{in_quotes(value)}' for field email"
    content = (
        answer([], 500, 255, message)
        if at_top
        else answer([result(search, "r.0", [], 0, errorcode=255, message=message)])
    )
    (outcome,) = wire.read(content, [search], ["r.0"])
    assert in_quotes(value).strip("%") not in outcome.message
    assert "for field email" in outcome.message
    assert "***" in outcome.message


@given(
    st.lists(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=4, max_size=9), min_size=1
    ),
    st.data(),
)
def test_no_part_of_any_value_is_left_where_values_overlap(texts: list[str], data: st.DataObject) -> None:
    search = Search("address", "KdNr", tuple(texts), ("KdNr",))
    quoted = data.draw(st.sampled_from(texts))
    message = f"({quoted})" * 80
    outcome = read(search, [], 0, errorcode=255, message=message)
    assert quoted.casefold() not in outcome.message.casefold()
    assert len(outcome.message) <= 500


def test_a_short_value_is_hidden_where_it_stands_alone() -> None:
    search = Search("address", "KdNr", ("15", "a"), ("KdNr",))
    outcome = read(search, [], 0, errorcode=255, message="Invalid value for parameter 15 (a): 2015")
    assert outcome.message == "Invalid value for parameter *** (***): 2015"
