"""The use case of callbacks: say to a URL of the settings that every change of a batch has ended, and how.

A message is made of what the store counts, not of what a flush did: whoever dies, the next look finds the
same. It is kept before it is sent, and sent until its receiver takes it or it is abandoned.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

import msgspec

from worker.config import Callback
from worker.contract import write_instant
from worker.contract.instant import SECOND
from worker.errors import NotFound, StoreUnavailable, Unavailable
from worker.ports import EventSink
from worker.ports.callbacks import CallbackAttempt, CallbackMessage, CallbackStore, Watch
from worker.ports.job_admin import JobAdmin
from worker.ports.metrics import Metrics
from worker.ports.records import AuditEntry

LOOK_AFTER: Final = 2.0  # seconds, at least, between two looks at a label
LOOK_AT_OPEN: Final = 30.0  # seconds, at most, between two looks at a batch that has open changes
LOOK_AT_ENDED: Final = 900.0  # and at one that has none: a replay may open it again
FORGET_EMPTY_AFTER: Final = 86_400.0  # seconds after which a label without any change is looked at no more
MAX_LABELS: Final = 500  # that one sweep looks at
MAX_ACCOUNTS: Final = 200  # of which it looks for labels
DELAYS: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 57_600.0, 86_400.0)
"""Seconds after the first, second, … attempt in vain: eleven in two and a half days, then it is abandoned."""
LONGEST_WAIT: Final = 86_400.0  # seconds that a receiver's Retry-After is kept to
CLAIM_SECONDS: Final = 30.0  # for which one process has a message: an attempt takes ten, and a look-up
GONE: Final = 410  # the receiver wants no more, as Standard Webhooks has it


class CallbackTransport(Protocol):
    """Sends a message to the URL of a callback."""

    def __call__(self, callback: Callback, *, message_id: str, body: bytes, now: float) -> CallbackAttempt:
        """Send a message, signed as of `now` (seconds); what keeps it from being sent is in the attempt."""


class Look(NamedTuple):
    """What a look at a label decided: when (µs) to look again (None: never), and whom to tell."""

    at: int | None
    tells: tuple[str, ...] = ()


def decide_look(watch: Watch, callbacks: Collection[Callback], now: int) -> Look:
    """Return which callbacks are told of a batch, and when to look at it again; pure.

    One is told when no change is open and none came for its `quiet` seconds, unless it was told the same.
    """
    age = (now - watch.accepted_at) / SECOND
    if not watch.counts.accepted:
        return Look(None if age > FORGET_EMPTY_AFTER else now + _delay(age, LOOK_AT_ENDED))
    if watch.counts.open > 0:
        return Look(now + _delay(age, LOOK_AT_OPEN))
    unreported = [each for each in callbacks if watch.reported.get(each.name) != watch.counts]
    early = [each.quiet for each in unreported if age < each.quiet]
    tells = tuple(each.name for each in unreported if age >= each.quiet)
    return Look(
        watch.accepted_at + round(min(early) * SECOND) if early else now + _delay(age, LOOK_AT_ENDED), tells
    )


def _delay(age: float, longest: float) -> int:
    return round(min(max(LOOK_AFTER, age / 10), longest) * SECOND)


def decide_attempt(
    message: CallbackMessage, attempt: CallbackAttempt, *, now: int, draw: float = 0.0
) -> CallbackMessage:
    """Return the message after an attempt; a `draw` of 0 to 1 makes its delay up to a tenth longer. Pure."""
    after = msgspec.structs.replace(message, status=attempt.status, error=attempt.error, next_at=0)
    if attempt.is_taken:
        return msgspec.structs.replace(after, state="delivered", ended_at=now)
    if attempt.status == GONE or message.attempts > len(DELAYS):
        return msgspec.structs.replace(after, state="abandoned", ended_at=now)
    own = DELAYS[max(0, message.attempts - 1)] * (1 + draw / 10)
    wait = max(own, min(attempt.retry_after, LONGEST_WAIT))
    return msgspec.structs.replace(after, next_at=now + round(wait * SECOND))


def write_body(message: CallbackMessage, link: str) -> bytes:
    """Return the body of a message: counts and ids, nothing of what the changes are about."""
    counts = message.counts
    query = urlencode({"account": message.account, "batch": message.batch, "state": "failed"})
    document = {
        "type": "batch.finished",
        "timestamp": write_instant(message.made_at),
        "data": {
            "account": message.account,
            "batch": message.batch,
            **counts._asdict(),
            "failed_jobs": f"{link.rstrip('/')}/v1/jobs?{query}" if counts.failed else None,
        },
    }
    return msgspec.json.encode(document)


def write_test_body(account: str, at: int) -> bytes:
    """Return the body of a message that only tries whether the receiver takes one."""
    document = {"type": "callback.test", "timestamp": write_instant(at), "data": {"account": account}}
    return msgspec.json.encode(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """Watches labels, tells callbacks what became of them, and lets people look at that.

    `list_callbacks` gives those of the settings now in force; `draw` a number from 0 to 1.
    """

    store: CallbackStore
    list_callbacks: Callable[[], Mapping[str, Callback]]
    transport: CallbackTransport
    metrics: Metrics
    job_admin: JobAdmin
    new_id: Callable[[], str]
    draw: Callable[[], float]
    emit: EventSink

    def watch(self, account: str, labels: Collection[str]) -> None:
        """Watch the labels that a callback is told of, before changes with them are accepted."""
        watched: dict[str, tuple[list[str], float]] = {}
        callbacks = self.list_callbacks().values()
        for label in labels if callbacks else ():
            if interested := [each for each in callbacks if each.is_about(account, label)]:
                names = [each.name for each in interested]
                watched[label] = (names, min(each.quiet for each in interested))
        if watched:
            self.store.watch(account, watched)

    # --- by the sweep

    def look(self) -> frozenset[str]:
        """Make messages of batches that have ended; return the callbacks that have some to send now."""
        due, left = set[str](), MAX_LABELS
        accounts = {account for each in self.list_callbacks().values() for account in each.accounts}
        for account in self._shuffle(sorted(accounts))[:MAX_ACCOUNTS]:
            names = [name for name, each in self.list_callbacks().items() if account in each.accounts]
            with suppress(StoreUnavailable):
                found = self.store.due_callbacks(account, names, limit=left)
                left -= len(found.watches)
                due |= found.callbacks
                for watch in found.watches:
                    due.update(self._look_at_label(account, watch, found.now))
        return frozenset(due)

    def _look_at_label(self, account: str, watch: Watch, now: int) -> Sequence[str]:
        """Return the callbacks for which a message was made."""
        callbacks = self.list_callbacks()
        named = [callbacks[name] for name in watch.callbacks if name in callbacks]
        interested = [each for each in named if each.is_about(account, watch.label)]
        if not interested:  # the settings have changed
            self.store.settle_watch(account, watch, look_at=None)
            return ()
        look = decide_look(watch, interested, now)
        messages = [
            CallbackMessage(
                id=f"{account}-{self.new_id()}",
                account=account,
                callback=name,
                batch=watch.label,
                counts=watch.counts,
                made_at=now,
                next_at=now,
            )
            for name in look.tells
        ]
        reported = {**watch.reported, **dict.fromkeys(look.tells, watch.counts)} if messages else None
        is_kept = self.store.settle_watch(
            account, watch, look_at=look.at, messages=messages, reported=reported
        )
        if not (is_kept and messages):
            return ()
        self.metrics.add(account, {"callbacks:made": len(messages)})
        return look.tells

    def send_due(self, name: str) -> int:
        """Send what is due of a callback until an attempt fails; return how many messages were taken."""
        taken = 0
        with suppress(StoreUnavailable):
            for message in self._claim_due(name):
                if not self._send(message):
                    break
                taken += 1
        return taken

    def _claim_due(self, name: str) -> Iterator[CallbackMessage]:
        callback = self.list_callbacks().get(name)
        for account in self._shuffle(callback.accounts) if callback else ():
            while message := self.store.claim_message(account, name, seconds=CLAIM_SECONDS):
                yield message

    def _shuffle(self, accounts: Sequence[str]) -> list[str]:
        """Return the accounts in any order, so that none is always the last."""
        return sorted(accounts, key=lambda _: self.draw())

    def _send(self, message: CallbackMessage) -> bool:
        callback = self.list_callbacks().get(message.callback)
        if callback is None:
            return False
        body = write_body(message, callback.link)
        now = self.store.now() / SECOND
        attempt = self.transport(callback, message_id=message.id, body=body, now=now)
        # Counted here: a process that died with a message says nothing of its receiver.
        counted = msgspec.structs.replace(message, attempts=message.attempts + 1)
        after = decide_attempt(counted, attempt, now=self.store.now(), draw=self.draw())
        if self.store.put_message(message, after):
            self._report(after, attempt)
        return attempt.is_taken

    def _report(self, message: CallbackMessage, attempt: CallbackAttempt) -> None:
        how = "failed" if message.state == "waiting" else message.state
        tally = Counter({f"callbacks:{how}": 1, "callbacks:failed": int(not attempt.is_taken)})
        self.metrics.add(message.account, +tally)
        facts: dict[str, Any] = {
            "account": message.account,
            "callback": message.callback,
            "message": message.id,
            "attempts": message.attempts,
        }
        if attempt.is_taken:
            self.emit("callback.delivered", **facts, status=attempt.status)
        elif message.state == "abandoned":
            self.emit("callback.abandoned", **facts, error=str(attempt))
        else:
            self.emit("callback.failed", **facts, error=str(attempt))

    # --- by people

    def find(self, message_id: str) -> CallbackMessage:
        """Return a message; raises NotFound."""
        message = self.store.get_message(message_id)
        if message is None:
            raise NotFound(f"there is no message {message_id} of a callback (any more)")
        return message

    def resend(self, message_id: str, *, by: str) -> CallbackMessage:
        """Let a worker send a message at once, with all attempts before it again, under the id that it has.

        Raises NotFound, or Unavailable when a worker writes of it at the same moment.
        """
        before = self.find(message_id)
        self._get(before.callback)
        now = self.store.now()
        after = msgspec.structs.replace(
            before, state="waiting", attempts=0, next_at=now, ended_at=0, status=0, error=""
        )
        if not self.store.put_message(before, after):
            raise Unavailable(f"message {message_id} is being sent at this moment; try again")
        entry = AuditEntry(self.new_id(), by, "callback resent", message_id, count=1)
        self.job_admin.add_audit_entry(before.account, entry)
        return after

    def test(self, name: str, account: str) -> CallbackAttempt:
        """Send a message that nobody waits for, now and from here; raises NotFound."""
        callback, now = self._get(name), self.store.now()
        if account not in callback.accounts:
            raise NotFound(f'callback "{name}" is not for account {account}')
        message_id = f"{account}-{self.new_id()}"
        body = write_test_body(account, now)
        return self.transport(callback, message_id=message_id, body=body, now=now / SECOND)

    def _get(self, name: str) -> Callback:
        callbacks = self.list_callbacks()
        if name not in callbacks:
            raise NotFound(f'there is no callback "{name}" in the settings')
        return callbacks[name]
