"""What people do to an account: it is read, decided and committed, unless another act came in between.

Who did what is in the audit log, which keeps the newest entries.
"""

from collections.abc import Callable

from worker.ports.queries import CursorPage
from worker.ports.records import AuditEntry
from worker.ports.store import Retention
from worker.redis.client import tells_unreadable
from worker.store import codec
from worker.store.account import AccountCommit
from worker.store.database import Commit, Database, Overtaken, repeat_while_overtaken
from worker.store.limits import MAX_AUDIT_ENTRIES
from worker.store.meta import META_FIELDS, Meta
from worker.store.places import refuse_foreign


class Acts:
    """What acts on all accounts of a database; the jobs of each are kept as long as `retention` says."""

    def __init__(
        self, database: Database, retention: Callable[[str], Retention] = lambda _: Retention()
    ) -> None:
        self.database, self.retention = database, retention

    def _begin_act(
        self, account: str, entry: AuditEntry | None = None, *, over_queue: bool = False, adds: bool = False
    ) -> tuple[AccountCommit, bytes | None]:
        """Return a commit for what is read from now on, and the audit entry as it is stored, if it is."""
        reads = self.database.reads(account)
        reads.hmget("meta", META_FIELDS)
        reads.hget("deed", entry.name if entry else "")
        meta, known = reads.run()
        commit = commit_of_people(
            self.database,
            account,
            self.retention(account),
            now=self.database.now(),
            meta=Meta.read(meta),
            adds=adds,
            over_queue=over_queue,
        )
        return commit, known


def commit_of_people(
    database: Database,
    account: str,
    keep: Retention,
    *,
    now: int,
    meta: Meta,
    adds: bool = False,
    over_queue: bool = False,
) -> AccountCommit:
    """Return a commit that holds while no other person's act has come in between.

    One that is about jobs in the queue (`over_queue`) holds only while the lease's holder writes nothing.
    """
    commit = AccountCommit(
        database, account, meta.retention(keep), now=now, generation=meta.memories, adds=adds
    )
    commit.raise_version("p", meta.people_version)
    if over_queue:
        commit.raise_version("v", meta.lease_version)
    return commit


def send_act(commit: AccountCommit) -> None:
    """Send a person's commit; raise Overtaken when somebody else's came first."""
    if not commit.try_send():
        raise Overtaken


class RedisAuditLog(Acts):
    """The audit log of every account."""

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Add an entry to the audit log; of one that is there, raise the count to this one's."""

        def act() -> None:
            commit, known = self._begin_act(account, audit_entry)
            counted = codec.kept_audit_entry(audit_entry, known).count if known else 0
            if not known or audit_entry.count > counted:
                commit.audit(audit_entry, audit_entry.count - counted, known)
                send_act(commit)

        repeat_while_overtaken(account, act)
        trim_audit_log(self.database, account)

    @tells_unreadable
    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> CursorPage[AuditEntry]:
        """Return a page of the audit log, newest first."""
        start = -1
        if cursor:
            start = self.database.read(account, "zrevrank", "deeds", cursor)
            if start is None:
                refuse_foreign(cursor, self.database.read_names(account, "zrange", "deeds", 0, 0))
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
