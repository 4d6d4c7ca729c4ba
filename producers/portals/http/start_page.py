"""What `GET /` answers: who is here and where to go on, as a page for people and as JSON for programs.

Nothing of the settings or of what is kept is in it, since no key is asked for. Links are relative, so that
they hold below a path too.
"""

from html import escape
from importlib.metadata import version
from typing import Final, TypedDict

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from producers.portals.http.problems import json_response

NAME: Final = "onoffice-relations"
LINKS: Final = {
    "openapi.json": "all of this for programs (OpenAPI 3.1)",
    "healthz": "whether the process is up",
    "readyz": "whether Redis takes changes",
}
WHAT: Final = "Takes changes of relations between records of the onOffice CRM, and says what became of them."
KEYS: Final = (
    "Everything under /v1 takes a key, sent as `Authorization: Bearer KEY`; `relations keys new` makes one. "
    "Changes are posted to /v1/changes, messages of webhooks to /webhooks/SOURCE."
)
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept",
}


class StartDict(TypedDict):
    """Who is here, and where to go on."""

    name: str
    version: str
    about: str
    keys: str
    links: dict[str, str]


def start_response(request: Request) -> Response:
    """Return a page for a browser, which asks for HTML, and JSON for everybody else."""
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_render(), headers=HEADERS)
    document: StartDict = {
        "name": NAME,
        "version": version(NAME),
        "about": WHAT,
        "keys": KEYS,
        "links": LINKS,
    }
    return json_response(document, headers={"Vary": "Accept"})


def _render() -> str:
    links = "".join(f'<li><a href="{link}">{link}</a>: {escape(text)}</li>' for link, text in LINKS.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{NAME}</title>'
        "<style>body{font:1rem/1.5 sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}</style>"
        f"<h1>{NAME} {escape(version(NAME))}</h1><p>{escape(WHAT)}</p><p>{escape(KEYS)}</p>"
        f"<ul>{links}</ul></html>"
    )
