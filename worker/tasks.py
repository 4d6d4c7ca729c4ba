"""The Celery tasks: a name, the runtime, one call each. What they do is elsewhere."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from worker.app import app
from worker.contract import Change, from_message
from worker.errors import Fault, InvalidChange, Unavailable
from worker.ports import SOON
from worker.wiring import Runtime, runtime

LOSSES = 20  # times a message of changes whose worker died is tried again: often enough for a bad day, never an endless loop
MOST = 100  # faults of one message that are logged
LONGEST = 60.0  # seconds between tries while the store is away
ONCE_MORE = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.0}  # that a connection broke is found out by using it


def here() -> Runtime:
    """This process's runtime, which wakes by sending `relations.flush`."""
    return runtime(wake)


def wake(account: str, seconds: float) -> None:
    """Send a flush message."""
    app.send_task("relations.flush", [account], countdown=seconds or None, queue="relations.flush", retry=True, retry_policy=ONCE_MORE)


@app.task(name="relations.accept", bind=True, retry_on_worker_lost=True, max_retries=LOSSES, default_retry_delay=1)
def accept(self: Any, /, *messages: object, **fields: object) -> None:
    """Accept a change, or a list of changes, from any Celery client; the task's id makes a redelivery the same job (R1).

    Nothing is refused for the way it was handed over: several arguments are several changes, named ones are one.
    """
    good, faults = _parsed(_listed(messages, fields), self.request.id)
    for part in here().intake().accept_each(good):
        if isinstance(part.error, Unavailable):
            raise self.retry(exc=part.error, countdown=min(2.0**self.request.retries, LONGEST), max_retries=None)
        faults += part.error.faults if isinstance(part.error, InvalidChange) else ()
    if faults:
        here().say("change.rejected", task=self.request.id, faults=[str(fault) for fault in faults[:MOST]])


@app.task(name="relations.flush", acks_late=True)
def flush(account: str) -> None:
    """Work one batch of the account; then queue behind the others for the next. Without a broker to queue at, go on with it."""
    while (again := here().flush(account).again) is not None and again <= SOON and not _queued(account, again):
        time.sleep(again)


@app.task(name="relations.sweep", acks_late=False)
def sweep() -> None:
    """Repair lost wake-ups."""
    here().sweep()


@app.task(name="relations.replay")
def replay(account: str, jobs: Sequence[str]) -> None:
    """Put the failed relations of these jobs back into the inbox."""
    here().intake().replay(account, jobs)


def _queued(account: str, seconds: float) -> bool:
    """Whether the broker took the message: it may be away, or, on a full Redis, refuse it (R23)."""
    try:
        wake(account, seconds)
    except Exception as error:  # whatever the broker's client raises
        here().say("wake.failed", account=account, error=type(error).__name__)
        return False
    return True


def _listed(messages: Sequence[object], fields: Mapping[str, object]) -> list[object]:
    listed = [each for given in messages for each in (given if isinstance(given, list | tuple) else [given])]
    return [*listed, fields] if fields else listed


def _parsed(messages: Sequence[object], task: str) -> tuple[list[Change], list[Fault]]:
    """The changes that can be read, and what is wrong with the others."""
    good: list[Change] = []
    faults: list[Fault] = []
    for at, message in enumerate(messages):
        named = {"event_id": f"{task}:{at}", "source": "celery", **message} if isinstance(message, Mapping) else message
        try:
            good.append(from_message(named, f"[{at}]").change)
        except InvalidChange as error:
            faults += error.faults
    return good, faults
