"""What of a batch may be sent now: the guard's law (R12) applied to what a flush has in hand."""

from collections.abc import Callable, Iterable

from worker.contract import Relation
from worker.planner.actions import Operation
from worker.planner.apply_reply import Effects
from worker.planner.guard import Guard, Screened
from worker.ports.work import Lease
from worker.usecases.batch import Batch, HoldTerms
from worker.usecases.flush_context import FlushPolicy
from worker.usecases.flush_telemetry import FlushTelemetry


class GuardedWork:
    """The batch of a flush behind its guard; `now` returns the time by the store's clock (µs)."""

    def __init__(
        self,
        batch: Batch,
        policy: FlushPolicy,
        lease: Lease,
        telemetry: FlushTelemetry,
        now: Callable[[], int],
    ) -> None:
        self.batch, self.policy, self.lease, self.telemetry = batch, policy, lease, telemetry
        self.guard = Guard(policy.guarded)
        self._now = now

    def apply(self, effects: Effects) -> Effects:
        """Apply effects, but first what they allow relations that are held; return both (R12)."""
        freed, both = self.guard.note_effects(effects, self.batch.states), Effects()
        for relations in (self.lease.guarded_relations(sorted(freed)) if freed else {}).values():
            elsewhere = [relation for relation in relations if relation not in self.batch.states]
            records = self.lease.records(elsewhere)
            held = [relation for relation, record in records.items() if record.open and record.open.held]
            self.batch.reopen(held, records)
            both.extend(self.batch.wake(relations))
        both.extend(effects)
        self.batch.apply(both)
        return both

    def next_operations(self, relations: Iterable[Relation] | None = None) -> list[Operation]:
        """Return the operations of the next round: one per relation, none that the guard holds (R12).

        They are of these relations, by default of all.
        """
        now = self._now()
        operations, effects = self.batch.next_operations(relations, now=now)
        screened = self.guard.screen(operations, self.batch.states)
        operations = screened.free
        if screened.undecided:
            allowed, held = self.decide(screened, now)
            operations += allowed
            effects.extend(held)
        if effects.states:
            self.batch.apply(effects)
            self.write(effects)
        return operations

    def allowed_operations(self) -> list[Operation]:
        """Return the operations that the guard allows by what it was shown, and those that it waits for."""
        operations = self.next_operations() if self.guard.was_shown else []
        return [each for each in operations if self.guard.keeps(each, self.batch.states)]

    def write(self, effects: Effects) -> None:
        """Write effects that no request brought; the batch has them already."""
        self.lease.claim((), (), self.batch.writes(effects))
        self.telemetry.outcomes_written(effects.outcomes)

    def decide(self, screened: Screened, now: int) -> tuple[list[Operation], Effects]:
        """Return the guarded operations that may go, and the effects on those that are held (R12)."""
        batch, guard = self.batch, self.guard
        keys = sorted({guard.key(operation.relation) for operation in screened.undecided})
        opened = [relation for found in self.lease.guarded_relations(keys).values() for relation in found]
        beside = dict.fromkeys([*guard.others(screened.undecided), *opened])
        records = self.lease.records([relation for relation in beside if relation not in batch.states])
        doubts = {relation: record.doubt for relation, record in records.items()}
        doubts |= {relation: state.doubt for relation, state in batch.states.items()}
        doubts_by_record = guard.by_record(doubts)
        coming = guard.records_with_way_makers(batch.open_states(records) | batch.states)
        allowed, effects = list[Operation](), Effects()
        for relation in opened:
            record = records.get(relation)  # None: it is in the batch
            if record and not record.open and not (record.doubt and record.doubt.until > now):
                effects.states[relation] = None  # closed, and no write of it can land any more
        for operation in sorted(
            screened.undecided, key=lambda each: batch.states[each.relation].target.decisive
        ):
            relation = operation.relation
            key = guard.key(relation)
            refusal = guard.refuse(relation, doubts_by_record.get(key, {}), now=now)
            if refusal is None:
                batch.release(relation)
                allowed.append(operation)
            elif key not in screened.awaited:
                terms = HoldTerms(
                    now,
                    self._longest_hold(relation),
                    way_is_coming=key in coming,
                    is_final=guard.is_unreadable(relation),
                    part=f"{relation}/" if guard.was_refused_together(relation) else "",
                )
                effects.add(relation, batch.hold(relation, refusal, terms))
        return allowed, effects

    def _longest_hold(self, relation: Relation) -> float:
        """Return for how many seconds it is held; without a readable answer as long as without any."""
        return self.policy.hold_for if self.guard.is_answered(relation) else self.policy.retry.give_up_after
