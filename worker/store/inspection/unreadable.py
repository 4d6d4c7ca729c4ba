"""What stands in an account's keys and is not what we write there: found, and taken away.

What was taken away is missing then, which the invariants of `integrity.py` show and mend. Keys and fields
with names that we do not know are left as they are: another release may have written them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, cast

import msgspec

from worker.contract import Relation
from worker.errors import StoreUnreadable
from worker.ports.callbacks import CallbackMessage
from worker.ports.integrity import StoreFlaw
from worker.ports.replays import Replay
from worker.ports.requests import RequestRecord
from worker.redis.client import UNREADABLE, translate_errors
from worker.store import codec, keys
from worker.store.account import guarded_relation
from worker.store.database import Database
from worker.store.jobs.stored_job import LoadedJob
from worker.store.lease.replaced import read_versions
from worker.store.limits import MAX_EXAMINED
from worker.store.memories import Memory
from worker.store.meta import META_FIELDS
from worker.store.pauses import PAUSE_FIELDS

TYPES: Final[Mapping[str, bytes]] = {
    **dict.fromkeys(("meta", "references", "replaced", "buckets", "kept", "events", "memories"), b"hash"),
    **dict.fromkeys(("payload", "open", "journal", "holder", "lease", "work", "wake", "pause"), b"hash"),
    **dict.fromkeys(("refused", "deletes", "deed", "replay", "counts", "batch", "watched"), b"hash"),
    **dict.fromkeys(("reported", "callback", "numbers", "history", "pace", "jobs"), b"hash"),
    **dict.fromkeys(("queue", "look_ups", "claimed", "order", "requests"), b"list"),
    **dict.fromkeys(("parked", "keep", "payloads", "failed", "due", "guard", "deeds", "running"), b"zset"),
    **dict.fromkeys(("replays", "looks", "callbacks", "unsent"), b"zset"),
    "failures": b"set",
    "request": b"string",
}
"""The types of keys by the first part of their names."""
OLD_JOBS: Final = "jobs"  # of release 0.1.0, whose data is moved before anything is looked at
FIELDS: Final[Mapping[str, Mapping[str, Callable[[bytes], object]]]] = {
    "meta": dict.fromkeys((*META_FIELDS[1:], "bytes", "sets", "sets_since", "erasures"), int),
    "work": {
        **dict.fromkeys(("size", "half", "losses", "idle"), int),
        **dict.fromkeys(("alone", "held", "full"), bytes.decode),
    },
    "wake": dict.fromkeys(("at", "delay", "idle"), int),
    "pause": {**dict.fromkeys(PAUSE_FIELDS, bytes.decode), "since": int, "until": int},
    "refused": {"fingerprint": bytes.decode, "until": int},
    "replay": {
        "about": partial(msgspec.json.decode, type=Replay),
        **dict.fromkeys(("made", "run", "finished", "at", "back"), int),
    },
    "payload": {"faults": partial(msgspec.json.decode, type=list[str])},
    "pace": {
        **dict.fromkeys(("tat", "factor", "failures", "cooldown", "open_until", "probe"), float),
        **dict.fromkeys(("not_before", "steady", "suspects_after", "failed_at"), float),
    },
}
"""What reads the fields of hashes that have fields of several kinds."""
REMOVERS: Final = {b"hash": ("HDEL",), b"list": ("LREM", 0), b"zset": ("ZREM",), b"set": ("SREM",)}
"""The command that takes a member away, and what it has before that."""


class UnreadableValue(NamedTuple):
    """A key of the account, or what is in it, that cannot be read; and the command that takes it away."""

    key: str
    command: tuple[Any, ...]
    member: bytes = b""

    @property
    def flaw(self) -> StoreFlaw:
        """The flaw that it is."""
        name = self.member.decode("ascii", "backslashreplace")
        return StoreFlaw("unreadable", f"{self.key} {name}".strip(), "is not what we write there")


def find_unreadable(database: Database, account: str) -> Iterator[UnreadableValue]:
    """Yield everything in the account's keys that is not what we write there."""
    base = f"{keys.base(database.prefix, account)}:"
    with translate_errors():
        for full in database.redis.scan_iter(f"{keys.escape_glob(base)}*", count=MAX_EXAMINED):
            yield from _check_key(database.redis, full, full.decode(errors="replace").removeprefix(base))


def _check_key(redis: Any, full: bytes, key: str) -> Iterator[UnreadableValue]:
    family = key.partition(":")[0]
    if family not in TYPES or key == OLD_JOBS:
        return
    is_list = key.startswith("replay:") and key.endswith(":jobs")
    kind, found = b"list" if is_list else TYPES[family], redis.type(full)
    if found != kind:
        if found != b"none":
            yield UnreadableValue(key, ("DEL", full))
        return
    if kind == b"string":
        if not _can_read(_read_request, full, redis.get(full) or b""):
            yield UnreadableValue(key, ("DEL", full))
        return
    default = partial(_read_field, FIELDS.get(family, {})) if kind == b"hash" else _read_name
    read = READERS.get(family, default)
    for member, text in _contents(redis, full, kind):
        if not _can_read(read, member, text):
            yield UnreadableValue(key, (REMOVERS[kind][0], full, *REMOVERS[kind][1:], member), member)


def _contents(redis: Any, full: bytes, kind: bytes) -> Iterable[tuple[bytes, bytes]]:
    """Return the fields of a hash with their texts, or the members of anything else."""
    match kind:
        case b"hash":
            return cast(Iterable[tuple[bytes, bytes]], redis.hscan_iter(full, count=MAX_EXAMINED))
        case b"list":
            members = set(_read_pages(redis.lrange, full))
        case b"zset":
            members = set(_read_pages(redis.zrange, full))
        case _:
            members = redis.smembers(full)
    return ((member, b"") for member in members)


def _read_pages(read: Callable[[bytes, int, int], list[bytes]], full: bytes) -> Iterator[bytes]:
    start = 0
    while page := read(full, start, start + MAX_EXAMINED - 1):
        yield from page
        start += len(page)


def take_away(database: Database, found: UnreadableValue) -> None:
    """Take it away. Nobody else can have changed it: nobody can read it."""
    with translate_errors():
        database.redis.execute_command(*found.command)


def _can_read(read: Callable[[bytes, bytes], object], field: bytes, text: bytes) -> bool:
    try:
        read(field, text)
    except (StoreUnreadable, *UNREADABLE):
        return False
    return True


def _read_name(name: bytes, _text: bytes) -> str:
    return name.decode()


def _read_job(name: bytes, text: bytes) -> LoadedJob:
    return LoadedJob.read(name.decode(), text, is_kept=False)


def _read_memory(name: bytes, text: bytes) -> Memory:
    return Memory.read(name.decode(), text, account="", now=0)


def _read_request(_name: bytes, text: bytes) -> RequestRecord | None:
    return msgspec.json.decode(text, type=RequestRecord) if text else None  # which has ended meanwhile


def _read_number(name: bytes, text: bytes) -> tuple[str, int]:
    return name.decode(), int(text)


def _read_field(readers: Mapping[str, Callable[[bytes], object]], name: bytes, text: bytes) -> None:
    if read := readers.get(name.decode(errors="replace")):
        read(text)


READERS: Final[Mapping[str, Callable[[bytes, bytes], object]]] = {
    **dict.fromkeys(("jobs", "kept"), _read_job),
    "memories": _read_memory,
    "open": lambda _name, text: codec.read_open(text),
    "journal": lambda name, text: codec.begun({name: text}),
    "events": lambda _name, text: text.decode(),
    "buckets": lambda name, text: (int(name), int(text)),
    **dict.fromkeys(("counts", "numbers", "batch"), _read_number),
    "deletes": lambda name, text: (name == b"go" or int(name), int(text)),
    "references": lambda _name, text: [*map(int, text.split())],
    "replaced": lambda _name, text: read_versions("", text),
    "deed": lambda name, text: codec.read_audit_entry(name.decode(), 0, text),
    "callback": lambda _name, text: msgspec.json.decode(text, type=CallbackMessage),
    "due": lambda name, _text: Relation.parse(name.decode()),
    "guard": lambda name, _text: guarded_relation(name.decode()),
}
"""What reads a field or a member of these keys; of all others but hashes, members are texts."""
