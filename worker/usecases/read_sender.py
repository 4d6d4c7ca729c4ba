"""Sends reads outside of rounds: look-ups, what replaces have to read, drift reads. Nothing is ever in doubt.

So nothing is begun, and nothing of theirs has to be written before they leave.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from worker.contract.instant import SECOND
from worker.planner.actions import Action, ActionResult, ErrorClass, Reply, Request, Search, Verdict
from worker.planner.apply_reply import Effects
from worker.planner.suspicion import HARMLESS_READ, OperationGroup, Priority
from worker.ports.pace import Grant
from worker.ports.requests import RequestKind, RequestRecord
from worker.ports.work import Lease
from worker.usecases.account_pace import AccountPace, feedback_of
from worker.usecases.flush_context import FlushDeps
from worker.usecases.flush_telemetry import FlushTelemetry
from worker.usecases.in_flight import Purpose, SentRequest

READS: Final = OperationGroup(Priority.NEW, (), 0, 0)
LONGEST_WAIT: Final = 10.0  # seconds for the slot of a probe


class ReadSender:
    """Sends reads one at a time, under a lease and at its pace; its next step records them."""

    def __init__(self, deps: FlushDeps, lease: Lease, telemetry: FlushTelemetry, pace: AccountPace) -> None:
        self._deps, self._lease, self._telemetry, self._pace = deps, lease, telemetry, pace

    def send(
        self,
        asked: Sequence[Action | Search],
        grant: Grant,
        *,
        kind: RequestKind,
        signed: int,
        purpose: Purpose = "work",
        correlations: tuple[str, ...] = (),
    ) -> tuple[Reply, bool]:
        """Send one request, signed at this time (µs); return its reply, and whether the account may go on."""
        if grant.probe:  # a read is as harmless as any probe
            purpose = "probe"
        request_id, started = self._deps.new_id(), self._deps.clock.monotonic()
        sent = SentRequest(
            0,
            request_id,
            Request(()),
            purpose,
            READS,
            grant,
            signed,
            correlations=correlations,
            troubles=self._pace.troubles,
            clock_corrected=self._pace.clock_corrected,
        )
        reply = self._deps.api.send(asked, request_id=request_id, now=signed / SECOND)
        if is_barred := _is_barred(asked, reply):
            reply = _as_unanswered(reply)
        record = RequestRecord.from_reply(
            request_id, asked, reply, kind=kind, at=signed, correlations=correlations
        )
        self._lease.note_request(record)
        feedback = feedback_of(reply, purpose)
        self._telemetry.request_done(record, asked, reply, feedback, Effects())
        answered = signed + round((self._deps.clock.monotonic() - started) * SECOND)
        may_go_on = self._probe(grant, answered) if is_barred else None
        if may_go_on is None:
            may_go_on = self._pace.follow_reply(sent, reply, feedback, now=answered)
        return reply, may_go_on

    def _probe(self, grant: Grant, now: int) -> bool | None:
        """Send a harmless read after what was barred; return whether the account may go on, None if unsent.

        A refusal of this, too, is about the account, and pauses it. Else what was barred says nothing of the
        account, and slows down nobody.
        """
        started = self._deps.clock.monotonic()
        own = grant if grant.probe else self._pace.book_slot(LONGEST_WAIT)
        if not own.booked:
            return None
        signed = now + round((self._deps.clock.monotonic() - started) * SECOND)
        return self.send(HARMLESS_READ.actions, own, kind="probe", signed=signed, purpose="probe")[1]


def _is_barred(asked: Sequence[Action | Search], reply: Reply) -> bool:
    """Return whether something before the API refused a look-up: perhaps for a text that is looked for.

    A firewall may take one for an attack; whoever fills in a form could pause the account by it.
    """
    is_look_up = any(isinstance(each, Search) for each in asked)
    return is_look_up and all(
        result.error is ErrorClass.CREDENTIALS and result.code == 0 for result in reply.results
    )


def _as_unanswered(reply: Reply) -> Reply:
    results = tuple(
        ActionResult(Verdict.UNKNOWN, error=ErrorClass.TRANSIENT, message=result.message)
        for result in reply.results
    )
    return msgspec.structs.replace(reply, results=results)
