"""The use case: work one account's batch, from its lease to its last outcome. Knows no adapters.

lease → read → fold → claim, then rounds: plan what is due; per request pace → begin → send → settle (R14,
R17), several at a time where they do not conflict; where another whole batch waits, it joins the round. A
crash anywhere leaves every change in the inbox, among the open relations, or in doubt, never nowhere.
"""

from collections.abc import Iterable, Sequence

from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.errors import LeaseLost, StoreRolledBack, Unavailable
from worker.planner.actions import Operation, Reply, Request
from worker.planner.apply_reply import Effects, ReplyContext, apply_lost_request, apply_reply
from worker.planner.plan import Limits, Plan, plan
from worker.planner.suspicion import REST, OperationGroup, Priority, next_groups, put_off
from worker.ports.pace import Feedback, Grant, Pause
from worker.ports.requests import Sender
from worker.ports.work import DeleteBrake, Lease, WorkBatch
from worker.usecases.account_lease import release_when_back
from worker.usecases.account_pace import MAX_SLOT_WAIT, AccountPace, feedback_of, is_stopped
from worker.usecases.batch import Batch
from worker.usecases.dry_run import observe
from worker.usecases.flush_context import FlushDeps, FlushPolicy, FlushResult
from worker.usecases.flush_telemetry import FlushTelemetry
from worker.usecases.guarded_work import GuardedWork
from worker.usecases.in_flight import Purpose, ReadAhead, Round, SentRequest
from worker.usecases.look_up import LookUpStage

FLUSH_BUDGET = 20.0  # seconds after which a flush begins no further request
MAX_RELATIONS = 5000  # relations per batch
MAX_SUSPECTED = 10  # requests of suspected relations per flush


def flush(policy: FlushPolicy, deps: FlushDeps) -> FlushResult:
    """Work one batch of the account; the result's `state` is why nothing could be done, if so."""
    telemetry = FlushTelemetry(policy.account, deps.new_id(), deps.emit)
    result = telemetry.result
    lease = deps.store.lease(policy.account, result.id)
    if lease is None:
        result.state = "busy"
        return result
    started, rest = deps.clock.monotonic(), 0.0
    try:
        if is_stopped(lease, policy, deps, telemetry):
            result.state = "paused"
        else:
            with deps.keep_lease(lease), deps.open_sender(deps.api, policy.in_flight) as sender:
                rest = _Flush(policy, deps, lease, telemetry, sender).run()
        next_in = lease.release(window=policy.window, rest=rest)
        result.next_in = next_in if result.state == "done" else None
    except StoreRolledBack:
        result.state = "lost"
        telemetry.writes_lost()
        release_when_back(lease, deps.clock, window=policy.window)
    except LeaseLost:
        result.state = "lost"
    except Unavailable:
        release_when_back(lease, deps.clock, window=policy.window)
        raise
    return telemetry.finish(seconds=deps.clock.monotonic() - started)


class _Flush:
    """One batch under a lease."""

    def __init__(
        self,
        policy: FlushPolicy,
        deps: FlushDeps,
        lease: Lease,
        telemetry: FlushTelemetry,
        sender: Sender,
    ) -> None:
        self.policy, self.deps, self.lease, self.telemetry = policy, deps, lease, telemetry
        self.batch = Batch(upsert=policy.retry.upsert, guarded=policy.guarded)
        self.guarded = GuardedWork(self.batch, policy, lease, telemetry, self.now)
        self.sender, self.started, self.read_at = sender, deps.clock.monotonic(), 0
        self.ends_at = self.started + FLUSH_BUDGET
        self.is_cut_short, self.is_last_round, self.max_wait = False, False, MAX_SLOT_WAIT
        self.pace = AccountPace(policy, deps, lease, telemetry)
        self.ahead = ReadAhead(policy, started=self.started)

    def run(self) -> float:
        """Work the batch; return the seconds to rest before the next, for the sake of pace."""
        work, rest = self.read(), None
        # What a dead worker has begun may land after a read, so it is judged before.
        if work.look_ups and not (work.recovered or work.begun):
            rest = LookUpStage(self.policy, self.deps, self.lease, self.telemetry, self.pace).run()
            work = self.read()  # there may be more, and it may be folded in another way
            # It has its share of the slots, or steady look-ups would take them all.
            self.ends_at, self.max_wait = self.started + FLUSH_BUDGET, FLUSH_BUDGET
        return max(self.work(work), rest or 0.0)

    def read(self) -> WorkBatch:
        """Return the next batch."""
        work = self.lease.read(
            max_jobs=self.policy.max_batch, max_relations=MAX_RELATIONS, in_progress=self.batch.states
        )
        self.started, self.read_at = self.deps.clock.monotonic(), work.now
        self.pace.is_small = work.small
        self.telemetry.store_mended(work.mended)
        self.ahead.note(work)
        return work

    def work(self, work: WorkBatch) -> float:
        """Work a batch; return the seconds to rest before the next."""
        if not (work.jobs or work.due or work.begun or work.recovered):
            return 0.0
        if self.policy.observe and not work.recovered:
            requests, new = observe(work, self.deps.store, self.lease, self.policy)
            self.telemetry.batch_observed(requests=requests, new=new)
            return 0.0
        effects = self.fold(work)
        if work.condemned:
            effects.extend(self.guarded.apply(self.batch.fail_all()))
            self.telemetry.batch_condemned(work)
        if not self.claim(work, effects) or work.recovered:
            return 0.0
        rest: float | None = None
        while rest is None and ((operations := self.guarded.next_operations()) or self.join_next()):
            rest = self.run_round(operations) if operations else None
        return max(rest or 0.0, self.run_last_round())

    # --- the batch

    def fold(self, work: WorkBatch) -> Effects:
        """Fill the batch with what a dead worker began, what is due and what is new; return the effects."""
        begun = dict.fromkeys(relation for entry in work.begun for relation in entry.request.relations())
        missing = [relation for relation in begun if relation not in work.records]
        records = {**work.records, **self.lease.records(missing)}
        self.batch.reopen(dict.fromkeys([*begun, *work.due]), records)
        named = dict.fromkeys(work.named)  # what new jobs name is folded with them
        overtaken = [relation for relation in work.due if relation not in named]
        effects = self.batch.settle_overtaken(overtaken, records, now=work.now)
        if work.recovered:  # what was begun was made of these
            effects.extend(self.batch.add_intents(work.jobs, records, now=work.now))
        for entry in work.begun:
            context = self.reply_context(entry.signed, work.now)
            effects.extend(self.guarded.apply(apply_lost_request(self.batch.states, entry.request, context)))
        if not work.recovered:
            effects.extend(self.batch.add_intents(work.jobs, records | effects.closed(records), now=work.now))
        self.batch.keep_only([*work.due, *named])
        states = self.batch.states
        self.telemetry.batch_folded(work, relations=len(states), correlations=self.batch.correlations(states))
        return effects

    def claim(self, work: WorkBatch, effects: Effects) -> bool:
        """Claim a batch; return False if a job of it was cancelled in between: the next flush reads again."""
        writes = self.batch.writes(effects)
        writes.requests = tuple(
            each.unsettled(self.batch.correlations(each.request.relations())) for each in work.begun
        )
        if not self.lease.claim(work.jobs, work.begun, writes):
            return False
        self.telemetry.batch_claimed(work, effects.outcomes)
        return True

    # --- a round

    def run_round(self, operations: Sequence[Operation]) -> float | None:
        """Plan what goes first, send the requests; return the seconds to rest if the flush ends here."""
        groups = next_groups(operations, self.batch.states, troubled=self.pace.troubled)
        group = groups[0]
        if self.pace.has_to_rest(group, now=self.now()):
            self.put_off(groups)
            return None
        current = Round(group, limit=self.pace.in_flight(group))
        current.add(self.plan(group), deletes=_deletes(operations))
        while True:
            # What was answered has its say before another request begins.
            answered = self.sender.next(timeout=0.0) if current.is_flying else None
            if not answered and (self.begin_request(current) or self.read_ahead(current)):
                continue
            if not answered and current.is_flying:
                answered = self.sender.next(timeout=current.slot_in)
            if answered:
                self.take_reply(current, *answered)
            elif current.is_settled:
                return current.rest

    def run_last_round(self) -> float:
        """Send what the guard allows in a flush that was cut short; return the seconds to rest.

        The next flush would only read again what this one has read for it.
        """
        self.is_last_round = True
        self.max_wait = max(MAX_SLOT_WAIT, self.ends_at - self.deps.clock.monotonic())
        operations = self.guarded.allowed_operations() if self.is_cut_short else ()
        return self.run_round(operations) or 0.0 if operations else 0.0

    def plan(self, group: OperationGroup) -> Plan:
        """Plan the operations of a group."""
        limits = Limits(max_ids=self.policy.limits.max_ids, max_actions=self.pace.max_actions())
        planned = plan(group.operations, limits, self.policy.order)
        self.telemetry.round_planned(planned)
        return planned

    def read_ahead(self, current: Round) -> bool:
        """Let the next batch join the round once all of its requests have begun; return whether it did."""
        if not (current.has_begun and self.may_read_ahead(current)):
            return False
        work = self.read()
        if not self.ahead.may_join(work, self.batch.states):
            return False
        added = self.join(work)
        operations = self.guarded.next_operations(added)
        groups = next_groups(operations, self.batch.states, troubled=self.pace.troubled)
        if groups and groups[0].priority is current.group.priority:
            current.add(self.plan(groups[0]), deletes=_deletes(operations))
        return bool(added)

    def join_next(self) -> bool:
        """Read and claim the next batch between two rounds; return whether there is work to do."""
        if not self.ahead.is_wanted(now=self.deps.clock.monotonic(), between_rounds=True):
            return False
        work = self.read()
        return self.ahead.may_join(work, self.batch.states) and bool(self.join(work))

    def join(self, work: WorkBatch) -> list[Relation]:
        """Claim a further batch; return its relations that are open now."""
        effects = self.batch.add_intents(work.jobs, work.records, now=work.now)
        if not self.claim(work, effects):
            self.batch.drop(effects.states)
            self.ahead.stop()
            return []
        added = [relation for relation, state in effects.states.items() if state]
        self.telemetry.batch_folded(work, relations=len(added), correlations=self.batch.correlations(added))
        return added

    def may_read_ahead(self, current: Round) -> bool:
        """Return whether a further batch is wanted, and may be sent with what the round has."""
        is_plain = current.group.priority is Priority.OPEN and not self.pace.troubled
        now = self.deps.clock.monotonic()
        return is_plain and self.pace.has_slots and self.ahead.is_wanted(now=now)

    def take_reply(self, current: Round, request_id: str, reply: Reply) -> None:
        """Let everything follow from a reply; the next request travels while the answered one is settled."""
        sent = current.answered(request_id)
        feedback = feedback_of(reply, sent.purpose)
        if not self.pace.follow_reply(sent, reply, feedback, now=self.now()):
            self.is_cut_short = False  # there is no last round: the account rests
            current.end(rest=0.0)
        if not self.begin_request(current) and self.read_ahead(current):
            self.begin_request(current)
        self.settle(sent, reply, feedback)
        current.settled(sent)

    def begin_request(self, current: Round) -> bool:
        """Begin the next request of the round and send it; return False if that has to wait, or never comes.

        Only where nothing else is to be done the flush itself waits for a slot.
        """
        current.slot_in = None
        if not (following := current.next_request()):
            return False
        place, request = following
        is_over_time = self.deps.clock.monotonic() > self.ends_at
        if (is_over_time and not self.is_last_round) or self.pace.suspected == MAX_SUSPECTED:
            self.is_cut_short = True
            current.end(rest=0.0)
            return False
        grant = self.pace.book_slot(self.max_wait if current.is_settled else 0.0)
        if not grant.booked:
            current.slot_in = grant.wait
            if current.is_settled or grant.wait > self.max_wait:
                self.is_cut_short = True
                current.end(rest=grant.wait)
            return False
        if self.pace.has_to_plan_again(current, grant, now=self.now()):
            self.deps.limiter.refund(self.policy.account, grant)
            current.end()
            return False
        wanted, purpose = self.pace.choose(request, current.group, grant, self.batch.states)
        if not self.send(place, wanted, current, grant, purpose):
            current.end(rest=0.0)
            return False
        self.max_wait = MAX_SLOT_WAIT
        if is_over_time or purpose != "work" or len(wanted.actions) < len(request.actions):
            current.end(0.0 if is_over_time else None)  # or plan again: a later one may build on the rest
        return True

    def put_off(self, groups: Sequence[OperationGroup]) -> None:
        """Let suspected relations wait, one group after the other; those tried for too long fail (R24)."""
        states, now, apart = self.batch.states, self.now(), REST / self.policy.rate
        effects = put_off(
            groups, states, now=now, until=self.pace.suspects_after, apart=apart, retry=self.policy.retry
        )
        self.guarded.write(self.guarded.apply(effects))

    def send(self, place: int, request: Request, current: Round, grant: Grant, purpose: Purpose) -> bool:
        """Begin a request and send it; return False if the account is paused."""
        request_id = self.deps.new_id()
        signed = self.begin(request_id, request, grant, current.deletes_left)
        if signed is None:
            return False
        self.sender.start(
            request.actions,
            request_id=request_id,
            now=signed / SECOND,
            is_alone=current.is_at_last and not self.may_read_ahead(current),
        )
        correlations = self.batch.correlations(request.relations())
        troubles, clock_corrected = self.pace.troubles, self.pace.clock_corrected
        about = purpose, current.group, grant, signed, correlations, troubles, clock_corrected
        current.sent(SentRequest(place, request_id, request, *about))
        return True

    def settle(self, sent: SentRequest, reply: Reply, feedback: Feedback) -> None:
        """Write the outcomes of a request that was answered, or was not."""
        context = self.reply_context(sent.signed, sent.signed + round(reply.seconds * SECOND))
        context = context._replace(to_blame=feedback == "suspect")
        # A probe's answer is about the account, not about the relation it read.
        is_probe = sent.purpose == "probe"
        effects = Effects() if is_probe else apply_reply(self.batch.states, sent.request, reply, context)
        self.guarded.guard.note_reply(sent.request, reply)
        effects = self.guarded.apply(effects)
        writes = self.batch.writes(effects)
        record = sent.record(reply)
        writes.requests = (record,)
        self.lease.settle(sent.id, writes)
        if unknown := [each.relation for each in effects.outcomes if each.names_no_record]:
            self.lease.forget_records(unknown, memory=self.policy.look_up_memory)
        self.telemetry.request_done(record, record.actions, reply, feedback, effects)

    def begin(self, request_id: str, request: Request, grant: Grant, planned_deletes: int) -> int | None:
        """Journal the request; return when it is signed (µs), None if the account is paused."""
        most = self.policy.max_deletes_per_hour
        signed = self.lease.begin(request_id, request, DeleteBrake(most, planned_deletes) if most else None)
        if not isinstance(signed, Pause):
            return signed
        self.deps.limiter.refund(self.policy.account, grant)
        # Nothing begins on an account that was paused before, so a brake was pulled by this request.
        if signed.reason == "brake":
            self.telemetry.account_paused(signed)
        return None

    # --- time

    def now(self) -> int:
        """Return the time by the store's clock (µs): when the batch was read, and what passed since."""
        return self.read_at + round((self.deps.clock.monotonic() - self.started) * SECOND)

    def reply_context(self, signed: int, answered: int) -> ReplyContext:
        """Return by what the reply to a request is judged; times in µs."""
        return ReplyContext(signed, answered, self.policy.doubt, self.policy.retry, self.deps.draw)


def _deletes(operations: Iterable[Operation]) -> int:
    return [operation.kind for operation in operations].count("delete")
