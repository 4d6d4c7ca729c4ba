"""Makes a client's calls over HTTP: one request per attempt, its answer read or turned into an error."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import msgspec

from producers.errors import Forbidden, Unauthorized
from producers.portals.sdk.protocol import Attempt, Call, GetBatch, GetJob, SendChanges, Sent
from worker.contract import Change, to_message
from worker.contract.values import read_number
from worker.errors import BacklogFull, Fault, Invalid, InvalidChange, NotFound, RelationsError, Unavailable

MAX_TIMEOUT: Final = 10.0  # seconds that a single attempt may wait for the network
CURABLE: Final = (408, 429, 502, 503, 504)
ENCODER: Final = msgspec.json.Encoder(enc_hook=read_number, decimal_format="number")
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


ANSWERS: Final[Mapping[type[Call], type[msgspec.Struct]]] = {
    SendChanges: AcceptedJobs,
    GetJob: JobAnswer,
    GetBatch: BatchAnswer,
}


class HttpTransport:
    """Makes calls and blocks until they are answered."""

    def __init__(self, url: str, key: str, transport: httpx.BaseTransport | None) -> None:
        self._http = httpx.Client(**_client_options(url, key), transport=transport)

    def attempt(self, step: Attempt) -> Any:
        """Make the call once; raises Unavailable when time can cure it."""
        try:
            response = self._http.request(**_request_options(step))
        except httpx.RequestError as error:
            raise _error_of_request(error, self._http.base_url) from None
        return _read_answer(step.call, response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncHttpTransport:
    """Makes calls and awaits their answers."""

    def __init__(self, url: str, key: str, transport: httpx.AsyncBaseTransport | None) -> None:
        self._http = httpx.AsyncClient(**_client_options(url, key), transport=transport)

    async def attempt(self, step: Attempt) -> Any:
        """Make the call once; raises Unavailable when time can cure it."""
        try:
            response = await self._http.request(**_request_options(step))
        except httpx.RequestError as error:
            raise _error_of_request(error, self._http.base_url) from None
        return _read_answer(step.call, response)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


# --- the client and its requests


def _client_options(url: str, key: str) -> dict[str, Any]:
    """Return the options of either client of httpx; raises Invalid, which never quotes the key.

    Blanks around the URL and the key come from copying, and are dropped.
    """
    url, key = (url or "").strip(), (key or "").strip()
    if faults := [*_check_url(url), *_check_key(key)]:
        raise Invalid(faults)
    return {"base_url": url, "headers": {"Authorization": f"Bearer {key}"}}


def _check_url(url: str) -> list[Fault]:
    try:
        parsed = httpx.URL(url)
        # A user and a password would replace the key in the header, and be quoted in every message.
        if parsed.scheme in ("http", "https") and parsed.host and not parsed.userinfo:
            return []
    except httpx.InvalidURL:
        pass
    expected = "expected an address such as https://relations.example, without a user and a password"
    return [Fault("url", expected)]


def _check_key(key: str) -> list[Fault]:
    if key and key.isascii() and key.isprintable():
        return []
    return [
        Fault("key", "expected printable ASCII characters in one line, as `relations keys new` prints them")
    ]


def _request_options(step: Attempt) -> dict[str, Any]:
    """Return the arguments of `request` of either client of httpx."""
    options: dict[str, Any] = {"method": "GET", "timeout": min(step.timeout, MAX_TIMEOUT)}
    match step.call:
        case SendChanges(changes):
            messages = [to_message(change) if isinstance(change, Change) else change for change in changes]
            options |= {
                "method": "POST",
                "url": "/v1/changes",
                "content": ENCODER.encode(messages),
                "headers": {"Content-Type": "application/json"},
            }
        case GetJob(job_id):
            options["url"] = f"/v1/jobs/{quote(job_id, safe='')}"
        case GetBatch(account, label):
            options["url"] = f"/v1/batches/{quote(label, safe='')}?{urlencode({'account': account})}"
    return options


# --- answers and errors


def _read_answer(call: Call, response: httpx.Response) -> Any:
    """Return the answer to a call, or raise the error that the response stands for."""
    if not response.is_success:
        raise _error_of_response(response)
    try:
        document = msgspec.json.decode(response.content)
        answer = msgspec.convert(document, ANSWERS[type(call)])
    except DECODE_ERRORS as error:
        raise _error_of_content(response, error) from error
    if not (isinstance(call, SendChanges) and isinstance(answer, AcceptedJobs)):
        return document
    if len(answer.jobs) != len(call.changes):
        counts = f"{len(answer.jobs)} jobs for {len(call.changes)} changes"
        raise RelationsError(f"{response.url} answered with {counts}")
    return [Sent(job.id, job.state, job.duplicate) for job in answer.jobs]


def _error_of_request(error: httpx.RequestError, url: httpx.URL) -> RelationsError:
    """Return the error of a request that got no response."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.TooManyRedirects):
        # The text of such an error may quote our headers, and so the key.
        return RelationsError(f"{url} cannot be asked: {type(error).__name__}")
    how = "answered what cannot be read" if isinstance(error, httpx.DecodingError) else "cannot be reached"
    return Unavailable(f"{url} {how}: {str(error) or type(error).__name__}", retry_after=0.0)


def _read_fault(fault: ProblemFault) -> Fault:
    """Return the fault of a problem document; `[3].childid` is a path in the change at position 3."""
    if match := POSITION.fullmatch(fault.path):
        return Fault(match[2], fault.message, int(match[1]))
    return Fault(fault.path, fault.message)


def _error_of_response(response: httpx.Response) -> RelationsError:
    """Return the error that a response other than a success stands for."""
    problem = _read_problem(response)
    detail = problem.detail or f"{response.url} answered {response.reason_phrase}"
    detail = f"{detail} (HTTP {response.status_code})"
    if response.status_code in CURABLE:
        is_full = response.status_code == HTTPStatus.TOO_MANY_REQUESTS
        after = response.headers.get("retry-after", "")
        retry_after = float(after) if after.isdecimal() else 0.0
        return (BacklogFull if is_full else Unavailable)(detail, retry_after=retry_after)
    if response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        faults = list(map(_read_fault, problem.errors))
        return InvalidChange(faults or [Fault("", detail)])
    kinds: dict[int, type[RelationsError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
    return kinds.get(response.status_code, RelationsError)(detail)


def _read_problem(response: httpx.Response) -> ProblemAnswer:
    """Return the problem document; an empty one if it is cut, or a proxy answered with something else."""
    try:
        return msgspec.json.decode(response.content, type=ProblemAnswer)
    except DECODE_ERRORS:
        return ProblemAnswer()


def _error_of_content(response: httpx.Response, error: Exception) -> RelationsError:
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
