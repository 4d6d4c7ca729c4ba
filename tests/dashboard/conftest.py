"""The pages over a running interface, as a browser without JavaScript sees them."""

import traceback
from collections.abc import Iterator

import httpx
import pytest

from tests.support.browsing import Browse, open_browser
from tests.support.front_fixtures import front as front
from tests.support.front_fixtures import shared_front as shared_front
from tests.support.http_front import Front


@pytest.fixture
def browse(front: Front) -> Iterator[Browse]:
    """Return a browser that has signed in with the key of this name, or with none."""
    opened = list[httpx.Client]()

    def browser(key: str | None = "admin") -> httpx.Client:
        opened.append(open_browser(front, key))
        return opened[-1]

    yield browser
    for client in opened:
        client.close()
    failures = [fields for event, fields in front.events if event == "request.failed"]
    assert not failures, traceback.format_exception(failures[0]["exc_info"])  # type: ignore[arg-type]
