"""The shipped samples: what producers really send, as files, each with the explanation of what becomes of it.

`README.md` beside this file describes them; `relations explain --sample` shows one and
`relations send --sample` sends it.
"""

from collections.abc import Sequence
from importlib.resources import files

import msgspec

from worker.contract import Change, parse_many
from worker.errors import NotFound

FOLDER = files(__package__)


def list_names() -> list[str]:
    """Return the samples in their order, e.g. `01-portal-burst`."""
    found = (file.name for file in FOLDER.iterdir())
    return sorted(name.removesuffix(".ndjson") for name in found if name.endswith(".ndjson"))


def find_name(name: str) -> str:
    """Return the sample meant by its name, its number or its title; raises NotFound with all there are."""
    for known in list_names():
        number, _, title = known.partition("-")
        if name in (known, number, number.lstrip("0"), title):
            return known
    raise NotFound(f'there is no sample "{name}"; there are {", ".join(list_names())}')


def read_changes(name: str) -> list[Change]:
    """Return the sample's messages in the order of arrival."""
    messages = FOLDER.joinpath(f"{find_name(name)}.ndjson").read_bytes()
    return [parsed.change for parsed in parse_many(messages)]


def read_explanation(name: str) -> str:
    """Return what becomes of the sample, in sentences."""
    return FOLDER.joinpath(f"{find_name(name)}.explained.txt").read_text(encoding="utf-8")


def shift_to(changes: Sequence[Change], *, account: str, now: int, run: str) -> list[Change]:
    """Return the changes as if the last had happened at `now` (µs), with event ids of this `run`."""
    last = max((change.occurred_at or 0 for change in changes), default=0)
    return [
        msgspec.structs.replace(
            change,
            account=account,
            occurred_at=None if change.occurred_at is None else now - last + change.occurred_at,
            event_id=change.event_id and f"{change.event_id}.{run}",
        )
        for change in changes
    ]
