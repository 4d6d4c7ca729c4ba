"""Random changes as careless producers send them: few relations, many contradictions, any order."""

import random
from collections.abc import Sequence

import msgspec

from worker.contract import Change, Module, Reference, Verb

CONFIRMATION, FEEDBACK = "statusTerminbestaetigung", "statusTerminrueckmeldung"
VALUES = {CONFIRMATION: ("bestätigt", "gesendet", "gecancelt"), FEEDBACK: ("aktiv", "inaktiv")}
APPOINTMENT = "calendar:address"
UNIT = "estate:estateUnit"
TYPES = ("estate:address:contactPerson", APPOINTMENT, UNIT, "estate:address:buyer")
TYPES_OF_RECORDS: dict[str, tuple[str, Module]] = {
    "estate:address:contactPerson": ("estate", "address"),
    "estate:address:buyer": ("estate", "address"),
    APPOINTMENT: ("calendar", "address"),
    UNIT: ("estate", "estate"),
}
GUARDED = ("estate:address:contactPerson", UNIT)
BATCH = "import"
# Ids are long and of one module each, so that nothing else in the store has their digits.
DATES = (40_000_501, 40_000_502)
ESTATES = (50_000_501, 50_000_502)
UNITS = (70_000_901, 70_000_902, 70_000_903, 70_000_904)
ADDRESSES = (90_000_901, 90_000_902, 90_000_903, 90_000_904)
# Records that some scenarios do not have, at the beginning or at all.
MISSING = (*(("address", number) for number in ADDRESSES[2:]), *(("estate", number) for number in UNITS[2:]))
BAD_RECORDS = (("address", ADDRESSES[0]), ("estate", ESTATES[0]), ("calendar", DATES[1]))
"""Records of which in some scenarios one makes every request fail that names it."""
BARRED = (*(("address", number) for number in ADDRESSES), *(("estate", number) for number in ESTATES))
"""Records of which in some scenarios the API user may not write one, until what is missing is created."""
RECORDS = (
    *(("calendar", number) for number in DATES),
    *(("estate", number) for number in (*ESTATES, *UNITS)),
    *(("address", number) for number in ADDRESSES),
)


def fields_of_records() -> dict[str, dict[int, dict[str, str]]]:
    """Return a field of every record that a reference can be to, by which it is found."""
    return {
        "estate": {number: {"objektnr_extern": f"PC{number}"} for number in (*ESTATES, *UNITS)},
        "address": {number: {"KdNr": f"{number}"} for number in ADDRESSES},
    }


def name_records(change: Change) -> Change:
    """Return the change with its estates and addresses named by references, if its event id says so."""
    sides = TYPES_OF_RECORDS[change.type]
    number = (change.event_id or "0").rpartition("-")[2]
    chosen = int(number) % 4 if number.isdecimal() else 0
    parents = change.parents if sides[0] == "estate" and chosen in (1, 3) else ()
    children = change.children[:1] if chosen in (2, 3) else ()
    return msgspec.structs.replace(
        change,
        parents=change.parents[len(parents) :],
        children=change.children[len(children) :],
        parent_references=tuple(_reference("estate", each) for each in parents),
        child_references=tuple(_reference(sides[1], each) for each in children),
    )


def as_replaces(rng: random.Random, changes: Sequence[Change]) -> list[Change]:
    """Return the changes, with some of the creates as replaces of the record that they share."""
    return [
        _as_replace(rng, change) if change.action == "create" and rng.random() < 0.5 else change
        for change in changes
    ]


def _as_replace(rng: random.Random, change: Change) -> Change:
    parents, children, side = change.parents, change.children, "child"
    if rng.random() < 0.3:
        others = DATES if change.type == APPOINTMENT else ESTATES
        parents, children = tuple(rng.sample(others, rng.choice((1, 2)))), children[:1]
        side = "parent"
        parents = parents[:1] if change.type == UNIT else parents  # two buildings of a unit are refused
    is_emptied = change.type not in GUARDED and rng.random() < 0.1
    return msgspec.structs.replace(
        change,
        action="replace",
        parents=() if is_emptied and side == "parent" else parents,
        children=() if is_emptied and side == "child" else children,
        info=(),
        replaces=side,
        allow_empty=is_emptied,
    )


def _reference(module: Module, number: int) -> Reference:
    field = ("objektnr_extern", f"PC{number}") if module == "estate" else ("KdNr", f"{number}")
    return Reference(module, (field,))


def children_of(relation_type: str) -> tuple[int, ...]:
    """Return the records that can be children of this type."""
    return UNITS if relation_type == UNIT else ADDRESSES


def make_changes(rng: random.Random, *, accounts: tuple[str, ...], now: int) -> list[Change]:
    """Make up to two dozen changes of the last minutes before `now` (µs).

    Some have the same `occurred_at`, some none.
    """
    types = rng.sample(TYPES, rng.choice((1, 1, 2, 4)))
    spread = rng.choice((5, 1000))
    return [
        _make_change(rng, number, rng.choice(types), rng.choice(accounts), now, spread)
        for number in range(rng.randrange(2, 25))
    ]


def _make_change(
    rng: random.Random, number: int, relation_type: str, account: str, now: int, spread: int
) -> Change:
    is_appointment = relation_type == APPOINTMENT
    action: Verb = rng.choice(
        ("create", "create", "delete", "modify") if is_appointment else ("create", "delete")
    )
    return Change(
        account=account,
        action=action,
        type=relation_type,
        parents=(rng.choice(DATES if is_appointment else ESTATES),),
        children=tuple(rng.sample(children_of(relation_type), rng.choice((1, 1, 1, 2, 3)))),
        info=_info(rng, action) if is_appointment else (),
        occurred_at=None if rng.random() < 0.2 else now - rng.randrange(spread) * 100_000,
        event_id=f"event-{number}",
        batch=rng.choice(("", BATCH)),
    )


def _info(rng: random.Random, action: str) -> tuple[tuple[str, str], ...]:
    if action == "delete" or (action == "create" and rng.random() < 0.5):
        return ()
    keys = rng.sample(sorted(VALUES), rng.choice((1, 1, 2)))
    return tuple((key, rng.choice(VALUES[key])) for key in sorted(keys))
