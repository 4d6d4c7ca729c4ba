"""The HTTP interface on a real socket, over a real Redis.

It has two accounts, keys with different rights, and one webhook source per scheme.
"""

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.dashboard.routes import page_routes
from ops.simulator import Records, Simulator, serve
from ops.web.routes import operator_routes
from producers.portals.http import deps
from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.support.described import find_undescribed
from worker.config import Settings, load_settings
from worker.errors import Unavailable
from worker.ports import Wake
from worker.ports.records import JobRecord
from worker.wiring import Runtime

MISSING = 404  # an address that the CRM does not have
YESTERDAY = (
    f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}T02:00:00Z"  # changes of a fixed day grow too old
)
SECRETS = {
    "ACME_TOKEN": "canary-token-of-acme-00000000000",
    "ACME_SECRET": "canary-secret-of-acme-" + "0" * 42,
    "BETA_TOKEN": "canary-token-of-beta-00000000000",
    "BETA_SECRET": "canary-secret-of-beta-" + "0" * 42,
    "IMMO_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "OLD_SECRET": "whsec_Y2FuYXJ5LW9sZC1pbW1vLXNlY3JldA==",
    "FORMS_SECRET": "canary-forms-secret",
    "OFFICE_SECRET": "provider-secret",
    "DESK_SECRET": "canary-desk-secret",
}
KEYS = {
    "portal": ("canary-key-portal", ("acme", "beta"), ("send", "read")),
    "acme": ("canary-key-acme", ("acme",), ("send", "read")),
    "viewer": ("canary-key-viewer", ("acme",), ("read",)),
    "lane": ("canary-key-lane", ("acme", "unrouted"), ("read", "replay")),
    "all": ("canary-key-all", ("acme", "beta", "unrouted"), ("read", "replay")),
    "admin": ("canary-key-admin", ("acme",), ("send", "read", "replay", "admin")),
}
BUYER = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": 9001,
}
RULE = """
[[sources.{0}.rules]]
action = "action"
relationtype = "type"
parentid = "parent"
childid = "children"
occurred_at = "at"
"""
TOML = """
[defaults]
window = 0
rate = 1000
burst = 1000

[accounts.acme]
token = "env:ACME_TOKEN"
secret = "env:ACME_SECRET"
api_url = "API_URL"

[accounts.beta]
token = "env:BETA_TOKEN"
secret = "env:BETA_SECRET"
api_url = "API_URL"
max_backlog = 3

[sources.immo]
account = "acme"
scheme = "standard-webhooks"
secret = ["env:IMMO_SECRET", "env:OLD_SECRET"]

[[sources.immo.rules]]
when = "type == 'enquiry.created'"
action = "'create'"
relationtype = "'estate:address:interested'"
parentid = "data.estate_id"
childid = "data.person_ids"
occurred_at = "timestamp"

[[sources.immo.rules]]
when = "data.gone"
action = "'delete'"
relationtype = "'estate:address:interested'"
parentid = "data.estate_id"
childid = "data.gone"

[sources.forms]
account_from = "tenant"
accounts = { "00001-001" = "acme", "2" = "beta" }
scheme = "hmac"
secret = "env:FORMS_SECRET"
header = "X-Signature"
prefix = "sha256="
timestamp_header = "X-Timestamp"

[sources.desk]
account = "acme"
scheme = "bearer"
secret = "env:DESK_SECRET"

[sources.office]
account = "acme"
scheme = "onoffice"
secret = "env:OFFICE_SECRET"

[[sources.office.rules]]
action = "'create'"
relationtype = "'estate:address:owner'"
parentid = "estateId"
childid = "userId"
"""


def sha256(key: str) -> str:
    """Return the hash of a key as the settings have it."""
    return hashlib.sha256(key.encode()).hexdigest()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return the problem document of a response with this status."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def read_all(connection: socket.socket) -> bytes:
    """Return everything the server sends until it ends; a reset is an error."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def request_head(*lines: str) -> bytes:
    """Return the head of a POST of changes with these further lines."""
    start = [
        "POST /v1/changes HTTP/1.1",
        "Host: here",
        f"Authorization: Bearer {KEYS['portal'][0]}",
        "Content-Type: application/json",
    ]
    return "\r\n".join([*start, *lines, "", ""]).encode()


class Front:
    """The running interface, clients for it, and what it did: `woken` accounts, sent replays and events."""

    def __init__(self, runtime: Runtime, url: str) -> None:
        self.runtime, self.store, self.url = runtime, runtime.store, url
        self.woken: list[str] = []
        self.sent_replays: list[str] = []
        self.events: list[tuple[str, dict[str, object]]] = []
        self._clients: list[httpx.Client] = []

    def client(self, key: str | None = "portal") -> httpx.Client:
        """Return a client that carries the key of this name."""
        headers = {"Authorization": f"Bearer {KEYS[key][0]}"} if key else {}
        self._clients.append(
            httpx.Client(
                base_url=self.url,
                headers=headers,
                transport=httpx.HTTPTransport(),
                timeout=20.0,
                event_hooks={"response": [self._require_described]},
            )
        )
        return self._clients[-1]

    def job(self, id_: str) -> JobRecord:
        """Return a job that there is."""
        job = self.store.get_job(id_)
        assert job is not None
        return job

    def drain(self, account: str = "acme") -> None:
        """Flush as long as more is due at once."""
        while self.runtime.flush(account).next_in == 0.0:
            pass

    def close(self) -> None:
        """Close every client."""
        while self._clients:
            self._clients.pop().close()

    @cached_property
    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = self.client("").get("/openapi.json").json()
        return document

    def _require_described(self, response: httpx.Response) -> None:
        """Let the test fail of which an answer has fields that the OpenAPI document does not have."""
        request = response.request
        is_told = request.method != "HEAD" and response.headers.get("Content-Type") == "application/json"
        if is_told and request.url.path.startswith("/v1/"):
            answer = json.loads(response.read())
            found = find_undescribed(
                self._document, request.method, request.url.path, response.status_code, answer
            )
            assert not found, f"{request.method} {request.url.path} has {found}, which is not described"


def settings(folder: Path, redis_url: str, api_url: str) -> Settings:
    """Write and return the settings that every test of the interface runs with."""
    keys = [
        f'[keys.{name}]\nsha256 = "{sha256(key)}"\naccounts = {list(accounts)}\ncan = {list(can)}\n'
        for name, (key, accounts, can) in KEYS.items()
    ]
    text = TOML.replace("API_URL", api_url) + RULE.format("forms") + RULE.format("desk") + "".join(keys)
    (folder / "relations.toml").write_text(text, "utf-8")
    return load_settings({**os.environ, "RELATIONS_REDIS_URL": redis_url}, folder)


def wake(front: Callable[[], Front]) -> Wake:
    """Return a wake-up that notes the account; the broker of `beta` cannot be reached."""

    def note(account: str, _: float) -> None:
        front().woken.append(account)
        if account == "beta":
            raise Unavailable("the broker cannot be reached")

    return note


def set_secrets(patch: pytest.MonkeyPatch) -> None:
    """Put the secrets that the settings name into the environment."""
    for name, value in SECRETS.items():
        patch.setenv(name, value)


@contextmanager
def running(folder: Path, redis_url: str) -> Iterator[Front]:
    """Serve the interface in front of a simulated CRM that lacks one address, with its secrets."""
    with pytest.MonkeyPatch.context() as patch:
        set_secrets(patch)
        patch.setenv("RELATIONS_REDIS_URL", redis_url)  # also where the settings are read again
        patch.setattr(deps, "HEALTH_REST", 0.0)  # no test is told how the one before it was
        yield from _serve(folder, redis_url)


def _serve(folder: Path, redis_url: str) -> Iterator[Front]:
    made: list[Front] = []
    records = Records(missing=frozenset({("address", MISSING)}))
    simulator = Simulator(
        {SECRETS[f"{name}_TOKEN"]: SECRETS[f"{name}_SECRET"] for name in ("ACME", "BETA")}, records=records
    )
    with serve(simulator) as crm:
        runtime = Runtime(
            settings(folder, redis_url, crm.url),
            wake=wake(lambda: made[0]),
            emit=lambda event, /, **fields: made[0].events.append((event, fields)),
        )

        def note_replay(replay: str) -> None:
            made[0].sent_replays.append(replay)

        routes = operator_routes(runtime, send_replay=note_replay)
        pages = page_routes(runtime, send_replay=note_replay)
        with Server(application(runtime, more_routes=routes, pages=pages), port=0) as server:
            made.append(Front(runtime, server.url))
            yield made[0]
            made[0].close()
        runtime.client.close()


@contextmanager
def bounded_server(front: Front, **bounds: float) -> Iterator[tuple[Server, socket.socket]]:
    """Connect to a server with these bounds."""
    with (
        Server(application(front.runtime), port=0, bounds=bounds) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection,
    ):
        yield server, connection
