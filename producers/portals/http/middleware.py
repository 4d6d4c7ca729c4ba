"""What every request passes before its route: what a trusted proxy says of it, and its correlation id."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from producers.portals.http.problems import INTERNAL_ERROR, problem_response
from worker import log
from worker.config import HOLDS_SECRET, holds_secret
from worker.config.kinds import are_networks
from worker.contract import correlation_of, traceparent_of
from worker.contract.quoting import quote
from worker.errors import Fault, InvalidSettings
from worker.ports import EventSink

THIS_MACHINE: Final = "127.0.0.1,::1"
PROXIES_VARIABLE: Final = "FORWARDED_ALLOW_IPS"  # uvicorn's name for it
ROOT_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
MAX_ROOT_PATH: Final = 200  # characters
MAX_NAMED: Final = 10  # addresses that are logged because they are not believed
HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
SCHEME_HEADERS: Final = ("x-forwarded-proto", "x-forwarded-protocol", "x-forwarded-scheme", "x-url-scheme")
TLS_HEADERS: Final = ("x-forwarded-ssl", "front-end-https")  # whose value is "on"
HOST_HEADERS: Final = ("forwarded", "x-forwarded-host", "x-forwarded-port")
PREFIX_HEADER: Final = b"x-forwarded-prefix"
FORWARDED: Final = frozenset(
    (PREFIX_HEADER, *(name.encode() for name in (*SCHEME_HEADERS, *TLS_HEADERS, *HOST_HEADERS)))
)
STOPPED: Final = "the server was stopped before this was answered; send it again"
CORRELATING: Final = frozenset((b"traceparent", b"x-correlation-id", b"x-request-id", b"expect"))


def clean_root_path(path: str) -> str:
    """Return the path without a slash at its end; raise ValueError if it is none that an address can have."""
    path = path.rstrip("/")
    if path and (len(path) > MAX_ROOT_PATH or not ROOT_PATH.fullmatch(path)):
        raise ValueError("expected a path such as /relations: letters, digits and . _ ~ - between slashes")
    return path


def read_proxies(text: str) -> str:
    """Return which proxies are believed, by default this machine's; raises InvalidSettings.

    uvicorn would take any text for the name of one, and believe nobody.
    """
    proxies = [proxy for part in text.split(",") if (proxy := part.strip())]
    if proxies != ["*"] and not are_networks(proxies):
        expected = "expected addresses and networks such as 10.0.0.9,172.16.0.0/12, or * alone"
        raise InvalidSettings([Fault(PROXIES_VARIABLE, f"{expected}; got {quote(text)}")])
    return ",".join(proxies) or THIS_MACHINE


def find_headers(scope: Scope, names: frozenset[bytes]) -> dict[str, str]:
    """Return the first of each of these headers of a request; every request is asked, few have any."""
    found = [(name, value) for name, value in scope["headers"] if name in names]
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(found)}


class CorrelationMiddleware:
    """Gives every request a correlation id, its own or a fresh one, which the log and the response carry.

    An error that got past everything else is logged here, once, and answered.
    """

    def __init__(self, app: ASGIApp, new_id: Callable[[], str], emit: EventSink) -> None:
        self._app, self._new_id, self._emit = app, new_id, emit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = find_headers(scope, CORRELATING)
        # A caller that traces is followed by its trace: proxies give every request an X-Request-Id.
        trace = traceparent_of(headers.get("traceparent"))
        given = correlation_of(headers.get("x-correlation-id"), trace, headers.get("x-request-id"))
        is_refused = holds_secret(given)
        correlation = self._new_id() if is_refused or not given else given
        scope["state"] = {**scope.get("state", {}), "correlation": correlation}

        if "expect" in headers:
            receive, send = _close_unread(receive, send)
        is_answering = False

        async def send_with_id(message: Message) -> None:
            nonlocal is_answering
            is_answering = True
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Correlation-Id"] = correlation
            await send(message)

        if is_refused:
            refused = [Fault("X-Correlation-Id", HOLDS_SECRET)]
            await problem_response(422, str(refused[0]), faults=refused)(scope, receive, send_with_id)
            return
        with log.context(correlation=correlation):
            try:
                await self._app(scope, receive, send_with_id)
            except asyncio.CancelledError:  # the server stops, and has waited as long as it could
                if is_answering:
                    raise
                again = {"Retry-After": "1", "Connection": "close"}
                await problem_response(503, STOPPED, headers=again)(scope, receive, send_with_id)
            except Exception as error:  # a bug of ours, or of a library
                path = _shown_path(scope)
                self._emit("request.failed", path=path, error=type(error).__name__, exc_info=error)
                if not is_answering:
                    await problem_response(500, INTERNAL_ERROR)(scope, receive, send_with_id)


def _close_unread(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return both for a client that sends its body once it is told to (`Expect: 100-continue`).

    An answer without that ends the connection: the client's next request would be read as the body.
    """
    is_read = False

    async def receive_body() -> Message:
        nonlocal is_read
        is_read = True
        return await receive()

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start" and not is_read:
            MutableHeaders(scope=message)["Connection"] = "close"
        await send(message)

    return receive_body, send_and_close


def _shown_path(scope: Scope) -> str:
    """Return the path of a request for the log: what follows the name of a webhook may be a secret."""
    above, mark, below = str(scope.get("path", "")).partition("/webhooks/")
    return f"{above}{mark}{below.partition('/')[0]}"


class ForwardedMiddleware(ProxyHeadersMiddleware):
    """What a trusted proxy says of a request as its client made it: address, scheme, host, the path above us.

    It is uvicorn's middleware, which also reads other names of the headers. Only proxies of
    `FORWARDED_ALLOW_IPS` are believed, as `read_proxies` returns them.

    The path above us is the one given, else what trusted proxies send as `X-Forwarded-Prefix`. Requests may
    come with it or without; `Location` has it, and so has every path that the application tells.

    The first few addresses that say something of a client and are not believed are logged, each once.
    """

    def __init__(self, app: Any, trusted_hosts: str, *, root_path: str = "", emit: EventSink) -> None:
        super().__init__(app, trusted_hosts)
        self._root_path, self._emit = root_path, emit
        self._ignored: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request; `peer` of the scope is the address that the connection came from."""
        if client := scope.get("client"):  # none has a proxy on a socket of this machine
            client = (client[0].removeprefix("::ffff:"), client[1])  # IPv4 on a socket that speaks both
        scope = {**scope, "client": client, "peer": client[0] if client else ""}
        root = self._root_path
        forwarded = find_headers(scope, FORWARDED)
        if forwarded and self._is_trusted(scope):
            scope = _as_client_sent(scope, forwarded)
            root = root or _forwarded_prefix(scope)
        elif forwarded:
            self._name_ignored(scope["peer"])
        if not root:
            return await super().__call__(scope, receive, send)
        path = scope["path"]
        below = path.removeprefix(root) if path.startswith(f"{root}/") else path
        scope = {**scope, "root_path": root, "path": f"{root}{below}"}
        send_below: Any = _with_root_path(send, root)
        return await super().__call__(scope, receive, send_below)

    def _name_ignored(self, address: str) -> None:
        if address not in self._ignored and len(self._ignored) < MAX_NAMED:
            self._ignored.add(address)
            self._emit("proxy.ignored", address=address)

    def _is_trusted(self, scope: Scope) -> bool:
        return scope["client"] is None or scope["peer"] in self.trusted_hosts


def _forwarded_prefix(scope: Scope) -> str:
    """Return what proxies took off the path, the first in front: Traefik adds a header, Spring a comma."""
    sent = b",".join(value for name, value in scope["headers"] if name == PREFIX_HEADER).decode("latin-1")
    try:
        return clean_root_path("".join(clean_root_path(part.strip()) for part in sent.split(",")))
    except ValueError:
        return ""


def _as_client_sent(scope: Scope, headers: Mapping[str, str]) -> Scope:
    """Return the request with the scheme and the host that its client used."""
    scheme = forwarded_scheme(headers) or scope["scheme"]
    others = [pair for pair in scope["headers"] if pair[0] != b"host"]
    host = forwarded_host(headers, scheme)
    sent = [(b"host", host.encode()), *others] if host else scope["headers"]
    return {**scope, "scheme": scheme, "headers": sent}


def forwarded_scheme(headers: Mapping[str, str]) -> str:
    """Return the scheme that the client used; the first proxy in a list of them saw it."""
    named = [_forwarded(headers, "proto"), *(_first(headers, name) for name in SCHEME_HEADERS)]
    tls = ["https" for name in TLS_HEADERS if _first(headers, name).lower() == "on"]
    return next((scheme.lower() for scheme in (*named, *tls) if scheme.lower() in DEFAULT_PORTS), "")


def forwarded_host(headers: Mapping[str, str], scheme: str) -> str:
    """Return the host that the client asked for, with a port that is not its scheme's own."""
    named = (_forwarded(headers, "host"), _first(headers, "x-forwarded-host"))
    host = next((text for text in named if HOST.fullmatch(text)), "")
    port = _first(headers, "x-forwarded-port")
    if host and not re.search(r":[0-9]+\Z", host) and port.isdecimal() and port != DEFAULT_PORTS[scheme]:
        return f"{host}:{port}"
    return host


def _forwarded(headers: Mapping[str, str], name: str) -> str:
    """Return a value of the first element of `Forwarded: for=…;proto=https;host="…", …` (RFC 7239)."""
    for pair in _first(headers, "forwarded").split(";"):
        key, _, value = pair.strip().partition("=")
        if key.lower() == name:
            return value.strip().strip('"')
    return ""


def _first(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "").partition(",")[0].strip()


def _with_root_path(send: Send, root: str) -> Send:
    async def send_below(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("location", "").startswith("/"):
                headers["location"] = root + headers["location"]
        await send(message)

    return send_below
