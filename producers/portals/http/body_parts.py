"""What became of a body, account by account: each account's part is accepted or refused as a whole, and named in the body's own places."""

from collections.abc import Iterator, Mapping, Sequence

from starlette.responses import Response

from producers.portals.http.problems import error_response
from worker.contract import Change
from worker.errors import Fault, InvalidChange, NotFound, RelationsError, Unavailable
from worker.usecases.intake import Part


def by_account(changes: Sequence[Change]) -> list[tuple[int, ...]]:
    """The positions of each account's changes."""
    positions: dict[str, list[int]] = {}
    for at, change in enumerate(changes):
        positions.setdefault(change.account, []).append(at)
    return [tuple(part) for part in positions.values()]


def at_home(error: RelationsError, places: Sequence[str]) -> Iterator[Fault]:
    """The error as faults of the body; `places` are the paths of the part's changes, by which intake counted them."""
    if not isinstance(error, InvalidChange):
        yield Fault(join(places[0], "account"), str(error))
        return
    for fault in error.faults:
        position, _, rest = fault.path.partition(".")
        yield Fault(join(places[int(position)], rest), fault.message)


def not_all(
    parts: Sequence[Part], places: Sequence[str], jobs: Mapping[int, Mapping[str, object]]
) -> Response:
    """The problem document of a body of which these parts were refused; `jobs` are those of the others, by position.

    Never a 2xx: whoever does not look further sends it all again, which does no harm to what has its event id. What time can cure
    decides the status, then the first part.
    """
    errors = [part.error for part in parts if part.error]
    curable = [error for error in errors if isinstance(error, Unavailable)]
    gravest = max(curable, key=lambda error: error.retry_after) if curable else errors[0]
    if len(errors) == 1 and not jobs and not isinstance(gravest, InvalidChange | NotFound):
        return error_response(gravest)
    faults = [
        fault
        for part in parts
        if part.error
        for fault in at_home(part.error, [places[at] for at in part.positions])
    ]
    if isinstance(
        gravest, NotFound
    ):  # an account that is not there is a fault of the change, not of the address
        gravest = InvalidChange(faults)
    return error_response(
        gravest, faults=faults, more={"jobs": [jobs.get(at) for at in range(len(places))]} if jobs else None
    )


def join(place: str, path: str) -> str:
    """The path inside what is at `place`."""
    return f"{place}.{path}" if place and path else place or path
