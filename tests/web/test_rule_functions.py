"""What rules can do with what senders write: times, texts, contacts, fields of forms, maps and references."""

import json
import re
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.webhooks.expressions import search
from producers.webhooks.functions import FUNCTIONS
from producers.webhooks.mapping import build_messages, check_rules
from producers.webhooks.scope import Scope
from worker.config import Account, Rule, Secret, Settings, Source
from worker.errors import InvalidChange, InvalidSettings

SECRET = Secret("desk-secret")
RULE = Rule(action="'create'", relationtype="'estate:address:buyer'", parentid="p", childid="c")


def make_source(*rules: Rule, owners: tuple[Account, ...] = (), **other: Any) -> Source:
    named = {} if "account_from" in other else {"account": "acme"}
    by_name = {owner.name: owner for owner in owners}
    return Source(name="s", scheme="bearer", secrets=(SECRET,), rules=rules, owners=by_name, **named, **other)


def make_account(name: str = "acme", **other: Any) -> Account:
    return Account(name=name, token=SECRET, secret=SECRET, **other)


def find(expression: str, value: object = None, source: Source | None = None, owner: Any = None) -> Any:
    return search(expression, Scope(value, source=source, find_account=lambda: owner), "rule")


def refusal_of(expression: str, value: object = None) -> str:
    with pytest.raises(InvalidChange) as raised:
        find(expression, value)
    return str(raised.value)


def messages_of(payload: object, rule: Rule, **other: Any) -> list[tuple[object, object]]:
    made = build_messages(make_source(rule, **other), payload, "m")
    return [(each.message["parentid"], each.message["childid"]) for each in made]


# --- times


@pytest.mark.parametrize(
    ("written", "zone", "read"),
    [
        ("29.11.2026", "", "2026-11-28T23:00:00Z"),
        ("29.07.2026", "", "2026-07-28T22:00:00Z"),
        ("1.7.26 9:05", "", "2026-07-01T07:05:00Z"),
        ("1.7.0026 9:05", "UTC", "0026-07-01T09:05:00Z"),  # a year that nothing accepts, not another
        ("29.11.2026, 14:30:15 Uhr", "", "2026-11-29T13:30:15Z"),
        ("29.11.2026 um 14:30 Uhr", "", "2026-11-29T13:30:00Z"),
        ("12. März 2026 14:05", "", "2026-03-12T13:05:00Z"),
        ("Sa., 28. Nov. 2026", "", "2026-11-27T23:00:00Z"),
        ("Mittwoch, 1. Juli 2026, 9:05 Uhr", "", "2026-07-01T07:05:00Z"),
        ("28 Nov 2026 14:30", "", "2026-11-28T13:30:00Z"),  # no mail's, which has an offset
        ("28. Dez 26", "UTC", "2026-12-28T00:00:00Z"),
        ("Saturday, November 28, 2026 at 14:30", "UTC", "2026-11-28T14:30:00Z"),
        ("Sept. 1, 2026", "UTC", "2026-09-01T00:00:00Z"),
        ("Mo., 30.11.2026 10:00", "UTC", "2026-11-30T10:00:00Z"),
        ("2026-11-29", "", "2026-11-28T23:00:00Z"),
        ("2026-07-29T10:30:00", "", "2026-07-29T08:30:00Z"),
        ("2026-07-29 10:30", "UTC", "2026-07-29T10:30:00Z"),
        ("2026-07-29T10:30:00.123456", "America/New_York", "2026-07-29T14:30:00.123456Z"),
        ("2026-07-29T10:30:00.000Z", "America/New_York", "2026-07-29T10:30:00Z"),
        ("2026-07-29T10:30:00+0200", "UTC", "2026-07-29T08:30:00Z"),
        (1795226400, "", "2026-11-21T02:00:00Z"),
        (1795226400123, "", "2026-11-21T02:00:00.123000Z"),
        ("1795226400", "", "2026-11-21T02:00:00Z"),
        ("Sun, 29 Nov 2026 14:30:15 +0100", "", "2026-11-29T13:30:15Z"),
        ("29 Nov 2026 14:30:15 -0000", "", "2026-11-29T14:30:15Z"),
        ("Sun, 29 Nov 2026 14:30:15", "", "2026-11-29T13:30:15Z"),  # of no zone, as any other
        ("Sun, 29 Nov 2026 14:30:15 CET", "", "2026-11-29T13:30:15Z"),
        ("29 Jul 2026 14:30 MESZ", "UTC", "2026-07-29T12:30:00Z"),
        ("2026-07-29 14:30:15 CEST", "", "2026-07-29T12:30:15Z"),
        ("2026-07-29T14:30:15+02:00[Europe/Berlin]", "", "2026-07-29T12:30:15Z"),  # as Java writes it
        ("Sunday,29 November 2026 14:30:15 GMT", "", "2026-11-29T14:30:15Z"),
        ("So., 29. Nov. 2026, 14:30 Uhr MEZ", "UTC", "2026-11-29T13:30:00Z"),
        ("29.11.2026 14:30 +0100", "UTC", "2026-11-29T13:30:00Z"),
        (
            "29 Nov 2026 14:30:15 +01:00 (W. Europe Standard Time, as PC-Pine says)",
            "",
            "2026-11-29T13:30:15Z",
        ),
        ("29 Nov 2026 14:30 -0500", "", "2026-11-29T19:30:00Z"),
        ("2026-11-29T14:30-05:00", "", "2026-11-29T19:30:00Z"),
        ("2026-11-29 14:30:15 -05:00", "", "2026-11-29T19:30:15Z"),
        ("29 Nov 2026 14:30:15 +01", "", "2026-11-29T13:30:15Z"),  # an hour, no minute
        ("20260729", "", "2026-07-28T22:00:00Z"),
        (20260729, "UTC", "2026-07-29T00:00:00Z"),
        ("20260729T123015Z", "", "2026-07-29T12:30:15Z"),
        ("202607291430", "", "2026-07-29T12:30:00Z"),  # no milliseconds of 1976
        ("20260729T143015+0200", "UTC", "2026-07-29T12:30:15Z"),
        ("2026-07-29 10:30:00 UTC", "", "2026-07-29T10:30:00Z"),  # as Ruby writes it
        ("2026-07-29T10:30:00+02", "", "2026-07-29T08:30:00Z"),
        ("Wed Jul 29 2026 10:30:00 GMT+0200 (Central European Summer Time)", "", "2026-07-29T08:30:00Z"),
        ("Wed Jul 09 2026 10:30:00 GMT-0330", "UTC", "2026-07-09T14:00:00Z"),  # as JavaScript writes it
        ("2026-10-25T02:30:00", "", "2026-10-25T00:30:00Z"),  # twice that night: the first
        ("2026-03-29T02:30:00", "", "2026-03-29T01:30:00Z"),  # left out that night
        (" ", "", None),
        (None, "", None),
    ],
)
def test_a_time_is_read_as_its_sender_writes_it(written: object, zone: str, read: str | None) -> None:
    assert find(f"time(@, '{zone}')" if zone else "time(@)", written) == read


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), st.sampled_from(["Europe/Berlin", "UTC"]))
def test_a_local_time_is_the_instant_at_which_a_clock_there_shows_it(moment: datetime, zone: str) -> None:
    there = moment.replace(microsecond=0, fold=0, tzinfo=ZoneInfo(zone))
    found = find(f"time(@, '{zone}')", f"{there:%d.%m.%Y %H:%M:%S}")
    assert datetime.fromisoformat(found) == there.astimezone(UTC)


@pytest.mark.parametrize(
    "written",
    [
        "yesterday",
        "13/24/2026",
        "32.01.2026",
        "29.11.2026 25:00",
        "29. Foo 2026",
        "29. Ma 2026",
        "30. Februar 2026",
        "ab 29. November 2026",
        "November 28, 2026 2:30 PM",
        "Nov 28 26",
        "0001-01-01T00:00:00",
        "01.01.0001",
        "2026-07-29 10:30:00 UTC02",
        "2026-07-29T10:30[America/New_York]",
        "29 Nov 2026 2:05 PM",
        "29 Nov 2026 14:30:15 JST",
        "29.11.2026 10:30-12:00",  # from then to then
        "29.11.2026 10:30 Uhr-12:00",
        "29.11.2026 um 14:00 -16:00",
        "29 Nov 2026 14:30:15 -1600",
        "20260230",
        20261301,
        True,
        10**400,
        [],
        {},
    ],
)
def test_what_is_no_time_is_refused_with_one_that_would_be(written: object) -> None:
    assert "expected a " in refusal_of("time(@)", written)


def test_a_zone_that_is_not_there_is_named() -> None:
    for zone in ("Europe/Bonn", "../etc/passwd", "/etc/passwd", ""):
        assert "there is no time zone" in refusal_of(f"time(@, '{zone}')", "29.11.2026")


# --- texts


@pytest.mark.parametrize(
    ("expression", "value", "found"),
    [
        ("lower(@)", "PC.910", "pc.910"),
        ("lower(@)", ["A", "B"], ["a", "b"]),
        ("lower(@)", None, None),
        ("trim(@)", "  00815 ", "00815"),
        ("trim(@)", 815, "815"),
        ("split(@, ',')", "a, b,,c ", ["a", "b", "c"]),
        ("split(@, ',')", 12, ["12"]),
        ("split(@, ',')", None, None),
        ("strip_prefix(@, 'OBJ-')", "OBJ-00815", "00815"),
        ("strip_prefix(@, 'OBJ-')", "X-OBJ-1", "X-OBJ-1"),
        ("strip_prefix(@, ['A-', 'B-'])", "B-7", "7"),
        ("replace(@, '-', '.')", "PC-910-a", "PC.910.a"),
        ("replace(@, '-')", "PC-910", "PC910"),
        ("replace(@, {\"ae\": 'ä', \"_\": '.'})", "Haeuser_7", "Häuser.7"),
        ("first(a, b, c)", {"a": None, "b": "", "c": "x"}, "x"),
        ("first(@)", [None, "", [], "y"], "y"),
        ("first(@)", [], None),
        ("first(a, `0`)", {"a": None}, 0),
        ("first(a, b)", {"a": [None], "b": "x"}, "x"),
        ("parse_json(@).a", '{"a": 1}', 1),
        ("parse_xml(@).a.b", "<a><b>1</b></a>", "1"),
        ("parse_xml(@)", None, None),
        (
            "parse_mail(@).mails[0].from",
            "From: Ada <ada@example.test>\nSubject: Hello\n\nText",
            "ada@example.test",
        ),
        ("parse_mail(@)", None, None),
        ("parse_json(decode_base64(@)).id", "eyJpZCI6IDd9", 7),
        ("decode_base64(@)", "S8O2bG4_fg==", "Köln?~"),
        ("decode_base64(@)", "S8O2\r\nbG4_fg", "Köln?~"),
        ("decode_base64(@)", None, None),
        ("decode_html(@)", "O&#039;Brien &amp; S&ouml;hne", "O'Brien & Söhne"),
        ("decode_html(@)", ["a&#x40;b", 7, None], ["a@b", "7", None]),
        pytest.param("decode_html(@)", f"a&#{'9' * 5000};b&#38;", "a\ufffdb&", id="no character"),
        ("to_number(@)", "501", 501),
        ("to_number(@)", " 501\n", 501),
        ("to_number(@)", "501.0", 501),
        ("to_number(@)", "-1.5e1", -15),
        ("to_number(@)", "48.123", 48.123),
        ("to_number(@)", 1000, 1000),
        ("to_number(@)", ["1"], None),
        ("to_number(@)", "2024_17", None),  # is a name, and not 202417
        ("to_number(@)", "5０1", None),
        ("to_number(@)", "1.000", None),  # a thousand or one
        ("to_number(@)", "12.000", None),
        ("to_number(@)", "0.000", 0),  # is no thousand
        ("to_number(@)", "1.234.567", None),
        ("to_number(@)", "0x1f", None),
        ("to_number(@)", "nan", None),
        ("to_number(@)", "infinity", None),
        ("to_number(@)", "", None),
        ("to_number(@)", "9" * 5000, None),
    ],
)
def test_texts_are_taken_apart_and_put_right(expression: str, value: object, found: object) -> None:
    assert find(expression, value) == found


@pytest.mark.parametrize(
    "expression", ["lower()", "split(@)", "split(@, '')", "replace(@, '', 'x')", "time(@, 'UTC', 'UTC')"]
)
def test_a_call_that_means_nothing_is_refused(expression: str) -> None:
    assert refusal_of(expression, "a").startswith("rule: ")


def test_an_error_repeats_no_value_of_the_payload() -> None:
    assert "Lovelace" not in refusal_of("length(`5`) || join(',', @)", "Ada Lovelace")
    assert "Lovelace" not in refusal_of("sum(@)", ["Ada Lovelace"])


# --- contacts


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("  Ada.L@Example.TEST ", "ada.l@example.test"),
        ("Ada Lovelace <ADA@example.test>", "ada@example.test"),
        ("mailto:ada@example.test", "ada@example.test"),
        ("mailto:ada@example.test?subject=PC910", "ada@example.test"),
        ("ada@example.test<mailto:ada@example.test>", "ada@example.test"),  # as Outlook writes a link
        ("ada@example.test. <mailto:ada@example.test>", "ada@example.test"),
        ("Ada Lovelace [mailto:ada@example.test]", "ada@example.test"),
        ("ada@example.test<mailto:eda@example.test>", None),  # which of them?
        ("[ada@example.test](mailto:eda@example.test)", None),
        ("[ada@example.test](mailto:ada@example.test)", "ada@example.test"),
        ("'ada@example.test'; ", "ada@example.test"),
        ("o'brien@example.test", "o'brien@example.test"),
        ("ada@example.test (bob@example.test)", None),
        ("\ufeffada@exam\u00adple.test\u200b\u00a0", "ada@example.test"),  # as it is copied from a page
        ("ada@müller.test", "ada@müller.test"),
        ("ada@example.test, bob@example.test", None),
        ("ada", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_an_address_is_one_text_however_it_is_written(written: object, found: str | None) -> None:
    assert find("email(@)", written) == found


@given(st.from_regex(r"[a-z0-9]{1,8}@[a-z]{1,8}\.test", fullmatch=True), st.booleans())
def test_a_normal_address_stays_and_capitals_do_not_matter(address: str, loud: bool) -> None:
    assert find("email(@)", f" {address.upper() if loud else address}\t") == address


@pytest.mark.parametrize(
    ("written", "country", "found"),
    [
        ("030 1234567", "DE", "+49301234567"),
        ("+49 (0)30 / 123 45-67", "DE", "+49301234567"),
        ("0049 30 1234567", "DE", "+49301234567"),
        ("030 1234567 (Zentrale)", "DE", "+49301234567"),
        ("01 234567", "AT", "+431234567"),
        ("079 123 45 67", "CH", "+41791234567"),
        ("+41 79 123 45 67", "DE", "+41791234567"),
        (301234567, "DE", "+49301234567"),
        ("491711234567", "DE", "+491711234567"),  # WhatsApp
        ("492111234567", "DE", "+492111234567"),  # sipgate
        ("49 (0)171 1234567", "DE", "+491711234567"),
        ("0491 1234567", "DE", "+494911234567"),
        ("491 1234567", "DE", "+494911234567"),  # of Leer, without its zero
        ("436641234567", "AT", "+436641234567"),
        ("3934412345", "IT", "+393934412345"),
        ("41791234567", "CH", "+41791234567"),
        ("390 692 5625", "IT", "+393906925625"),  # is dialled so: a mobile phone, and none in Rome
        ("48 411 99 43", "PL", "+48484119943"),
        ("39 06 69812345", "IT", "+390669812345"),
        ("no thanks", "DE", None),
        ("110", "DE", None),
        ("", "DE", None),
        (None, "DE", None),
    ],
)
def test_a_phone_number_is_read_as_it_is_dialled_in_the_country(
    written: object, country: str, found: str | None
) -> None:
    assert find(f"phone(@, '{country}')", written) == found


def test_the_country_is_the_sources_or_else_the_accounts_or_else_germany() -> None:
    austrian = make_account(country="AT")
    assert find("phone(@)", "044 668 18 00", make_source(country="CH"), austrian) == "+41446681800"
    assert find("phone(@)", "01 234567", make_source(), austrian) == "+431234567"
    assert find("phone(@)", "030 1234567", make_source()) == "+49301234567"
    assert "there is no country" in refusal_of("phone(@, 'Berlin')", "030 1234567")


# --- fields of forms

TYPEFORM = {
    "hidden": {"objektnr": "00815"},
    "definition": {
        "fields": [
            {"id": "f1", "ref": "mail", "title": "Ihre E-Mail?", "type": "email"},
            {"id": "f2", "ref": "want", "title": "Was wünschen Sie?", "type": "multiple_choice"},
            {"id": "f3", "ref": "many", "title": "Orte", "type": "multiple_choice"},
            {"id": "f4", "ref": "ok", "title": "Einverstanden", "type": "yes_no"},
        ]
    },
    "answers": [
        {"type": "email", "email": "ada@example.test", "field": {"id": "f1", "type": "email", "ref": "mail"}},
        {"type": "choice", "choice": {"id": "c", "label": "Rückruf"}, "field": {"id": "f2", "ref": "want"}},
        {
            "type": "choices",
            "choices": {"labels": ["Köln", "Bonn"], "other": "Ulm"},
            "field": {"id": "f3", "ref": "many"},
        },
        {"type": "boolean", "boolean": False, "field": {"id": "f4", "ref": "ok"}},
    ],
}
TALLY = [
    {"key": "q1", "label": "E-Mail", "type": "INPUT_EMAIL", "value": "ada@example.test"},
    {
        "key": "q2",
        "label": "Anliegen",
        "type": "MULTIPLE_CHOICE",
        "value": ["o2"],
        "options": [{"id": "o1", "text": "Exposé"}, {"id": "o2", "text": "Besichtigung"}],
    },
    {"key": "q3_a", "label": "Extras (Balkon)", "type": "CHECKBOXES", "value": True},
    {"key": "q3_b", "label": "Extras (Garten)", "type": "CHECKBOXES", "value": False},
    {"key": "q3_c", "label": "Extras (Keller)", "type": "CHECKBOXES", "value": True},
    {"key": "q4", "label": "Telefon", "type": "INPUT_PHONE_NUMBER", "value": None},
]


@pytest.mark.parametrize(
    ("form", "name", "found"),
    [
        (TYPEFORM, "mail", "ada@example.test"),
        (TYPEFORM, "ihre e-mail", "ada@example.test"),
        (TYPEFORM, "f1", "ada@example.test"),
        (TYPEFORM, "objektnr", "00815"),
        (TYPEFORM, "want", "Rückruf"),
        (TYPEFORM, "Orte", ["Köln", "Bonn", "Ulm"]),
        (TYPEFORM, "ok", False),
        (TALLY, "E-Mail", "ada@example.test"),
        (TALLY, "q1", "ada@example.test"),
        (TALLY, "Anliegen", "Besichtigung"),
        (TALLY, "Telefon", None),
        (TALLY, "nowhere", None),
        ([{"question": "Objektnummer?", "answer": "PC910", "position": 0}], "Objektnummer", "PC910"),
        ({"email": {"label": "email_address", "value": "a@b.test"}}, "email_address", "a@b.test"),
        ({"where": {"value": {"optionValue": "", "value": "phone"}}}, "where", "phone"),
        (
            {"field_a1": {"id": "a1", "title": "Mail", "value": "a@b.test", "raw_value": "a@b.test"}},
            "Mail",
            "a@b.test",
        ),
        ({"your-email": "a@b.test"}, "your-email", "a@b.test"),
        ({"0": {"name": "Ihr Name", "value": "Ada", "type": "name"}}, "Ihr Name", "Ada"),  # WPForms
        (
            [
                {
                    "label": "Art",
                    "value": ["b", "x", "o"],
                    "options": [{"label": "Kauf", "value": "b"}, {"id": "o"}],
                }
            ],
            "Art",
            ["Kauf", "x", "o"],
        ),
        (
            {
                "definition": {
                    "fields": [{"id": "g", "properties": {"fields": [{"id": "f", "title": "Objektnr."}]}}]
                },
                "answers": [{"type": "text", "text": "00815", "field": {"id": "f", "ref": "r"}}],
            },
            "Objektnr.",
            "00815",
        ),
        (
            [
                {
                    "key": "q9",
                    "label": "Interesse",
                    "type": "MATRIX",
                    "value": {"r1": ["c2"], "r2": ["c1", "c2"]},
                    "rows": [{"id": "r1", "text": "Kauf"}, {"id": "r2", "text": "Miete"}],
                    "columns": [{"id": "c1", "text": "bald"}, {"id": "c2", "text": "später"}],
                }
            ],
            "Interesse",
            {"Kauf": "später", "Miete": ["bald", "später"]},
        ),
        # Nothing was chosen: options without a value, or with none, are not it.
        ([{"key": "q", "value": "", "options": [{"id": "1", "text": "PC910"}]}], "q", None),
        ([{"key": "q", "value": "", "options": [{"value": "", "text": "Bitte wählen"}]}], "q", None),
        # An id is what was chosen, also where it is the value of another option.
        (
            [
                {
                    "key": "q",
                    "value": ["2"],
                    "options": [
                        {"id": "2", "value": "1", "text": "A"},
                        {"id": "1", "value": "2", "text": "B"},
                    ],
                }
            ],
            "q",
            "A",
        ),
        (
            [{"label": "E\u2011Mail", "value": "a@b.test"}],
            "E-Mail",
            "a@b.test",
        ),  # a hyphen that breaks no line
        ({"1.3": "Ada", "1.6": "Lovelace"}, "1.3", "Ada"),
        ({"1_3": "Ada", "1_6": "Lovelace"}, "1.3", "Ada"),
        ({"Objekt_Nr_": "PC910"}, "Objekt-Nr.", "PC910"),
        ({"1": {"id": 1, "name": "E-Mail", "value": "a@b.test"}}, "E-Mail", "a@b.test"),
        ([{"name": "email", "value": "a@b.test", "objectTypeId": "0-1"}], "email", "a@b.test"),
        (None, "mail", None),
        ("text", "mail", None),
    ],
)
def test_a_field_is_found_by_each_of_its_names(form: object, name: str, found: object) -> None:
    assert find(f"field(@, {json.dumps(name)!r})".replace("'\"", "'").replace("\"'", "'"), form) == found


def test_of_several_names_the_first_counts_that_was_filled_in() -> None:
    form = {"mail": "", "E-Mail": "a@b.test", "phone": "1"}
    assert find("field(@, ['email', 'mail', 'e-mail', 'phone'])", form) == "a@b.test"


def test_a_name_of_two_fields_that_differ_is_refused_and_both_are_named() -> None:
    twice = [
        {"key": "q1", "label": "E-Mail", "value": "ada@example.test"},
        {"key": "q7", "label": "E-Mail", "value": "bob@example.test"},
    ]
    text = refusal_of("field(@, 'E-Mail')", twice)
    assert '"q1"' in text
    assert '"q7"' in text
    assert "example.test" not in text
    assert find("field(@, 'q7')", twice) == "bob@example.test"
    assert find("field(@, 'E-Mail')", [twice[0], {**twice[1], "value": ""}]) == "ada@example.test"
    assert find("field(@, 'E-Mail')", [twice[0], {**twice[1], "value": "ada@example.test"}])
    nameless = [{"label": "Ort", "value": "Köln"}, {"label": "Ort", "value": "Bonn"}]
    assert "the 1. and the 2. of them" in refusal_of("field(@, 'Ort')", nameless)


def test_the_columns_of_a_matrix_are_read_once_for_all_of_its_rows() -> None:
    rows = {f"r{n}": ["c7"] for n in range(10_000)}
    columns = [{"id": f"c{n}", "text": f"Spalte {n}"} for n in range(10_000)]
    form = [{"key": "q", "type": "MATRIX", "value": rows, "columns": columns}]
    began = time.process_time()
    assert set(find("field(@, 'q')", form).values()) == {"Spalte 7"}
    assert time.process_time() - began < 1.0


def test_a_form_of_many_fields_is_looked_through_once_for_all_names() -> None:
    form = [{"key": f"q{n}", "label": f"Label {n}", "value": n} for n in range(20_000)]
    began = time.process_time()
    assert find("field(@, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'label 19999'])", form) == 19_999
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("rows[].parse_xml(root().text)", {"rows": [1] * 900, "text": f"<a>{'<b/>' * 2_000}</a>"}),
        (
            "rows[].field(root().form, 'x')",
            {"rows": [1] * 900, "form": {"q": {"value": 1, "options": [{"id": "a"}] * 20_000}}},
        ),
        (
            "rows[].field(root().form, 'x')",
            {"rows": [1] * 900, "form": {"q": {"value": {}, "columns": [{"id": "a"}] * 20_000}}},
        ),
    ],
    ids=["parse_xml", "options", "columns"],
)
def test_what_would_take_long_for_each_of_many_is_refused(expression: str, value: object) -> None:
    began = time.process_time()
    assert "look at more than" in refusal_of(expression, value)
    assert time.process_time() - began < 6


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("replace(a, 'x', b)", {"a": "x" * 20_000, "b": "y" * 50_000}),
        ("join(b, a)", {"a": ["x"] * 20_000, "b": "y" * 50_000}),
        (
            "rows[].merge(root().all, root().all)",
            {"rows": [1] * 900, "all": dict.fromkeys(map(str, range(9_000)))},
        ),
    ],
    ids=["replace", "join", "merge"],
)
def test_what_would_be_huge_is_refused_before_it_is_made(expression: str, value: object) -> None:
    tracemalloc.start()
    try:
        assert "look at more than" in refusal_of(expression, value)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_what_was_chosen_is_a_list_of_texts() -> None:
    assert find("chosen(@, 'Extras')", TALLY) == ["Balkon", "Keller"]
    assert find("chosen(@, 'Anliegen')", TALLY) == ["Besichtigung"]
    assert find("chosen(@, 'Orte')", TYPEFORM) == ["Köln", "Bonn", "Ulm"]
    assert find("chosen(@, 'Telefon')", TALLY) == []


# --- maps and references


def test_a_map_of_the_account_comes_before_that_of_the_source() -> None:
    source = make_source(maps={"stage": {"17": "sold", "18": "lost"}})
    acme = make_account(maps={"stage": {"17": "lost"}})
    assert find("map('stage', @)", 17, source) == "sold"
    assert find("map('stage', @)", "17", source, acme) == "lost"
    assert find("map('stage', @)", 18, source, acme) == "lost"
    assert find("map('stage', @)", 17.0, source) == "sold"
    assert find("map('stage', @)", 99, source) is None
    assert find("map('stage', @)", None, source) is None
    assert find("map(&a, @)", [{"a": 1}], source) == [1]
    with pytest.raises(InvalidChange, match="there is no map"):
        find("map('phase', @)", 17, source)


def test_conditions_look_into_the_map_of_the_account_that_an_event_is_for() -> None:
    rule = Rule(
        when="map('stage', stage) == 'sold'",
        action="'create'",
        relationtype="'estate:address:buyer'",
        parentid="p",
        childid="c",
        each=("[]",),
    )
    source = make_source(
        rule,
        account_from="customer",
        accounts={"1": "acme", "2": "berg"},
        owners=(
            make_account(maps={"stage": {"5": "sold"}}),
            make_account("berg", maps={"stage": {"6": "sold"}}),
        ),
    )
    events = [{"customer": c, "stage": s, "p": 1, "c": 2} for c in (1, 2, 3) for s in (5, 6)]
    made = build_messages(source, events[:4], "m")
    assert [(each.message["account"], each.path) for each in made] == [
        ("acme", "rules[0].each[0]"),
        ("berg", "rules[0].each[3]"),
    ]


def test_the_account_may_be_found_by_a_map_of_the_source() -> None:
    source = make_source(
        RULE,
        account_from="map('office', office)",
        accounts={"north": "acme"},
        maps={"office": {"7": "north"}},
    )
    [made] = build_messages(source, {"office": 7, "p": 1, "c": 2}, "m")
    assert made.message["account"] == "acme"


def test_a_map_or_a_function_that_is_not_there_stops_at_the_start() -> None:
    for expression, reason in (
        ("map('stag', c)", 'there is no map "stag"; add [sources.s.maps.stag]'),
        ("feild(c, 'x')", "calls feild(), which is no function; did you mean field?"),
    ):
        rule = Rule(action="'create'", relationtype="'x'", parentid="p", childid=expression)
        source = make_source(rule, maps={"stage": {}})
        with pytest.raises(InvalidSettings) as raised:
            check_rules(Settings(sources={"s": source}))
        assert f"sources.s.rules[0].childid: {reason}" in str(raised.value)


def test_a_reference_keeps_numbers_as_text_and_is_nothing_when_a_part_is_missing() -> None:
    assert find("reference('estate', {objektnr_extern: @})", " 00815 ") == {
        "estate": {"objektnr_extern": "00815"}
    }
    unseen = find("reference('estate', {objektnr_extern: @})", "\u200bPC\u00ad910\u200b ")
    assert unseen == {"estate": {"objektnr_extern": "PC910"}}
    assert find("reference('estate', {ind_1234: @})", 815) == {"estate": {"ind_1234": "815"}}
    for missing in (None, "", " ", float("inf")):  # as `1e999` is read
        assert find("reference('address', {email: @, Name: 'x'})", missing) is None
    assert "write reference(" in refusal_of("reference('estate', @)", "00815")


def test_what_stands_alone_in_a_list_is_meant_itself_as_scripts_of_forms_send_it() -> None:
    form = {
        "E-Mail": ["Ada@example.test"],
        "Objekt": ["00815"],
        "Telefon": ["030 1234567"],
        "Ort": ["A", "B"],
    }
    person = "reference('address', {email: email(field(@, 'E-Mail'))})"
    assert find(person, form) == {"address": {"email": "ada@example.test"}}
    by_phone = "reference('address', {phone: phone(field(@, 'Telefon'))})"
    assert find(by_phone, form) == {"address": {"phone": "+49301234567"}}
    assert find("reference('estate', {objektnr_extern: field(@, 'Objekt')})", form) == {
        "estate": {"objektnr_extern": "00815"}
    }
    assert find("phone(@)", ["030 1234567", "none"]) == ["+49301234567", None]
    assert find("time(@)", ["30.11.2026 18:33:00"]) == "2026-11-30T17:33:00Z"
    for nobody in ("reference('estate', {ort: field(@, 'Ort')})", "reference('estate', {ort: `[]`})"):
        assert find(nobody, form) is None
    stages = make_source(maps={"stage": {"17": "sold"}})
    assert find("map('stage', @)", ["17"], stages) == "sold"
    unanswered = {"mail": [""], "phone": ["030 1234567"]}
    assert find("first(email(mail), phone(phone))", unanswered) == ["+49301234567"]


def test_a_large_payload_costs_functions_no_more_than_a_second_or_two() -> None:
    started = time.process_time()
    numbers = {"p": ["491711234567"] * 60_000}
    assert "is one look too many" in refusal_of("phone(p)", numbers)
    rows = {"text": "ä" + "x" * 400_000, "rows": [{"c": 1}] * 5000}
    named = replace(RULE, each=("rows",), parentid="reference('estate', {objektnr_extern: root().text})")
    assert len(messages_of(rows, named)) == 5000
    assert time.process_time() - started < 10


def test_each_reference_of_a_list_is_a_change_of_its_own_and_ids_stay_together() -> None:
    first, second = {"estate": {"objektnr_extern": "A"}}, "estate:objektnr_extern=B"
    person = {"address": {"email": "x@example.test"}}
    assert messages_of({"p": [first, second], "c": person}, RULE) == [(first, person), (second, person)]
    assert messages_of({"p": 5, "c": [7, person, 8]}, RULE) == [(5, [7, 8]), (5, person)]
    assert messages_of({"p": [1, 2, first], "c": [7, 8]}, RULE) == [(1, [7, 8]), (2, [7, 8]), (first, [7, 8])]
    assert messages_of({"p": [1, 2], "c": 7}, RULE) == [([1, 2], 7)]
    assert messages_of({"p": [first], "c": [person]}, RULE) == [([first], [person])]


def test_what_replaces_all_others_is_said_as_a_whole() -> None:
    rule = replace(RULE, action="'replace'")
    people = [{"address": {"email": "x@example.test"}}, 7, {"address": {"email": "y@example.test"}}]
    assert messages_of({"p": 5, "c": people}, rule) == [(5, people)]


def test_a_source_says_which_event_its_hook_stands_for() -> None:
    assert find("event()", {}, make_source(event="client_created")) == "client_created"
    assert find("event()", {}, make_source()) is None


def test_what_is_no_base64_is_said_without_being_repeated() -> None:
    assert refusal_of("decode_base64(@)", "person@example.test").endswith("wants a text in base64")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ([{"column_id": "EMAIL", "column_name": "User Email", "string_value": "a@b"}], "EMAIL"),  # Google Ads
        ([{"column_id": "EMAIL", "column_name": "User Email", "string_value": "a@b"}], "User Email"),
        ([{"name": "email", "values": ["a@b"]}], "email"),  # Meta's lead ads
        ([{"field": "email", "value": "a@b"}, {"field": "name", "value": "Ada"}], "email"),  # TikTok's
        (
            [{"title": "Ihre E-Mail", "key": "3e2k1", "custom_key": "mail", "value": "a@b"}],
            "mail",
        ),  # Paperform
        ({"email": "a@b", "answers": [{"question": "Balkon?", "answer": "ja"}]}, "email"),  # not Typeform's
        ({"email": "a@b", "answers": []}, "email"),
        (
            {"answers": [{"field": {"ref": "email"}, "type": "email", "email": "a@b"}, {"type": "text"}]},
            "email",
        ),
        ({"answers": [], "hidden": {"email": "a@b"}}, "email"),
    ],
)
def test_answers_to_advertisements_are_fields_too(form: object, name: str) -> None:
    assert find(f"field(@, '{name}')", form) == "a@b"


def test_the_reference_lists_every_function_and_none_that_is_not_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "rule-functions.md").read_text("utf-8")
    listed = {
        name
        for cell in re.findall(r"^\| (.*?) \|", page, re.MULTILINE)
        for name in re.findall(r"`([a-z0-9_]+)\(", cell)
    }
    assert listed == {*FUNCTIONS, "map"}
