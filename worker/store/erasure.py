"""Taking a record out of all that is kept beside jobs and open work: memories, requests, payloads, replays, deeds.

Goes through the keys of the account's server piece by piece, because some of them outlive every index.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from worker.contract import Relation
from worker.ports import RecordRef, Replay, RequestRecord
from worker.store import codec
from worker.store.limits import EXAMINED

GONE = "erased"


class Scrub:
    """One account's keys, below `base`, and a record that must not be found there again."""

    def __init__(self, client: Any, base: str, who: RecordRef, forget: Any) -> None:
        self._client, self._base, self._who, self._forget = client, base, who, forget
        self._token, self._counts = token(who), Counter[str]()

    def step(self, cursor: int) -> tuple[int, Mapping[str, int]]:
        """The next piece: where to go on (0: done), and counts of what went."""
        if not cursor:
            self._fixed()
        after, names = self._scan(cursor)
        kinds = {
            "rel": self._memory,
            "request": self._request,
            "payload": self._payload,
            "replay": self._replay,
            "batch": self._batch,
        }
        for name in names:
            kind, _, rest = name.decode().removeprefix(f"{self._base}:").partition(":")
            if rest and kind in kinds:
                kinds[kind](rest)
        return after, +self._counts

    def _fixed(self) -> None:
        """What there is one of: the batch in hand, the pause, the deeds."""
        self._client.delete(f"{self._base}:work")
        if self._names(self._client.hget(f"{self._base}:pause", "detail")):
            self._client.hset(f"{self._base}:pause", "detail", GONE)
        for name, told in self._client.hscan_iter(f"{self._base}:deed", count=EXAMINED):
            if self._names(told):
                by, act, _, count, _ = msgspec.json.decode(told)
                self._client.hset(f"{self._base}:deed", name, codec.encode((by, act, GONE, count, "")))
                self._counts["deeds"] += 1

    def _memory(self, relation: str) -> None:
        if self._who.is_part_of(Relation.parse(relation)):
            self._counts["memories"] += self._client.delete(f"{self._base}:rel:{relation}")

    def _request(self, name: str) -> None:
        text = self._client.get(f"{self._base}:request:{name}")
        if not self._names(text):
            return
        record = msgspec.json.decode(text, type=RequestRecord)
        said = codec.encode((record.correlations, record.answers, record.message))
        if self._names(said) or any(
            self._who.is_part_of(relation) for action in record.actions for relation in action.relations
        ):
            self._counts["requests"] += self._client.delete(f"{self._base}:request:{name}")

    def _payload(self, job: str) -> None:
        kept = self._client.hmget(f"{self._base}:payload:{job}", "body", "faults")
        if any(map(self._names, [*kept, self._client.hget(f"{self._base}:job:{job}", "e")])):
            self._forget(keys=[self._base], args=[job, codec.encode((0, "unreadable", "", ""))])
            self._counts["payloads"] += 1

    def _replay(self, name: str) -> None:
        """One that would send it anew goes; of others, what was shown of it."""
        key = f"{self._base}:replay:{name}"
        if name.endswith(":jobs") or not (about := self._client.hget(key, "about")):
            return
        replay = msgspec.json.decode(about, type=Replay)
        if self._names(codec.encode(replay.correction)) or self._sends(f"{key}:jobs"):
            self._client.delete(key, f"{key}:jobs")
            self._client.zrem(f"{self._base}:replays", name)
        elif self._names(codec.encode((replay.what, replay.plan, replay.examples))):
            self._client.hset(
                key, "about", codec.encode(msgspec.structs.replace(replay, what=GONE, plan={}, examples={}))
            )
        else:
            return
        self._counts["replays"] += 1

    def _batch(self, label: str) -> None:
        if self._names(label.encode()):
            self._counts["batches"] += self._client.delete(f"{self._base}:batch:{label}")

    def _sends(self, key: str) -> bool:
        pages = (
            self._client.lrange(key, start, start + EXAMINED - 1)
            for start in range(0, self._client.llen(key), EXAMINED)
        )
        return any(each.startswith(b"{") and self._names(each) for page in pages for each in page)

    def _names(self, text: bytes | None) -> bool:
        return bool(text and self._token.search(text))

    def _scan(self, cursor: int) -> tuple[int, list[bytes]]:
        """Some keys of the account; in a cluster they are all on one node."""
        asked = {"match": f"{_plain(self._base)}:*", "count": EXAMINED}
        if not hasattr(self._client, "get_node_from_key"):
            after, names = self._client.scan(cursor, **asked)
            return int(after), names
        node = self._client.get_node_from_key(f"{self._base}:jobs")
        cursors, names = self._client.scan(cursor, target_nodes=node, **asked)
        return int(cursors[node.name]), names


def token(who: RecordRef) -> re.Pattern[bytes]:
    """Finds the record's number in what others wrote, also with dots in it; rather once too often than not."""
    digits = f"{who.number}"
    grouped = f"{who.number:,}".replace(",", "[.,]")
    return re.compile(rf"(?<![0-9])(?:{digits}|{grouped})(?![0-9])".encode())


def _plain(text: str) -> str:
    """The text, matched as it is."""
    return re.sub(r"([\[\]*?\\])", r"\\\1", text)
