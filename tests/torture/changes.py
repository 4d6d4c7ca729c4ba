"""Changes as unruly producers send them: few relations, much contradiction, any order. Made of a seed's dice."""

import random

from worker.contract import Change, Verb

CONFIRMATION, FEEDBACK = "statusTerminbestaetigung", "statusTerminrueckmeldung"
VALUES = {CONFIRMATION: ("bestätigt", "gesendet", "gecancelt"), FEEDBACK: ("aktiv", "inaktiv")}
APPOINTMENT = "calendar:address"
TYPES = ("estate:address:contactPerson", APPOINTMENT, "estate:estateUnit", "estate:address:buyer")
MISSING = 904  # no address and no estate has this id, in the stories that say so
CHILDREN = (901, 902, 903, MISSING)


def changes(dice: random.Random, *, accounts: tuple[str, ...], now: int) -> list[Change]:
    """Up to two dozen changes, `occurred_at` in the last minutes before `now` (µs); ties and missing ones happen."""
    types = dice.sample(TYPES, dice.choice((1, 1, 2, 4)))
    spread = dice.choice((5, 1000))
    return [
        _one(dice, number, dice.choice(types), dice.choice(accounts), now, spread)
        for number in range(dice.randrange(2, 25))
    ]


def _one(dice: random.Random, number: int, name: str, account: str, now: int, spread: int) -> Change:
    action: Verb = dice.choice(
        ("create", "create", "delete", "modify") if name == APPOINTMENT else ("create", "delete")
    )
    parents, children = (
        (dice.randrange(501, 503),),
        tuple(dice.sample(CHILDREN, dice.choice((1, 1, 1, 2, 3)))),
    )
    return Change(
        account=account,
        action=action,
        type=name,
        parents=parents,
        children=children,
        info=_info(dice, action) if name == APPOINTMENT else (),
        occurred_at=None if dice.random() < 0.2 else now - dice.randrange(spread) * 100_000,
        event_id=f"event-{number}",
    )


def _info(dice: random.Random, action: str) -> tuple[tuple[str, str], ...]:
    if action == "delete" or (action == "create" and dice.random() < 0.5):
        return ()
    keys = dice.sample(sorted(VALUES), dice.choice((1, 1, 2)))
    return tuple((key, dice.choice(VALUES[key])) for key in sorted(keys))
