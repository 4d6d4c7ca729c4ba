"""Collecting the faults of many inputs, so that a sender learns of all mistakes at once."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from worker.errors import Fault, InvalidChange, Place

MAX_FAULTS = 100  # listed at once; a sender with more of them made one mistake many times

Item = TypeVar("Item")
Result = TypeVar("Result")


def limit_faults(faults: Iterable[Fault]) -> list[Fault]:
    """Return the first `MAX_FAULTS`, and a note if there are more."""
    found = list(islice(faults, MAX_FAULTS + 1))
    if len(found) > MAX_FAULTS:
        found[MAX_FAULTS] = Fault("", f"only the first {MAX_FAULTS} faults are listed")
    return found


def check_each(
    items: Iterable[tuple[Place, Item]], check: Callable[[Item], Result], *, limited: bool = False
) -> list[Result]:
    """Return what `check` returns for every item, or raise one InvalidChange with the faults of all.

    Each fault is at the place of its item. If limited, items behind more than `MAX_FAULTS` faults are
    skipped.
    """
    results: list[Result] = []
    faults: list[Fault] = []
    for place, item in items:
        try:
            results.append(check(item))
        except InvalidChange as error:
            faults += error.at(place).faults
        if limited and len(faults) > MAX_FAULTS:
            break
    if faults:
        raise InvalidChange(limit_faults(faults) if limited else faults)
    return results
