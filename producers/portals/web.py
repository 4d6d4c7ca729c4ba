"""A client's questions as HTTP requests and the answers read back; nothing is sent here, and nothing is asked twice."""

from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote, urlencode

import httpx
import msgspec

from producers.errors import Forbidden, Unauthorized
from producers.portals.steps import Ask, Look, Send, Sent
from worker.contract import Change, to_message
from worker.errors import BacklogFull, Fault, Invalid, InvalidChange, NotFound, RelationsError, Unavailable

SLOWEST: Final = 10.0  # seconds a single try may wait for the network
CURABLE: Final = (429, 502, 503, 504)


class Asked(NamedTuple):
    """A request."""

    method: str
    url: str
    content: bytes | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Those of its body."""
        return {"Content-Type": "application/json"} if self.content else {}


def options(url: str, key: str, timeout: float) -> dict[str, Any]:
    """How either client of httpx is made."""
    return {"base_url": url, "headers": {"Authorization": f"Bearer {key}"}, "timeout": min(timeout, SLOWEST)}


def request(ask: Ask) -> Asked:
    """The request that asks it."""
    if isinstance(ask, Send):
        messages = [to_message(each) if isinstance(each, Change) else each for each in ask.changes]
        return Asked("POST", "/v1/changes", msgspec.json.encode(messages))
    if isinstance(ask, Look):
        return Asked("GET", f"/v1/jobs/{quote(ask.job, safe='')}")
    return Asked("GET", f"/v1/batches/{quote(ask.label, safe='')}?{urlencode({'account': ask.account})}")


def answer(ask: Ask, response: httpx.Response) -> Any:
    """What was answered, or the error that the answer stands for."""
    if not response.is_success:
        raise refusal(response)
    document = response.json()
    return [Sent(job["id"], job["state"], job["duplicate"]) for job in document["jobs"]] if isinstance(ask, Send) else document


def unreachable(error: httpx.TransportError, url: httpx.URL) -> RelationsError:
    """A fault of the way there, in our words."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return Invalid([Fault("url", str(error))])
    return Unavailable(f"{url} cannot be reached: {error or type(error).__name__}", retry_after=0.0)


def refusal(answer: httpx.Response) -> RelationsError:
    """The error that a problem document stands for."""
    document = _document(answer)
    detail = f"{document.get('detail') or answer.reason_phrase} (HTTP {answer.status_code})"
    if answer.status_code in CURABLE:
        kind = BacklogFull if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS else Unavailable
        after = answer.headers.get("retry-after", "")
        return kind(detail, retry_after=float(after) if after.isdecimal() else 0.0)
    if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return InvalidChange([Fault(fault["path"], fault["message"]) for fault in document.get("errors", ())] or [Fault("", detail)])
    kinds: dict[int, type[RelationsError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
    return kinds.get(answer.status_code, RelationsError)(detail)


def _document(answer: httpx.Response) -> dict[str, Any]:
    """The problem document; empty if a proxy answered with something else."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    return cast(dict[str, Any], answer.json())
