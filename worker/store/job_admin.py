"""People's acts on jobs in Redis: one script each, in pieces that do not block the server for long."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from worker.contract import Relation
from worker.ports import (
    AdminResult,
    AuditEntry,
    AuditPage,
    ErasedPiece,
    Lease,
    Payload,
    RecordRef,
    Replay,
    ReplayEntry,
    ReplayState,
    UnsettledRequests,
)
from worker.redis.client import Client, translate_errors
from worker.store import codec, keys
from worker.store.erasure import RecordEraser, record_pattern
from worker.store.lease import RedisLease
from worker.store.limits import JOBS_PER_CALL, MAX_EXAMINED, REPLAY_LIFETIME, Retention
from worker.store.scripts import StoreClient


class RedisJobAdmin:
    """Implements `ports.JobAdmin`. Pass `now` (µs) in tests only; production uses Redis's clock."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        *,
        keep: Callable[[str], Retention] = lambda _: Retention(),
        now: Callable[[], int] | None = None,
    ) -> None:
        self._client, self._retention = StoreClient(client, prefix, now), keep

    def cancel(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """End changes that wait in the inbox."""
        lifetimes = codec.lifetimes(self._retention(account))
        return self._run_on_jobs("cancel", account, jobs, lifetimes, codec.audit_entry(audit_entry))

    def dismiss(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """Mark failed jobs as decided, so that they wait no longer."""
        why = codec.encode((audit_entry.by, audit_entry.note))
        return self._run_on_jobs("dismiss", account, jobs, codec.audit_entry(audit_entry), why)

    def link_replacement(self, job: str, new: Sequence[str], *, by: str, mark: str = "") -> None:
        """Link a failed job with those sent in its place, perhaps on another account, and dismiss it."""
        why = codec.encode((by, "replaced"))
        for account in dict.fromkeys(keys.account_of(job_id) for job_id in (*new, job)):
            self._client.run_now("link_replacement", account, why, mark, job, *new)

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Add an entry to the audit log."""
        self._client.run_now("add_audit_entry", account, codec.audit_entry(audit_entry), audit_entry.count)

    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> AuditPage:
        """Return a page of the audit log, newest first."""
        key = self._client.key(account, "deeds")
        with translate_errors():
            start = self._client.redis.zrevrank(key, cursor) if cursor else -1
            if start is None:  # the cursor's entry is so old that it was dropped
                return AuditPage((), "")
            ids = self._client.redis.zrevrange(key, start + 1, start + limit, withscores=True)
            rows = (
                self._client.redis.hmget(self._client.key(account, "deed"), [id_ for id_, _ in ids])
                if ids
                else []
            )
        entries = (
            codec.read_audit_entry(id_.decode(), int(at), row)
            for (id_, at), row in zip(ids, rows, strict=True)
            if row
        )
        return AuditPage(tuple(entries), ids[-1][0].decode() if len(ids) == limit else "")

    def get_payload(self, job: str) -> Payload | None:
        """Return what is kept of the unreadable message that the job stands for."""
        key = self._client.key(keys.account_of(job), f"payload:{job}")
        with translate_errors():
            body, faults, size = self._client.redis.hmget(key, "body", "faults", "size")
        if body is None:
            return None
        return Payload(body, msgspec.json.decode(faults, type=tuple[str, ...]), int(size))

    def save_replay(self, replay: Replay, entries: Sequence[ReplayEntry], audit_entry: AuditEntry) -> None:
        """Save a replay and its set; if a piece of the set is lost on the way, there is no replay."""
        texts = [codec.replay_entry(entry) for entry in entries]
        for start in range(0, len(texts), MAX_EXAMINED):
            self._save_replay(replay, start, b"", b"", 0, *texts[start : start + MAX_EXAMINED])
        self._save_replay(replay, -1, codec.encode(replay), codec.audit_entry(audit_entry), replay.eligible)

    def _save_replay(self, replay: Replay, start: int, *args: bytes | int) -> None:
        lifetime_ms = round(REPLAY_LIFETIME * 1000)
        self._client.run_now("save_replay", replay.account, replay.id, start, lifetime_ms, *args)

    def get_replay(self, replay_id: str) -> Replay | None:
        """Return one replay, with its progress."""
        with translate_errors():
            row = self._client.redis.hgetall(
                self._client.key(keys.account_of(replay_id), f"replay:{replay_id}")
            )
        return codec.replay(row)

    def list_replays(self, account: str, *, limit: int = 50) -> list[Replay]:
        """Return the account's replays, newest first."""
        with translate_errors():
            ids = self._client.redis.zrevrange(self._client.key(account, "replays"), 0, limit - 1)
        return [replay for id_ in ids if (replay := self.get_replay(id_.decode()))]

    def replay_entries(self, replay_id: str, start: int, most: int) -> list[ReplayEntry]:
        """Return a piece of the replay's set."""
        key = self._client.key(keys.account_of(replay_id), f"replay:{replay_id}:jobs")
        with translate_errors():
            rows = self._client.redis.lrange(key, start, start + most - 1)
        return [codec.read_replay_entry(row) for row in rows]

    def set_replay_state(
        self, replay_id: str, to: ReplayState, audit_entry: AuditEntry
    ) -> ReplayState | None:
        """Start, continue or stop a replay; return its state."""
        account, entry = keys.account_of(replay_id), codec.audit_entry(audit_entry)
        return codec.replay_state(self._client.run_now("set_replay_state", account, replay_id, to, entry))

    def advance_replay(
        self,
        replay: Replay,
        start: int,
        end: int,
        *,
        back: int,
        missed: Mapping[str, int],
        audit_entry: AuditEntry,
    ) -> ReplayState | None:
        """Count a piece of the set as worked, once; return the replay's state."""
        args = start, end, replay.eligible, back, codec.pack(dict(missed)), codec.audit_entry(audit_entry)
        return codec.replay_state(self._client.run_now("advance_replay", replay.account, replay.id, *args))

    def stalled_replays(self, account: str, seconds: float) -> list[str]:
        """Return the replays that should run and have not advanced for so long."""
        ids = self._client.run_now("stalled_replays", account, round(seconds * 1e6))
        return [id_.decode() for id_ in ids]

    def touch_replay(self, replay_id: str) -> None:
        """Note that the replay was given to a worker."""
        self._client.run_now("touch_replay", keys.account_of(replay_id), replay_id)

    def unsettled_requests(self, account: str) -> UnsettledRequests:
        """Return the requests that were begun and not settled, oldest first."""
        now, *journal = self._client.run_now("unsettled_requests", account)
        return UnsettledRequests(int(now), codec.begun(journal))

    def open_relations_with(self, account: str, who: RecordRef) -> list[Relation]:
        """Return the open relations whose work names a record."""
        pattern = record_pattern(who)
        with translate_errors():
            rows = self._client.redis.hscan_iter(self._client.key(account, "open"), count=MAX_EXAMINED)
            named = {Relation.parse(name.decode()): pattern.search(work) for name, work in rows}
        return sorted(relation for relation, match in named.items() if match or who.is_part_of(relation))

    def erase_jobs(
        self, lease: Lease, who: RecordRef, after: int, *, waiting: Collection[str] = ()
    ) -> ErasedPiece:
        """Erase a record from the next jobs, but not from those that are waiting."""
        assert isinstance(lease, RedisLease)  # noqa: S101 another store's lease would be a mistake of ours
        with translate_errors():
            replays = {} if after else RecordEraser(self._client, lease.account, who).erase_replays()
        lifetimes = codec.lifetimes(self._retention(lease.account))
        args = str(who.number), codec.pack(who.sides), lifetimes, after, JOBS_PER_CALL
        answer: Any = lease.run("erase_jobs", *args, codec.pack(list(waiting)))
        last, changed, emptied = answer
        return ErasedPiece(int(last), {"jobs": changed, "emptied": emptied, **replays})

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> ErasedPiece:
        """Erase a record from a part of everything else that is kept."""
        lease.renew()  # raises if it was lost
        with translate_errors():
            return RecordEraser(self._client, lease.account, who).erase_next(cursor)

    def _run_on_jobs(self, script: str, account: str, jobs: Sequence[str], *args: bytes) -> AdminResult:
        """Run the script on the jobs in pieces; the audit entry counts them all."""
        left, done, refused = list(dict.fromkeys(jobs)), list[str](), dict[str, str]()
        while left:
            answer: Any = self._client.run_now(script, account, *args, *left[:JOBS_PER_CALL])
            looked_at, changed, others = answer
            left = left[looked_at:]
            done += [job.decode() for job in changed]
            refused |= {
                job.decode(): why.decode() for job, why in zip(others[::2], others[1::2], strict=True)
            }
        return AdminResult(tuple(done), refused)
