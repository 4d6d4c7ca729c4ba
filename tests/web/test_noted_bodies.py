"""Which bodies are noted for traces: those that were accepted, by the route and never by the address."""

from collections.abc import Iterator

import httpx
import pytest

from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.support.http_front import BUYER, KEYS, Front

TRACEPARENT = f"00-{'7' * 32}-{'7' * 16}-01"
Noted = list[tuple[str, int, str]]


@pytest.fixture
def noting(front: Front) -> Iterator[tuple[httpx.Client, Noted]]:
    noted: Noted = []
    app = application(
        front.runtime,
        note_body=lambda route, status, _started, headers: noted.append(
            (route, status, headers.get("traceparent", ""))
        ),
    )
    with (
        Server(app, port=0) as server,
        httpx.Client(base_url=server.url, headers={"traceparent": TRACEPARENT}, trust_env=False) as client,
    ):
        yield client, noted


def test_accepted_changes_and_deliveries_are_noted_and_refusals_and_questions_are_not(
    noting: tuple[httpx.Client, Noted],
) -> None:
    client, noted = noting
    bearer = {"Authorization": f"Bearer {KEYS['portal'][0]}"}
    assert client.post("/v1/changes", json=BUYER).status_code == 401
    assert client.post("/v1/changes", json={**BUYER, "parentid": 0}, headers=bearer).status_code == 422
    assert client.get("/v1/jobs?account=acme", headers=bearer).status_code == 200
    assert client.post("/webhooks/desk/canary-in-the-path", json={}).status_code == 401
    assert noted == []

    assert client.post("/v1/changes", json=BUYER, headers=bearer).status_code == 202
    delivery = {"action": "create", "type": "estate:address:buyer", "parent": 501, "children": [9001]}
    desk = {"Authorization": "Bearer canary-desk-secret"}
    for path in ("/webhooks/desk", "/webhooks/desk/canary-in-the-path"):
        assert client.post(path, json=delivery, headers=desk).status_code == 202
    assert noted == [
        ("/v1/changes", 202, TRACEPARENT),
        ("/webhooks/{source}", 202, TRACEPARENT),
        ("/webhooks/{source}/{rest:path}", 202, TRACEPARENT),
    ]
