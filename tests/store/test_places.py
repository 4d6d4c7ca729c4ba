"""Laws of finding a place in an index, of which some entries may be gone."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from worker.store.places import PIECE, find_end

rising = st.lists(st.integers(0, 400), max_size=50).map(
    lambda counts: [value for value, count in enumerate(counts, 1) for _ in range(count)]
)


@given(values=rising, end=st.integers(0, 60))
def test_what_is_found_is_the_first_place_but_for_a_few(values: list[int], end: int) -> None:
    first = sum(value < end for value in values)
    found = find_end(len(values), end, lambda places: [values[place] for place in places])
    assert first <= found <= first + PIECE


@given(values=rising, end=st.integers(0, 60), gone=st.sets(st.integers(0, 16)))
def test_nothing_is_passed_over_where_entries_are_gone(values: list[int], end: int, gone: set[int]) -> None:
    asked = list[Sequence[int]]()

    def values_at(places: Sequence[int]) -> list[int]:
        asked.append(places)
        return [0 if place % 17 in gone else values[place] for place in places]

    assert find_end(len(values), end, values_at) >= sum(value < end for value in values)
    assert len(asked) <= 8
