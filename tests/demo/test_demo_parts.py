"""The demo's small parts: how a burst is grouped, the fewest actions, and how a difference is described."""

from hypothesis import given
from hypothesis import strategies as st

from ops.dev.demo.burst import Arrival, count_fewest_actions, make_burst
from ops.dev.demo.crm_state import describe_differences
from ops.dev.demo.delivery import SIZES, group_by_route
from worker.contract import Relation

BUYER = "estate:address:buyer"
CONFIRMED = {"statusTerminbestaetigung": "bestätigt"}


def a_burst(changes: int, seed: int) -> tuple[Arrival, ...]:
    return make_burst(changes, seed=seed, accounts=["nord"], start=1_790_000_000_000_000).arrivals


@given(st.builds(a_burst, st.integers(1, 400), st.integers(0, 1000)))
def test_groups_have_every_arrival_once_in_order_and_none_is_too_big(arrivals: tuple[Arrival, ...]) -> None:
    groups = list(group_by_route(arrivals))
    for route, size in SIZES.items():
        of_route = [group.messages for group in groups if group.route == route]
        assert [message for messages in of_route for message in messages] == [
            message for message, taken in arrivals if taken == route
        ]
        assert all(1 <= len(messages) <= size for messages in of_route)


@given(st.integers(1, 50))
def test_one_star_is_one_action_whatever_its_size(size: int) -> None:
    assert count_fewest_actions({Relation(BUYER, 1, child): {} for child in range(1, size + 1)}, ()) == 1
    assert count_fewest_actions({Relation(BUYER, parent, 1): {} for parent in range(1, size + 1)}, ()) == 1


def test_info_is_set_by_an_action_of_its_own_and_every_unlinked_pair_needs_one() -> None:
    linked = {Relation("calendar:address", 1, child): CONFIRMED for child in (1, 2, 3)}
    assert count_fewest_actions(linked, ()) == 2
    assert count_fewest_actions(linked, [Relation(BUYER, 1, child) for child in (7, 8)]) == 4


def test_a_difference_names_the_actual_and_the_expected_state() -> None:
    one, other = Relation("calendar:address", 1, 2), Relation(BUYER, 3, 4)
    sentences = describe_differences({"nord": {one: {}}}, {"nord": {one: CONFIRMED, other: {}}})
    assert sentences == [
        f"nord: {one} is present, asked for present {CONFIRMED}",
        f"nord: {other} is absent, asked for present",
    ]
    assert describe_differences({"nord": {one: {}}}, {"nord": {one: {}}}) == []
