"""Whatever a client sends, wherever it breaks off: its connection ends, and nobody here is at fault."""

import json
import re
import socket
import time
from contextlib import suppress

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.support.http_front import BUYER, Front, request_head

BODY = json.dumps(BUYER).encode()
CHUNKS = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
LENGTH = f"Content-Length: {len(BODY)}"
PARTS = (
    b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n",
    b"HEAD /healthz HTTP/1.1\r\nHost: here\r\n\r\n",
    b"GET /healthz HTTP/1.0\r\n\r\n",
    b"CONNECT here:443 HTTP/1.1\r\nHost: here:443\r\n\r\n",
    b"POST /nowhere HTTP/1.1\r\nHost: here\r\nContent-Length: 50\r\n\r\n",
    request_head(LENGTH) + BODY,
    request_head(LENGTH).replace(b"canary", b"wrong") + BODY,
    request_head(LENGTH, "Expect: 100-continue") + BODY,
    request_head(LENGTH, "Connection: close") + BODY,
    request_head(LENGTH, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA") + BODY,
    request_head("Transfer-Encoding: chunked") + CHUNKS + b"\r\n",
    request_head("Transfer-Encoding: chunked") + CHUNKS + b"X-Trailer: y\r\n\r\n",
    b"\r\n",
    b"\n\n",
    b"nonsense",
    bytes(60),
)
BOUNDS = {"head_seconds": 0.3, "request_seconds": 0.6, "answer_seconds": 5.0, "linger_seconds": 0.3}
LONGEST = 30.0  # seconds that the slowest machine may need for what takes one


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[bytes], bool]:
    """Draw the pieces in which a few requests come, perhaps not whole, and whether the client's side ends."""
    sent = b"".join(draw(st.lists(st.sampled_from(PARTS), min_size=1, max_size=4)))
    sent = sent[: draw(st.integers(1, len(sent)) | st.just(len(sent)))]
    cuts = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=3)))
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    return pieces, draw(st.booleans())


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(conversations(), min_size=40, max_size=40))
def test_every_connection_ends_however_its_client_breaks_off(
    front: Front, talks: list[tuple[list[bytes], bool]]
) -> None:
    with Server(application(front.runtime), port=0, keep_alive=0.3, bounds=BOUNDS) as server:
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in talks]
        for turn in range(4):
            for connection, (pieces, _) in zip(connections, talks, strict=True):
                with suppress(OSError):  # the server has ended it
                    connection.sendall(b"".join(pieces[turn : turn + 1]))
            httpx.get(
                f"{server.url}/healthz"
            )  # which comes after what was sent: most of it is answered by then
        deadline = time.monotonic() + LONGEST
        for connection, (pieces, is_ended) in zip(connections, talks, strict=True):
            with suppress(OSError):
                if is_ended:
                    connection.shutdown(socket.SHUT_WR)
            received = read_until(connection, deadline)
            assert received is not None, f"it is kept after {pieces}"
            assert not re.findall(rb"HTTP/1\.1 5", received), received
            connection.close()
    assert not [event for event, _ in front.events if event == "request.failed"]


def read_until(connection: socket.socket, deadline: float) -> bytes | None:
    """Return what the server sends until the connection ends; None if it does not by then."""
    received = b""
    try:
        while chunk := _read(connection, deadline):
            received += chunk
    except TimeoutError:
        return None
    except OSError:
        pass
    return received


def _read(connection: socket.socket, deadline: float) -> bytes:
    connection.settimeout(max(0.01, deadline - time.monotonic()))
    return connection.recv(65536)
