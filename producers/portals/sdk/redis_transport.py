"""A client's questions answered by Redis itself: the same front door as every producer's, without a server between.

Celery sends the wake-ups and is imported with the first of them; a wake-up that fails costs nothing but the sweep's two seconds.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, Final

from producers.portals.sdk.protocol import CHUNK, Look, Send, Sent, Try
from producers.portals.serializers import batch_json, job_json
from worker.background import WakeupQueue
from worker.config import Settings, load_settings
from worker.contract import Change, MessageDict, check_each, from_message
from worker.errors import InvalidChange, NotFound, RelationsError
from worker.ports import Receipt
from worker.usecases.intake import AccountResult
from worker.wakeups import TaskSender
from worker.wiring import Runtime

MOST: Final = 20 * CHUNK  # changes per question; while Redis writes a thousand, the next are made ready


class Direct:
    """Answers a client's questions; `close` ends its connections."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._intake = runtime, runtime.intake()
        self.close: Callable[[], None] = runtime.client.close

    def __call__(self, step: Try) -> Any:
        """The answer; raises Unavailable when time can cure it. How long that takes to see is up to the settings' Redis client."""
        ask = step.ask
        if isinstance(ask, Send):
            return self._send(ask)
        if isinstance(ask, Look):
            return self._job(ask.job)
        counts = self._runtime.store.batch_counts(self._runtime.settings.account(ask.account).name, ask.label)
        return batch_json(ask.account, ask.label, counts)

    def _send(self, ask: Send) -> list[Sent]:
        accounts = {each.account if isinstance(each, Change) else each.get("account") for each in ask.changes}
        if len(accounts) == 1 and isinstance(account := accounts.pop(), str) and len(ask.changes) > CHUNK:
            rounds = (
                _parsed(ask.changes[start : start + CHUNK], start)
                for start in range(0, len(ask.changes), CHUNK)
            )
            return [
                _sent(receipt)
                for receipts in self._intake.accept_stream(account, rounds)
                for receipt in receipts
            ]
        parts = self._intake.accept_by_account(_parsed(ask.changes))
        if errors := [part.error for part in parts if part.error]:
            raise _gravest(errors)
        return _in_order(parts)

    def _job(self, name: str) -> Mapping[str, Any]:
        found = self._runtime.store.get_job(name)
        if found is None:
            raise NotFound(f'there is no job "{name}" (any more)')
        return job_json(found)


def direct(settings: Settings | Runtime | None) -> Direct:
    """A line to a runtime's or the settings' Redis; without settings, to that of this environment and working directory."""
    if isinstance(settings, Runtime):
        return Direct(settings)
    chosen = settings or load_settings(os.environ, Path.cwd())
    wake = WakeupQueue(TaskSender(chosen.broker_url).wake, emit=_emit)
    return Direct(Runtime(chosen, wake=wake, emit=_emit))


def _emit(event: str, /, **fields: object) -> None:
    """An event as the program around us logs; our own log is for our own processes."""
    getLogger("relations").warning("%s %s", event, fields)


def _parsed(messages: Sequence[Change | MessageDict], first: int = 0) -> list[Change]:
    """The changes, or every fault of them."""
    return check_each(
        enumerate(messages, start=first),
        lambda message: message if isinstance(message, Change) else from_message(message).change,
    )


def _gravest(errors: list[RelationsError]) -> RelationsError:
    """What time can cure comes first; else all faults at once."""
    for error in errors:
        if not isinstance(error, InvalidChange):
            return error
    return InvalidChange(
        [fault for error in errors if isinstance(error, InvalidChange) for fault in error.faults]
    )


def _in_order(parts: list[AccountResult]) -> list[Sent]:
    receipts = {
        at: receipt for part in parts for at, receipt in zip(part.positions, part.receipts, strict=True)
    }
    return [_sent(each) for _, each in sorted(receipts.items())]


def _sent(receipt: Receipt) -> Sent:
    return Sent(receipt.job, None if receipt.duplicate else "queued", receipt.duplicate)
