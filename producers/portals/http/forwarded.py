"""The address that a client knows, as proxies in front of this server tell it in the headers they add.

Only proxies of `FORWARDED_ALLOW_IPS` are believed: addresses and networks, or `*`; else this machine's own.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

THIS_MACHINE: Final = "127.0.0.1,::1"
HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
SCHEME_HEADERS: Final = ("x-forwarded-proto", "x-forwarded-protocol", "x-forwarded-scheme", "x-url-scheme")
TLS_HEADERS: Final = ("x-forwarded-ssl", "front-end-https")  # whose value is "on"

Network = IPv4Network | IPv6Network


class ForwardedMiddleware:
    """Gives each request of a trusted proxy the scheme and host that its client used."""

    def __init__(self, app: ASGIApp, trusted: str | None = None) -> None:
        given = os.environ.get("FORWARDED_ALLOW_IPS", "") if trusted is None else trusted
        self._app, self._trusted = app, parse_networks(given.strip() or THIS_MACHINE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self._is_trusted(scope.get("client")):
            headers = Headers(scope=scope)
            scheme = forwarded_scheme(headers) or scope["scheme"]
            scope = {**scope, "scheme": scheme}
            if host := forwarded_host(headers, scheme):
                others = [(name, value) for name, value in scope["headers"] if name != b"host"]
                scope["headers"] = [(b"host", host.encode()), *others]
        await self._app(scope, receive, send)

    def _is_trusted(self, client: tuple[str, int] | None) -> bool:
        if self._trusted is None or client is None:  # everybody, or a proxy on a socket of this machine
            return True
        with suppress(ValueError):
            address = ip_address(client[0].removeprefix("::ffff:"))  # IPv4 on a socket that speaks both
            return any(address in network for network in self._trusted)
        return False


def parse_networks(text: str) -> list[Network] | None:
    """Return the networks of a list of addresses, None for `*`; what is neither is not believed."""
    if "*" in text:
        return None
    networks = list[Network]()
    for item in text.split(","):
        with suppress(ValueError):
            networks.append(ip_network(item.strip(), strict=False))
    return networks


def forwarded_scheme(headers: Headers) -> str:
    """Return the scheme that the client used; the first proxy in a list of them saw it."""
    named = [_forwarded(headers, "proto"), *(_first(headers, name) for name in SCHEME_HEADERS)]
    tls = ["https" for name in TLS_HEADERS if _first(headers, name).lower() == "on"]
    return next((scheme.lower() for scheme in (*named, *tls) if scheme.lower() in DEFAULT_PORTS), "")


def forwarded_host(headers: Headers, scheme: str) -> str:
    """Return the host that the client asked for, with a port that is not its scheme's own."""
    host = _first_match(HOST, [_forwarded(headers, "host"), _first(headers, "x-forwarded-host")])
    port = _first(headers, "x-forwarded-port")
    if host and not re.search(r":[0-9]+\Z", host) and port.isdecimal() and port != DEFAULT_PORTS[scheme]:
        return f"{host}:{port}"
    return host


def _forwarded(headers: Headers, name: str) -> str:
    """Return a value of the first element of `Forwarded: for=…;proto=https;host="…", …` (RFC 7239)."""
    for pair in _first(headers, "forwarded").split(";"):
        key, _, value = pair.strip().partition("=")
        if key.lower() == name:
            return value.strip().strip('"')
    return ""


def _first(headers: Headers, name: str) -> str:
    return headers.get(name, "").partition(",")[0].strip()


def _first_match(pattern: re.Pattern[str], texts: Iterable[str]) -> str:
    return next((text for text in texts if pattern.fullmatch(text)), "")
