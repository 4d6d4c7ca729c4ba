"""The use case: accept changes. Checks policy, gives every new change its job id, writes it, wakes a worker.

Knows no HTTP, Celery or Redis; a change is accepted when `accept` returns, not before.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.contract import Change, Order, Override, check
from worker.errors import Fault, InvalidChange, NotFound, RelationsError
from worker.planner.guard import goes_first, guard
from worker.ports import Events, Receipt, Refused, Store, Submission

MEMORY = 30 * 86_400.0  # seconds; a change older than the relation memory cannot be ordered any more (R3, R8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
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
    doors: Callable[[str], Door]
    name: Callable[[], str]
    wake: Callable[[str, float], None]
    say: Events

    def accept(self, changes: Sequence[Change], *, path: str = "[{}]", redelivered: bool = False) -> list[Receipt]:
        """Receipts for the changes of one account, all accepted or none.

        Raises InvalidChange with every fault by its path (`path` is filled with the position), an event id that is taken
        among them; NotFound for an unknown account; Unavailable when time can cure it.
        """
        if not changes:
            return []
        door = self.doors(changes[0].account)
        self._check(changes, door, path)
        submissions = [self._submission(change, door, redelivered=redelivered) for change in changes]
        answer = self.store.accept(door.account, submissions, max_backlog=door.max_backlog, oldest=door.memory)
        if answer.refused:
            raise InvalidChange([_fault(refused, path, changes) for refused in answer.refused])
        if answer.wake:
            self._wake(door.account, door.window)
        return list(answer.receipts)

    def accept_each(self, changes: Sequence[Change], *, path: str = "[{}]") -> list[Part]:
        """What became of each account's part of a mixed body; one part's faults do not touch another (R5)."""
        by_account: dict[str, list[int]] = {}
        for position, change in enumerate(changes):
            by_account.setdefault(change.account, []).append(position)
        return [self._part(changes, tuple(positions), path) for positions in by_account.values()]

    def replay(self, account: str, jobs: Iterable[str]) -> list[str]:
        """The failed jobs whose failed relations went back to the inbox."""
        door = self.doors(account)
        back, wake = self.store.replay(account, list(jobs))
        if wake:
            self._wake(account, door.window)
        return back

    def _part(self, changes: Sequence[Change], positions: tuple[int, ...], path: str) -> Part:
        try:
            return Part(positions, tuple(self.accept([changes[at] for at in positions], path=path)))
        except RelationsError as error:
            return Part(positions, error=_at_home(error, positions, path))

    def _check(self, changes: Sequence[Change], door: Door, path: str) -> None:
        faults: list[Fault] = []
        for position, change in enumerate(changes):
            try:
                for warning in check(change, door.overrides):
                    self.say("change.warned", account=door.account, warning=warning)
            except InvalidChange as error:
                faults += [Fault(_join(path.format(position), fault.path), fault.message) for fault in error.faults]
        if faults:
            raise InvalidChange(faults)

    def _submission(self, change: Change, door: Door, *, redelivered: bool) -> Submission:
        name = self.name()
        order = door.order(change.type)
        firsts: tuple[str, ...] = ()
        if order != "free" and goes_first({"create": True, "delete": False}.get(change.action), order):
            firsts = tuple(dict.fromkeys(guard(relation, order) for relation in change.relations))
        return Submission(f"{door.account}-{name}", change, change.event_id or name, redelivered, firsts)

    def _wake(self, account: str, seconds: float) -> None:
        """The message is a hint: without it the sweep finds the change."""
        try:
            self.wake(account, seconds)
        except Exception as error:  # whatever the broker's client raises: the change is accepted
            self.say("wake.failed", account=account, error=type(error).__name__)


def _fault(refused: Refused, path: str, changes: Sequence[Change]) -> Fault:
    where, change = path.format(refused.position), changes[refused.position]
    if refused.reason == "conflict":
        message = f"{change.event_id!r} is taken by job {refused.job} with other content; send a new event_id for a new change"
        return Fault(_join(where, "event_id"), message)
    if refused.reason == "ahead":
        return Fault(_join(where, "occurred_at"), "is more than 5 minutes ahead of the server's clock; check the sender's clock")
    return Fault(_join(where, "occurred_at"), "is older than the relation memory, so it cannot be ordered any more; send it as of now")


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
