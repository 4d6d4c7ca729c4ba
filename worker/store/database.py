"""One account's keys on a server: its clock and scripts, reads in one round trip, and writes; who has keys.

Whoever changes anything but by `accept` reads, decides in Python, and commits under conditions; when one no
longer holds, it reads again.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from os import urandom
from time import monotonic
from typing import Any, Final, TypeVar

from worker.errors import StoreUnavailable
from worker.redis.client import Client, is_timeout, translate_errors, translate_unreadable
from worker.redis.cluster import LazyClusterClient
from worker.redis.scripts import Script, load_script
from worker.store import keys, limits

CLOCK_LIFETIME: Final = 5.0  # seconds for which the server's clock is known without asking
CONSTANTS: Final = {name: value for name, value in vars(limits).items() if isinstance(value, int)}
SCRIPTS: Final = {
    "accept": ("accept", "#!lua"),
    "add": ("commit", "#!lua"),
    "commit": ("commit", "#!lua flags=allow-oom"),
    "deliver": ("deliver", "#!lua"),
    "forget": ("deliver", "#!lua flags=allow-oom"),
    "note": ("note", "#!lua flags=allow-oom"),
    "read": ("read", "#!lua flags=no-writes,allow-oom"),
}
"""Files and first lines of the scripts: a full server refuses those that bring something in."""
ARGUMENTS_PER_COMMAND: Final = 4000  # Lua's stack takes about twice as many
ATTEMPTS: Final = 50  # of a commit that others overtake; each time somebody else has got something done

Answer = TypeVar("Answer")


class Database:
    """A client that knows the store's keys and scripts. Pass `now` (µs) in tests only.

    `redis` is untyped: redis-py types every answer for clients that decode and for those that wait; ours does
    neither, so answers are bytes.
    """

    def __init__(self, client: Client, prefix: str, now: Callable[[], int] | None = None) -> None:
        self.redis: Any = client
        self.prefix, self._given_now = prefix, now
        self._is_cluster = isinstance(client, LazyClusterClient)
        own = None if self._is_cluster else getattr(client, "scripts", None)
        self.scripts: dict[str, Script] = own or _load(client)
        self._clock_until = self._clock_offset = 0.0

    def key(self, account: str, name: str) -> str:
        """Return the account's key of this name."""
        return f"{keys.base(self.prefix, account)}:{name}"

    def now_text(self) -> str:
        """Return the time that scripts are given; empty lets them ask the server."""
        return str(self._given_now()) if self._given_now else ""

    def now(self) -> int:
        """Return the server's time (µs), asked every few seconds."""
        if self._given_now:
            return self._given_now()
        local = monotonic()
        if local > self._clock_until:
            with translate_errors():
                seconds, micros = self._ask_time()
            local = monotonic()
            self._clock_offset, self._clock_until = seconds + micros / 1e6 - local, local + CLOCK_LIFETIME
        return round((self._clock_offset + local) * 1e6)

    def forget_clock(self) -> None:
        """Ask the server's time anew: it was set."""
        self._clock_until = 0.0

    def reads(self, account: str, *, at_once: bool = False) -> "Reads":
        """Return a round trip to be filled with reads; `at_once`: all answers are of the same moment."""
        is_scripted = self._is_cluster or (at_once and "read" in self.scripts)
        return ScriptedReads(self, account) if is_scripted else Reads(self, account)

    def read(self, account: str, command: str, key: str, *args: Any, **options: Any) -> Any:
        """Return the answer to one read."""
        reads = self.reads(account)
        getattr(reads, command)(key, *args, **options)
        return reads.run()[0]

    def read_names(self, account: str, command: str, key: str, *args: Any, **options: Any) -> list[str]:
        """Return the answer to one read of names."""
        return [name.decode() for name in self.read(account, command, key, *args, **options)]

    def scan_hash(self, account: str, key: str) -> Iterator[dict[bytes, bytes]]:
        """Yield all of a hash, page by page; a field may come twice."""
        cursor: Any = 0
        while True:
            cursor, page = self.read(account, "hscan", key, cursor, count=limits.MAX_EXAMINED)
            yield page
            if not cursor:
                return

    def _ask_time(self) -> tuple[int, int]:
        answer = self.redis.time()
        if isinstance(answer, dict):  # a cluster's: one per node
            answer = next(iter(answer.values()))
        return int(answer[0]), int(answer[1])


class Reads:
    """Reads of one account that travel together: methods are named as redis-py's, keys as in `keys.py`."""

    def __init__(self, database: Database, account: str) -> None:
        self._pipeline = database.redis.pipeline(transaction=False)
        self._base = keys.base(database.prefix, account)
        self.count = 0

    def __getattr__(self, command: str) -> Callable[..., None]:
        method = getattr(self._pipeline, command)

        def add(key: str, *args: Any, **options: Any) -> None:
            method(f"{self._base}:{key}", *args, **options)
            self.count += 1

        return add

    def run(self) -> list[Any]:
        """Send the reads and return their answers."""
        if not self.count:
            return []
        with translate_errors():
            answers: list[Any] = self._pipeline.execute()
        return answers


class ScriptedReads(Reads):
    """Reads of one account on a cluster: one script, which its client routes, repeats and redirects."""

    def __init__(self, database: Database, account: str) -> None:
        self._database, self._base = database, keys.base(database.prefix, account)
        self._keys: dict[str, int] = {"meta": 1}
        self._args: list[Any] = []
        self._readers: list[Callable[[Any], Any]] = []
        self.count = 0

    def __getattr__(self, command: str) -> Callable[..., None]:
        def add(key: str, *args: Any, **options: Any) -> None:
            flat = [cell for arg in args for cell in (arg if isinstance(arg, list | tuple) else [arg])]
            if "start" in options:
                flat += ("LIMIT", options["start"], options["num"])
            if options.get("withscores"):
                flat.append("WITHSCORES")
            if "count" in options:
                flat += ("COUNT", options["count"])
            place = self._keys.setdefault(key, len(self._keys) + 1)
            self._args += (command.upper(), place, len(flat), *flat)
            self._readers.append(_reader_of(command, with_scores="WITHSCORES" in flat))
            self.count += 1

        return add

    def run(self) -> list[Any]:
        """Run the reads and return their answers, as a pipeline has them."""
        if not self.count:
            return []
        names = [f"{self._base}:{name}" for name in self._keys]
        with translate_errors():
            answers = self._database.scripts["read"](keys=names, args=self._args)
        return [read(answer) for read, answer in zip(self._readers, answers, strict=True)]


def _reader_of(command: str, *, with_scores: bool) -> Callable[[Any], Any]:
    """Return what makes a script's answer that of redis-py."""
    if with_scores:
        return lambda flat: [(name, float(score)) for name, score in zip(flat[::2], flat[1::2], strict=True)]
    if command == "hgetall":
        return lambda flat: dict(zip(flat[::2], flat[1::2], strict=True))
    if command == "hscan":
        return lambda answer: (int(answer[0]), dict(zip(answer[1][::2], answer[1][1::2], strict=True)))
    if command == "smembers":
        return set
    return lambda answer: float(answer) if command == "zscore" and answer is not None else answer


def _load(client: Client) -> dict[str, Script]:
    return {
        name: load_script(client, "worker.store", file, CONSTANTS, first_line=first_line)
        for name, (file, first_line) in SCRIPTS.items()
    }


class Registry:
    """The names of all accounts, or of all sources: no script can write them, in a slot of their own.

    One that was added `seconds` ago is added again: a failover may have lost it.
    """

    def __init__(self, database: Database, name: str, *, seconds: float) -> None:
        self._database, self._seconds = database, seconds
        self._key = keys.shared(database.prefix, name)
        self._added_at: dict[str, float] = {}

    def add(self, name: str) -> None:
        """Add the name, or leave it to a later call: a cluster's node may be down.

        Where there is one server and it hangs, raise StoreUnavailable: who goes on would wait for it again.
        """
        now = monotonic()
        if now - self._added_at.get(name, -math.inf) < self._seconds:
            return
        try:
            with translate_errors():
                self._database.redis.sadd(self._key, name)
            self._added_at[name] = now
        except StoreUnavailable as error:
            if isinstance(self._database.redis, Client) and is_timeout(error):
                raise

    def names(self) -> set[str]:
        """Return all names that were added, and what else may have been written there."""
        with translate_errors():
            found = self._database.redis.smembers(self._key)
        return {name.decode(errors="replace") for name in found}


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
        """Let the commit hold only while the field of a hash has this value ("": not there, "*": any).

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
        names = [f"{self._base}:{name}" for name in (*self._keys, keys.NEVER)]
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
    """Return what the act returns, once nobody comes in between; raise StoreUnavailable if that never is.

    Raises StoreUnreadable where what the act reads is not what we write there.
    """
    for _ in range(ATTEMPTS):
        with suppress(Overtaken), translate_unreadable(account):
            return act()
    raise StoreUnavailable(
        f"account {account} is changed too often at this moment; try again", retry_after=1.0
    )
