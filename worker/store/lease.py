"""The lease on an account: everything only its holder may do, each step carried out at most once (R17)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from worker.contract import Relation
from worker.errors import LeaseLost
from worker.planner.actions import Request
from worker.ports import (
    LEASE_LIFETIME,
    MAX_COUNTDOWN,
    BegunRequest,
    ClaimedJob,
    DeleteBrake,
    Pause,
    RelationRecord,
    WorkBatch,
    Writes,
)
from worker.store import codec
from worker.store.chunks import split_into_chunks
from worker.store.scripts import StoreClient

LIFETIME_MS: Final = round(LEASE_LIFETIME * 1000)
SOON_US: Final = round(MAX_COUNTDOWN * 1e6)


class RedisLease:
    """Implements `ports.Lease`; for one thread, but `renew` may be called from another.

    `step` numbers the calls that change something: a lost answer may repeat the call, never the step.
    """

    def __init__(
        self,
        account: str,
        holder: str,
        pause: Pause | None,
        refused_credentials: str,
        client: StoreClient,
        lifetimes: bytes,
    ) -> None:
        self.account, self.holder = account, holder
        self.pause, self.refused_credentials = pause, refused_credentials
        self._client, self._lifetimes = client, lifetimes
        self._step = 0

    def read(self, *, max_jobs: int, max_relations: int) -> WorkBatch:
        """Return the next batch; it stays where it is until claimed."""
        answer = self.run("read", max_jobs, max_relations)
        now, journal, due, jobs, records, condemned = answer
        return WorkBatch(
            int(now),
            tuple(codec.claimed_job(row) for row in jobs if row[1]),
            codec.relations(due),
            codec.records(records),
            codec.begun(journal),
            bool(condemned),
        )

    def records(self, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what the store has of these relations."""
        names = [str(relation) for relation in relations]
        return codec.records(self._client.run("get_records", self.account, *names)) if names else {}

    def guarded_relations(self, guards: Sequence[str]) -> Mapping[str, Sequence[Relation]]:
        """Return the relations of these guarded records that are open, or closed with a write in doubt."""
        rows = self._client.run("guarded_relations", self.account, *guards) if guards else []
        return {guard: codec.relations(names) for guard, names in zip(guards, rows, strict=True)}

    def claim(self, jobs: Sequence[ClaimedJob], begun: Sequence[BegunRequest], writes: Writes) -> bool:
        """Move jobs from the inbox into open relations; False when one has ended since it was read."""
        [whole] = split_into_chunks(writes, "", size=0)
        claimed = {
            "jobs": [job.job for job in jobs],
            "begun": [request.request_id for request in begun],
            "writes": whole,
        }
        answer = self.run("claim", self._step, codec.pack(claimed), self._lifetimes)
        if answer == b"read again":
            return False
        self._step += 1
        return True

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None = None) -> int | Pause:
        """Journal a request and return when it is signed (µs), or why it must not be sent."""
        allowed = codec.brake(brake, request, self.account)
        answer = self.run("begin", self._step, request_id, codec.encode(request), allowed)
        if answer[0] == b"paused" and (pause := codec.pause(answer[1])):
            return pause
        self._step += 1
        return int(answer[1])

    def settle(self, request_id: str, writes: Writes) -> None:
        """Write the outcomes of a begun request, in chunks; the last one clears its journal."""
        *rest, last = split_into_chunks(writes, request_id)
        for chunk in rest:
            self._settle("", chunk)
        record = writes.request
        if record and not record.observed:
            last["counts"] |= {"requests": 1, "actions": len(record.actions)}
        self._settle(request_id, last, record.id if record else "", codec.encode(record) if record else b"")

    def set_pause(self, pause: Pause) -> None:
        """Pause the account."""
        self._client.run_now("pause", self.account, *codec.pause_args(pause), b"")

    def renew(self) -> None:
        """Prolong the lease by its whole lifetime."""
        if not self._client.run("renew", self.account, self.holder, LIFETIME_MS):
            raise self._lost()

    def release(self, *, window: float = 0.0, rest: float = 0.0) -> float | None:
        """Give the lease back; return the seconds until work is next due, None if there is none."""
        due_in = int(self.run("release", SOON_US, round(window * 1e6), round(rest * 1e6)))
        return None if due_in < 0 else due_in / 1e6

    def _settle(
        self, request_id: str, chunk: dict[str, Any], record_id: str = "", record: bytes = b""
    ) -> None:
        self.run("settle", self._step, request_id, codec.pack(chunk), self._lifetimes, record_id, record)
        self._step += 1

    def run(self, script: str, *args: str | bytes | int) -> Any:
        """Run a script for the lease's holder; raises LeaseLost when that is somebody else by now."""
        answer = self._client.run_now(script, self.account, self.holder, *args)
        if answer == b"lost" or (isinstance(answer, list) and answer and answer[0] == b"lost"):
            raise self._lost()
        return answer

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"the lease on account {self.account} is not ours any more")
