"""One connection of the server, with bounds on what it may cost; uvicorn itself has none of them."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from producers.portals.http.problems import problem_response
from worker.contract import MAX_BODY

HEAD_SECONDS: Final = 10.0  # that the head of a request may take to come
MAX_HEAD: Final = 2**16  # bytes
MAX_REQUEST: Final = 2 * MAX_BODY  # bytes of a whole request as they come, with the overhead of chunks
DROPPED: Final = 8  # times as much may come of a request that has its answer already
MAX_TRAILERS: Final = 8192  # bytes
MAX_PIPELINED: Final = 16  # requests that wait for the answer to an earlier one
REQUEST_SECONDS: Final = 90.0  # from the first byte of a request to its last, whether or not it was answered
MAX_JOINED: Final = 2**16  # bytes that wait for others of the same turn
ANSWER_SECONDS: Final = 300.0  # from the last byte of a request to the last of its answer
LINGER_SECONDS: Final = 30.0  # that the rest of a request may come after the last answer of a connection
LINGERING: Final = (400, 431)  # statuses of what may not have come whole, and is not slow
UPGRADE_HEADERS: Final = (b"upgrade", b"http2-settings")
REFUSALS: Final = {
    400: "this is no HTTP/1.1 request ({reason}); is it TLS, HTTP/2, PROXY, or a URL that is not escaped?",
    408: f"the head of the request did not come within {HEAD_SECONDS:g} seconds",
    431: f"the head of the request is longer than {MAX_HEAD} bytes",
    503: "there are too many connections; come again",
}


class BoundedProtocol(HttpToolsProtocol):
    """A connection that ends when it asks for too much, or is slow with a head, a request or an answer."""

    parser: "PlainParser"
    max_connections: float  # of the whole process, which the server knows
    max_request: float = MAX_REQUEST
    head_seconds: float = HEAD_SECONDS
    request_seconds: float = REQUEST_SECONDS
    answer_seconds: float = ANSWER_SECONDS
    linger_seconds: float = LINGER_SECONDS
    _writes: "JoinedWrites"
    _head_timer: asyncio.TimerHandle | None = None  # runs while a head is incomplete
    _deadline: asyncio.TimerHandle | None = None
    _in_head, _is_complete = True, True
    _received, _head_size, _trailers = 0, 0, 0
    _is_ended = False  # whether its client sends nothing more
    _refusal = 0  # the status by which to refuse what came after the request that is being answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection and expect its first head, or tell it to come again when there are too many."""
        self.parser = PlainParser(self)
        self._writes = JoinedWrites(transport, self.loop, is_receiving=lambda: not self._is_complete)
        super().connection_made(cast(asyncio.Transport, self._writes))
        if len(self.connections) > self.max_connections:
            self._refuse(503)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._stop_head_timer()
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read the next bytes, and count what belongs to a head that is not complete."""
        self._received += len(data)
        if self._received > self.max_request and not self._is_dropping():
            self._end()
        elif not (self._refusal or self.transport.is_closing() or self._writes.is_lingering):
            super().data_received(data)
        if self._head_timer:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._refuse(431)
        elif self._is_complete and not (self._is_answering() or self.timeout_keep_alive_task):
            self._expect_next()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - `Invalid HTTP request received.`
        """Refuse what is no HTTP, like all else, by a problem document; uvicorn's own is a text."""
        self._refuse(400)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether the connection stays: for answers to what came whole before its client's end."""
        if not self._is_answering():
            return False
        self.cycle.keep_alive = False
        self._is_complete = self._is_ended = True  # as complete as it gets
        return True

    def shutdown(self) -> None:
        """Answer what is being answered, and close."""
        super().shutdown()
        if self._writes.is_lingering:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Expect a whole request, and first the rest of its head."""
        self._in_head, self._is_complete, self._received, self._trailers = True, False, 0, 0
        if self._deadline is None:
            self._wait(self.request_seconds)
        super().on_message_begin()
        self._start_head_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes after the body as a trailer is none, and dropped."""
        if self._in_head:
            return super().on_header(name, value)
        self._trailers += len(name) + len(value)
        return self._end() if self._trailers > MAX_TRAILERS else None

    def on_headers_complete(self) -> None:
        """Begin to answer, or let the request wait for its turn."""
        self._stop_head_timer()
        if self.parser.is_upgraded():
            return
        self._in_head = False
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self._end()

    def on_message_complete(self) -> None:
        """Expect the answer."""
        if self.parser.is_upgraded():
            return
        self._is_complete = True
        super().on_message_complete()
        self._wait_for_answer()

    def on_response_complete(self) -> None:
        """Expect the rest of the request, or the next one's answer."""
        if self._writes.is_lingering:
            self.pipeline.clear()
        super().on_response_complete()
        if self._writes.is_lingering:
            self._unset_keepalive_if_required()
            self._wait(self.linger_seconds)
        elif self._is_complete:
            self._wait_for_answer()
        elif not (self.cycle.response_complete and self.cycle.more_body):  # it was not that one's answer
            self._wait(self.request_seconds)
        if self._refusal:
            self._refuse(self._refusal)
        if self._is_ended and not self._is_answering():  # what follows came in part
            self.transport.close()

    def head_without_upgrade(self, method: bytes, version: str) -> bytes:
        """Return the head of the request that is being read without its offer of another protocol."""
        lines = [b"%s %s HTTP/%s" % (method, self.url, version.encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in UPGRADE_HEADERS]
        return b"\r\n".join([*lines, b"", b""])

    def _expect_next(self) -> None:
        """Let the connection be idle again after the rest of a request that has its answer, or a blank line.

        Any byte ends what uvicorn takes for idle.
        """
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._refuse, 408)
            self._head_size = 0

    def _stop_head_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_dropping(self) -> bool:
        """Return whether what comes is dropped, and not too much of it: its client still has to read why."""
        cycle: Any = self.cycle
        is_answered = self._writes.is_lingering or bool(cycle and cycle.response_complete)
        return is_answered and self._received <= DROPPED * self.max_request

    def _is_answering(self) -> bool:
        """Return whether a whole request has no answer yet."""
        cycle: Any = self.cycle
        return bool(self.pipeline or (cycle and not (cycle.more_body or cycle.response_complete)))

    def _wait_for_answer(self) -> None:
        """Wait for the answer that is under way, if one is."""
        cycle: Any = self.cycle
        self._wait(self.answer_seconds if cycle and not cycle.response_complete else None)

    def _wait(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._end)

    def _refuse(self, status: int) -> None:
        """Refuse what came, once the requests before it have their answers: it would be taken for theirs."""
        self._stop_head_timer()
        self._refusal = status
        if not (self._is_answering() or self.transport.is_closing()):
            self._is_complete = status not in LINGERING
            self.transport.write(write_refusal(status, self.parser.reason))
            self.transport.close()
            self._wait(self.linger_seconds)

    def _end(self) -> None:
        self._wait(None)
        self.transport.abort()


class JoinedWrites:
    """A transport that sends head and body of an answer together, at the end of a turn of the event loop.

    A packet for each, and a wake-up of the client for each, costs more than making the answer.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        is_receiving: Callable[[], bool] = lambda: False,
    ) -> None:
        self._transport, self._loop, self._written = transport, loop, bytearray()
        self._is_receiving, self.is_lingering = is_receiving, False

    def __getattr__(self, name: str) -> Any:
        """Return what the transport itself has."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send the bytes with all others of this turn, or now if they are many."""
        if self.is_lingering:
            return
        if not self._written:
            self._loop.call_soon(self._send)
        self._written += data
        if len(self._written) > MAX_JOINED:
            self._send()

    def close(self) -> None:
        """Send what was written, and close; at first only for writing while a request is still coming.

        A connection that is closed with something unread is reset, and its client loses the answer.
        """
        self._send()
        if self.is_lingering or not self._is_receiving():
            self._transport.close()
            return
        self.is_lingering = True
        try:
            self._transport.write_eof()
        except OSError:  # its client has reset it, and nobody has read that yet
            self._transport.abort()

    def abort(self) -> None:
        """Close at once, and drop what was written."""
        self._written = bytearray()
        self._transport.abort()

    def _send(self) -> None:
        if self._written:
            written, self._written = self._written, bytearray()
            self._transport.write(written)


@lru_cache(maxsize=64)
def write_refusal(status: int, reason: str = "") -> bytes:
    """Return the response to what is no request that the application could answer: a problem document."""
    headers = {
        "Connection": "close",
        **({"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}),
    }
    response = problem_response(status, REFUSALS[status].format(reason=reason), headers=headers)
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    lines += [b"%s: %s" % header for header in response.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


class PlainParser(httptools.HttpRequestParser):
    """A parser for which the offer of another protocol, as Java's of HTTP/2, is no reason to drop the body.

    Such a request is read once more, without the offer.
    """

    def __init__(self, protocol: BoundedProtocol) -> None:
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._protocol, self.reason = protocol, ""  # of the parser, why it is no HTTP

    def is_upgraded(self) -> bool:
        """Whether the request that is being read offers another protocol."""
        return self.should_upgrade() and self.get_method() != b"CONNECT"

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # that is what asyncio gives
        """Read the next bytes of the connection."""
        try:
            super().feed_data(data)
        except httptools.HttpParserError as error:
            is_ours = isinstance(error, httptools.HttpParserCallbackError)  # in what took its parts
            self.reason = "its address cannot be used" if is_ours else str(error)
            raise
        except httptools.HttpParserUpgrade as error:
            if not self.is_upgraded():
                raise
            head = self._protocol.head_without_upgrade(self.get_method(), self.get_http_version())
            self._protocol.parser = PlainParser(self._protocol)
            self._protocol.parser.feed_data(head + data[error.args[0] :])
