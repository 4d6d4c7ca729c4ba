"""Every error this system raises on purpose.

    RelationsError
    ├── Invalid            a person must change the input: a message, a file, a command line
    │   ├── InvalidChange      a change message; carries every fault by its location
    │   └── InvalidSettings    the settings; carries everything wrong at once
    ├── NotFound           no such job, account, relation type
    └── Unavailable        time can cure it; `retry_after` says when to come back
        ├── BacklogFull        the account's inbox is at `max_backlog`
        ├── StoreUnavailable   Redis cannot be reached, is full or still loading
        │   └── StoreUnreadable    what it has of an account is not what we write there
        └── LeaseLost          another worker has the account's lease now
            └── StoreRolledBack    the store has lost writes that it had acknowledged

Two questions only: can time cure it (`Unavailable`), or must a person (all others)?
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Place = int | str
"""Which of several inputs: a position in a list, from 0, or a name that is final, such as `line 4`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where in it (`childid[2]`; "" for all of it), and what to do about it.

    `place` is which of several inputs it is. Layers that regroup a list map it as a value; only an edge
    writes the location as a text.
    """

    path: str
    message: str
    place: Place | None = None

    @property
    def location(self) -> str:
        """The place and the path as one text: `[3].childid[2]`, `line 4.childid[2]`, or just `childid[2]`."""
        place = f"[{self.place}]" if isinstance(self.place, int) else self.place or ""
        dot = "." if place and self.path and not self.path.startswith("[") else ""
        return f"{place}{dot}{self.path}"

    def __str__(self) -> str:
        return f"{self.location}: {self.message}" if self.location else self.message

    def to_dict(self) -> dict[str, str]:
        """Return the public JSON form, with the location as `path`."""
        return {"path": self.location, "message": self.message}


class RelationsError(Exception):
    """The root of all errors of ours; its text is fit for a person and has no secret in it.

    `accepted` is the part of a long list that was accepted before the error.
    """

    accepted: Sequence[Any] = ()


class Invalid(RelationsError):
    """An input a person has to change; `faults` names every one."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


class InvalidChange(Invalid):
    """One change message or several that cannot be accepted."""

    def at(self, place: Place | None) -> "InvalidChange":
        """Return the error with all faults at this place of a longer input."""
        return InvalidChange([replace(fault, place=place) for fault in self.faults])

    def moved(self, place_of: Callable[[int], Place | None]) -> "InvalidChange":
        """Return the error with every position mapped, e.g. to that in a longer list; names stay."""
        return InvalidChange(
            [
                replace(fault, place=place_of(fault.place)) if isinstance(fault.place, int) else fault
                for fault in self.faults
            ]
        )

    def by_position(self) -> dict[int, list[Fault]]:
        """Return the faults of each position, without it; those that have none are left out."""
        faults: dict[int, list[Fault]] = {}
        for fault in self.faults:
            if isinstance(fault.place, int):
                faults.setdefault(fault.place, []).append(replace(fault, place=None))
        return faults


class InvalidSettings(Invalid):
    """Settings that cannot be used; nothing was started."""


class NotFound(RelationsError):
    """Something named that does not exist (any more)."""


class Unavailable(RelationsError):
    """Something that time can cure; try again after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class BacklogFull(Unavailable):
    """The account has as many waiting changes as its `max_backlog` allows."""


class StoreUnavailable(Unavailable):
    """Redis cannot be reached, is full, or is loading its data."""


class StoreUnreadable(StoreUnavailable):
    """What is stored of an account is not what we write there; the other accounts are not concerned."""


class LeaseLost(Unavailable):
    """The lease on the account ran out or was taken over; its new holder goes on with the work."""


class StoreRolledBack(LeaseLost):
    """The store has lost writes that it had acknowledged, as in a failover."""
