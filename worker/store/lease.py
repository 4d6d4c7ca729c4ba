"""The lease on an account: everything only its holder may do, each step carried out at most once (R17)."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from worker.contract import Relation
from worker.errors import LeaseLost
from worker.planner.actions import Request
from worker.ports import (
    MAX_COUNTDOWN,
    BegunRequest,
    ClaimedJob,
    DeleteBrake,
    Pause,
    RelationRecord,
    SwapPartners,
    WorkBatch,
    Writes,
)
from worker.redis.client import available
from worker.store import codec
from worker.store.limits import LEASE

LIFE_MS: Final = round(LEASE * 1000)
SOON_US: Final = round(MAX_COUNTDOWN * 1e6)


class Scripts(NamedTuple):
    """The transitions, one Lua file each."""

    accept: Any
    lease: Any
    renew: Any
    read: Any
    records: Any
    neighbours: Any
    take: Any
    begin: Any
    settle: Any
    release: Any
    due: Any
    tidy: Any
    replay: Any
    reject: Any
    resume: Any
    failed: Any
    stop: Any
    paused: Any


class RedisLease:
    """Implements `ports.Lease`; for one thread, but `renew` may be called from another."""

    def __init__(
        self,
        account: str,
        holder: str,
        stopped: tuple[Pause | None, str],
        base: str,
        scripts: Scripts,
        keep: bytes,
        now: Callable[[], str],
    ) -> None:
        self.account, (self.pause, self.refused_credentials) = account, stopped
        self._holder, self._base, self._scripts, self._keep, self._now = holder, base, scripts, keep, now
        self._step = 0

    @property
    def holder(self) -> str:
        """Who holds it: the token that the scripts compare."""
        return self._holder

    def read(self, *, max_jobs: int, max_relations: int) -> WorkBatch:
        """The next batch; it stays where it is until taken."""
        now, journal, due, jobs, rows, condemned = self._held(
            self._run("read", self._now(), self._holder, max_jobs, max_relations)
        )
        return WorkBatch(
            int(now),
            tuple(codec.taken(row) for row in jobs if row[1]),
            tuple(Relation.parse(name.decode()) for name in due),
            codec.records(rows),
            codec.begun(journal),
            bool(condemned),
        )

    def records(self, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """What the store has of these relations."""
        names = [str(relation) for relation in relations]
        return codec.records(self._run("records", *names)) if names else {}

    def swap_partners(self, guards: Sequence[str]) -> Mapping[str, SwapPartners]:
        """Who else belongs to these swaps."""
        rows = self._run("neighbours", *guards) if guards else []
        return {
            guard: SwapPartners(_relations(first), int(due), arriving, _relations(held))
            for guard, (first, due, arriving, held) in zip(guards, rows, strict=True)
        }

    def claim(self, jobs: Sequence[ClaimedJob], begun: Sequence[BegunRequest], writes: Writes) -> bool:
        """Move jobs from the inbox into open relations; False when one has ended since it was read."""
        [whole] = codec.chunks(writes, "", size=0)
        taken = {
            "jobs": [job.job for job in jobs],
            "guards": Counter(guard for job in jobs for guard in job.first_halves),
            "begun": [entry.request_id for entry in begun],
            "writes": whole,
        }
        answer = self._held(
            self._run("take", self._now(), self._holder, self._step, codec.pack(taken), self._keep)
        )
        if answer == b"read again":
            return False
        self._step += 1
        return True

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None = None) -> int | Pause:
        """Journal a request and say when it is signed (µs), or why it must not be sent."""
        allowed = codec.brake(brake, request, self.account)
        answer = self._held(
            self._run(
                "begin", self._now(), self._holder, self._step, request_id, codec.encode(request), allowed
            )
        )
        if answer[0] == b"paused" and (pause := codec.pause(answer[1])):
            return pause
        self._step += 1
        return int(answer[1])

    def settle(self, request_id: str, writes: Writes) -> None:
        """Write the outcomes of a begun request, in chunks; the last clears its journal."""
        *rest, last = codec.chunks(writes, request_id)
        for chunk in rest:
            self._settle("", chunk)
        record = codec.encode(writes.request) if writes.request else b""
        if writes.request and not writes.request.observed:
            last["counts"] |= {"requests": 1, "actions": len(writes.request.actions)}
        self._settle(request_id, last, writes.request.id if writes.request else "", record)

    def set_pause(self, pause: Pause) -> None:
        """Pause the account."""
        self._run("stop", self._now(), pause.reason, pause.detail, pause.until, pause.fingerprint, b"")

    def renew(self) -> None:
        """Hold it for another while."""
        if not self._run("renew", self._holder, LIFE_MS):
            raise LeaseLost(f"the lease on account {self.account} is not ours any more")

    def release(self, *, window: float = 0.0, rest: float = 0.0) -> float | None:
        """Give it back; seconds until work is next due, None if there is none."""
        asked = self._run(
            "release", self._now(), self._holder, SOON_US, round(window * 1e6), round(rest * 1e6)
        )
        after = int(self._held(asked))
        return None if after < 0 else after / 1e6

    def _settle(
        self, request_id: str, chunk: dict[str, Any], record_id: str = "", record: bytes = b""
    ) -> None:
        self._step_on("settle", request_id, codec.pack(chunk), self._keep, record_id, record)

    def _step_on(self, name: str, *args: str | bytes) -> Any:
        """One step of the lease; a lost answer may repeat the call, never the step."""
        answer = self._held(self._run(name, self._now(), self._holder, self._step, *args))
        self._step += 1
        return answer

    def _held(self, answer: Any) -> Any:
        if answer == b"lost" or (isinstance(answer, list) and answer and answer[0] == b"lost"):
            raise LeaseLost(f"the lease on account {self.account} is not ours any more")
        return answer

    def _run(self, name: str, *args: str | bytes | int) -> Any:
        with available():
            return getattr(self._scripts, name)(keys=[self._base], args=args)


def _relations(names: list[bytes]) -> tuple[Relation, ...]:
    return tuple(Relation.parse(name.decode()) for name in names)
