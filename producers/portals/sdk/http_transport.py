"""Makes a client's calls over HTTP: one request per attempt."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec

from producers.errors import NotTrusted
from producers.portals.sdk.http_answers import read_answer
from producers.portals.sdk.per_process import PerProcess
from producers.portals.sdk.protocol import Attempt, GetBatch, GetJobs, SendChanges
from worker.contract import Change, MessageDict, check_each, to_message
from worker.contract.values import to_plain
from worker.errors import Fault, Invalid, InvalidChange, RelationsError, Unavailable

AnyClient = TypeVar("AnyClient", httpx.Client, httpx.AsyncClient)

MAX_TIMEOUT: Final = 10.0  # seconds that a single attempt may wait for the network, and for its answer
ENCODING: Final = "content-encoding"


class HttpTransport:
    """Makes calls and blocks until they are answered."""

    def __init__(self, url: str, key: str, transport: httpx.BaseTransport | None) -> None:
        options = client_options(url, key)
        self._http = PerProcess(lambda: open_client(httpx.Client, **options, transport=transport))

    def attempt(self, step: Attempt) -> Any:
        """Make the call once; raises Unavailable when time can cure it."""
        http = self._http.get()
        with translate_errors(http):
            options = _request_options(step)
            answer = AnswerBody(options["timeout"])
            with http.stream(**options) as response:
                for piece in response.iter_bytes():
                    answer.add(piece)
            return read_answer(step.call, answer.whole(response))

    def close(self) -> None:
        """Close the connections of this process."""
        if self._http.is_mine:
            self._http.get().close()


class AsyncHttpTransport:
    """Makes calls and awaits their answers."""

    def __init__(self, url: str, key: str, transport: httpx.AsyncBaseTransport | None) -> None:
        options = client_options(url, key)
        options["transport"] = transport
        self._http = PerProcess(lambda: LoopClient(open_client(httpx.AsyncClient, **options)))

    async def attempt(self, step: Attempt) -> Any:
        """Make the call once; raises Unavailable when time can cure it."""
        http = self._http.get().of_this_loop()
        with translate_errors(http):
            options = _request_options(step)
            answer = AnswerBody(options["timeout"])
            async with http.stream(**options) as response:
                async for piece in response.aiter_bytes():
                    answer.add(piece)
            return read_answer(step.call, answer.whole(response))

    async def close(self) -> None:
        """Close the connections of this process."""
        if self._http.is_mine:
            http = self._http.get().of_this_loop()
            with translate_errors(http):
                await http.aclose()


class LoopClient:
    """A client for the event loop that uses it first: its connections belong to that one."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._loop: asyncio.AbstractEventLoop | None = None

    def of_this_loop(self) -> httpx.AsyncClient:
        """Return the client; raise RelationsError if another loop has used it."""
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise RelationsError("this client was used in another event loop; make one in each")
        self._loop = loop
        return self._http


class AnswerBody:
    """The body of an answer as it comes: httpx waits as long for each piece as for the first."""

    def __init__(self, seconds: float) -> None:
        self._until, self._body = monotonic() + seconds, bytearray()

    def add(self, piece: bytes) -> None:
        """Add a piece; raise ReadTimeout if it came too late."""
        if monotonic() > self._until:
            raise httpx.ReadTimeout("the answer did not come in time")
        self._body += piece

    def whole(self, response: httpx.Response) -> httpx.Response:
        """Return the response with its body, which is decoded."""
        headers = [(name, value) for name, value in response.headers.multi_items() if name != ENCODING]
        return httpx.Response(
            response.status_code,
            headers=headers,
            content=bytes(self._body),
            request=response.request,
            extensions=response.extensions,
        )


@contextmanager
def translate_errors(http: httpx.Client | httpx.AsyncClient) -> Iterator[None]:
    """Raise what httpx and what it stands on raise as errors of ours."""
    try:
        yield
    except RelationsError:
        raise
    except httpx.RequestError as error:
        raise _error_of_request(error, http.base_url) from None
    except Exception as error:  # a closed client, a broken TLS set-up, an error of anyio
        reason = "this client is closed" if http.is_closed else f"{type(error).__name__}: {error}"
        raise RelationsError(f"{http.base_url} cannot be asked: {reason}") from error


def _error_of_request(error: httpx.RequestError, url: httpx.URL) -> RelationsError:
    """Return the error of a request that got no response."""
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.TooManyRedirects):
        # The text of such an error may quote our headers, and so the key.
        return RelationsError(f"{url} cannot be asked: {type(error).__name__}")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):  # which time does not cure
        return NotTrusted(f"{url} is not trusted: {error}; name who signs its certificate by SSL_CERT_FILE")
    how = "answered what cannot be read" if isinstance(error, httpx.DecodingError) else "cannot be reached"
    return Unavailable(f"{url} {how}: {str(error) or type(error).__name__}", retry_after=0.0)


# --- the client and its requests


def client_options(url: str, key: str) -> dict[str, Any]:
    """Return the options of either client of httpx; raises Invalid, which never quotes the key.

    Blanks around the URL and the key come from copying, and are dropped.
    """
    url, key = (url or "").strip(), (key or "").strip()
    faults = [*([Fault("url", fault)] if (fault := explain_url(url)) else []), *_check_key(key)]
    if faults:
        raise Invalid(faults)
    return {"base_url": url, "headers": {"Authorization": f"Bearer {key}"}}


def open_client(kind: Callable[..., AnyClient], **options: Any) -> AnyClient:
    """Return a client of httpx; raises RelationsError for proxies and certificates of the environment.

    Their addresses are not quoted, since they may hold a password.
    """
    try:
        return kind(**options)
    except OSError as error:
        reason = f"the certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error}"
    except ImportError:
        reason = (
            "its proxy is a SOCKS proxy, which needs `pip install socksio`; NO_PROXY names what needs none"
        )
    except (ValueError, httpx.InvalidURL):
        reason = "an address in HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY cannot be used"
    raise RelationsError(f"{options['base_url']} cannot be asked: {reason}")


def explain_url(url: str) -> str:
    """Return what is wrong with the address of an interface; empty for a good one."""
    with suppress(httpx.InvalidURL):
        parsed = httpx.URL(url.strip())
        # A user and a password would replace the key in the header, and be quoted in every message; behind a
        # query, paths would be a part of it.
        if (
            parsed.scheme in ("http", "https")
            and parsed.host
            and not (parsed.userinfo or parsed.query or parsed.fragment)
        ):
            return ""
    return "expected an address such as https://relations.example, without a user, a password and a query"


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
            options |= _post("/v1/changes", _encode(changes))
        case GetJobs(job_ids):
            options |= _post("/v1/jobs/lookup", msgspec.json.encode({"jobs": job_ids}))
        case GetBatch(account, label):
            options["url"] = f"/v1/batches/{quote_segment(label)}?{urlencode({'account': account})}"
    return options


def quote_segment(text: str) -> str:
    """Return a text as one segment of a path; clients would take a mere `.` or `..` for steps on the way."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _post(path: str, content: bytes) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    return {"method": "POST", "url": path, "content": content, "headers": headers}


def _encode(changes: Sequence[Change | MessageDict]) -> bytes:
    """Return the changes as JSON; raise InvalidChange for those that cannot be written."""
    messages = [to_message(change) if isinstance(change, Change) else change for change in changes]
    try:
        return ENCODER.encode(messages)
    except ENCODE_ERRORS:
        check_each(enumerate(messages), _check_encoding)
        raise


def _check_encoding(message: MessageDict) -> None:
    try:
        ENCODER.encode(message)
    except ENCODE_ERRORS as error:
        raise InvalidChange([Fault("", f"cannot be written as JSON: {error}")]) from None


def _write_value(value: object) -> object:
    """Return a value as JSON has it, if msgspec cannot write it; raise TypeError."""
    plain = to_plain(value)
    if plain is value:
        raise TypeError(f"{type(value).__name__} is no type of JSON")
    return plain


ENCODER: Final = msgspec.json.Encoder(enc_hook=_write_value, decimal_format="number")
ENCODE_ERRORS: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
