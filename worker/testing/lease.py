"""The lease on an account in memory: everything only its holder may do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from worker.contract import Relation
from worker.contract.instant import SECOND
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
from worker.store.limits import BRAKE_WINDOW_US, DEADLY_LOSSES, FIRST_WAKE_DELAY_US
from worker.testing.account import AccountState
from worker.testing.stored import CurrentBatch, LeaseHolder, StoredRequest, WakeMark, to_us


class MemoryLease:
    """Implements `ports.Lease`."""

    def __init__(self, account: str, holder: str, state: AccountState, now: Callable[[], int]) -> None:
        self.account = account
        self.pause, self.refused_credentials = state.pause_in_force(now()), state.refused_credentials(now())
        self._holder, self._state, self._now = holder, state, now

    def read(self, *, max_jobs: int, max_relations: int) -> WorkBatch:
        """Return the next batch; it stays where it is until claimed."""
        state, now = self._held_state(), self._now()
        limit = _limit(state.batch, self._holder, max_jobs)
        due = sorted((at, str(relation), relation) for relation, at in state.due.items() if at <= now)[:limit]
        relations = [relation for _, _, relation in due]
        jobs = self._next_jobs(limit - len(due), max_relations - len(due))
        things: list[Relation | str] = [*relations, *(job.job for job in jobs)]
        state.batch = _next_batch(state.batch, self._holder, limit, things, full=limit == max_jobs)
        named = [relation for job in jobs for relation in state.jobs[job.job].relations]
        records = state.records(dict.fromkeys([*relations, *named]), now)
        begun = sorted(state.journal.values(), key=lambda request: (request.signed, request.request_id))
        condemned = state.batch.losses >= DEADLY_LOSSES
        return WorkBatch(now, jobs, tuple(relations), records, tuple(begun), condemned)

    def records(self, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """Return what the store has of these relations."""
        return {relation: self._state.record(relation, self._now()) for relation in relations}

    def guarded_relations(self, guards: Sequence[str]) -> Mapping[str, Sequence[Relation]]:
        """Return the relations of these guarded records that are open, or closed with a write in doubt."""
        return {guard: tuple(sorted(self._state.guards.get(guard, ()), key=str)) for guard in guards}

    def claim(self, jobs: Sequence[ClaimedJob], begun: Sequence[BegunRequest], writes: Writes) -> bool:
        """Move jobs from the inbox into open relations; False when one has ended since it was read."""
        state = self._held_state()
        if any(state.jobs[claimed.job].record.state != "queued" for claimed in jobs):
            return False
        for claimed in jobs:
            state.inbox.popleft()
            state.jobs[claimed.job].leave_inbox()
        for request in begun:
            state.journal.pop(request.request_id, None)
        state.write(writes, "", self._now())
        return True

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None = None) -> int | Pause:
        """Journal a request and return when it is signed (µs), or why it must not be sent."""
        state, now = self._held_state(), self._now()
        if pause := state.pause_in_force(now) or self._apply_brake(request.deletes, brake, now):
            return pause
        state.journal[request_id] = BegunRequest(request_id, now, request)
        return now

    def settle(self, request_id: str, writes: Writes) -> None:
        """Write the outcomes of a begun request and clear its journal."""
        state, now = self._held_state(), self._now()
        state.write(writes, request_id, now)
        state.journal.pop(request_id, None)
        if record := writes.request:
            state.requests[record.id] = StoredRequest(record, now + to_us(state.retention.finished))
            if not record.observed:
                state.counts.update({"requests": 1, "actions": len(record.actions)})

    def set_pause(self, pause: Pause) -> None:
        """Pause the account; a pause that a person has to end is not shortened by one that ends by itself."""
        self._state.set_pause(pause, self._now())

    def renew(self) -> None:
        """Prolong the lease by its whole lifetime."""
        self._held_state().lease = LeaseHolder(self._holder, self._now() + to_us(LEASE_LIFETIME))

    def release(self, *, window: float = 0.0, rest: float = 0.0) -> float | None:
        """Give the lease back; return the seconds until work is next due, None if there is none."""
        state, now = self._held_state(), self._now()
        state.lease = None
        if state.batch:
            state.batch = None if state.batch.full else state.batch._replace(holder="")
        due = state.next_due(now, to_us(window))
        if due is None:
            state.batch = None
            return None
        pause, pace_rest = state.pause_in_force(now), to_us(rest)
        if pause and not pause.until:
            return None
        due_in = max(0, due - now, pause.until - now if pause else 0, pace_rest)
        if due_in <= MAX_COUNTDOWN * SECOND:
            state.wake = WakeMark(now, due_in + FIRST_WAKE_DELAY_US)
        elif pace_rest > 0:
            state.wake = WakeMark(now, pace_rest)
        return due_in / SECOND

    def _held_state(self) -> AccountState:
        """Return the account's state; raises LeaseLost when somebody else holds the lease by now."""
        if self._state.holder(self._now()) != self._holder:
            raise LeaseLost(f"the lease on account {self.account} is not ours any more")
        return self._state

    def _apply_brake(self, deletes: int, brake: DeleteBrake | None, now: int) -> Pause | None:
        """Pause the account and return the pause if these are too many deletes; else count them."""
        if not brake or not deletes:
            return None
        state, minute = self._state, now // (60 * SECOND)
        was_resumed = state.brake_resumed_at and now < state.brake_resumed_at + BRAKE_WINDOW_US
        sent = sum(count for at, count in state.deletes.items() if at > minute - 60)
        total = sent + (deletes if was_resumed else brake.planned)
        if total > brake.limit:
            state.brake_resumed_at = 0
            state.pause = Pause("brake", brake.detail(self.account) % total, since=now)
            return state.pause
        state.deletes[minute] += deletes
        return None

    def _next_jobs(self, most: int, relations: int) -> tuple[ClaimedJob, ...]:
        """Return jobs from the inbox, as many as fit, but at least one when anything fits."""
        jobs: list[ClaimedJob] = []
        for job_id in islice(self._state.inbox, max(0, most)):
            job = self._state.jobs[job_id]
            relations -= job.record.total
            if relations < 0 and jobs:
                break
            jobs.append(job.as_claimed())
        return tuple(jobs)


def _limit(batch: CurrentBatch | None, holder: str, most: int) -> int:
    """Return how much to read: half of what killed its worker, the same in a repeated call, else twice."""
    if batch is None:
        return most
    if batch.holder and batch.holder != holder:
        return min(most, batch.half)
    return min(most, batch.size if batch.holder else batch.size * 2)


def _next_batch(
    before: CurrentBatch | None, holder: str, limit: int, things: Sequence[Relation | str], *, full: bool
) -> CurrentBatch:
    alone = things[0] if len(things) == 1 else None
    half = max(1, len(things) // 2) if things else limit
    losses = 0
    if before and before.holder and alone is not None and before.alone == alone:
        losses = before.losses + (before.holder != holder)
    return CurrentBatch(limit, half, alone, losses, holder, full)
