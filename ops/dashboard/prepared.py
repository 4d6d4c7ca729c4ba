"""Acts on jobs, prepared on one page and carried out from the next: a fixed set, kept for an hour.

Each has a token of its own, so that a form that is sent twice acts once, and both see the same result.
"""

from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Any, Final, Literal

import msgspec

from worker.errors import NotFound
from worker.redis.client import Client, translate_errors

LIFETIME: Final = 3600  # seconds
CLAIMED: Final = 120  # seconds that carrying out may take; whoever died meanwhile, another may after that
Act = Literal["cancel", "dismiss", "look_up", "replay"]


class PreparedAct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be done to which jobs, by account; `words` say how they were chosen.

    `only` says which failed relations of the jobs are meant, as the fields of a filter. `unfit` are those
    that were chosen and cannot be acted on, with the reason. `more` if there are further ones. A replay has
    `replays` instead of jobs. `chosen_on` is the path of the page they were chosen on. After it was
    carried out, `done` and `refused` say what became of each job.
    """

    token: str
    key: str
    act: Act
    words: str
    jobs: Mapping[str, tuple[str, ...]] = {}
    only: Mapping[str, Any] = {}
    unfit: Mapping[str, str] = {}
    replays: tuple[str, ...] = ()
    more: bool = False
    chosen_on: str = "/jobs"
    state: Literal["prepared", "done"] = "prepared"
    done: tuple[str, ...] = ()
    refused: Mapping[str, str] = {}

    @property
    def count(self) -> int:
        """How many jobs are in the set."""
        return sum(map(len, self.jobs.values()))


class PreparedActs:
    """Keeps prepared acts in Redis, so that any process can carry them out."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._redis: Any = client
        self._prefix = prefix

    def save(self, act: PreparedAct) -> None:
        """Keep the act, or what became of it."""
        with translate_errors():
            self._redis.set(self._key(act.token), msgspec.json.encode(act), ex=LIFETIME)

    def find(self, token: str, key: str) -> PreparedAct:
        """Return the act; raise NotFound if it was forgotten, or another key prepared it."""
        with translate_errors():
            text = self._redis.get(self._key(token))
        act = msgspec.json.decode(text, type=PreparedAct) if text else None
        if act is None or act.key != key:
            raise NotFound("there is no such preview (any more); they are kept for an hour")
        return act

    def claim(self, token: str) -> bool:
        """Return whether the caller carries it out, and nobody else does now."""
        with translate_errors():
            return bool(self._redis.set(f"{self._key(token)}:begun", 1, nx=True, ex=CLAIMED))

    def _key(self, token: str) -> str:
        return f"{self._prefix}:act:{{{token}}}"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return token_urlsafe(18)
