"""Within a flush: look up the records that changes name by references, and decide what becomes of them.

One that has all its records joins the queue; one that lacks some is parked, and looked up again with growing
delay (R26). So is read what a replace finds beside what it names. Nothing is begun, so nothing is in doubt.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from worker.contract import Reference
from worker.contract.instant import SECOND
from worker.planner.actions import Action, ActionResult, Request, Verdict
from worker.planner.lookup import LookUp
from worker.planner.search import Answer, Search
from worker.planner.suspicion import OperationGroup, Priority
from worker.ports import Lease, LookUpBatch, LookUpResult, Parking, UnresolvedJob
from worker.usecases.account_pace import MAX_SLOT_WAIT, AccountPace, feedback_of
from worker.usecases.flush_context import FlushDeps, FlushPolicy
from worker.usecases.flush_telemetry import FlushTelemetry
from worker.usecases.in_flight import Purpose, SentRequest
from worker.usecases.related_read import ACCOUNT_ERRORS, ReadOutcome, RelatedRead

MAX_JOBS: Final = 10_000  # of one look-up, so that a burst asks for each reference once
MAX_PARKED: Final = 100_000  # changes of an account; more fail at once
BUDGET: Final = 10.0  # seconds after which no further search is sent
FIRST_DELAY, LONGEST_DELAY = 60.0, 3600.0  # seconds between two look-ups of a parked change
FIRST_RETRY: Final = 5.0  # seconds until a search is repeated that was not answered
MAX_FAILURES: Final = 8  # in a row, after which a change that was parked for long enough is not repeated
TOGETHER: Final = 10.0  # seconds within which parked changes are due together
LOOK_UPS: Final = OperationGroup(Priority.NEW, (), 0, 0)

Sent = TypeVar("Sent", Search, Action)


class Lack(NamedTuple):
    """What a change lacks: the refusal that it would fail with, and whether the API has answered it."""

    refusal: tuple[int, str, str]
    is_answered: bool = True


class LookUpStage:
    """Looks up what is due, under the lease of a flush and at its pace."""

    def __init__(
        self,
        policy: FlushPolicy,
        deps: FlushDeps,
        lease: Lease,
        telemetry: FlushTelemetry,
        pace: AccountPace,
    ) -> None:
        self._policy, self._deps, self._lease, self._telemetry = policy, deps, lease, telemetry
        self._pace = pace
        self._started = deps.clock.monotonic()
        self._read_at = 0

    def run(self) -> float | None:
        """Look up, and write what follows; return the seconds to rest before the next look-up, if any."""
        memory = self._policy.look_up_memory
        batch = self._lease.read_look_ups(MAX_JOBS)
        self._read_at = batch.now
        failures = _count_failures(batch.jobs)
        known = self._lease.known_records(list(failures), memory=memory)
        look_up = LookUp(
            {reference: count for reference, count in failures.items() if reference not in known},
            self._policy.country,
        )
        rest = self._send_all(look_up.next_request, partial(_note, look_up))
        found = dict(look_up.answers())
        answers = {**found, **_as_answers(known)}
        reading = RelatedRead(batch.jobs, answers, self._policy.limits.max_ids)
        if rest is None:
            rest = self._send_all(reading.next_request, reading.note)
        results = list(self._decide(batch, answers, look_up.lost, reading))
        learned = {reference: answer.record for reference, answer in found.items() if answer.record}
        if results or learned:
            self._lease.write_look_ups(results, learned, memory=memory)
        self._telemetry.looked_up(results, known=len(known), found=found.values())
        return rest

    # --- the API

    def _send_all(
        self, next_request: Callable[[int], Sequence[Sent]], note: Callable[[Sent, ActionResult], None]
    ) -> float | None:
        """Send all that is asked; return the seconds to rest if some is left for the next flush."""
        while request := next_request(self._pace.max_actions()):
            if self._deps.clock.monotonic() - self._started > BUDGET:
                return 0.0
            if (rest := self._send(request, note)) is not None:
                return rest
        return None

    def _send(self, request: Sequence[Sent], note: Callable[[Sent, ActionResult], None]) -> float | None:
        """Send one request, and note its answers; return the seconds to rest if the account has to."""
        grant = self._pace.book_slot(MAX_SLOT_WAIT)
        if not grant.booked:
            return grant.wait
        purpose: Purpose = "probe" if grant.probe else "work"  # a look-up is as harmless as any probe
        request_id, signed = self._deps.new_id(), self._now()
        reply = self._deps.api.send(request, request_id=request_id, now=signed / SECOND)
        for search, result in zip(request, reply.results, strict=True):
            note(search, result)
        sent = SentRequest(
            0,
            request_id,
            Request(()),
            purpose,
            LOOK_UPS,
            grant,
            signed,
            correlations=(),
            troubles=self._pace.troubles,
            clock_corrected=self._pace.clock_corrected,
        )
        feedback = feedback_of(reply, purpose)
        self._telemetry.search_answered(Counter(each.kind for each in request), reply, feedback)
        may_go_on = self._pace.follow_reply(sent, reply, feedback, now=self._now())
        return None if may_go_on else 0.0

    def _now(self) -> int:
        """Return the time by the store's clock (µs)."""
        return self._read_at + round((self._deps.clock.monotonic() - self._started) * SECOND)

    # --- the changes

    def _decide(
        self,
        batch: LookUpBatch,
        answers: Mapping[Reference, Answer],
        lost: frozenset[Reference],
        reading: RelatedRead,
    ) -> Iterable[LookUpResult]:
        """Yield what becomes of each change of which all that was asked is known, or failed to be."""
        now, room = self._now(), MAX_PARKED - batch.parked
        for job in batch.jobs:
            own = {reference: answers[reference] for reference in job.references if reference in answers}
            if any(reference not in own and reference not in lost for reference in job.references):
                continue  # it was not asked yet
            lacking, related = _lacks_reference(job, own), None
            if job.replaced and not lacking:
                outcome = reading.outcome_of(job)
                if outcome is None:
                    continue
                related, lacking = outcome if isinstance(outcome, frozenset) else None, _lacks_read(outcome)
            if not lacking:
                yield LookUpResult(job.job, own, now, related=related)
                continue
            room -= job.parked is None
            yield self._put_off(job, own, lacking, now=now, is_full=room < 0)

    def _put_off(
        self,
        job: UnresolvedJob,
        own: Mapping[Reference, Answer],
        lacking: Lack,
        *,
        now: int,
        is_full: bool,
    ) -> LookUpResult:
        """Return that a change is parked for what it lacks, or fails with it in the end."""
        before = job.parked or Parking(now, now, 0, "")
        failures = 0 if lacking.is_answered else before.failures + 1
        is_late = now - before.since >= self._policy.park_for * SECOND
        if (is_late or is_full) if lacking.is_answered else (is_late and failures >= MAX_FAILURES):
            return LookUpResult(job.job, own, now, refusal=lacking.refusal)
        until = now + round(_delay(before.look_ups, failures) * SECOND)
        step = 1 if failures else round(TOGETHER * SECOND)
        message = lacking.refusal[2]
        parked = Parking(before.since, -(-until // step) * step, before.look_ups + 1, message, failures)
        return LookUpResult(job.job, own, now, parked=parked)


def _count_failures(jobs: Iterable[UnresolvedJob]) -> dict[Reference, int]:
    """Return the references to look up, each with how often in a row that failed at least."""
    failures: dict[Reference, int] = {}
    for job in jobs:
        count = job.parked.failures if job.parked else 0
        for reference in job.references:
            failures[reference] = min(count, failures.get(reference, count))
    return failures


def _as_answers(records: Mapping[Reference, int]) -> dict[Reference, Answer]:
    return {reference: Answer(record) for reference, record in records.items()}


def _note(look_up: LookUp, search: Search, result: ActionResult) -> None:
    if result.verdict is Verdict.OK:
        look_up.take(search, result.found, result.total)
    elif result.verdict is Verdict.REJECTED and result.error not in ACCOUNT_ERRORS:
        look_up.refuse(search, (result.code, str(result.error), result.message))
    elif result.verdict is Verdict.UNKNOWN:
        look_up.lose(search)


def _lacks_reference(job: UnresolvedJob, answers: Mapping[Reference, Answer]) -> Lack | None:
    """Return which record of a change was not found; None if all were.

    The values that were looked for are shown with the references, not in texts.
    """
    for reference in job.references:
        answer = answers.get(reference)
        record = reference.without_values
        if answer is None:
            return Lack((0, "unknown", f"the API did not answer the look-up of the {record}"), False)
        if answer.refusal:
            code, error, message = answer.refusal
            return Lack((code, error, f"the API refused the look-up of the {record}: {message}"))
        if answer.record:
            continue
        if answer.is_ambiguous:
            return Lack((0, "several", f"there are several for the {record}: {_list(answer.candidates)}"))
        near = f"; nearly so: {_list(answer.candidates)}" if answer.candidates else ""
        return Lack((0, "not_found", f"no {record} is found, or the API user may not see it{near}"))
    return None


def _lacks_read(outcome: ReadOutcome) -> Lack | None:
    """Return what a replace lacks to know what it has to remove; None if that was read."""
    if isinstance(outcome, frozenset):
        return None
    if outcome.verdict is Verdict.REJECTED:
        message = f"the API refused to read what is there: {outcome.message}"
        return Lack((outcome.code, str(outcome.error), message), outcome.error not in ACCOUNT_ERRORS)
    return Lack((0, "unknown", "what is there cannot be read from the answer, so nothing is removed"), False)


def _list(candidates: Iterable[int]) -> str:
    return ", ".join(map(str, candidates))


def _delay(look_ups: int, failures: int) -> float:
    first, times = (FIRST_RETRY, failures - 1) if failures else (FIRST_DELAY, look_ups)
    return min(first * 2.0 ** min(times, 20), LONGEST_DELAY)
