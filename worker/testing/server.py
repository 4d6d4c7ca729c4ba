"""A server in memory: commands over a dictionary, pipelines of them, and the store's scripts in Python."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from worker.redis.scripts import ScriptCall
from worker.store.jobs.stored_job import HEAD_SIZE
from worker.store.keys import bucket_at
from worker.store.limits import CLOCK_AHEAD_US, CLOCK_SET_BACK_US, FIRST_WAKE_DELAY_US, FORGOTTEN_AT_ONCE
from worker.testing.commands import MemoryCommands, to_bytes

Rows = list[list[bytes]]
"""Changes as `accept.lua` takes them, seven arguments each."""


class MemoryServer(MemoryCommands):
    """Implements what the store calls of `redis.Redis`; a pipeline carries out its commands at once."""

    @property
    def scripts(self) -> dict[str, "MemoryScript"]:
        """The scripts by name."""
        return {
            "accept": MemoryScript(self, accept),
            "commit": MemoryScript(self, commit),
            "add": MemoryScript(self, commit),
            "deliver": MemoryScript(self, deliver),
            "forget": MemoryScript(self, deliver),
            "note": MemoryScript(self, note),
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
        return getattr(self, "delete" if command == "DEL" else command.lower())(key, *args)


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


def note(server: MemoryServer, keys: Sequence[str], args: list[bytes]) -> int:
    """Do what `note.lua` does."""
    new: int = server.run("HSET", keys[0], *args)
    return new


def commit(server: MemoryServer, keys: Sequence[str], args: list[bytes]) -> tuple[int, bytes]:
    """Do what `commit.lua` does."""
    if server.hget(keys[0], "last") == args[0]:
        return 0, b""
    at = 2 + 3 * int(args[1])
    checks = zip(args[2:at:3], args[3:at:3], args[4:at:3], strict=True)
    for check, (place, field, expected) in enumerate(checks, 1):
        key = keys[int(place) - 1]
        found = to_bytes(server.hlen(key)) if field == b"#" else server.hget(key, field) or b""
        if found != expected and not (found and expected == b"*"):
            return check, found
    while at < len(args):
        command, key, end = args[at].decode(), keys[int(args[at + 1]) - 1], at + 3 + int(args[at + 2])
        _write(server, keys, command, key, args[at + 3 : end])
        at = end
    server.hset(keys[0], "last", args[0])
    return 0, b""


def _write(
    server: MemoryServer, keys: Sequence[str], command: str, key: str, arguments: Sequence[bytes]
) -> None:
    """Run a command of a commit; two of them are its own."""
    if command == "KEEP":
        if server.pttl(key) < int(arguments[0]):
            server.pexpire(key, arguments[0])
    elif command == "OPEN":
        bucket, jobs, order, by, lifetime = arguments
        is_open = server.hincrby(key, bucket, by) > 0
        for name in (keys[int(jobs) - 1], keys[int(order) - 1]):
            server.persist(name) if is_open else server.pexpire(name, lifetime)
    else:
        server.run(command, key, *arguments)


def accept(server: MemoryServer, keys: Sequence[str], args: list[bytes]) -> tuple[Any, ...]:
    """Do what `accept.lua` does."""
    now, max_backlog, oldest, period, layout, buckets, _, max_bytes = args[:8]
    rows = [args[at : at + 7] for at in range(8 + int(buckets), len(args), 7)]
    meta, at = server.hgetall(keys[0]), int(now)
    if meta.get(b"layout") != layout:
        return b"layout", meta.get(b"layout", b"")
    known: dict[bytes, bytes] = {}
    for generation in keys[4:7]:
        found = server.hmget(generation, [row[1] for row in rows])
        known |= {row[1]: value for row, value in zip(rows, found, strict=True) if value}
    before = int(meta.get(b"latest", 0))
    accepted_at = max(at, before) if before <= at + CLOCK_SET_BACK_US else at
    latest = accepted_at + CLOCK_AHEAD_US
    fresh, duplicates, refused = _sort_out(rows, known, earliest=at - int(oldest), latest=latest)
    if refused:
        return b"refused", refused, now
    if not fresh:
        return b"ok", 0, duplicates
    waiting = server.llen(keys[1]) + server.llen(keys[8]) - int(meta.get(b"dead", 0))
    if waiting + len(fresh) > int(max_backlog):
        return b"full", b"changes"
    size = max(0, int(meta.get(b"bytes", 0))) if waiting > 0 else 0
    size += sum(HEAD_SIZE + len(row[6]) for row in fresh)
    if size > int(max_bytes):
        return b"full", b"bytes"
    server.hset(keys[0], "bytes", size, "latest", accepted_at)
    events = _turn_events(server, keys, meta, at=at, period=int(period))
    for row in fresh:
        server.hset(events, row[1], known[row[1]])
    _write_jobs(server, keys, fresh, args, at=accepted_at)
    at_mark, idle_mark = server.hmget(keys[3], ("at", "idle"))
    if at_mark and not idle_mark:
        return b"ok", 0, duplicates
    server.delete(keys[3])
    server.hset(keys[3], "at", at, "delay", FIRST_WAKE_DELAY_US)
    return b"ok", int(not server.hget(keys[-2], b"wakes")), duplicates


def _sort_out(
    rows: Rows, known: dict[bytes, bytes], *, earliest: int, latest: int
) -> tuple[Rows, list[tuple[int, bytes]], list[tuple[int, bytes, bytes]]]:
    """Return the new rows, now known by their events, the places of duplicates, and what is refused."""
    fresh: Rows = []
    duplicates: list[tuple[int, bytes]] = []
    refused: list[tuple[int, bytes, bytes]] = []
    for position, row in enumerate(rows):
        short, digest, fingerprint, occurred = row[0], row[1], row[2], int(row[3])
        job, _, content = known.get(digest, b"").partition(b" ")
        if job and fingerprint and content != fingerprint:
            refused.append((position, b"conflict", job))
            continue
        if job and job != short:
            duplicates.append((position, job))
        if job:
            continue
        if reason := _refuse_time(occurred, earliest, latest):
            refused.append((position, reason, b""))
            continue
        fresh.append(row)
        known[digest] = short + b" " + fingerprint
    return fresh, duplicates, refused


def _refuse_time(occurred: int, earliest: int, latest: int) -> bytes:
    """Return why nothing is accepted that occurred then; empty if it is."""
    if occurred > latest:
        return b"ahead"
    return b"too_old" if 0 < occurred < earliest else b""


def _turn_events(
    server: MemoryServer, keys: Sequence[str], meta: Mapping[bytes, bytes], *, at: int, period: int
) -> str:
    """Return the key of the events that are noted now; the two take turns."""
    since, present = int(meta.get(b"events_since", 0)), int(meta.get(b"events", 0))
    period = max(period, 1_000_000 * int(meta.get(b"finished_s", 0)))
    is_any_open = any(
        int(open_jobs) > 0 and int(bucket) <= bucket_at(since)
        for bucket, open_jobs in server.hgetall(keys[7]).items()
    )
    if not since or (at - since > period and not is_any_open):
        present = 1 - present if since else 0
        server.delete(keys[4 + present])
        server.hset(keys[0], "events", present, "events_since", at)
    return keys[4 + present]


def _write_jobs(
    server: MemoryServer, keys: Sequence[str], fresh: Rows, args: list[bytes], *, at: int
) -> None:
    """Write the new jobs into the inbox, their buckets and the counters of their labels."""
    buckets, opened = int(args[5]), Counter[int]()
    number = server.hincrby(keys[2], "accepted", len(fresh)) - len(fresh)
    for place, (short, _, _, _, bucket, label, value) in enumerate(fresh, number + 1):
        own = 7 + 2 * abs(int(bucket))
        server.rpush(keys[8 if int(bucket) < 0 else 1], short)
        server.hset(keys[own], short, at.to_bytes(8) + place.to_bytes(8) + value)
        server.rpush(keys[own + 1], short)
        opened[abs(int(bucket))] += 1
        if batch := int(label):
            name = keys[8 + 2 * buckets + batch]
            server.hincrby(name, "accepted")
            server.persist(name)
    for bucket_place, by in opened.items():
        if server.hincrby(keys[7], args[7 + bucket_place], by) == by:
            server.persist(keys[7 + 2 * bucket_place])
            server.persist(keys[8 + 2 * bucket_place])


def deliver(server: MemoryServer, keys: Sequence[str], args: list[bytes]) -> None:
    """Do what `deliver.lua` does."""
    class_, now, name, delivery, request, age, most, lifetime = args
    *own, _never = keys
    meta, kept, requests, genuine, refused = own
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
    for id_, score in server.zrange(order, 0, FORGOTTEN_AT_ONCE - 1, withscores=True):
        if id_ == name or (size <= int(most) and score >= int(now) - int(age)):
            break
        size -= forget(id_)
    server.hset(meta, class_, size)
    for key in own:
        server.pexpire(key, lifetime)
