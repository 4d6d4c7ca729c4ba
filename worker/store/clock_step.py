"""Brings forward what is dated ahead in an account, after the store's clock was set back."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Final

import msgspec

from worker.contract import Relation
from worker.planner.relation_state import OpenRelation
from worker.ports.callbacks import CallbackMessage
from worker.redis.client import tells_unreadable
from worker.store import codec
from worker.store.account import AccountCommit, read_jobs, read_memories
from worker.store.acts import Acts, send_act
from worker.store.database import Commit, repeat_while_overtaken
from worker.store.jobs.stored_job import IndexedState
from worker.store.limits import JOBS_PER_CALL, LONGEST_DOUBT_US
from worker.store.memories import Memory
from worker.store.meta import read_meta

BEGINNINGS: Final = ("events_since", "memories_since", "sets_since", "held_since", "shorter_since")
"""The fields of `meta` that say since when something is."""

MEMORIES: Final = ("memories:0", "memories:1")
SHORT_STEP_US: Final = 60_000_000  # by which doubts may end later, rather than all memories be looked at

_decode_message = msgspec.json.Decoder(CallbackMessage).decode


class RedisClockStep(Acts):
    """What `ports.Store` does after the clock was set back."""

    @tells_unreadable
    def bring_forward(self, account: str, by: int) -> int:
        """Let everything be due by so many µs earlier that is dated later than now; return how much that is.

        Open relations, doubts, parked changes, replays that run, labels that are looked at, and messages of
        callbacks. Generations began earlier, too. A second call, after one that was not counted, is harmless.
        """
        moves = {
            "due": self._move_relations,
            "parked": self._move_parked,
            "running": self._move_replays,
            "looks": self._move_labels,
        }
        self.database.forget_clock()
        now, reads = self.database.now(), self.database.reads(account)
        for key in moves:
            reads.zrangebyscore(key, f"({now}", "+inf")
        listed, moved = [[name.decode() for name in names] for names in reads.run()], 0
        for names, move in zip(listed, moves.values(), strict=True):
            moved += len(names)
            for start in range(0, len(names), JOBS_PER_CALL):
                repeat_while_overtaken(
                    account, partial(move, account, by, names[start : start + JOBS_PER_CALL])
                )
        if by > SHORT_STEP_US:
            self._move_doubts(account, by)
        repeat_while_overtaken(account, lambda: self._move_generations(account, by))
        return moved + self._move_messages(account, by)

    def _move_relations(self, account: str, by: int, names: Sequence[str]) -> None:
        commit, relations = self._begin_step(account), [Relation.parse(name) for name in names]
        found = read_memories(self.database, account, relations, now=commit.now)
        for relation, memory in found.items():
            if not memory.open:
                continue
            moved = _moved(memory.open, by, now=commit.now)
            commit.hset("open", str(relation), codec.encode_open(moved))
            commit.run("ZADD", "due", moved.not_before or moved.since, str(relation))
        send_act(commit)

    def _move_doubts(self, account: str, by: int) -> None:
        """Let doubts end at the same instant as before, those of closed relations, too.

        One that a request may have left since the clock was set back stays as it is: it may still land (R14).
        """
        earliest = self.database.now() + LONGEST_DOUBT_US
        for page in chain.from_iterable(self.database.scan_hash(account, key) for key in MEMORIES):
            names = [
                Relation.parse(name.decode())
                for name, text in page.items()
                if (doubt := Memory.read(name.decode(), text, account, 0).doubt) and doubt.until > earliest
            ]
            if names:
                repeat_while_overtaken(account, partial(self._move_doubts_of, account, by, names))

    def _move_doubts_of(self, account: str, by: int, relations: Sequence[Relation]) -> None:
        commit = self._begin_step(account)
        found = read_memories(self.database, account, relations, now=commit.now, opens=False)
        for memory in found.values():
            if memory.doubt and memory.doubt.until > commit.now + LONGEST_DOUBT_US:
                memory.doubt = memory.doubt._replace(until=memory.doubt.until - by)
                commit.put_memories([memory])
        send_act(commit)

    def _move_parked(self, account: str, by: int, names: Sequence[str]) -> None:
        commit = self._begin_step(account)
        for short, job in read_jobs(self.database, account, names).items():
            if job.value.parked:
                (since, until, *rest), before = job.value.parked, IndexedState.of(job)
                since, until = (_earlier(at, by, now=commit.now) for at in (since, until))
                job.value.parked = (since, until, *rest)  # type: ignore[assignment]
                commit.put(job, before)
                commit.run("ZADD", "parked", until, short)
        send_act(commit)

    def _move_replays(self, account: str, _by: int, names: Sequence[str]) -> None:
        """Let replays have advanced just now: one that stands still is found from now on."""
        commit = self._begin_step(account)
        for replay_id in names:
            commit.run("ZADD", "running", "XX", commit.now, replay_id)
        send_act(commit)

    def _move_labels(self, account: str, by: int, names: Sequence[str]) -> None:
        commit, reads = self._begin_step(account), self.database.reads(account)
        reads.hmget("watched", names)
        reads.zmscore("looks", names)
        for label, noted, look_at in zip(names, *reads.run(), strict=True):
            if noted and look_at:
                accepted_at, _, callbacks = noted.partition(b" ")
                earlier = _earlier(int(accepted_at), by, now=commit.now)
                commit.check("watched", label, noted)
                commit.run("HSET", "watched", label, b"%d %s" % (earlier, callbacks))
                commit.run("ZADD", "looks", "XX", max(1, int(look_at) - by), label)
        send_act(commit)

    def _move_messages(self, account: str, by: int) -> int:
        """Let messages of callbacks that wait be due earlier; return how many that are."""
        moved, now = 0, self.database.now()
        for page in self.database.scan_hash(account, "callback"):
            for message_id, text in page.items():
                message = _decode_message(text)
                if message.state != "waiting" or message.next_at <= now:
                    continue
                commit, until = Commit(self.database, account), max(1, message.next_at - by)
                commit.check("callback", message_id, text)
                later = codec.encode(msgspec.structs.replace(message, next_at=until))
                commit.run("HSET", "callback", message_id, later)
                commit.run("ZADD", f"unsent:{message.callback}", "XX", until, message_id)
                moved += commit.try_send()  # or somebody wrote by the new time what became of it
        return moved

    def _move_generations(self, account: str, by: int) -> None:
        """Let generations have begun earlier, or what they hold would be kept for longer."""
        commit = self._begin_step(account)
        row = self.database.read(account, "hmget", "meta", BEGINNINGS)
        ahead = [(name, at) for name, at in zip(BEGINNINGS, row, strict=True) if int(at or 0) > commit.now]
        for name, since in ahead:
            commit.check("meta", name, since)
            commit.run("HSET", "meta", name, _earlier(int(since), by, now=commit.now))
        if ahead:
            send_act(commit)

    def _begin_step(self, account: str) -> AccountCommit:
        """Return a commit that holds while the lease's holder writes nothing, who reads again after it."""
        meta, now = read_meta(self.database, account), self.database.now()
        keep = meta.retention(self.retention(account))
        commit = AccountCommit(self.database, account, keep, now=now, generation=meta.memories)
        commit.raise_version("v", meta.lease_version)
        return commit


def _moved(opened: OpenRelation, by: int, *, now: int) -> OpenRelation:
    """Return open work with its times earlier.

    What was put down before it was tried is due since it is open.
    """
    since, until = (_earlier(at, by, now=now) for at in (opened.since, opened.not_before))
    return msgspec.structs.replace(opened, since=since, not_before=until)


def _earlier(at: int, by: int, *, now: int) -> int:
    """Return an instant so many µs earlier, if it is later than now."""
    return max(1, at - by) if at > now else at
