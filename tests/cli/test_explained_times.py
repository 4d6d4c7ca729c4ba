"""Times in texts for people are the instants that are kept, in whatever zone they are written."""

import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.explain.text import LOCAL, Instant, format_time
from worker.contract import read_instant
from worker.contract.instant import SECOND

ZONES = ("UTC", "Europe/Berlin", "Europe/London", "America/New_York", "Asia/Kathmandu", "Pacific/Apia")


@given(seconds=st.integers(0, 4_000_000_000), zone=st.sampled_from(ZONES))
def test_an_instant_is_the_same_in_every_zone_summer_and_winter(seconds: int, zone: str) -> None:
    written = Instant(seconds * SECOND, ZoneInfo(zone))
    assert read_instant(written) == seconds * SECOND
    assert format_time(written, ZoneInfo(zone)) == written


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine be in Berlin."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("is_local", [False, True])
@pytest.mark.parametrize(
    ("instant", "written"),
    [
        ("2026-07-01T10:00:00Z", "2026-07-01T12:00:00+02:00"),
        ("2026-12-01T10:00:00Z", "2026-12-01T11:00:00+01:00"),
        ("2026-10-25T00:30:00Z", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T01:30:00Z", "2026-10-25T02:30:00+01:00"),
    ],
)
def test_summer_time_is_that_of_the_instant_also_on_this_machine(
    instant: str, written: str, *, is_local: bool
) -> None:
    assert format_time(instant, LOCAL if is_local else ZoneInfo("Europe/Berlin")) == written
