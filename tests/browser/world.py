"""A running system with something to see: accounts with changes that went well, failed, and wait."""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from playwright.sync_api import Browser, Playwright
from standardwebhooks import Webhook

from ops.dev.stack import Shape, Stack, running
from ops.dev.stack_settings import hash_of
from tests.support.waiting import wait_until
from worker.ports.metrics import HISTORY_BUCKETS, HISTORY_SECONDS, HistoryPoint
from worker.wiring import Runtime

NOBODY = 404  # an address that the simulated CRMs do not have
READ_ONLY = "dev-read-only-key-of-the-pages"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), "")
FLAGS = (  # a browser that stays where it is, in a container without a screen
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>{{7*7}}&amp;"


def launch(playwright: Playwright) -> Browser:
    """Return the system's Chromium."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))


@contextmanager
def whole_system(folder: Path) -> Iterator[Stack]:
    """Run every part, with a second key that only reads."""
    shape = Shape(
        accounts=("nord", "sued", "west"),
        defaults={"window": 0.1, "rate": 200.0, "burst": 200, "backoff": [0.1, 1.0], "max_attempts": 3},
        missing=(("address", NOBODY), ("address", NOBODY + 1)),
    )
    with running(folder, shape) as stack:
        add_reader(stack)
        yield stack


def add_reader(stack: Stack) -> None:
    """Add a key that only reads; the settings are read again within two seconds."""
    file = stack.directory / "relations.toml"
    table = f'\n[keys.reader]\nsha256 = "{hash_of(READ_ONLY)}"\naccounts = ["nord"]\ncan = ["read"]\n'
    file.write_text(file.read_text("utf-8") + table, "utf-8")


def send(stack: Stack, *changes: dict[str, Any]) -> list[str]:
    """Send changes and return the ids of their jobs."""
    answer = httpx.post(
        f"{stack.url}/v1/changes", json=list(changes), headers={"Authorization": f"Bearer {stack.key}"}
    )
    assert answer.status_code == 202, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


def cancel(stack: Stack, job: str) -> None:
    """End a change that waits, as another operator does."""
    headers = {"Authorization": f"Bearer {stack.key}"}
    httpx.post(
        f"{stack.url}/v1/jobs/cancel", json={"account": job.partition("-")[0], "jobs": [job]}, headers=headers
    ).raise_for_status()


def change(parent: int, *children: int, account: str = "nord", **more: Any) -> dict[str, Any]:
    """Return a change that links buyers."""
    return {
        "account": account,
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": parent,
        "childid": list(children),
        **more,
    }


def wait_for_end(stack: Stack, jobs: list[str]) -> None:
    """Wait until these jobs have ended."""
    queries = stack.runtime(wakes=False).queries
    ended = {"succeeded", "superseded", "failed"}
    wait_until(lambda: set(queries.get_states(jobs).values()) <= ended, "they do not end")


def fill_with_everything(stack: Stack) -> dict[str, str]:
    """Let the system have something on every page; return the ids of what the pages are opened for."""
    jobs = send(
        stack,
        *(
            change(501 + at % 7, 9001 + at, account=("nord", "sued")[at % 2], source="portal")
            for at in range(80)
        ),
        *(
            change(501, 9001, action=action, source="crm", batch="import-7")
            for action in ("delete", "create", "delete")
        ),
        *(
            change(600 + at, 9100 + at, NOBODY, account="nord", event_id=f"evt-{at}", source="portal")
            for at in range(8)
        ),
        *(
            change(700 + at, NOBODY + 1, account="sued", source="website-of-the-agency-with-a-long-name")
            for at in range(3)
        ),
        change(801, 9301, source="hostile", event_id=HOSTILE[:90], batch=HOSTILE[:60]),
    )
    wait_for_end(stack, jobs)
    runtime = stack.runtime(wakes=False)
    httpx.post(
        f"{stack.url}/v1/accounts/west/pause",
        json={"why": "moving to the new API user"},
        headers={"Authorization": f"Bearer {stack.key}"},
    )
    send(stack, *(change(900 + at, 9400 + at, account="west") for at in range(5)))
    deliver(
        stack,
        {
            "type": "enquiry.created",
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {"estate_id": 501, "person_ids": [9001]},
        },
    )
    deliver(stack, {"type": "enquiry.closed"})
    httpx.post(f"{stack.url}/webhooks/immo", json={"type": "enquiry.created"})  # without proof
    write_a_day(runtime, ("nord", "sued"))
    failed = [id_ for id_, state in runtime.queries.get_states(jobs).items() if state == "failed"]
    [request] = runtime.queries.list_requests("nord", limit=1).entries
    return {"failed": failed[0], "succeeded": jobs[0], "request": request.id, "hostile": jobs[-1]}


def deliver(stack: Stack, message: dict[str, Any]) -> None:
    """Send a message to the webhook of the stack, signed as its sender does."""
    body, now = json.dumps(message), datetime.now(tz=UTC)
    message_id = f"msg-{message['type']}"
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(stack.webhook_secret).sign(message_id, now, body),
    }
    httpx.post(f"{stack.url}/webhooks/immo", content=body, headers=headers).raise_for_status()


def write_a_day(runtime: Runtime, accounts: tuple[str, ...]) -> None:
    """Let the accounts have had a day of work, which the history shows and nothing else."""
    now, bucket = runtime.metrics.now(), HISTORY_SECONDS * 1_000_000
    stats = runtime.metrics.account_stats(accounts)
    for account in accounts:
        last = HistoryPoint.of(now, stats[account])
        rows, sums = dict[str, bytes](), list(last[1:8])
        for back in range(1, HISTORY_BUCKETS - 1):
            at = now // bucket - back
            busy = max(0.0, math.sin((at % HISTORY_BUCKETS) / HISTORY_BUCKETS * 2 * math.pi - 1.2)) ** 1.5
            made = round(40 * busy) + at % 3
            parts = (
                made,
                made * 6 // 18,
                made // 18 + (made > 0),
                made * 4 // 5,
                made // 8,
                made // 30,
                made // 25,
            )
            sums = [total - part for total, part in zip(sums, parts, strict=True)]
            rows[str(at % HISTORY_BUCKETS)] = msgspec.json.encode((at * bucket, *sums, made // 4))
        runtime.client.hset(f"{runtime.settings.prefix}:{{{account}}}:history", mapping=rows)
