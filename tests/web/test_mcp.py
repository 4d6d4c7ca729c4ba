"""The tools for language models: they read what operators read, and prepare a replay that a person runs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ops.cli.errors import Exit
from ops.operations.http import HttpOperations
from ops.operations.http_calls import HttpCalls
from ops.operations.local import LocalOperations
from producers.services import build_services
from tests.support.http_front import BUYER, KEYS, MISSING, SECRETS, Front
from worker.errors import NotFound

if TYPE_CHECKING:  # the tests that need it import it: every process collects them, and few run them
    from mcp import Client

pytestmark = pytest.mark.skipif(not find_spec("mcp"), reason="the extra mcp is not installed")

Call = Callable[..., Any]
GAMMA = '[accounts.gamma]\ntoken = "env:BETA_TOKEN"\nsecret = "env:BETA_SECRET"\n'
ONE = "accounts = ['acme']\ncan = ['read']"


def use(front: Front, work: Callable[["Client"], Any]) -> Any:
    """Do something with a client of the tools."""
    from mcp import Client

    from ops.mcp import make_server

    sent = list[str]()
    operations = LocalOperations(
        runtime=front.runtime, services=build_services(front.runtime), send_replay=sent.append, zone=UTC
    )

    async def run() -> Any:
        async with Client(make_server(operations)) as client:
            return await work(client)

    answer = anyio.run(run)
    assert sent == []
    return answer


def call(front: Front, name: str, **arguments: Any) -> Any:
    """Return the document that a tool answers."""

    async def work(client: "Client") -> Any:
        return await client.call_tool(name, arguments)

    result = use(front, work)
    text = result.content[0].text
    assert not [secret for secret in SECRETS.values() if secret in text]
    return (json.loads(text), result.is_error) if not result.is_error else (text, True)


def fail(front: Front) -> str:
    """Let a job fail; return its id."""
    job = front.client("portal").post("/v1/changes", json={**BUYER, "childid": MISSING}).json()["jobs"][0]
    for _ in range(6):
        front.runtime.flush("acme")
    return str(job["id"])


def test_every_tool_says_that_it_reads_but_the_one_that_prepares(front: Front) -> None:
    async def work(client: "Client") -> Any:
        return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in use(front, work)}
    writing = {name for name, tool in tools.items() if not tool.annotations.read_only_hint}
    assert writing == {"prepare_replay"}
    assert not tools["prepare_replay"].annotations.destructive_hint
    assert all(tool.description for tool in tools.values())
    assert len(tools) == 8


def test_over_http_accounts_are_as_they_are_now_however_long_the_server_runs(front: Front) -> None:
    from ops.mcp import Tools

    tools = Tools(HttpOperations(HttpCalls(front.url, KEYS["viewer"][0]), front.url, zone=UTC))
    with pytest.raises(NotFound, match='there is no account "beta"; there are acme'):
        tools.list_failures("beta")
    assert [each["paused"] for each in tools.list_accounts()["accounts"]] == [None]
    file = front.runtime.settings.file
    assert file
    before = file.read_text("utf-8")
    front.client("admin").post("/v1/accounts/acme/pause", json={"why": "a test"}).raise_for_status()
    try:
        file.write_text(before.replace(ONE, "accounts = ['acme', 'beta']\ncan = ['read']"), "utf-8")
        front.runtime.live_settings.refresh()
        assert tools.list_failures("beta")["errors"] == []
        acme, beta = tools.list_accounts()["accounts"]
    finally:
        file.write_text(before, "utf-8")
        front.runtime.live_settings.refresh()
        front.client("admin").post("/v1/accounts/acme/resume").raise_for_status()
    assert acme["paused"]
    assert not beta["paused"]


def test_an_account_that_is_new_in_the_settings_is_known(front: Front) -> None:
    file = front.runtime.settings.file
    assert file
    before = file.read_text("utf-8")
    try:
        file.write_text(before.replace("[accounts.beta]", f"{GAMMA}[accounts.beta]"), "utf-8")
        assert call(front, "list_failures", account="gamma")[0]["errors"] == []
        found, _ = call(front, "list_accounts")
        assert [each["account"] for each in found["accounts"]] == ["acme", "gamma", "beta"]
    finally:
        file.write_text(before, "utf-8")
        front.runtime.live_settings.refresh()


def test_the_server_says_its_name_and_version(front: Front) -> None:
    async def work(client: "Client") -> Any:
        return client.server_info

    info = use(front, work)
    assert (info.name, info.version) == ("onoffice-relations", version("onoffice-relations"))


def test_a_failure_is_found_read_and_explained(front: Front) -> None:
    job = fail(front)
    accounts, _ = call(front, "list_accounts")
    assert [each["account"] for each in accounts["accounts"]] == ["acme", "beta"]
    failures, _ = call(front, "list_failures", account="acme")
    assert (failures["errors"][0]["code"], failures["records"][0]["id"]) == (80, MISSING)
    found, _ = call(front, "find_jobs", account="acme", state="failed", error="80")
    assert [each["id"] for each in found["jobs"]] == [job]
    shown, _ = call(front, "get_job", job_id=job)
    assert shown["job"]["error"]["code"] == 80
    explained, _ = call(
        front,
        "explain_relation",
        account="acme",
        relationtype="estate:address:buyer",
        parentid=501,
        childid=MISSING,
    )
    assert "failed: 80" in explained["jobs"][0]["text"]
    requests, _ = call(front, "list_requests", account="acme")
    assert requests["requests"]


def test_a_replay_is_prepared_and_nothing_is_sent(front: Front) -> None:
    job = fail(front)
    prepared, _ = call(front, "prepare_replay", account="acme", job_ids=[job])
    replay = prepared["replay"]
    assert (replay["state"], replay["eligible"], replay["by"]) == ("previewed", 1, "mcp")
    assert replay["id"] in prepared["to_run"]
    empty, _ = call(front, "prepare_replay", account="acme", error="261")
    assert (empty["replay"]["eligible"], empty["to_run"]) == (0, "nothing: none of them can be replayed")
    shown, _ = call(front, "get_replay", replay_id=replay["id"])
    assert shown["replay"]["state"] == "previewed"
    assert front.runtime.queries.get_states([job]) == {job: "failed"}
    assert front.sent_replays == []


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("find_jobs", {"account": "acme", "state": "broken"}, "expected one of"),
        ("get_job", {"job_id": "acme-1m7y8t1vgssvve752b"}, "there is no job"),
        ("prepare_replay", {"account": "acme"}, "say which jobs"),
        ("list_failures", {}, "account"),
        ("list_failures", {"account": "acmee"}, 'there is no account "acmee"; there are acme, beta'),
        ("list_requests", {"account": "acmee"}, "there is no account"),
        ("find_jobs", {"account": "acmee"}, "there is no account"),
        ("prepare_replay", {"account": "acmee", "error": "80"}, "there is no account"),
        ("find_jobs", {"account": "acme", "cursor": "abc"}, "cursor: expected the `next` of a page"),
        (
            "explain_relation",
            {"account": "acme", "relationtype": "estate:address:buyer", "parentid": -1, "childid": 0},
            "parent: expected the id of a record, a positive whole number; child: expected",
        ),
    ],
)
def test_what_is_wrong_is_said(front: Front, name: str, arguments: dict[str, Any], words: str) -> None:
    text, is_error = call(front, name, **arguments)
    assert is_error
    assert words in text


def test_the_command_serves_them_over_standard_input_and_output(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcp import Client, StdioServerParameters

    job = fail(front)
    environment = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "RELATIONS_URL": front.url,
        "RELATIONS_KEY": "canary-key-admin",
    }
    command = StdioServerParameters(command=sys.executable, args=["-m", "ops.cli", "mcp"], env=environment)

    async def run() -> Any:
        async with Client(command) as client:
            return await client.call_tool("find_jobs", {"account": "acme", "state": "failed"})

    found = json.loads(anyio.run(run).content[0].text)
    assert [each["id"] for each in found["jobs"]] == [job]


def test_ctrl_c_ends_the_command_while_it_waits_for_a_message(front: Front) -> None:
    environment = {**os.environ, "RELATIONS_URL": front.url, "RELATIONS_KEY": "canary-key-admin"}
    hello = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    with subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "mcp"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(hello).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(20) == Exit.INTERRUPTED
        finally:
            process.kill()
