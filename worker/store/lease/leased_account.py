"""An account as the holder of its lease knows it: what was read, and the steps that write it (R17)."""

from collections.abc import Iterable, Mapping, Sequence
from os import urandom

from worker.contract import Relation
from worker.errors import LeaseLost, StoreRolledBack
from worker.planner.relation_state import RelationRecord
from worker.ports.requests import RequestRecord
from worker.ports.store import Retention
from worker.store.account import AccountCommit, read_events, read_memories
from worker.store.database import Check, Database, Overtaken
from worker.store.jobs.stored_job import FAILED, IndexedState, LoadedJob
from worker.store.lease.claimed_work import ClaimedWork, ClaimedWorkChange
from worker.store.lease.queue import Queue
from worker.store.lease.replaced import Found, read_relations
from worker.store.memories import Memory
from worker.store.meta import Meta, read_meta
from worker.store.pauses import KnownPause


class LeasedAccount:
    """Numbers the holder's commits: a lost answer may repeat one, but it is carried out once.

    A store that knows of fewer steps, or has another journal than the holder knows, has lost what it
    acknowledged: StoreRolledBack. What was read of jobs and memories stays true until the holder itself
    writes it, or the account's version shows that a person did.
    """

    def __init__(
        self,
        database: Database,
        account: str,
        holder: str,
        *,
        meta: Meta,
        pause: KnownPause,
        keep: Retention,
    ) -> None:
        self.database, self.account, self.holder = database, account, holder
        self.keep = meta.retention(keep)
        self.meta, self.pause = meta, pause  # as they were when they were last read
        self.queue = Queue()
        self.jobs: dict[str, LoadedJob] = {}
        self.memories: dict[Relation, Memory] = {}
        self.opened: set[Relation] = set()
        self.claimed = ClaimedWork()
        self.journal: set[bytes] | None = None  # the ids of its requests, None before it was read
        self.under_way = set[bytes]()  # requests that were begun under this lease and not settled
        self.noted = list[RequestRecord]()  # requests that were sent without a journal, for the next step
        self.is_unsure = False  # whether the last commit was carried out
        self._step, self._version, self._nonce = 0, meta.lease_version, urandom(6).hex()

    # --- what was read

    def read_relations(self, relations: Iterable[Relation], *, now: int) -> Found:
        """Read what is open and remembered of these relations."""
        read = read_relations if self.meta.replaced else read_memories
        return read(self.database, self.account, list(relations), now=now)

    def note(self, found: Found) -> None:
        """Remember what was read of relations."""
        self.memories.update(found)
        self.opened.difference_update(found)
        self.opened.update([relation for relation, memory in found.items() if memory.open])

    def record_of(self, relation: Relation) -> RelationRecord:
        """Return what is known of a relation that was just read, with open work that is claimed only."""
        memory, claimed = self.memories[relation], self.claimed.relations.get(relation)
        return RelationRecord(memory.open or claimed, memory.state, memory.doubt)

    def note_meta(self, meta: Meta) -> None:
        """Take the account's versions as they are now, and forget what was read under an older one."""
        self.meta = meta
        if meta.lease_version != self._version:
            self.forget()
            self._version = meta.lease_version

    def read_again(self) -> None:
        """Forget what was read, because a person or the sweep has changed some of it."""
        self.forget()
        self.note_meta(read_meta(self.database, self.account))

    def forget(self) -> None:
        """Forget what was read of jobs and relations."""
        self.jobs, self.memories, self.queue = {}, {}, Queue()
        self.opened = set()

    def drop_ended_jobs(self, changed: Iterable[str]) -> None:
        """Forget those of these jobs that have ended: a flush may go on for many batches."""
        for short in changed:
            if not self.jobs[short].value.left:
                del self.jobs[short]

    def drop_closed_memories(self, relations: Iterable[Relation]) -> None:
        """Forget those of these relations that are not open."""
        for relation in set(relations).difference(self.opened):
            self.memories.pop(relation, None)

    def require_lease(self) -> None:
        """Raise LeaseLost if another holder has followed."""
        if self.database.read(self.account, "hget", "holder", "token") != self.holder.encode():
            raise self.lost()

    def clear_journal(self, request_ids: Iterable[str]) -> None:
        """Forget requests that were begun, once they are settled."""
        settled = set(map(str.encode, request_ids))
        self.under_way -= settled
        if self.journal is not None:
            self.journal -= settled

    # --- steps

    def commit(self, now: int | None = None) -> AccountCommit:
        """Return the next step; it holds while the lease is ours and nobody has changed what was read."""
        commit = self.unnumbered_commit(now)
        commit.check("holder", "step", self._step)
        commit.run("HINCRBY", "holder", "step", 1)
        commit.raise_version("v", self._version)
        return commit

    def unnumbered_commit(self, now: int | None = None) -> AccountCommit:
        """Return a commit that is no step, and holds while the lease is ours."""
        now = self.database.now() if now is None else now
        generation = self.meta.memories
        commit = AccountCommit(self.database, self.account, self.keep, now=now, generation=generation)
        commit.check("holder", "token", self.holder)
        return commit

    def send(self, commit: AccountCommit, change: ClaimedWorkChange | None = None) -> None:
        """Send a step; raise LeaseLost, or Overtaken when a person has changed what was read.

        Raises Check when one of the conditions does not hold that were added to those of every step.
        """
        commit.put_requests(self.noted)
        try:
            commit.send(f"{self._nonce}.{self._step}")
        except Check as failed:
            if failed.position == 0:
                self.forget()
                raise self.lost() from None
            if failed.position == 1 and failed.found != str(self._step + 1):
                self.forget()
                raise self.rolled_back() from None
            if failed.position == 2:
                self.read_again()
                raise Overtaken from None
            if failed.position > 2:
                self.forget()
                raise
        except BaseException:
            self.forget()  # what was read may have changed on the way
            self.is_unsure = True
            raise
        self._step += 1
        self._version += 1
        self.noted = []
        if change:
            self.claimed.apply(change)

    def unwritten(self, step: int) -> Sequence[RequestRecord]:
        """Return the noted requests that no step has written; `step` shows it where an answer was lost."""
        return () if self.is_unsure and step == self._step + 1 else self.noted

    def send_others(self, commit: AccountCommit) -> None:
        """Send a step of an erasure or an inspection; nothing that was read before counts any more.

        Raises Overtaken when one of its own conditions does not hold, because a person came first.
        """
        try:
            self.send(commit)
        except Check:
            raise Overtaken from None
        self.forget()

    def put_jobs(self, commit: AccountCommit, changed: Mapping[str, IndexedState]) -> None:
        """Write jobs; one that ended when its idempotency key is old, or as failed, has that written anew."""
        since = self.meta.events_since
        jobs = [(self.jobs[short], before) for short, before in changed.items()]
        old = [
            job.value.digest
            for job, before in jobs
            if (job.accepted_at < since or job.value.state == FAILED)
            and (before.is_open and not job.value.left and not job.is_kept)
        ]
        events = read_events(self.database, self.account, old)
        for job, before in jobs:
            event = events.get(job.value.digest) if events else None
            if event and job.accepted_at < since:
                commit.hset(f"events:{self.meta.events}", job.value.digest, event)
            commit.put(job, before, event)

    def rolled_back(self) -> StoreRolledBack:
        """Return the error of a store that has gone back in time."""
        self.is_unsure = True  # what is claimed is for the next holder, who reads what there is
        return StoreRolledBack(f"the store has lost writes of account {self.account} it had acknowledged")

    def lost(self) -> LeaseLost:
        """Return the error of a holder whom another one has followed."""
        return LeaseLost(f"the lease on account {self.account} is not ours any more")
