import pytest

from worker.contract import MAX_FAULTS, check_each, from_message, limit_faults
from worker.errors import Fault, InvalidChange


@pytest.mark.parametrize(
    ("path", "place", "location"),
    [
        ("", None, ""),
        ("childid[2]", None, "childid[2]"),
        ("childid[2]", 3, "[3].childid[2]"),
        ("childid[2]", "line 4", "line 4.childid[2]"),
        ('["a b"]', 3, '[3]["a b"]'),
        ("", 0, "[0]"),
        ("", "line 4", "line 4"),
        ("account", "", "account"),
    ],
)
def test_a_location_is_the_place_and_the_path(path: str, place: int | str | None, location: str) -> None:
    fault = Fault(path, "is required", place)
    assert fault.to_dict() == {"path": location, "message": "is required"}
    assert str(fault) == (f"{location}: is required" if location else "is required")


def test_positions_are_moved_and_names_stay() -> None:
    error = InvalidChange([Fault("account", "a", 1), Fault("", "b"), Fault("batch", "c", "line 4")])
    assert error.moved([7, 8].__getitem__).faults == (
        Fault("account", "a", 8),
        Fault("", "b"),
        Fault("batch", "c", "line 4"),
    )


def test_faults_are_grouped_by_their_position() -> None:
    error = InvalidChange(
        [Fault("account", "a", 1), Fault("batch", "b", 0), Fault("", "c", 1), Fault("", "d")]
    )
    assert error.by_position() == {1: [Fault("account", "a"), Fault("", "c")], 0: [Fault("batch", "b")]}


def test_a_fault_is_at_the_place_that_the_message_has() -> None:
    with pytest.raises(InvalidChange) as caught:
        from_message({}, "line 4")
    assert {fault.place for fault in caught.value.faults} == {"line 4"}


def refuse(number: int) -> int:
    if number % 2:
        raise InvalidChange([Fault("", f"{number} is odd")])
    return number


def test_every_item_is_checked_before_any_is_refused() -> None:
    assert check_each(enumerate([2, 4]), refuse) == [2, 4]
    with pytest.raises(InvalidChange) as caught:
        check_each(enumerate([1, 2, 3], start=5), refuse)
    assert list(map(str, caught.value.faults)) == ["[5]: 1 is odd", "[7]: 3 is odd"]


def test_a_limited_check_stops_after_so_many_faults() -> None:
    numbers = iter(range(1, 10**9, 2))
    with pytest.raises(InvalidChange) as caught:
        check_each(enumerate(numbers), refuse, limited=True)
    assert caught.value.faults[-1].message == f"only the first {MAX_FAULTS} faults are listed"
    assert len(caught.value.faults) == MAX_FAULTS + 1
    assert limit_faults(caught.value.faults[:MAX_FAULTS]) == list(caught.value.faults[:MAX_FAULTS])
