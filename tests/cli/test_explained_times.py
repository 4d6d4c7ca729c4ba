"""Times in texts for people are the instants that are kept, in whatever zone they are written."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.explain.text import Instant, format_time
from worker.contract import read_instant
from worker.contract.instant import SECOND

ZONES = ("UTC", "Europe/Berlin", "Europe/London", "America/New_York", "Asia/Kathmandu", "Pacific/Apia")


@given(seconds=st.integers(0, 4_000_000_000), zone=st.sampled_from(ZONES))
def test_an_instant_is_the_same_in_every_zone_summer_and_winter(seconds: int, zone: str) -> None:
    written = Instant(seconds * SECOND, ZoneInfo(zone))
    assert read_instant(written) == seconds * SECOND
    assert format_time(written, ZoneInfo(zone)) == written


@pytest.mark.parametrize(
    ("instant", "written"),
    [
        ("2026-07-01T10:00:00Z", "2026-07-01T12:00:00+02:00"),
        ("2026-12-01T10:00:00Z", "2026-12-01T11:00:00+01:00"),
        ("2026-10-25T00:30:00Z", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T01:30:00Z", "2026-10-25T02:30:00+01:00"),
    ],
)
def test_summer_time_is_that_of_the_instant(instant: str, written: str) -> None:
    assert format_time(instant, ZoneInfo("Europe/Berlin")) == written
