"""The lease on an account: how it is taken and given back (R22), and what only its holder may do (R17).

Each method here tries once more when a person has come in between; what it tries stands beside.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from worker.contract import Relation
from worker.planner.actions import Request
from worker.planner.relation_state import RelationRecord
from worker.ports.pace import Pause
from worker.ports.requests import RequestRecord
from worker.ports.store import Retention
from worker.ports.work import (
    CLOCK_ERROR_US,
    MAX_COUNTDOWN,
    BegunRequest,
    ClaimedJob,
    DeleteBrake,
    WorkBatch,
    Writes,
)
from worker.store.account import AccountCommit, guarded_relation
from worker.store.database import Check, Database, Overtaken, repeat_while_overtaken
from worker.store.keys import LAYOUT, short_id
from worker.store.lease import transitions
from worker.store.lease.leased_account import LeasedAccount
from worker.store.lease.look_ups import LookUps
from worker.store.lease.queue import WORK_FIELDS, QueueHead, WorkNote
from worker.store.lease.work_batch import read_batch
from worker.store.limits import FIRST_IDLE_US, FIRST_WAKE_DELAY_US, LEASE_LIFETIME_MS, LONGEST_IDLE_US
from worker.store.meta import META_FIELDS, Meta
from worker.store.migration import ensure_layout, migrate
from worker.store.pauses import PAUSE_FIELDS, KnownPause, restart_pause, set_pause

Answer = TypeVar("Answer")
SOON_US: Final = round(MAX_COUNTDOWN * 1e6)


class RedisLease(LookUps):
    """Implements `ports.Lease`; for one thread, but `renew` may be called from another.

    Whoever else works under it, an erasure or an inspection, writes steps of what is `leased`.
    """

    def __init__(self, leased: LeasedAccount, *, refused_credentials: str, now: int) -> None:
        self.leased, self.account, self.holder = leased, leased.account, leased.holder
        self.pause, self.refused_credentials = leased.pause.in_force(now), refused_credentials
        self._found_nothing_at = 0

    # --- a flush

    def read(self, *, max_jobs: int, max_relations: int, in_progress: Container[Relation] = ()) -> WorkBatch:
        """Return the next batch; it stays where it is until claimed."""
        self._found_nothing_at = 0
        batch = self._repeat(lambda: read_batch(self.leased, max_jobs, max_relations, in_progress))
        if not (batch.jobs or batch.due or batch.begun or batch.look_ups or batch.recovered):
            self._found_nothing_at = batch.now
        return batch

    def records(self, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what the store has of these relations."""
        now = self.leased.database.now()
        found = self.leased.read_relations(relations, now=now)
        self.leased.note(found)
        return {relation: self.leased.record_of(relation) for relation in found}

    def guarded_relations(self, guards: Sequence[str]) -> Mapping[str, Sequence[Relation]]:
        """Return the relations of these guarded records that are open, or closed with a write in doubt."""
        reads = self.leased.database.reads(self.account)
        for guard in guards:
            reads.zrangebylex("guard", f"[{guard}|", f"[{guard}|\xff")
        return {
            guard: tuple(guarded_relation(name.decode()) for name in names)
            for guard, names in zip(guards, reads.run(), strict=True)
        }

    def claim(self, jobs: Sequence[ClaimedJob], begun: Sequence[BegunRequest], writes: Writes) -> bool:
        """Move jobs from the queue into open relations; False when one has ended since it was read."""
        wanted = {short_id(job.job): job for job in jobs}
        if not jobs:
            return self._repeat(lambda: transitions.claim(self.leased, wanted, begun, writes))
        try:
            return transitions.claim(self.leased, wanted, begun, writes)
        except Overtaken:
            return False

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None = None) -> int | Pause:
        """Journal a request and return when it is signed (µs), or why it must not be sent."""
        return self._repeat(lambda: transitions.begin(self.leased, request_id, request, brake))

    def settle(self, request_id: str, writes: Writes) -> None:
        """Write the outcomes of a begun request, and clear its journal."""
        self._repeat(lambda: transitions.settle(self.leased, request_id, writes))

    def note_request(self, record: RequestRecord) -> None:
        """Let the next step write that this was sent; the last chance is the lease's release."""
        self.leased.noted.append(record)

    def set_pause(self, pause: Pause) -> None:
        """Pause the account."""
        leased = self.leased
        self._repeat(lambda: set_pause(leased.database, self.account, pause, leased.keep))

    def renew(self) -> None:
        """Prolong the lease by its whole lifetime."""
        commit = self.leased.unnumbered_commit()
        commit.run("PEXPIRE", "holder", LEASE_LIFETIME_MS)
        if not commit.try_send():
            raise self.leased.lost()

    def release(self, *, window: float = 0.0, rest: float = 0.0) -> float | None:
        """Give the lease back; return the seconds until work is next due, None if there is none."""
        leased, times = self.leased, {"window": round(window * 1e6), "rest": round(rest * 1e6)}
        if leased.claimed.jobs and not leased.is_unsure and leased.claimed.recovered is None:
            self._repeat(lambda: transitions.write_claimed(leased))
        due_in = self._repeat(lambda: release_lease(leased, **times, found_nothing_at=self._found_nothing_at))
        return None if due_in is None else due_in / 1e6

    def _repeat(self, act: Callable[[], Answer]) -> Answer:
        return repeat_while_overtaken(self.account, act)


def take_lease(database: Database, account: str, holder: str, keep: Retention) -> RedisLease | None:
    """Return the account's lease, None while another holder has it."""
    now = database.now()
    reads = database.reads(account)
    reads.hmget("meta", META_FIELDS)
    reads.hget("holder", "token")
    reads.hmget("pause", PAUSE_FIELDS)
    reads.hmget("refused", ("fingerprint", "until"))
    reads.exists("inbox")
    reads.pttl("holder")
    meta_row, token, pause, (refused, until), is_old, lifetime = reads.run()
    meta = Meta.read(meta_row)
    if meta.layout != LAYOUT.encode():
        ensure_layout(database, account, keep, meta.layout)
        raise Overtaken
    if is_old:  # a producer of an earlier release has accepted something
        migrate(database, account, keep)
    if token and token != holder.encode():
        shorten_lease(database, account, keep, token, lifetime)
        return None
    known_pause = KnownPause.read(pause)
    if restart_pause(database, account, keep, known_pause, now):
        raise Overtaken
    commit = AccountCommit(database, account, keep, now=now)
    commit.check("holder", "token", token or b"")
    commit.check("meta", "layout", LAYOUT)
    commit.run("HSET", "holder", "token", holder, "step", 0, "wakes", 1)
    commit.run("PEXPIRE", "holder", LEASE_LIFETIME_MS)
    commit.run("DEL", "wake")
    try:
        commit.send()
    except Check as failed:
        if failed.found != holder:
            raise Overtaken from None
    return RedisLease(
        LeasedAccount(database, account, holder, meta=meta, pause=known_pause, keep=keep),
        refused_credentials=refused.decode() if refused and now < int(until or 0) else "",
        now=now,
    )


def shorten_lease(database: Database, account: str, keep: Retention, token: bytes, lifetime: int) -> None:
    """Give a lease its lifetime anew that has more left than it was ever given, or none at all.

    The clock stepped back, or a write was lost. Its holder, if there is one, renews it within.
    """
    if not token or 0 <= lifetime <= LEASE_LIFETIME_MS:
        return
    commit = AccountCommit(database, account, keep, now=database.now())
    commit.check("holder", "token", token)
    commit.run("PEXPIRE", "holder", LEASE_LIFETIME_MS)
    commit.try_send()


def release_lease(leased: LeasedAccount, *, window: int, rest: int, found_nothing_at: int) -> int | None:
    """Give the lease back; return in how many µs work is next due, None if there is none.

    All times are in µs; `found_nothing_at` is when a read of the batch found nothing to do (0: it did not).
    """
    now, row = leased.database.now(), _read_left(leased)
    (token, step), meta, (*work, idle), due, begun, listed, pause, wake, accepted, *others = row
    claimed, look_ups, parked = others
    if token != leased.holder.encode():
        raise leased.lost()
    head = QueueHead.read(leased.database, leased.account, listed, dead=Meta.read(meta).dead)
    times = [int(score) for _, score in (*due, *parked)]
    times += [now] if begun or claimed or look_ups else []
    is_any = bool(times or head.exists)
    commit = leased.unnumbered_commit(now)
    commit.check("wake", "at", wake or b"")
    commit.run("DEL", "holder")
    commit.put_requests(leased.unwritten(int(step or 0)))
    if not leased.claimed.is_recovered:  # else the next flush reads a part of the dead worker's batch
        _end_note(commit, WorkNote.read(work), is_any=is_any)
    idle_us = _note_idle(commit, int(idle or 0)) if found_nothing_at and is_any else 0
    times = [max(now + idle_us, at) for at in times]
    if head.exists:  # it waits `window` from its acceptance, but not for what others left behind
        is_new = wake or head.accepted_at + CLOCK_ERROR_US >= found_nothing_at
        times.append(max(head.accepted_at + window, 0 if is_new else now + idle_us))
    elif look_ups and wake:  # what is to be looked up came since, too
        times.append(now + window)
    elif not look_ups:  # whoever accepted something since, sends no message
        commit.check("counts", "accepted", accepted or b"")
    due_in = _due_in(times, KnownPause.read(pause).in_force(now), now, rest)
    if wake:
        commit.run("DEL", "wake")
    if due_in is not None:
        _note_wake(commit, due_in, rest, idle_us)
    _send(leased, commit)
    return due_in


def _read_left(leased: LeasedAccount) -> list[Any]:
    """Return what decides when an account's work is next due, in one round trip."""
    reads = leased.database.reads(leased.account)
    reads.hmget("holder", ("token", "step"))
    reads.hmget("meta", META_FIELDS)
    reads.hmget("work", (*WORK_FIELDS, "idle"))
    reads.zrange("due", 0, 0, withscores=True)
    reads.hlen("journal")
    reads.lrange("queue", 0, 0)
    reads.hmget("pause", PAUSE_FIELDS)
    reads.hget("wake", "at")
    reads.hget("counts", "accepted")
    reads.exists("claimed")
    reads.exists("look_ups")
    reads.zrange("parked", 0, 0, withscores=True)
    return reads.run()


def leave(leased: LeasedAccount) -> None:
    """Give the lease back without a look at what is due, as if nobody had had it."""
    commit = leased.unnumbered_commit()
    commit.run("DEL", "holder")
    commit.run("DEL", "wake")  # what came meanwhile waits for a message: the sweep sends it
    if not commit.try_send():
        raise leased.lost()


def _note_wake(commit: AccountCommit, due_in: int, rest: int, idle_us: int) -> None:
    """Note when a flush message that is sent now counts as lost."""
    delay = due_in + FIRST_WAKE_DELAY_US if due_in <= SOON_US else max(rest, idle_us)
    if delay:
        commit.run("HSET", "wake", "at", commit.now, "delay", delay, *(("idle", 1) if idle_us else ()))


def _send(leased: LeasedAccount, commit: AccountCommit) -> None:
    try:
        commit.send()
    except Check as failed:
        if failed.position == 0:
            raise leased.lost() from None
        raise Overtaken from None


def _end_note(commit: AccountCommit, note: WorkNote, *, is_any: bool) -> None:
    """Note that nobody works the batch; what is left of a smaller one keeps its size."""
    if note.full or not is_any:
        commit.run("DEL", "work")
    else:
        commit.run("HDEL", "work", "held", "idle")


def _note_idle(commit: AccountCommit, idle: int) -> int:
    """Note one more flush in a row that found nothing; return how long what is left waits (µs).

    That doubles with each: only a store that contradicts itself has something due, and nothing to do.
    """
    commit.run("HSET", "work", "idle", idle + 1)
    return min(FIRST_IDLE_US << min(idle, 20), LONGEST_IDLE_US)


def _due_in(times: Sequence[int], pause: Pause | None, now: int, rest: int) -> int | None:
    """Return in how many µs work is next due; None if there is none, or the account is stopped."""
    if not times or (pause and not pause.until):
        return None
    return max(0, min(times) - now, pause.until - now if pause else 0, rest)
