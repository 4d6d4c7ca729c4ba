"""A receiver of callbacks on a real socket: it keeps what comes, and answers as a test says."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

from standardwebhooks.webhooks import Webhook

from tests.support.local_server import serving
from worker.config import Callback, Secret

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
OLD: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW: Final = "whsec_Y2FuYXJ5LW9sZC1pbW1vLXNlY3JldA=="


class Received(NamedTuple):
    """A message as it came."""

    id: str
    headers: dict[str, str]
    body: bytes

    def verify(self, secret: str) -> Any:
        """Return the document, if the secret has signed it."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """Its URL, what it got, and the statuses (with headers) of its next answers; then it answers 204."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = dict(self.headers.items())
                receiver.received.append(Received(self.headers["webhook-id"], headers, body))
                status, more = receiver.answers.pop(0) if receiver.answers else (204, {})
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@contextmanager
def receive() -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    with serving(receiver.server):
        yield receiver


def callback(url: str = "http://127.0.0.1:1/hook", name: str = "portal", **more: Any) -> Callback:
    """Return a callback of `acme` that may be told on this machine."""
    known: dict[str, Any] = {"accounts": ("acme",), "networks": LOOPBACK, "secrets": (Secret(OLD),)}
    return Callback(name=name, url=url, **{**known, **more})
