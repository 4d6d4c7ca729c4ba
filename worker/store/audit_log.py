"""The audit log of an account: who did what, newest first, and no more than so many entries."""

from worker.ports.audit import AuditEntry
from worker.ports.queries import CursorPage
from worker.store import codec
from worker.store.acts import Acts, send_act
from worker.store.commit import Commit
from worker.store.database import Database
from worker.store.limits import MAX_AUDIT_ENTRIES


class RedisAuditLog(Acts):
    """The audit log of every account."""

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Add an entry to the audit log."""

        def act() -> None:
            commit, known = self._begin_act(account, audit_entry)
            if not known:
                commit.audit(audit_entry, audit_entry.count, None)
                send_act(commit)

        self._repeat(account, act)
        trim_audit_log(self.database, account)

    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> CursorPage[AuditEntry]:
        """Return a page of the audit log, newest first."""
        start = -1
        if cursor:
            start = self.database.read(account, "zrevrank", "deeds", cursor)
            if start is None:  # the cursor's entry is so old that it was dropped
                return CursorPage((), "")
        ids = self.database.read(account, "zrevrange", "deeds", start + 1, start + limit, withscores=True)
        if not ids:
            return CursorPage((), "")
        rows = self.database.read(account, "hmget", "deed", [id_ for id_, _ in ids])
        entries = (
            codec.read_audit_entry(id_.decode(), int(at), row)
            for (id_, at), row in zip(ids, rows, strict=True)
            if row
        )
        return CursorPage(tuple(entries), ids[-1][0].decode() if len(ids) == limit else "")


def trim_audit_log(database: Database, account: str) -> None:
    """Drop the oldest entries beyond the number that is kept."""
    count = database.read(account, "zcard", "deeds")
    if count <= MAX_AUDIT_ENTRIES:
        return
    oldest = database.read(account, "zrange", "deeds", 0, count - MAX_AUDIT_ENTRIES - 1)
    commit = Commit(database, account)
    commit.run("ZREM", "deeds", *oldest)
    commit.run("HDEL", "deed", *oldest)
    commit.send()
