"""The proxy by which an address of the outside is reached, as the customary environment variables name it."""

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from worker.config.secret import hide
from worker.errors import Fault, InvalidSettings

EXPECTED = "expected http://host:port or https://host:port, with user:password@ before the host if it asks"


def find_proxy(url: str, environ: Mapping[str, str]) -> str:
    """Return the proxy for an `https://` URL by HTTPS_PROXY and NO_PROXY, in either case; else nothing.

    Raises InvalidSettings for one that cannot be used; the text does not quote it.
    """
    target, proxy, exceptions = urlsplit(url), _read(environ, "https_proxy"), _read(environ, "no_proxy")
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
        raise InvalidSettings([Fault("HTTPS_PROXY", EXPECTED)])
    hide(parts.password or "")
    return proxy


def _read(environ: Mapping[str, str], name: str) -> str:
    """Return a variable; in small letters it wins, as everywhere."""
    return (environ.get(name) or environ.get(name.upper()) or "").strip()
