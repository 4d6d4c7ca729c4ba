"""The batch of a flush: the states of its relations, what each wants done next, and what a step writes.

Pure bookkeeping over `planner`: it takes records and returns effects and writes; it does no I/O.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from worker.contract import GuardedSide, Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Operation
from worker.planner.apply_reply import (
    Confirmed,
    Effects,
    RelationEffect,
    RelationOutcome,
    fail_relation,
)
from worker.planner.fold import Intent
from worker.planner.guard import Guarded, guard_key, indexed_side
from worker.planner.relation_state import (
    OpenRelation,
    Refusal,
    RelationRecord,
    RelationState,
    Stage,
    Wait,
    add_intents,
    next_operation,
    reopen,
)
from worker.ports.records import JobState
from worker.ports.work import ClaimedJob, OpenWrite, Writes

POISON_REFUSAL = Refusal(
    0, "poison", "three workers died with this change alone in hand; it was not tried again"
)
SHORTEST_HOLD, LONGEST_HOLD = 1_000_000, 300_000_000  # µs until a held relation is looked at again
NOTHING_KNOWN = RelationRecord()
MAX_CORRELATIONS = 20  # in one log event or record


class HoldTerms(NamedTuple):
    """How long a guarded relation is held (R12), looked at now (µs).

    It fails after `hold_for` seconds, unless a change that makes way for it is on its way, or at once if that
    is final. `part` separates its next read from those of others.
    """

    now: int
    hold_for: float
    way_is_coming: bool = False
    is_final: bool = False
    part: str = ""


class Batch:
    """The relations of one flush; `upsert` and `guarded` are the account's policies."""

    def __init__(self, *, upsert: bool, guarded: Guarded) -> None:
        self.upsert, self.guarded = upsert, guarded
        self.states: dict[Relation, RelationState] = {}

    # --- filling it

    def reopen(self, relations: Iterable[Relation], records: Mapping[Relation, RelationRecord]) -> None:
        """Add open relations as they are."""
        self.states |= self.open_states({each: records[each] for each in relations if each in records})

    def open_states(self, records: Mapping[Relation, RelationRecord]) -> dict[Relation, RelationState]:
        """Return the states of those relations that are open."""
        states = {
            relation: reopen(record.open, record.confirmed, record.doubt, upsert=self.upsert)
            for relation, record in records.items()
            if record.open
        }
        return {relation: state for relation, state in states.items() if state}

    def add_intents(
        self, jobs: Iterable[ClaimedJob], records: Mapping[Relation, RelationRecord], *, now: int
    ) -> Effects:
        """Fold new jobs into what is open and confirmed; return the effects, which the batch has already."""
        effects = Effects()
        jobs = list(jobs)
        for relation, intents in intents_by_relation(jobs).items():
            self._fold(effects, relation, intents, self._record(relation, records), now)
        created = (
            each for job in jobs if job.reads_first for each in job.relations if each not in job.removes
        )
        for relation in created:
            state = effects.states.get(relation)
            if state and state.open.stage is Stage.WRITE:
                effects.states[relation] = state.with_progress(stage=Stage.READ_BACK)
        self.apply(effects)
        return effects

    def settle_overtaken(
        self, relations: Iterable[Relation], records: Mapping[Relation, RelationRecord], *, now: int
    ) -> Effects:
        """Return the effects on open relations with intents that lost against what is confirmed by now.

        The batch has them already. Only a store that contradicts itself has such relations.
        """
        effects = Effects()
        for relation in relations:
            state, record = self.states.get(relation), records.get(relation)
            if not record or not record.open:
                continue
            if state is None or len(state.target.intents) < len(record.open.intents):
                self._fold(effects, relation, (), record, now)
        self.apply(effects)
        return effects

    def _fold(
        self,
        effects: Effects,
        relation: Relation,
        intents: tuple[Intent, ...],
        record: RelationRecord,
        now: int,
    ) -> None:
        """Fold intents into what is open and confirmed of a relation; add the effects."""
        opened, confirmed, doubt = record.open, record.confirmed, record.doubt
        state, lost, confirmed_now = add_intents(
            intents, opened, confirmed, doubt, now=now, upsert=self.upsert
        )
        if state or opened:
            effects.states[relation] = state
        if confirmed_now is not confirmed:
            effects.confirmed[relation] = (confirmed_now, doubt)
        for each in lost:
            effects.outcomes.append(RelationOutcome(each.intent.job, relation, each.result, each.by))

    def keep_only(self, relations: Iterable[Relation]) -> None:
        """Drop all others: they wait their turn, so that small batches stay small (R21)."""
        kept = dict.fromkeys(relations)
        self.states = {relation: self.states[relation] for relation in kept if relation in self.states}

    def drop(self, relations: Iterable[Relation]) -> None:
        """Drop these, as if they had never been added."""
        for relation in relations:
            self.states.pop(relation, None)

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
        known = filter(None, map(self.states.get, relations))
        return first_correlations([each.correlation for state in known for each in state.open.intents])

    # --- what is next

    def next_operations(
        self, relations: Iterable[Relation] | None = None, *, now: int
    ) -> tuple[list[Operation], Effects]:
        """Return what these relations want done now, by default all; what has to wait is due later.

        Guarded ones are among them.
        """
        operations, effects = [], Effects()
        states = self.states if relations is None else {each: self.states[each] for each in relations}
        for relation, state in states.items():
            operation = next_operation(relation, state, now=now)
            if not isinstance(operation, Wait):
                operations.append(operation)
            elif operation.until > state.open.not_before:
                effects.states[relation] = state.delayed(operation.until)
        return operations, effects

    # --- the guard

    def hold(self, relation: Relation, refusal: Refusal, terms: HoldTerms) -> RelationEffect:
        """Return the effect on a relation that must not be written now (R12): held, or failed in the end.

        It waits as long as it has been open, within bounds, so that records are not read for nothing.
        """
        state, now = self.states[relation], terms.now
        if state.doubt and state.doubt.until > now:  # it was sent before, and may still land
            waits = state.with_progress(stage=Stage.READ_BACK).delayed(state.doubt.until)
            return RelationEffect(waits.with_progress(held=True, refusal=refusal))
        age = now - state.open.since
        if terms.is_final or (age > terms.hold_for * SECOND and not terms.way_is_coming):
            return fail_relation(relation, state, refusal, upsert=self.upsert)
        rest = min(max(age, SHORTEST_HOLD), LONGEST_HOLD)
        held = state.with_progress(held=True, refusal=refusal, part=terms.part or state.open.part)
        return RelationEffect(held.delayed(now + rest))

    def wake(self, relations: Iterable[Relation]) -> Effects:
        """Return the effects on relations that are held, now that way was made for them: they are due."""
        effects = Effects()
        for relation in relations:
            state = self.states.get(relation)
            if state and state.open.held:
                effects.states[relation] = _not_held(state).with_progress(not_before=0)
        return effects

    def release(self, relation: Relation) -> None:
        """Note that the relation is not held any more."""
        if self.states[relation].open.held:
            self.states[relation] = _not_held(self.states[relation])

    # --- writing

    def writes(self, effects: Effects) -> Writes:
        """Return effects as the store takes them."""
        states, confirmed = effects.states, effects.confirmed
        types = {relation.type for relation in states}
        sides = {name: indexed_side(name, self.guarded(name)) for name in types}
        opens: dict[Relation, OpenWrite] = {}
        for relation, state in states.items():
            write = OpenWrite(state.open if state else None)
            if side := sides[relation.type]:
                write = _guarded_write(relation, write.open, confirmed.get(relation), side)
            opens[relation] = write
        return Writes(opens, confirmed, effects.outcomes, dict(_job_states(states)))

    def _record(self, relation: Relation, records: Mapping[Relation, RelationRecord]) -> RelationRecord:
        """Return what is known of a relation: by the batch, else by the store."""
        if state := self.states.get(relation):
            return RelationRecord(state.open, state.confirmed, state.doubt)
        return records.get(relation, NOTHING_KNOWN)


def intents_by_relation(jobs: Iterable[ClaimedJob]) -> dict[Relation, tuple[Intent, ...]]:
    """Return what the jobs ask of each relation."""
    intents: dict[Relation, tuple[Intent, ...]] = {}
    for job in jobs:
        intent, removal = job.intent(job.action), job.intent("delete") if job.removes else None
        for relation in job.relations:
            wanted = removal if removal and relation in job.removes else intent
            earlier = intents.get(relation)
            intents[relation] = (*earlier, wanted) if earlier else (wanted,)
    return intents


def first_correlations(correlations: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of calls without repetitions and empty ones: the first few."""
    ids = dict.fromkeys(filter(None, correlations))
    return tuple(islice(ids, MAX_CORRELATIONS))


def _not_held(state: RelationState) -> RelationState:
    return state.with_progress(held=False, refusal=None)


def _guarded_write(
    relation: Relation, opened: OpenRelation | None, confirmed: Confirmed | None, side: GuardedSide
) -> OpenWrite:
    """Return the new state of a relation whose record on this side is guarded."""
    until = 0
    if side == "child" and opened is None and confirmed:
        memory, doubt = confirmed
        if doubt and doubt.kind == "create" and memory.present <= memory.absent:
            until = doubt.until  # a create that failed may land, and shows then only
    return OpenWrite(opened, guard_key(relation, side), until)


def _job_states(states: Mapping[Relation, RelationState | None]) -> Iterator[tuple[str, JobState]]:
    """Yield what the jobs of relations that stay open are doing."""
    for state in states.values():
        if state and (doing := _doing(state.open)):
            for intent in state.open.intents:
                yield intent.job, doing


def _doing(opened: OpenRelation) -> JobState | None:
    if opened.held:
        return "held"
    if opened.stage.reads:
        return "verifying"
    return "retrying" if opened.not_before else None
