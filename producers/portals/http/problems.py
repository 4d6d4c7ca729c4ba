"""Responses: accepted changes, and a problem document (RFC 9457) for every error there is."""

import math
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NotRequired, TypedDict

import msgspec
from starlette.responses import Response

from producers.errors import Forbidden, TooLarge, TooSlow, Unauthorized, Unsupported
from worker.config import redact_answer
from worker.errors import (
    BacklogFull,
    Fault,
    Invalid,
    InvalidChange,
    InvalidSettings,
    NotFound,
    Place,
    RelationsError,
    Unavailable,
)
from worker.ports.records import JobState
from worker.usecases.intake import AccountResult

STATUS: Final[Mapping[type[RelationsError], int]] = {
    RelationsError: 500,  # an error that is added without a status here counts as a fault of the server
    Invalid: 422,
    InvalidSettings: 500,
    NotFound: 404,
    Unavailable: 503,
    BacklogFull: 429,
    Unauthorized: 401,
    Forbidden: 403,
    TooLarge: 413,
    TooSlow: 408,
    Unsupported: 415,
}
INTERNAL_ERROR: Final = "something is wrong here, not with the request; the log says what"


class FaultDict(TypedDict):
    """One fault, and the path to it."""

    path: str
    message: str


class JobEntry(TypedDict):
    """The job of one accepted change; `state` is null for a job that is forgotten by now."""

    id: str
    state: JobState | None
    duplicate: bool
    notes: NotRequired[list[str]]


class JobsDict(TypedDict):
    """The jobs of a body, one per change and in its order."""

    jobs: list[JobEntry]


class ProblemDict(TypedDict):
    """A problem document (RFC 9457).

    `kind` is the class of the error, as the command line names it with `--json`; `jobs` has an entry per
    change if only parts of a body were refused.
    """

    type: str
    title: str
    status: int
    detail: str
    kind: NotRequired[str]
    errors: NotRequired[list[FaultDict]]
    jobs: NotRequired[list[JobEntry | None]]


def status_of(error: RelationsError) -> int:
    """Return the HTTP status of the nearest class of the error tree that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def json_response(
    document: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> Response:
    """Return a response with this document as JSON."""
    return Response(msgspec.json.encode(document), status, headers, content_type)


def accepted_response(jobs: Sequence[Mapping[str, object]], *, waited: int = 0) -> Response:
    """Return 202 with the jobs and the location of a single one; 200 if the client waited for their end."""
    location = {"Location": f"/v1/jobs/{jobs[0]['id']}"} if len(jobs) == 1 else {}
    headers = {**location, **preference_applied(waited)}
    return json_response({"jobs": jobs}, status=200 if waited else 202, headers=headers)


def preference_applied(waited: int) -> dict[str, str]:
    """Return the header that says that the client waited for what has ended by now; none for 0 seconds."""
    return {"Preference-Applied": f"wait={waited}"} if waited else {}


def problem_response(
    status: int,
    detail: str,
    *,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """Return a problem document; secrets in its texts are starred, wherever they came from."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": redact_answer(detail),
        **(more or {}),
    }
    if faults:
        document["errors"] = [
            {"path": redact_answer(fault.location), "message": redact_answer(fault.message)}
            for fault in faults
        ]
    return json_response(document, status=status, headers=headers, content_type="application/problem+json")


def error_response(
    error: RelationsError, *, faults: Sequence[Fault] = (), more: Mapping[str, Any] | None = None
) -> Response:
    """Return the problem document of an error; `faults` take the place of its own."""
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem_response(status, INTERNAL_ERROR)
    listed = faults or (error.faults if isinstance(error, Invalid) else ())
    more = {"kind": type(error).__name__, **(more or {})}
    return problem_response(status, _detail(error, listed), faults=listed, headers=_headers(error), more=more)


def _detail(error: RelationsError, faults: Sequence[Fault]) -> str:
    if not isinstance(error, Invalid):
        return str(error)
    return f"{len(faults)} faults; nothing with a fault was accepted" if len(faults) > 1 else str(faults[0])


def _headers(error: RelationsError) -> dict[str, str]:
    if isinstance(error, Unavailable):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    if isinstance(error, Unsupported) and error.accepted_codings:
        return {"Accept-Encoding": error.accepted_codings}
    return {"WWW-Authenticate": error.challenge} if isinstance(error, Unauthorized) else {}


def partly_refused(
    results: Sequence[AccountResult],
    places: Sequence[Place | None],
    jobs: Mapping[int, Mapping[str, object]],
) -> Response:
    """Return the problem document for a body of which some accounts' changes were refused.

    `places` are where the changes are in the body, `jobs` those that were accepted, by position. The status
    is never a 2xx: a client that looks no further sends it all again, which does no harm to changes with an
    event id. Errors that time can cure decide the status, then the first account's.
    """
    errors = [result.error for result in results if result.error]
    curable = [error for error in errors if isinstance(error, Unavailable)]
    gravest = max(curable, key=lambda error: error.retry_after) if curable else errors[0]
    if len(errors) == 1 and not jobs and not isinstance(gravest, InvalidChange | NotFound):
        return error_response(gravest)
    faults = [fault for result in results for fault in _faults_of(result, places)]
    if isinstance(gravest, NotFound):  # an unknown account is a fault of the change, not of the address
        gravest = InvalidChange(faults)
    more = {"jobs": [jobs.get(position) for position in range(len(places))]} if jobs else None
    return error_response(gravest, faults=faults, more=more)


def _faults_of(result: AccountResult, places: Sequence[Place | None]) -> Iterator[Fault]:
    if isinstance(result.error, InvalidChange):
        yield from result.error.moved(places.__getitem__).faults
    elif result.error:
        yield Fault("account", str(result.error), places[result.positions[0]])
