"""A client's questions as HTTP requests and the answers read back; nothing is sent here, and nothing is asked twice."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import msgspec

from producers.errors import Forbidden, Unauthorized
from producers.portals.sdk.protocol import Ask, Count, Look, Send, Sent, Try
from worker.contract import Change, to_message
from worker.errors import BacklogFull, Fault, Invalid, InvalidChange, NotFound, RelationsError, Unavailable

SLOWEST: Final = 10.0  # seconds a single try may wait for the network
CURABLE: Final = (408, 429, 502, 503, 504)
POSITION: Final = re.compile(
    r"\[([0-9]{1,9})\]\.?(.*)", re.DOTALL
)  # how a fault says which change it is about
BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what reading JSON raises


class Job(msgspec.Struct):
    """What is answered for a change."""

    id: str
    state: str | None
    duplicate: bool


class Jobs(msgspec.Struct):
    """What is answered for changes."""

    jobs: list[Job]


class Seen(msgspec.Struct):
    """What a client itself reads of a job."""

    id: str
    state: str


class Counted(msgspec.Struct):
    """What its caller waits for in a batch."""

    open: int


class Listed(msgspec.Struct):
    """A fault of a problem document."""

    path: str
    message: str


class Problem(msgspec.Struct):
    """What is read of a problem document."""

    detail: str = ""
    errors: list[Listed] = []


ANSWERS: Final[Mapping[type[Ask], type[msgspec.Struct]]] = {Send: Jobs, Look: Seen, Count: Counted}


def options(url: str, key: str) -> dict[str, Any]:
    """How either client of httpx is made, without the blanks around what was pasted; raises Invalid, which never quotes the key."""
    url, key = (url or "").strip(), (key or "").strip()
    if faults := [*_faults_of_url(url), *_faults_of_key(key)]:
        raise Invalid(faults)
    return {"base_url": url, "headers": {"Authorization": f"Bearer {key}"}}


def request(step: Try) -> dict[str, Any]:
    """The request that asks it, in the words of either client."""
    return {**_request(step.ask), "timeout": min(step.seconds, SLOWEST)}


def answer(ask: Ask, response: httpx.Response) -> Any:
    """What was answered, or the error that the answer stands for."""
    if not response.is_success:
        raise refusal(response)
    try:
        document = msgspec.json.decode(response.content)
        known = msgspec.convert(document, ANSWERS[type(ask)])
    except BROKEN as error:
        raise _garbled(response, error) from error
    if not isinstance(ask, Send) or not isinstance(known, Jobs):
        return document
    if len(known.jobs) != len(ask.changes):
        raise RelationsError(
            f"{response.url} answered with {len(known.jobs)} jobs for {len(ask.changes)} changes"
        )
    return [Sent(job.id, job.state, job.duplicate) for job in known.jobs]


def unanswered(error: httpx.RequestError, url: httpx.URL) -> RelationsError:
    """A fault of the way there or back, in our words."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.TooManyRedirects):
        return RelationsError(
            f"{url} cannot be asked: {type(error).__name__}"
        )  # its text may quote our headers, and so the key
    how = "answered what cannot be read" if isinstance(error, httpx.DecodingError) else "cannot be reached"
    return Unavailable(f"{url} {how}: {str(error) or type(error).__name__}", retry_after=0.0)


def refusal(answer: httpx.Response) -> RelationsError:
    """The error that a problem document stands for."""
    document = _document(answer)
    detail = (
        f"{document.detail or f'{answer.url} answered {answer.reason_phrase}'} (HTTP {answer.status_code})"
    )
    if answer.status_code in CURABLE:
        kind = BacklogFull if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS else Unavailable
        after = answer.headers.get("retry-after", "")
        return kind(detail, retry_after=float(after) if after.isdecimal() else 0.0)
    if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return InvalidChange(list(map(_fault, document.errors)) or [Fault("", detail)])
    kinds: dict[int, type[RelationsError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
    return kinds.get(answer.status_code, RelationsError)(detail)


def _fault(document: Listed) -> Fault:
    """Return the fault of a problem document; `[3].childid` is a path in the change at position 3."""
    if match := POSITION.fullmatch(document.path):
        return Fault(match[2], document.message, int(match[1]))
    return Fault(document.path, document.message)


def _faults_of_url(url: str) -> list[Fault]:
    try:
        known = httpx.URL(url)
        good = known.scheme in ("http", "https") and known.host and not known.userinfo
    except httpx.InvalidURL:
        good = False
    # A user and a password in it would take the key's place in the header, and stand in every message.
    return (
        []
        if good
        else [
            Fault(
                "url", "expected an address such as https://relations.example, without a user and a password"
            )
        ]
    )


def _faults_of_key(key: str) -> list[Fault]:
    if key and key.isascii() and key.isprintable():
        return []
    return [
        Fault("key", "expected printable ASCII characters in one line, as `relations keys new` prints them")
    ]


def _request(ask: Ask) -> dict[str, Any]:
    if isinstance(ask, Send):
        messages = [to_message(each) if isinstance(each, Change) else each for each in ask.changes]
        said = {"content": msgspec.json.encode(messages), "headers": {"Content-Type": "application/json"}}
        return {"method": "POST", "url": "/v1/changes", **said}
    if isinstance(ask, Look):
        return {"method": "GET", "url": f"/v1/jobs/{quote(ask.job, safe='')}"}
    return {
        "method": "GET",
        "url": f"/v1/batches/{quote(ask.label, safe='')}?{urlencode({'account': ask.account})}",
    }


def _garbled(answer: httpx.Response, error: Exception) -> RelationsError:
    """JSON that was cut on its way may come whole the next time; whoever answers with something else is not the interface."""
    kind = answer.headers.get("content-type", "no content type")
    what = f"{answer.url} did not answer as the interface does (HTTP {answer.status_code}, {kind}): {error}"
    if kind.startswith("application/json") and not isinstance(error, msgspec.ValidationError):
        return Unavailable(what, retry_after=0.0)
    return RelationsError(f"{what}; is this its address?")


def _document(answer: httpx.Response) -> Problem:
    """The problem document; empty if it is cut, or a proxy answered with something else."""
    try:
        return msgspec.json.decode(answer.content, type=Problem)
    except BROKEN:
        return Problem()
