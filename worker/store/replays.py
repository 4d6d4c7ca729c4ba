"""The replays of an account, their sets and their progress; each is kept for a week."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from worker.contract import account_of
from worker.errors import BacklogFull, StoreUnavailable
from worker.ports.records import AuditEntry
from worker.ports.replays import Basis, Replay, ReplayEntry, ReplayState
from worker.redis.client import tells_unreadable, translate_unreadable
from worker.store import codec
from worker.store.account import AccountCommit
from worker.store.acts import Acts, send_act
from worker.store.database import repeat_while_overtaken
from worker.store.limits import MAX_EXAMINED, MAX_REPLAYS, MAX_SETS_BYTES, REPLAY_LIFETIME

REPLAY_MS: Final = round(REPLAY_LIFETIME * 1000)


class RedisReplays(Acts):
    """Implements `ports.Replays`."""

    def read_basis(self, account: str) -> Basis:
        """Return what a replay is made of whose jobs are read from now on."""
        erasures = self.database.read(account, "hget", "meta", "erasures")
        return Basis(self.database.now(), int(erasures or 0))

    def save_replay(
        self, replay: Replay, entries: Sequence[ReplayEntry], audit_entry: AuditEntry, *, erasures: int
    ) -> None:
        """Save a replay and its set; if a piece of the set is lost on the way, there is no replay."""
        texts = [codec.replay_entry(entry) for entry in entries]
        repeat_while_overtaken(replay.account, lambda: self._make_room(replay, sum(map(len, texts))))
        for start in range(0, len(texts), MAX_EXAMINED):
            piece = texts[start : start + MAX_EXAMINED]
            repeat_while_overtaken(replay.account, partial(self._save_piece, replay, start, piece, erasures))
        repeat_while_overtaken(replay.account, lambda: self._save_replay(replay, audit_entry, erasures))

    def _make_room(self, replay: Replay, size: int) -> None:
        """Count the bytes of a set among those of a week; raise BacklogFull when they are too many."""
        commit, _ = self._begin_act(replay.account, adds=True)
        reads = self.database.reads(replay.account)
        reads.exists(f"replay:{replay.id}")
        reads.hmget("meta", ("sets", "sets_since"))
        exists, (known, since) = reads.run()
        is_new_week = commit.now - int(since or 0) > REPLAY_MS * 1000
        total = (0 if is_new_week else int(known or 0)) + size
        if exists:
            return
        if total > MAX_SETS_BYTES:
            end = f"{MAX_SETS_BYTES} bytes; run or narrow those that are there, or wait"
            raise BacklogFull(f"the sets of a week's replays would be more than {end}", retry_after=3600.0)
        commit.run("HSET", "meta", "sets", total, "sets_since", commit.now if is_new_week else since)
        send_act(commit)

    def _save_piece(self, replay: Replay, start: int, piece: Sequence[bytes], erasures: int) -> None:
        (commit, _), key = self._begin_act(replay.account, adds=True), f"replay:{replay.id}"
        reads = self.database.reads(replay.account)
        reads.exists(key)
        reads.llen(f"{key}:jobs")
        reads.hget("meta", "erasures")
        exists, length, erased = reads.run()
        if exists or length != start:
            return
        _check_erasures(commit, erased, erasures)
        commit.run("RPUSH", f"{key}:jobs", *piece)
        commit.run("PEXPIRE", f"{key}:jobs", REPLAY_MS)
        send_act(commit)

    def _save_replay(self, replay: Replay, entry: AuditEntry, erasures: int) -> None:
        commit, known = self._begin_act(replay.account, entry, adds=True)
        key, reads = f"replay:{replay.id}", self.database.reads(replay.account)
        reads.exists(key)
        reads.zcard("replays")
        reads.llen(f"{key}:jobs")
        reads.hget("meta", "erasures")
        exists, count, listed, erased = reads.run()
        if exists:
            return
        _check_erasures(commit, erased, erasures)
        if listed != replay.eligible:
            raise StoreUnavailable("a part of the replay's set is gone; prepare it again", retry_after=1.0)
        made = replay.made_at or commit.now
        about = ("about", codec.encode(replay), "state", "previewed", "made", made, "at", 0, "back", 0)
        commit.run("HSET", key, *about)
        for name in (key, f"{key}:jobs"):
            commit.run("PEXPIRE", name, REPLAY_MS)
        commit.run("ZADD", "replays", commit.now, replay.id)
        if count >= MAX_REPLAYS:
            commit.run("ZREMRANGEBYRANK", "replays", 0, -MAX_REPLAYS - 1)
        commit.run("PEXPIRE", "replays", REPLAY_MS)
        if not known:
            commit.audit(entry, replay.eligible, None)
        send_act(commit)

    def get_replay(self, replay_id: str) -> Replay | None:
        """Return one replay, with its progress."""
        account = account_of(replay_id)
        with translate_unreadable(account):
            return codec.replay(self.database.read(account, "hgetall", f"replay:{replay_id}"))

    @tells_unreadable
    def list_replays(self, account: str, *, limit: int = 50) -> list[Replay]:
        """Return the account's replays, newest first."""
        ids = self.database.read_names(account, "zrevrange", "replays", 0, limit - 1)
        reads = self.database.reads(account)
        for id_ in ids:
            reads.hgetall(f"replay:{id_}")
        return [replay for row in reads.run() if (replay := codec.replay(row))]

    def replay_entries(self, replay_id: str, start: int, most: int) -> list[ReplayEntry]:
        """Return a piece of the replay's set."""
        if most <= 0:
            return []
        account, key = account_of(replay_id), f"replay:{replay_id}:jobs"
        rows = self.database.read(account, "lrange", key, start, start + most - 1)
        return [codec.read_replay_entry(row) for row in rows]

    def set_replay_state(
        self, replay_id: str, to: ReplayState, audit_entry: AuditEntry
    ) -> ReplayState | None:
        """Start, continue or stop a replay; return its state."""
        return repeat_while_overtaken(
            account_of(replay_id), lambda: self._set_replay_state(replay_id, to, audit_entry)
        )

    def _set_replay_state(self, replay_id: str, to: ReplayState, entry: AuditEntry) -> ReplayState | None:
        account, key = account_of(replay_id), f"replay:{replay_id}"
        commit, known = self._begin_act(account, entry)
        reads = self.database.reads(account)
        reads.hgetall(key)
        reads.pttl(key)
        reads.pttl("running")
        row, *lifetimes = reads.run()
        replay = codec.replay(row)
        if replay is None or replay.state == "done":
            return replay.state if replay else None
        if to == "running":
            commit.run("ZADD", "running", commit.now, replay_id)
            commit.run("PEXPIRE", "running", max(1, *lifetimes))
        else:
            commit.run("ZREM", "running", replay_id)
        if replay.state != to:
            commit.run("HSET", key, "state", to)
            if to == "running" and not replay.run_at:
                commit.run("HSET", key, "run", commit.now)
            if not known:
                commit.audit(_about(replay, entry), replay.done, None)
        send_act(commit)
        return to

    def advance_replay(
        self,
        replay: Replay,
        start: int,
        end: int,
        *,
        back: int,
        missed: Mapping[str, int],
        audit_entry: AuditEntry,
    ) -> ReplayState | None:
        """Count a piece of the set as worked, once; return the replay's state."""

        def act() -> ReplayState | None:
            key, (commit, known) = f"replay:{replay.id}", self._begin_act(replay.account, audit_entry)
            before = self.get_replay(replay.id)
            if before is None:
                return None
            is_last = end == replay.eligible
            if before.done != start or before.state == "done" or (start == end and not is_last):
                return before.state
            commit.run("HSET", key, "at", end)
            commit.count(key, {"back": back, **{f"missed:{reason}": by for reason, by in missed.items()}})
            if not is_last:
                if before.state == "running":
                    commit.run("ZADD", "running", "XX", commit.now, replay.id)
                send_act(commit)
                return before.state
            commit.run("ZREM", "running", replay.id)
            commit.run("HSET", key, "state", "done", "finished", commit.now)
            if not known:
                commit.audit(_about(before, audit_entry), before.back + back, None)
            send_act(commit)
            return "done"

        return repeat_while_overtaken(replay.account, act)

    def stalled_replays(self, account: str, seconds: float) -> list[str]:
        """Return the replays that should run and have not advanced for so long."""
        before = self.database.now() - round(seconds * 1e6)
        with translate_unreadable(account):
            ids = self.database.read_names(account, "zrangebyscore", "running", "-inf", before)
        reads = self.database.reads(account)
        for id_ in ids:
            reads.exists(f"replay:{id_}")
        exists = dict(zip(ids, reads.run(), strict=True))
        if gone := [id_ for id_, there in exists.items() if not there]:
            repeat_while_overtaken(account, lambda: self._drop_replays(account, gone))
        return [id_ for id_, there in exists.items() if there]

    def _drop_replays(self, account: str, ids: Sequence[str]) -> None:
        commit, _ = self._begin_act(account)
        commit.run("ZREM", "running", *ids)
        send_act(commit)

    def is_inspected(self, account: str) -> bool:
        """Return whether all that is stored of the account is being read, while nothing should change it."""
        return self.database.read(account, "hget", "holder", "inspects") is not None

    def touch_replay(self, replay_id: str) -> None:
        """Note that the replay was given to a worker."""

        def act() -> None:
            commit, _ = self._begin_act(account_of(replay_id))
            commit.run("ZADD", "running", "XX", commit.now, replay_id)
            send_act(commit)

        repeat_while_overtaken(account_of(replay_id), act)


def _check_erasures(commit: AccountCommit, erased: bytes | None, erasures: int) -> None:
    """Let a commit hold only while no record is erased: the replay was made of jobs that may name it."""
    if int(erased or 0) != erasures:
        raise StoreUnavailable(
            "a record was erased while the replay was prepared; prepare it again", retry_after=1.0
        )
    commit.check("meta", "erasures", erased or "")


def _about(replay: Replay, entry: AuditEntry) -> AuditEntry:
    """Return an audit entry with the words of a replay as they stand now: they may have been erased since."""
    return msgspec.structs.replace(entry, what=replay.what)
