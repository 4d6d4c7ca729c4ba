"""The use case: work one account's batch, from its lease to its last outcome. Knows no Celery, Redis, HTTP or logging.

lease → read → fold → take, then in rounds: plan what is ready; per request pace → begin → send → settle (R14, R17).
A crash anywhere leaves every change in the inbox, among the open relations, or in doubt, never nowhere.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from worker.batch import Batch
from worker.contract import Order
from worker.errors import LeaseLost
from worker.planner.answer import Effects, Moment, answer
from worker.planner.plan import Limits, plan
from worker.planner.retry import SECOND, Patience
from worker.planner.values import Action, ErrorClass, Operation, Reply, Request, Verdict
from worker.ports import Api, Clock, Events, Feedback, Grant, Keeper, Lease, Limiter, Pause, RequestRecord, Store, Work

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
    window: float
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
    """What a flush did, and in how many seconds there is more to do (None: nothing known, or the sweep's affair)."""

    account: str
    state: str = "done"  # done, busy, paused, observed, lost
    again: float | None = None
    jobs: int = 0
    relations: int = 0
    requests: int = 0
    actions: int = 0
    least: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


def flush(lane: Lane, tools: Tools) -> Flushed:
    """Work one batch of the account; `state` says if somebody else holds it, or why nothing could be done."""
    flushed = Flushed(account=lane.account)
    lease = tools.store.lease(lane.account, tools.name())
    if lease is None:
        flushed.state = "busy"
        return flushed
    started, wait = tools.clock.monotonic(), 0.0
    try:
        if lease.pause and not _healed(lease.pause, lane, tools):
            flushed.state = "paused"
        else:
            with tools.keep(lease):
                wait = _Flush(lane, tools, lease, flushed).run()
        again = lease.release(window=lane.window, rest=wait)
        flushed.again = again if flushed.state == "done" else None
    except LeaseLost:
        flushed.state = "lost"
    _say_so(flushed, tools, tools.clock.monotonic() - started)
    return flushed


class _Flush:
    """One batch being worked."""

    def __init__(self, lane: Lane, tools: Tools, lease: Lease, flushed: Flushed) -> None:
        self.lane, self.tools, self.lease, self.flushed = lane, tools, lease, flushed
        self.batch = Batch(upsert=lane.patience.upsert, order=lane.order)
        self.factor, self.epoch, self.misdated = 1.0, 0, False
        self.started = tools.clock.monotonic()

    def run(self) -> float:
        """Work it; the seconds until it is worth coming back, for pace's sake."""
        work = self.lease.read(max_jobs=self.lane.max_batch, max_relations=MAX_RELATIONS)
        self.epoch = work.now
        if not (work.jobs or work.due or work.begun):
            return 0.0
        effects = self.gather(work)
        if self.lane.observe:
            return self.observe()
        self.flushed.jobs, self.flushed.relations = len(work.jobs), len(self.batch.cases)
        if work.condemned:
            effects.add(self.step(self.batch.condemn()))
            self.tools.say("batch.condemned", account=self.lane.account, jobs=[job.job for job in work.jobs], due=list(map(str, work.due)))
        self.count(effects)
        self.lease.take(work.jobs, work.begun, self.batch.writes(effects))
        wait: float | None = None
        while wait is None and (ready := self.ready()):
            wait = self.round(ready)
        return wait or 0.0

    def now(self) -> int:
        """The store's clock (µs), by what it said and what has passed since."""
        return self.epoch + round((self.tools.clock.monotonic() - self.started) * SECOND)

    def gather(self, work: Work) -> Effects:
        """Take everything in hand: what a dead worker had begun, what is due, what is new."""
        effects, records = Effects(), dict(work.records)
        orphans = [relation for begun in work.begun for relation in begun.request.relations()]
        records |= self.lease.records([relation for relation in dict.fromkeys(orphans) if relation not in records])
        self.batch.reopen(dict.fromkeys([*orphans, *work.due]), records)
        for begun in work.begun:
            effects.add(self.step(self.batch.recover(begun, self.moment(begun.signed, work.now))))
        effects.add(self.batch.enter(work.jobs, records, now=work.now))
        self.batch.keep([*work.due, *(relation for job in work.jobs for relation in job.relations)])
        return effects

    def observe(self) -> float:
        """Say what would be sent, and leave everything where it is."""
        planned = plan(self.batch.operations(Effects(), now=self.now()), self.lane.limits, self.lane.order)
        requests = len(planned.requests)
        self.tools.say("flush.observed", account=self.lane.account, relations=planned.relations, actions=planned.actions, requests=requests)
        self.flushed.state = "observed"
        return 0.0

    def ready(self) -> list[Operation]:
        """The operations of the next round: one per relation, the waiting halves of swaps left out (R12)."""
        effects, now = Effects(), self.now()
        wanted = self.batch.operations(effects, now=now)
        waiting = self.batch.waiting(wanted)
        neighbours = self.lease.neighbours(sorted(set(waiting.values()))) if waiting else {}
        blocked = {each for each, key in waiting.items() if self.batch.blocked(each, neighbours[key], effects, now=now)}
        if effects.cases:
            self.batch.hold(effects)
            self.count(effects)
            self.lease.take((), (), self.batch.writes(effects))
        return [op for op in wanted if op.relation not in blocked]

    def round(self, ready: Sequence[Operation]) -> float | None:
        """Plan and send what is ready; seconds to wait when the round had to stop, None when it is through."""
        planned = plan(ready, Limits(max_ids=self.lane.limits.max_ids, max_actions=self.most()), self.lane.order)
        self.flushed.least += planned.least
        for request in planned.requests:
            if self.tools.clock.monotonic() - self.started > BUDGET:
                return 0.0
            grant = self.book()
            if not grant.booked:
                return grant.wait
            fitting = _probe(request) if grant.probe else Request(request.actions[: self.most()])
            if not self.send(fitting, grant):
                return 0.0
            if grant.probe or len(fitting.actions) < len(request.actions):
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
        """Begin, send and settle one request; whether the account may go on at once."""
        request_id = self.tools.name()
        signed = self.lease.begin(request_id, request)
        if isinstance(signed, Pause):
            self.tools.limiter.refund(self.lane.account, grant)
            return False
        reply = self.tools.api.send(request.actions, request_id=request_id, now=signed / SECOND)
        moment = self.moment(signed, signed + round(reply.seconds * SECOND))
        effects = Effects() if grant.probe else answer(self.batch.cases, request, reply, moment)
        total = self.step(effects)
        self.count(total)
        writes = self.batch.writes(total)
        writes.request = _record(request_id, request, reply, signed)
        self.lease.settle(request_id, writes)
        self.flushed.requests += 1
        self.flushed.actions += len(request.actions)
        return self.learn(reply, grant)

    def step(self, effects: Effects) -> Effects:
        """The effects with what they decide for the waiting halves of swaps, which is written first; all of it now in hand."""
        total, decided = Effects(), self.batch.decided(effects)
        neighbours = self.lease.neighbours(sorted(decided)) if decided else {}
        for key, others in neighbours.items():
            elsewhere = [relation for relation in others.held if relation not in self.batch.cases]
            self.batch.reopen(elsewhere, self.lease.records(elsewhere))
            total.add(self.batch.swapped(others.held, confirmed=decided[key]))
        total.add(effects)
        self.batch.hold(total)
        return total

    def learn(self, reply: Reply, grant: Grant) -> bool:
        """Let the account's pace and pauses follow from the answer; whether it may go on at once."""
        feedback: Feedback = "slow" if reply.status == 429 else "ok" if reply.heard else "failed"
        if grant.worth_reporting(feedback):
            self.report(reply, feedback)
        self.tools.say("request.done", account=self.lane.account, feedback=feedback, status=reply.status, seconds=round(reply.seconds, 4))
        if refused := [outcome.message for outcome in reply.outcomes if outcome.error is ErrorClass.STAR]:
            # 219 and 302: the planner made what the API does not take. It is split, but somebody has to look at it.
            self.tools.say("plan.rejected", account=self.lane.account, messages=refused)
        stop = _stop(reply, self.lane, self.now(), misdated=self.misdated)
        # Tried once more, but as a new request: after so long only `begin` knows whether the lease is still ours.
        if any(outcome.error is ErrorClass.CLOCK for outcome in reply.outcomes):
            self.misdated = True
            self.tools.say("clock.skewed", account=self.lane.account, seconds=reply.skew)
        if stop:
            self.lease.stop(stop)
            self.tools.say("account.paused", account=self.lane.account, reason=stop.reason, detail=stop.detail)
        return feedback == "ok" and not stop

    def report(self, reply: Reply, feedback: Feedback) -> None:
        """Let the account's pace follow, and say when its breaker opens or closes."""
        turn = self.tools.limiter.report(self.lane.account, feedback, retry_after=reply.retry_after or 0.0, reason=reply.message)
        if turn.breaker:
            self.tools.say(f"breaker.{turn.breaker}", account=self.lane.account, reason=reply.message, probe_in=turn.probe_in)

    def moment(self, signed: int, answered: int) -> Moment:
        """When, and by which policies, an answer is judged."""
        return Moment(signed, answered, self.lane.doubt, self.lane.patience, self.tools.draw)

    def count(self, effects: Effects) -> None:
        """Remember the outcomes for the canonical line."""
        self.flushed.outcomes.update(entry.result for entry in effects.settled)


def _healed(pause: Pause, lane: Lane, tools: Tools) -> bool:
    """Whether an account that rejected credentials has others now, and so goes on (R20)."""
    if not pause.ends_with(lane.fingerprint):
        return False
    tools.say("account.resumed", account=lane.account, reason="its credentials changed")
    return tools.store.resume(lane.account)


def _say_so(flushed: Flushed, tools: Tools, seconds: float) -> None:
    """The canonical line of a flush."""
    numbers = {name: getattr(flushed, name) for name in ("jobs", "relations", "requests", "actions", "least")}
    tools.say(
        "flush.done",
        account=flushed.account,
        state=flushed.state,
        again=flushed.again,
        seconds=round(seconds, 4),
        **numbers,
        **flushed.outcomes,
    )


def _record(request_id: str, request: Request, reply: Reply, signed: int) -> RequestRecord:
    """What was sent and answered, for people."""
    return RequestRecord(
        id=request_id,
        at=signed,
        status=reply.status,
        seconds=reply.seconds,
        message=reply.message,
        actions=request.actions,
        answers=tuple((outcome.verdict.value, outcome.code, outcome.message) for outcome in reply.outcomes),
    )


def _probe(request: Request) -> Request:
    """A harmless read about the first relation, to see whether the API is back (R20)."""
    relation = next(request.relations())
    return Request((Action("get", relation.type, (relation.parent,), (), asked=(relation,)),))


def _stop(reply: Reply, lane: Lane, now: int, *, misdated: bool) -> Pause | None:
    """The pause that rejected credentials call for, or a clock that disagrees even after the API's time was learned (R18)."""
    for outcome in reply.outcomes:
        if outcome.verdict is Verdict.REJECTED and outcome.error is ErrorClass.CREDENTIALS:
            return Pause("credentials", f"{outcome.code}: {outcome.message}", fingerprint=lane.fingerprint)
        if outcome.verdict is Verdict.REJECTED and outcome.error is ErrorClass.CLOCK and (misdated or reply.skew is None):
            skew = f"; the API's clock is {reply.skew:+.0f} s from ours" if reply.skew is not None else ""
            return Pause("clock", f"{outcome.code}: {outcome.message}{skew}", until=now + round(CLOCK_PAUSE * SECOND))
    return None
