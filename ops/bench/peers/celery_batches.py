"""celery-batches: many changes in one call of the task, the latest word per relation, one call per parent."""

import os
from typing import Any

from celery import Celery
from celery_batches import Batches

from ops.bench.peers import call

EVERY = int(os.environ.get("PEER_BATCH", "500"))
SECONDS = float(os.environ.get("PEER_WINDOW", "1"))

app = Celery("peer", broker=os.environ["PEER_REDIS"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=2 * EVERY,
    broker_connection_retry_on_startup=True,
    broker_transport_options={  # what a killed worker held is given back after an hour, the default
        "visibility_timeout": int(os.environ.get("PEER_VISIBILITY", "3600")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 5,
    },
)


@app.task(base=Batches, flush_every=EVERY, flush_interval=SECONDS)
def apply(requests: list[Any]) -> None:
    """One call per parent and verb for all changes of a batch; modifies go one by one, in order, last."""
    latest: dict[tuple[str, int, int], call.ChangeDict] = {}
    modifies: list[call.ChangeDict] = []
    for request in requests:
        change: call.ChangeDict = request.args[0]
        if change["action"] == "modify":
            modifies.append(change)
            continue
        for parent in change["parents"]:
            latest |= {(change["type"], parent, child): change for child in change["children"]}
    groups: dict[tuple[str, str, int], list[int]] = {}
    for (name, parent, child), change in latest.items():
        groups.setdefault((change["action"], name, parent), []).append(child)
    for (action, name, parent), children in groups.items():
        step = 1 if action == "delete" else 500  # the API deletes one pair per action
        for at in range(0, len(children), step):
            call.apply(_change(action, name, parent, children[at : at + step]))
    for change in modifies:
        call.apply(change)


@app.task(base=Batches, flush_every=EVERY, flush_interval=SECONDS)
def nothing(requests: list[Any]) -> None:
    """Do nothing."""


def enqueue(job: str, changes: list[call.ChangeDict]) -> None:
    """Send one message per change."""
    task = apply if job == "apply" else nothing
    for change in changes:
        task.delay(change)


def _change(action: str, name: str, parent: int, children: list[int]) -> call.ChangeDict:
    return {"action": action, "type": name, "parents": [parent], "children": children, "info": {}}
