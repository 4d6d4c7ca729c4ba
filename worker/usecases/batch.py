"""The batch of a flush: the states of its relations, what each wants done next, and what a step writes.

Pure bookkeeping over `planner`: it takes records and swap partners and returns effects and writes; it does no
I/O.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from worker.contract import Order, Relation
from worker.planner.actions import Operation
from worker.planner.apply_reply import (
    Effects,
    RelationEffect,
    RelationOutcome,
    fail_relation,
)
from worker.planner.fold import Intent, Version
from worker.planner.relation_state import (
    Refusal,
    RelationState,
    Stage,
    Wait,
    add_intents,
    next_operation,
    reopen,
)
from worker.planner.swaps import is_first_half, is_waiting_half, swap_key
from worker.ports import (
    ClaimedJob,
    JobState,
    OpenWrite,
    RelationRecord,
    SwapPartners,
    SwapSide,
    Writes,
)

POISON_REFUSAL = Refusal(
    0, "poison", "three workers died with this change alone in hand; it was not tried again"
)
DEPENDENCY_REFUSAL = Refusal(
    0, "dependency", "the other half of the swap failed for good, so this half was not sent"
)
SHORTEST_STEP_BACK = 1_000_000  # µs that a waiting half of a swap steps back
LONGEST_STEP_BACK = 60_000_000  # µs
MAX_CORRELATIONS = 20  # in one log event or record


class Batch:
    """The relations of one flush; `upsert` and `order` are the account's policies."""

    def __init__(self, *, upsert: bool, order: Callable[[str], Order]) -> None:
        self.upsert, self.order = upsert, order
        self.states: dict[Relation, RelationState] = {}

    # --- filling it

    def reopen(self, relations: Iterable[Relation], records: Mapping[Relation, RelationRecord]) -> None:
        """Add open relations as they are."""
        for relation in relations:
            record = records.get(relation)
            if record and record.open:
                state = reopen(record.open, record.confirmed, record.doubt, upsert=self.upsert)
                if state:
                    self.states[relation] = state

    def add_intents(
        self, jobs: Iterable[ClaimedJob], records: Mapping[Relation, RelationRecord], *, now: int
    ) -> Effects:
        """Fold new jobs into what is open and confirmed; return the effects, which the batch has already."""
        effects = Effects()
        for relation, intents in intents_by_relation(jobs).items():
            opened, confirmed, doubt = self._record(relation, records)
            state, lost, confirmed_now = add_intents(
                intents, opened, confirmed, doubt, now=now, upsert=self.upsert
            )
            if state or opened:
                effects.states[relation] = state
            if confirmed_now is not confirmed:
                effects.confirmed[relation] = (confirmed_now, doubt)
            for intent, result, by in lost:
                effects.outcomes.append(RelationOutcome(intent.job, relation, result, by))
        self.apply(effects)
        return effects

    def keep_only(self, relations: Iterable[Relation]) -> None:
        """Drop all others: they wait their turn, so that small batches stay small (R21)."""
        kept = dict.fromkeys(relations)
        self.states = {relation: self.states[relation] for relation in kept if relation in self.states}

    def apply(self, effects: Effects) -> None:
        """Let effects change the batch."""
        for relation, state in effects.states.items():
            if state:
                self.states[relation] = state
            else:
                self.states.pop(relation, None)

    def fail_all(self) -> Effects:
        """Return the effects of failing everything, because three workers did not survive it (R21)."""
        effects = Effects()
        for relation, state in self.states.items():
            whole = state.with_progress(reduced=True)  # so that no intent is tried once more
            effects.add(relation, fail_relation(relation, whole, POISON_REFUSAL, upsert=self.upsert))
        return effects

    def correlations(self, relations: Iterable[Relation]) -> tuple[str, ...]:
        """Return the ids of the calls behind these relations: the first few."""
        states = (self.states[relation] for relation in relations if relation in self.states)
        return first_correlations(intent for state in states for intent in state.open.intents)

    # --- what is next

    def next_operations(self, *, now: int) -> tuple[list[Operation], Effects]:
        """Return what every relation wants done now, whatever its swap; what has to wait is due later."""
        operations, effects = [], Effects()
        for relation, state in self.states.items():
            operation = next_operation(relation, state, now=now)
            if not isinstance(operation, Wait):
                operations.append(operation)
            elif operation.until > state.open.not_before:
                effects.states[relation] = state.delayed(operation.until)
        return operations, effects

    def waiting_halves(self, operations: Iterable[Operation]) -> dict[Relation, str]:
        """Return the operations' waiting halves of swaps with their swap keys (R12); reads need not wait."""
        swaps = ((op.relation, self.order(op.relation.type)) for op in operations if op.kind != "get")
        return {
            relation: swap_key(relation, order)
            for relation, order in swaps
            if order != "free" and is_waiting_half(self.states[relation].target.presence, order)
        }

    def hold_back(
        self, waiting: Mapping[Relation, str], partners: Mapping[str, SwapPartners], *, now: int
    ) -> tuple[set[Relation], Effects]:
        """Return the waiting halves that must not be sent now, and the effects on them."""
        blocked, effects = set[Relation](), Effects()
        for relation, key in waiting.items():
            effect = self._hold_back(relation, partners[key], now=now)
            if effect:
                blocked.add(relation)
                if effect.state is not self.states[relation]:
                    effects.add(relation, effect)
        return blocked, effects

    # --- swaps

    def decided_swaps(self, effects: Effects) -> dict[str, bool]:
        """Return the swap keys whose first half was just confirmed (True), or failed for good (False)."""
        failed = {outcome.relation for outcome in effects.outcomes if outcome.result == "failed"}
        decided: dict[str, bool] = {}
        for relation, state in effects.states.items():
            order, before = self.order(relation.type), self.states.get(relation)
            if order == "free" or before is None or not is_first_half(before.target.presence, order):
                continue
            confirmed, _ = effects.confirmed.get(relation, (before.confirmed, None))
            if confirmed.presence > before.confirmed.presence:
                decided[swap_key(relation, order)] = True
            elif relation in failed and not (state and is_first_half(state.target.presence, order)):
                decided.setdefault(swap_key(relation, order), False)
        return decided

    def decide_waiting_halves(self, relations: Iterable[Relation], *, confirmed: bool) -> Effects:
        """Return the effects of a decided first half on those that wait for it: they may go, or will fail."""
        effects = Effects()
        for relation in relations:
            state = self.states.get(relation)
            if state and confirmed:
                not_before = 0 if state.open.waits_for_swap else state.open.not_before
                effects.states[relation] = state.with_progress(
                    waits_for_swap=False, first_half_failed=False, not_before=not_before
                )
            elif state:
                effects.states[relation] = state.with_progress(first_half_failed=True)
        return effects

    # --- writing

    def writes(self, effects: Effects) -> Writes:
        """Return effects as the store takes them."""
        opens = {relation: self._open_write(relation, state) for relation, state in effects.states.items()}
        return Writes(opens, effects.confirmed, effects.outcomes, dict(_job_states(effects.states)))

    def _record(self, relation: Relation, records: Mapping[Relation, RelationRecord]) -> RelationRecord:
        """Return what is known of a relation: by the batch, else by the store."""
        if state := self.states.get(relation):
            return RelationRecord(state.open, state.confirmed, state.doubt)
        return records.get(relation, RelationRecord())

    def _hold_back(self, relation: Relation, partners: SwapPartners, *, now: int) -> RelationEffect | None:
        """Return the effect on a waiting half that must not be sent now, None if it may go.

        One whose other half is not in this batch steps back, each time for as long as it has been open: were
        it less than the time in which all such halves are read, they would keep the first half from being
        read for ever.
        """
        state, opened = self.states[relation], self.states[relation].open
        first_halves = [other for other in partners.first if other != relation]
        if first_halves or partners.queued:
            here = any(other in self.states for other in first_halves)
            rest = min(max(now - opened.since, SHORTEST_STEP_BACK), LONGEST_STEP_BACK)
            held = state.with_progress(waits_for_swap=True).delayed(
                0 if here else max(partners.due, now + rest)
            )
            return RelationEffect(state if held.open == opened else held)
        if not opened.first_half_failed:
            return None
        if state.doubt and state.doubt.until > now:  # it was sent before, and may still land
            return RelationEffect(state.with_progress(stage=Stage.READ_BACK).delayed(state.doubt.until))
        return fail_relation(relation, state, DEPENDENCY_REFUSAL, upsert=self.upsert)

    def _open_write(self, relation: Relation, state: RelationState | None) -> OpenWrite:
        order, opened = self.order(relation.type), state.open if state else None
        if order == "free":
            return OpenWrite(opened)
        side: SwapSide = ""
        if state and is_first_half(state.target.presence, order):
            side = "first"
        elif state and is_waiting_half(state.target.presence, order):
            side = "held"
        return OpenWrite(opened, swap_key(relation, order), side)


def intents_by_relation(jobs: Iterable[ClaimedJob]) -> dict[Relation, tuple[Intent, ...]]:
    """Return what the jobs ask of each relation."""
    intents: dict[Relation, tuple[Intent, ...]] = {}
    for job in jobs:
        version = Version(job.occurred_at, job.accepted)
        intent = Intent(version, job.job, job.action, job.info, job.correlation)
        for relation in job.relations:
            intents[relation] = (*intents.get(relation, ()), intent)
    return intents


def first_correlations(intents: Iterable[Intent]) -> tuple[str, ...]:
    """Return the ids of the calls that these intents came with, without repetitions: the first few."""
    ids = dict.fromkeys(intent.correlation for intent in intents if intent.correlation)
    return tuple(islice(ids, MAX_CORRELATIONS))


def _job_states(states: Mapping[Relation, RelationState | None]) -> Iterator[tuple[str, JobState]]:
    """Yield what the jobs of relations that stay open are doing."""
    for state in states.values():
        if state and (state.open.stage.reads or state.open.not_before):
            for intent in state.open.intents:
                yield intent.job, "verifying" if state.open.stage.reads else "retrying"
