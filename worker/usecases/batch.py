"""The batch in hand: its relations as cases, what each wants done next, and what a step of it is to be written as.

Pure bookkeeping over `planner`: it is handed records and neighbours and gives effects and writes back; it does no I/O.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from worker.contract import Order, Relation
from worker.planner.actions import Operation
from worker.planner.apply_reply import Effects, Moment, Settled, fail, lose
from worker.planner.dry_run import rehearse
from worker.planner.fold import Version, Wish
from worker.planner.plan import Limits
from worker.planner.relation_state import Case, Refusal, Wait, enter, reopen, step
from worker.planner.swaps import goes_first, guard, waits
from worker.ports import Begun, JobState, Neighbours, OpenWrite, Record, RequestRecord, Side, Taken, Work, Writes

POISON = Refusal(0, "poison", "three workers died with this change alone in hand; it was not tried again")
DEPENDENCY = Refusal(0, "dependency", "the other half of the swap failed for good, so this half was not sent")
STEP_BACK = 1_000_000  # µs, at first
LONGEST_STEP = 60_000_000  # µs
FEW = 20  # correlations named in one line of the log


class Batch:
    """Open relations in one hand; `upsert` and `order` are the account's policies."""

    def __init__(self, *, upsert: bool, order: Callable[[str], Order]) -> None:
        self.upsert, self.order = upsert, order
        self.cases: dict[Relation, Case] = {}

    # --- taking in

    def reopen(self, relations: Iterable[Relation], records: Mapping[Relation, Record]) -> None:
        """Take open relations in hand as they are."""
        for relation in relations:
            record = records.get(relation, Record())
            if record.open and (case := reopen(record.open, record.known, record.doubt, upsert=self.upsert)):
                self.cases[relation] = case

    def recover(self, begun: Begun, moment: Moment) -> Effects:
        """The effects of a request whose sender died with it."""
        return lose(self.cases, begun.request, moment)

    def enter(self, jobs: Iterable[Taken], records: Mapping[Relation, Record], *, now: int) -> Effects:
        """Fold new jobs into what is open and known of their relations."""
        effects = Effects()
        for relation, wishes in wishes_of(jobs).items():
            self._enter(relation, wishes, records.get(relation, Record()), effects, now=now)
        self.hold(effects)
        return effects

    def keep(self, relations: Iterable[Relation]) -> None:
        """Only these stay in hand: what else a dead worker left waits its turn, so that small hands stay small (R21)."""
        self.cases = {relation: self.cases[relation] for relation in dict.fromkeys(relations) if relation in self.cases}

    def condemn(self) -> Effects:
        """Fail all that is in hand, which three workers did not survive (R21)."""
        effects = Effects()
        for relation, case in self.cases.items():
            fail(relation, case.having(reduced=True), POISON, effects, upsert=self.upsert)
        return effects

    def hold(self, effects: Effects) -> None:
        """Let effects change what is in hand."""
        for relation, case in effects.cases.items():
            if case:
                self.cases[relation] = case
            else:
                self.cases.pop(relation, None)

    def correlations(self, relations: Iterable[Relation]) -> tuple[str, ...]:
        """What the calls behind these relations go by: the first few."""
        wishes = (wish for relation in relations if relation in self.cases for wish in self.cases[relation].open.wishes)
        return _few(wish.correlation for wish in wishes)

    # --- what is next

    def operations(self, effects: Effects, *, now: int) -> list[Operation]:
        """What every relation wants done now, swaps not yet looked at; those that have to wait become due later."""
        wanted = []
        for relation, case in self.cases.items():
            todo = step(relation, case, now=now)
            if not isinstance(todo, Wait):
                wanted.append(todo)
            elif todo.until > case.open.not_before:
                effects.cases[relation] = case.delayed(todo.until)
        return wanted

    def waiting(self, wanted: Iterable[Operation]) -> dict[Relation, str]:
        """The waiting halves of swaps among the wanted, with their guards (R12); to read back, nothing has to wait."""
        swaps = ((op.relation, self.order(op.relation.type)) for op in wanted if op.kind != "get")
        return {each: guard(each, order) for each, order in swaps if order != "free" and waits(self.cases[each].target.presence, order)}

    def blocked(self, relation: Relation, others: Neighbours, effects: Effects, *, now: int) -> bool:
        """Whether the half that goes first is still to come; a half that waited in vain fails instead.

        One whose other half is not in this hand steps back, each time for as long as it has been open: were it less than the
        hand needs to go through all such halves, they would keep it from the inbox for ever.
        """
        case = self.cases[relation]
        first = [other for other in others.first if other != relation]
        if first or others.arriving:
            near = any(other in self.cases for other in first)
            rest = min(max(now - case.open.since, STEP_BACK), LONGEST_STEP)
            held = case.having(held=True).delayed(0 if near else max(others.due, now + rest))
            if held.open != case.open:
                effects.cases[relation] = held
            return True
        if case.open.spoiled and case.doubt and case.doubt.until > now:  # it was sent before, and may still land
            effects.cases[relation] = case.having(verify=True).delayed(case.doubt.until)
        elif case.open.spoiled:
            fail(relation, case, DEPENDENCY, effects, upsert=self.upsert)
        return case.open.spoiled

    def decided(self, effects: Effects) -> dict[str, bool]:
        """The guards whose first half was just confirmed (True), or failed for good (False)."""
        failed = {entry.relation for entry in effects.settled if entry.result == "failed"}
        guards: dict[str, bool] = {}
        for relation, case in effects.cases.items():
            order, before = self.order(relation.type), self.cases.get(relation)
            if before is None or not goes_first(before.target.presence, order):
                continue
            key, known = guard(relation, order), effects.known.get(relation, (before.known, None))[0]
            if known.presence > before.known.presence:
                guards[key] = True
            elif relation in failed and not (case and goes_first(case.target.presence, order)):
                guards.setdefault(key, False)
        return guards

    def swapped(self, others: Iterable[Relation], *, confirmed: bool) -> Effects:
        """The effects of a decided first half on the halves that wait: let them go, or leave them spoiled."""
        effects = Effects()
        for relation in others:
            if case := self.cases.get(relation):
                at_once = confirmed and case.open.held
                freed = case.having(held=False, spoiled=False, not_before=0 if at_once else case.open.not_before)
                effects.cases[relation] = freed if confirmed else case.having(spoiled=True)
        return effects

    def withdraw(self, relations: Iterable[Relation], records: Mapping[Relation, Record], *, by: str) -> Effects:
        """The effects of a person's word that nothing is wanted of these any more; what else is in hand forgets where it was split."""
        effects = Effects({each: case.having(part="", refusal=_wordless(case.open.refusal)) for each, case in self.cases.items()})
        for relation in relations:
            effects.cases[relation] = None
            opened = records[relation].open
            effects.settled += [Settled(wish.job, relation, "superseded", by) for wish in (opened.wishes if opened else ())]
        return effects

    # --- writing down

    def writes(self, effects: Effects) -> Writes:
        """Effects as the store takes them."""
        opens = {relation: self._open_write(relation, case) for relation, case in effects.cases.items()}
        return Writes(opens, effects.known, effects.settled, dict(_states(effects.cases)))

    def _enter(self, relation: Relation, wishes: tuple[Wish, ...], record: Record, effects: Effects, *, now: int) -> None:
        held = self.cases.get(relation)
        before, known, doubt = (held.open, held.known, held.doubt) if held else record
        case, lost, memory = enter(wishes, before, known, doubt, now=now, upsert=self.upsert)
        if case or before:
            effects.cases[relation] = case
        if memory is not known:
            effects.known[relation] = (memory, doubt)
        effects.settled += [Settled(entry.wish.job, relation, entry.result, entry.by) for entry in lost]

    def _open_write(self, relation: Relation, case: Case | None) -> OpenWrite:
        order = self.order(relation.type)
        key = guard(relation, order)
        if case is None or not key:
            return OpenWrite(case.open if case else None, key)
        presence = case.target.presence
        side: Side = "first" if goes_first(presence, order) else "held" if waits(presence, order) else ""
        return OpenWrite(case.open, key, side)


def observed(work: Work, *, limits: Limits, order: Callable[[str], Order], upsert: bool) -> list[Writes]:
    """What would be sent for a batch that stays where it is: one record per request, with the jobs that would travel in it."""
    wishes: dict[Relation, tuple[Wish, ...]] = dict.fromkeys(work.due, ()) | wishes_of(work.jobs)
    found = []
    for request in rehearse(wishes, work.records, limits=limits, order=order, upsert=upsert).requests:
        asking = dict.fromkeys(wish for relation in request.relations() for wish in wishes[relation])
        correlations = _few(wish.correlation for wish in asking)
        record = RequestRecord.would_be(request, at=work.now, correlations=correlations)
        found.append(Writes(request=record, states={wish.job: "queued" for wish in asking}))
    return found


def wishes_of(jobs: Iterable[Taken]) -> dict[Relation, tuple[Wish, ...]]:
    """What the jobs ask of each relation."""
    wishes: dict[Relation, tuple[Wish, ...]] = {}
    for job in jobs:
        wish = Wish(Version(job.occurred_at, job.accepted), job.job, job.action, job.info, job.correlation)
        for relation in job.relations:
            wishes[relation] = (*wishes.get(relation, ()), wish)
    return wishes


def _few(correlations: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(filter(None, correlations)), FEW))


def _states(cases: Mapping[Relation, Case | None]) -> Iterator[tuple[str, JobState]]:
    """What the jobs of relations that stay open are doing."""
    for case in cases.values():
        if case and (case.open.verify or case.open.not_before):
            for wish in case.open.wishes:
                yield wish.job, "verifying" if case.open.verify else "retrying"


def _wordless(refusal: Refusal | None) -> Refusal | None:
    """A refusal without the API's text, which may name a record."""
    return refusal._replace(message="") if refusal else None
