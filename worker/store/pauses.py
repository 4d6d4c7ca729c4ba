"""The pause of an account: as it is stored, set, ended, and begun anew when the clock stepped back."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from worker.ports.pace import Pause
from worker.ports.records import AuditEntry
from worker.ports.store import Retention
from worker.store.account import AccountCommit
from worker.store.acts import Acts, send_act
from worker.store.database import Commit, Database, Overtaken, repeat_while_overtaken
from worker.store.limits import BRAKE_WINDOW_US, REFUSED_LIFE_US

PAUSE_FIELDS: Final = ("reason", "detail", "since", "until", "fingerprint", "braked")


class KnownPause(NamedTuple):
    """The stored pause, perhaps over, and whether the brake had stopped the account before."""

    pause: Pause | None = None
    braked: bool = False

    @classmethod
    def read(cls, row: Sequence[bytes | None]) -> "KnownPause":
        """Read the values of PAUSE_FIELDS; of what a repair has taken fields from, as much is there."""
        reason, detail, since, until, fingerprint, braked = [(cell or b"").decode() for cell in row]
        if not (reason or since):
            return cls()
        pause = Pause(reason or "unknown", detail, int(since or 0), int(until or 0), fingerprint)
        return cls(pause, bool(braked) or reason == "brake")

    @property
    def since(self) -> str:
        """Its field `since`, "" if there is none."""
        return str(self.pause.since or "") if self.pause else ""

    def in_force(self, now: int) -> Pause | None:
        """Return the pause, unless its time is over."""
        return self.pause if self.pause and not self.pause.is_over(now) else None


def set_pause(
    database: Database, account: str, pause: Pause, keep: Retention, entry: AuditEntry | None = None
) -> bool:
    """Pause the account; return False, with nothing written, if a pause that a person has to end is in force.

    A manual pause keeps the mark that the brake had stopped the account.
    """
    now = database.now()
    before, known = _read_before(database, account, entry)
    in_force = before.in_force(now)
    if in_force and not in_force.until and (pause.until or pause.reason == "credentials"):
        return False
    commit = AccountCommit(database, account, keep, now=now)
    commit.check("pause", "since", before.since)
    write_pause(commit, pause._replace(since=now), braked=bool(in_force and before.braked))
    if not known:
        commit.audit(entry, 1, None)
    send_act(commit)
    return True


def write_pause(commit: Commit, pause: Pause, *, braked: bool) -> None:
    """Write a pause in place of any other."""
    commit.run("DEL", "pause")
    fields = dict(zip(PAUSE_FIELDS, (*pause, 1), strict=True))
    if not braked:
        del fields["braked"]
    commit.run("HSET", "pause", *(cell for pair in fields.items() for cell in pair))


def restart_pause(database: Database, account: str, keep: Retention, known: KnownPause, now: int) -> bool:
    """Let a pause that has not begun yet, because the clock stepped back, last as long as it was to."""
    pause = known.pause
    if pause is None or not pause.until or pause.since <= now:
        return False
    commit = AccountCommit(database, account, keep, now=now)
    commit.check("pause", "since", known.since)
    commit.run("HSET", "pause", "since", now, "until", now + pause.until - pause.since)
    commit.try_send()
    return True


def _read_before(
    database: Database, account: str, entry: AuditEntry | None
) -> tuple[KnownPause, bytes | None]:
    """Return the stored pause, and the audit entry as it is stored, if it is."""
    reads = database.reads(account)
    reads.hmget("pause", PAUSE_FIELDS)
    reads.hget("deed", entry.name if entry else "")
    row, known = reads.run()
    return KnownPause.read(row), known


def _remember_refused(commit: AccountCommit, fingerprint: str) -> None:
    """Remember credentials that were refused before others ended that pause; a person's word forgets them."""
    commit.run("DEL", "refused")
    if fingerprint:
        commit.run("HSET", "refused", "fingerprint", fingerprint, "until", commit.now + REFUSED_LIFE_US)
        commit.run("PEXPIRE", "refused", REFUSED_LIFE_US // 1000)


class RedisPauses(Acts):
    """What `ports.Store` does with pauses."""

    def get_pause(self, account: str) -> Pause | None:
        """Return why the account is paused, if it is."""
        database, keep = self.database, self.retention(account)

        def read() -> Pause | None:
            now, row = database.now(), database.read(account, "hmget", "pause", PAUSE_FIELDS)
            known = KnownPause.read(row)
            if restart_pause(database, account, keep, known, now):
                raise Overtaken
            return known.in_force(now)

        return repeat_while_overtaken(account, read)

    def pause(self, account: str, pause: Pause, *, audit_entry: AuditEntry | None = None) -> None:
        """Pause the account for an operator."""
        keep = self.retention(account)
        repeat_while_overtaken(account, lambda: set_pause(self.database, account, pause, keep, audit_entry))

    def resume(
        self, account: str, *, audit_entry: AuditEntry | None = None, since: int | None = None
    ) -> bool:
        """End the pause, if there is one (since then); return whether there was."""
        return repeat_while_overtaken(account, lambda: self._resume(account, audit_entry, since))

    def _resume(self, account: str, entry: AuditEntry | None, since: int | None) -> bool:
        now = self.database.now()
        stored, known = _read_before(self.database, account, entry)
        pause = stored.in_force(now)
        if since is not None and not (pause and pause.since == since):
            return False  # it is another pause by now
        commit = AccountCommit(self.database, account, self.retention(account), now=now)
        commit.check("pause", "since", stored.since)
        commit.run("DEL", "pause")
        commit.run("DEL", "wake")
        if pause:
            _remember_refused(commit, pause.fingerprint if since is not None else "")
            if stored.braked:  # whoever resumes what the brake had stopped grants a fresh hour
                commit.run("DEL", "deletes")
                commit.run("HSET", "deletes", "go", now)
                commit.run("PEXPIRE", "deletes", BRAKE_WINDOW_US // 1000)
            if not known:
                commit.audit(entry, 1, None)
        send_act(commit)
        return pause is not None
