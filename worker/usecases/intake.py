"""The use case of accepting changes: check policy, give every change a job id, write it, wake a worker.

Knows no HTTP, Celery or Redis. A change is accepted when `accept` returns, not before. Of a sender who waits
for no answer, such as a Celery client, what cannot be read is kept as a failed job: nobody else could correct
it.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from msgspec.structs import replace

from worker.config.secret import HOLDS_SECRET, holds_secret, redact_answer, redact_bytes
from worker.contract import MAX_FAULTS, Change, Override, check, from_message, removes_first
from worker.contract.instant import SECOND, write_instant
from worker.contract.message import UNROUTED
from worker.contract.values import to_plain
from worker.errors import Fault, InvalidChange, NotFound, RelationsError
from worker.ports import EventSink, Wake
from worker.ports.store import (
    MAX_KEPT_BODY,
    AcceptResult,
    IntakeBounds,
    Receipt,
    RefusedChange,
    Store,
    Submission,
    UnreadableMessage,
)

MAX_LABEL: Final = 200  # characters of a name that a malformed message may give itself
MAX_MESSAGE_ID: Final = 180  # characters of a message's own id: an event id has 200, with the position
MAX_FAULT: Final = 500  # characters of a fault that is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakePolicy:
    """What an account accepts. `window` is how many seconds its changes are collected for a flush."""

    account: str
    window: float
    bounds: IntakeBounds
    overrides: Mapping[str, Override] = field(default_factory=dict)


class AccountResult(NamedTuple):
    """What became of one account's changes in a mixed list: receipts by position, or why none was accepted.

    The faults of `error` have the positions of the whole list.
    """

    positions: tuple[int, ...]
    receipts: tuple[Receipt, ...] = ()
    error: RelationsError | None = None

    @classmethod
    def refused(cls, positions: tuple[int, ...], error: RelationsError) -> "AccountResult":
        """Return the result for an error whose faults have the positions of the account's changes alone."""
        if isinstance(error, InvalidChange):
            error = error.moved(positions.__getitem__)
        return cls(positions, error=error)

    def by_position(self) -> dict[int, Receipt | tuple[Fault, ...]]:
        """Return the receipts, or the faults of those changes that have some; raise any other error."""
        if self.error is None:
            return dict(zip(self.positions, self.receipts, strict=True))
        faults = self.error.by_position() if isinstance(self.error, InvalidChange) else {}
        if not faults:
            raise self.error
        return {position: tuple(found) for position, found in faults.items()}


def group_by_account(changes: Sequence[Change]) -> list[tuple[int, ...]]:
    """Return the positions of each account's changes."""
    positions: dict[str, list[int]] = {}
    for position, change in enumerate(changes):
        positions.setdefault(change.account, []).append(position)
    return [tuple(group) for group in positions.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Accepts changes. `new_id` gives a sortable id, `wake` sends a flush message due in so many seconds.

    `watch` is told of an account's batch labels before changes with them are accepted.
    """

    store: Store
    policy_of: Callable[[str], IntakePolicy]
    new_id: Callable[[], str]
    wake: Wake
    emit: EventSink
    watch: Callable[[str, Collection[str]], None] = lambda _account, _labels: None

    def accept(self, changes: Sequence[Change]) -> list[Receipt]:
        """Accept all of one account's changes or none, and return their receipts.

        Raises InvalidChange with every fault by its position, an event id that is taken among them;
        NotFound for an unknown account; Unavailable when time can cure it.
        """
        if not changes:
            return []
        policy = self.policy_of(changes[0].account)
        result = self.store.accept(policy.account, self._submissions(changes, policy), policy.bounds)
        return self._receipts(result, changes, policy)

    def accept_stream(self, account: str, chunks: Iterable[Sequence[Change]]) -> Iterator[list[Receipt]]:
        """Accept one account's changes chunk by chunk, each as a whole or not; yield the receipts of each.

        Positions in faults count over all chunks. The next chunk may be on its way while one is written:
        behind one that raises, another may have been accepted.
        """
        policy, unanswered, total = self.policy_of(account), deque[tuple[int, Sequence[Change]]](), 0

        def submissions() -> Iterator[list[Submission]]:
            nonlocal total
            for changes in chunks:
                checked = self._submissions(changes, policy, start=total)
                unanswered.append((total, changes))
                total += len(changes)
                yield checked

        for result in self.store.accept_rounds(account, submissions(), policy.bounds):
            start, changes = unanswered.popleft()
            yield self._receipts(result, changes, policy, start=start)

    def accept_by_account(self, changes: Sequence[Change]) -> list[AccountResult]:
        """Accept each account's changes as a whole or not; faults of one account touch no other (R5)."""
        return [self._accept_positions(changes, positions) for positions in group_by_account(changes)]

    def accept_parts(self, changes: Sequence[Change]) -> tuple[dict[int, Receipt], InvalidChange | None]:
        """Accept each account's changes as a whole or not; return the receipts by position, and all faults.

        Raises Unavailable when time can cure it; what was accepted by then is a duplicate next time.
        """
        receipts: dict[int, Receipt] = {}
        faults: list[Fault] = []
        for part in self.accept_by_account(changes):
            if isinstance(part.error, InvalidChange):
                faults += part.error.faults
            elif part.error:
                raise part.error
            receipts |= zip(part.positions, part.receipts, strict=False)
        return receipts, InvalidChange(faults) if faults else None

    def accept_valid(self, changes: Sequence[Change]) -> list[Receipt | tuple[Fault, ...]]:
        """Accept every change that can be, and return for each its receipt or its faults.

        Raises Unavailable when time can cure it; what was accepted by then stays so, and is a duplicate
        next time.
        """
        results: dict[int, Receipt | tuple[Fault, ...]] = {}
        while pending := [position for position in range(len(changes)) if position not in results]:
            for part in self.accept_by_account([changes[position] for position in pending]):
                results |= {pending[position]: result for position, result in part.by_position().items()}
        return [results[position] for position in range(len(changes))]

    def reject(self, message: UnreadableMessage) -> Receipt:
        """Keep a message that makes no change as a failed job, under `UNROUTED` if its account is unknown."""
        try:
            account = self.policy_of(message.account).account
        except NotFound:
            account = UNROUTED
        message = self._without_secrets(message)
        receipt = self.store.reject(account, f"{account}-{self.new_id()}", message)
        self.emit(
            "message.rejected",
            account=account,
            job=receipt.job,
            source=message.source,
            faults=list(message.faults[:MAX_FAULTS]),
        )
        return receipt

    def _without_secrets(self, message: UnreadableMessage) -> UnreadableMessage:
        """Return what is kept of a message in which its sender may quote a secret of ours."""
        whole, body = len(message.body), redact_bytes(message.body, MAX_KEPT_BODY)
        return message._replace(
            faults=tuple(redact_answer(fault)[:MAX_FAULT] for fault in message.faults[: MAX_FAULTS + 1]),
            source=redact_answer(message.source),
            event_id=self.new_id() if holds_secret(message.event_id) else message.event_id,
            body=body,
            size=whole if whole > MAX_KEPT_BODY else len(body),
        )

    def _accept_positions(self, changes: Sequence[Change], positions: tuple[int, ...]) -> AccountResult:
        try:
            return AccountResult(positions, tuple(self.accept([changes[position] for position in positions])))
        except NotFound as error:
            faults = [Fault("account", str(error), position) for position in positions]
            return AccountResult(positions, error=InvalidChange(faults))
        except RelationsError as error:
            return AccountResult.refused(positions, error)

    def _submissions(
        self, changes: Sequence[Change], policy: IntakePolicy, *, start: int = 0
    ) -> list[Submission]:
        """Return the changes under new job ids, once they are checked and their batch labels watched."""
        self._check(changes, policy, start)
        if labels := {change.batch for change in changes if change.batch}:
            self.watch(policy.account, labels)
        return [self._submission(change, policy) for change in changes]

    def _submission(self, change: Change, policy: IntakePolicy) -> Submission:
        new_id = self.new_id()
        first = removes_first(change, policy.overrides)
        return Submission(f"{policy.account}-{new_id}", change, change.event_id or new_id, first)

    def _check(self, changes: Sequence[Change], policy: IntakePolicy, start: int) -> None:
        """Emit the warnings of the changes; raise InvalidChange for those that the policy denies."""
        faults: list[Fault] = []
        for position, change in enumerate(changes, start):
            texts = (change.event_id or "", change.source, change.batch)
            if any(map(holds_secret, texts)):
                named = zip(("event_id", "source", "batch"), texts, strict=True)
                faults += [Fault(name, HOLDS_SECRET, position) for name, text in named if holds_secret(text)]
            try:
                for warning in check(change, policy.overrides):
                    self.emit("change.warned", account=policy.account, warning=warning)
            except InvalidChange as error:
                faults += error.at(position).faults
        if faults:
            raise InvalidChange(faults)

    def _receipts(
        self, result: AcceptResult, changes: Sequence[Change], policy: IntakePolicy, *, start: int = 0
    ) -> list[Receipt]:
        if result.refused:
            raise InvalidChange([_fault_of(refused, changes, start) for refused in result.refused])
        if result.wake:
            self.wake_worker(policy)
        return list(result.receipts)

    def wake_worker(self, policy: IntakePolicy) -> None:
        """Send the flush message. It is a hint: without it the sweep finds the change."""
        try:
            self.wake(policy.account, policy.window)
        except Exception as error:  # whatever the broker's client raises: the change is accepted
            self.emit("wake.failed", account=policy.account, error=type(error).__name__)


def _fault_of(refused: RefusedChange, changes: Sequence[Change], start: int) -> Fault:
    position = start + refused.position
    if refused.reason == "conflict":
        event_id = changes[refused.position].event_id
        taken = f"{event_id!r} is taken by job {refused.job} with other content"
        return Fault("event_id", f"{taken}; send a new event_id for a new change", position)
    if refused.reason == "ahead":
        clock = write_instant(refused.now // SECOND * SECOND)
        reason = f"is more than 5 minutes ahead of the store's clock, {clock}; set the clock that is wrong"
    else:
        reason = "is older than the relation memory, so it cannot be ordered any more; send it as of now"
    return Fault("occurred_at", reason, position)


def accept_messages(
    intake: Intake, messages: Sequence[object], *, message_id: str, source: str, correlation: str
) -> None:
    """Accept the changes among the messages and keep the rest; raise Unavailable when time can cure it.

    A message without an event id or a source gets `message_id` with its position, and `source`: delivered
    again, it is the same job (R1). If that is empty, nobody can tell it from another, so it is a new one.
    """
    event_ids = _event_ids(intake, message_id, len(messages))
    parsed = [
        _parse(message, {"event_id": event_id, "source": source}, correlation)
        for message, event_id in zip(messages, event_ids, strict=True)
    ]
    results = iter(intake.accept_valid([change for change in parsed if isinstance(change, Change)]))
    for message, found, event_id in zip(messages, parsed, event_ids, strict=True):
        result = next(results) if isinstance(found, Change) else found
        if not isinstance(result, Receipt):
            intake.reject(_unreadable(message, result, event_id, source))


def keep_messages(
    intake: Intake, messages: Sequence[object], *, fault: str, message_id: str, source: str
) -> None:
    """Keep messages that nobody could accept, unread; raise Unavailable when time can cure it."""
    event_ids = _event_ids(intake, message_id, len(messages))
    for message, event_id in zip(messages, event_ids, strict=True):
        intake.reject(_unreadable(message, (fault,), event_id, source))


def keep_undecoded(intake: Intake, body: bytes, *, fault: str, message_id: str, source: str) -> None:
    """Keep a message whose body could not be decoded; raise Unavailable when time can cure it."""
    [event_id] = _event_ids(intake, message_id, 1)
    intake.reject(UnreadableMessage("", source, event_id, (fault,), body))


def _event_ids(intake: Intake, message_id: str, count: int) -> list[str]:
    """Return the event ids of a message's changes, where they have none of their own."""
    name = _name_of(message_id or intake.new_id())
    return [f"{name}:{position}" for position in range(count)]


def _name_of(message_id: str) -> str:
    """Return what event ids of a message begin with: its id, or the hash of one that none may begin with."""
    if _label(message_id) and len(message_id) <= MAX_MESSAGE_ID and not holds_secret(message_id):
        return message_id
    return hashlib.sha256(message_id.encode(errors="surrogatepass")).hexdigest()


def _parse(message: object, defaults: Mapping[str, str], correlation: str) -> Change | tuple[Fault, ...]:
    """Return the change, or everything wrong with it."""
    if isinstance(message, Mapping):
        message = {**defaults, **{name: value for name, value in message.items() if value is not None}}
    try:
        return replace(from_message(message).change, correlation=correlation)
    except InvalidChange as error:
        return error.faults


def _unreadable(message: object, faults: Sequence[object], event_id: str, source: str) -> UnreadableMessage:
    """Return the message as it is kept: under its own account, source and event id where they are usable."""
    fields = message if isinstance(message, Mapping) else {}
    labels = {name: _label(fields.get(name)) for name in ("account", "source", "event_id")}
    try:
        body = json.dumps(to_plain(message), default=str).encode()
    except (ValueError, RecursionError):
        body = b""
    return UnreadableMessage(
        labels["account"],
        labels["source"] or source,
        labels["event_id"] or event_id,
        tuple(map(str, faults)),
        body,
    )


def _label(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_LABEL and value.isprintable() else ""
