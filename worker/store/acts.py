"""What is done to an account but for its work: read, decided, and committed while nobody comes in between."""

from collections.abc import Callable
from typing import TypeVar

from worker.ports.audit import AuditEntry
from worker.ports.store import Retention
from worker.store.account import META_FIELDS, AccountCommit, Meta
from worker.store.commit import Overtaken, repeat_while_overtaken
from worker.store.database import Database

Answer = TypeVar("Answer")


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
        keep, now = self.retention(account), self.database.now()
        commit = commit_of_people(
            self.database, account, keep, now=now, meta=Meta.read(meta), adds=adds, over_queue=over_queue
        )
        return commit, known

    def _repeat(self, account: str, act: Callable[[], Answer]) -> Answer:
        return repeat_while_overtaken(account, act)


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
    commit = AccountCommit(database, account, keep, now=now, generation=meta.memories, adds=adds)
    commit.raise_version("p", meta.people_version)
    if over_queue:
        commit.raise_version("v", meta.lease_version)
    return commit


def send_act(commit: AccountCommit) -> None:
    """Send a person's commit; raise Overtaken when somebody else's came first."""
    if not commit.try_send():
        raise Overtaken
