"""A dictionary that answers the few Redis commands that the store uses, by a test's clock."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase
from typing import Any

from worker.redis.scripts import ScriptCall
from worker.store.keys import bucket_at
from worker.store.limits import CLOCK_AHEAD_US, FIRST_WAKE_DELAY_US, FORGOTTEN_AT_ONCE
from worker.store.stored_job import HEAD_SIZE

Score = int | float
MILLISECOND = 1000  # µs


def to_bytes(value: object) -> bytes:
    """Return a value as it is stored."""
    return value if isinstance(value, bytes) else str(value).encode()


class MemoryServer:
    """Implements what the store calls of `redis.Redis`; a pipeline carries out its commands at once."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._values: dict[str, Any] = {}
        self._ends: dict[str, int] = {}

    @property
    def scripts(self) -> dict[str, "MemoryScript"]:
        """The scripts by name."""
        return {
            "accept": MemoryScript(self, accept),
            "commit": MemoryScript(self, commit),
            "add": MemoryScript(self, commit),
            "deliver": MemoryScript(self, deliver),
            "forget": MemoryScript(self, deliver),
        }

    def time(self) -> tuple[int, int]:
        """Return seconds and microseconds."""
        return divmod(self._now(), 1_000_000)

    def info(self, section: str) -> dict[str, int]:  # noqa: ARG002 as redis-py has it
        """Return zeros: nobody counts the memory of a test."""
        return {"used_memory": 0, "maxmemory": 0}

    def pipeline(self, *, transaction: bool = False) -> "MemoryPipeline":  # noqa: ARG002 as redis-py has it
        """Return a pipeline."""
        return MemoryPipeline(self)

    def run(self, command: str, key: str, *args: object) -> Any:
        """Carry out a command of a script."""
        return COMMANDS[command](self, key, *args)

    # --- keys

    def exists(self, key: str) -> int:
        """Return 1 if the key is there."""
        return int(self._get(key) is not None)

    def delete(self, *names: str) -> int:
        """Delete keys, and return how many were there."""
        found = sum(self.exists(name) for name in names)
        for name in names:
            self._values.pop(name, None)
            self._ends.pop(name, None)
        return found

    def pttl(self, key: str) -> int:
        """Return the rest of a key's lifetime in ms, -1 for none, -2 for no key."""
        if self._get(key) is None:
            return -2
        return -(-(self._ends[key] - self._now()) // MILLISECOND) if key in self._ends else -1

    def pexpire(self, key: str, milliseconds: object) -> int:
        """Let a key end."""
        if self._get(key) is None:
            return 0
        self._ends[key] = self._now() + int(to_bytes(milliseconds)) * MILLISECOND
        return 1

    def persist(self, key: str) -> int:
        """Let a key have no end."""
        return int(self._ends.pop(key, None) is not None)

    def scan(self, cursor: int = 0, *, match: str = "*", count: int = 0) -> tuple[int, list[bytes]]:  # noqa: ARG002
        """Return all keys that match."""
        plain = match.replace("\\", "")
        return 0, [
            key.encode() for key in [*self._values] if self._get(key) is not None and fnmatchcase(key, plain)
        ]

    # --- strings

    def get(self, key: str) -> bytes | None:
        """Return a string."""
        found: bytes | None = self._get(key)
        return found

    def set(self, key: str, value: object, *options: object) -> None:
        """Set a string, perhaps with PX and its lifetime in ms."""
        self._values[key] = to_bytes(value)
        self._ends.pop(key, None)
        if options:
            self.pexpire(key, options[1])

    # --- hashes

    def hget(self, key: str, field: object) -> bytes | None:
        """Return a field."""
        return self._hash(key).get(to_bytes(field))

    def hmget(self, key: str, fields: Iterable[object], *more: object) -> list[bytes | None]:
        """Return fields."""
        values = self._hash(key)
        names = (fields, *more) if isinstance(fields, str | bytes) else fields
        return [values.get(to_bytes(field)) for field in names]

    def hgetall(self, key: str) -> dict[bytes, bytes]:
        """Return all fields."""
        return dict(self._hash(key))

    def hkeys(self, key: str) -> list[bytes]:
        """Return the names of all fields."""
        return list(self._hash(key))

    def hvals(self, key: str) -> list[bytes]:
        """Return the values of all fields."""
        return list(self._hash(key).values())

    def hlen(self, key: str) -> int:
        """Count the fields."""
        return len(self._hash(key))

    def hstrlen(self, key: str, field: object) -> int:
        """Return the length of a field's value."""
        return len(self.hget(key, field) or b"")

    def hset(self, key: str, *pairs: object) -> int:
        """Set fields."""
        values = self._values_of(key, dict)
        for field, value in zip(pairs[::2], pairs[1::2], strict=True):
            values[to_bytes(field)] = to_bytes(value)
        return len(pairs) // 2

    def hdel(self, key: str, *fields: object) -> int:
        """Delete fields, and return how many were there."""
        values = self._hash(key)
        found = sum(values.pop(to_bytes(field), None) is not None for field in fields)
        self._drop_if_empty(key)
        return found

    def hincrby(self, key: str, field: object, by: object = 1) -> int:
        """Add to a field, and return its new value."""
        values, name = self._values_of(key, dict), to_bytes(field)
        number = int(values.get(name, 0)) + int(to_bytes(by))
        values[name] = to_bytes(number)
        return number

    def hscan(self, key: str, cursor: int = 0, *, count: int = 0) -> tuple[int, dict[bytes, bytes]]:  # noqa: ARG002
        """Return all fields."""
        return 0, self.hgetall(key)

    def hrandfield(self, key: str, count: int) -> list[bytes]:
        """Return all fields, as far as so many draws reach."""
        return list(self.hgetall(key))[: abs(count)]

    def hscan_iter(self, key: str, *, count: int = 0) -> Iterator[tuple[bytes, bytes]]:  # noqa: ARG002
        """Yield all fields."""
        yield from self.hgetall(key).items()

    # --- lists

    def llen(self, key: str) -> int:
        """Return the length of a list."""
        return len(self._list(key))

    def lindex(self, key: str, place: int) -> bytes | None:
        """Return the entry at a place."""
        values = self._list(key)
        return values[place] if -len(values) <= place < len(values) else None

    def lrange(self, key: str, first: int, last: int) -> list[bytes]:
        """Return a part of a list."""
        return self._list(key)[_slice(first, last, self.llen(key))]

    def lpos(self, key: str, value: object) -> int | None:
        """Return the place of a value."""
        values, wanted = self._list(key), to_bytes(value)
        return values.index(wanted) if wanted in values else None

    def rpush(self, key: str, *values: object) -> int:
        """Add to the end."""
        self._values_of(key, list).extend(map(to_bytes, values))
        return self.llen(key)

    def lpush(self, key: str, *values: object) -> int:
        """Add to the beginning."""
        for value in values:
            self._values_of(key, list).insert(0, to_bytes(value))
        return self.llen(key)

    def ltrim(self, key: str, first: object, last: object) -> None:
        """Keep only a part of a list."""
        values = self._list(key)
        values[:] = values[_slice(int(to_bytes(first)), int(to_bytes(last)), len(values))]
        self._drop_if_empty(key)

    def lrem(self, key: str, count: object, value: object) -> int:
        """Remove a value once, from the beginning or (count < 0) from the end."""
        values, wanted = self._list(key), to_bytes(value)
        if wanted not in values:
            return 0
        place = values.index(wanted)
        if int(to_bytes(count)) < 0:
            place = len(values) - 1 - values[::-1].index(wanted)
        del values[place]
        self._drop_if_empty(key)
        return 1

    # --- sets

    def sadd(self, key: str, *members: object) -> int:
        """Add members."""
        values = self._values_of(key, set)
        before = len(values)
        values.update(map(to_bytes, members))
        return len(values) - before

    def smembers(self, key: str) -> AbstractSet[bytes]:
        """Return all members."""
        return set(self._get(key) or ())

    def zadd(self, key: str, *pairs: object) -> int:
        """Set scores; with XX only of members that are there."""
        only_known = to_bytes(pairs[0]) == b"XX"
        values = self._hash(key) if only_known else self._values_of(key, dict)
        rest = pairs[1:] if only_known else pairs
        for score, member in zip(rest[::2], rest[1::2], strict=True):
            name = to_bytes(member)
            if not only_known or name in values:
                values[name] = float(to_bytes(score))
        return len(rest) // 2

    def zrem(self, key: str, *members: object) -> int:
        """Remove members."""
        return self.hdel(key, *members)

    def zcard(self, key: str) -> int:
        """Count the members."""
        return self.hlen(key)

    def zscore(self, key: str, member: object) -> float | None:
        """Return a member's score."""
        found: float | None = self._hash(key).get(to_bytes(member))
        return found

    def zrandmember(self, key: str, count: int) -> list[bytes]:
        """Return some members."""
        return list(self._hash(key))[:count]

    def zrevrank(self, key: str, member: object) -> int | None:
        """Return a member's place from the end."""
        names = [name for name, _ in reversed(self._sorted(key))]
        return names.index(to_bytes(member)) if to_bytes(member) in names else None

    def zrange(self, key: str, first: int, last: int, *, withscores: bool = False) -> list[Any]:
        """Return members by place."""
        return _rows(self._sorted(key)[_slice(first, last, self.zcard(key))], withscores)

    def zrevrange(self, key: str, first: int, last: int, *, withscores: bool = False) -> list[Any]:
        """Return members by place from the end."""
        return _rows(self._sorted(key)[::-1][_slice(first, last, self.zcard(key))], withscores)

    def zrangebyscore(
        self,
        key: str,
        low: object,
        high: object,
        *,
        start: int = 0,
        num: int = 2**62,
        withscores: bool = False,
    ) -> list[Any]:
        """Return members by score."""
        rows = [row for row in self._sorted(key) if _is_above(row[1], low) and _is_below(row[1], high)]
        return _rows(rows[start : start + num], withscores)

    def zrevrangebyscore(
        self,
        key: str,
        high: object,
        low: object,
        *,
        start: int = 0,
        num: int = 2**62,
        withscores: bool = False,
    ) -> list[Any]:
        """Return members by score, from the highest."""
        rows = [row for row in self._sorted(key) if _is_above(row[1], low) and _is_below(row[1], high)]
        return _rows(rows[::-1][start : start + num], withscores)

    def zrangebylex(self, key: str, low: str, high: str) -> list[bytes]:
        """Return members by name, where all scores are equal."""
        names = sorted(self._hash(key))
        return names[bisect_left(names, low[1:].encode()) : bisect_left(names, high[1:].encode())]

    def zremrangebyrank(self, key: str, first: object, last: object) -> None:
        """Remove members by place."""
        rows = self._sorted(key)
        self.zrem(
            key, *(name for name, _ in rows[_slice(int(to_bytes(first)), int(to_bytes(last)), len(rows))])
        )

    # --- inside

    def _get(self, key: str) -> Any:
        if key in self._ends and self._ends[key] <= self._now():
            self.delete_now(key)
        return self._values.get(key)

    def contents(self) -> dict[str, Any]:
        """Return every key with its value."""
        return {key: value for key in [*self._values] if (value := self._get(key)) is not None}

    def flushall(self) -> None:
        """Delete every key."""
        self._values.clear()
        self._ends.clear()

    def delete_now(self, key: str) -> None:
        """Drop a key whose lifetime is over."""
        del self._values[key], self._ends[key]

    def _hash(self, key: str) -> dict[bytes, Any]:
        found: dict[bytes, Any] | None = self._get(key)
        return {} if found is None else found

    def _list(self, key: str) -> list[bytes]:
        found: list[bytes] | None = self._get(key)
        return [] if found is None else found

    def _values_of(self, key: str, kind: Callable[[], Any]) -> Any:
        found = self._get(key)
        if found is None:
            found = self._values[key] = kind()
        return found

    def _sorted(self, key: str) -> list[tuple[bytes, float]]:
        return sorted(self._hash(key).items(), key=lambda row: (row[1], row[0]))

    def _drop_if_empty(self, key: str) -> None:
        if key in self._values and not self._values[key]:
            del self._values[key]
            self._ends.pop(key, None)


class MemoryPipeline:
    """Commands whose answers come together."""

    def __init__(self, server: MemoryServer) -> None:
        self._server, self._answers = server, list[Any]()

    def __enter__(self) -> "MemoryPipeline":
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to give back."""

    def __getattr__(self, command: str) -> Callable[..., "MemoryPipeline"]:
        method = getattr(self._server, command)

        def add(*args: Any, **options: Any) -> "MemoryPipeline":
            self._answers.append(method(*args, **options))
            return self

        return add

    def execute(self) -> list[Any]:
        """Return the answers."""
        answers, self._answers = self._answers, []
        return answers


class MemoryScript:
    """A script of the store, written in Python."""

    def __init__(
        self, server: MemoryServer, script: Callable[[MemoryServer, Sequence[str], list[bytes]], Any]
    ) -> None:
        self._server, self._script = server, script

    def __call__(self, *, keys: Sequence[str], args: Sequence[object]) -> Any:
        """Run it and return its answer."""
        return self._script(self._server, keys, list(map(to_bytes, args)))

    def run_pipelined(self, calls: Iterable[ScriptCall]) -> Iterator[Any]:
        """Yield the answers of several calls in order."""
        return (self(keys=call.keys, args=call.args) for call in calls)


def commit(server: MemoryServer, keys: Sequence[str], args: list[bytes]) -> tuple[int, bytes]:
    """Do what `commit.lua` does."""
    if server.hget(keys[0], "last") == args[0]:
        return 0, b""
    at = 2
    for check in range(1, int(args[1]) + 1):
        key = keys[int(args[at]) - 1]
        counted = to_bytes(server.hlen(key)) if args[at + 1] == b"#" else None
        found = counted or server.hget(key, args[at + 1]) or b""
        if found != args[at + 2]:
            return check, found
        at += 3
    while at < len(args):
        command, key, count = args[at].decode(), keys[int(args[at + 1]) - 1], int(args[at + 2])
        arguments = args[at + 3 : at + 3 + count]
        if command == "OPEN":
            bucket, jobs, order, by, lifetime = arguments
            is_open = server.hincrby(key, bucket, by) > 0
            for place in (jobs, order):
                name = keys[int(place) - 1]
                server.persist(name) if is_open else server.pexpire(name, lifetime)
        else:
            server.run(command, key, *arguments)
        at += 3 + count
    server.hset(keys[0], "last", args[0])
    return 0, b""


def accept(  # noqa: C901 as long as the script that it does the same as
    server: MemoryServer, keys: Sequence[str], args: list[bytes]
) -> tuple[Any, ...]:
    """Do what `accept.lua` does."""
    now, max_backlog, oldest, period, layout, buckets, _, max_bytes = args[:8]
    rows = [args[at : at + 7] for at in range(8 + int(buckets), len(args), 7)]
    meta = server.hgetall(keys[0])
    if meta.get(b"layout") != layout:
        return b"layout", meta.get(b"layout", b"")
    known: dict[bytes, bytes] = {}
    for generation in keys[4:7]:
        found = server.hmget(generation, [row[1] for row in rows])
        known |= {row[1]: value for row, value in zip(rows, found, strict=True) if value}
    at, fresh, duplicates, refused = int(now), list[list[bytes]](), list[Any](), list[Any]()
    for position, row in enumerate(rows):
        short, digest, fingerprint, occurred = row[0], row[1], row[2], int(row[3])
        if digest in known:
            job, _, content = known[digest].partition(b" ")
            if fingerprint and content != fingerprint:
                refused.append((position, b"conflict", job))
            elif job != short:
                duplicates.append((position, job))
        elif occurred > at + CLOCK_AHEAD_US:
            refused.append((position, b"ahead", b""))
        elif 0 < occurred < at - int(oldest):
            refused.append((position, b"too_old", b""))
        else:
            fresh.append(row)
            known[digest] = short + b" " + fingerprint
    if refused:
        return b"refused", refused
    if not fresh:
        return b"ok", 0, duplicates
    waiting = server.llen(keys[1]) + server.llen(keys[8]) - int(meta.get(b"dead", 0))
    if waiting + len(fresh) > int(max_backlog):
        return b"full", b"changes"
    size = max(0, int(meta.get(b"bytes", 0))) if waiting > 0 else 0
    size += sum(HEAD_SIZE + len(row[6]) for row in fresh)
    if size > int(max_bytes):
        return b"full", b"bytes"
    server.hset(keys[0], "bytes", size)
    since, present = int(meta.get(b"events_since", 0)), int(meta.get(b"events", 0))
    is_any_open = any(
        int(open_jobs) > 0 and int(bucket) < bucket_at(since)
        for bucket, open_jobs in server.hgetall(keys[7]).items()
    )
    if not since or (at - since > int(period) and not is_any_open):
        present = 1 - present if since else 0
        server.delete(keys[4 + present])
        server.hset(keys[0], "events", present, "events_since", at)
    number = server.hincrby(keys[2], "accepted", len(fresh)) - len(fresh)
    opened: dict[int, int] = {}
    for place, (short, digest, _, _, bucket, label, value) in enumerate(fresh, number + 1):
        own = 7 + 2 * abs(int(bucket))
        server.rpush(keys[8 if int(bucket) < 0 else 1], short)
        server.hset(keys[4 + present], digest, known[digest])
        server.hset(keys[own], short, at.to_bytes(8) + place.to_bytes(8) + value)
        server.rpush(keys[own + 1], short)
        opened[abs(int(bucket))] = opened.get(abs(int(bucket)), 0) + 1
        if batch := int(label):
            name = keys[8 + 2 * int(buckets) + batch]
            server.hincrby(name, "accepted")
            server.persist(name)
    for bucket_place, by in opened.items():
        if server.hincrby(keys[7], args[7 + bucket_place], by) == by:
            server.persist(keys[7 + 2 * bucket_place])
            server.persist(keys[8 + 2 * bucket_place])
    at_mark, idle_mark = server.hmget(keys[3], ("at", "idle"))
    if at_mark and not idle_mark:
        return b"ok", 0, duplicates
    server.delete(keys[3])
    server.hset(keys[3], "at", at, "delay", FIRST_WAKE_DELAY_US)
    return b"ok", 1, duplicates


def deliver(server: MemoryServer, keys: Sequence[str], args: list[bytes]) -> tuple[int]:
    """Do what `deliver.lua` does."""
    class_, now, name, delivery, request, age, most, lifetime = args
    meta, kept, requests, genuine, refused = keys
    order = genuine if class_ == b"genuine" else refused
    size = int(server.hget(meta, class_) or 0)

    def forget(id_: bytes) -> int:
        freed = server.hstrlen(kept, id_) + server.hstrlen(requests, id_)
        server.hdel(kept, id_)
        server.hdel(requests, id_)
        server.zrem(order, id_)
        return freed

    if name:
        newest = server.zrevrange(order, 0, 0, withscores=True)
        at = max(int(now), int(newest[0][1]) + 1 if newest else 0)
        times, first = 1, to_bytes(at)
        if known := server.hget(kept, name):
            before, first, _ = known.split(b" ", 2)
            times = int(before) + 1
            size -= forget(name)
        text = b"%d %b %b" % (times, first, delivery)
        server.hset(kept, name, text)
        if request:
            server.hset(requests, name, request)
        server.zadd(order, at, name)
        size += len(text) + len(request)
    gone = 0
    for id_, score in server.zrange(order, 0, FORGOTTEN_AT_ONCE - 1, withscores=True):
        if id_ == name or (size <= int(most) and score >= int(now) - int(age)):
            break
        size -= forget(id_)
        gone += 1
    server.hset(meta, class_, size)
    for key in keys:
        server.pexpire(key, lifetime)
    return (gone,)


COMMANDS: Mapping[str, Callable[..., Any]] = {
    "DEL": MemoryServer.delete,
    "HDEL": MemoryServer.hdel,
    "HINCRBY": MemoryServer.hincrby,
    "HSET": MemoryServer.hset,
    "LPUSH": MemoryServer.lpush,
    "LREM": MemoryServer.lrem,
    "LTRIM": MemoryServer.ltrim,
    "PERSIST": MemoryServer.persist,
    "PEXPIRE": MemoryServer.pexpire,
    "RPUSH": MemoryServer.rpush,
    "SADD": MemoryServer.sadd,
    "SET": MemoryServer.set,
    "ZADD": MemoryServer.zadd,
    "ZREM": MemoryServer.zrem,
    "ZREMRANGEBYRANK": MemoryServer.zremrangebyrank,
}


def _slice(first: int, last: int, length: int) -> slice:
    """Return a part as Redis names it: both ends belong to it, negative ones count from the end."""
    begin = max(0, first + length if first < 0 else first)
    end = last + length if last < 0 else last
    return slice(begin, max(begin, end + 1))


def _rows(rows: Sequence[tuple[bytes, float]], withscores: bool) -> list[Any]:
    return list(rows) if withscores else [name for name, _ in rows]


def _is_above(score: float, bound: object) -> bool:
    text = str(bound)
    return score > float(text[1:]) if text.startswith("(") else score >= float(text)


def _is_below(score: float, bound: object) -> bool:
    text = str(bound)
    return score < float(text[1:]) if text.startswith("(") else score <= float(text)
