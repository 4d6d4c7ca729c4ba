"""A browser without JavaScript: keeps cookies, follows redirects, and says where its forms come from."""

import re
from collections.abc import Callable, Mapping
from html import unescape

import httpx

from tests.support.http_front import KEYS, Front

HTML = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
Browse = Callable[..., httpx.Client]


def open_browser(front: Front, key: str | None, headers: Mapping[str, str] | None = None) -> httpx.Client:
    """Return a browser that has signed in with the key of this name, or with none."""
    client = httpx.Client(
        base_url=front.url, headers={**HTML, **(headers or {})}, follow_redirects=True, timeout=20.0
    )
    if key:
        answer = client.post("/sign-in", data={"key": KEYS[key][0], "next": "/system"})
        assert answer.status_code == 200, answer.text
    return client


def text_of(html: str) -> str:
    """Return what a person reads of a page, with single spaces."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def links_of(html: str) -> list[str]:
    """Return the addresses that a page leads to."""
    return [unescape(link) for link in re.findall(r'<a [^>]*href="([^"]*)"', html)]
