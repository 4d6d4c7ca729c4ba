"""The one place that speaks HTTP to the API: a request's actions out, a `Reply` back, within one deadline.

Speaks to an httpcore connection pool directly: so there is no cookie jar (a PHP session can serialise
parallel requests), no redirect is followed, and neither netrc nor the environment adds anything: a proxy is
an argument. Errors of the network come back as verdicts.
"""

import os
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Final

import httpcore
import httpx
import msgspec

from worker.errors import Fault, InvalidSettings
from worker.network import Deadline, connection_pool, core_url, http_date, retry_after, user_agent
from worker.onoffice import wire
from worker.onoffice.redact import clean
from worker.planner.actions import Action, ActionResult, ErrorClass, Reply, Search, Verdict

MAX_ANSWER: Final = 8 * 1024 * 1024  # bytes
COMPRESSED: Final = ("gzip", "x-gzip", "deflate")
GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32  # whichever header the data have
MAX_CLOCK_JITTER: Final = 5.0  # seconds by which two readings of one clock may differ

VERDICTS: Final[Mapping[type[Exception], Verdict]] = {
    # Only what happens before a connection stands is "not sent". A kept connection that the server closed
    # before it read our request looks the same as one it closed after executing it, so that stays unknown.
    httpcore.ConnectError: Verdict.NOT_SENT,
    httpcore.ConnectTimeout: Verdict.NOT_SENT,
    httpcore.PoolTimeout: Verdict.NOT_SENT,
    httpcore.UnsupportedProtocol: Verdict.NOT_SENT,
    httpcore.ProxyError: Verdict.NOT_SENT,
    httpcore.ConnectionNotAvailable: Verdict.UNKNOWN,
    httpcore.TimeoutException: Verdict.UNKNOWN,
    httpcore.ReadTimeout: Verdict.UNKNOWN,
    httpcore.WriteTimeout: Verdict.UNKNOWN,
    httpcore.NetworkError: Verdict.UNKNOWN,
    httpcore.ReadError: Verdict.UNKNOWN,
    httpcore.WriteError: Verdict.UNKNOWN,
    httpcore.ProtocolError: Verdict.UNKNOWN,
    httpcore.LocalProtocolError: Verdict.UNKNOWN,
    httpcore.RemoteProtocolError: Verdict.UNKNOWN,
}
"""Every exception of httpcore, translated."""


class Client:
    """One account's way to the API, for one process and as many threads at a time as it has connections.

    It must not cross a fork: a connection that two processes share hands one the other's answer. `offset` is
    what the API's clock is ahead of the caller's, learned when the API refuses a timestamp.
    """

    def __init__(
        self,
        url: str,
        token: str,
        secret: str,
        *,
        timeout: float,
        modify_action: wire.ModifyAction = "modify",
        extendedclaim: str | None = None,
        proxy: str = "",
        connections: int = 1,
        transport: httpcore.ConnectionInterface | None = None,
    ) -> None:
        self.offset, self._was_late = 0.0, False
        self._url, self._timeout, self._pid = _parse_url(url), timeout, os.getpid()
        self._core_url = core_url(self._url)
        self._token, self._secret, self._claim = token, secret, extendedclaim
        self._modify_action, self._hidden = modify_action, (secret, token, extendedclaim or "")
        self._deadline = Deadline()
        self._pool = connection_pool(self._deadline, connections, proxy)
        self._transport = transport or self._pool
        self._headers: list[tuple[bytes | str, bytes | str]] = [
            ("Host", self._url.netloc.decode("ascii")),
            ("User-Agent", user_agent()),
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),  # so that the bound on an answer's size is a bound on memory
        ]

    def __repr__(self) -> str:
        return f"Client({self._url!r})"

    def close(self) -> None:
        """Close the connection; the client may be used again and opens another."""
        self._pool.close()

    def send(self, actions: Sequence[Action | Search], *, request_id: str, now: float) -> Reply:
        """Send one HTTP request; return one result per action, also for errors of the network and the API.

        `now` is the caller's clock in seconds; `Reply.skew` is how far the API's clock is ahead of it. What
        is refused for its timestamp is not signed again here: perhaps it was held up for minutes, and only a
        lease says whether it may still go.
        """
        self._check_process()
        started = time.monotonic()
        clock, offset, was_late = now - started, self.offset, self._was_late
        self._deadline.start(self._timeout)
        reply = self._exchange(actions, request_id, clock, clock + offset)
        is_late = ErrorClass.CLOCK in reply.errors
        if is_late and reply.skew is not None:
            self._learn_offset(reply.skew, signed_with=offset)
        if reply.is_answered:
            self._was_late = is_late
        return msgspec.structs.replace(reply, seconds=time.monotonic() - started, signed_again=was_late)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this client belongs to process {self._pid}; make a new one in every process, after the fork"
            )

    def _learn_offset(self, skew: float, *, signed_with: float) -> None:
        """Sign with the API's time from now on; but a header that was followed before in vain is no guide."""
        self.offset = 0.0 if abs(signed_with - skew) < MAX_CLOCK_JITTER else skew

    def _exchange(
        self, actions: Sequence[Action | Search], request_id: str, clock: float, api_clock: float
    ) -> Reply:
        """Send the request and read its answer.

        `clock` plus the monotonic clock is the caller's, `api_clock` plus it the API's.
        """
        identifiers = wire.identifiers(request_id, len(actions))
        body = wire.body(
            actions,
            token=self._token,
            secret=self._secret,
            timestamp=int(api_clock + time.monotonic()),
            identifiers=identifiers,
            modify_action=self._modify_action,
            extendedclaim=self._claim,
        )
        try:
            with self._post(body) as response:
                return self._reply(response, actions, identifiers, clock)
        except tuple(VERDICTS) as error:
            return Reply(self._failed(error, len(actions)), message=self._text(error))

    def _post(self, body: bytes) -> AbstractContextManager[httpcore.Response]:
        extensions = {"timeout": {"pool": self._timeout}}  # all other steps obey the deadline
        return self._transport.stream(
            "POST", self._core_url, headers=self._headers, content=body, extensions=extensions
        )

    def _reply(
        self,
        response: httpcore.Response,
        actions: Sequence[Action | Search],
        identifiers: Sequence[str],
        clock: float,
    ) -> Reply:
        headers = httpx.Headers(response.headers)
        now, date = clock + time.monotonic(), http_date(headers.get("Date"))
        wait = retry_after(headers, now=now)
        message = ""
        try:
            body = _read_body(response, headers.get("Content-Encoding", ""))
            results = wire.read(body, actions, identifiers, status=response.status, hidden=self._hidden)
        except tuple(VERDICTS) as error:
            results, message = self._failed(error, len(actions)), self._text(error)
        return Reply(
            results,
            response.status,
            retry_after=wait,
            skew=None if date is None else date - now,
            message=message or _shared_message(results),
        )

    def _failed(self, error: Exception, count: int) -> tuple[ActionResult, ...]:
        verdict = VERDICTS.get(type(error), Verdict.UNKNOWN)
        return (ActionResult(verdict, error=ErrorClass.TRANSIENT, message=self._text(error)),) * count

    def _text(self, error: Exception) -> str:
        return clean(f"{type(error).__name__}: {error}", self._hidden)


def _parse_url(text: str) -> httpx.URL:
    """Return the URL, or raise an error that does not quote it: it could hold a password."""
    with suppress(httpx.InvalidURL):
        url = httpx.URL(text)
        if url.scheme in ("https", "http") and url.host:
            return url
    raise InvalidSettings([Fault("api_url", "expected https://host/path")])


def _read_body(response: httpcore.Response, coding: str) -> bytes:
    body = bytearray()
    for piece in response.iter_stream():
        body += piece
        if len(body) > MAX_ANSWER:
            raise _too_large()
    return _decompress(body) if coding.lower() in COMPRESSED else bytes(body)


def _decompress(body: bytearray) -> bytes:
    """Return what a proxy has compressed although nobody asked it to."""
    decompressor = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        plain = decompressor.decompress(body, MAX_ANSWER)
    except zlib.error as error:
        raise httpcore.ReadError(f"the answer cannot be decompressed: {error}") from None
    if decompressor.unconsumed_tail:
        raise _too_large()
    return plain


def _too_large() -> httpcore.ReadError:
    return httpcore.ReadError(f"the answer is larger than {MAX_ANSWER} bytes")


def _shared_message(results: Sequence[ActionResult]) -> str:
    """Return the message of the whole request, if all actions share one."""
    messages = {result.message for result in results}
    return messages.pop() if len(messages) == 1 else ""
