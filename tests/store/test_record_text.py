"""An id is found where it stands for the record: not in dates, codes, counts, or inside longer numbers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.planner.fold import Intent, Version
from worker.planner.relation_state import OpenRelation, Refusal
from worker.ports.erasure import RecordRef
from worker.store.erasure.record_text import RecordText

BUYER = "estate:address:buyer"


def of(number: int) -> RecordText:
    return RecordText(RecordRef("address", number))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (9701, "9701"),
        (9701, "crm-9701"),
        (9701, "crm9701"),
        (9701, "address_9701_updated"),
        (9701, "person 9,701"),
        (9701, "person 9.701 wants"),
        (9701, "person 9\u202f701"),
        (9701, "0009701"),
        (9701, "ids 9700,9701,9702"),
        (9701, "address 9701."),
        (9701, "on 2026-11-21 about 9701"),
        (1234567, "1.234.567"),
        (21, "address 21 on 21.11.2026"),
        (9001, f"{BUYER}:501:9001"),
    ],
)
def test_an_id_is_found_where_it_stands_by_itself(number: int, text: str) -> None:
    assert of(number).is_in(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2026, "import-2026-11-21"),
        (11, "import-2026-11-21"),
        (21, "2026-11-21T02:00:00Z"),
        (2, "2026-11-21T02:00:00+02:00"),
        (2026, "batch of 2026-11"),
        (47, "2026-W47"),
        (21, "21.11.2026"),
        (11, "21.11.26"),
        (12, "at 12:02:07"),
        (9701, "19701"),
        (9701, "97011"),
        (701, "9.701"),
        (701, "price 9,701"),
        (12, "12.5"),
        (5, "12.5"),
        (10, "10.0.0.12"),
        (567, "1,234,567"),
        (752, "acme-1m7y8t1vgssvve752b"),
        (1, "acme-1m7y8t1vgssvve752b"),
        (9701, "a9701b"),
    ],
)
def test_dates_times_and_longer_numbers_are_not_the_id(number: int, text: str) -> None:
    assert not of(number).is_in(text)


@pytest.mark.parametrize(
    ("body", "is_named"),
    [
        (b'{"childid": 9701}', True),
        (b'{"childid": "9701"}', True),
        (b'{"rows": [{"id": 9701.0}]}', True),
        (b'{"9701": "x"}', True),
        (b'{"inner": "{\\"id\\": 9701}"}', True),
        (b'{"at": "9701-01-01"}', False),
        (b'{"childid": 19701, "price": 9701.5}', False),
        (b"childid=9701&parentid=1", True),
        (b"note=to%209701", True),
        (b"childid=9,9701", True),
        (b"<id>9701</id>", True),
        (b'{"childid": [1,9701', True),
        (b'{"childid": [970,19701', False),
        (b"\xff9701\xff", True),
        (b"", False),
    ],
)
def test_a_body_is_read_as_json_as_a_form_or_as_text(body: bytes, is_named: bool) -> None:
    assert of(9701).is_in_body(body) is is_named


def test_a_body_that_cannot_be_parsed_is_rather_erased_too_often() -> None:
    assert of(701).is_in_body(b"childid=9,701")


@pytest.mark.parametrize(
    ("number", "words", "is_named"),
    [
        (160, "error 160, child 9701", False),
        (9701, "error 160, child 9701", True),
        (3, "acme-1m7y8t1vgssvve752b and 3 more", False),
        (2026, "since 2026-11-20T18:00:00Z", False),
    ],
)
def test_codes_counts_and_times_of_the_audit_log_are_no_ids(number: int, words: str, is_named: bool) -> None:
    assert of(number).is_in_words(words) is is_named


@pytest.mark.parametrize(
    ("number", "is_named"), [(9701, True), (500, False), (2, False), (4, False), (12, True)]
)
def test_of_a_fault_only_what_the_sender_wrote_counts(number: int, is_named: bool) -> None:
    fault = 'line 4.childid[2]: expected 1 to 500 ids, got "9701" and got 12'
    assert of(number).is_in_fault(fault) is is_named


def test_a_message_and_open_work_are_about_the_record_by_their_ids() -> None:
    message = {"relationtype": BUYER, "parentid": 501, "childid": [9701, 9702], "event_id": "e"}
    assert of(9701).is_in_message(message)
    assert not of(501).is_in_message(message)  # an estate
    intent = Intent(Version(9701, 9701), "acme-1", "create", ())
    work = OpenRelation((intent,), since=9701, rejections=7, part=f"{BUYER}:1:12/0")
    assert not of(9701).is_in_open(work)
    assert not of(7).is_in_open(work)
    assert of(12).is_in_open(work)
    refused = OpenRelation((intent,), refusal=Refusal(9701, "rights", "no right for 9703"))
    assert (of(9701).is_in_open(refused), of(9703).is_in_open(refused)) == (False, True)


@given(st.integers(1, 2**53), st.sampled_from(["{}", "x {} y", "id={}", "({})", "{},", "{}: ä", "crm-{}-x"]))
def test_every_id_is_found_between_blanks_and_marks_and_as_a_number(number: int, around: str) -> None:
    assert of(number).is_in(around.format(number))
    assert of(number).is_in_body(json.dumps({"a": [around.format(number)]}).encode())
    assert of(number).is_in_json([{"b": number}])


@given(st.integers(1, 10**6), st.integers(1, 9), st.text("0123456789", min_size=1, max_size=3))
def test_no_id_is_found_inside_a_longer_number(number: int, first: int, last: str) -> None:
    for longer in (f"{first}{number}", f"{number}{last}"):
        assert of(number).is_in(longer) == (int(longer) == number)
