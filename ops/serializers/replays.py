"""Replays: what would be sent, or how far they are."""

from collections.abc import Mapping
from typing import Any, Final, NotRequired, TypedDict

import msgspec

from worker.contract import read_optional_instant, write_optional_instant
from worker.ports.replays import Replay, ReplayState

TIMES: Final = ("made_at", "run_at", "finished_at")


class PlanDict(TypedDict):
    """What a replay would send: counts, the first of its actions, and whether the plan covers all of it."""

    requests: NotRequired[int]
    actions: NotRequired[int]
    creates: NotRequired[int]
    modifies: NotRequired[int]
    deletes: NotRequired[int]
    look_ups: NotRequired[int]  # jobs whose records are looked up first: what they come to is not counted
    listed: NotRequired[list[dict[str, Any]]]
    whole: NotRequired[bool]


class ReplayDict(TypedDict):
    """A replay: what would be sent, or how far it is; `became` counts its jobs by what they are now.

    A `repair` sends new changes, which ask once more for what was confirmed and has drifted.
    """

    id: str
    account: str
    by: str
    what: str
    forced: bool
    correction: dict[str, Any]
    eligible: int
    relations: int
    refused: dict[str, int]
    examples: dict[str, str]
    paused: str
    more: bool
    plan: PlanDict
    accounts: list[str]
    repair: bool
    state: ReplayState
    made_at: str | None
    run_at: str | None
    finished_at: str | None
    done: int
    back: int
    missed: dict[str, int]
    became: NotRequired[dict[str, int]]


class ReplaysDict(TypedDict):
    """The replays of the last week, newest first."""

    replays: list[ReplayDict]


def serialize_replay(replay: Replay, outcomes: Mapping[str, int] | None = None) -> ReplayDict:
    """Return a replay as JSON; times are RFC 3339, null while they are not there yet.

    With `outcomes`, its jobs counted by the state they are in now.
    """
    document: ReplayDict = msgspec.to_builtins(replay)
    for name in TIMES:
        document[name] = write_optional_instant(getattr(replay, name))
    if outcomes is not None:
        document["became"] = dict(outcomes)
    return document


def read_replay(document: ReplayDict) -> Replay:
    """Return the replay."""
    times = {name: read_optional_instant(document[name]) for name in TIMES}
    return msgspec.convert({**document, **times}, Replay)
