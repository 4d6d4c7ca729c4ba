"""What `GET /` answers: a page for a browser, JSON for a program, and nothing that a key would open."""

import re
from typing import Any

import pytest

from tests.support.http_front import SECRETS, Front


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
    ],
)
def test_everybody_gets_what_they_can_read_and_the_links_lead_somewhere(
    front: Front, accept: str, kind: str
) -> None:
    http = front.client(key=None)
    answer = http.get("/", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    if kind == "application/json":
        document: dict[str, Any] = answer.json()
        links = list(document["links"])
    else:
        links = [link.removeprefix("/") for link in re.findall(r'href="([^"]+)"', answer.text)]
    assert "openapi.json" in links
    for link in links:
        assert http.get(f"/{link}").status_code == 200
    assert "acme" not in answer.text
    assert not [secret for secret in SECRETS.values() if secret in answer.text]


def test_it_is_answered_to_head_and_below_a_path(front: Front) -> None:
    http = front.client(key=None)
    assert http.head("/").status_code == 200
    assert http.post("/").status_code == 405
