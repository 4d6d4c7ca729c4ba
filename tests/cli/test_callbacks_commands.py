"""`relations callbacks`, straight on Redis and over HTTP: a message that was told, sent again, and tried."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from ops.doctor.accounts import check_callback
from ops.web.routes import operator_routes
from producers.portals.http.application import application
from producers.portals.http.server import Server
from tests.support.callback_receiver import OLD, Receiver, receive
from tests.support.cli_runner import MISSING, Cli, make_cli
from tests.support.http_front import sha256
from tests.support.waiting import wait_until
from worker.config import load_settings
from worker.contract import from_message
from worker.wiring import Runtime

SETTINGS = f"""
[callbacks.portal]
url = "URL"
secret = "{OLD}"
accounts = ["acme"]
batches = ["import-*"]
quiet = 1
networks = ["127.0.0.0/8"]
link = "https://relations.example.test/"
[callbacks.forbidden]
url = "URL"
secret = "{OLD}"
accounts = ["acme"]
batches = ["none"]
[keys.operator]
sha256 = "{sha256("canary-operator")}"
accounts = ["acme"]
can = ["send", "read", "replay", "admin"]
[keys.reader]
sha256 = "{sha256("canary-reader")}"
accounts = ["acme"]
can = ["read"]
"""


class Delivered(NamedTuple):
    """A batch with a failure that a receiver was told of; the command line both ways; and the interface."""

    runtime: Runtime
    receiver: Receiver
    ways: tuple[Cli, Cli]
    url: str


@pytest.fixture
def delivered(two_accounts: dict[str, str], tmp_path: Path) -> Iterator[Delivered]:
    with receive() as receiver:
        with Path(two_accounts["RELATIONS_CONFIG"]).open("a") as file:
            file.write(SETTINGS.replace("URL", receiver.url))
        settings = load_settings(two_accounts, tmp_path)
        runtime = Runtime(settings, wake=lambda *_: None, emit=lambda *_, **__: None)
        message = {"account": "acme", "action": "create", "relationtype": "estate:address:buyer"}
        rows = [{**message, "parentid": 1, "childid": child, "batch": "import-7"} for child in (9, MISSING)]
        runtime.intake().accept([from_message(row).change for row in rows])
        wait_until(lambda: runtime.flush("acme").next_in is None, "the batch does not end")
        wait_until(
            lambda: bool(runtime.callbacks.look()) and bool(runtime.callbacks.send_due("portal")),
            "nobody is told",
        )
        routes = operator_routes(runtime, send_replay=lambda _: None)
        with Server(application(runtime, more_routes=routes), port=0) as server:
            far = {"RELATIONS_CONFIG": "/nowhere.toml", "RELATIONS_REDIS_URL": "redis://127.0.0.1:1/0"}
            key = {"RELATIONS_KEY": "canary-operator", "RELATIONS_URL": server.url}
            ways = make_cli({**two_accounts, "RELATIONS_KEY": ""}), make_cli({**two_accounts, **far, **key})
            yield Delivered(runtime, receiver, ways, server.url)
        runtime.client.close()


def test_a_message_is_listed_shown_sent_again_and_a_callback_tried(delivered: Delivered) -> None:
    (message,) = delivered.receiver.received
    document = message.verify(OLD)
    assert document["data"]["failed_jobs"] == (
        "https://relations.example.test/v1/jobs?account=acme&batch=import-7&state=failed"
    )
    for cli in delivered.ways:
        (listed,) = json.loads(cli("callbacks", "list", "--account", "acme", "--json").stdout)["messages"]
        assert (listed["id"], listed["state"], listed["failed"]) == (message.id, "delivered", 1)
        assert listed == json.loads(cli("callbacks", "show", message.id, "--json").stdout)
        assert "delivered" in cli("callbacks", "list", "--account", "acme").stdout
        shown = cli("callbacks", "show", message.id).stdout
        assert "batch import-7: 2 accepted, 1 succeeded, 0 superseded, 1 failed" in shown
        again = json.loads(cli("callbacks", "resend", message.id, "--json").stdout)
        assert (again["id"], again["state"]) == (message.id, "waiting")
        assert delivered.runtime.callbacks.send_due("portal") == 1
        cli("callbacks", "show", "acme-nothing", code=3)
        cli("callbacks", "resend", "acme-nothing", code=3)
        assert "portal took it: HTTP 204" in cli("callbacks", "test", "portal", "--account", "acme").stdout
        refused = cli("callbacks", "test", "forbidden", "--account", "acme", code=1).stdout
        assert "private address" in refused
        cli("callbacks", "test", "nobody", "--account", "acme", code=3)
    ids = [received.id for received in delivered.receiver.received]
    assert ids.count(message.id) == 3
    assert len(ids) == 5
    acts = [entry.act for entry in delivered.runtime.job_admin.audit_log("acme").entries]
    assert acts == ["callback resent"] * 2


def test_a_page_of_messages_goes_on_where_the_last_one_ended(delivered: Delivered) -> None:
    first = ("callbacks", "list", "--account", "acme", "--limit", "1", "--json")
    for cli in delivered.ways:
        page = json.loads(cli(*first).stdout)
        assert len(page["messages"]) == 1
        for cursor in (page["next"], page["next"].partition(":")[0]):  # of this release, and of the last
            assert json.loads(cli(*first, "--cursor", cursor).stdout)["messages"] == []


def test_a_key_needs_its_rights_and_its_account(delivered: Delivered) -> None:
    (message,) = delivered.receiver.received

    def ask(method: str, path: str, key: str, **form: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.request(method, delivered.url + path, headers=headers, json=form or None).status_code

    assert ask("GET", "/v1/callbacks?account=acme", "canary-reader") == 200
    assert ask("GET", "/v1/callbacks?account=berg", "canary-reader") == 403
    assert ask("POST", f"/v1/callbacks/{message.id}/resend", "canary-reader") == 403
    test = {"account": "acme", "callback": "portal"}
    assert ask("POST", "/v1/callbacks/test", "canary-reader", **test) == 403
    assert ask("POST", "/v1/callbacks/test", "canary-operator", **test) == 200
    assert ask("POST", "/v1/callbacks/test", "canary-operator", account="berg", callback="portal") == 403


def test_the_doctor_says_where_callbacks_are_told_and_what_is_in_vain(delivered: Delivered) -> None:
    def findings(name: str) -> list[tuple[str, str]]:
        found = check_callback(delivered.runtime, delivered.runtime.settings.callbacks[name])
        return [(finding.level, finding.message) for finding in found]

    ((level, text),) = findings("portal")
    assert (level, text) == ("ok", "127.0.0.1 (127.0.0.1), 0 messages to tell")
    ((level, text),) = findings("forbidden")
    assert level == "fail"
    assert "is a private address" in text
    delivered.receiver.answers = [(500, {})]
    delivered.runtime.callbacks.resend(delivered.receiver.received[0].id, by="ada")
    assert delivered.runtime.callbacks.send_due("portal") == 0
    ((level, text),) = findings("portal")
    assert (level, text[-9:]) == ("warn", " HTTP 500")
