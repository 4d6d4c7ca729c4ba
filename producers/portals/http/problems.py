"""What the HTTP interface answers: accepted changes, and problem documents (RFC 9457) for every error there is."""

import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NotRequired, TypedDict

import msgspec
from starlette.responses import Response

from producers.errors import Forbidden, TooLarge, TooSlow, Unauthorized, Unsupported
from worker.config import redact
from worker.errors import (
    BacklogFull,
    Fault,
    Invalid,
    InvalidSettings,
    NotFound,
    RelationsError,
    Unavailable,
)
from worker.ports import JobState

STATUS: Final[Mapping[type[RelationsError], int]] = {
    RelationsError: 500,  # whoever adds an error chooses its status here, or it counts as our fault
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


class FaultDict(TypedDict):
    """One thing that is wrong, and where."""

    path: str
    message: str


class JobEntry(TypedDict):
    """What is answered for one accepted change; `state` is null for a job that was forgotten meanwhile."""

    id: str
    state: JobState | None
    duplicate: bool
    notes: NotRequired[list[str]]


class JobsDict(TypedDict):
    """The jobs of a body, one per change and in its order."""

    jobs: list[JobEntry]


class Problem(TypedDict):
    """What went wrong (RFC 9457). Where only some accounts' parts of a body were refused, `jobs` has one entry per change."""

    type: str
    title: str
    status: int
    detail: str
    errors: NotRequired[list[FaultDict]]
    jobs: NotRequired[list[JobEntry | None]]


OURS: Final = "something is wrong here, not with the request; the log says what"


def status_of(error: RelationsError) -> int:
    """The HTTP status that says it: the nearest class of the error tree that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def answer(
    document: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
) -> Response:
    """A document as JSON."""
    return Response(msgspec.json.encode(document), status, headers, kind)


def problem(
    status: int,
    detail: str,
    *,
    faults: Iterable[Fault] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document; hidden values in its texts are starred, wherever they came from."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": redact(detail),
    }
    errors = [{"path": redact(fault.location), "message": redact(fault.message)} for fault in faults]
    return answer(
        {**document, **({"errors": errors} if errors else {}), **(more or {})},
        status=status,
        headers=headers,
        kind="application/problem+json",
    )


def refused(
    error: RelationsError, *, faults: Sequence[Fault] = (), more: Mapping[str, Any] | None = None
) -> Response:
    """The problem document of an error; `faults` stand in for its own."""
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(status, OURS)
    listed = faults or (error.faults if isinstance(error, Invalid) else ())
    return problem(status, _detail(error, listed), faults=listed, headers=_headers(error), more=more)


def accepted(jobs: Sequence[Mapping[str, object]], *, waited: int = 0) -> Response:
    """202 with the jobs, and with the place of a single one; 200 when they were waited for until they ended."""
    location = {"Location": f"/v1/jobs/{jobs[0]['id']}"} if len(jobs) == 1 else {}
    applied = {"Preference-Applied": f"wait={waited}"} if waited else {}
    return answer({"jobs": jobs}, status=200 if waited else 202, headers={**location, **applied})


def _detail(error: RelationsError, faults: Sequence[Fault]) -> str:
    if not isinstance(error, Invalid):
        return str(error)
    return f"{len(faults)} faults; nothing with a fault was accepted" if len(faults) > 1 else str(faults[0])


def _headers(error: RelationsError) -> dict[str, str]:
    if isinstance(error, Unavailable):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return {"WWW-Authenticate": error.challenge} if isinstance(error, Unauthorized) else {}
