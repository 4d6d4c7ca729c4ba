"""The kept deliveries on Redis, by source: the latest of those that were genuine, and of those that were not.

They have a hash tag per source, since a delivery may be about several accounts, or about none.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from worker.contract import account_of
from worker.errors import StoreUnreadable
from worker.ports.deliveries import (
    GENUINE,
    Delivery,
    DeliveryFilter,
    DeliveryFlaw,
    DeliveryRetention,
    KeptDelivery,
)
from worker.ports.erasure import RecordRef
from worker.ports.queries import CursorPage
from worker.ports.records import FOREVER
from worker.redis.client import translate_errors
from worker.store import codec, keys
from worker.store.account import read_jobs
from worker.store.database import Commit, Database, Registry
from worker.store.erasure.record_text import RecordText
from worker.store.jobs import job_references
from worker.store.keys import short_id
from worker.store.limits import MAX_EXAMINED, MAX_REFUSED_BYTES

CLASSES: Final = ("genuine", "refused")
DELIVER_KEYS: Final = ("meta", "kept", "requests", *CLASSES)
REGISTRATION_MEMORY: Final = 3600.0  # seconds for which a source counts as registered
PARTS: Final = (("HDEL", "kept"), ("HDEL", "requests"), *(("ZREM", name) for name in CLASSES))
PIECE: Final = 100  # deliveries whose requests are read at once

_decode = msgspec.json.Decoder(Delivery).decode


class RedisDeliveries:
    """Implements `ports.Deliveries`; `known` are the sources of the settings."""

    def __init__(
        self,
        database: Database,
        *,
        keep: Callable[[str], DeliveryRetention] = lambda _: DeliveryRetention(),
        known: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._database, self._retention, self._known = database, keep, known
        self._registry = Registry(self._database, "sources", seconds=REGISTRATION_MEMORY)

    def keep(self, found: KeptDelivery) -> None:
        """Keep a delivery, in place of itself if it is known."""
        self._registry.add(found.delivery.source)
        self._run(found.delivery.source, class_of(found.delivery), found)

    def tidy(self, source: str) -> None:
        """Forget what is too old."""
        for name in CLASSES:
            self._run(source, name)

    def _run(self, source: str, class_: str, found: KeptDelivery | None = None) -> None:
        keep = self._retention(source)
        most = keep.most_bytes if class_ == "genuine" else MAX_REFUSED_BYTES
        age = round(keep.seconds * 1e6)
        content = (found.delivery.id, codec.encode(found.delivery), found.request) if found else ("", "", "")
        names = [self._database.key(keys.source_tag(source), name) for name in (*DELIVER_KEYS, keys.NEVER)]
        head = (class_, self._database.now_text(), *content)
        script = self._database.scripts["deliver" if found else "forget"]
        with translate_errors():
            script(keys=names, args=[*head, age, most, max(1, age // 1000)])

    def replace(self, known: Delivery, now: Delivery) -> bool:
        """Put what became of a delivery in place of what is known."""
        [text] = self._read(known.source, "kept", [known.id])
        if text is None or _read_delivery(known.id, text, known.at) != known:
            return False
        times, first, _ = text.split(b" ", 2)
        plain = msgspec.structs.replace(now, at=0, first_at=0, times=1)
        new = b" ".join((times, first, codec.encode(plain)))
        commit = Commit(self._database, keys.source_tag(known.source))
        commit.check("kept", known.id, text)
        commit.run("HSET", "kept", known.id, new)
        commit.run("HINCRBY", "meta", class_of(known), len(new) - len(text))
        return commit.try_send()

    def find(self, wanted: DeliveryFilter, *, limit: int = 50, cursor: str = "") -> CursorPage[Delivery]:
        """Return the deliveries that match, newest first, of a bounded number that are looked at."""
        # A first page of all needs no more than it shows; after a cursor, others of its instant come first.
        most = MAX_EXAMINED if cursor or wanted.outcome else min(MAX_EXAMINED, limit + 1)
        places = self._list_places(wanted, cursor, most)
        found, last = list[Delivery](), cursor
        for start in range(0, len(places), PIECE):
            for delivery in self._read_places(places[start : start + PIECE]):
                if len(found) == limit:
                    return CursorPage(tuple(found), last)
                last = f"{delivery.at}:{delivery.id}"
                if wanted.outcome in ("", delivery.outcome):
                    found.append(delivery)
        return CursorPage(tuple(found), "{}:{}".format(*places[-1]) if len(places) == most else "")

    def _list_places(self, wanted: DeliveryFilter, cursor: str, most: int) -> list[tuple[int, str]]:
        """Return times and ids of so many deliveries that may match, newest first."""
        after = _read_cursor(cursor)
        until = min(after[0], wanted.until - 1 if wanted.until else after[0])
        classes = [name for name in CLASSES if not wanted.outcome or name == class_of(wanted)]
        places, now = list[tuple[int, str]](), self._database.now()
        for source in dict.fromkeys(wanted.sources or self.sources()):
            since = max(wanted.since, now - round(self._retention(source).seconds * 1e6))
            reads = self._database.reads(keys.source_tag(source))
            for name in classes:
                reads.zrevrangebyscore(name, until, since, start=0, num=most + 1, withscores=True)
            rows = [row for answer in reads.run() for row in answer]
            places += [(int(at), name.decode(errors="replace")) for name, at in rows]
        return sorted((place for place in places if place < after), reverse=True)[:most]

    def _read_places(self, places: Sequence[tuple[int, str]]) -> Iterator[Delivery]:
        """Yield the deliveries of these places that are still there, in their order."""
        by_source: dict[str, list[str]] = {}
        for _, name in places:
            by_source.setdefault(source_of(name), []).append(name)
        texts = {
            name: text
            for source, names in by_source.items()
            for name, text in zip(names, self._read(source, "kept", names), strict=True)
        }
        return (_read_delivery(name, text, at) for at, name in places if (text := texts[name]))

    def get(self, delivery_id: str) -> KeptDelivery | None:
        """Return one delivery with what is kept of its request."""
        source = source_of(delivery_id)
        reads = self._database.reads(keys.source_tag(source))
        reads.hget("kept", delivery_id)
        reads.hget("requests", delivery_id)
        for name in CLASSES:
            reads.zscore(name, delivery_id)
        text, request, *places = reads.run()
        at = max(int(place or 0) for place in places)
        if text is None or at < self._database.now() - round(self._retention(source).seconds * 1e6):
            return None
        return KeptDelivery(_read_delivery(delivery_id, text, at), request or b"")

    def sources(self) -> Sequence[str]:
        """Return every source that ever had a delivery; a failover may have lost those of the registry."""
        return sorted({*self._known(), *self._registry.names()})

    def erase(self, account: str, who: RecordRef) -> tuple[int, int]:
        """Forget every delivery for the account that names a record, or whose jobs are about it."""
        looked = gone = 0
        for source in self.sources():
            for delivery, request in self._read_all(source):
                if account not in delivery.accounts:
                    continue
                looked += 1
                if self._is_named(delivery, request, account, who):
                    gone += self._forget(delivery.id)
        return looked, gone

    def _is_named(self, delivery: Delivery, request: bytes, account: str, who: RecordRef) -> bool:
        text = RecordText(who)
        parts = request.split(b"\r\n\r\n", 1)  # its head and its body, or the query of onOffice
        texts = (delivery.message, codec.encode(delivery.rules).decode())
        if any(map(text.is_in_body, parts)) or any(map(text.is_in, texts)):
            return True
        if any(map(text.is_in_fault, delivery.faults)):
            return True
        own = [short_id(job) for job in delivery.jobs if account_of(job) == account]
        found = read_jobs(self._database, account, own) if own else {}
        return any(job_references.names(job, who) for job in found.values())

    def _forget(self, delivery_id: str) -> bool:
        """Forget one delivery; return whether it was there."""
        source = source_of(delivery_id)
        while True:
            reads = self._database.reads(keys.source_tag(source))
            reads.hget("kept", delivery_id)
            reads.hstrlen("requests", delivery_id)
            reads.zscore("genuine", delivery_id)
            text, size, place = reads.run()
            if text is None:
                return False
            commit = Commit(self._database, keys.source_tag(source))
            commit.check("kept", delivery_id, text)
            commit.run("HDEL", "kept", delivery_id)
            commit.run("HDEL", "requests", delivery_id)
            class_ = "refused" if place is None else "genuine"
            commit.run("ZREM", class_, delivery_id)
            commit.run("HINCRBY", "meta", class_, -(len(text) + size))
            if commit.try_send():
                return True

    def inspect(self, source: str, *, repair: bool) -> Sequence[DeliveryFlaw]:
        """Return what contradicts itself; what stands on one side alone goes, if it is to be mended."""
        reads = self._database.reads(keys.source_tag(source), at_once=True)
        reads.hmget("meta", CLASSES)
        reads.hgetall("kept")
        reads.hgetall("requests")
        for name in CLASSES:
            reads.zrange(name, 0, -1)
        counted, kept, requests, *orders = reads.run()
        commit = Commit(self._database, keys.source_tag(source))
        commit.check("kept", "#", len(kept))
        messages = list[str]()
        placed = {name for order in orders for name in order}
        whole = {name for name, text in kept.items() if name in placed and _is_readable(name, text)}
        if parts := {name for names in (kept, requests, *orders) for name in names} - whole:
            messages.append(f"only a part is there, or can be read, of {len(parts)} of its deliveries")
            for command, key in PARTS:
                commit.run(command, key, *sorted(parts))
        for name, order, number in zip(CLASSES, orders, counted, strict=True):
            commit.check("meta", name, number or "")
            size = sum(len(kept[each]) + len(requests.get(each, b"")) for each in order if each in whole)
            if size != int(number or 0):
                messages.append(f"{name} deliveries have {size} bytes, and {int(number or 0)} were counted")
                commit.run("HSET", "meta", name, size)
        if messages and repair:
            commit.try_send()
        return [DeliveryFlaw(source, message) for message in messages]

    def _read_all(self, source: str) -> Iterator[KeptDelivery]:
        """Yield every delivery of a source with what is kept of its request, oldest first."""
        reads = self._database.reads(keys.source_tag(source))
        for name in CLASSES:
            reads.zrange(name, 0, -1)
        names = [name.decode(errors="replace") for order in reads.run() for name in order]
        for start in range(0, len(names), PIECE):
            piece = names[start : start + PIECE]
            texts, requests = self._read(source, "kept", piece), self._read(source, "requests", piece)
            for name, text, request in zip(piece, texts, requests, strict=True):
                if text is not None:
                    yield KeptDelivery(_read_delivery(name, text, 0), request or b"")

    def _read(self, source: str, key: str, names: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = self._database.read(keys.source_tag(source), "hmget", key, list(names))
        return found


def class_of(delivery: Delivery | DeliveryFilter) -> str:
    """Return which class a delivery is kept in, so that none pushes out those of the other."""
    return "genuine" if delivery.outcome in GENUINE else "refused"


def source_of(delivery_id: str) -> str:
    """Return the source that the id of a delivery begins with."""
    return delivery_id.rpartition("-")[0]


def _read_delivery(name: str, text: bytes, at: int) -> Delivery:
    """Read a delivery; raise StoreUnreadable for what is none."""
    try:
        times, first, content = text.split(b" ", 2)
        found = _decode(content)
        return msgspec.structs.replace(found, id=name, at=at, first_at=int(first), times=int(times))
    except ValueError as error:
        raise StoreUnreadable(f"what is stored of delivery {name} cannot be read") from error


def _is_readable(name: bytes, text: bytes) -> bool:
    """Return whether it is a delivery, of a name that is text."""
    with suppress(ValueError, StoreUnreadable):
        return bool(_read_delivery(name.decode(), text, 0))
    return False


def _read_cursor(cursor: str) -> tuple[int, str]:
    at, _, name = cursor.partition(":")
    return (int(at), name) if at.isdecimal() else (FOREVER, "")
