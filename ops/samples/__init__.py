"""The shipped samples: what producers really send, as files, each with the explanation of what becomes of it.

`README.md` beside this file tells the stories; `relations explain --sample` shows one and `relations send
--sample` sends it.
"""

from collections.abc import Sequence
from importlib.resources import files

import msgspec

from worker.contract import Change, parse_many
from worker.errors import NotFound

FOLDER = files(__package__)


def names() -> list[str]:
    """Return the names of the flows in their order, e.g. `01-portal-burst`."""
    return sorted(
        each.name.removesuffix(".ndjson") for each in FOLDER.iterdir() if each.name.endswith(".ndjson")
    )


def find(name: str) -> str:
    """Return the full name of a flow, by its name, its number or its name without the number.

    Raises NotFound, which names all flows.
    """
    for each in names():
        number, _, title = each.partition("-")
        if name in (each, number, number.lstrip("0"), title):
            return each
    raise NotFound(f'there is no sample "{name}"; there are {", ".join(names())}')


def changes(name: str) -> list[Change]:
    """Return the flow's messages in the order of arrival."""
    return [parsed.change for parsed in parse_many(FOLDER.joinpath(f"{find(name)}.ndjson").read_bytes())]


def explained(name: str) -> str:
    """Return the explanation of what becomes of the flow."""
    return FOLDER.joinpath(f"{find(name)}.explained.txt").read_text(encoding="utf-8")


def fresh(flow: Sequence[Change], *, account: str, now: int, run: str) -> list[Change]:
    """Return the flow as if its last change had happened at `now` (µs).

    Distances in time stay; event ids are those of this `run`; all of it is for `account`.
    """
    last = max((change.occurred_at or 0 for change in flow), default=0)
    return [
        msgspec.structs.replace(
            change,
            account=account,
            occurred_at=None if change.occurred_at is None else now - last + change.occurred_at,
            event_id=change.event_id and f"{change.event_id}.{run}",
        )
        for change in flow
    ]
