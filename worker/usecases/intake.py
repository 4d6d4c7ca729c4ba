"""The use case: accept changes. Checks policy, gives every new change its job id, writes it, wakes a worker.

Knows no HTTP, Celery or Redis; a change is accepted when `accept` returns, not before.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.config.secret import redact
from worker.contract import Change, Order, Override, check
from worker.errors import Fault, InvalidChange, NotFound, RelationsError
from worker.planner.swaps import is_first_half, swap_key
from worker.ports import (
    UNROUTED,
    AcceptResult,
    EventSink,
    Receipt,
    RefusedChange,
    Store,
    Submission,
    UnreadableMessage,
)

LOGGED = 100  # faults of one message that are logged
MEMORY = 30 * 86_400.0  # seconds; a change older than the relation memory cannot be ordered any more (R3, R8)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakePolicy:
    """What an account accepts."""

    account: str
    window: float
    max_backlog: int
    overrides: Mapping[str, Override] = field(default_factory=dict)
    order: Callable[[str], Order] = lambda _: "free"
    memory: float = MEMORY


class Part(NamedTuple):
    """What became of one account's part of a body: receipts by position, or why none of it was accepted."""

    positions: tuple[int, ...]
    receipts: tuple[Receipt, ...] = ()
    error: RelationsError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """The front door. `name` gives a fresh sortable id, `wake` sends a flush message after so many seconds."""

    store: Store
    policy_of: Callable[[str], IntakePolicy]
    new_id: Callable[[], str]
    wake: Callable[[str, float], None]
    emit: EventSink

    def accept(
        self, changes: Sequence[Change], *, path: str = "[{}]", redelivered: bool = False
    ) -> list[Receipt]:
        """Receipts for the changes of one account, all accepted or none.

        Raises InvalidChange with every fault by its path (`path` is filled with the position), an event id that is taken
        among them; NotFound for an unknown account; Unavailable when time can cure it.
        """
        if not changes:
            return []
        door = self.policy_of(changes[0].account)
        self._check(changes, door, path)
        submissions = [self._submission(change, door, redelivered=redelivered) for change in changes]
        answer = self.store.accept(
            door.account, submissions, max_backlog=door.max_backlog, oldest=door.memory
        )
        return self._received(answer, changes, door, path)

    def accept_rounds(self, account: str, rounds: Iterable[Sequence[Change]]) -> Iterator[list[Receipt]]:
        """Receipts for round after round of one account's changes, each accepted or not; positions in faults go on over all.

        The next round may be on its way while one is written: behind one that raises, another may have been accepted.
        """
        door, ahead, begun = self.policy_of(account), deque[tuple[int, Sequence[Change]]](), 0

        def submissions() -> Iterator[list[Submission]]:
            nonlocal begun
            for changes in rounds:
                self._check(changes, door, "[{}]", first=begun)
                ahead.append((begun, changes))
                begun += len(changes)
                yield [self._submission(change, door, redelivered=False) for change in changes]

        for answer in self.store.accept_rounds(
            account, submissions(), max_backlog=door.max_backlog, oldest=door.memory
        ):
            first, changes = ahead.popleft()
            yield self._received(answer, changes, door, "[{}]", first=first)

    def accept_each(self, changes: Sequence[Change], *, path: str = "[{}]") -> list[Part]:
        """What became of each account's part of a mixed body; one part's faults do not touch another (R5)."""
        by_account: dict[str, list[int]] = {}
        for position, change in enumerate(changes):
            by_account.setdefault(change.account, []).append(position)
        return [self._part(changes, tuple(positions), path) for positions in by_account.values()]

    def accept_good(self, changes: Sequence[Change]) -> list[Receipt | tuple[Fault, ...]]:
        """What became of each change: its receipt, or why it cannot be accepted, which keeps no other from it.

        Raises Unavailable when time can cure it; what was accepted by then is accepted, and the same again finds it so.
        """
        found: dict[int, Receipt | tuple[Fault, ...]] = {}
        while left := [at for at in range(len(changes)) if at not in found]:
            for part in self.accept_each([changes[at] for at in left], path="{}"):
                found |= _judged(part, left)
        return [found[at] for at in range(len(changes))]

    def reject(self, message: UnreadableMessage) -> Receipt:
        """The failed job that stands for a message that makes no change; one that names no known account goes to the lane `UNROUTED`."""
        try:
            account = self.policy_of(message.account).account
        except NotFound:
            account = UNROUTED
        faults, body = (
            tuple(map(redact, message.faults)),
            redact(message.body.decode(errors="surrogateescape")),
        )
        kept = message._replace(
            faults=faults, body=body.encode(errors="surrogateescape")
        )  # a sender may quote a secret of ours
        receipt = self.store.reject(account, f"{account}-{self.new_id()}", kept)
        self.emit(
            "message.rejected",
            account=account,
            job=receipt.job,
            source=message.source,
            faults=list(faults[:LOGGED]),
        )
        return receipt

    def _part(self, changes: Sequence[Change], positions: tuple[int, ...], path: str) -> Part:
        try:
            return Part(positions, tuple(self.accept([changes[at] for at in positions], path=path)))
        except RelationsError as error:
            return Part(positions, error=_at_home(error, positions, path))

    def _received(
        self,
        answer: AcceptResult,
        changes: Sequence[Change],
        door: IntakePolicy,
        path: str,
        *,
        first: int = 0,
    ) -> list[Receipt]:
        if answer.refused:
            raise InvalidChange(
                [
                    _fault(refused, path.format(first + refused.position), changes)
                    for refused in answer.refused
                ]
            )
        if answer.wake:
            self.wake_worker(door.account, door.window)
        return list(answer.receipts)

    def _check(self, changes: Sequence[Change], door: IntakePolicy, path: str, *, first: int = 0) -> None:
        faults: list[Fault] = []
        for position, change in enumerate(changes, start=first):
            try:
                for warning in check(change, door.overrides):
                    self.emit("change.warned", account=door.account, warning=warning)
            except InvalidChange as error:
                faults += [
                    Fault(_join(path.format(position), fault.path), fault.message) for fault in error.faults
                ]
        if faults:
            raise InvalidChange(faults)

    def _submission(self, change: Change, door: IntakePolicy, *, redelivered: bool) -> Submission:
        name = self.new_id()
        order = door.order(change.type)
        firsts: tuple[str, ...] = ()
        if order != "free" and is_first_half({"create": True, "delete": False}.get(change.action), order):
            firsts = tuple(dict.fromkeys(swap_key(relation, order) for relation in change.relations))
        return Submission(f"{door.account}-{name}", change, change.event_id or name, redelivered, firsts)

    def wake_worker(self, account: str, seconds: float) -> None:
        """The message is a hint: without it the sweep finds the change."""
        try:
            self.wake(account, seconds)
        except Exception as error:  # whatever the broker's client raises: the change is accepted
            self.emit("wake.failed", account=account, error=type(error).__name__)


def _fault(refused: RefusedChange, where: str, changes: Sequence[Change]) -> Fault:
    change = changes[refused.position]
    if refused.reason == "conflict":
        message = f"{change.event_id!r} is taken by job {refused.job} with other content; send a new event_id for a new change"
        return Fault(_join(where, "event_id"), message)
    if refused.reason == "ahead":
        return Fault(
            _join(where, "occurred_at"),
            "is more than 5 minutes ahead of the server's clock; check the sender's clock",
        )
    return Fault(
        _join(where, "occurred_at"),
        "is older than the relation memory, so it cannot be ordered any more; send it as of now",
    )


def _join(where: str, path: str) -> str:
    return f"{where}.{path}" if where and path else where or path


def _at_home(error: RelationsError, positions: tuple[int, ...], path: str) -> RelationsError:
    """The error with paths of the whole body instead of the account's part."""
    if isinstance(error, NotFound):
        return InvalidChange([Fault(_join(path.format(at), "account"), str(error)) for at in positions])
    if not isinstance(error, InvalidChange):
        return error
    homes = {path.format(part): path.format(at) for part, at in enumerate(positions)}
    faults = []
    for fault in error.faults:
        head, dot, tail = fault.path.partition(".")
        faults.append(Fault(homes.get(head, head) + dot + tail, fault.message))
    return InvalidChange(faults)


def _judged(part: Part, places: Sequence[int]) -> Mapping[int, Receipt | tuple[Fault, ...]]:
    """The receipts of a part by their places, or else the faults of those that kept the others from being accepted."""
    if part.error is None:
        return {places[at]: receipt for at, receipt in zip(part.positions, part.receipts, strict=True)}
    if not isinstance(part.error, InvalidChange):
        raise part.error
    faults: dict[int, tuple[Fault, ...]] = {}
    for fault in part.error.faults:
        at, _, path = fault.path.partition(".")
        faults[places[int(at)]] = (*faults.get(places[int(at)], ()), Fault(path, fault.message))
    return faults
