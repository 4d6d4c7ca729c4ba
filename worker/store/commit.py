"""Writes of one account that are made together, and only while nothing has changed that they depend on.

Whoever changes anything but by `accept` reads, decides in Python, and commits under conditions; when one no
longer holds, it reads again.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from os import urandom
from typing import Any, Final, TypeVar

from worker.errors import StoreUnavailable
from worker.redis.client import translate_errors
from worker.store import keys
from worker.store.database import Database

ARGUMENTS_PER_COMMAND: Final = 4000  # Lua's stack takes about twice as many
ATTEMPTS: Final = 50  # of a commit that others overtake; each time somebody else has got something done

Answer = TypeVar("Answer")


class Check(Exception):
    """A commit's condition did not hold: which one, by its position from 0, and what was found."""

    def __init__(self, position: int, found: str) -> None:
        super().__init__(position, found)
        self.position, self.found = position, found


class Overtaken(Exception):
    """Somebody else's commit came first: read again, and decide again."""


class Commit:
    """Writes of one account that are made together, if the checks hold when they arrive."""

    def __init__(self, database: Database, account: str, *, adds: bool = False) -> None:
        self._database, self._base = database, keys.base(database.prefix, account)
        self._script = "add" if adds else "commit"
        self._keys: dict[str, int] = {"meta": 1}
        self._checks: list[Any] = []
        self._commands: list[Any] = []
        self._deleted: dict[str, list[Any]] = defaultdict(list)
        self._set: dict[str, list[Any]] = defaultdict(list)
        self._opened: dict[tuple[int, int], int] = defaultdict(int)

    def check(self, key: str, field: str | bytes, value: object) -> None:
        """Let the commit hold only while the field of a hash has this value ("": it is not there).

        The field `#` stands for how many fields it has.
        """
        self._checks += [self._place(key), field, value]

    def run(self, command: str, key: str, *args: object) -> None:
        """Add a command."""
        for start in range(0, len(args) or 1, ARGUMENTS_PER_COMMAND):
            piece = args[start : start + ARGUMENTS_PER_COMMAND]
            self._commands += [command, self._place(key), len(piece), *piece]

    def hset(self, key: str, field: object, value: object) -> None:
        """Set a field; all that are set in one hash travel as one command."""
        self._set[key] += (field, value)

    def hdel(self, key: str, field: object) -> None:
        """Delete a field, before others of the hash are set."""
        self._deleted[key].append(field)

    def count(self, key: str, counts: Mapping[str, int]) -> None:
        """Add to counters of a hash."""
        for name, by in counts.items():
            if by:
                self.run("HINCRBY", key, name, by)

    def count_open(self, bucket: int, by: int, lifetime_ms: int) -> None:
        """Count the open jobs of a bucket; with the last one its lifetime begins."""
        self._opened[bucket, lifetime_ms] += by

    @property
    def is_empty(self) -> bool:
        """Whether it would write nothing."""
        return not (self._commands or any(self._set.values()) or self._deleted or self._opened)

    def try_send(self) -> bool:
        """Write everything, unless a condition does not hold; return whether it was written."""
        try:
            self.send()
        except Check:
            return False
        return True

    def send(self, commit_id: str = "") -> None:
        """Write everything; raise Check when a condition does not hold."""
        for key, fields in self._deleted.items():
            self.run("HDEL", key, *fields)
        for key, pairs in self._set.items():
            if pairs:
                self.run("HSET", key, *pairs)
        for (bucket, lifetime), by in self._opened.items():
            jobs, order = self._place(f"jobs:{bucket}"), self._place(f"order:{bucket}")
            self.run("OPEN", "buckets", bucket, jobs, order, by, lifetime)
        arguments = [commit_id or new_commit_id(), len(self._checks) // 3, *self._checks, *self._commands]
        names = [f"{self._base}:{name}" for name in self._keys]
        with translate_errors():
            failed, found = self._database.scripts[self._script](keys=names, args=arguments)
        if failed:
            raise Check(failed - 1, found.decode())

    def _place(self, key: str) -> int:
        return self._keys.setdefault(key, len(self._keys) + 1)


def new_commit_id() -> str:
    """Return an id by which a repeated call of the same commit is known."""
    return urandom(6).hex()


def repeat_while_overtaken(account: str, act: Callable[[], Answer]) -> Answer:
    """Return what the act returns, once nobody comes in between; raise StoreUnavailable if that never is."""
    for _ in range(ATTEMPTS):
        try:
            return act()
        except Overtaken:
            continue
    raise StoreUnavailable(
        f"account {account} is changed too often at this moment; try again", retry_after=1.0
    )
