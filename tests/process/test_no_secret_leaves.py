"""No secret leaves the processes: after a whole run with all kinds of failures, nothing it left holds one."""

import json
import os
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from standardwebhooks.webhooks import Webhook

from ops.dev.stack import QUICK, Shape, Stack, running
from tests.support.waiting import wait_until

# As `sitecustomize.py`, which every Python process imports at its start.
LOUD = "import logging\nlogging.Logger.isEnabledFor = lambda self, level: True\n"
END = "the run is over"
ENQUIRY = json.dumps(
    {
        "type": "enquiry.created",
        "timestamp": datetime.now(UTC).isoformat(),
        "data": {"estate_id": 7, "person_ids": [8]},
    }
)


def change(account: str = "nord", **other: Any) -> dict[str, Any]:
    return {
        "account": account,
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": 501,
        "childid": 9001,
        **other,
    }


@contextmanager
def monitored(url: str) -> Iterator[list[str]]:
    """Collect every command that the server of store and broker runs, those of scripts among them."""
    commands: list[str] = []
    with redis.Redis.from_url(url) as client, client.monitor() as monitor:

        def read_commands() -> None:
            while not commands or END not in commands[-1]:
                commands.append(str(monitor.next_command()["command"]))

        thread = threading.Thread(target=read_commands)
        thread.start()
        try:
            yield commands
        finally:
            client.echo(END)
            thread.join()


def send_requests(stack: Stack, secrets: list[str]) -> str:
    """Return the texts that right, wrong and confused clients get, of which some send secrets."""
    now, webhook = datetime.now(UTC), Webhook(stack.webhook_secret)
    signature, stamp = webhook.sign("m1", now, ENQUIRY), str(int(now.timestamp()))
    proof = {"webhook-id": "m1", "webhook-timestamp": stamp, "webhook-signature": signature}
    with httpx.Client(base_url=stack.url, timeout=60.0, trust_env=False) as http:
        proofs: list[dict[str, str]] = [proof, {**proof, "webhook-signature": secrets[-1]}, {}]
        answers = [http.post("/webhooks/immo", content=ENQUIRY, headers=headers) for headers in proofs]
        for key in (stack.key, *secrets):
            http.headers["Authorization"] = f"Bearer {key}"
            bodies = [
                change(),
                change(relationtype=key),
                change(key),
                [key],
                {key: key},
                *map(change, ("sued", "west")),
            ]
            answers += [http.post("/v1/changes", json=body) for body in bodies]
            answers += [
                http.get("/v1/jobs", params={"account": key, key: key}),
                http.get(f"/v1/jobs/{key}"),
                http.get(f"/{key}"),
            ]
    assert {answer.status_code for answer in answers} == {202, 401, 403, 404, 422}
    return "\n".join(answer.text for answer in answers)


def provoke_faults(stack: Stack) -> None:
    """Let the worker meet every kind of fault, and credentials that are rejected."""
    store = stack.runtime(wakes=False).store
    stack.simulate("seed", {"token": stack.credentials["west"].token, "secret": "another since today"})
    stack.simulate(
        "faults",
        {"script": ["garbled", "server_error", "throttle", "lost_after", "gateway_before", "missing_result"]},
    )
    messages = [change("nord", childid=7), change("west"), {"account": "nord"}]
    stack.celery().send_task("relations.accept", [messages], queue="relations.intake")
    wait_until(
        lambda: store.get_pause("west") and stack.simulate("stats")["requests"] > 6,
        "the faults do not come",
    )


def test_nothing_that_a_run_leaves_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud").mkdir()
    (tmp_path / "loud" / "sitecustomize.py").write_text(LOUD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "loud"), prepend=os.pathsep)
    with running(tmp_path / "run", Shape(defaults={**QUICK, "window": 0.1})) as stack:
        secrets = [text for each in stack.credentials.values() for text in (each.token, each.secret)] + [
            stack.webhook_secret
        ]
        with monitored(stack.redis_url) as commands:
            texts = send_requests(stack, secrets)
            provoke_faults(stack)
        files = {path.name: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        log = stack.simulate("log", limit="100")
        assert any(entry["account"] == "nord" for entry in log)  # its token was used
        files["simulated"] = json.dumps([log, stack.simulate("stats")]).encode()
    traces = {**files, "answers": texts.encode(), "commands": "\n".join(commands).encode()}
    assert {"worker.log", "beat.log", "api.log", "relations.toml"} <= traces.keys()
    assert b'"level": "debug"' in traces["worker.log"]
    assert b"relations.flush" in traces["commands"]
    assert b"relations:{nord}:inbox" in traces["commands"]
    for secret in [
        *map(str.encode, (*secrets, stack.key)),
        b64decode(stack.webhook_secret.removeprefix("whsec_")),
    ]:
        assert not [name for name, content in traces.items() if secret in content]
