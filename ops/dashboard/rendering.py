"""Renders pages: templates that escape by themselves, with the headers that every page has."""

import gzip
import mimetypes
import re
from collections.abc import Mapping
from datetime import UTC
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from ops.dashboard.formats import Formatter
from ops.dashboard.page import HOME, Page, Visit, link
from ops.dashboard.texts import LANGUAGES, Texts
from worker.config import Settings

STATIC: Final = ("app.css", "app.js", "idiomorph.min.js", "icon.svg")
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Accept-Encoding, Accept-Language, Cookie",
}
DEFAULT_PREFIX: Final = Settings().prefix
GZIP: Final = re.compile(r"(?i)(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)")
SMALL: Final = 500  # bytes that are not worth compressing
MENU: Final = (
    ("/", "Overview", "read"),
    ("/jobs", "Jobs", "read"),
    ("/errors", "Errors", "read"),
    ("/replays", "Replays", "read"),
    ("/requests", "Requests", "read"),
    ("/accounts", "Accounts", "read"),
    ("/sources", "Sources", "read"),
    ("/deliveries", "Deliveries", "read"),
    ("/audit", "Audit", "admin"),
    ("/system", "System", "read"),
)


@cache
def templates() -> Environment:
    """Return the templates; a value that a template names and nobody gave is an error."""
    return Environment(
        loader=PackageLoader("ops.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@cache
def read_static(name: str) -> tuple[bytes, str]:
    """Return a static file, and the first digits of its hash, which its address has."""
    content = files("ops.dashboard").joinpath("static", name).read_bytes()
    return content, sha256(content).hexdigest()[:12]


def render(page: Page, *, visit: Visit | None, texts: Texts, root: str, now: int) -> str:
    """Return the page as HTML; without a visit nobody has signed in."""

    def url(path: str, **parameters: object) -> str:
        return root + link(path, **parameters)

    menu = [(path, name) for path, name, right in MENU if visit and right in visit.key.can]
    common: dict[str, Any] = {
        "t": texts,
        "url": url,
        "static": lambda name: f"{root}/static/{read_static(name)[1]}/{name}",
        "visit": visit,
        "menu": menu,
        "here": visit.path if visit else "",
        "back": visit.here if visit else HOME,
        "languages": LANGUAGES,
        "environment": name_environment(visit),
        "version": version("onoffice-relations"),
        "f": Formatter(
            texts,
            visit.zone if visit else UTC,
            now,
            bool(visit and visit.settings.dashboard.mask_ids),
        ),
    }
    return templates().get_template(page.template).render({**common, **page.values})


def name_environment(visit: Visit | None) -> str:
    """Return the prefix by which one of several environments is known; empty for the only one."""
    return visit.settings.prefix if visit and visit.settings.prefix != DEFAULT_PREFIX else ""


def html_response(html: str, status: int, request: Request) -> Response:
    """Return the response, compressed if the browser takes that."""
    body, headers = html.encode(), dict(HEADERS)
    if len(body) > SMALL and takes_gzip(request):
        body = gzip.compress(body, 5)
        headers["Content-Encoding"] = "gzip"
    return Response(body, status, headers, "text/html; charset=utf-8")


def takes_gzip(request: Request) -> bool:
    """Return whether a browser, or a proxy before it, takes compressed answers: `gzip;q=0` says not."""
    return bool(GZIP.search(request.headers.get("accept-encoding", "")))


def static_response(name: str, digest: str, request: Request) -> Response:
    """Return a static file, which may be kept for a year: another content has another address."""
    if name not in STATIC or digest != read_static(name)[1]:
        return Response("there is no such file", 404, media_type="text/plain")
    content = read_static(name)[0]
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Content-Security-Policy": POLICY,
        "Vary": "Accept-Encoding",
    }
    if takes_gzip(request):
        content, headers["Content-Encoding"] = _compressed(name), "gzip"
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(content, 200, headers, kind)


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress(read_static(name)[0], 9)
