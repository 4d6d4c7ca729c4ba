"""What the settings must know about URLs: which are good, who can read along, and what to hide in them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

CERTIFICATE_CHECKS: Final = ("required", "optional", "none")


def is_url(value: str, *schemes: str) -> bool:
    """Whether it is a URL with one of the schemes, and a port that is a number where there is one host."""
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        return False
    try:
        parts = urlsplit(value)
        several = "," in value or ";" in value
        return bool(parts.netloc or parts.path.strip("/")) and (several or parts.port != 0)
    except ValueError:  # a port that is no number, a broken IPv6 address
        return False


def is_api_url(value: str) -> bool:
    """Whether it is a web address without user and password."""
    return is_url(value, "https", "http") and "@" not in urlsplit(value).netloc


def is_private(url: str) -> bool:
    """Whether nobody can read on the way what is sent there: encrypted, or within this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def password_of(url: str) -> str:
    """Return the password inside a URL, before the host or in the query, or nothing."""
    found = re.search(r"://[^/]*?:(.*)@|[?&]password=([^&;#]*)", url, flags=re.IGNORECASE)
    return (found[1] or found[2]) if found else ""


def mask_url(url: str) -> str:
    """Return the URL without its user and password, or any other text as it is."""
    if "://" not in url:
        return url
    return re.sub(r"(?i)(password=)[^&;#]*", r"\1***", re.sub(r"://.*@", "://***@", url))


def redis_options(url: str) -> dict[str, Any]:
    """Return the options in the query of a Redis URL; raise ValueError for one that cannot be used."""
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    if parts.scheme in ("redis", "rediss"):
        if not re.fullmatch(r"/?\d*", parts.path):
            raise ValueError("expected the number of a database after the host")
    elif parts.scheme in SENTINEL_SCHEMES:
        if others := [name for name, _ in given if name not in SENTINEL_OPTIONS]:
            known = ", ".join(SENTINEL_OPTIONS)
            raise ValueError(f"{parts.scheme}:// takes {known} only{_among_known(others[0])}")
    elif parts.scheme != "unix" and given:
        raise ValueError(f"{parts.scheme}:// takes no options")
    if parts.scheme != "rediss" and any(name.startswith("ssl_") for name, _ in given):
        raise ValueError("ssl_ options belong to rediss://")
    return {name: _read_option(name, value) for name, value in given}


def _among_known(name: str) -> str:
    return f", not {name}" if name in REDIS_OPTIONS else ""  # else it may be a part of a password


def _read_option(name: str, value: str) -> Any:
    if name not in REDIS_OPTIONS:
        shown = f" {name}" if re.fullmatch(r"[a-z_]{1,40}", name) else ""  # else a part of a password
        raise ValueError(f"the option{shown} is unknown; known are {', '.join(REDIS_OPTIONS)}")
    expected, read = REDIS_OPTIONS[name]
    try:
        return read(value)
    except (KeyError, ValueError):  # whose text may hold a password
        raise ValueError(f"the option {name} expects {expected}") from None


def _read_certificate_check(value: str) -> str:
    """Return how redis-py spells it; Celery's documentation asks for CERT_REQUIRED."""
    check = value.lower().removeprefix("cert_")
    if check not in CERTIFICATE_CHECKS:
        raise ValueError
    return check


def _read_text(value: str) -> str:
    if not value:
        raise ValueError
    return value


def _read_number(value: str, *, least: int) -> int:
    if not re.fullmatch(r"\d{1,9}", value) or int(value) < least:
        raise ValueError
    return int(value)


def _read_seconds(value: str) -> float:
    if not 0 < (seconds := float(value)) <= 86_400:
        raise ValueError
    return seconds


REDIS_OPTIONS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "db": ("the number of a database", lambda value: _read_number(value, least=0)),
    "username": ("text", _read_text),
    "password": ("text", _read_text),
    "client_name": ("text", _read_text),
    "socket_timeout": ("a positive number of seconds", _read_seconds),
    "socket_connect_timeout": ("a positive number of seconds", _read_seconds),
    "health_check_interval": ("a positive number of seconds", _read_seconds),
    "max_connections": ("a positive number", lambda value: _read_number(value, least=1)),
    "max_age": ("a positive number of seconds", _read_seconds),
    "ssl_cert_reqs": (f"one of {', '.join(CERTIFICATE_CHECKS)}", _read_certificate_check),
    "ssl_ca_certs": ("the path of a file", _read_text),
    "ssl_certfile": ("the path of a file", _read_text),
    "ssl_keyfile": ("the path of a file", _read_text),
    "ssl_check_hostname": ("true or false", lambda value: {"true": True, "false": False}[value.lower()]),
}
"""What may stand in the query of a `redis://`, `rediss://` or `unix://` URL, for store and broker alike."""
SENTINEL_SCHEMES: Final = ("redis+sentinel", "sentinel")
SENTINEL_OPTIONS: Final = (
    "client_name",
    "socket_timeout",
    "socket_connect_timeout",
    "health_check_interval",
    "max_age",
)
