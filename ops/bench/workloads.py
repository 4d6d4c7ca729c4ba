"""The kinds of work that everybody is given, and the end state that each has to lead to. Pure, but for the
hour.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ops.bench.load import bursts, links, scatter, toggles
from worker.contract import Change, Relation

EndState = dict[Relation, dict[str, str]]
Load = Callable[..., list[Change]]


LOADS: Final[Mapping[str, Load]] = {
    "mailing": links,
    "quarrel": toggles,
    "scatter": scatter,
    "demo burst": bursts,
}


def end_state(changes: Iterable[Change]) -> EndState:
    """Return what the CRM holds if each change is made once, in the order in which they happened.

    A change without its own time happened when it was sent; an event that is sent twice happened once.
    """
    events = {change.event_id or place: (place, change) for place, change in enumerate(changes)}
    state: EndState = {}
    for _, change in sorted(events.values(), key=lambda event: (event[1].occurred_at or 0, event[0])):
        for relation in change.relations:
            _apply(state, relation, change)
    return state


def _apply(state: EndState, relation: Relation, change: Change) -> None:
    if change.action == "delete":
        state.pop(relation, None)
    elif change.action == "create":
        state.setdefault(relation, {}).update(change.info)
    elif relation in state:
        state[relation].update(change.info)


def count_wrong(found: EndState, wanted: EndState) -> int:
    """Return how many relations are there and should not be, are missing, or have another info."""
    return sum(found.get(relation) != wanted.get(relation) for relation in found.keys() | wanted.keys())
