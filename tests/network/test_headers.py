import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.network import LONGEST_WAIT, http_date, retry_after

SOME_DAY = 784_111_777.0  # the example date of RFC 9110


def test_an_http_date_is_unix_time() -> None:
    assert http_date("Sun, 06 Nov 1994 08:49:37 GMT") == SOME_DAY
    assert http_date(None) is None


def test_a_date_without_a_zone_is_utc() -> None:
    assert http_date("Sun, 06 Nov 1994 08:49:37 -0000") == SOME_DAY


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("Sun, 06 Nov 1994 08:49:44 GMT", 7.0),
        ("Sunday, 06-Nov-94 08:49:44 GMT", 7.0),
        ("Sun Nov  6 08:49:44 1994", 7.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1904 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 2094 08:49:37 GMT", LONGEST_WAIT),
        ("9" * 5000, LONGEST_WAIT),
        *((text, None) for text in ("", " ", "-5", "1e3", "inf", "nan", "\u0663", "soon", "5, 5")),
    ],
)
def test_both_forms_of_a_wait_are_read_and_bounded_and_anything_else_is_none(
    value: str, wait: float | None
) -> None:
    assert retry_after({"Retry-After": value}, now=SOME_DAY) == wait


def test_no_header_is_no_wait() -> None:
    assert retry_after({}, now=0.0) is None


def test_the_clock_of_the_server_counts_where_the_answer_has_its_date() -> None:
    headers = {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT", "Date": "Sun, 06 Nov 1994 08:49:30 GMT"}
    assert retry_after(headers, now=SOME_DAY + 5000) == 7.0
    assert retry_after({**headers, "Date": "yesterday"}, now=SOME_DAY - 7.5) == 7.5


ODD = st.text() | st.from_regex(r"\A\w{3}, \d{1,9} \w{3} \d{1,9} \d+:\d+:\d+ (GMT|[+-]\d+)\Z")


@given(ODD, ODD)
def test_no_header_is_an_error(text: str, date: str) -> None:
    assert isinstance(http_date(text), float | None)
    wait = retry_after({"Retry-After": text, "Date": date}, now=0.0)
    assert wait is None or 0 <= wait <= LONGEST_WAIT
