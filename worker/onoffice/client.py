"""The one place that speaks HTTP to the API: a request's actions out, a `Reply` back, within one deadline.

Uses an httpx transport without httpx's client around it: so there is no cookie jar (a PHP session can serialise parallel
requests), no redirect is followed, and no netrc or environment adds anything. Errors of the network come back as verdicts.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version

import httpx

from worker.errors import Fault, InvalidSettings
from worker.onoffice import wire
from worker.onoffice.deadline import Deadline, DeadlineTransport
from worker.onoffice.headers import http_date, retry_after
from worker.planner.actions import Action, ActionResult, ErrorClass, Reply, Verdict

MAX_ANSWER = 8 * 1024 * 1024
SAME = 5.0  # seconds by which two readings of one clock may differ

# Only what happens before a connection stands is "not sent". A kept connection that the server closed before it read our
# request looks the same as one it closed after executing it, so that stays unknown.
_BEFORE = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.ProxyError,
    httpx.InvalidURL,
)
_AFTER = (
    *(httpx.ReadTimeout, httpx.WriteTimeout, httpx.TimeoutException),
    *(httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.NetworkError),
    *(httpx.LocalProtocolError, httpx.RemoteProtocolError, httpx.ProtocolError),
    *(
        httpx.DecodingError,
        httpx.TooManyRedirects,
        httpx.TransportError,
        httpx.RequestError,
        httpx.HTTPStatusError,
        httpx.HTTPError,
    ),
    *(
        httpx.StreamConsumed,
        httpx.StreamClosed,
        httpx.ResponseNotRead,
        httpx.RequestNotRead,
        httpx.StreamError,
        httpx.CookieConflict,
    ),
)
BORDER: Mapping[type[Exception], Verdict] = dict.fromkeys(_AFTER, Verdict.UNKNOWN) | dict.fromkeys(
    _BEFORE, Verdict.NOT_SENT
)
"""Every exception of httpx, translated."""


class Client:
    """One account's way to the API, for one process and one thread at a time.

    It must not cross a fork: a connection that two processes share hands one the other's answer. `offset` is what the API's
    clock is ahead of the caller's, learned when the API refuses a timestamp.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.offset = 0.0
        self._url, self._timeout, self._pid = _checked(url), timeout, os.getpid()
        self._token, self._secret, self._claim = token, secret, extendedclaim
        self._modify_action, self._hidden = modify_action, (secret, token, extendedclaim or "")
        self._deadline = Deadline()
        self._transport = transport or DeadlineTransport(self._deadline)
        self._headers = {
            "User-Agent": f"onoffice-relations/{version('onoffice-relations')}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # so that the bound on an answer's size is a bound on memory
        }

    def __repr__(self) -> str:
        return f"Client({self._url!r})"

    def close(self) -> None:
        """Closes the connection; the client may be used again and opens another."""
        self._transport.close()

    def send(self, actions: Sequence[Action], *, request_id: str, now: float) -> Reply:
        """One outcome per action, from one HTTP request; network and API errors are outcomes, never exceptions.

        `now` is the caller's clock in seconds; `Reply.skew` is how far the API's clock is ahead of it. What is refused for its
        timestamp is not signed again here: perhaps it was held up for minutes, and only a lease says whether it may still go.
        """
        self._stay_at_home()
        started = time.monotonic()
        clock = now - started
        self._deadline.start(self._timeout)
        reply = self._exchange(actions, request_id, clock)
        if reply.skew is not None and any(map(_is_clock, reply.results)):
            self._learn(reply.skew)
        return replace(reply, seconds=time.monotonic() - started)

    def _learn(self, skew: float) -> None:
        """Sign with the API's time from now on; but a header that was followed before and refused is no guide."""
        self.offset = 0.0 if abs(self.offset - skew) < SAME else skew

    def _exchange(self, actions: Sequence[Action], request_id: str, clock: float) -> Reply:
        names = wire.identifiers(request_id, len(actions))
        try:
            response = self._transport.handle_request(
                self._request(actions, names, int(clock + time.monotonic() + self.offset))
            )
        except tuple(BORDER) as error:
            return Reply(self._failed(error, len(actions)), message=self._text(error))
        return self._reply(response, actions, names, clock)

    def _request(self, actions: Sequence[Action], names: Sequence[str], timestamp: int) -> httpx.Request:
        content = wire.body(
            actions,
            token=self._token,
            secret=self._secret,
            timestamp=timestamp,
            identifiers=names,
            modify_action=self._modify_action,
            extendedclaim=self._claim,
        )
        timeouts = httpx.Timeout(
            self._timeout
        ).as_dict()  # at most; our own transport gives each step what is left of the deadline
        return httpx.Request(
            "POST", self._url, headers=self._headers, content=content, extensions={"timeout": timeouts}
        )

    def _reply(
        self, response: httpx.Response, actions: Sequence[Action], names: Sequence[str], clock: float
    ) -> Reply:
        now, date = clock + time.monotonic(), http_date(response.headers.get("Date"))
        wait = retry_after(response.headers.get("Retry-After"), now=now if date is None else date)
        try:
            answer, message = _bounded(response), ""
            outcomes = wire.read(answer, actions, names, status=response.status_code, hidden=self._hidden)
        except tuple(BORDER) as error:
            outcomes, message = self._failed(error, len(actions)), self._text(error)
        finally:
            response.close()
        skew = None if date is None else date - now
        return Reply(
            outcomes, response.status_code, retry_after=wait, skew=skew, message=message or _shared(outcomes)
        )

    def _failed(self, error: Exception, count: int) -> tuple[ActionResult, ...]:
        verdict = BORDER.get(type(error), Verdict.UNKNOWN)
        return (ActionResult(verdict, error=ErrorClass.TRANSIENT, message=self._text(error)),) * count

    def _text(self, error: Exception) -> str:
        return wire.clean(f"{type(error).__name__}: {error}", self._hidden)

    def _stay_at_home(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this client belongs to process {self._pid}; make a new one in every process, after the fork"
            )


def _checked(text: str) -> httpx.URL:
    """The URL, or an error that does not quote it: it could hold a password."""
    with suppress(httpx.InvalidURL):
        url = httpx.URL(text)
        if url.scheme in ("https", "http") and url.host:
            return url
    raise InvalidSettings([Fault("api_url", "expected https://host/path")])


def _bounded(response: httpx.Response) -> bytes:
    answer = bytearray()
    for piece in response.iter_raw():
        answer += piece
        if len(answer) > MAX_ANSWER:
            raise httpx.ReadError(f"the answer is larger than {MAX_ANSWER} bytes")
    return bytes(answer)


def _is_clock(outcome: ActionResult) -> bool:
    return outcome.error is ErrorClass.CLOCK


def _shared(outcomes: Sequence[ActionResult]) -> str:
    """The message of the whole request, if all actions share one."""
    texts = {outcome.message for outcome in outcomes}
    return texts.pop() if len(texts) == 1 else ""
