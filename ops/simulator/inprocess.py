"""The simulator as an httpx transport: no socket, no thread; drops raise what httpx raises for them."""

from types import MappingProxyType

import httpx

from ops.simulator.faults import Kind
from ops.simulator.responses import Dropped
from ops.simulator.simulator import Simulator

_AS_HTTPX: MappingProxyType[Kind, tuple[type[httpx.TransportError], str]] = MappingProxyType(
    {
        "lost_after": (httpx.RemoteProtocolError, "Server disconnected without sending a response."),
        "lost_before": (httpx.ReadError, "[Errno 104] Connection reset by peer"),
        "late": (httpx.ReadTimeout, "timed out"),
    }
)


class InProcess(httpx.BaseTransport):
    """A transport for `httpx.Client(transport=InProcess(simulator))`; any host leads to the simulator.

    `Dropped` becomes `RemoteProtocolError` (`lost_after`), `ReadError` (`lost_before`) or `ReadTimeout`
    (`late`). Nothing else times out here: `latency` and `drip` call the simulator's `sleep` in the caller's
    own thread.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._wsgi = httpx.WSGITransport(simulator)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the simulator's response; raise the transport error that a drop would be on a socket."""
        try:
            return self._wsgi.handle_request(request)
        except Dropped as dropped:
            error, message = _AS_HTTPX[dropped.kind]
            raise error(message, request=request) from dropped
