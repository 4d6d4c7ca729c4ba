"""The few Redis commands that the store uses, over a dictionary and a test's clock."""

# ruff: noqa: ARG002 - arguments are those of `redis.Redis`

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase
from typing import Any

MILLISECOND = 1000  # µs


def to_bytes(value: object) -> bytes:
    """Return a value as it is stored."""
    return value if isinstance(value, bytes) else str(value).encode()


class MemoryCommands:
    """Implements the commands of `redis.Redis` that the store uses, named and called as there."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._values: dict[str, Any] = {}
        self._ends: dict[str, int] = {}

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
        """Let a key have no end, if it is still there."""
        return int(self._get(key) is not None and self._ends.pop(key, None) is not None)

    def scan(self, cursor: int = 0, *, match: str = "*", count: int = 0) -> tuple[int, list[bytes]]:
        """Return all keys that match."""
        plain = match.replace("\\", "")
        return 0, [
            key.encode() for key in [*self._values] if self._get(key) is not None and fnmatchcase(key, plain)
        ]

    def scan_iter(self, match: str = "*", *, count: int = 0) -> Iterator[bytes]:
        """Yield all keys that match."""
        yield from self.scan(match=match)[1]

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
        """Set fields, and return how many are new."""
        values = self._values_of(key, dict)
        before = len(values)
        for field, value in zip(pairs[::2], pairs[1::2], strict=True):
            values[to_bytes(field)] = to_bytes(value)
        return len(values) - before

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

    def hscan(self, key: str, cursor: int = 0, *, count: int = 0) -> tuple[int, dict[bytes, bytes]]:
        """Return all fields."""
        return 0, self.hgetall(key)

    def hrandfield(self, key: str, count: int) -> list[bytes]:
        """Return all fields, as far as so many draws reach."""
        return list(self.hgetall(key))[: abs(count)]

    def hscan_iter(self, key: str, *, count: int = 0) -> Iterator[tuple[bytes, bytes]]:
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
        """Remove a value so often from the beginning, or (count < 0) from the end; with 0 wherever it is."""
        values, wanted, most = self._list(key), to_bytes(value), int(to_bytes(count))
        places = [place for place, each in enumerate(values) if each == wanted]
        gone = places[most:] if most < 0 else places[: most or None]
        for place in reversed(gone):
            del values[place]
        self._drop_if_empty(key)
        return len(gone)

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
        """Set scores, with XX only of members that are there; return how many are new."""
        only_known = to_bytes(pairs[0]) == b"XX"
        values = self._hash(key) if only_known else self._values_of(key, dict)
        rest, before = pairs[1:] if only_known else pairs, len(values)
        for score, member in zip(rest[::2], rest[1::2], strict=True):
            name = to_bytes(member)
            if not only_known or name in values:
                values[name] = float(to_bytes(score))
        return len(values) - before

    # A sorted set is kept as a hash of scores.
    zrem, zcard, zscore, zmscore = hdel, hlen, hget, hmget

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
        return _rows(self._between(key, low, high)[start : start + num], withscores)

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
        return _rows(self._between(key, low, high)[::-1][start : start + num], withscores)

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
            del self._values[key], self._ends[key]
        return self._values.get(key)

    def contents(self) -> dict[str, Any]:
        """Return every key with its value."""
        return {key: value for key in [*self._values] if (value := self._get(key)) is not None}

    def flushall(self) -> None:
        """Delete every key."""
        self._values.clear()
        self._ends.clear()

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

    def _between(self, key: str, low: object, high: object) -> list[tuple[bytes, float]]:
        return [row for row in self._sorted(key) if _is_above(row[1], low) and _is_below(row[1], high)]

    def _drop_if_empty(self, key: str) -> None:
        if key in self._values and not self._values[key]:
            del self._values[key]
            self._ends.pop(key, None)


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
