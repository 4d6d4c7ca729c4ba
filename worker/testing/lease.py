"""The lease on an account in memory: everything only its holder may do."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

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
    SwapSide,
    WorkBatch,
    Writes,
)
from worker.store.limits import HOUR, LEASE
from worker.testing.account import AccountState
from worker.testing.stored import Hand, Holding, Sent, Wake

SECOND = 1_000_000
DEADLY = 3  # workers that died with one thing alone in hand


class MemoryLease:
    """Implements `ports.Lease`."""

    def __init__(self, account: str, holder: str, state: AccountState, now: Callable[[], int]) -> None:
        self.account, self.pause, self.refused_credentials = (
            account,
            state.paused(now()),
            state.refused_now(now()),
        )
        self._holder, self._state, self._now = holder, state, now

    def read(self, *, max_jobs: int, max_relations: int) -> WorkBatch:
        """The next batch; it stays where it is until taken."""
        state, now = self._mine(), self._now()
        limit = _limit(state.hand, self._holder, max_jobs)
        due = sorted((at, str(relation), relation) for relation, at in state.due.items() if at <= now)[:limit]
        relations = [relation for _, _, relation in due]
        jobs = self._next_jobs(limit - len(due), max_relations - len(due))
        state.hand = self._hand(limit, max_jobs, [*relations, *(job.job for job in jobs)])
        named = dict.fromkeys(
            [*relations, *(relation for job in jobs for relation in state.jobs[job.job].relations)]
        )
        begun = sorted(state.journal.values(), key=lambda entry: (entry.signed, entry.request_id))
        return WorkBatch(
            now, jobs, tuple(relations), state.records(named, now), tuple(begun), state.hand.losses >= DEADLY
        )

    def records(self, relations: Iterable[Relation]) -> Mapping[Relation, RelationRecord]:
        """What the store has of these relations."""
        return {relation: self._state.record(relation, self._now()) for relation in relations}

    def swap_partners(self, guards: Sequence[str]) -> Mapping[str, SwapPartners]:
        """Who else belongs to these swaps."""
        return {guard: self._neighbours(guard) for guard in guards}

    def claim(self, jobs: Sequence[ClaimedJob], begun: Sequence[BegunRequest], writes: Writes) -> bool:
        """Move jobs from the inbox into open relations; False when one has ended since it was read."""
        state = self._mine()
        if any(state.jobs[taken.job].record.state != "queued" for taken in jobs):
            return False
        for taken in jobs:
            state.inbox.popleft()
            state.jobs[taken.job].start()
        state.arriving -= Counter(guard for taken in jobs for guard in taken.first_halves)
        for entry in begun:
            state.journal.pop(entry.request_id, None)
        state.write(writes, "", self._now())
        return True

    def begin(self, request_id: str, request: Request, brake: DeleteBrake | None = None) -> int | Pause:
        """Journal a request and say when it is signed (µs), or why it must not be sent."""
        state, now = self._mine(), self._now()
        if stopped := state.paused(now) or self._braked(request.deletes, brake, now):
            return stopped
        state.journal[request_id] = BegunRequest(request_id, now, request)
        return now

    def settle(self, request_id: str, writes: Writes) -> None:
        """Write the outcomes of a begun request and clear its journal."""
        state, now = self._mine(), self._now()
        state.write(writes, request_id, now)
        state.journal.pop(request_id, None)
        if sent := writes.request:
            state.requests[sent.id] = Sent(sent, now + round(state.keep.finished * SECOND))
            state.counts.update({} if sent.observed else {"requests": 1, "actions": len(sent.actions)})

    def set_pause(self, pause: Pause) -> None:
        """Pause the account; a pause that a person has to end is not shortened by one that ends by itself."""
        self._state.stop(pause, self._now())

    def renew(self) -> None:
        """Hold it for another while."""
        self._mine().held = Holding(self._holder, self._now() + round(LEASE * SECOND))

    def release(self, *, window: float = 0.0, rest: float = 0.0) -> float | None:
        """Give it back; seconds until work is next due, None if there is none."""
        state, now = self._mine(), self._now()
        state.held = None
        if state.hand:
            state.hand = None if state.hand.full else state.hand._replace(holder="")
        due = state.next_due(now, round(window * SECOND))
        if due is None:
            state.hand = None
            return None
        stopped = state.paused(now)
        if stopped and not stopped.until:
            return None
        pace = round(rest * SECOND)
        after = max(0, due - now, stopped.until - now if stopped else 0, pace)
        if after <= MAX_COUNTDOWN * SECOND:
            state.wake = Wake(now, after + 2 * SECOND)
        elif pace > 0:
            state.wake = Wake(now, pace)
        return after / SECOND

    def _mine(self) -> AccountState:
        if self._state.holder(self._now()) != self._holder:
            raise LeaseLost(f"the lease on account {self.account} is not ours any more")
        return self._state

    def _braked(self, deletes: int, brake: DeleteBrake | None, now: int) -> Pause | None:
        """The pause that too many deletes call for; else these are counted."""
        if not brake or not deletes:
            return None
        state, minute = self._state, now // (60 * SECOND)
        looked = state.looked and now < state.looked + round(HOUR * SECOND)
        total = sum(count for at, count in state.deletes.items() if at > minute - 60) + (
            deletes if looked else brake.planned
        )
        if total > brake.limit:
            state.looked = 0
            state.pause = Pause("brake", brake.detail(self.account) % total, since=now)
            return state.pause
        state.deletes[minute] += deletes
        return None

    def _next_jobs(self, most: int, relations: int) -> tuple[ClaimedJob, ...]:
        """From the inbox, as many as fit, but at least one when anything fits."""
        found: list[ClaimedJob] = []
        for job_id in islice(self._state.inbox, max(0, most)):
            job = self._state.jobs[job_id]
            relations -= job.record.total
            if relations < 0 and found:
                break
            found.append(job.taken())
        return tuple(found)

    def _hand(self, limit: int, most: int, things: Sequence[Relation | str]) -> Hand:
        before, alone = self._state.hand, things[0] if len(things) == 1 else None
        half = max(1, len(things) // 2) if things else limit
        same = before is not None and before.holder != "" and alone is not None and before.alone == alone
        losses = before.losses + (before.holder != self._holder) if before and same else 0
        return Hand(limit, half, alone, losses, self._holder, full=limit == most)

    def _neighbours(self, guard: str) -> SwapPartners:
        sides, due = self._state.guards.get(guard, {}), self._state.due
        first = _sorted(sides, "first")
        earliest = min((due.get(relation, 0) for relation in first), default=0)
        return SwapPartners(first, earliest, self._state.arriving[guard], _sorted(sides, "held"))


def _limit(hand: Hand | None, holder: str, most: int) -> int:
    """How much to take in hand: half of what killed its worker, as much as before in a repeated call, else twice as much."""
    if hand is None:
        return most
    if hand.holder and hand.holder != holder:
        return min(most, hand.half)
    return min(most, hand.size if hand.holder else hand.size * 2)


def _sorted(sides: Mapping[Relation, SwapSide], side: SwapSide) -> tuple[Relation, ...]:
    return tuple(sorted((relation for relation, its in sides.items() if its == side), key=str))
