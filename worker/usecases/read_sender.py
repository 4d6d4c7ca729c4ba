"""Sends reads outside of rounds: look-ups, what replaces have to read, drift reads. Nothing is ever in doubt.

So nothing is begun, and nothing of theirs has to be written before they leave.
"""

from collections.abc import Sequence
from typing import Final

from worker.contract.instant import SECOND
from worker.planner.actions import Action, Reply, Request
from worker.planner.apply_reply import Effects
from worker.planner.search import Search
from worker.planner.suspicion import OperationGroup, Priority
from worker.ports.requests import RequestKind, RequestRecord
from worker.ports.services import Grant
from worker.ports.work import Lease
from worker.usecases.account_pace import AccountPace, feedback_of
from worker.usecases.flush_context import FlushDeps
from worker.usecases.flush_telemetry import FlushTelemetry
from worker.usecases.in_flight import Purpose, SentRequest

READS: Final = OperationGroup(Priority.NEW, (), 0, 0)


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
        record = RequestRecord.from_reply(
            request_id, asked, reply, kind=kind, at=signed, correlations=correlations
        )
        self._lease.note_request(record)
        feedback = feedback_of(reply, purpose)
        self._telemetry.request_done(record, asked, reply, feedback, Effects())
        answered = signed + round((self._deps.clock.monotonic() - started) * SECOND)
        return reply, self._pace.follow_reply(sent, reply, feedback, now=answered)
