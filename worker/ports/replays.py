"""Replays: fixed sets of failed jobs that are put back or sent anew, piece by piece."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from worker.ports.records import AuditEntry

ReplayState = Literal["previewed", "running", "stopped", "done"]


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay: a fixed set of failed jobs, what would be sent for it, and how far it is. Times in µs.

    The set of a `repair` is of new changes, which ask once more for what was confirmed and has drifted.
    `eligible` jobs are in the set, `refused` counts the others by reason (`examples` has some). `done` of the
    set were handled so far: `back` were put back or sent as new jobs, the rest is counted by reason in
    `missed`. `plan` is plain data. It sends into `accounts`, its own and those that kept messages name. It
    is as of `made_at`, when its jobs began to be read.
    """

    id: str
    account: str
    by: str
    what: str
    forced: bool = False
    correction: Mapping[str, Any] = {}
    eligible: int = 0
    relations: int = 0
    refused: Mapping[str, int] = {}
    examples: Mapping[str, str] = {}
    paused: str = ""
    more: bool = False
    plan: Mapping[str, Any] = {}
    accounts: tuple[str, ...] = ()
    repair: bool = False
    state: ReplayState = "previewed"
    made_at: int = 0
    run_at: int = 0
    finished_at: int = 0
    done: int = 0
    back: int = 0
    missed: Mapping[str, int] = {}


class ReplayEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One job of a replay's set; if it has `changes` (messages), these are sent as new jobs in its place.

    Their event ids are a webhook's if its message was `delivered`. `relations` are the failed ones that it is
    about, by name; without any, it is about all that wait for a decision. Changes without a job replace none.
    """

    job: str
    changes: tuple[Mapping[str, Any], ...] = ()
    delivered: bool = False
    relations: tuple[str, ...] = ()


class Basis(NamedTuple):
    """What a replay is made of: jobs as they are read from `read_at` (µs) on, after so many erasures."""

    read_at: int
    erasures: int


class Replays(Protocol):
    """The replays of every account. A repeated call changes nothing more, and returns the same."""

    def read_basis(self, account: str) -> Basis:
        """Return what a replay is made of whose jobs are read from now on."""

    def save_replay(
        self, replay: Replay, entries: Sequence[ReplayEntry], audit_entry: AuditEntry, *, erasures: int
    ) -> None:
        """Keep a replay and its set for a week; raise Unavailable if the account has had more erasures."""

    def get_replay(self, replay_id: str) -> Replay | None:
        """Return one replay, with how far it is."""

    def replay_entries(self, replay_id: str, start: int, most: int) -> Sequence[ReplayEntry]:
        """Return at most `most` entries of a replay's set, from the position `start` on."""

    def set_replay_state(
        self, replay_id: str, to: ReplayState, audit_entry: AuditEntry
    ) -> ReplayState | None:
        """Run or stop a replay; return the state that it is in then."""

    def advance_replay(
        self,
        replay: Replay,
        start: int,
        end: int,
        *,
        back: int,
        missed: Mapping[str, int],
        audit_entry: AuditEntry,
    ) -> ReplayState | None:
        """Count the entries from `start` to `end` as handled, once; return the state after that."""

    def stalled_replays(self, account: str, seconds: float) -> Sequence[str]:
        """Return running replays without progress for so long: their worker died, or a message was lost."""

    def is_inspected(self, account: str) -> bool:
        """Return whether all that is stored of the account is being read, while nothing should change it."""

    def touch_replay(self, replay_id: str) -> None:
        """Restart the time after which the replay counts as stalled: a worker was given it once more."""
