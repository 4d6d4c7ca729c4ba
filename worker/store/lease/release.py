"""Gives an account's lease back, and says when work of it is next due (R22, R25)."""

from collections.abc import Sequence
from typing import Final

from worker.ports.waiting import Pause
from worker.ports.work import MAX_COUNTDOWN
from worker.store.account import META_FIELDS, AccountCommit, Meta
from worker.store.commit import Check, Overtaken
from worker.store.lease.leased_account import LeasedAccount
from worker.store.lease.queue import WORK_FIELDS, QueueHead, WorkNote
from worker.store.limits import FIRST_IDLE_US, FIRST_WAKE_DELAY_US, LONGEST_IDLE_US
from worker.store.pauses import PAUSE_FIELDS, KnownPause

SOON_US: Final = round(MAX_COUNTDOWN * 1e6)
CLOCK_ERROR_US: Final = 1_000_000  # by which what we take for the server's time may be wrong


def release(leased: LeasedAccount, *, window: int, rest: int, found_nothing_at: int) -> int | None:
    """Give the lease back; return in how many µs work is next due, None if there is none.

    All times are in µs; `found_nothing_at` is when a read of the batch found nothing to do (0: it did not).
    """
    now, reads = leased.database.now(), leased.database.reads(leased.account)
    reads.hmget("holder", ("token", "step"))
    reads.hmget("meta", META_FIELDS)
    reads.hmget("work", (*WORK_FIELDS, "idle"))
    reads.zrange("due", 0, 0, withscores=True)
    reads.hlen("journal")
    reads.lrange("queue", 0, 0)
    reads.hmget("pause", PAUSE_FIELDS)
    reads.hget("wake", "at")
    reads.exists("claimed")
    reads.exists("look_ups")
    reads.zrange("parked", 0, 0, withscores=True)
    (token, step), meta, (*work, idle), due, begun, listed, pause, woken, claimed, look_ups, parked = (
        reads.run()
    )
    if token != leased.holder.encode():
        raise leased.lost()
    head = QueueHead.read(leased.database, leased.account, listed, dead=Meta.read(meta).dead)
    times = [int(score) for _, score in (*due, *parked)]
    times += [now] if begun or claimed or look_ups else []
    is_any = bool(times or head.exists)
    commit = leased.unnumbered_commit(now)
    commit.check("wake", "at", woken or b"")
    commit.run("DEL", "holder")
    commit.put_requests(leased.unwritten(int(step or 0)))
    if not leased.claimed.is_recovered:  # else the next flush reads a part of the dead worker's batch
        _end_note(commit, WorkNote.read(work), is_any=is_any)
    idle_us = _note_idle(commit, int(idle or 0)) if found_nothing_at and is_any else 0
    times = [max(now + idle_us, at) for at in times]
    if head.exists:  # it waits `window` from its acceptance, but not for what others left behind
        is_new = head.accepted_at + CLOCK_ERROR_US >= found_nothing_at
        times.append(max(head.accepted_at + window, 0 if is_new else now + idle_us))
    due_in = _due_in(times, KnownPause.read(pause).in_force(now), now, rest)
    if due_in is not None:
        _note_wake(commit, due_in, rest, idle_us)
    _send(leased, commit)
    return due_in


def leave(leased: LeasedAccount) -> None:
    """Give the lease back without a look at what is due, as if nobody had had it."""
    commit = leased.unnumbered_commit()
    commit.run("DEL", "holder")
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
