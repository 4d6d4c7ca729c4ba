"""The batch in hand: its relations as cases, what each wants done next, and what a step of it is to be written as.

Pure bookkeeping over `planner`: it is handed records and neighbours and gives effects and writes back; it does no I/O.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from worker.contract import Order, Relation
from worker.planner.actions import Operation
from worker.planner.apply_reply import Effects, RelationOutcome, ReplyContext, fail, lose
from worker.planner.dry_run import dry_run
from worker.planner.fold import Intent, Version
from worker.planner.plan import Limits
from worker.planner.relation_state import Refusal, RelationState, Wait, add_intents, reopen, step
from worker.planner.swaps import is_first_half, is_waiting_half, swap_key
from worker.ports import (
    BegunRequest,
    ClaimedJob,
    JobState,
    OpenWrite,
    RelationRecord,
    RequestRecord,
    SwapPartners,
    SwapSide,
    WorkBatch,
    Writes,
)

POISON = Refusal(0, "poison", "three workers died with this change alone in hand; it was not tried again")
DEPENDENCY = Refusal(0, "dependency", "the other half of the swap failed for good, so this half was not sent")
STEP_BACK = 1_000_000  # µs, at first
LONGEST_STEP = 60_000_000  # µs
FEW = 20  # correlations named in one line of the log


class Batch:
    """Open relations in one hand; `upsert` and `order` are the account's policies."""

    def __init__(self, *, upsert: bool, order: Callable[[str], Order]) -> None:
        self.upsert, self.order = upsert, order
        self.states: dict[Relation, RelationState] = {}

    # --- taking in

    def reopen(self, relations: Iterable[Relation], records: Mapping[Relation, RelationRecord]) -> None:
        """Take open relations in hand as they are."""
        for relation in relations:
            record = records.get(relation, RelationRecord())
            if record.open and (
                case := reopen(record.open, record.confirmed, record.doubt, upsert=self.upsert)
            ):
                self.states[relation] = case

    def recover(self, begun: BegunRequest, context: ReplyContext) -> Effects:
        """The effects of a request whose sender died with it."""
        return lose(self.states, begun.request, context)

    def add_intents(
        self, jobs: Iterable[ClaimedJob], records: Mapping[Relation, RelationRecord], *, now: int
    ) -> Effects:
        """Fold new jobs into what is open and known of their relations."""
        effects = Effects()
        for relation, intents in intents_by_relation(jobs).items():
            self._enter(relation, intents, records.get(relation, RelationRecord()), effects, now=now)
        self.hold(effects)
        return effects

    def keep(self, relations: Iterable[Relation]) -> None:
        """Only these stay in hand: what else a dead worker left waits its turn, so that small hands stay small (R21)."""
        self.states = {
            relation: self.states[relation]
            for relation in dict.fromkeys(relations)
            if relation in self.states
        }

    def condemn(self) -> Effects:
        """Fail all that is in hand, which three workers did not survive (R21)."""
        effects = Effects()
        for relation, case in self.states.items():
            fail(relation, case.with_progress(reduced=True), POISON, effects, upsert=self.upsert)
        return effects

    def hold(self, effects: Effects) -> None:
        """Let effects change what is in hand."""
        for relation, case in effects.states.items():
            if case:
                self.states[relation] = case
            else:
                self.states.pop(relation, None)

    def correlations(self, relations: Iterable[Relation]) -> tuple[str, ...]:
        """What the calls behind these relations go by: the first few."""
        intents = (
            intent
            for relation in relations
            if relation in self.states
            for intent in self.states[relation].open.intents
        )
        return _few(intent.correlation for intent in intents)

    # --- what is next

    def operations(self, effects: Effects, *, now: int) -> list[Operation]:
        """What every relation wants done now, swaps not yet looked at; those that have to wait become due later."""
        wanted = []
        for relation, case in self.states.items():
            todo = step(relation, case, now=now)
            if not isinstance(todo, Wait):
                wanted.append(todo)
            elif todo.until > case.open.not_before:
                effects.states[relation] = case.delayed(todo.until)
        return wanted

    def waiting(self, wanted: Iterable[Operation]) -> dict[Relation, str]:
        """The waiting halves of swaps among the wanted, with their guards (R12); to read back, nothing has to wait."""
        swaps = ((op.relation, self.order(op.relation.type)) for op in wanted if op.kind != "get")
        return {
            each: swap_key(each, order)
            for each, order in swaps
            if order != "free" and is_waiting_half(self.states[each].target.presence, order)
        }

    def blocked(self, relation: Relation, others: SwapPartners, effects: Effects, *, now: int) -> bool:
        """Whether the half that goes first is still to come; a half that waited in vain fails instead.

        One whose other half is not in this hand steps back, each time for as long as it has been open: were it less than the
        hand needs to go through all such halves, they would keep it from the inbox for ever.
        """
        case = self.states[relation]
        first = [other for other in others.first if other != relation]
        if first or others.arriving:
            near = any(other in self.states for other in first)
            rest = min(max(now - case.open.since, STEP_BACK), LONGEST_STEP)
            held = case.with_progress(held=True).delayed(0 if near else max(others.due, now + rest))
            if held.open != case.open:
                effects.states[relation] = held
            return True
        if (
            case.open.spoiled and case.doubt and case.doubt.until > now
        ):  # it was sent before, and may still land
            effects.states[relation] = case.with_progress(verify=True).delayed(case.doubt.until)
        elif case.open.spoiled:
            fail(relation, case, DEPENDENCY, effects, upsert=self.upsert)
        return case.open.spoiled

    def decided(self, effects: Effects) -> dict[str, bool]:
        """The guards whose first half was just confirmed (True), or failed for good (False)."""
        failed = {entry.relation for entry in effects.outcomes if entry.result == "failed"}
        guards: dict[str, bool] = {}
        for relation, case in effects.states.items():
            order, before = self.order(relation.type), self.states.get(relation)
            if before is None or not is_first_half(before.target.presence, order):
                continue
            key, known = (
                swap_key(relation, order),
                effects.confirmed.get(relation, (before.confirmed, None))[0],
            )
            if known.presence > before.confirmed.presence:
                guards[key] = True
            elif relation in failed and not (case and is_first_half(case.target.presence, order)):
                guards.setdefault(key, False)
        return guards

    def swapped(self, others: Iterable[Relation], *, confirmed: bool) -> Effects:
        """The effects of a decided first half on the halves that wait: let them go, or leave them spoiled."""
        effects = Effects()
        for relation in others:
            if case := self.states.get(relation):
                at_once = confirmed and case.open.held
                freed = case.with_progress(
                    held=False, spoiled=False, not_before=0 if at_once else case.open.not_before
                )
                effects.states[relation] = freed if confirmed else case.with_progress(spoiled=True)
        return effects

    def withdraw(
        self, relations: Iterable[Relation], records: Mapping[Relation, RelationRecord], *, by: str
    ) -> Effects:
        """The effects of a person's word that nothing is wanted of these any more; what else is in hand forgets where it was split."""
        effects = Effects(
            {
                each: case.with_progress(part="", refusal=_wordless(case.open.refusal))
                for each, case in self.states.items()
            }
        )
        for relation in relations:
            effects.states[relation] = None
            opened = records[relation].open
            effects.outcomes += [
                RelationOutcome(intent.job, relation, "superseded", by)
                for intent in (opened.intents if opened else ())
            ]
        return effects

    # --- writing down

    def writes(self, effects: Effects) -> Writes:
        """Effects as the store takes them."""
        opens = {relation: self._open_write(relation, case) for relation, case in effects.states.items()}
        return Writes(opens, effects.confirmed, effects.outcomes, dict(_states(effects.states)))

    def _enter(
        self,
        relation: Relation,
        intents: tuple[Intent, ...],
        record: RelationRecord,
        effects: Effects,
        *,
        now: int,
    ) -> None:
        held = self.states.get(relation)
        before, known, doubt = (held.open, held.confirmed, held.doubt) if held else record
        case, lost, memory = add_intents(intents, before, known, doubt, now=now, upsert=self.upsert)
        if case or before:
            effects.states[relation] = case
        if memory is not known:
            effects.confirmed[relation] = (memory, doubt)
        effects.outcomes += [
            RelationOutcome(entry.intent.job, relation, entry.result, entry.by) for entry in lost
        ]

    def _open_write(self, relation: Relation, case: RelationState | None) -> OpenWrite:
        order = self.order(relation.type)
        key = swap_key(relation, order)
        if case is None or not key:
            return OpenWrite(case.open if case else None, key)
        presence = case.target.presence
        side: SwapSide = (
            "first" if is_first_half(presence, order) else "held" if is_waiting_half(presence, order) else ""
        )
        return OpenWrite(case.open, key, side)


def observed(work: WorkBatch, *, limits: Limits, order: Callable[[str], Order], upsert: bool) -> list[Writes]:
    """What would be sent for a batch that stays where it is: one record per request, with the jobs that would travel in it."""
    intents: dict[Relation, tuple[Intent, ...]] = dict.fromkeys(work.due, ()) | intents_by_relation(work.jobs)
    found = []
    for request in dry_run(intents, work.records, limits=limits, order=order, upsert=upsert).requests:
        asking = dict.fromkeys(intent for relation in request.relations() for intent in intents[relation])
        correlations = _few(intent.correlation for intent in asking)
        record = RequestRecord.would_be(request, at=work.now, correlations=correlations)
        found.append(Writes(request=record, job_states={intent.job: "queued" for intent in asking}))
    return found


def intents_by_relation(jobs: Iterable[ClaimedJob]) -> dict[Relation, tuple[Intent, ...]]:
    """What the jobs ask of each relation."""
    intents: dict[Relation, tuple[Intent, ...]] = {}
    for job in jobs:
        intent = Intent(
            Version(job.occurred_at, job.accepted), job.job, job.action, job.info, job.correlation
        )
        for relation in job.relations:
            intents[relation] = (*intents.get(relation, ()), intent)
    return intents


def _few(correlations: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(filter(None, correlations)), FEW))


def _states(cases: Mapping[Relation, RelationState | None]) -> Iterator[tuple[str, JobState]]:
    """What the jobs of relations that stay open are doing."""
    for case in cases.values():
        if case and (case.open.verify or case.open.not_before):
            for intent in case.open.intents:
                yield intent.job, "verifying" if case.open.verify else "retrying"


def _wordless(refusal: Refusal | None) -> Refusal | None:
    """A refusal without the API's text, which may name a record."""
    return refusal._replace(message="") if refusal else None
