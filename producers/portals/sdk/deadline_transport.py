"""Sends requests of httpx within one deadline: their timeout is that of all that a request does.

By itself httpx begins its timeout anew with every read, so that a server that drips its answer could hold a
caller for hours.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from worker.network.deadline import Deadline, connection_pool, core_url

CONNECTIONS: Final = 100  # to one server, for as many threads at a time
ERRORS: Final = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


class DeadlineTransport(httpx.BaseTransport):
    """A transport of httpx to one server, by the proxy that the environment names for it."""

    def __init__(self, url: str) -> None:
        self._deadline = Deadline()
        self._pool = connection_pool(self._deadline, CONNECTIONS, find_proxy(httpx.URL(url)))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and read its whole answer; raises the errors that httpx raises."""
        self._deadline.start(request.extensions["timeout"]["read"])
        try:
            response = self._pool.request(
                request.method,
                core_url(request.url),
                headers=request.headers.raw,
                content=request.read(),
                extensions=request.extensions,
            )
        except ERRORS as error:
            kind: Callable[..., Any] = getattr(httpx, type(error).__name__, httpx.NetworkError)
            raise kind(str(error)) from None
        return httpx.Response(
            response.status,
            headers=response.headers,
            content=response.content,
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


def find_proxy(url: httpx.URL) -> str:
    """Return the proxy of the environment for a URL, empty for none; raises ImportError for SOCKS."""
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(url.host):
        return ""
    if proxy.startswith("socks"):
        import_module("socksio")  # which httpcore would miss with the first request only
    return proxy if "://" in proxy else f"http://{proxy}"
