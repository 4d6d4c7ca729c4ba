"""Journals a request before it may leave (R14), unless a pause or the brake on deletes stops it."""

from typing import Final

from worker.planner.actions import Request
from worker.ports.waiting import Pause
from worker.ports.work import DeleteBrake
from worker.store import codec
from worker.store.account import AccountCommit
from worker.store.commit import Check
from worker.store.lease.leased_account import LeasedAccount
from worker.store.limits import BRAKE_WINDOW_US
from worker.store.pauses import PAUSE_FIELDS, KnownPause, write_pause

MINUTE_US: Final = 60_000_000


class Journal:
    """Begins requests under a lease; knows the pause that was stored when it last looked."""

    def __init__(self, leased: LeasedAccount, known_pause: KnownPause) -> None:
        self._leased, self._known_pause = leased, known_pause

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None) -> int | Pause:
        """Journal a request and return when it is signed (µs), or why it must not be sent."""
        leased = self._leased
        now = leased.database.now()
        if self._known_pause.in_force(now):
            return self._read_pause(now) or self.begin(request_id, request, brake)
        commit = leased.commit(now)
        commit.check("pause", "since", self._known_pause.since)
        if leased.journal is not None:
            commit.check("journal", "#", len(leased.journal))
            for name, known in leased.journal.items():
                commit.check("journal", name.decode(), known)
        stopped, entry = None, b"%d %s" % (now, codec.encode(request))
        if brake and request.deletes:
            stopped = self._apply_brake(commit, request.deletes, brake)
        if stopped:
            write_pause(commit, stopped, braked=False)
        else:
            commit.hset("journal", request_id, entry)
        try:
            leased.send(commit)
        except Check as failed:
            if failed.position > 3:
                raise leased.rolled_back() from None
            # Somebody paused or resumed the account.
            return self._read_pause(now) or self.begin(request_id, request, brake)
        if stopped:
            self._known_pause = KnownPause(stopped, braked=True)
            return stopped
        if leased.journal is not None:
            leased.journal[request_id.encode()] = entry
        leased.under_way.add(request_id.encode())
        return now

    def _read_pause(self, now: int) -> Pause | None:
        """Return the pause in force now, and remember it."""
        reads = self._leased.database.reads(self._leased.account)
        reads.hget("holder", "token")
        reads.hmget("pause", PAUSE_FIELDS)
        token, pause = reads.run()
        if token != self._leased.holder.encode():
            raise self._leased.lost()
        self._known_pause = KnownPause.read(pause)
        return self._known_pause.in_force(now)

    def _apply_brake(self, commit: AccountCommit, deletes: int, brake: DeleteBrake) -> Pause | None:
        """Count these deletes of the hour, or return the pause if they are too many."""
        row, now = self._leased.database.read(commit.account, "hgetall", "deletes"), commit.now
        minute, resumed_at = now // MINUTE_US, int(row.pop(b"go", 0))
        old = [name for name in row if int(name) <= minute - 60]
        sent = sum(int(count) for name, count in row.items() if name not in old)
        was_resumed = resumed_at and now < resumed_at + BRAKE_WINDOW_US  # a person let the deletes continue
        total = sent + (deletes if was_resumed else brake.planned)
        if old:
            commit.run("HDEL", "deletes", *old)
        if total > brake.limit:
            commit.run("HDEL", "deletes", "go")
            return Pause("brake", brake.detail(commit.account) % total, since=now)
        commit.run("HINCRBY", "deletes", minute, deletes)
        commit.run("PEXPIRE", "deletes", BRAKE_WINDOW_US // 1000 + 60_000)
        return None
