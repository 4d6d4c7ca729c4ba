"""Random changes as careless producers send them: few relations, many contradictions, any order."""

import random

from worker.contract import Change, Verb

CONFIRMATION, FEEDBACK = "statusTerminbestaetigung", "statusTerminrueckmeldung"
VALUES = {CONFIRMATION: ("bestätigt", "gesendet", "gecancelt"), FEEDBACK: ("aktiv", "inaktiv")}
APPOINTMENT = "calendar:address"
TYPES = ("estate:address:contactPerson", APPOINTMENT, "estate:estateUnit", "estate:address:buyer")
MISSING = 904  # in some scenarios no address and no estate has this id
CHILDREN = (901, 902, 903, MISSING)
BAD_RECORDS = (("address", 901), ("estate", 501), ("calendar", 502))
"""Records of which in some scenarios one makes every request fail that names it."""


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
        parents=(rng.randrange(501, 503),),
        children=tuple(rng.sample(CHILDREN, rng.choice((1, 1, 1, 2, 3)))),
        info=_info(rng, action) if is_appointment else (),
        occurred_at=None if rng.random() < 0.2 else now - rng.randrange(spread) * 100_000,
        event_id=f"event-{number}",
    )


def _info(rng: random.Random, action: str) -> tuple[tuple[str, str], ...]:
    if action == "delete" or (action == "create" and rng.random() < 0.5):
        return ()
    keys = rng.sample(sorted(VALUES), rng.choice((1, 1, 2)))
    return tuple((key, rng.choice(VALUES[key])) for key in sorted(keys))
