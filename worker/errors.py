"""Every error this system raises on purpose.

    RelationsError
    ├── Invalid            a person must change the input: a message, a file, a command line
    │   ├── InvalidChange      a change message; carries every fault by its path
    │   └── InvalidSettings    the settings; carries everything wrong at once
    ├── NotFound           no such job, account, relation type
    └── Unavailable        time can cure it; `retry_after` says when to come back
        ├── BacklogFull        the account's inbox is at `max_backlog`
        ├── StoreUnavailable   Redis is away, full or still loading
        └── LeaseLost          another worker holds the account now

Two questions only: can time cure it (`Unavailable`), or must a person (all others)?
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """One thing wrong with an input: where (`childid[2]`), and what to do about it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class RelationsError(Exception):
    """The root; its text is fit for a person and holds no secret. `accepted` is what of a long list was accepted before it."""

    accepted: Sequence[Any] = ()


class Invalid(RelationsError):
    """An input a person has to change; `faults` names every one."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


class InvalidChange(Invalid):
    """A change message that cannot be accepted."""


class InvalidSettings(Invalid):
    """Settings that cannot be used; nothing was started."""


class NotFound(RelationsError):
    """Something asked for by name that does not exist (any more)."""


class Unavailable(RelationsError):
    """Something that time can cure; try again after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class BacklogFull(Unavailable):
    """The account has as many waiting changes as its `max_backlog` allows."""


class StoreUnavailable(Unavailable):
    """Redis cannot be reached, is full, or is loading its data."""


class LeaseLost(Unavailable):
    """The lease on the account ran out or was taken over; whoever holds it now goes on."""
