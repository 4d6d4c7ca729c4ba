"""The use case: work one account's batch, from its lease to its last outcome. Knows no Celery, Redis, HTTP or logging.

lease → read → fold → take, then in rounds: plan what is ready; per request pace → begin → send → settle (R14, R17).
A crash anywhere leaves every change in the inbox, among the open relations, or in doubt, never nowhere.
"""

from collections import Counter
from collections.abc import Sequence

from worker.errors import LeaseLost, Unavailable
from worker.planner.actions import Action, ErrorClass, Operation, Reply, Request
from worker.planner.apply_reply import Effects, ReplyContext, answer
from worker.planner.plan import Limits, plan
from worker.planner.retry_policy import SECOND
from worker.ports import (
    DeleteBrake,
    Feedback,
    Grant,
    Lease,
    Pause,
    RequestRecord,
    WorkBatch,
)
from worker.usecases.batch import Batch, observed
from worker.usecases.flush_context import FlushDeps, FlushPolicy, FlushResult

BUDGET = 20.0  # seconds of its own time after which a flush begins no request
NEAR = 0.25  # seconds a flush waits for its slot before it gives its worker back
PARTING = (
    10.0  # seconds, the life of a lease, in which a flush that lost its store tries to give the lease back
)
AGAIN = 0.5  # seconds between two tries
MAX_RELATIONS = 5000  # relations per batch


def flush(lane: FlushPolicy, tools: FlushDeps) -> FlushResult:
    """Work one batch of the account; `state` says if somebody else holds it, or why nothing could be done."""
    flushed = FlushResult(account=lane.account, id=tools.new_id())
    lease = tools.store.lease(lane.account, flushed.id)
    if lease is None:
        flushed.state = "busy"
        return flushed
    started, wait = tools.clock.monotonic(), 0.0
    try:
        refused = (
            bool(lane.fingerprint) and lease.refused_credentials == lane.fingerprint
        )  # others have good ones, and work it (R20)
        if refused or (lease.pause and not _healed(lease.pause, lane, tools)):
            flushed.state = "paused"
        else:
            with tools.keep_lease(lease):
                wait = _Flush(lane, tools, lease, flushed).run()
        again = lease.release(window=lane.window, rest=wait)
        flushed.next_in = again if flushed.state == "done" else None
    except LeaseLost:
        flushed.state = "lost"
    except Unavailable:
        _let_go(lease, lane, tools)
        raise
    _say_so(flushed, tools, tools.clock.monotonic() - started)
    return flushed


class _Flush:
    """One batch being worked."""

    def __init__(self, lane: FlushPolicy, tools: FlushDeps, lease: Lease, flushed: FlushResult) -> None:
        self.lane, self.tools, self.lease, self.flushed = lane, tools, lease, flushed
        self.batch = Batch(upsert=lane.retry.upsert, order=lane.order)
        self.factor, self.epoch, self.misdated = 1.0, 0, False
        self.started, self.tally = tools.clock.monotonic(), flushed.counters

    def run(self) -> float:
        """Work it; the seconds until it is worth coming back, for pace's sake."""
        work = self.lease.read(max_jobs=self.lane.max_batch, max_relations=MAX_RELATIONS)
        self.epoch = work.now
        if not (work.jobs or work.due or work.begun):
            return 0.0
        if self.lane.observe:
            return self.observe(work)
        effects = self.gather(work)
        self.flushed.jobs, self.flushed.relations = len(work.jobs), len(self.batch.states)
        self.flushed.correlations = self.batch.correlations(self.batch.states)
        if work.condemned:
            effects.add(self.step(self.batch.condemn()))
            self.tools.emit(
                "batch.condemned",
                account=self.lane.account,
                jobs=[job.job for job in work.jobs],
                due=list(map(str, work.due)),
            )
        if not self.lease.claim(work.jobs, work.begun, self.batch.writes(effects)):
            return 0.0  # somebody cancelled one of the jobs just now: read again
        self.count(effects)
        self.tally.take(work.jobs, now=work.now)
        self.tally.count("recovered", "requests", len(work.begun))
        wait: float | None = None
        while wait is None and (ready := self.ready()):
            wait = self.round(ready)
        return wait or 0.0

    def now(self) -> int:
        """The store's clock (µs), by what it said and what has passed since."""
        return self.epoch + round((self.tools.clock.monotonic() - self.started) * SECOND)

    def gather(self, work: WorkBatch) -> Effects:
        """Take everything in hand: what a dead worker had begun, what is due, what is new."""
        effects, records = Effects(), dict(work.records)
        orphans = [relation for begun in work.begun for relation in begun.request.relations()]
        records |= self.lease.records(
            [relation for relation in dict.fromkeys(orphans) if relation not in records]
        )
        self.batch.reopen(dict.fromkeys([*orphans, *work.due]), records)
        for begun in work.begun:
            effects.add(self.step(self.batch.recover(begun, self.reply_context(begun.signed, work.now))))
        effects.add(self.batch.add_intents(work.jobs, records, now=work.now))
        self.batch.keep([*work.due, *(relation for job in work.jobs for relation in job.relations)])
        return effects

    def observe(self, work: WorkBatch) -> float:
        """Record what would be sent, where that is new, and leave everything where it is."""
        lane = self.lane
        found = observed(work, limits=lane.limits, order=lane.order, upsert=lane.retry.upsert)
        new = [
            writes
            for writes in found
            if writes.request and self.tools.store.get_request(lane.account, writes.request.id) is None
        ]
        for writes in new:
            if writes.request:
                self.lease.settle(writes.request.id, writes)
        if new:
            self.tools.emit(
                "flush.observed",
                account=lane.account,
                flush=self.flushed.id,
                requests=len(found),
                new=len(new),
            )
        self.flushed.state = "observed"
        return 0.0

    def ready(self) -> list[Operation]:
        """The operations of the next round: one per relation, the waiting halves of swaps left out (R12)."""
        effects, now = Effects(), self.now()
        wanted = self.batch.operations(effects, now=now)
        waiting = self.batch.waiting(wanted)
        neighbours = self.lease.swap_partners(sorted(set(waiting.values()))) if waiting else {}
        blocked = {
            each
            for each, key in waiting.items()
            if self.batch.blocked(each, neighbours[key], effects, now=now)
        }
        if effects.states:
            self.batch.hold(effects)
            self.count(effects)
            self.lease.claim((), (), self.batch.writes(effects))
        return [op for op in wanted if op.relation not in blocked]

    def round(self, ready: Sequence[Operation]) -> float | None:
        """Plan and send what is ready; seconds to wait when the round had to stop, None when it is through."""
        planned = plan(
            ready, Limits(max_ids=self.lane.limits.max_ids, max_actions=self.most()), self.lane.order
        )
        self.flushed.least += planned.least
        deletes = sum(request.deletes for request in planned.requests)
        for request in planned.requests:
            if self.tools.clock.monotonic() - self.started > BUDGET:
                return 0.0
            grant = self.book()
            if not grant.booked:
                return grant.wait
            fitting = _probe(request) if grant.probe else Request(request.actions[: self.most()])
            if not self.send(fitting, grant, deletes):
                return 0.0
            deletes -= request.deletes
            if grant.probe or len(fitting.actions) < len(request.actions):
                return None  # plan again: a later request may build on what was left out
        return None

    def most(self) -> int:
        """Actions per request at the present pace (R19), and never more than the brake can let pass."""
        most = max(1, int(self.lane.limits.max_actions * self.factor))
        return min(most, self.lane.max_deletes_per_hour or most)

    def book(self) -> Grant:
        """A slot, waited for when it is near."""
        grant = self.tools.limiter.book(
            self.lane.account, rate=self.lane.rate, burst=self.lane.burst, max_wait=NEAR
        )
        self.factor = grant.factor
        self.tally.count("waits", grant.reason, grant.wait > 0)
        if grant.booked and grant.wait > 0:
            self.tools.clock.sleep(grant.wait)
        return grant

    def send(self, request: Request, grant: Grant, deletes: int) -> bool:
        """Begin, send and settle one request, the plan holding so many deletes from here on; whether the account may go on at once."""
        request_id = self.tools.new_id()
        signed = self.lease.begin(
            request_id,
            request,
            DeleteBrake(self.lane.max_deletes_per_hour, deletes) if self.lane.max_deletes_per_hour else None,
        )
        if isinstance(signed, Pause):
            self.tools.limiter.refund(self.lane.account, grant)
            if (
                signed.reason == "brake"
            ):  # nobody begins on an account that has been paused before, so it was this request
                self.paused(signed)
            return False
        correlations = self.batch.correlations(request.relations())
        reply = self.tools.api.send(request.actions, request_id=request_id, now=signed / SECOND)
        context = self.reply_context(signed, signed + round(reply.seconds * SECOND))
        effects = Effects() if grant.probe else answer(self.batch.states, request, reply, context)
        total = self.step(effects)
        self.count(total)
        writes = self.batch.writes(total)
        writes.request = RequestRecord.of(request_id, request, reply, at=signed, correlations=correlations)
        self.lease.settle(request_id, writes)
        self.flushed.requests += 1
        self.flushed.actions += len(request.actions)
        self.tell(writes.request, reply, total)
        return self.learn(reply, grant)

    def tell(self, record: RequestRecord, reply: Reply, effects: Effects) -> None:
        """The canonical line of a request."""
        self.tally.send(Request(record.actions), reply, _feedback(reply))
        self.tools.emit(
            "request.done",
            account=self.lane.account,
            flush=self.flushed.id,
            request=record.id,
            feedback=_feedback(reply),
            status=reply.status,
            seconds=round(reply.seconds, 4),
            actions=len(record.actions),
            relations=sum(len(action.relations) for action in record.actions),
            correlations=list(record.correlations),
            **Counter(str(outcome.verdict) for outcome in reply.results),
            **Counter[str](entry.result for entry in effects.outcomes),
        )

    def step(self, effects: Effects) -> Effects:
        """The effects with what they decide for the waiting halves of swaps, which is written first; all of it now in hand."""
        total, decided = Effects(), self.batch.decided(effects)
        neighbours = self.lease.swap_partners(sorted(decided)) if decided else {}
        for key, others in neighbours.items():
            elsewhere = [relation for relation in others.held if relation not in self.batch.states]
            self.batch.reopen(elsewhere, self.lease.records(elsewhere))
            total.add(self.batch.swapped(others.held, confirmed=decided[key]))
        total.add(effects)
        self.batch.hold(total)
        return total

    def learn(self, reply: Reply, grant: Grant) -> bool:
        """Let the account's pace and pauses follow from the answer; whether it may go on at once."""
        feedback = _feedback(reply)
        if grant.worth_reporting(feedback):
            self.report(reply, feedback)
        if refused := [outcome.message for outcome in reply.results if outcome.error is ErrorClass.STAR]:
            # 219 and 302: the planner made what the API does not take. It is split, but somebody has to look at it.
            self.tools.emit("plan.rejected", account=self.lane.account, messages=refused)
        stop = Pause.after(reply, now=self.now(), fingerprint=self.lane.fingerprint, misdated=self.misdated)
        # Tried once more, but as a new request: after so long only `begin` knows whether the lease is still ours.
        if any(outcome.error is ErrorClass.CLOCK for outcome in reply.results):
            self.misdated = True
            self.tools.emit("clock.skewed", account=self.lane.account, seconds=reply.skew)
        if stop:
            self.lease.set_pause(stop)
            self.paused(stop)
        return feedback == "ok" and not stop

    def paused(self, pause: Pause) -> None:
        """Say that the account stops."""
        self.tally.count("pauses", pause.reason)
        self.tools.emit("account.paused", account=self.lane.account, reason=pause.reason, detail=pause.detail)

    def report(self, reply: Reply, feedback: Feedback) -> None:
        """Let the account's pace follow, and say when its breaker opens or closes."""
        turn = self.tools.limiter.report(
            self.lane.account, feedback, retry_after=reply.retry_after or 0.0, reason=reply.message
        )
        if turn.breaker:
            self.tally.count("breaker", turn.breaker)
            self.tools.emit(
                f"breaker.{turn.breaker}",
                account=self.lane.account,
                reason=reply.message,
                probe_in=turn.probe_in,
            )

    def reply_context(self, signed: int, answered: int) -> ReplyContext:
        """When, and by which policies, an answer is judged."""
        return ReplyContext(signed, answered, self.lane.doubt, self.lane.retry, self.tools.draw)

    def count(self, effects: Effects) -> None:
        """Remember the outcomes for the canonical line."""
        self.tally.settle(effects.outcomes)
        self.flushed.outcomes.update(entry.result for entry in effects.outcomes)


def _let_go(lease: Lease, lane: FlushPolicy, tools: FlushDeps) -> None:
    """Give the lease back as soon as the store is there again: who does not is taken for dead, and its batch for deadly (R21)."""
    until = tools.clock.monotonic() + PARTING
    while tools.clock.monotonic() < until:
        try:
            lease.release(window=lane.window)
            return
        except LeaseLost:
            return
        except Unavailable:
            tools.clock.sleep(AGAIN)


def _healed(pause: Pause, lane: FlushPolicy, tools: FlushDeps) -> bool:
    """Whether an account that rejected credentials has others now, and so goes on (R20)."""
    if not pause.ends_with(lane.fingerprint):
        return False
    if not tools.store.resume(lane.account, since=pause.since):
        return False  # somebody stopped it meanwhile
    tools.emit("account.resumed", account=lane.account, reason="its credentials changed")
    return True


def _say_so(flushed: FlushResult, tools: FlushDeps, seconds: float) -> None:
    """The canonical line of a flush."""
    flushed.counters.count("flushes", flushed.state)
    flushed.counters.time("flush", seconds)
    numbers = {name: getattr(flushed, name) for name in ("jobs", "relations", "requests", "actions", "least")}
    tools.emit(
        "flush.done",
        account=flushed.account,
        flush=flushed.id,
        state=flushed.state,
        again=flushed.next_in,
        seconds=round(seconds, 4),
        correlations=list(flushed.correlations),
        **numbers,
        **flushed.outcomes,
    )


def _feedback(reply: Reply) -> Feedback:
    """What a reply tells about its account."""
    return "slow" if reply.status == 429 else "ok" if reply.heard else "failed"


def _probe(request: Request) -> Request:
    """A harmless read about the first relation, to see whether the API is back (R20)."""
    relation = next(request.relations())
    return Request((Action("get", relation.type, (relation.parent,), (), asked=(relation,)),))
