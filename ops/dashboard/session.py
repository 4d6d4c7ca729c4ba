"""Who asks for a page: a bearer key, a signed cookie, or a user that a listed proxy names.

A cookie names a key, the beginning of its hash and when it was signed; what the key may do is read from the
settings at each request, so that a key that left them, or was replaced, opens nothing.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address, ip_network
from secrets import token_urlsafe
from typing import Final
from urllib.parse import urlsplit

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from producers.errors import Unauthorized
from producers.portals.http.endpoint import authenticate
from worker.config import Key, Settings
from worker.config.values import Dashboard

SALT: Final = "onoffice-relations session"
DIGEST_PREFIX: Final = 16  # hexadecimal digits of a key's hash
# As proxies name users: Google's with a colon, Auth0's with a bar, Windows's with a backslash. No comma: it
# stands between two that were sent.
USER: Final = re.compile(r"[\w!#$%&'*+./:=?@\\^`{|}~-]{1,100}", re.ASCII)
ANYBODY: Final = "*"


@dataclass(frozen=True, slots=True)
class Visitor:
    """A key, and whom the audit log names; `by_cookie` if a browser sends the proof by itself."""

    key: Key
    by: str
    by_cookie: bool = True


@dataclass(frozen=True, slots=True)
class Sessions:
    """Signs and reads cookies; without a secret in the settings by one of this process alone."""

    own_secret: str = field(default_factory=lambda: token_urlsafe(32))

    def sign(self, key: Key, dashboard: Dashboard) -> str:
        """Return the value of a cookie for this key."""
        value = self._serializer(dashboard).dumps([key.name, key.sha256[:DIGEST_PREFIX]])
        return value if isinstance(value, str) else value.decode()

    def read(self, cookie: str, settings: Settings) -> Key | None:
        """Return the key that a cookie names, if it is genuine, young enough, and of a key as it is now."""
        dashboard = settings.dashboard
        try:
            name, digest = self._serializer(dashboard).loads(
                cookie, max_age=round(dashboard.session_hours * 3600)
            )
        except (BadData, ValueError, TypeError):
            return None
        key = settings.keys.get(name)
        return key if key and key.sha256.startswith(digest) else None

    def _serializer(self, dashboard: Dashboard) -> URLSafeTimedSerializer:
        secrets = [secret.reveal() for secret in dashboard.secrets] or [self.own_secret]
        # The last one signs, all are accepted.
        return URLSafeTimedSerializer(
            secrets[::-1], salt=SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": sha256}
        )


def find_visitor(request: Request, settings: Settings, sessions: Sessions) -> Visitor | None:
    """Return who asks; raise Unauthorized for a bearer key that is not known.

    A listed proxy comes first: some send a bearer token of their own beside the name of any user.
    """
    if user := proxied_user(request, settings.dashboard):
        named = settings.dashboard.users.get(user) or settings.dashboard.users.get(ANYBODY, "")
        if named in settings.keys:
            return Visitor(settings.keys[named], f"{user} ({named})")
    header = request.headers.get("authorization", "")
    if header.lower().startswith("bearer "):
        with suppress(*([Unauthorized] if user else [])):
            key = authenticate(settings.keys.values(), header)
            return Visitor(key, key.name, by_cookie=False)
    cookie = request.cookies.get(cookie_name(request), "")
    found = sessions.read(cookie, settings) if cookie else None
    return Visitor(found, found.name) if found else None


def proxied_user(request: Request, dashboard: Dashboard) -> str:
    """Return the user that a listed proxy names; nothing if somebody else sends the header, or it is odd."""
    if not dashboard.user_header or not is_listed(request.scope.get("peer", ""), dashboard.proxies):
        return ""
    given = request.headers.getlist(dashboard.user_header)
    return given[0] if len(given) == 1 and USER.fullmatch(given[0]) else ""


def is_listed(address: str, proxies: tuple[str, ...]) -> bool:
    """Return whether an address is one of these, or in one of these networks."""
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return any(known in ip_network(proxy) for proxy in proxies)


def is_own_page(request: Request) -> bool:
    """Return whether a form was sent from a page of ours, by what the browser says of it.

    That is `Sec-Fetch-Site`, which browsers send over HTTPS; else `Origin`, which has to be our own host.
    """
    if site := request.headers.get("sec-fetch-site"):
        return site == "same-origin"
    origin = urlsplit(request.headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc == request.headers.get("host")


def cookie_name(request: Request) -> str:
    """Return the name of the session's cookie; below a path it has the path, as others may be beside us."""
    below = re.sub(r"[^A-Za-z0-9._~-]", "-", request.scope.get("root_path", ""))
    return f"{'__Host-' if is_secure(request) else ''}relations-session{below}"


def is_secure(request: Request) -> bool:
    """Return whether the browser speaks HTTPS, with us or with a proxy before us."""
    return str(request.scope["scheme"]) == "https"


def set_cookie(response: Response, request: Request, name: str, value: str, *, seconds: int) -> None:
    """Let the browser keep a value for so long, for our own pages alone."""
    response.set_cookie(
        name, value, max_age=seconds, path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )


class SignInLimit:
    """Lets an address fail to sign in a few times a minute, and all of them together a few more times."""

    PER_ADDRESS: Final = 10
    ALL: Final = 1000
    SECONDS: Final = 60.0

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._failures = now, list[tuple[float, str]]()

    def check(self, address: str) -> None:
        """Raise TooMany if the address, or everybody, has failed too often."""
        start = self._now() - self.SECONDS
        self._failures = [each for each in self._failures if each[0] > start]
        own = sum(failed == address for _, failed in self._failures)
        if own >= self.PER_ADDRESS or len(self._failures) >= self.ALL:
            raise TooMany("too many wrong keys; try again in a minute", reason="unknown_key")

    def note_failure(self, address: str) -> None:
        """Note that a wrong key came from the address."""
        self._failures.append((self._now(), address))


class TooMany(Unauthorized):
    """There were so many wrong keys that no further one is looked at."""
