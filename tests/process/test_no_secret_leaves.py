"""No secret leaves the processes: a whole run, every logger at its loudest and all kinds of failures, and nothing it left holds one."""

import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from standardwebhooks.webhooks import Webhook

from ops.dev.stack import KEY, QUICK, Shape, Stack, running

LOUD = "import logging\nlogging.Logger.isEnabledFor = lambda self, level: True\n"  # every Python that starts in there reads it
END = "the run is over"
ENQUIRY = '{"type": "enquiry.created", "timestamp": "2026-11-21T02:00:00Z", "data": {"estate_id": 7, "person_ids": [8]}}'


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
    """Every command that the server of store and broker carries out, those of scripts among them."""
    heard: list[str] = []
    with redis.Redis.from_url(url) as client, client.monitor() as monitor:

        def listen() -> None:
            while not heard or END not in heard[-1]:
                heard.append(str(monitor.next_command()["command"]))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            client.echo(END)
            thread.join()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def asked(stack: Stack, secrets: list[str]) -> str:
    """What the interface answers to right, wrong and senseless clients, some of which send what they should not."""
    moment, webhook = datetime.now(UTC), Webhook(stack.webhook_secret)
    signature, stamp = webhook.sign("m1", moment, ENQUIRY), str(int(moment.timestamp()))
    proof = {"webhook-id": "m1", "webhook-timestamp": stamp, "webhook-signature": signature}
    with httpx.Client(base_url=stack.url, timeout=60.0, trust_env=False) as http:
        proofs: list[dict[str, str]] = [proof, {**proof, "webhook-signature": secrets[-1]}, {}]
        said = [http.post("/webhooks/immo", content=ENQUIRY, headers=headers) for headers in proofs]
        for key in (KEY, *secrets):
            http.headers["Authorization"] = f"Bearer {key}"
            bodies = [
                change(),
                change(relationtype=key),
                change(key),
                [key],
                {key: key},
                *map(change, ("sued", "west")),
            ]
            said += [http.post("/v1/changes", json=body) for body in bodies]
            said += [
                http.get("/v1/jobs", params={"account": key, key: key}),
                http.get(f"/v1/jobs/{key}"),
                http.get(f"/{key}"),
            ]
    assert {answer.status_code for answer in said} == {202, 401, 403, 404, 422}
    return "\n".join(answer.text for answer in said)


def worked(stack: Stack) -> None:
    """The worker meets every kind of fault, and credentials that are rejected."""
    store = stack.runtime(wakes=False).store
    stack.simulate("seed", {"token": stack.credentials["west"].token, "secret": "another since today"})
    stack.simulate(
        "faults",
        {"script": ["garbled", "server_error", "throttle", "lost_after", "gateway_before", "missing_result"]},
    )
    messages = [change("nord", childid=7), change("west"), {"account": "nord"}]
    stack.celery().send_task("relations.accept", [messages], queue="relations.intake")
    until(lambda: store.get_pause("west") and stack.simulate("stats")["requests"] > 6)


def test_nothing_that_a_run_leaves_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud").mkdir()
    (tmp_path / "loud" / "sitecustomize.py").write_text(LOUD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "loud"))
    with running(tmp_path / "run", Shape(defaults={**QUICK, "window": 0.1})) as stack:
        secrets = [text for each in stack.credentials.values() for text in (each.token, each.secret)] + [
            stack.webhook_secret
        ]
        with monitored(stack.redis_url) as heard:
            answers = asked(stack, secrets)
            worked(stack)
        files = {path.name: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        token = stack.credentials["nord"].token
        assert any(entry["token"] == token for entry in stack.simulate("log", limit="100"))  # it was used
    left = {**files, "answers": answers.encode(), "commands": "\n".join(heard).encode()}
    assert {"worker.log", "beat.log", "api.log", "relations.toml"} <= left.keys()
    assert b'"level": "debug"' in left["worker.log"]
    assert b"relations.flush" in left["commands"]
    assert b"relations:{nord}:inbox" in left["commands"]
    for secret in [*map(str.encode, (*secrets, KEY)), b64decode(stack.webhook_secret.removeprefix("whsec_"))]:
        assert not [name for name, content in left.items() if secret in content]
