"""What to know of URLs: which are good, what to hide, which hosts they name, which proxy leads to them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from worker.config.secret import hide
from worker.errors import Fault, InvalidSettings

CERTIFICATE_CHECKS: Final = ("required", "optional", "none")
AZURE: Final = ",password="
"""Stands in the connection strings that Azure shows: `host:6380,password=…,ssl=True`."""
EXPECTED_PROXY: Final = (
    "expected http://host:port or https://host:port, with user:password@ before the host if it asks"
)
ESCAPE: Final = "in user and password, write what is no letter or digit as % and two hexadecimal digits"
BRACKETS: Final = f"an address of version 6 stands in brackets, as [::1]:6379; {ESCAPE}"
HOST: Final = re.compile(r"(\[[^][]+\]|[^][:;@]+)(:\d{1,5})?")
OTHER_SPELLINGS: Final = {
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+ssl": "rediss",
    "redis+tls": "rediss",
    "redis-sentinel": "redis+sentinel",
    "redis-socket": "unix",
    "redis+socket": "unix",
    "redis+unix": "unix",
    "pyamqp": "amqp",
}
"""How other programs write the scheme, and how it is written here."""


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL, which may name several hosts; raises ValueError.

    `urllib` lets only the one and whole host of a URL be an IPv6 address.
    """
    scheme, slashes, rest = url.partition("://")
    netloc = re.split("[/?#]", rest, maxsplit=1)[0]
    if not re.search("[,;]", netloc):
        return urlsplit(url)
    access, at, _ = netloc.rpartition("@")
    return urlsplit(f"{scheme}{slashes}{access}{at}hosts{rest[len(netloc) :]}")._replace(netloc=netloc)


def is_url(value: str, *schemes: str) -> bool:
    """Whether it is a URL with one of the schemes; a host that stands alone can have that name and port."""
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        return False
    try:
        parts = split_url(value)
        several = "," in value or ";" in value
        if not several:
            (parts.hostname or "").encode("idna")  # as whoever looks it up does; raises a ValueError
        return bool(parts.netloc or parts.path.strip("/")) and (several or parts.port != 0)
    except ValueError:  # a port that is no number, a broken IPv6 address, two dots in a host
        return False


def explain_url(value: str, schemes: Sequence[str]) -> str:
    """Return what may be wrong with a text that is no URL with one of the schemes; "" where it is not known.

    No part of the text is repeated: it may hold a password.
    """
    scheme, slashes, _ = value.partition("://")
    if AZURE in value.lower():
        return "this is Azure's form; write rediss://:PASSWORD@HOST:6380/0"
    if value[:1] in ("'", '"'):
        return "leave out the quotation marks"
    if not slashes and re.fullmatch(r"[\w.-]+(:\d+)?", value):
        return f"write {schemes[0]}:// before the host"
    if (own := OTHER_SPELLINGS.get(scheme)) in schemes:
        return f"{scheme}:// is written {own}://"
    if scheme not in schemes:
        return ""
    return BRACKETS if re.search("//[^][/?#@]*:[^][/?#@]*:[^][@]*$", value) else ESCAPE


def is_api_url(value: str) -> bool:
    """Whether it is a web address without user and password."""
    return is_url(value, "https", "http") and "@" not in urlsplit(value).netloc


def is_private(url: str) -> bool:
    """Whether nobody can read on the way what is sent there: encrypted, or within this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def is_encrypted(url: str) -> bool:
    """Whether a URL of Redis asks for TLS."""
    return url.startswith("rediss")


def passwords_of(url: str) -> list[str]:
    """Return the passwords inside a URL, before the host and in the query."""
    found = re.findall(r"://[^/]*?:(.*)@|[?&](?:sentinel_)?password=([^&;#]*)", url, flags=re.IGNORECASE)
    return [before_host or in_query for before_host, in_query in found if before_host or in_query]


def hide_passwords(url: str) -> None:
    """Hide the passwords inside a URL from logs and errors."""
    for password in passwords_of(url):
        hide(password)


def mask_url(url: str) -> str:
    """Return the URL without its user and password, or any other text as it is."""
    if "://" not in url:
        return url
    return re.sub(r"(?i)(password=)[^&;#]*", r"\1***", re.sub(r"://.*@", "://***@", url))


def redis_options(url: str) -> dict[str, Any]:
    """Return the options in the query of a Redis URL; raise ValueError for one that cannot be used."""
    parts = split_url(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    _check_hosts(parts)
    if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("expected the number of a database after the host")
    if any(name.startswith("ssl_") for name, _ in given) and not is_encrypted(url):
        raise ValueError("ssl_ options belong to rediss://, rediss+sentinel:// and rediss+cluster://")
    known = _known_options(parts.scheme)
    options = {name: _read_option(url, name, value, known) for name, value in given}
    _check_agreement(parts, given)
    return options


def check_amqp_options(url: str) -> None:
    """Raise ValueError for an option in the query of a RabbitMQ's URL, or of several, that cannot be used."""
    for each in url.split(";"):
        for name, value in parse_qsl(urlsplit(each).query, keep_blank_values=True):
            if name.startswith("ssl"):
                raise ValueError(
                    "TLS is asked for by amqps:// alone; SSL_CERT_FILE names an authority for it"
                )
            _read_option(url, name, value, AMQP_OPTIONS)


def _check_agreement(parts: SplitResult, options: Sequence[tuple[str, str]]) -> None:
    """Check that nothing is said twice in two ways: store and broker might believe one each."""
    named = {"username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    if parts.scheme != "unix":
        named["db"] = parts.path.strip("/")
    for name, value in options:
        if (before := named.setdefault(name, value)) and before != value:
            raise ValueError(f"{name} is given twice, and not the same; leave one out")
        named[name] = value


def _check_hosts(parts: SplitResult) -> None:
    """Check the hosts: a client's own error over them would repeat what may be a password."""
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if parts.scheme in SENTINEL_SCHEMES + CLUSTER_SCHEMES:
        if not all(HOST.fullmatch(host) for host in hosts):
            raise ValueError(f"expected HOST:PORT,HOST:PORT after {parts.scheme}://; {ESCAPE}")
        if parts.scheme in SENTINEL_SCHEMES and not re.fullmatch(r"(/[^/]*(/\d*/?)?)?", parts.path):
            raise ValueError("expected a service and the number of a database after the hosts")
    elif len(hosts) > 1 and AZURE in parts.netloc.lower():
        raise ValueError(explain_url(parts.netloc, ()))
    elif len(hosts) > 1:
        raise ValueError(f"expected one host; several are redis+sentinel:// or redis+cluster://; {ESCAPE}")


def _known_options(scheme: str) -> "Options":
    """Return the options that a URL of this scheme may have."""
    if scheme in SENTINEL_SCHEMES:
        names: Sequence[str] = SENTINEL_OPTIONS
    elif scheme in CLUSTER_SCHEMES:
        names = NETWORK_OPTIONS
    else:
        names = [name for name in REDIS_OPTIONS if not name.startswith(("sentinel_", "ssl_"))]
    encrypted = [name for name in REDIS_OPTIONS if name.startswith("ssl_")]
    known = [*names, *encrypted] if is_encrypted(scheme) else names
    return {name: REDIS_OPTIONS[name] for name in known}


def _read_option(url: str, name: str, value: str, known: "Options") -> Any:
    if name not in known:
        is_shown = re.fullmatch(r"[a-z_]{1,40}", name) and "@" not in url.partition("?")[2]
        shown = f" {name}" if is_shown else ""  # else it may be a part of a password
        raise ValueError(f"the option{shown} is unknown; known are {', '.join(known)}")
    expected, read = known[name]
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


Options = Mapping[str, tuple[str, Callable[[str], Any]]]
"""What an option expects, and what reads it, by name."""
REDIS_OPTIONS: Final[Options] = {
    "db": ("the number of a database", lambda value: _read_number(value, least=0)),
    "username": ("text", _read_text),
    "password": ("text", _read_text),
    "client_name": ("text", _read_text),
    "socket_timeout": ("a positive number of seconds", _read_seconds),
    "socket_connect_timeout": ("a positive number of seconds", _read_seconds),
    "health_check_interval": ("a positive number of seconds", _read_seconds),
    "sentinel_username": ("text", _read_text),
    "sentinel_password": ("text", _read_text),
    "max_connections": ("a positive number", lambda value: _read_number(value, least=1)),
    "max_age": ("a positive number of seconds", _read_seconds),
    "ssl_cert_reqs": (f"one of {', '.join(CERTIFICATE_CHECKS)}", _read_certificate_check),
    "ssl_ca_certs": ("the path of a file", _read_text),
    "ssl_certfile": ("the path of a file", _read_text),
    "ssl_keyfile": ("the path of a file", _read_text),
    "ssl_check_hostname": ("true or false", lambda value: {"true": True, "false": False}[value.lower()]),
}
"""What may stand in the query of a Redis URL, for store and broker alike."""
AMQP_OPTIONS: Final[Options] = {
    "heartbeat": ("a number of seconds", lambda value: _read_number(value, least=0)),
    "login_method": ("text", _read_text),
}
"""What may stand in that of a RabbitMQ's URL: other options of kombu's do nothing, or end in an error."""
CLUSTER_SCHEMES: Final = ("redis+cluster", "rediss+cluster")
SENTINEL_SCHEMES: Final = ("redis+sentinel", "rediss+sentinel", "sentinel")
NETWORK_OPTIONS: Final = ("client_name", "socket_timeout", "socket_connect_timeout", "health_check_interval")
SENTINEL_OPTIONS: Final = (*NETWORK_OPTIONS, "max_age", "sentinel_username", "sentinel_password")


class MultiHostUrl(NamedTuple):
    """A parsed `…://user:password@host:port,host:port/service/database`; only Sentinel has the last two."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str, *, default_port: int) -> "MultiHostUrl":
        """Parse the URL; raises ValueError."""
        parts = split_url(url)
        service, _, database = parts.path.strip("/").partition("/")
        hosts = parts.netloc.rpartition("@")[2].split(",")
        return cls(
            tuple(_host_and_port(host, default_port) for host in hosts),
            service or "mymaster",
            int(database or 0),
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
        )


def _host_and_port(text: str, default_port: int) -> tuple[str, int]:
    if text.endswith("]") or ":" not in text:  # an IPv6 address has colons of its own, in brackets
        return text.strip("[]"), default_port
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def find_proxy(url: str, environ: Mapping[str, str]) -> str:
    """Return the proxy for an `https://` URL by HTTPS_PROXY and NO_PROXY, in either case; else nothing.

    Raises InvalidSettings for one that cannot be used; the text does not quote it.
    """
    target, proxy, exceptions = (
        urlsplit(url),
        _read_variable(environ, "https_proxy"),
        _read_variable(environ, "no_proxy"),
    )
    if target.scheme != "https" or not proxy:
        return ""
    if proxy_bypass_environment(target.hostname or "", {"no": exceptions}):
        return ""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not None
    except ValueError:
        is_usable = False
    if not is_usable:
        raise InvalidSettings([Fault("HTTPS_PROXY", EXPECTED_PROXY)])
    hide(parts.password or "")
    return proxy


def _read_variable(environ: Mapping[str, str], name: str) -> str:
    """Return a variable; in small letters it wins, as everywhere."""
    return (environ.get(name) or environ.get(name.upper()) or "").strip()
