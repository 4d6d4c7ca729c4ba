from hypothesis import given
from hypothesis import strategies as st

from worker.network.headers import http_date, retry_after

SOME_DAY = 784_111_777.0  # the example date of RFC 9110


def test_an_http_date_is_unix_time() -> None:
    assert http_date("Sun, 06 Nov 1994 08:49:37 GMT") == SOME_DAY


def test_a_date_without_a_zone_is_utc() -> None:
    assert http_date("Sun, 06 Nov 1994 08:49:37 -0000") == SOME_DAY


def test_a_wait_in_seconds_is_seconds() -> None:
    assert retry_after("120", now=0.0) == 120.0


def test_a_wait_until_a_date_counts_from_now() -> None:
    assert retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now=SOME_DAY - 7.5) == 7.5


def test_a_date_that_has_passed_means_now() -> None:
    assert retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now=SOME_DAY + 99) == 0.0


@given(st.none() | st.text() | st.from_regex(r"\A\w{3}, \d{1,9} \w{3} \d{1,9} \d+:\d+:\d+ (GMT|[+-]\d+)\Z"))
def test_no_header_is_an_error(text: str | None) -> None:
    assert isinstance(http_date(text), float | None)
    wait = retry_after(text, now=0.0)
    assert wait is None or wait >= 0
