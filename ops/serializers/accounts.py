"""Keys and accounts: the backlog of each, its jobs by state, its pause, its pace, and why nothing is sent."""

from typing import TypedDict

from worker.config import Key
from worker.ports.waiting import WaitReason


class PauseDict(TypedDict):
    """Why an account is paused; `until` is empty where an operator has to resume it."""

    reason: str
    detail: str
    since: str
    until: str


class PaceDict(TypedDict):
    """The share of an account's full pace, its breaker, and until when nothing is sent."""

    factor: float
    breaker: str
    reason: str
    until: str


class WaitsDict(TypedDict):
    """Why nothing of an account is sent now; `until` is null where somebody has to act, or it is its turn."""

    reason: WaitReason
    message: str
    until: str | None


class AccountDict(TypedDict):
    """An account: its backlog, its jobs by state, its pause, its pace, and why nothing is sent now."""

    account: str
    mode: str
    backlog: int
    oldest: str | None
    open: int
    jobs: dict[str, int]
    unresolved: int
    failed: int
    succeeded: int
    superseded: int
    accepted: int
    paused: PauseDict | None
    pace: PaceDict
    waits: WaitsDict | None


class KeyDict(TypedDict):
    """A key: what it may do, for which accounts."""

    name: str
    can: list[str]
    accounts: list[str]


class AccountsDict(TypedDict):
    """The key, its accounts in the order of the settings, and the sums of their numbers by name."""

    accounts: list[AccountDict]
    key: KeyDict
    totals: dict[str, int]


def serialize_key(key: Key) -> KeyDict:
    """Return what a key may do, for which accounts, as JSON; nothing of the key itself."""
    return {"name": key.name, "can": list(key.can), "accounts": list(key.accounts)}
