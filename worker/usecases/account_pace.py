"""What a flush knows of its account's pace and troubles, and what follows from replies (R19, R20, R24)."""

from collections.abc import Mapping

from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.actions import ErrorClass, Reply, Request, Verdict
from worker.planner.relation_state import RelationState
from worker.planner.suspicion import OperationGroup, Priority, probe
from worker.ports.pace import Feedback, Grant, Pause
from worker.ports.work import Lease
from worker.usecases.flush_context import FlushDeps, FlushPolicy
from worker.usecases.flush_telemetry import FlushTelemetry
from worker.usecases.in_flight import Purpose, Round, SentRequest

MAX_SLOT_WAIT = 0.25  # seconds that a flush waits for its slot before it gives its worker back


class AccountPace:
    """The pace of one flush; times in µs by the store's clock.

    `has_slots` is whether the last request had its slot at once. `suspected` counts requests of suspected
    relations, of which the next may go at `suspects_after`.
    `troubled` is whether requests of the account failed lately, as far as is known, `troubles` counts replies
    that slowed it down. A small batch is to find what kills, so nothing of it is put off (R21).
    """

    def __init__(self, policy: FlushPolicy, deps: FlushDeps, lease: Lease, telemetry: FlushTelemetry) -> None:
        self._policy, self._deps, self._lease, self._telemetry = policy, deps, lease, telemetry
        self._factor, self._rests_until = 1.0, 0
        self.suspected, self.suspects_after = 0, 0
        self.troubled, self.troubles = False, 0
        self.clock_corrected = self.is_small = self.has_slots = False

    # --- before a request

    def in_flight(self, group: OperationGroup) -> int:
        """Return how many requests may be on their way at once: one where it counts which of them failed."""
        return 1 if group.is_doubtful or self.is_small else self._policy.in_flight

    def max_actions(self) -> int:
        """Return the most actions per request at the present pace (R19) that the delete brake lets pass."""
        most = max(1, int(self._policy.limits.max_actions * self._factor))
        return min(most, self._policy.max_deletes_per_hour or most)

    def has_to_rest(self, group: OperationGroup, *, now: int) -> bool:
        """Return whether the group waits while suspected relations rest."""
        return group.is_doubtful and not self.is_small and self.suspects_after > now

    def book_slot(self, max_wait: float) -> Grant:
        """Book a slot, and wait for it, if it is at most so many seconds away."""
        policy = self._policy
        grant = self._deps.limiter.book(
            policy.account, rate=policy.rate, burst=policy.burst, max_wait=max_wait
        )
        self._factor, self.has_slots = grant.factor, grant.booked and grant.wait <= 0
        if grant.booked or max_wait:
            self._telemetry.slot_booked(grant)
        if grant.booked and grant.wait > 0:
            self._deps.clock.sleep(grant.wait)
        return grant

    def has_to_plan_again(self, current: Round, grant: Grant, *, now: int) -> bool:
        """Note what a grant says of the account; return whether that changes who goes next, or how (R24)."""
        is_news = grant.troubled and not self.troubled
        self.troubled |= grant.troubled
        self.suspects_after = now + round(grant.suspects_wait * SECOND)
        is_alone = grant.probe or grant.failures > 0  # the next request shows whether the API is there
        return is_news or (is_alone and current.is_flying) or self.has_to_rest(current.group, now=now)

    def choose(
        self,
        request: Request,
        group: OperationGroup,
        grant: Grant,
        states: Mapping[Relation, RelationState],
    ) -> tuple[Request, Purpose]:
        """Return what to send in the slot, and what for: the request, or a probe in its place (R20, R24)."""
        if grant.probe or not group.may_go(grant.failures):
            return probe(group, states, grant.failures), "probe"
        self.suspected += group.priority is Priority.SUSPECTED
        sent = Request(request.actions[: self.max_actions()])
        return sent, "trial" if group.is_to_blame(grant.failures) else "work"

    # --- after it

    def follow_reply(self, sent: SentRequest, reply: Reply, feedback: Feedback, *, now: int) -> bool:
        """Let pace, breaker and pause follow from a reply; return whether the account may go on at once."""
        account, rest = self._policy.account, reply.retry_after or 0.0
        if feedback == "suspect":
            rest = max(rest, sent.group.rest_after(reply.seconds, rate=self._policy.rate))
        rests_until = now + round(rest * SECOND) if rest else 0
        if self._has_to_report(sent, feedback, rests_until):
            change = self._deps.limiter.report(account, feedback, retry_after=rest, reason=reply.message)
            self._telemetry.breaker_changed(change, reply.message)
        if feedback in ("slow", "failed"):
            self.troubles, self._rests_until = self.troubles + 1, max(self._rests_until, rests_until)
        # Of the refusal before, an earlier flush may have known.
        is_corrected = sent.clock_corrected or reply.signed_again
        pause = Pause.after_reply(
            reply, now=now, fingerprint=self._policy.fingerprint, clock_corrected=is_corrected
        )
        # A first signature that came too late is made again, with a new request: `begin` checks the lease.
        self.clock_corrected |= ErrorClass.CLOCK in reply.errors
        if pause:
            self._lease.set_pause(pause)
            self._telemetry.account_paused(pause)
        if feedback == "alive":
            self._factor = 1.0  # perhaps: the next grant says so
        return feedback in ("ok", "alive", "suspect") and not pause

    def _has_to_report(self, sent: SentRequest, feedback: Feedback, rests_until: int) -> bool:
        """Return whether the limiter has to know: of what failed together, it learns once.

        But for a rest that is longer by a second or more.
        """
        is_first = sent.troubles == self.troubles
        if feedback in ("slow", "failed"):
            return is_first or rests_until >= self._rests_until + SECOND
        return not is_first or sent.grant.needs_report(feedback)


def is_stopped(lease: Lease, policy: FlushPolicy, deps: FlushDeps, telemetry: FlushTelemetry) -> bool:
    """Return whether the account is stopped; resume one that has other credentials now (R20)."""
    if policy.fingerprint and lease.refused_credentials == policy.fingerprint:
        return True  # other workers have good ones, and work it
    if lease.pause is None:
        return False
    if not lease.pause.ends_with(policy.fingerprint):
        return True
    if not deps.store.resume(policy.account, since=lease.pause.since):
        return True  # somebody has paused it again since
    telemetry.account_resumed()
    return False


def feedback_of(reply: Reply, purpose: Purpose) -> Feedback:
    """Return what a reply shows about its account."""
    if reply.status == 429:
        return "slow"
    if reply.is_answered:
        return "alive" if purpose == "probe" else "ok"
    # What never left failed for no reason that lies in it.
    was_sent = any(result.verdict is Verdict.UNKNOWN for result in reply.results)
    return "suspect" if purpose == "trial" and was_sent else "failed"
