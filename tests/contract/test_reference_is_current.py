"""The golden copies of the contract: the JSON Schema for other languages, the relation types for people.

To write them again: RELATIONS_WRITE_REFERENCE=1 .venv/bin/pytest tests/contract
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator, FormatChecker

import worker.contract
from tests.support.contract_messages import PLAIN, messages, spoiled
from tests.support.docs_pages import is_current
from worker.contract import TYPES, RelationType, from_message, parse_many, schema
from worker.errors import InvalidChange

SCHEMA_FILE = Path(worker.contract.__file__).with_name("change.schema.json")
REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
VALID = Draft202012Validator(schema(), format_checker=FormatChecker())

HEAD = """# Relation types

The {count} types of the documentation page *Relations*, under their short names; the full name puts
`urn:onoffice-de-ns:smart:2.5:relationTypes:` in front. Messages may use either.

**Documented** are the writes that the pages *Create Relations*, *Modify Relations* and *Delete Relations* \
name for the type.
By default these are allowed, other creates and deletes are tried with a warning, \
and a modify of another type or any write to a
read-only type is refused; an operator decides otherwise with \
`create`, `modify`, `delete` = `allow`, `warn` or `deny`
under `[types."NAME"]`.
**Order** says which goes first when creates and deletes of the type touch the same record.

| type | parent → child | meaning | documented | order | note |
|---|---|---|---|---|---|
"""


def row(known: RelationType) -> str:
    writes = ", ".join(verb for verb in ("create", "modify", "delete") if verb in known.documented)
    order = "" if known.order == "free" else f"`{known.order}`"
    sides = f"{known.parent} → {known.child}"
    cells = (f"`{known.name}`", sides, known.description, writes, order, known.note)
    return f"| {' | '.join(cells)} |\n"


def golden(path: Path) -> str:
    if path == SCHEMA_FILE:
        return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    return HEAD.format(count=len(TYPES)) + "".join(map(row, TYPES.values()))


@pytest.mark.parametrize("path", [SCHEMA_FILE, REFERENCE / "relation-types.md"], ids=lambda path: path.name)
def test_the_golden_copy_is_current(path: Path) -> None:
    assert is_current(path, golden(path))


def test_the_schema_is_a_schema_and_its_examples_are_valid_changes() -> None:
    Draft202012Validator.check_schema(schema())
    for example in schema()["examples"]:
        VALID.validate(example)
        from_message(example)


def blocks(kind: str) -> list[str]:
    return re.findall(
        rf"```{kind}\n(.*?)```", (REFERENCE / "change.md").read_text(encoding="utf-8"), re.DOTALL
    )


def test_the_examples_of_the_reference_are_valid_changes() -> None:
    examples = [*blocks("json"), *blocks("ndjson")]
    assert len(examples) >= 2
    for example in examples:
        assert parse_many(example)


def test_the_faults_of_the_reference_are_those_that_a_sender_gets() -> None:
    message, documented = blocks("json5")[0], blocks("text")[0]
    with pytest.raises(InvalidChange) as caught:
        parse_many(message)
    assert "\n".join(map(str, caught.value.faults)) == documented.strip()


def test_the_reference_names_every_field() -> None:
    page = (REFERENCE / "change.md").read_text(encoding="utf-8")
    assert set(schema()["properties"]) == set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))


@given(messages())
def test_what_is_valid_passes_the_schema(message: dict[str, Any]) -> None:
    several = {
        side: [each for at, each in enumerate(ids) if each not in ids[:at]]
        for side in ("parentid", "childid")
        if isinstance(ids := message[side], list)
    }
    VALID.validate(message | several)


@pytest.mark.parametrize("time", ["T02:00:00Z", "t02:00:00.5z", " 02:00:00+01:00", "T02:00Z", "T02:00+0100"])
def test_a_reader_that_checks_formats_takes_every_spelling_of_a_time(time: str) -> None:
    message = PLAIN | {"occurred_at": f"2026-11-21{time}"}
    from_message(message)
    VALID.validate(message)


@given(spoiled())
def test_what_passes_the_schema_is_accepted_but_for_whole_floats(message: dict[str, Any]) -> None:
    if VALID.is_valid(message) and not re.search(r"\d\.0\b", json.dumps(message)):
        from_message(message)


@pytest.mark.parametrize(
    "wrong",
    [
        {"parentid": "501"},
        {"parentid": True},
        {"parentid": 0},
        {"parentid": 2**53},
        {"childid": []},
        {"childid": [1] * 501},
        {"parentid": [1, 2]},
        {"parentid": "PC910"},
        {"parentid": "project:name=x"},
        {"parentid": {"estate": {}}},
        {"parentid": {"estate": {"a b": "x"}}},
        {"childid": "address:email= "},
        {"childid": {"address": {"email": ""}}},
        {"childid": {"address": {"email": None}}},
        {"childid": {"address": {"email": "x"}, "estate": {"uuid": "y"}}},
        {"account": "Acme"},
        {"action": "Create"},
        {"relationtype": "estate:address:byer"},
        {"relationinfo": {"statusTerminbestaetigung": "gesendet"}},
        {"action": "modify"},
        {"action": "modify", "relationinfo": {}},
        {"action": "modify", "relationinfo": None},
        {"action": "modify", "relationinfo": {"statusTerminbestaetigung": "bestatigt"}},
        {"action": "delete", "relationinfo": {"statusTerminrueckmeldung": "aktiv"}},
        {"occurred_at": "2026-11-21T02:00:00"},
        {"event_id": ""},
        {"event_id": "x" * 201},
        {"batch": "a\tb"},
        {"version": 2},
        {"relationInfo": {}},
    ],
)
def test_what_the_parser_refuses_the_schema_refuses(wrong: dict[str, Any]) -> None:
    message = {**PLAIN, **wrong}
    assert not VALID.is_valid(message)
    with pytest.raises(InvalidChange):
        from_message(message)
