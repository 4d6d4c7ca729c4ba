"""The peer: what one writes first. One Celery task per change, one signed HTTP call per task, a client per
process.

A bare Celery application with the same broker, pool and acknowledgement as ours, but no store, no folding, no
planning and no recovery: `celery -A ops.bench.peer worker`, settings from the environment.
"""

import os
import time
from typing import Any

import httpx
from celery import Celery
from celery.signals import worker_process_init

from worker.onoffice import wire
from worker.planner.actions import Action

QUEUE = "peer"

app = Celery("peer", broker=os.environ.get("PEER_BROKER", "redis://"))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_default_queue=QUEUE,
    task_serializer="json",
    worker_prefetch_multiplier=int(os.environ.get("PEER_PREFETCH", "64")),
    worker_send_task_events=False,
)
_http: httpx.Client | None = None


@worker_process_init.connect
def _client(**_: object) -> None:
    """No client may be shared over a fork."""
    global _http
    _http = httpx.Client(timeout=30.0, trust_env=False)


@app.task(name="peer.send")
def send(action: str, name: str, parent: int, child: int) -> None:
    """One signed call for one change."""
    assert _http is not None  # noqa: S101 — celery calls `_client` first
    token, secret, url = os.environ["PEER_TOKEN"], os.environ["PEER_SECRET"], os.environ["PEER_URL"]
    actions = (Action("delete" if action == "delete" else "create", name, (parent,), (child,)),)
    body = wire.body(
        actions,
        token=token,
        secret=secret,
        timestamp=int(time.time()),
        identifiers=("1",),
        modify_action="modify",
    )
    answer: Any = (
        _http.post(url, content=body, headers={"Content-Type": "application/json"}).raise_for_status().json()
    )
    if answer["response"]["results"][0]["status"]["errorcode"]:
        raise RuntimeError("the API refused the change")
