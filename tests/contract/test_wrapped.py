import gzip
import json

import pytest

from tests.support.contract_messages import PLAIN
from worker.contract import from_message, parse_many
from worker.errors import InvalidChange

CHANGE = json.dumps(PLAIN)
ALONE = "send that by itself: a change, an array of changes, or one change per line"


def refuse(body: str | bytes) -> str:
    with pytest.raises(InvalidChange) as refused:
        parse_many(body)
    (fault,) = refused.value.faults
    return str(fault)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"changes": [PLAIN]}, "changes"),
        ({"data": PLAIN}, "data"),
        ({"items": [PLAIN, {}], "total": 2}, "items"),
        ({"changes": []}, "changes"),
        ({"event": "x", "payload": {"id": 7, "changes": [PLAIN]}}, "payload.changes"),
        ({"data": [{"type": "change", "attributes": PLAIN}]}, "data[0].attributes"),
        ([{"change": PLAIN}], "[0].change"),
    ],
)
def test_changes_inside_of_an_object_are_named_with_what_to_send(body: object, path: str) -> None:
    assert refuse(json.dumps(body)) == f"{path}: holds changes inside of an object; {ALONE}"


def test_what_is_said_once_for_all_changes_is_to_stand_in_each() -> None:
    pairs = [{"parentid": 501, "childid": 9001}]
    body = {"account": "acme", "action": "create", "relations": pairs, "event_id": "e"}
    assert refuse(json.dumps(body)).endswith(f"{ALONE}; in each change name its account, action too")


class Array:
    """What numpy's arrays have: compared with a list they say nothing, and to ask that is an error."""

    def __eq__(self, other: object) -> "Array":  # type: ignore[override]
        return self

    def __bool__(self) -> bool:
        raise ValueError("The truth value of an array with more than one element is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_an_array_of_another_library_in_place_of_a_change_is_a_fault() -> None:
    with pytest.raises(InvalidChange, match="changes: unknown field"):
        from_message({"changes": Array()})


NAMED = CHANGE.replace("}", ', "batch": "Tür"}')


@pytest.mark.parametrize("body", [{"changes": json.dumps([PLAIN])}, CHANGE, [CHANGE], f" {CHANGE}\n"])
def test_json_in_a_text_was_encoded_twice(body: object) -> None:
    assert "encoded twice" in refuse(json.dumps(body))


@pytest.mark.parametrize("extra", [{"changes": [PLAIN]}, {"payload": CHANGE}, {"items": []}])
def test_a_whole_change_has_an_unknown_field_only(extra: dict[str, object]) -> None:
    with pytest.raises(InvalidChange, match=f"{next(iter(extra))}: unknown field"):
        from_message({**PLAIN, **extra})


def test_an_array_in_an_array_is_told_to_be_one() -> None:
    assert refuse(f"[[{CHANGE}]]").endswith("send one array of changes, without another around it")


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("account=acme&action=create&relationtype=estate%3Aaddress%3Abuyer", "this is a form"),
        (f"payload={CHANGE}", "this is a form"),
        (f"{CHANGE},{CHANGE}", "as one array, or one per line"),
        (f"[{CHANGE}]\n[{CHANGE}]", "as one array, or one per line"),
        (CHANGE.replace("501", "NaN"), "JSON has no such number"),
        (CHANGE.replace("501", "-Infinity"), "JSON has no such number"),
        (CHANGE.replace("501", "None"), "json.dumps"),
        (str(PLAIN), "double quotation marks"),
        (gzip.compress(CHANGE.encode()), "this is gzip, name it in Content-Encoding"),
        (CHANGE.encode("utf-16"), "UTF-16, send UTF-8"),
        (CHANGE.encode("utf-16-le"), "UTF-16, send UTF-8"),
        (NAMED.encode("cp1252"), 'in UTF-8, got the byte 0xFC, which is "ü" in Windows-1252; encode'),
        (f"[{NAMED}]".encode("latin-1"), 'in UTF-8, got the byte 0xFC, which is "ü" in Windows-1252; encode'),
        (f"{CHANGE}\n{NAMED}".encode("latin-1"), 'the byte 0xFC, which is "ü" in Windows-1252; encode'),
        (NAMED.encode("cp850"), "in UTF-8, got the byte 0x81; encode the body as UTF-8"),
    ],
)
def test_what_is_no_json_is_told_what_it_looks_like(body: str | bytes, hint: str) -> None:
    assert hint in refuse(body)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", f"\n{CHANGE}\n", CHANGE])
def test_lines_need_no_content_type_of_their_own(end: str) -> None:
    assert len(parse_many(CHANGE + end)) == 1 + end.count("{")
