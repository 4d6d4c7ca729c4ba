"""Within a flush: look up the records that changes name by references, and decide what becomes of them.

One that has all its records joins the queue; one that lacks some is parked, and looked up again with growing
delay (R26). So is read what a replace finds beside what it names. Nothing is begun, so nothing is in doubt.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Final, Generic, NamedTuple, TypeVar

from worker.contract import TYPES, Reference
from worker.contract.instant import SECOND
from worker.planner.actions import Action, ActionResult, Answer, Search, Verdict
from worker.planner.guard import DEPENDENCY
from worker.planner.lookup import LookUp
from worker.ports.references import LookUpBatch, LookUpResult, Parking, UnresolvedJob
from worker.ports.requests import RequestKind
from worker.ports.work import Lease
from worker.usecases.account_pace import MAX_SLOT_WAIT, AccountPace
from worker.usecases.batch import first_correlations
from worker.usecases.flush_context import FlushDeps, FlushPolicy
from worker.usecases.flush_telemetry import FlushTelemetry
from worker.usecases.read_sender import ReadSender
from worker.usecases.related_read import ACCOUNT_ERRORS, ReadOutcome, RelatedRead

MAX_JOBS: Final = 10_000  # of one look-up, so that a burst asks for each reference once
MAX_PARKED: Final = 100_000  # changes of an account; more fail at once
BUDGET: Final = 10.0  # seconds after which no further search is sent
PAGES_BUDGET: Final = 20.0  # seconds after which no further page of one is
FIRST_DELAY, LONGEST_DELAY = 60.0, 3600.0  # seconds between two look-ups of a parked change
FIRST_RETRY: Final = 5.0  # seconds until a search is repeated that was not answered
MAX_FAILURES: Final = 8  # in a row, after which a change that was parked for long enough is not repeated
TOGETHER: Final = 10.0  # seconds within which parked changes are due together
CUT_SHORT: Final = ActionResult(Verdict.UNKNOWN, message="there was no time for all pages of it")

Sent = TypeVar("Sent", Search, Action)


class Asking(NamedTuple, Generic[Sent]):
    """What is asked of the API: of which kind, what next, where answers go, and which jobs wait for one."""

    kind: RequestKind
    next_request: Callable[[int], Sequence[Sent]]
    note: Callable[[Sent, ActionResult], None]
    jobs_behind: Callable[[Sent], Iterable[UnresolvedJob]]


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
        self._pace, self._sender = pace, ReadSender(deps, lease, telemetry, pace)
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
        rest = self._send_all(
            Asking(
                "look_up", look_up.next_request, partial(_note, look_up), _jobs_behind(look_up, batch.jobs)
            )
        )
        found = dict(look_up.answers())
        answers = found | {reference: Answer(record) for reference, record in known.items()}
        reading = RelatedRead(batch.jobs, answers, self._policy.limits.max_ids)
        if rest is None:
            rest = self._send_all(Asking("replace", reading.next_request, reading.note, reading.jobs_behind))
        results = list(self._decide(batch, answers, look_up.lost, reading))
        learned = {reference: answer.record for reference, answer in found.items() if answer.record}
        if results or learned:
            self._lease.write_look_ups(results, learned, memory=memory)
        self._telemetry.looked_up(results, known=len(known), found=found.values())
        return rest

    # --- the API

    def _send_all(self, asking: Asking[Sent]) -> float | None:
        """Send all that is asked; return the seconds to rest if some is left for the next flush."""
        while request := asking.next_request(self._pace.max_actions()):
            if (rest := self._send(asking, request)) is not None:
                return rest
        return None

    def _send(self, asking: Asking[Sent], request: Sequence[Sent]) -> float | None:
        """Send one request, and note its answers; return the seconds to rest if the account has to."""
        # The next look-up would ask for the pages before these again: they wait, or less is asked for then.
        pages = [each for each in request if isinstance(each, Search) and each.offset]
        left = (PAGES_BUDGET if pages else BUDGET) - (self._deps.clock.monotonic() - self._started)
        grant = self._pace.book_slot(left if pages else MAX_SLOT_WAIT) if left > 0 else None
        if not grant or not grant.booked:
            for each in pages:
                asking.note(each, CUT_SHORT)
            return grant.wait if grant else 0.0
        jobs = chain.from_iterable(map(asking.jobs_behind, request))
        reply, may_go_on = self._sender.send(
            request,
            grant,
            kind=asking.kind,
            signed=self._now(),
            correlations=first_correlations(job.correlation for job in jobs),
        )
        for each, result in zip(request, reply.results, strict=True):
            asking.note(each, result)
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
        """Yield what becomes of each change that lacks something for certain, or of which all is known."""
        now, room = self._now(), MAX_PARKED - batch.parked
        for job in batch.jobs:
            own = {reference: answers[reference] for reference in job.references if reference in answers}
            lacking, related = _lacks_reference(job, own, lost), None
            if not lacking and any(reference not in own for reference in job.references):
                continue  # it was not asked yet
            if refusal := _names_several(job, own):
                yield LookUpResult(job.job, own, now, refusal=refusal)
                continue
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
        for reference in job.references:
            failures[reference] = min(job.failures, failures.get(reference, job.failures))
    return failures


def _jobs_behind(
    look_up: LookUp, jobs: Iterable[UnresolvedJob]
) -> Callable[[Search], Iterator[UnresolvedJob]]:
    """Return what yields the jobs that wait for a search."""
    by_reference: dict[Reference, list[UnresolvedJob]] = defaultdict(list)
    for job in jobs:
        for reference in job.references:
            by_reference[reference].append(job)
    return lambda search: (job for each in look_up.asked_by(search) for job in by_reference[each])


def _note(look_up: LookUp, search: Search, result: ActionResult) -> None:
    if result.verdict is Verdict.OK:
        look_up.take(search, result.found, result.total)
    elif result.verdict is Verdict.REJECTED and result.error not in ACCOUNT_ERRORS:
        look_up.refuse(search, (result.code, str(result.error), result.message))
    elif result.verdict is Verdict.UNKNOWN:
        look_up.lose(search)


def _lacks_reference(
    job: UnresolvedJob, answers: Mapping[Reference, Answer], lost: frozenset[Reference]
) -> Lack | None:
    """Return which record of a change was not found; None if all that were asked for were.

    The values that were looked for are shown with the references, not in texts.
    """
    for reference in job.references:
        answer = answers.get(reference)
        record = reference.without_values
        if answer is None:
            if reference not in lost:
                continue
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


def _names_several(job: UnresolvedJob, answers: Mapping[Reference, Answer]) -> tuple[int, str, str] | None:
    """Return the refusal of a replace whose references lead to several records where there can be one."""
    if not job.replaced:
        return None
    found = {each if isinstance(each, int) else _record_of(each, answers) for each in job.replaced.named}
    several = len(found - {0})
    if several < 2:
        return None
    type_ = job.replaced.type
    reason = f"the {TYPES[type_].child} can have one parent at most by {type_}, and is to have {several}"
    return 0, DEPENDENCY, f"{reason}; name the one that is right"


def _record_of(reference: Reference, answers: Mapping[Reference, Answer]) -> int:
    return answers.get(reference, Answer()).record


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
