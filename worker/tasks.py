"""The Celery tasks: a name, the process's runtime, one call each. What they do is in the use cases."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Final, NoReturn

from celery import signals
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_logger

from worker import log
from worker.app import app, worker_settings
from worker.background import RepeatedFailure, WakeupQueue, cause_of
from worker.celery_config import ACCEPT_TASK, FLUSH_TASK, REPLAY_TASK, SWEEP_TASK
from worker.celery_patches import redeliveries_of, send_again
from worker.celery_unreadable import read_undecoded
from worker.config import holds_secret
from worker.contract import account_of, correlation_of, traceparent_of
from worker.errors import BacklogFull, NotFound, StoreUnavailable, Unavailable
from worker.ports.work import MAX_COUNTDOWN
from worker.usecases.intake import accept_messages, keep_messages, keep_undecoded
from worker.usecases.replay import run_replay
from worker.wakeups import send_wakeup
from worker.wiring import Runtime, open_traces

# Times a message whose worker died, or that failed, is delivered once more: often enough for a bad day, never
# an endless loop.
MAX_REDELIVERIES = 20
SOURCE = "celery"  # of a change that names none
POISON: Final = (
    f"its worker failed or ended {MAX_REDELIVERIES} times before it was acknowledged, as their logs say; it"
    " may be accepted all the same: a replay finds that, and doubles nothing"
)


store_failure: Final = RepeatedFailure()
"""Why this process cannot use the store, if it cannot."""
accept_failure: Final = RepeatedFailure("nothing came yet")
"""Why this process did not accept what came last, if it did not."""


@contextmanager
def report_unavailable_store(runtime: Runtime, **fields: str) -> Iterator[None]:
    """Let the block end where the store cannot be used: the sweep finds what it left."""
    try:
        yield
        store_failure.forget()
    except StoreUnavailable as error:
        if store_failure.is_news(str(error)):
            runtime.emit("store.unavailable", **fields, error=str(error))


def get_runtime() -> Runtime:
    """Return this process's runtime, made with its first task, by the settings as they are now."""
    runtime = runtime_of(os.getpid())
    runtime.live_settings.refresh()
    return runtime


@cache
def runtime_of(_pid: int) -> Runtime:
    """Return the runtime of the process with this id."""
    settings = worker_settings()
    wake = WakeupQueue(partial(send_wakeup, app))
    traces = open_traces(settings, service="relations-worker")
    if not traces:
        return Runtime(settings, wake=wake)
    # A child of a pool ends without `atexit`.
    signals.worker_process_shutdown.connect(lambda **_: traces.close(), weak=False)
    return Runtime(settings, wake=wake, emit=traces.follow(log.emit))


@app.task(
    name=ACCEPT_TASK,
    bind=True,
    acks_on_timeout=False,
    retry_on_worker_lost=True,
    reject_on_worker_lost=True,  # what cannot be sent again, the broker keeps
    max_retries=None,  # Celery would drop what comes after; we keep it
    default_retry_delay=1,
)
def accept(self: Any, /, *messages: object, **fields: object) -> None:
    """Accept a change, or a list of changes, from any Celery client.

    The task's id makes a redelivery the same job (R1).
    Nothing is refused for the form of its arguments: several positional ones are several changes, named ones
    are one. A body that cannot be decoded is kept as it came.
    """
    try:
        _accept(self.request, messages, fields)
        accept_failure.forget()
    except Unavailable as error:
        resend_later(self, error)
    except Exception as error:  # what fails may be this process, and the message is the only copy
        is_to_blame = not accept_failure.cause  # as the one before was accepted here
        if accept_failure.is_news(cause_of(error)):
            get_logger(__name__).exception("changes could not be accepted; their message comes again")
        resend_later(self, error, is_counted=is_to_blame)


def _accept(request: Any, messages: Sequence[object], fields: Mapping[str, object]) -> None:
    """Accept the changes of a message; keep one that cannot be read, or that failed as often as it may."""
    own = {"message_id": request.id, "source": SOURCE}
    intake = get_runtime().intake()
    if not messages and (undecoded := read_undecoded(fields)):
        keep_undecoded(intake, undecoded.body, fault=undecoded.fault, **own)
    elif redeliveries_of(request) >= MAX_REDELIVERIES:
        keep_messages(intake, _flatten(messages, fields), fault=POISON, **own)
    else:
        accept_messages(intake, _flatten(messages, fields), correlation=_correlation(request), **own)


@app.task(name=FLUSH_TASK, acks_late=True, may_be_lost=True)
def flush(account: str) -> None:
    """Work one batch of the account, then queue behind the others for the next; without a broker, go on."""
    runtime = get_runtime()
    with report_unavailable_store(runtime, account=account):
        next_in = runtime.flush(account).next_in
        while (
            next_in is not None
            and next_in <= MAX_COUNTDOWN
            and not _queue_next_flush(runtime, account, next_in)
        ):
            time.sleep(next_in)
            next_in = runtime.flush(account).next_in


@app.task(name=SWEEP_TASK, acks_late=False)
def sweep() -> None:
    """Repair lost wake-ups, and replays whose message or worker was lost."""
    runtime = get_runtime()
    with report_unavailable_store(runtime):
        for replay_id in runtime.sweeper.stalled_replays():
            replay.apply_async((replay_id,))
        runtime.sweep()


@app.task(name=REPLAY_TASK, bind=True, retry_on_worker_lost=True, max_retries=MAX_REDELIVERIES)
def replay(self: Any, /, replay_id: str) -> None:
    """Run a replay to its end; delivered twice, it goes on where it stood.

    Where the inbox is full the sweep goes on with it: a message that came back by itself would be one more
    for each that the sweep sends, and there is one each minute.
    """
    runtime = get_runtime()
    try:
        run_replay(runtime.intake(), runtime.job_admin, replay_id)
    except NotFound as error:  # its account has left the settings
        account = account_of(replay_id)
        runtime.emit("replay.refused", account=account, replay=replay_id, job="", faults=[str(error)])
    except BacklogFull:
        return
    except Unavailable as error:
        resend_later(self, error)


def resend_later(task: Any, error: Exception, *, is_counted: bool = False) -> NoReturn:
    """Send the task's message once more, to be delivered later; waiting for the store counts for nothing."""
    try:
        send_again(task, task.request, is_counted=is_counted)
    except Exception as failure:  # whatever the broker's client raises; the broker keeps what it has
        raise Reject(failure, requeue=True) from error
    raise Ignore


def _queue_next_flush(runtime: Runtime, account: str, seconds: float) -> bool:
    """Return whether the broker took the message: it may be away, or, on a full Redis, refuse it (R23)."""
    try:
        send_wakeup(app, account, seconds)
    except Exception as error:  # whatever the broker's client raises
        runtime.emit("wake.failed", account=account, error=cause_of(error))
        return False
    return True


def _correlation(request: Any) -> str:
    """Return what the sender calls its message: its header X-Correlation-Id or traceparent, else its id."""
    headers = {str(name).lower(): value for name, value in vars(request).items()}
    trace = traceparent_of(headers.get("traceparent"))
    candidates = headers.get("x-correlation-id"), trace, request.id
    return correlation_of(*(each for each in candidates if not holds_secret(str(each))))


def _flatten(messages: Sequence[object], fields: Mapping[str, object]) -> list[object]:
    """Return the messages among a task's arguments, of which each may be one or a list of them."""
    flat = [
        message
        for argument in messages
        for message in (argument if isinstance(argument, list | tuple) else [argument])
    ]
    return [*flat, fields] if fields else flat
