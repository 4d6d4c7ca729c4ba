from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.contract import read_instant, write_instant

INSTANT = 1_795_226_400_000_000  # 2026-11-21T02:00:00Z


@given(st.integers(0, 2**53 - 1))
def test_what_is_written_reads_back_to_the_microsecond(micros: int) -> None:
    assert read_instant(write_instant(micros)) == micros


@given(st.integers(10**14, 2**53 - 10**12), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_the_offset_moves_the_text_and_not_the_instant(micros: int, minutes: int) -> None:
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros, minutes=minutes)
    hours, rest = divmod(abs(minutes), 60)
    text = f"{local:%Y-%m-%dT%H:%M:%S.%f}{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
    assert read_instant(text) == micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-11-21T02:00:00Z", INSTANT),
        ("2026-11-21t02:00:00z", INSTANT),
        ("2026-11-21 02:00:00Z", INSTANT),
        ("2026-11-21T02:00:00-00:00", INSTANT),
        ("2026-11-21T03:30:00+01:30", INSTANT),
        ("2026-11-21T02:00:00.5Z", INSTANT + 500_000),
        ("2026-11-21T02:00:00.0000019Z", INSTANT + 1),
        ("2026-11-21T02:00:00." + "9" * 5000 + "Z", INSTANT + 999_999),
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-21T03:00:00+0100", INSTANT),
        ("2026-11-21T03:00+01:00", INSTANT),
        ("2026-11-21T02:00Z", INSTANT),
        ("2026-11-21 03:00:00 +0100", INSTANT),
        ("2026-11-21 01:30:00 -0030", INSTANT),
        ("2026-11-21 02:00:00 UTC", INSTANT),
    ],
)
def test_an_rfc_3339_text_is_read_exactly(text: str, micros: int) -> None:
    assert read_instant(text) == micros


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-11-21T02:00:00", "offset"),
        ("2026-11-21T02:00:00+01", "offset"),
        ("2026-11-21T0200Z", "RFC 3339"),
        ("2026-11-21  02:00:00Z", "RFC 3339"),
        ("2026-11-21 02:00:00  +0100", "RFC 3339"),
        ("2026-11-21 02:00:00 01:00", "RFC 3339"),
        ("2026-11-21 02:00:00UTC", "RFC 3339"),
        ("2026-11-21 02:00:00 CET", "RFC 3339"),
        ("2026-11-21", "RFC 3339"),
        ("2026-W47-6T02:00:00Z", "RFC 3339"),
        ("٢٠٢٦-11-21T02:00:00Z", "RFC 3339"),
        ("2026-11-21T02:00:00Z\n", "RFC 3339"),
        ("", "RFC 3339"),
        ("2026-02-30T02:00:00Z", "exist"),
        ("2026-11-21T24:00:00Z", "exist"),
        ("2026-11-21T02:00:60Z", "exist"),
        ("2026-11-21T02:00:00+24:00", "exist"),
        ("1969-12-31T23:59:59Z", "1970"),
        ("0001-01-01T00:00:00+23:59", "1970"),
        ("9999-12-31T23:59:59.999999-23:59", "2255"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_instant(text)
