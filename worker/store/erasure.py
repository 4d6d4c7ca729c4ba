"""Erases a record from all that is kept beside jobs and open work.

That is memories, requests, payloads, replays and the audit log. It goes through the keys of the account's
server piece by piece, because some of them outlive every index.
"""

import re
from collections import Counter
from collections.abc import Mapping

import msgspec

from worker.contract import Relation
from worker.ports import ERASED, ErasedPiece, RecordRef, Replay, RequestRecord
from worker.store import codec, keys
from worker.store.limits import MAX_EXAMINED
from worker.store.scripts import StoreClient


class RecordEraser:
    """One account's keys, and the record to erase from them."""

    def __init__(self, client: StoreClient, account: str, who: RecordRef) -> None:
        self._client, self._redis = client, client.redis
        self._account, self._base = account, keys.base(client.prefix, account)
        self._who, self._pattern = who, record_pattern(who)
        self._counts, self._in_doubt = Counter[str](), dict[Relation, int]()

    def erase_next(self, cursor: int) -> ErasedPiece:
        """Erase the record from the next keys."""
        if not cursor:
            self._erase_single_keys()
        next_cursor, names = self._scan(cursor)
        erasers = {
            "rel": self._erase_memory,
            "request": self._erase_request,
            "payload": self._erase_payload,
            "replay": self._erase_replay,
            "batch": self._erase_batch,
        }
        for name in names:
            kind, _, rest = name.decode().removeprefix(f"{self._base}:").partition(":")
            if rest and kind in erasers:
                erasers[kind](rest)
        return ErasedPiece(next_cursor, +self._counts, self._in_doubt)

    def erase_replays(self) -> Mapping[str, int]:
        """Erase the record from the listed replays, and return what went."""
        for replay_id in self._redis.zrange(f"{self._base}:replays", 0, -1):
            self._erase_replay(replay_id.decode())
        return +self._counts

    def _erase_single_keys(self) -> None:
        """Erase it from the keys that exist once: the batch being worked, the pause, the audit log."""
        self._redis.delete(f"{self._base}:work")
        if self._names(self._redis.hget(f"{self._base}:pause", "detail")):
            self._redis.hset(f"{self._base}:pause", "detail", ERASED)
        for entry_id, row in self._redis.hscan_iter(f"{self._base}:deed", count=MAX_EXAMINED):
            if self._names(row):
                by, act, _, count, _ = msgspec.json.decode(row)
                self._redis.hset(f"{self._base}:deed", entry_id, codec.encode((by, act, ERASED, count, "")))
                self._counts["deeds"] += 1

    def _erase_memory(self, name: str) -> None:
        if not self._who.is_part_of(relation := Relation.parse(name)):
            return
        erased, until = self._client.run_now("erase_memory", self._account, name)
        self._counts["memories"] += erased
        if int(until):
            self._in_doubt[relation] = int(until)

    def _erase_request(self, request_id: str) -> None:
        text = self._redis.get(f"{self._base}:request:{request_id}")
        if not self._names(text):
            return
        record = msgspec.json.decode(text, type=RequestRecord)
        free_text = codec.encode((record.correlations, record.answers, record.message))
        if self._names(free_text) or any(map(self._who.is_named_by, record.actions)):
            self._counts["requests"] += self._redis.delete(f"{self._base}:request:{request_id}")

    def _erase_payload(self, job: str) -> None:
        kept = self._redis.hmget(f"{self._base}:payload:{job}", "body", "faults")
        if any(map(self._names, [*kept, self._redis.hget(f"{self._base}:job:{job}", "e")])):
            self._client.run("erase_payload", self._account, job, codec.unreadable_refusal(""))
            self._counts["payloads"] += 1

    def _erase_replay(self, replay_id: str) -> None:
        """Delete a replay that would send the record again; of others, drop what shows it."""
        key = f"{self._base}:replay:{replay_id}"
        if replay_id.endswith(":jobs") or not (about := self._redis.hget(key, "about")):
            return
        replay = msgspec.json.decode(about, type=Replay)
        if self._names(codec.encode(replay.correction)) or self._is_sent_by(f"{key}:jobs"):
            self._redis.delete(key, f"{key}:jobs")
            self._redis.zrem(f"{self._base}:replays", replay_id)
        elif self._names(codec.encode((replay.what, replay.plan, replay.examples))):
            erased = msgspec.structs.replace(replay, what=ERASED, plan={}, examples={})
            self._redis.hset(key, "about", codec.encode(erased))
        else:
            return
        self._counts["replays"] += 1

    def _erase_batch(self, label: str) -> None:
        if self._names(label.encode()):
            self._counts["batches"] += self._redis.delete(f"{self._base}:batch:{label}")

    def _is_sent_by(self, key: str) -> bool:
        """Return whether an entry of a replay's set has messages that name the record."""
        for start in range(0, self._redis.llen(key), MAX_EXAMINED):
            entries = self._redis.lrange(key, start, start + MAX_EXAMINED - 1)
            if any(entry.startswith(b"{") and self._names(entry) for entry in entries):
                return True
        return False

    def _names(self, text: bytes | None) -> bool:
        return bool(text and self._pattern.search(text))

    def _scan(self, cursor: int) -> tuple[int, list[bytes]]:
        """Return where to continue and some keys of the account; in a cluster they are all on one node."""
        options = {"match": f"{_escape_glob(self._base)}:*", "count": MAX_EXAMINED}
        if not hasattr(self._redis, "get_node_from_key"):
            next_cursor, names = self._redis.scan(cursor, **options)
            return int(next_cursor), names
        node = self._redis.get_node_from_key(f"{self._base}:jobs")
        cursors, names = self._redis.scan(cursor, target_nodes=node, **options)
        return int(cursors[node.name]), names


def record_pattern(who: RecordRef) -> re.Pattern[bytes]:
    """Return a pattern of the record's number, also with thousands separators; it rather matches too much."""
    digits = f"{who.number}"
    grouped = f"{who.number:,}".replace(",", "[.,]")
    return re.compile(rf"(?<![0-9])(?:{digits}|{grouped})(?![0-9])".encode())


def _escape_glob(text: str) -> str:
    return re.sub(r"([\[\]*?\\])", r"\\\1", text)
