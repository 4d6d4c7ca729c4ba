"""Which accounts the sweep wakes (R22): read for many at once, decided one by one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from worker.errors import StoreUnavailable, StoreUnreadable
from worker.ports.pace import Pause
from worker.ports.store import NOBODY
from worker.redis.client import read_apart, translate_errors, translate_unreadable
from worker.store import keys
from worker.store.account import AccountCommit
from worker.store.acts import Acts
from worker.store.lease.lease import shorten_lease
from worker.store.limits import FIRST_WAKE_DELAY_US, LONGEST_REST_US, LONGEST_WAKE_DELAY_US
from worker.store.pauses import PAUSE_FIELDS, KnownPause, restart_pause

MAX_SILENT_ACCOUNTS: Final = 3
"""Accounts that may be out of reach before a sweep ends: each may cost the time of a failing connection."""
ACCOUNTS_AT_ONCE: Final = 500
"""Accounts that one round trip of a sweep asks for."""
COMMANDS_PER_ACCOUNT: Final = 12


class Wakeable(NamedTuple):
    """What decides whether an account is woken; times in µs, 0 for none.

    `holder` has the lease for another `lifetime` ms. `is_old`: it has work in the layout of an older release.
    """

    holder: bytes
    lifetime: int
    pause: Pause | None
    has_work: bool
    due_at: int
    woken_at: int
    delay: int
    is_old: bool = False

    def next_delay(self, now: int, fingerprint: str) -> int | None:
        """Return after how many µs a message that is sent now counts as lost; None if none is to be sent.

        One message is under way per account; while it is not answered, the next follows after a doubled
        delay. A pause for credentials holds against the rejected ones only (R20); where these are not known,
        it holds.
        """
        paused = self.pause and not self.pause.ends_with(fingerprint)
        if self.holder or paused or not (self.has_work or 0 < self.due_at <= now or self.is_old):
            return None
        if not self.woken_at:
            return FIRST_WAKE_DELAY_US
        # A mark that is further ahead than any delay was made before the clock stepped back.
        if self.woken_at - LONGEST_WAKE_DELAY_US <= now < self.woken_at + min(self.delay, LONGEST_REST_US):
            return None
        return min(max(2 * self.delay, FIRST_WAKE_DELAY_US), LONGEST_WAKE_DELAY_US)


class RedisDue(Acts):
    """What `ports.Store` does to find the accounts to wake."""

    def due_accounts(self, accounts: Sequence[str], *, credentials: Mapping[str, str] = NOBODY) -> list[str]:
        """Return the accounts to send a flush message for; what cannot be asked is left to the next sweep."""
        due, silent = list[str](), 0
        pieces = [accounts[at : at + ACCOUNTS_AT_ONCE] for at in range(0, len(accounts), ACCOUNTS_AT_ONCE)]
        while pieces:
            piece = pieces.pop(0)
            try:
                for account in self._wake_due(piece, credentials):
                    due.append(account)
            except StoreUnavailable as error:
                if len(piece) > 1:  # one node of a cluster may be away: account by account
                    pieces = [[account] for account in piece] + pieces
                    continue
                silent += not isinstance(error, StoreUnreadable)
                if silent == MAX_SILENT_ACCOUNTS:
                    break
        return due

    def _wake_due(self, accounts: Sequence[str], credentials: Mapping[str, str]) -> Iterator[str]:
        """Yield those of the accounts that are due, each as soon as it is marked as woken."""
        for account, found in read_apart(self._read_wakeable, accounts).items():
            if self._wake_if_due(account, found, credentials.get(account, "")):
                yield account

    def _wake_if_due(self, account: str, found: Wakeable, fingerprint: str) -> bool:
        """Mark an account as woken, if it is to be; return whether it was marked."""
        database, keep, now = self.database, self.retention(account), self.database.now()
        shorten_lease(database, account, keep, found.holder, found.lifetime)
        if restart_pause(database, account, keep, KnownPause(found.pause), now):
            return False
        delay = found.next_delay(now, fingerprint)
        if delay is None:
            return False
        if found.is_old:  # an older release has accepted it, or it was not migrated yet
            return True
        commit = AccountCommit(database, account, keep, now=now)
        commit.check("wake", "at", found.woken_at or "")
        commit.check("holder", "token", "")
        commit.run("HSET", "wake", "at", now, "delay", delay)
        return commit.try_send()  # or somebody else was first

    def _read_wakeable(self, accounts: Sequence[str]) -> dict[str, Wakeable]:
        """Return what decides it for these accounts, read in one round trip."""
        now = self.database.now()
        with translate_errors(), self.database.redis.pipeline(transaction=False) as pipeline:
            for account in accounts:
                _ask(pipeline, keys.base(self.database.prefix, account))
            answers = pipeline.execute() if accounts else []
        starts = range(0, len(answers), COMMANDS_PER_ACCOUNT)
        rows = [answers[at : at + COMMANDS_PER_ACCOUNT] for at in starts]
        with translate_unreadable(*accounts):
            return {account: _read(row, now) for account, row in zip(accounts, rows, strict=True)}


def _ask(pipeline: Any, base: str) -> None:
    pipeline.hget(f"{base}:holder", "token")
    pipeline.hmget(f"{base}:pause", PAUSE_FIELDS)
    pipeline.llen(f"{base}:queue")
    pipeline.hget(f"{base}:meta", "dead")
    pipeline.hlen(f"{base}:journal")
    pipeline.zrange(f"{base}:due", 0, 0, withscores=True)
    pipeline.hmget(f"{base}:wake", ("at", "delay"))
    pipeline.exists(f"{base}:claimed")
    pipeline.pttl(f"{base}:holder")
    pipeline.llen(f"{base}:inbox")  # release 0.1.0
    pipeline.llen(f"{base}:look_ups")
    pipeline.zrange(f"{base}:parked", 0, 0, withscores=True)


def _read(row: Sequence[Any], now: int) -> Wakeable:
    token, pause, listed, dead, begun, due, (woken_at, delay), claimed, lifetime, old, look_ups, parked = row
    return Wakeable(
        token or b"",
        lifetime,
        KnownPause.read(pause).in_force(now),
        listed > int(dead or 0) or begun > 0 or claimed > 0 or look_ups > 0,
        min((max(1, int(at)) for _, at in (*due, *parked)), default=0),
        int(woken_at or 0),
        int(delay or 0),
        old > 0,
    )
