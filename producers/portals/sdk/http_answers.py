"""What the HTTP interface answers a client: read as values, or turned into the errors that it stands for."""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec

from producers.errors import Forbidden, Unauthorized
from producers.portals.sdk.protocol import Call, GetBatch, GetJobs, SendChanges, Sent
from worker.errors import BacklogFull, Fault, InvalidChange, NotFound, RelationsError, Unavailable
from worker.network import retry_after

CURABLE: Final = (408, 429, 502, 503, 504, *range(520, 531))  # 520 and above: Cloudflare's of its way to us
DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
POSITION: Final = re.compile(r"\[([0-9]{1,9})\]\.?(.*)", re.DOTALL)  # which change a fault is about


class AcceptedJob(msgspec.Struct):
    """The answer for one accepted change."""

    id: str
    state: str | None
    duplicate: bool


class AcceptedJobs(msgspec.Struct):
    """The answer for accepted changes."""

    jobs: list[AcceptedJob]


class JobAnswer(msgspec.Struct):
    """What a client itself reads of a job."""

    id: str
    state: str


class JobsAnswer(msgspec.Struct):
    """What a client itself reads of several jobs."""

    jobs: list[JobAnswer | None]


class BatchAnswer(msgspec.Struct):
    """What a caller waits for in a batch."""

    open: int


class ProblemFault(msgspec.Struct):
    """A fault in a problem document."""

    path: str
    message: str


class ProblemAnswer(msgspec.Struct):
    """What is read of a problem document."""

    detail: str = ""
    errors: list[ProblemFault] = []
    kind: str = ""
    jobs: list[dict[str, Any] | None] = []
    proof: dict[str, Any] = {}


ANSWERS: Final[Mapping[type[Call], type[msgspec.Struct]]] = {
    SendChanges: AcceptedJobs,
    GetJobs: JobsAnswer,
    GetBatch: BatchAnswer,
}


def read_answer(call: Call, response: httpx.Response) -> Any:
    """Return the answer to a call, or raise the error that the response stands for."""
    if not response.is_success:
        raise error_of_response(response)
    try:
        document = msgspec.json.decode(response.content)
        answer = msgspec.convert(document, ANSWERS[type(call)])
    except DECODE_ERRORS as error:
        raise error_of_content(response, error) from error
    if isinstance(answer, JobsAnswer) and isinstance(call, GetJobs):
        _check_count(response, len(answer.jobs), len(call.job_ids), "ids")
        return document["jobs"]
    if isinstance(answer, AcceptedJobs) and isinstance(call, SendChanges):
        _check_count(response, len(answer.jobs), len(call.changes), "changes")
        return [Sent(job.id, job.state, job.duplicate) for job in answer.jobs]
    return document


def _check_count(response: httpx.Response, jobs: int, asked: int, what: str) -> None:
    if jobs != asked:
        raise RelationsError(f"{response.url} answered with {jobs} jobs for {asked} {what}")


def error_of_response(response: httpx.Response) -> RelationsError:
    """Return the error that a response other than a success stands for."""
    problem = read_problem(response)
    if response.status_code == HTTPStatus.NOT_FOUND and not problem.kind:  # what is not there has one
        return RelationsError(f"{response.url} is no path of the interface (HTTP 404); is this its address?")
    detail = problem.detail or f"{response.url} answered {response.reason_phrase}"
    detail = f"{detail} (HTTP {response.status_code}){_explain_redirect(response)}"
    if response.status_code in CURABLE:
        is_full = response.status_code == HTTPStatus.TOO_MANY_REQUESTS
        wait = retry_after(response.headers, now=time.time()) or 0.0
        return (BacklogFull if is_full else Unavailable)(detail, retry_after=wait)
    if response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        faults = list(map(read_fault, problem.errors))
        return InvalidChange(faults or [Fault("", detail)])
    kinds: dict[int, type[RelationsError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
    return kinds.get(response.status_code, RelationsError)(detail)


def _explain_redirect(response: httpx.Response) -> str:
    """Return where a response leads to, most often from `http` to `https`; empty if nowhere."""
    if not response.has_redirect_location:
        return ""
    with suppress(httpx.InvalidURL):
        target = response.url.join(response.headers["location"])
        return f" and leads to {target.scheme}://{target.netloc.decode()}; give the address of the interface"
    return ""


def read_problem(response: httpx.Response) -> ProblemAnswer:
    """Return the problem document; an empty one if it is cut, or a proxy answered with something else."""
    try:
        return msgspec.json.decode(response.content, type=ProblemAnswer)
    except DECODE_ERRORS:
        return ProblemAnswer()


def read_fault(fault: ProblemFault) -> Fault:
    """Return the fault of a problem document; `[3].childid` is a path in the change at position 3."""
    if match := POSITION.fullmatch(fault.path):
        return Fault(match[2], fault.message, int(match[1]))
    return Fault(fault.path, fault.message)


def error_of_content(response: httpx.Response, error: Exception) -> RelationsError:
    """Return the error of a success that cannot be read.

    JSON that was cut on its way may arrive whole the next time; anything else does not come from the
    interface.
    """
    kind = response.headers.get("content-type", "no content type")
    status = f"(HTTP {response.status_code}, {kind})"
    text = f"{response.url} did not answer as the interface does {status}: {error}"
    if kind.startswith("application/json") and not isinstance(error, msgspec.ValidationError):
        return Unavailable(text, retry_after=0.0)
    return RelationsError(f"{text}; is this its address?")
