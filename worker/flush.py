"""The use case: work one account's batch, from its lease to its last outcome. Knows no Celery, Redis, HTTP or logging.

lease → read → fold → take, then in rounds: plan what is ready; per request pace → begin → send → settle (R14, R17).
A crash anywhere leaves every change in the inbox, among the open relations, or in doubt, never nowhere.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from worker.contract import Order, Relation
from worker.errors import LeaseLost
from worker.planner.answer import Effects, Moment, Settled, answer, fail, lose
from worker.planner.case import Case, Refusal, Wait, enter, reopen, step
from worker.planner.fold import Version, Wish
from worker.planner.guard import goes_first, guard, waits
from worker.planner.plan import Limits, plan
from worker.planner.retry import SECOND, Patience
from worker.planner.values import Action, ErrorClass, Operation, Reply, Request, Verdict
from worker.ports import (
    Api,
    Clock,
    Events,
    Feedback,
    Grant,
    JobState,
    Keeper,
    Lease,
    Limiter,
    Neighbours,
    OpenWrite,
    Pause,
    Record,
    RequestRecord,
    Side,
    Store,
    Taken,
    Work,
    Writes,
)

BUDGET = 20.0  # seconds of its own time after which a flush begins no request
NEAR = 0.25  # seconds a flush waits for its slot before it gives its worker back
MAX_RELATIONS = 5000  # relations per batch
CLOCK_PAUSE = 60.0  # seconds an account rests whose clock disagrees with the API's


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """An account's policies, as a flush needs them; durations in seconds."""

    account: str
    limits: Limits
    rate: float
    burst: int
    max_batch: int
    doubt: float
    patience: Patience
    order: Callable[[str], Order]
    fingerprint: str = ""
    observe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a flush works with; `name` gives a fresh id, `draw` a number from [0, 1)."""

    store: Store
    limiter: Limiter
    api: Api
    clock: Clock
    keep: Keeper
    name: Callable[[], str]
    draw: Callable[[], float]
    say: Events


@dataclass(slots=True, kw_only=True)
class Flushed:
    """What a flush did, and in how many seconds there is more to do (None: nothing known)."""

    account: str
    state: str = "done"  # done, busy, paused, lost
    again: float | None = None
    jobs: int = 0
    relations: int = 0
    requests: int = 0
    actions: int = 0
    least: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)


def flush(lane: Lane, tools: Tools) -> Flushed:
    """Work one batch of the account; `state` says if somebody else holds it, or why nothing could be done."""
    lease = tools.store.lease(lane.account, tools.name())
    if lease is None:
        return Flushed(account=lane.account, state="busy")
    started, flushed = tools.clock.monotonic(), Flushed(account=lane.account)
    try:
        if lease.pause and not _healed(lease.pause, lane, tools):
            flushed.state = "paused"
        else:
            with tools.keep(lease):
                wait = _Flush(lane, tools, lease, flushed).run()
        again = lease.release()
        flushed.again = None if again is None or flushed.state == "paused" else max(again, wait)
    except LeaseLost:
        flushed.state = "lost"
    tools.say("flush.done", **msgspec.structs.asdict(_line(flushed)), seconds=round(tools.clock.monotonic() - started, 4))
    return flushed


class _Line(msgspec.Struct):
    """The canonical line of a flush."""

    account: str
    state: str
    jobs: int
    relations: int
    requests: int
    actions: int
    least: int
    again: float | None
    applied: int = 0
    superseded: int = 0
    stale: int = 0
    failed: int = 0


def _line(flushed: Flushed) -> _Line:
    return _Line(
        flushed.account,
        flushed.state,
        flushed.jobs,
        flushed.relations,
        flushed.requests,
        flushed.actions,
        flushed.least,
        flushed.again,
        **flushed.outcomes,
    )


def _healed(pause: Pause, lane: Lane, tools: Tools) -> bool:
    """Whether an account that rejected credentials has others now, and so goes on (R20)."""
    if pause.reason != "credentials" or not pause.fingerprint or pause.fingerprint == lane.fingerprint:
        return False
    tools.say("account.resumed", account=lane.account, reason="its credentials changed")
    return tools.store.resume(lane.account)


class _Flush:
    """One batch in one hand: the cases, and what has been done with them."""

    def __init__(self, lane: Lane, tools: Tools, lease: Lease, flushed: Flushed) -> None:
        self.lane, self.tools, self.lease, self.flushed = lane, tools, lease, flushed
        self.cases: dict[Relation, Case] = {}
        self.factor = 1.0
        self.started = tools.clock.monotonic()
        self.epoch = 0

    def run(self) -> float:
        """Work it; the seconds until it is worth coming back for pace's sake."""
        work = self.lease.read(max_jobs=self.lane.max_batch, max_relations=MAX_RELATIONS)
        self.epoch = work.now
        if not (work.jobs or work.due or work.begun):
            return 0.0
        if self.lane.observe:
            return self.observe(work)
        self.take(work)
        while ready := self.ready():
            wait = self.round(ready)
            if wait is not None:
                return wait
        return 0.0

    def now(self) -> int:
        """The store's clock (µs), by what it said and what has passed since."""
        return self.epoch + round((self.tools.clock.monotonic() - self.started) * SECOND)

    # --- taking the batch in

    def take(self, work: Work) -> None:
        """Make open relations of the batch: recover what a dead worker began, then fold in what is new."""
        effects = self.gather(work)
        if work.condemned:
            self.condemn(work, effects)
        self.flushed.jobs, self.flushed.relations = len(work.jobs), len(self.cases)
        self.lease.take(work.jobs, work.begun, self.writes(effects))

    def gather(self, work: Work) -> Effects:
        """The cases of everything in hand, and the outcomes that fell by folding alone."""
        effects, records = Effects(), dict(work.records)
        lost = [relation for entry in work.begun for relation in entry.request.relations() if relation not in records]
        records |= self.lease.records(dict.fromkeys(lost))
        for relation in dict.fromkeys([*lost, *work.due]):
            self.reopen(relation, records.get(relation, Record()))
        for entry in work.begun:
            lost_answer = lose(self.cases, entry.request, self.moment(entry.signed, work.now))
            self.hold(lost_answer)
            effects.add(lost_answer)
        for relation, wishes in wishes_of(work.jobs).items():
            self.enter(relation, wishes, records.get(relation, Record()), effects)
        return effects

    def reopen(self, relation: Relation, record: Record) -> None:
        """Take an open relation in hand as it is."""
        if record.open and (case := reopen(record.open, record.known, record.doubt, upsert=self.lane.patience.upsert)):
            self.cases[relation] = case

    def enter(self, relation: Relation, wishes: tuple[Wish, ...], record: Record, effects: Effects) -> None:
        """Fold new wishes into what is open of a relation."""
        held = self.cases.get(relation)
        before, known, doubt = (held.open, held.known, held.doubt) if held else record
        case, lost, memory = enter(wishes, before, known, doubt, now=self.epoch, upsert=self.lane.patience.upsert)
        if case or before:
            effects.cases[relation] = case
        if memory is not known:
            effects.known[relation] = (memory, doubt)
        effects.settled += [Settled(entry.wish.job, relation, entry.result, entry.by) for entry in lost]
        if case:
            self.cases[relation] = case
        else:
            self.cases.pop(relation, None)

    def condemn(self, work: Work, effects: Effects) -> None:
        """Fail the one thing in hand, which three workers did not survive (R21)."""
        refusal = Refusal(0, "poison", "three workers died with this change alone in hand; it was not tried again")
        for relation, case in list(self.cases.items()):
            opened = msgspec.structs.replace(case.open, reduced=True)
            fail(relation, Case(opened, case.known, case.doubt, case.target), refusal, effects, upsert=False)
            del self.cases[relation]
        self.tools.say("batch.condemned", account=self.lane.account, jobs=[job.job for job in work.jobs], due=list(map(str, work.due)))

    def observe(self, work: Work) -> float:
        """Say what would be sent, and leave everything where it is."""
        self.gather(work)
        planned = plan(self.operations(Effects()), self.lane.limits, self.lane.order)
        self.tools.say(
            "flush.observed",
            account=self.lane.account,
            relations=planned.relations,
            actions=planned.actions,
            requests=len(planned.requests),
        )
        self.flushed.state = "paused"
        return 0.0

    # --- rounds

    def operations(self, effects: Effects) -> list[Operation]:
        """What every relation in hand wants done now, swaps not yet looked at; those that have to wait are due later."""
        now, wanted = self.now(), []
        for relation, case in self.cases.items():
            todo = step(relation, case, now=now)
            if not isinstance(todo, Wait):
                wanted.append(todo)
            elif todo.until > case.open.not_before:
                effects.cases[relation] = case.delayed(todo.until)
        return wanted

    def ready(self) -> list[Operation]:
        """The operations of the next round: one per relation, the waiting halves of swaps left out (R12)."""
        effects = Effects()
        wanted = self.operations(effects)
        waiting = {
            op.relation: guard(op.relation, order)
            for op in wanted
            if waits(self.cases[op.relation].target.presence, order := self.lane.order(op.relation.type))
        }
        neighbours = self.lease.neighbours(sorted(set(waiting.values()))) if waiting else {}
        blocked = {relation for relation, key in waiting.items() if self.blocked(relation, neighbours[key], effects)}
        if effects.cases:
            self.hold(effects)
            self.lease.take((), (), self.writes(effects))
        return [op for op in wanted if op.relation not in blocked and op.relation in self.cases]

    def blocked(self, relation: Relation, others: Neighbours, effects: Effects) -> bool:
        """Whether the other half of the swap is still to come; a half that waited in vain fails instead."""
        case = self.cases[relation]
        first = [other for other in others.first if other != relation]
        if first or others.arriving:
            later = others.due if not others.arriving and others.due > self.now() else 0
            held = msgspec.structs.replace(case.open, held=True, not_before=max(case.open.not_before, later))
            if held != case.open:
                effects.cases[relation] = Case(held, case.known, case.doubt, case.target)
            return True
        if case.open.held:
            refusal = Refusal(0, "dependency", "the other half of the swap failed for good, so this half was not sent")
            fail(relation, case, refusal, effects, upsert=self.lane.patience.upsert)
        return False

    def round(self, ready: Sequence[Operation]) -> float | None:
        """Plan and send what is ready; seconds to wait when the round had to stop, None when it is through."""
        limits = Limits(max_ids=self.lane.limits.max_ids, max_actions=self.most())
        planned = plan(ready, limits, self.lane.order)
        self.flushed.least += planned.least
        for request in planned.requests:
            if self.tools.clock.monotonic() - self.started > BUDGET:
                return 0.0
            grant = self.book()
            if not grant.booked:
                return grant.wait
            trimmed = Request(request.actions[: self.most()])
            if not self.send(_probe(trimmed) if grant.probe else trimmed, grant):
                return 0.0
            if grant.probe or len(trimmed.actions) < len(request.actions):
                return None  # plan again: a later request may build on what was left out
        return None

    def most(self) -> int:
        """Actions per request at the present pace (R19)."""
        return max(1, int(self.lane.limits.max_actions * self.factor))

    def book(self) -> Grant:
        """A slot, waited for when it is near."""
        grant = self.tools.limiter.book(self.lane.account, rate=self.lane.rate, burst=self.lane.burst, max_wait=NEAR)
        self.factor = grant.factor
        if grant.booked and grant.wait > 0:
            self.tools.clock.sleep(grant.wait)
        return grant

    def send(self, request: Request, grant: Grant) -> bool:
        """Begin, send and settle one request; whether the account may go on."""
        request_id = self.tools.name()
        signed = self.lease.begin(request_id, request)
        if isinstance(signed, Pause):
            self.tools.limiter.refund(self.lane.account, grant)
            return False
        reply = self.tools.api.send(request.actions, request_id=request_id, now=signed / SECOND)
        answered = signed + round(reply.seconds * SECOND)
        effects = Effects() if grant.probe else answer(self.cases, request, reply, self.moment(signed, answered))
        total = self.free(effects)
        total.add(effects)
        self.hold(effects)
        writes = self.writes(total)
        writes.request = record_of(request_id, request, reply, signed)
        self.lease.settle(request_id, writes)
        self.flushed.requests += 1
        self.flushed.actions += len(request.actions)
        return self.learn(reply, grant)

    def learn(self, reply: Reply, grant: Grant) -> bool:
        """Let the account's pace and pauses follow from the answer; whether it may go on at once."""
        feedback: Feedback = "slow" if reply.status == 429 else "ok" if _heard(reply) else "failed"
        if grant.worth_reporting(feedback):
            self.tools.limiter.report(self.lane.account, feedback, retry_after=reply.retry_after or 0.0, reason=reply.message)
        self.tools.say("request.done", account=self.lane.account, feedback=feedback, status=reply.status, seconds=round(reply.seconds, 4))
        stopped = _stop(reply, self.lane)
        if stopped:
            self.lease.stop(stopped._replace(until=self.now() + stopped.until if stopped.until else 0))
            self.tools.say("account.paused", account=self.lane.account, reason=stopped.reason, detail=stopped.detail)
        return feedback == "ok" and not stopped

    def free(self, effects: Effects) -> Effects:
        """The waiting halves of the swaps whose first half has just been confirmed, taken in hand and let go (R12)."""
        keys = {
            guard(relation, order)
            for relation, (known, _) in effects.known.items()
            if (order := self.lane.order(relation.type)) != "free"
            and (case := self.cases.get(relation))
            and goes_first(case.target.presence, order)
            and known.presence > case.known.presence
        }
        held = [relation for others in self.lease.neighbours(sorted(keys)).values() for relation in others.held] if keys else []
        for relation, record in self.lease.records([relation for relation in held if relation not in self.cases]).items():
            self.reopen(relation, record)
        freed = Effects()
        for relation in held:
            if case := self.cases.get(relation):
                opened = msgspec.structs.replace(case.open, held=False, not_before=0)
                freed.cases[relation] = self.cases[relation] = Case(opened, case.known, case.doubt, case.target)
        return freed

    # --- writing it down

    def hold(self, effects: Effects) -> None:
        """Let effects change what is in hand."""
        for relation, case in effects.cases.items():
            if case:
                self.cases[relation] = case
            else:
                self.cases.pop(relation, None)

    def writes(self, effects: Effects) -> Writes:
        """Effects as the store takes them."""
        for entry in effects.settled:
            self.flushed.outcomes[entry.result] = self.flushed.outcomes.get(entry.result, 0) + 1
        opens = {relation: self.open_write(relation, case) for relation, case in effects.cases.items()}
        return Writes(opens, effects.known, effects.settled, dict(self.states(effects.cases)))

    def open_write(self, relation: Relation, case: Case | None) -> OpenWrite:
        """An open relation with its place in a swap."""
        order = self.lane.order(relation.type)
        key = guard(relation, order)
        if case is None or not key:
            return OpenWrite(case.open if case else None, key)
        side: Side = "first" if goes_first(case.target.presence, order) else "held" if case.open.held else ""
        return OpenWrite(case.open, key, side)

    def states(self, cases: Mapping[Relation, Case | None]) -> Iterable[tuple[str, JobState]]:
        """What the jobs of relations that stay open are doing."""
        for case in cases.values():
            if case and (case.open.verify or case.open.not_before):
                for wish in case.open.wishes:
                    yield wish.job, "verifying" if case.open.verify else "retrying"

    def moment(self, signed: int, answered: int) -> Moment:
        """When, and by which policies, an answer is judged."""
        return Moment(signed, answered, self.lane.doubt, self.lane.patience, self.tools.draw)


def wishes_of(jobs: Iterable[Taken]) -> dict[Relation, tuple[Wish, ...]]:
    """What the jobs ask of each relation."""
    wishes: dict[Relation, tuple[Wish, ...]] = {}
    for job in jobs:
        wish = Wish(Version(job.occurred_at, job.accepted), job.job, job.action, job.info)
        for relation in job.relations:
            wishes[relation] = (*wishes.get(relation, ()), wish)
    return wishes


def record_of(request_id: str, request: Request, reply: Reply, signed: int) -> RequestRecord:
    """What was sent and answered, for people."""
    answers = tuple((outcome.verdict.value, outcome.code, outcome.message) for outcome in reply.outcomes)
    return RequestRecord(
        id=request_id,
        at=signed,
        status=reply.status,
        seconds=reply.seconds,
        message=reply.message,
        actions=request.actions,
        answers=answers,
    )


def _probe(request: Request) -> Request:
    """A harmless read about the first relation, to see whether the API is back (R20)."""
    relation = next(request.relations())
    return Request((Action("get", relation.type, (relation.parent,), (), asked=(relation,)),))


def _heard(reply: Reply) -> bool:
    """Whether the API gave any answer of its own."""
    return any(outcome.verdict in (Verdict.OK, Verdict.REJECTED) for outcome in reply.outcomes)


def _stop(reply: Reply, lane: Lane) -> Pause | None:
    """The pause that rejected credentials or a clock that disagrees call for."""
    for outcome in reply.outcomes:
        if outcome.verdict is Verdict.REJECTED and outcome.error is ErrorClass.CREDENTIALS:
            return Pause("credentials", f"{outcome.code}: {outcome.message}", fingerprint=lane.fingerprint)
        if outcome.verdict is Verdict.REJECTED and outcome.error is ErrorClass.CLOCK:
            skew = f"; the API's clock is {reply.skew:+.0f} s from ours" if reply.skew is not None else ""
            return Pause("clock", f"{outcome.code}: {outcome.message}{skew}", until=round(CLOCK_PAUSE * SECOND))
    return None
