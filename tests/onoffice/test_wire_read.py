import json
import time
from codecs import BOM_UTF8
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.onoffice import wire
from worker.onoffice.codes import classify, table
from worker.onoffice.redact import MAX_MESSAGE, MAX_READ, clean
from worker.planner.actions import Action, ActionResult, ErrorClass, Verdict

CREATE = Action("create", "calendar:address", (1,), (2, 3))
MODIFY = Action("modify", "calendar:address", (1,), (2,), (("statusTerminbestaetigung", "gesendet"),))
DELETE = Action("delete", "calendar:address", (1,), (2,))
GET = Action("get", "estate:address:buyer", (15, 1051, 7), ())
ALL = (CREATE, MODIFY, DELETE, GET)
IDENTIFIERS = wire.identifiers("r", 4)
UNREADABLE_CODES = [None, "", "x", -1, "-1", 1.5, 1e300, True, [], {}, 10**30, "9" * 40, "²"]
REFUSING_CODES = [*range(13, 22), 22, 40, 49, 136, 137, 158, 243, 248, 4, 6, 9, 23, 25]


def row(action: Action, identifier: Any, code: Any = 0, message: Any = "", data: Any = ()) -> dict[str, Any]:
    return {
        "actionid": f"urn:onoffice-de-ns:smart:2.5:smartml:action:{action.kind}",
        "resourceid": "",
        "resourcetype": "idsfromrelation" if action.kind == "get" else "relation",
        "cacheable": False,
        "identifier": identifier,
        "data": list(data) if data == () else data,
        "status": {"errorcode": code, "message": message},
    }


def answer(results: Any, code: int = 200, errorcode: Any = 0, message: str = "OK") -> bytes:
    return json.dumps(
        {
            "status": {"code": code, "errorcode": errorcode, "message": message},
            "response": {"results": results},
        }
    ).encode()


def read(results: Any, actions: tuple[Action, ...] = ALL, **options: Any) -> tuple[ActionResult, ...]:
    return wire.read(answer(results), actions, IDENTIFIERS[: len(actions)], **options)


def related(elements: Any) -> Any:
    data = {
        "meta": {"cntabsolute": None},
        "records": [{"id": "relatedIds", "type": "", "elements": elements}],
    }
    (outcome,) = read([row(GET, "r.0", data=data)], (GET,))
    assert outcome.verdict is Verdict.OK
    return dict(outcome.related)


def rows(*codes: int) -> list[dict[str, Any]]:
    return [
        row(action, identifier, code)
        for action, identifier, code in zip(ALL, IDENTIFIERS, codes, strict=True)
    ]


def verdicts(outcomes: tuple[ActionResult, ...]) -> list[Verdict]:
    return [outcome.verdict for outcome in outcomes]


CODES = st.sampled_from([*sorted(table()), 7777])
FOUR = st.tuples(CODES, CODES, CODES, CODES)


@given(FOUR, st.permutations(range(4)))
def test_the_order_of_the_results_does_not_matter(codes: tuple[int, ...], order: list[int]) -> None:
    result_rows = rows(*codes)
    assert read([result_rows[i] for i in order]) == read(result_rows)


@given(
    st.tuples(*[st.sampled_from([0, 0, 0, "0", 0.0, 80, None, "x"])] * 3),
    st.lists(st.sampled_from([0, 1, 2, 0, 1, 2, None]), min_size=1, max_size=4),
)
def test_writes_alone_are_read_as_beside_a_read(codes: tuple[Any, ...], order: list[int | None]) -> None:
    results = [row(action, f"r.{i}", code) for i, (action, code) in enumerate(zip(ALL, codes, strict=False))]
    answered = [row(CREATE, None) if i is None else results[i] for i in order]
    assert read(answered, ALL[:3]) == read([*answered, row(GET, "r.3")])[:3]


@given(st.permutations(range(3)), st.sampled_from([0, "0"]))
def test_writes_that_are_done_are_done_in_any_order(order: list[int], code: Any) -> None:
    results = [row(ALL[i], f"r.{i}", code) for i in order]
    assert verdicts(read(results, ALL[:3])) == [Verdict.OK] * 3


@pytest.mark.parametrize("part", [b"cacheable", b"relation", b'"OK"', b"create"])
@pytest.mark.parametrize("odd", [b"\xe4", b"\xff", b"\xed\xa0\x80"])
def test_an_answer_with_bytes_that_are_no_text_is_unknown_wherever_they_stand(
    part: bytes, odd: bytes
) -> None:
    plain = answer([row(CREATE, "r.0")])
    assert verdicts(wire.read(plain, [CREATE], ["r.0"])) == [Verdict.OK]
    broken = plain.replace(part, part[:3] + odd + part[3:])
    assert verdicts(wire.read(broken, [CREATE], ["r.0"])) == [Verdict.UNKNOWN]


@given(FOUR, st.integers(0, 3))
def test_a_missing_result_is_unknown_and_changes_no_other(codes: tuple[int, ...], missing: int) -> None:
    result_rows = rows(*codes)
    expected = list(read(result_rows))
    expected[missing] = wire.unknown("the answer has no result for this action")
    assert list(read(result_rows[:missing] + result_rows[missing + 1 :])) == expected


@given(
    FOUR,
    st.sampled_from([200, 400, 500]),
    st.sampled_from([0, 97, "97", 22, 136]),
    st.sampled_from([200, 401, 429, 500, 502]),
)
def test_where_there_are_results_they_alone_decide(
    codes: tuple[int, ...], code: int, errorcode: Any, status: int
) -> None:
    assert wire.read(answer(rows(*codes), code, errorcode), ALL, IDENTIFIERS, status=status) == read(
        rows(*codes)
    )


@given(CODES)
def test_a_code_decides_the_verdict(code: int) -> None:
    (outcome,) = read([row(CREATE, "r.0", code)], (CREATE,))
    if code == 0:
        assert outcome == ActionResult(Verdict.OK)
    else:
        expected = Verdict.UNKNOWN if classify(code) is ErrorClass.TRANSIENT else Verdict.REJECTED
        assert (outcome.verdict, outcome.code, outcome.error) == (expected, code, classify(code))
        assert outcome.message


@given(FOUR)
def test_codes_may_come_as_strings(codes: tuple[int, ...]) -> None:
    assert read([row(a, n, str(c)) for a, n, c in zip(ALL, IDENTIFIERS, codes, strict=True)]) == read(
        rows(*codes)
    )


@pytest.mark.parametrize("blank", ["", None])
def test_results_without_identifiers_are_matched_by_position(blank: Any) -> None:
    result_rows = [row(action, blank, code) for action, code in zip(ALL, [0, 180, 168, 0], strict=True)]
    assert read(result_rows) == read(rows(0, 180, 168, 0))


def test_results_without_identifiers_in_another_order_are_not_trusted() -> None:
    result_rows = [row(action, "", 0) for action in (DELETE, CREATE, MODIFY, GET)]
    assert verdicts(read(result_rows)) == [Verdict.UNKNOWN] * 4


@pytest.mark.parametrize("kept", [{"actionid"}, {"resourcetype"}, set()])
def test_a_result_without_identifier_tells_its_kind_by_what_it_has(kept: set[str]) -> None:
    swapped = [row(GET, ""), row(CREATE, "")]
    result_rows = [{name: each[name] for name in {"status", *kept}} for each in swapped]
    expected = Verdict.UNKNOWN if kept else Verdict.OK
    assert verdicts(read(result_rows, (CREATE, GET))) == [expected] * 2


def test_results_without_identifiers_that_are_too_few_or_too_many_are_not_trusted() -> None:
    result_rows = [row(action, "", 0) for action in ALL]
    assert verdicts(read(result_rows[:3])) == [Verdict.UNKNOWN] * 4
    assert verdicts(read([*result_rows, result_rows[0]])) == [Verdict.UNKNOWN] * 4
    assert verdicts(read([*result_rows[:3], "what?"]))[3] is Verdict.UNKNOWN


def test_a_result_of_a_modify_without_identifier_may_call_itself_create() -> None:
    assert verdicts(read([row(CREATE, "")], (MODIFY,))) == [Verdict.OK]


def test_position_is_not_trusted_as_soon_as_one_result_has_an_identifier() -> None:
    result_rows = [row(CREATE, ""), *rows(0, 0, 0, 0)[1:]]
    assert verdicts(read(result_rows)) == [Verdict.UNKNOWN, Verdict.OK, Verdict.OK, Verdict.OK]


def test_foreign_results_are_ignored() -> None:
    assert read(
        [row(CREATE, "other.0", 80), *rows(0, 180, 168, 0), row(CREATE, 7), row(CREATE, [1])]
    ) == read(rows(0, 180, 168, 0))


def test_repeated_results_count_once_if_they_agree_and_are_unknown_if_not() -> None:
    assert verdicts(read([row(CREATE, "r.0"), row(CREATE, "r.0")], (CREATE,))) == [Verdict.OK]
    assert verdicts(read([row(CREATE, "r.0"), row(CREATE, "r.0", 80)], (CREATE,))) == [Verdict.UNKNOWN]


@pytest.mark.parametrize(("code", "verdict"), [(0.0, Verdict.OK), (80.0, Verdict.REJECTED)])
def test_a_code_may_have_a_fraction_of_nought(code: float, verdict: Verdict) -> None:
    assert verdicts(read([row(CREATE, "r.0", code)], (CREATE,))) == [verdict]


def test_a_byte_order_mark_before_the_answer_is_no_part_of_it() -> None:
    content = BOM_UTF8 + answer(rows(0, 80, 0, 0))
    assert wire.read(content, ALL, IDENTIFIERS) == read(rows(0, 80, 0, 0))


@pytest.mark.parametrize("code", UNREADABLE_CODES)
def test_an_unreadable_code_is_unknown(code: Any) -> None:
    assert verdicts(read([row(CREATE, "r.0", code)], (CREATE,))) == [Verdict.UNKNOWN]


@pytest.mark.parametrize("status", [None, [], "OK", 0])
def test_a_result_without_a_status_is_unknown(status: Any) -> None:
    assert verdicts(read([row(CREATE, "r.0") | {"status": status}], (CREATE,))) == [Verdict.UNKNOWN]


# --- reading relations


def test_related_ids_come_as_strings_and_only_the_keys_that_are_there() -> None:
    assert related({"15": [], "1051": ["50", "8"]}) == {15: frozenset(), 1051: frozenset({50, 8})}


@pytest.mark.parametrize(
    "data",
    [
        {"records": []},
        {"records": {}},
        {"meta": {"cntabsolute": 0}, "records": []},
        {"meta": {"cntabsolute": 1}, "records": [{"elements": []}]},
    ],
)
def test_empty_values_of_php_prove_no_absence(data: Any) -> None:
    (outcome,) = read([row(GET, "r.0", data=data)], (GET,))
    assert outcome == ActionResult(Verdict.OK)


@pytest.mark.parametrize(
    "data",
    [
        *([], {}, None, "", {"records": None}, {"records": "15"}, {"records": [[]]}, {"records": ["x"]}),
        *(
            {"records": [{"elements": shape}]}
            for shape in (None, "", 0, ["15"], {"fifteen": []}, {"": ["8"]})
        ),
        {"records": [{"elements": {"15": ["8"], "x": ["9"]}}]},
        {"records": [{"elements": {"15": ["8"]}}, {"id": "relatedIds"}]},
        {"meta": {"cntabsolute": 1}, "records": []},
        {"meta": {"cntabsolute": "1"}, "records": {}},
    ],
)
def test_what_is_no_answer_to_a_read_says_of_no_id_that_it_has_nothing_related(data: Any) -> None:
    (outcome,) = read([row(GET, "r.0", data=data)], (GET,))
    assert outcome == ActionResult(Verdict.OK, unreadable=frozenset({15, 1051, 7}))


@pytest.mark.parametrize("ids", [None, "", False, ["x"], [["1"]], [1.5], [-1]])
def test_an_unreadable_list_is_left_out_and_said_to_be_unreadable(ids: Any) -> None:
    for elements in ({"15": ids}, {"15": ids, "015": ["8"]}, {"15": ["8"], "015": ids}):
        data = {"records": [{"id": "relatedIds", "elements": {**elements, "7": ["8"]}}]}
        (outcome,) = read([row(GET, "r.0", data=data)], (GET,))
        assert outcome == ActionResult(Verdict.OK, related={7: frozenset({8})}, unreadable=frozenset({15}))


def test_related_ids_may_be_numbers_of_any_form_and_nought_is_none() -> None:
    assert related({"15": [8, "9", 10.0, 0, "0"], "1051": ["0"], "7": []}) == {
        15: frozenset({8, 9, 10}),
        1051: frozenset(),
        7: frozenset(),
    }


def test_a_list_with_gaps_in_its_keys_is_a_list() -> None:
    assert related({"15": {"1": "50", "3": 8}}) == {15: frozenset({50, 8})}


def test_ids_that_were_not_requested_are_left_out() -> None:
    assert related({"7": ["1"], "99": ["1"]}) == {7: frozenset({1})}


def test_a_read_by_children_answers_by_children() -> None:
    get = Action("get", "estate:address:buyer", (), (8,))
    data = {"records": [{"id": "relatedIds", "elements": {"8": ["15"]}}]}
    (outcome,) = wire.read(answer([row(get, "r.0", data=data)]), (get,), IDENTIFIERS[:1])
    assert outcome.related == {8: frozenset({15})}


# --- no results


@pytest.mark.parametrize("results", [[], {}, None, "", ["x"]])
@pytest.mark.parametrize("code", REFUSING_CODES)
def test_a_refusal_of_the_whole_request_rejects_every_action(results: Any, code: int) -> None:
    outcomes = wire.read(answer(results, 400, code, "no"), ALL, IDENTIFIERS)
    assert {(o.verdict, o.code, o.error, o.message) for o in outcomes} == {
        (Verdict.REJECTED, code, classify(code), "no")
    }
    assert len(outcomes) == 4


@pytest.mark.parametrize("code", [0, 1, 3, 7, 8, 26, 70, 80, 97, 168, 999, 7777, None, "x"])
def test_any_other_code_without_results_leaves_every_action_unknown(code: Any) -> None:
    for status in (200, 500):
        assert verdicts(wire.read(answer([], status, code, "?"), ALL, IDENTIFIERS)) == [Verdict.UNKNOWN] * 4


def test_the_message_of_an_answer_without_results_is_reported() -> None:
    (outcome,) = wire.read(answer([], 500, 97, ""), (CREATE,), IDENTIFIERS[:1])
    assert (outcome.code, outcome.message) == (
        97,
        "HTTP 200 without readable results: Error in action (code 97)",
    )


@pytest.mark.parametrize(
    ("status", "verdict", "error"),
    [
        (401, Verdict.REJECTED, ErrorClass.CREDENTIALS),
        (403, Verdict.REJECTED, ErrorClass.CREDENTIALS),
        (429, Verdict.NOT_SENT, ErrorClass.TRANSIENT),
        (200, Verdict.UNKNOWN, ErrorClass.TRANSIENT),
        (301, Verdict.UNKNOWN, ErrorClass.TRANSIENT),
        (404, Verdict.UNKNOWN, ErrorClass.TRANSIENT),
        (413, Verdict.UNKNOWN, ErrorClass.TRANSIENT),
        (502, Verdict.UNKNOWN, ErrorClass.TRANSIENT),
    ],
)
def test_without_readable_results_the_http_status_decides(
    status: int, verdict: Verdict, error: ErrorClass
) -> None:
    for content in (b"<html>", b"", b"[]", answer([], 200, 0)):
        (outcome,) = wire.read(content, (CREATE,), IDENTIFIERS[:1], status=status)
        assert (outcome.verdict, outcome.error) == (verdict, error)
        assert f"HTTP {status}" in outcome.message


# --- messages and hostile answers


def test_messages_are_cut_and_secrets_taken_out_before_the_cut() -> None:
    secret = "s" * 64
    (outcome,) = read(
        [row(CREATE, "r.0", 80, "x" * 480 + secret + "y" * 1000)], (CREATE,), hidden=("", "tok", secret)
    )
    assert outcome.message == "x" * 480 + "***" + "y" * 17


def test_secrets_are_hidden_in_the_message_of_a_whole_request_too() -> None:
    (outcome,) = wire.read(
        answer([], 400, 97, "bad token TOKEN"), (CREATE,), IDENTIFIERS[:1], hidden=("TOKEN",)
    )
    assert "TOKEN" not in outcome.message
    (outcome,) = wire.read(
        answer([], 400, 22, "bad token TOKEN"), (CREATE,), IDENTIFIERS[:1], hidden=("TOKEN",)
    )
    assert outcome.message == "bad token ***"


@pytest.mark.parametrize(
    "content",
    [
        b"<html>502</html>",
        b"OK",
        b"",
        b"null",
        b"[" * 200_000,
        b'{"response":' * 50_000,
        b'{"response": {"results": ' + b"9" * 100_000 + b"}}",
        b'{"status": {"errorcode": 1e999}}',
        b'{"status": {"errorcode": 22, "message": "\\ud800"}}',
        b'{"status": {"errorcode": 22, "message": "\xff"}}',
        answer(rows(0, 0, 0, 0))[:-1],
        b"<br />Notice: Undefined index" + answer(rows(0, 0, 0, 0)),
    ],
)
def test_what_cannot_be_read_leaves_every_action_unknown(content: bytes) -> None:
    assert verdicts(wire.read(content, ALL, IDENTIFIERS)) == [Verdict.UNKNOWN] * 4


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["r.0", "r.1", "0", "15", 0, 15, ""])
)
KEYS = st.sampled_from(
    [
        "status",
        "errorcode",
        "message",
        "response",
        "results",
        "identifier",
        "data",
        "records",
        "elements",
        "15",
    ]
)
SHAPES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS | st.text(), inner), max_leaves=30
)
PIECES = st.fixed_dictionaries(
    {},
    optional={
        "identifier": st.sampled_from(IDENTIFIERS) | SHAPES,
        "status": st.fixed_dictionaries({}, optional={"errorcode": CODES | SHAPES, "message": SHAPES})
        | SHAPES,
        "data": st.fixed_dictionaries(
            {"records": st.lists(st.fixed_dictionaries({"elements": SHAPES}) | SHAPES)}
        )
        | SHAPES,
        "actionid": SHAPES,
        "resourcetype": SHAPES,
    },
)
NEARLY = st.fixed_dictionaries(
    {
        "status": PIECES | SHAPES,
        "response": st.fixed_dictionaries({"results": st.lists(PIECES | SHAPES) | SHAPES}),
    }
)
ANSWERS = st.binary() | st.one_of(SHAPES, NEARLY).map(lambda shape: json.dumps(shape).encode())


@given(ANSWERS, st.sampled_from([200, 301, 401, 429, 500]))
def test_no_answer_is_an_error_and_every_outcome_can_be_kept(content: bytes, status: int) -> None:
    outcomes = wire.read(content, ALL, IDENTIFIERS, status=status, hidden=("secret",))
    assert len(outcomes) == 4
    for outcome in outcomes:
        assert len(outcome.message.encode()) <= 4 * MAX_MESSAGE
        assert 0 <= outcome.code < 2**63
        assert all(number in (15, 1051, 7) for number in outcome.related)


@given(st.lists(PIECES, max_size=6))
def test_only_a_result_with_code_zero_makes_an_action_ok(results: list[Any]) -> None:
    result_rows = json.dumps({"response": {"results": results}}).encode()
    for identifier, outcome in zip(IDENTIFIERS, wire.read(result_rows, ALL, IDENTIFIERS), strict=True):
        if outcome.verdict is Verdict.OK:
            states = [
                r["status"]
                for r in results
                if r.get("identifier") in (identifier, "", None) and isinstance(r.get("status"), dict)
            ]
            assert any(set(str(state.get("errorcode"))) == {"0"} for state in states)


def test_an_answer_of_many_megabytes_is_cleaned_at_once() -> None:
    values = [f"Müller{number}@example.org" for number in range(50)]
    began = time.process_time()
    assert clean("x" * 8_000_000, ["a-secret"], values) == "x" * MAX_MESSAGE
    assert time.process_time() - began < 1


@pytest.mark.parametrize("spelled", ["Müller " * 20, "a-secret-" * 12])
def test_no_part_of_a_value_is_shown_that_the_bound_cuts(spelled: str) -> None:
    for before in range(MAX_MESSAGE + len(spelled)):
        shown = clean("." * before + spelled * (MAX_READ // 40), ["a-secret-" * 12], ["Müller " * 20])
        assert len(shown) <= MAX_MESSAGE
        assert set(shown) <= {".", "*"}
    for behind in range(0, MAX_MESSAGE, 10):
        hidden = spelled * (MAX_READ // len(spelled) - 3)
        shown = clean(hidden + "." * behind + spelled * 5, ["a-secret-" * 12], ["Müller " * 20])
        assert set(shown) <= {".", "*"}
