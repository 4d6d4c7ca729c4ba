"""The Celery tasks: a name, the runtime, one call each. What they do is elsewhere."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from celery.exceptions import Ignore, Reject
from msgspec.structs import replace

from worker.app import app
from worker.contract import Change, correlation_of, from_message
from worker.errors import Fault, InvalidChange, NotFound, Unavailable
from worker.ports import SOON, Receipt, UnreadableMessage
from worker.usecases.intake import Intake
from worker.usecases.replay import run_replay
from worker.wiring import Runtime, runtime

LOSSES = 20  # times a message of changes whose worker died is tried again: often enough for a bad day, never an endless loop
SOURCE = "celery"  # of a change that names none
LABEL = 200  # characters of a name that a malformed message may give itself
WAITS = "relations-waits"  # a header: how often a message was sent once more because the store was away
LONGEST = 60.0  # seconds between tries while the store is away
ONCE_MORE = {
    "max_retries": 1,
    "interval_start": 0.0,
    "interval_step": 0.0,
}  # that a connection broke is found out by using it


def here() -> Runtime:
    """This process's runtime, which wakes by sending `relations.flush`."""
    return runtime(wake)


def wake(account: str, seconds: float) -> None:
    """Send a flush message."""
    app.send_task(
        "relations.flush",
        [account],
        countdown=seconds or None,
        queue="relations.flush",
        retry=True,
        retry_policy=ONCE_MORE,
    )


@app.task(
    name="relations.accept", bind=True, retry_on_worker_lost=True, max_retries=LOSSES, default_retry_delay=1
)
def accept(self: Any, /, *messages: object, **fields: object) -> None:
    """Accept a change, or a list of changes, from any Celery client; the task's id makes a redelivery the same job (R1).

    Nothing is refused for the way it was handed over: several arguments are several changes, named ones are one.
    """
    try:
        _take_in(here().intake(), _listed(messages, fields), self.request.id, _correlation(self.request))
    except Unavailable as error:
        _wait(self, error)


@app.task(name="relations.flush", acks_late=True)
def flush(account: str) -> None:
    """Work one batch of the account; then queue behind the others for the next. Without a broker to queue at, go on with it."""
    while (
        (again := here().flush(account).next_in) is not None and again <= SOON and not _queued(account, again)
    ):
        time.sleep(again)


@app.task(name="relations.sweep", acks_late=False)
def sweep() -> None:
    """Repair lost wake-ups, and replays whose message or worker was lost."""
    for each in here().stalled_replays():
        replay.apply_async((each,))
    here().sweep()


@app.task(name="relations.replay", bind=True, retry_on_worker_lost=True, max_retries=LOSSES)
def replay(self: Any, /, replay_id: str) -> None:
    """Work a replay to its end; delivered twice, it goes on where it stood."""
    try:
        run_replay(here().intake(), here().job_admin, replay_id)
    except NotFound as error:  # its account has left the settings
        here().emit(
            "replay.refused",
            account=replay_id.rpartition("-")[0],
            replay=replay_id,
            job="",
            faults=[str(error)],
        )
    except Unavailable as error:
        _wait(self, error)


def _wait(task: Any, error: Unavailable) -> NoReturn:
    """Send the message once more, for later and as often as it takes: waiting for the store is not counted among its `LOSSES`."""
    headers = {**(task.request.headers or {})}
    said = headers.get(WAITS)
    waits = max(said, 0) if isinstance(said, int) else 0
    again = task.signature_from_request(
        countdown=min(2.0 ** min(waits, 6), LONGEST), headers={**headers, WAITS: waits + 1}
    )
    try:
        again.apply_async()
    except (
        Exception
    ) as failure:  # whatever the broker's client raises; then the broker keeps the message that it has
        raise Reject(failure, requeue=True) from error
    raise Ignore


def _queued(account: str, seconds: float) -> bool:
    """Whether the broker took the message: it may be away, or, on a full Redis, refuse it (R23)."""
    try:
        wake(account, seconds)
    except Exception as error:  # whatever the broker's client raises
        here().emit("wake.failed", account=account, error=type(error).__name__)
        return False
    return True


def _correlation(request: Any) -> str:
    """What the sender calls its message, by the header X-Correlation-Id; else the message's own id."""
    headers = {str(name).lower(): value for name, value in vars(request).items()}
    return correlation_of(headers.get("x-correlation-id"), request.id)


def _listed(messages: Sequence[object], fields: Mapping[str, object]) -> list[object]:
    listed = [each for given in messages for each in (given if isinstance(given, list | tuple) else [given])]
    return [*listed, fields] if fields else listed


def _take_in(intake: Intake, messages: Sequence[object], task: str, said: str) -> None:
    """Accept what can be; what cannot is kept as a failed job, because nobody waits for an answer who could send it again."""
    read = [_read(message, f"{task}:{at}", said) for at, message in enumerate(messages)]
    results = iter(intake.accept_good([change for change in read if isinstance(change, Change)]))
    for message, found, event_id in zip(
        messages, read, (f"{task}:{at}" for at in range(len(read))), strict=True
    ):
        result = next(results) if isinstance(found, Change) else found
        if not isinstance(result, Receipt):
            intake.reject(_unreadable(message, result, event_id))


def _read(message: object, event_id: str, said: str) -> Change | tuple[Fault, ...]:
    """The change, or everything wrong with it."""
    try:
        named = message
        if isinstance(message, Mapping):
            given = {name: value for name, value in message.items() if value is not None}
            named = {"event_id": event_id, "source": SOURCE, **given}
        return replace(from_message(named).change, correlation=said)
    except InvalidChange as error:
        return error.faults


def _unreadable(message: object, faults: Sequence[Fault], event_id: str) -> UnreadableMessage:
    """The message as it is kept, under its own names where they are fit for it."""
    said = message if isinstance(message, Mapping) else {}
    account, source, event = (_label(said.get(name)) for name in ("account", "source", "event_id"))
    try:
        body = json.dumps(message, default=str).encode()
    except (ValueError, RecursionError):
        body = b""
    return UnreadableMessage(account, source or SOURCE, event or event_id, tuple(map(str, faults)), body)


def _label(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= LABEL and value.isprintable() else ""
