"""The callbacks of an account: labels that are watched, and messages that wait to be told or were.

All of it is written by commits beside the work: no flush and no script knows of it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from worker.contract import account_of
from worker.contract.instant import SECOND
from worker.ports.callbacks import BatchCounts, CallbackMessage, DueCallbacks, Watch
from worker.ports.queries import CursorPage
from worker.redis.client import tells_unreadable, translate_unreadable
from worker.store import codec
from worker.store.database import Commit, Database
from worker.store.limits import MAX_EXAMINED, MAX_MESSAGES, MAX_WATCHED
from worker.store.redis_store import RedisStore

CLAIMABLE: Final = 10  # due messages that are looked at for one that nobody else takes

_decode_message = msgspec.json.Decoder(CallbackMessage).decode
_decode_reported = msgspec.json.Decoder(dict[str, BatchCounts]).decode


class RedisCallbacks:
    """Implements `ports.CallbackStore` beside a store."""

    def __init__(self, store: RedisStore) -> None:
        self._database: Database = store.database
        self._retention = store.retention

    def now(self) -> int:
        """Return the store's time."""
        return self._database.now()

    # --- labels

    def watch(self, account: str, labels: Mapping[str, tuple[Collection[str], float]]) -> None:
        """Note that a change with these labels comes; it is harmless if it never does."""
        now, commit = self.now(), Commit(self._database, account, adds=True)
        for label, (names, seconds) in labels.items():
            commit.run("HSET", "watched", label, f"{now} {' '.join(sorted(names))}")
            commit.run("ZADD", "looks", now + round(seconds * SECOND), label)
        self._keep(commit, account, "watched", "looks")
        commit.send()

    def due_callbacks(self, account: str, names: Collection[str], *, limit: int) -> DueCallbacks:
        """Return what is to be done now, in two round trips."""
        now, reads, listed = self.now(), self._database.reads(account), sorted(names)
        reads.zrangebyscore("looks", "-inf", now, start=0, num=limit)
        for name in listed:
            reads.zrangebyscore(f"unsent:{name}", "-inf", now, start=0, num=1)
        with translate_unreadable(account):
            labels, *waiting = reads.run()
            watches = tuple(self._read_watches(account, [name.decode() for name in labels]))
        due = frozenset(name for name, found in zip(listed, waiting, strict=True) if found)
        return DueCallbacks(now, watches, due)

    def _read_watches(self, account: str, labels: Sequence[str]) -> list[Watch]:
        if not labels:
            return []
        reads = self._database.reads(account)
        reads.hmget("watched", labels)
        reads.hmget("reported", labels)
        for label in labels:
            reads.hgetall(f"batch:{label}")
        watched, reported, *counts = reads.run()
        return [
            _read_watch(label, (noted or b"").decode(), (earlier or b"").decode(), codec.counts(found))
            for label, noted, earlier, found in zip(labels, watched, reported, counts, strict=True)
        ]

    def settle_watch(
        self,
        account: str,
        watch: Watch,
        *,
        look_at: int | None,
        messages: Sequence[CallbackMessage] = (),
        reported: Mapping[str, BatchCounts] | None = None,
    ) -> bool:
        """Write what was decided about a label, unless it is another decision by now."""
        commit = Commit(self._database, account, adds=bool(messages))
        for name, value in zip(("watched", "reported"), watch.version, strict=True):
            commit.check(name, watch.label, value)
        if look_at is None:
            self._forget(commit, [watch.label])
        else:
            commit.run("ZADD", "looks", look_at, watch.label)
            if reported is not None:
                commit.run("HSET", "reported", watch.label, codec.encode(reported))
            self._keep(commit, account, "watched", "looks", "reported")
        for message in messages:
            self._put(commit, message)
            commit.run("ZADD", "callbacks", message.made_at, message.id)
        if messages:
            self._keep(commit, account, "callbacks")
            self._drop_surplus_labels(commit, account)
            self._drop_old_messages(commit, account)
        return commit.try_send()

    def _forget(self, commit: Commit, labels: Sequence[str]) -> None:
        for name in ("watched", "reported"):
            commit.run("HDEL", name, *labels)
        commit.run("ZREM", "looks", *labels)

    def _drop_surplus_labels(self, commit: Commit, account: str) -> None:
        """Forget labels beyond the number that is kept: those that nobody needs to look at for longest."""
        count = self._database.read(account, "zcard", "looks")
        if count <= MAX_WATCHED:
            return
        first = max(MAX_WATCHED, count - MAX_EXAMINED)
        if surplus := self._database.read_names(account, "zrange", "looks", first, -1):
            self._forget(commit, surplus)

    # --- messages

    def claim_message(self, account: str, callback: str, *, seconds: float) -> CallbackMessage | None:
        """Return a due message that nobody else is sending."""
        now = self.now()
        ids = self._database.read_names(
            account, "zrangebyscore", f"unsent:{callback}", "-inf", now, start=0, num=CLAIMABLE
        )
        for message_id, before in zip(ids, self._read_messages(account, ids), strict=True):
            if before is None or before.state != "waiting":
                self._drop_unsent(account, callback, message_id)
                continue
            claimed = msgspec.structs.replace(
                before,
                tried_at=now,
                next_at=now + round(seconds * SECOND),
                status=0,
                error="",
            )
            if self.put_message(before, claimed):
                return claimed
        return None

    def _drop_unsent(self, account: str, callback: str, message_id: str) -> None:
        """Take off the list what was erased, or ended by a writer that lost the rest of its work."""
        commit = Commit(self._database, account)
        commit.run("ZREM", f"unsent:{callback}", message_id)
        commit.send()

    def put_message(self, before: CallbackMessage, after: CallbackMessage) -> bool:
        """Write what became of a message, unless somebody else wrote something of it."""
        commit = Commit(self._database, after.account)
        commit.check("callback", after.id, codec.encode(before))
        self._put(commit, after)
        return commit.try_send()

    def _put(self, commit: Commit, message: CallbackMessage) -> None:
        commit.run("HSET", "callback", message.id, codec.encode(message))
        unsent = f"unsent:{message.callback}"
        if message.state == "waiting":
            commit.run("ZADD", unsent, message.next_at, message.id)
        else:
            commit.run("ZREM", unsent, message.id)
        self._keep(commit, message.account, "callback", unsent)

    def get_message(self, message_id: str) -> CallbackMessage | None:
        """Return one message."""
        return self._read_messages(account_of(message_id), [message_id])[0]

    @tells_unreadable
    def list_messages(
        self, account: str, *, limit: int = 50, cursor: str = ""
    ) -> CursorPage[CallbackMessage]:
        """Return the messages of an account, newest first; the cursor is when the last was made, and its id.

        Those of one look at several labels are made at the same time.
        """
        made_at, _, last = cursor.partition(":")
        rank = self._database.read(account, "zrevrank", "callbacks", last) if last else None
        if rank is None:  # it is gone, or no cursor
            below = f"({made_at}" if made_at.isascii() and made_at.isdecimal() else "+inf"
            place = ("zrevrangebyscore", "callbacks", below, "-inf")
            rows = self._database.read(account, *place, start=0, num=limit, withscores=True)
        else:
            place = ("zrevrange", "callbacks", rank + 1, rank + limit)
            rows = self._database.read(account, *place, withscores=True)
        ids = [name.decode() for name, _ in rows]
        found = [message for message in self._read_messages(account, ids) if message]
        return CursorPage(tuple(found), f"{int(rows[-1][1])}:{ids[-1]}" if len(ids) == limit else "")

    def count_waiting(self, account: str, callback: str) -> int:
        """Return how many messages of a callback wait."""
        count: int = self._database.read(account, "zcard", f"unsent:{callback}")
        return count

    def _read_messages(self, account: str, ids: Sequence[str]) -> list[CallbackMessage | None]:
        if not ids:
            return []
        texts = self._database.read(account, "hmget", "callback", ids)
        return [_decode_message(text) if text else None for text in texts]

    def _drop_old_messages(self, commit: Commit, account: str) -> None:
        """Forget messages that are as old as failed jobs may get, and the oldest beyond their number."""
        oldest = self.now() - round(self._retention(account).failed * SECOND)
        reads = self._database.reads(account)
        reads.zcard("callbacks")
        reads.zrangebyscore("callbacks", "-inf", oldest, start=0, num=MAX_EXAMINED)
        count, old = reads.run()
        if count > MAX_MESSAGES:
            last = min(count - MAX_MESSAGES, MAX_EXAMINED) - 1
            old += self._database.read(account, "zrange", "callbacks", 0, last)
        gone = {name.decode() for name in old}
        for message in filter(None, self._read_messages(account, sorted(gone))):
            commit.run("ZREM", f"unsent:{message.callback}", message.id)
        if gone:
            commit.run("ZREM", "callbacks", *gone)
            commit.run("HDEL", "callback", *gone)

    # --- inside

    def _keep(self, commit: Commit, account: str, *names: str) -> None:
        """Let these keys live as long as failed jobs from now on; they were written before."""
        for name in names:
            commit.run("KEEP", name, round(1000 * self._retention(account).failed))


def _read_watch(label: str, noted: str, reported: str, counts: Mapping[str, int]) -> Watch:
    accepted_at, *callbacks = noted.split() or ["0"]
    known = BatchCounts(*(counts.get(name, 0) for name in BatchCounts._fields))
    earlier = _decode_reported(reported) if reported else {}
    return Watch(label, int(accepted_at), tuple(callbacks), earlier, known, (noted, reported))
