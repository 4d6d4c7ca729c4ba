import json
import re
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from numbers import Number
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.contract_messages import PLAIN, accounts, infos, json_values, labels, messages, spoiled
from tests.support.waiting import HANGS_AFTER
from worker.contract import (
    MAX_BODY,
    MAX_IDS,
    Change,
    Relation,
    correlation_of,
    from_message,
    parse_many,
    read_instant,
    to_message,
    traceparent_of,
)
from worker.contract.fields import FIELDS, find_faults
from worker.contract.message import Message
from worker.errors import InvalidChange


def faults(obj: object, read: Any = from_message) -> dict[str, str]:
    with pytest.raises(InvalidChange) as caught:
        read(obj)
    return {fault.location: fault.message for fault in caught.value.faults}


def changes(data: bytes) -> list[Change]:
    return [parsed.change for parsed in parse_many(data)]


def encoded(*items: object) -> bytes:
    return b"\n".join(json.dumps(item).encode() for item in items)


def test_a_plain_message_becomes_a_change_with_its_relations() -> None:
    [change] = changes(encoded(PLAIN))
    assert change == Change(
        account="acme", action="create", type="estate:address:buyer", parents=(501,), children=(9001, 9002)
    )
    assert change.relations == (
        Relation("estate:address:buyer", 501, 9001),
        Relation("estate:address:buyer", 501, 9002),
    )
    assert (change.source, change.batch, change.event_id, change.occurred_at) == ("api", "", None, None)


@given(messages())
def test_every_valid_message_is_accepted_and_its_public_form_reads_back_as_the_same_change(
    message: dict[str, Any],
) -> None:
    change = from_message(message).change
    assert from_message(to_message(change)).change == change
    assert changes(encoded(to_message(change))) == [change]
    parents = len(change.parents) + len(change.parent_references)
    assert parents == 1 or len(change.children) + len(change.child_references) == 1
    assert list(find_faults(message)) == []


@given(messages())
def test_a_replace_names_one_record_beside_the_set_that_it_replaces(message: dict[str, Any]) -> None:
    change = from_message({**message, "action": "replace", "relationinfo": None}).change
    parents = change.parents + change.parent_references
    children = change.children + change.child_references
    assert len(children if change.replaces == "parent" else parents) == 1


def test_an_id_that_is_repeated_does_not_turn_a_replace_around() -> None:
    change = from_message({**PLAIN, "action": "replace", "parentid": [3, 3], "childid": [1, 2]}).change
    assert (change.parents, change.children, change.replaces) == ((3,), (1, 2), "child")


@given(st.lists(messages(), min_size=1, max_size=5))
def test_an_array_lines_and_decoded_objects_give_the_same_changes(batch: list[dict[str, Any]]) -> None:
    parsed = [from_message(message) for message in batch]
    assert parse_many(json.dumps(batch)) == parsed
    assert parse_many(encoded(*batch)) == parsed


def test_one_object_may_span_lines_and_lines_may_be_blank() -> None:
    expected = from_message(PLAIN).change
    assert changes(json.dumps(PLAIN, indent=2).encode()) == [expected]
    assert changes(b"\r\n".join([b"", encoded(PLAIN), b"", encoded(PLAIN), b""])) == [expected, expected]


def test_an_empty_array_asks_for_nothing_and_an_empty_body_is_a_fault() -> None:
    assert parse_many(b" []") == []
    assert "got nothing" in faults(b" \n", parse_many)[""]


@given(spoiled())
def test_a_message_is_refused_exactly_when_it_has_a_fault_to_name(message: dict[str, Any]) -> None:
    if list(find_faults(message)):
        assert faults(message)
    else:
        from_message(message)


@given(
    st.binary(max_size=200) | st.text(max_size=200) | json_values.map(json.dumps) | spoiled().map(json.dumps)
)
def test_whatever_comes_in_only_an_invalid_change_comes_out(data: bytes | str) -> None:
    try:
        parse_many(data)
    except InvalidChange as error:
        str(error.faults[0]).encode()


@given(
    json_values
    | st.dictionaries(st.integers() | st.none() | st.text(), st.sets(st.integers()))
    | st.builds(object)
)
def test_whatever_a_python_producer_passes_only_an_invalid_change_comes_out(obj: object) -> None:
    with pytest.raises(InvalidChange):
        from_message(obj)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, encoded({**PLAIN})[:-1] + b',"x":' + b"[" * 100_000]
)
def test_deep_nesting_is_a_fault_and_not_a_crash(body: bytes) -> None:
    assert list(faults(body, parse_many)) == [""]


def test_a_body_that_is_too_long_is_refused_before_it_is_read() -> None:
    assert "at most 16777216 bytes" in faults(b" " * (MAX_BODY + 1), parse_many)[""]


def test_every_fault_is_named_by_its_path() -> None:
    named = faults(
        {
            "account": "Acme",
            "action": "Create",
            "relationtype": "estate:address:byer",
            "parentid": [],
            "childid": [1, 2, "x", "501", True, 2.5, 0, 2**53, None],
            "relationinfo": {"statusTerminbestaetigung": "bestatigt", "a b": 1},
            "occurred_at": "2026-11-21T02:00:00",
            "event_id": "line\nbreak",
            "source": "x" * 65,
            "batch": "",
            "allow_empty": 1,
            "version": True,
            "parentId": 7,
        }
    )
    assert named == {
        "parentId": "unknown field; did you mean parentid?",
        "account": 'expected an account name (1 to 32 of a-z 0-9 _ -, a letter or digit first), got "Acme"',
        "action": 'expected one of create, modify, delete, replace, got "Create"; did you mean create?',
        "relationtype": 'unknown relation type "estate:address:byer"; did you mean estate:address:buyer?',
        "parentid": "expected 1 to 500 ids, got 0; a replace may empty a record, with allow_empty",
        "childid[2]": 'expected a positive integer, got "x"; '
        "to look it up, send a reference such as address:email=x@example.test",
        "childid[3]": 'expected a positive integer, got "501"; send a number, not text',
        "childid[4]": "expected a positive integer, got true",
        "childid[5]": "expected a positive integer, got 2.5",
        "childid[6]": "expected a positive integer, got 0",
        "childid[7]": "expected an integer below 2**53, got 9007199254740992",
        "childid[8]": "expected a positive integer, got null",
        "relationinfo.statusTerminbestaetigung": "expected one of "
        "bestätigt, gesendet, gecancelt, nicht gesetzt, "
        'got "bestatigt"; did you mean bestätigt?',
        'relationinfo["a b"]': "unknown key",
        "occurred_at": "expected date, time and offset (RFC 3339) such as 2026-11-21T02:00:00Z, "
        'got "2026-11-21T02:00:00"',
        "event_id": 'expected a text of 1 to 200 printable characters, got "line\\nbreak"',
        "source": "expected a text of 1 to 64 printable characters, got 65 characters",
        "batch": 'expected a text of 1 to 64 printable characters, got ""',
        "allow_empty": "expected true or false, got 1",
        "version": "expected 1, got true",
    }


@pytest.mark.parametrize("text", ["9001,9002", "[9001, 9002]", "{9001,9002}", "9001; 9002", "9001.0", "1|2"])
def test_ids_that_a_tool_has_joined_to_a_text_are_told_how_to_be_sent(text: str) -> None:
    remedy = "; send numbers, not text: 501, or [501, 502] for several"
    assert faults({**PLAIN, "childid": text})["childid"].endswith(remedy)
    assert faults({**PLAIN, "childid": [text]})["childid[0]"].endswith(remedy)
    assert "send a reference" in faults({**PLAIN, "childid": f"{text} x"})["childid"]


def test_of_millions_of_ids_too_many_is_all_that_is_said_and_soon() -> None:
    for item in (b"2,", b'"address:email=a",'):
        body = encoded({**PLAIN, "childid": 9001}).replace(b"9001", b"[" + item * 500_000 + b'"x"]')
        began = time.process_time()
        with pytest.raises(InvalidChange) as raised:
            parse_many(body)
        assert list(map(str, raised.value.faults)) == ["childid: expected 1 to 500 ids, got 500001"]
        assert time.process_time() - began < 3


WHOLE = [b"501.0", b"501.000"]
NOT_WHOLE = {
    b"501.5": "got 501.5",
    b"1.2e3": "got 1.2e3; write all its digits, without an exponent",
    b"5E2": "got 5E2; write all its digits, without an exponent",
    b"9007199254740993.0": "expected an integer below 2**53, got 9007199254740993",
    b"1" * 5000: "got a huge number",
    b"-501.0": "got -501",
}


@pytest.mark.parametrize("wrap", [b"%b", b"[%b]", b"%b\n\n"])
@pytest.mark.parametrize("number", WHOLE)
def test_a_number_with_an_integral_value_is_an_integer(number: bytes, wrap: bytes) -> None:
    message = encoded({**PLAIN, "version": 1.0}).replace(b"501", number).replace(b"9001", b"9001.0")
    assert changes(wrap % message) == [from_message(PLAIN).change]


@pytest.mark.parametrize("number", NOT_WHOLE)
def test_any_other_number_is_a_fault_as_it_is_written(number: bytes) -> None:
    body = encoded(PLAIN, PLAIN).replace(b"501", number)
    named = faults(body, parse_many)
    assert list(named) == ["line 1.parentid", "line 2.parentid"]
    assert all(NOT_WHOLE[number] in message for message in named.values())


class Integral:
    """As numpy's integers are: registered as numbers, and no ints."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return self.value == other

    def __lt__(self, other: int) -> bool:
        return self.value < other

    def __gt__(self, other: int) -> bool:
        return self.value > other


Number.register(Integral)


@pytest.mark.parametrize("number", [501.0, Decimal(501), Decimal("501.00"), Fraction(501), Integral(501)])
def test_an_integral_number_of_python_is_an_integer_whatever_its_type(number: object) -> None:
    assert from_message({**PLAIN, "parentid": number, "childid": (9001.0, 9002)}) == from_message(PLAIN)


def test_dates_times_and_uuids_of_python_are_texts() -> None:
    at, day, name = datetime(2026, 11, 21, 2, tzinfo=UTC), date(2026, 11, 21), UUID(int=7)
    change = from_message({**PLAIN, "occurred_at": at, "batch": day, "event_id": name}).change
    assert (change.occurred_at, change.batch, change.event_id) == (
        read_instant("2026-11-21T02:00:00Z"),
        "2026-11-21",
        str(name),
    )
    for unclear in (at.replace(tzinfo=None), day):
        assert "offset" in faults({**PLAIN, "occurred_at": unclear})["occurred_at"]


@pytest.mark.parametrize(
    "number",
    [501.5, float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("1E+9999999"), 1e300, 1j],
)
def test_a_number_of_python_that_is_no_integer_is_a_fault(number: object) -> None:
    assert list(faults({**PLAIN, "parentid": number})) == ["parentid"]


@given(messages(), st.data(), st.booleans())
def test_a_name_that_stands_twice_is_a_fault_wherever_it_stands(
    message: dict[str, Any], data: st.DataObject, ascii_only: bool
) -> None:
    name = data.draw(st.sampled_from(list(message)))
    value = message[name] if data.draw(st.booleans()) else None
    again = f"{data.draw(st.sampled_from(['', ' ']))}{json.dumps(name)} : {json.dumps(value)}"
    good = json.dumps(message, ensure_ascii=ascii_only)
    pairs = [again, good[1:-1]] if data.draw(st.booleans()) else [good[1:-1], again]
    bad = "{" + ",".join(pairs) + "}"
    wanted = f"{name}: stands 2 times in its object; which value counts?"
    for body, place in ((bad, ""), (f"[{good},{bad}]", "[1]."), (f"{good}\n{bad}", "line 2.")):
        with pytest.raises(InvalidChange) as caught:
            parse_many(body)
        assert [str(fault) for fault in caught.value.faults] == [place + wanted]


@pytest.mark.parametrize(
    "body",
    [
        b'"parentid":501,"childid":9001,"child\\u0069d":9002',
        b'"parentid":501,"childid":9001,"childid":9002,"event_id":"\\u0022"',
        b'"parentid":501,"childid":9001,"childid":9002,"batch":null',
        b'"parentid":501.0,"childid":9001.0,"childid":9001.0',
    ],
)
def test_no_spelling_hides_a_name_that_stands_twice(body: bytes) -> None:
    head = b'{"account":"acme","action":"create","relationtype":"estate:address:buyer",'
    assert list(faults(head + body + b"}", parse_many)) == ["childid"]


def test_a_key_of_relationinfo_stands_once_too() -> None:
    info = '{"statusTerminbestaetigung": "gesendet", "statusTerminbestaetigung": "gecancelt", "a": 1, "a": 1}'
    body = json.dumps({**CALENDAR, "action": "modify", "relationinfo": 0}).replace("0}", info + "}")
    assert list(faults(body, parse_many)) == ["statusTerminbestaetigung", "a"]


@pytest.mark.parametrize("wrap", ["%s", "[%s]", "%s\n%s"])
def test_what_php_writes_for_an_empty_object_and_a_list_with_gaps_is_read(wrap: str) -> None:
    message = json.dumps({**PLAIN, "childid": {"0": 9001, "2": 9002}, "relationinfo": []})
    assert {parsed.change for parsed in parse_many(wrap.replace("%s", message))} == {
        from_message(PLAIN).change
    }


@pytest.mark.parametrize("ids", [{}, {"a": 1}, {"0": "x"}, {"0": 1, "": 2}, {"٣": 1}])
def test_any_other_object_is_no_list_of_ids(ids: dict[str, object]) -> None:
    assert list(faults({**PLAIN, "childid": ids})) == ["childid[0]" if ids == {"0": "x"} else "childid"]


def test_a_body_that_is_a_list_with_gaps_is_named_with_its_remedy() -> None:
    named = faults(encoded({"0": PLAIN, "2": PLAIN}), parse_many)
    assert "as PHP writes a list with gaps; send array_values($list)" in named[""]
    assert list(faults(encoded({**CALENDAR, "action": "modify", "relationinfo": []}), parse_many)) == [
        "relationinfo"
    ]


def test_missing_fields_are_named_and_null_is_not_a_value_for_a_required_one() -> None:
    assert faults({}) == dict.fromkeys(
        ["account", "action", "relationtype", "parentid", "childid"], "is required"
    )
    assert faults({**PLAIN, "parentid": None}) == {
        "parentid": "expected a positive integer or an array of them, got null"
    }


def test_null_is_the_same_as_leaving_an_optional_field_out() -> None:
    nulls = dict.fromkeys(["relationinfo", "occurred_at", "event_id", "source", "batch", "version"])
    assert from_message({**PLAIN, **nulls}) == from_message(PLAIN)


def test_faults_in_an_array_and_in_lines_say_which_message() -> None:
    bad = {**PLAIN, "childid": [1, 2, "x"]}
    assert list(faults(encoded([PLAIN, PLAIN, PLAIN, bad]), parse_many)) == ["[3].childid[2]"]
    body = b"\n".join([encoded(PLAIN), b"", b"{nonsense}", encoded(bad), b"[]"])
    assert list(faults(body, parse_many)) == ["line 3", "line 4.childid[2]", "line 5"]


def test_one_bad_message_accepts_nothing_of_the_body() -> None:
    assert list(faults(encoded([PLAIN, {**PLAIN, "action": "drop"}, PLAIN]), parse_many)) == ["[1].action"]


def test_the_list_of_faults_has_an_end() -> None:
    with pytest.raises(InvalidChange) as caught:
        parse_many(encoded([{**PLAIN, "childid": ["x"] * MAX_IDS}] * 3))
    assert len(caught.value.faults) == 101
    assert caught.value.faults[-1].message == "only the first 100 faults are listed"


def test_n_to_n_is_refused_after_repetitions_are_dropped() -> None:
    assert "a change is 1:n" in faults({**PLAIN, "parentid": [1, 2]})["childid"]
    change = from_message({**PLAIN, "parentid": [5, 5], "childid": [3, 1, 3, 2]}).change
    assert (change.parents, change.children) == ((5,), (3, 1, 2))


def test_a_change_carries_at_most_500_ids() -> None:
    assert len(from_message({**PLAIN, "childid": list(range(1, 501))}).change.children) == 500
    assert faults({**PLAIN, "childid": list(range(1, 502))}) == {"childid": "expected 1 to 500 ids, got 501"}


CALENDAR = {**PLAIN, "relationtype": "calendar:address"}
SENT = {"statusTerminbestaetigung": "gesendet"}
REQUIRED = "is required for modify: it says what to change"


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ({**CALENDAR, "action": "modify"}, REQUIRED),
        ({**CALENDAR, "action": "modify", "relationinfo": {}}, REQUIRED),
        ({**CALENDAR, "action": "delete", "relationinfo": SENT}, "a delete takes no relationinfo"),
        ({**PLAIN, "relationinfo": SENT}, "estate:address:buyer takes no relationinfo"),
        (
            {**CALENDAR, "relationinfo": "gesendet"},
            'expected an object with statusTerminbestaetigung or statusTerminrueckmeldung, got "gesendet"',
        ),
    ],
)
def test_relationinfo_stands_only_where_it_means_something(message: dict[str, Any], fault: str) -> None:
    assert faults(message) == {"relationinfo": fault}


def test_relationinfo_is_kept_sorted_by_key() -> None:
    info = {"statusTerminrueckmeldung": "aktiv", "statusTerminbestaetigung": "bestätigt"}
    for action in ("create", "modify"):
        change = from_message({**CALENDAR, "action": action, "relationinfo": info}).change
        assert change.info == (
            ("statusTerminbestaetigung", "bestätigt"),
            ("statusTerminrueckmeldung", "aktiv"),
        )


def test_only_a_delete_may_take_the_last_relation_of_a_record() -> None:
    assert from_message({**PLAIN, "action": "delete", "allow_empty": True}).change.allow_empty
    assert not from_message({**PLAIN, "allow_empty": False}).change.allow_empty
    assert list(faults({**PLAIN, "allow_empty": True})) == ["allow_empty"]


def test_a_mirrored_type_swaps_the_sides_and_is_noted() -> None:
    parsed = from_message({**PLAIN, "relationtype": "estate:address:matching"})
    assert parsed.change.type == "address:estate:matching"
    assert (parsed.change.parents, parsed.change.children) == ((9001, 9002), (501,))
    assert "swapped" in parsed.notes[0]


def test_a_lone_surrogate_is_refused_wherever_it_hides() -> None:
    for field in ("account", "event_id", "source", "batch", "relationtype", "occurred_at", "\ud800"):
        for fault in faults({**PLAIN, field: "a\ud800"}).values():
            fault.encode()


@pytest.mark.parametrize(
    ("text", "half"),
    [
        (r"Ä \ud83d", r"\ud83d"),
        (r"\uD83Dx", r"\uD83D"),
        (r"\ud83d\u0041", r"\ud83d"),
        (r"\ude00 \u00e4", r"\ude00"),
        (r"\ud83d\ud83d\ude00", r"\ud83d"),
        (r"\ud83d\ude00\ude00", r"\ude00"),
        (r"\\\ud83d", r"\ud83d"),
    ],
)
def test_half_of_a_character_is_named(text: str, half: str) -> None:
    raw = json.dumps({**PLAIN, "batch": "?"}).replace("?", text).encode()
    for body in (raw, b"[" + raw + b"]", raw + b"\n" + raw):
        with pytest.raises(InvalidChange, match=re.escape(f"expected JSON: {half} is half of a character")):
            parse_many(body)


@pytest.mark.parametrize("text", [r"\ud83d\ude00", r"\\ud83d", r"\\\\ude00"])
def test_a_whole_character_is_no_half(text: str) -> None:
    raw = json.dumps({**PLAIN, "batch": "?"}).replace("?", text).encode()
    assert parse_many(raw)[0].change.batch == json.loads(f'"{text}"')
    with pytest.raises(InvalidChange, match="expected JSON: ") as refused:
        parse_many(raw[:-1])
    assert "half of a character" not in str(refused.value)


# The fingerprint: 12 characters for the content.


def test_the_fingerprint_stays_what_it_was_released_as() -> None:
    assert from_message(PLAIN).change.fingerprint == "1m6SD7tIKn0s"


@given(messages(), labels, labels, labels)
def test_key_source_and_label_do_not_count_for_the_fingerprint(
    message: dict[str, Any], key: str, source: str, batch: str
) -> None:
    other = message | {"event_id": key, "source": source, "batch": batch}
    assert from_message(other).change.fingerprint == from_message(message).change.fingerprint


@given(messages())
def test_spelling_and_the_order_of_ids_do_not_count_for_the_fingerprint(message: dict[str, Any]) -> None:
    change = from_message(message).change
    turned = msgspec.structs.replace(change, parents=change.parents[::-1], children=change.children[::-1])
    assert from_message(to_message(turned)).change.fingerprint == change.fingerprint


@given(messages(), accounts, infos.filter(bool))
def test_any_other_content_has_another_fingerprint(
    message: dict[str, Any], account: str, info: dict[str, str]
) -> None:
    change = from_message(message).change
    others = [
        {"account": account},
        {
            "action": {"create": "modify", "modify": "delete", "delete": "create", "replace": "create"}[
                change.action
            ]
        },
        {"type": "task:estate" if change.type != "task:estate" else "task:address"},
        {"parents": (*change.parents, 2**53)},
        {"children": (*change.children, 2**53)},
        {"info": tuple(sorted(info.items()))},
        {"occurred_at": (change.occurred_at or 0) + 1},
    ]
    for other in others:
        different = msgspec.structs.replace(change, **other)
        assert (different.fingerprint == change.fingerprint) == (different == change)


def test_the_fingerprint_fits_a_compact_record() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{12}", from_message(PLAIN).change.fingerprint)


def test_the_decoder_and_the_table_of_fields_agree() -> None:
    decoded = {field.encode_name: field.required for field in msgspec.structs.fields(Message)}
    assert decoded == {name: field.required for name, field in FIELDS.items()}
    nonsense = dict.fromkeys(decoded, object())
    assert {fault.path for fault in find_faults(nonsense)} == set(decoded)


def test_a_decoder_that_goes_takes_nothing_with_it() -> None:
    code = (
        "import gc, msgspec\n"
        "from worker.contract import message\n"
        "for _ in range(500):\n"
        "    msgspec.json.Decoder(message.Message), msgspec.json.Decoder(list[message.Message])\n"
        '    msgspec.json.Decoder(message.Records).decode(b\'[1, "estate:a=b", {"address": {"c": "d"}}]\')\n'
        "gc.collect()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=HANGS_AFTER)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (f"00-{'0' * 31}1-{'0' * 15}1-00", True),
        (f"cc-{'a' * 32}-{'b' * 16}-ff", True),
        (f"ff-{'a' * 32}-{'b' * 16}-01", False),
        (f"00-{'0' * 32}-{'b' * 16}-01", False),
        (f"00-{'a' * 32}-{'0' * 16}-01", False),
        (f"00-{'A' * 32}-{'b' * 16}-01", False),
        (f"00-{'a' * 32}-{'b' * 16}-01\n", False),
        (f"00-{'a' * 32}-{'b' * 16}", False),
        ("", False),
        (None, False),
    ],
)
def test_a_traceparent_is_taken_only_if_it_names_a_span(text: object, is_one: bool) -> None:
    assert traceparent_of(text) == (text if is_one else "")
    assert correlation_of(traceparent_of(text)) == (text if is_one else "")
