"""The demo's small parts: how a burst is packed, what the fewest actions are, how a difference is told."""

from hypothesis import given
from hypothesis import strategies as st

from ops.dev.demo.burst import Arrival, burst
from ops.dev.demo.crm import differences
from ops.dev.demo.delivery import SIZES, parcels
from ops.dev.demo.least import least
from worker.contract import Relation

BUYER = "estate:address:buyer"
CONFIRMED = {"statusTerminbestaetigung": "bestätigt"}


def a_burst(changes: int, seed: int) -> tuple[Arrival, ...]:
    return burst(changes, seed=seed, accounts=["nord"], start=1_790_000_000_000_000).arrivals


@given(st.builds(a_burst, st.integers(1, 400), st.integers(0, 1000)))
def test_parcels_carry_every_arrival_once_in_order_and_none_is_too_big(arrivals: tuple[Arrival, ...]) -> None:
    packed = list(parcels(arrivals))
    for route, size in SIZES.items():
        mine = [parcel.messages for parcel in packed if parcel.route == route]
        assert [message for messages in mine for message in messages] == [
            message for message, way in arrivals if way == route
        ]
        assert all(1 <= len(messages) <= size for messages in mine)


@given(st.integers(1, 50))
def test_one_star_is_one_action_whatever_its_size(size: int) -> None:
    assert least({Relation(BUYER, 1, child): {} for child in range(1, size + 1)}, ()) == 1
    assert least({Relation(BUYER, parent, 1): {} for parent in range(1, size + 1)}, ()) == 1


def test_info_is_set_by_an_action_of_its_own_and_every_unlinked_pair_needs_one() -> None:
    linked = {Relation("calendar:address", 1, child): CONFIRMED for child in (1, 2, 3)}
    assert least(linked, ()) == 2
    assert least(linked, [Relation(BUYER, 1, child) for child in (7, 8)]) == 4


def test_a_difference_says_what_is_and_what_was_asked_for() -> None:
    one, other = Relation("calendar:address", 1, 2), Relation(BUYER, 3, 4)
    told = differences({"nord": {one: {}}}, {"nord": {one: CONFIRMED, other: {}}})
    assert told == [
        f"nord: {one} is present, asked for present {CONFIRMED}",
        f"nord: {other} is absent, asked for present",
    ]
    assert differences({"nord": {one: {}}}, {"nord": {one: {}}}) == []
