"""Makes a client's calls straight on Redis, by the same intake as every producer's, without a server between.

Celery sends the wake-ups and is imported with the first of them. When a wake-up fails, the sweep finds the
change within two seconds.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from logging import getLogger
from operator import add
from typing import Any, Final

from producers.portals.sdk.per_process import PerProcess
from producers.portals.sdk.protocol import CHUNK, Attempt, Call, GetBatch, GetJobs, SendChanges, Sent
from producers.portals.serializers import batch_json, job_json
from worker.background import WakeupQueue
from worker.config import Settings, load_settings, working_folder
from worker.contract import Change, MessageDict, check_each, from_message
from worker.errors import RelationsError
from worker.ports.store import Receipt
from worker.usecases.intake import Intake
from worker.wakeups import TaskSender
from worker.wiring import Runtime

CHUNKS: Final = 20  # per call; while Redis writes one chunk, the next is parsed


class RedisTransport:
    """Makes calls on the Redis of a runtime, which is made by `connect`, once per process."""

    def __init__(self, connect: Callable[[], Runtime]) -> None:
        self._runtimes = PerProcess(connect)

    def attempt(self, step: Attempt) -> Any:
        """Make the call once; raises Unavailable when time can cure it.

        The timeouts are those of the settings' Redis client, not the step's.
        """
        runtime = self._runtimes.get()
        try:
            return _answer(runtime, step.call)
        except UnicodeEncodeError as error:  # half a character of two, or a byte that is no text
            raise RelationsError(f"Redis cannot be asked: {error}") from None

    def close(self) -> None:
        """Close the connections of this process."""
        if self._runtimes.is_mine:
            self._runtimes.get().client.close()


def _answer(runtime: Runtime, call: Call) -> Any:
    match call:
        case SendChanges(changes):
            return _send(runtime.intake(), changes)
        case GetJobs(job_ids):
            jobs = runtime.queries.get_jobs(job_ids)
            waits = runtime.waits.of_jobs(list(jobs.values()))
            return [job_json(jobs[id_], waits.get(id_)) if id_ in jobs else None for id_ in job_ids]
        case GetBatch(account, label):
            counts = runtime.store.batch_counts(runtime.settings.account(account).name, label)
            return batch_json(account, label, counts)


def connect(settings: Settings | Runtime | None) -> RedisTransport:
    """Connect to the Redis of a runtime or of settings, by default those of the environment."""
    if isinstance(settings, Runtime):
        given = [settings]  # for this process; a forked one makes its own
        return RedisTransport(
            lambda: (
                given.pop() if given else Runtime(settings.settings, wake=settings.wake, emit=settings.emit)
            )
        )
    chosen = settings or load_settings(os.environ, working_folder())

    def connect_here() -> Runtime:
        wake = WakeupQueue(TaskSender(chosen.broker_url, chosen.prefix).wake, emit=_emit)
        return Runtime(chosen, wake=wake, emit=_emit)

    return RedisTransport(connect_here)


def _send(intake: Intake, changes: Sequence[Change | MessageDict]) -> list[Sent]:
    if len(changes) > CHUNK and (account := _find_only_account(changes)):
        return _send_chunks(intake, account, changes)
    sent = list[Sent]()
    for start in range(0, len(changes), CHUNK):
        receipts, error = intake.accept_parts(_parse(changes[start : start + CHUNK], start))
        if error:
            raise error.moved(partial(add, start))
        sent += [_to_sent(receipts[position]) for position in range(len(receipts))]
    return sent


def _find_only_account(changes: Sequence[Change | MessageDict]) -> str:
    """Return the account that all the changes name; empty if they name several, or something else."""
    named = [change.account if isinstance(change, Change) else change.get("account") for change in changes]
    return named[0] if isinstance(named[0], str) and all(each == named[0] for each in named) else ""


def _send_chunks(intake: Intake, account: str, changes: Sequence[Change | MessageDict]) -> list[Sent]:
    """Send chunk by chunk the changes of one account."""
    chunks = (_parse(changes[start : start + CHUNK], start) for start in range(0, len(changes), CHUNK))
    accepted = intake.accept_stream(account, chunks)
    return [_to_sent(receipt) for receipts in accepted for receipt in receipts]


def _emit(event: str, /, **fields: object) -> None:
    """Log an event as the program around us logs; our own log is for our own processes."""
    getLogger("relations").warning("%s %s", event, fields)


def _parse(messages: Sequence[Change | MessageDict], first: int = 0) -> list[Change]:
    """Return the changes, or raise InvalidChange with the faults of all; positions count from `first`."""
    return check_each(
        enumerate(messages, start=first),
        lambda message: message if isinstance(message, Change) else from_message(message).change,
    )


def _to_sent(receipt: Receipt) -> Sent:
    return Sent(receipt.job, None if receipt.duplicate else "queued", receipt.duplicate)
