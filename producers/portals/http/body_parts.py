"""The problem document of a body of which not every account's changes were accepted."""

from collections.abc import Iterator, Mapping, Sequence

from starlette.responses import Response

from producers.portals.http.problems import refused
from worker.errors import Fault, InvalidChange, NotFound, Place, Unavailable
from worker.usecases.intake import AccountResult


def partly_refused(
    results: Sequence[AccountResult],
    places: Sequence[Place | None],
    jobs: Mapping[int, Mapping[str, object]],
) -> Response:
    """Return the problem document for results of which some are errors.

    `places` are where the changes are in the body, `jobs` those that were accepted, by position. The status
    is never a 2xx: a client that looks no further sends it all again, which does no harm to changes with an
    event id. Errors that time can cure decide the status, then the first account's.
    """
    errors = [result.error for result in results if result.error]
    curable = [error for error in errors if isinstance(error, Unavailable)]
    gravest = max(curable, key=lambda error: error.retry_after) if curable else errors[0]
    if len(errors) == 1 and not jobs and not isinstance(gravest, InvalidChange | NotFound):
        return refused(gravest)
    faults = [fault for result in results for fault in _faults(result, places)]
    if isinstance(gravest, NotFound):  # an unknown account is a fault of the change, not of the address
        gravest = InvalidChange(faults)
    more = {"jobs": [jobs.get(position) for position in range(len(places))]} if jobs else None
    return refused(gravest, faults=faults, more=more)


def _faults(result: AccountResult, places: Sequence[Place | None]) -> Iterator[Fault]:
    if isinstance(result.error, InvalidChange):
        yield from result.error.moved(places.__getitem__).faults
    elif result.error:
        yield Fault("account", str(result.error), places[result.positions[0]])
