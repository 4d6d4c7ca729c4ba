"""Explains one relation: what is wanted of it now, what is known, and what became of each of its jobs.

Pure: the evidence, with its time, and the time zone are arguments.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ops.explain.explanation import (
    ExplanationDict,
    JobExplanationDict,
    NamedRecordDict,
    RequestPart,
    find_part,
    write_error,
    write_relation,
)
from ops.explain.text import Instant, Sentence, Zone, describe_reference, format_info, join, pluralize
from worker.contract import Relation, write_instant
from worker.onoffice.codes import advise
from worker.planner.fold import NEVER, JobVersion
from worker.planner.relation_state import Refusal, RelationRecord, RelationState, contradicts, reopen
from worker.ports.erasure import ERASED
from worker.ports.job_admin import CANCELLED
from worker.ports.records import OPEN_STATES, Failure, JobRecord, RelationEvent
from worker.ports.references import JobReference
from worker.ports.requests import RequestRecord

SUPERSEDED_BY_OPERATOR: Final[Mapping[str, str]] = {
    CANCELLED: Sentence("cancelled before it was sent"),
    ERASED: Sentence("ended when a record was erased"),
}
TARGETS: Final = {
    True: Sentence("that it is there"),
    False: Sentence("that it is not there"),
    None: Sentence("its info"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is kept about a relation; `now` is the store's clock in µs."""

    relation: Relation
    record: RelationRecord
    events: Sequence[RelationEvent]  # in order of acceptance; those without a result are still open
    jobs: Mapping[str, JobRecord]
    requests: Mapping[str, RequestRecord]
    now: int
    upsert: bool = False  # whether a modify of an absent relation creates it
    why_not_sending: str = ""  # why nothing of the account is sent now


def explain(evidence: Evidence, *, zone: Zone) -> ExplanationDict:
    """Explain the relation, with times in `zone`; texts that are ours are sentences."""
    return _Explainer(evidence, zone).explain()


class _Explainer:
    def __init__(self, evidence: Evidence, zone: Zone) -> None:
        self.evidence, self.zone = evidence, zone
        record = evidence.record
        self.state: RelationState | None = (
            reopen(record.open, record.confirmed, record.doubt, upsert=evidence.upsert)
            if record.open
            else None
        )
        self.is_waiting = any(not event.result for event in evidence.events)

    def explain(self) -> ExplanationDict:
        last_events = {event.job: event for event in self.evidence.events}  # of a job that was replayed
        why_not_sending = self.evidence.why_not_sending if self.state or self.is_waiting else ""
        return {
            "relation": write_relation(self.evidence.relation),
            "wanted": {
                "open": self.state is not None,
                "presence": self.state.target.presence if self.state else None,
                "text": self.describe_target(),
                "but": why_not_sending or None,
            },
            "known": list(self.describe_known()),
            "jobs": list(map(self.explain_job, last_events.values())),
        }

    # --- now

    def describe_target(self) -> str:
        """Return what the open intents come to."""
        if self.state is None:
            waiting = Sentence("what a change in the inbox asks for; it has not been read yet")
            return waiting if self.is_waiting else Sentence("nothing is open")
        target = self.state.target
        what = join("", [TARGETS[target.presence], format_info(target.patch)])
        if target.presence is None:
            return what
        decisive = target.decisive
        at = self.at(decisive.version.occurred_at)
        return Sentence("{what}, as of {at} ({job})", what=what, at=at, job=decisive.job)

    def describe_known(self) -> Iterator[str]:
        """Yield what the API confirmed, and what may still take effect."""
        confirmed, doubt = self.evidence.record.confirmed, self.evidence.record.doubt
        if confirmed.presence != NEVER:
            version = self.describe_version(confirmed.presence)
            if confirmed.present > confirmed.absent:
                yield Sentence("there, confirmed {version}", version=version)
            else:
                yield Sentence("not there, confirmed {version}", version=version)
        for key, info in sorted(confirmed.info.items()):
            removed = Sentence("gone again, but ") if info.removed else ""
            version = self.describe_version(info.job_version)
            yield Sentence("{key}, {removed}confirmed {version}", key=key, removed=removed, version=version)
        if doubt and doubt.until > self.evidence.now:
            yield Sentence(
                "in doubt until {until}: a {kind} got no answer and may still land",
                until=self.at(doubt.until),
                kind=Sentence(doubt.kind),
            )
        if confirmed.presence == NEVER and not confirmed.info:
            yield Sentence("nothing was confirmed, or longer ago than is remembered")

    def describe_progress(self, job: str) -> str:
        """Return what an open job waits for here."""
        if self.state is None or all(intent.job != job for intent in self.state.open.intents):
            return Sentence("waits in the inbox")
        opened, doubt, now = self.state.open, self.state.doubt, self.evidence.now
        is_later, rejections = opened.not_before > now, pluralize(opened.rejections, "rejection")
        until = Sentence(" until {at}", at=self.at(opened.not_before)) if is_later else ""
        tried = Sentence(" after {rejections}", rejections=rejections) if opened.rejections else ""
        if opened.held:
            in_its_way = Sentence("another relation of its record is in its way")
            why = _words_of(opened.refusal) if opened.refusal else in_its_way
            return Sentence("is held{until}{tried}: {why}", until=until, tried=tried, why=why)
        if doubt and doubt.until > now and contradicts(doubt, self.state.target):
            return Sentence(
                "is in doubt until {until}: an earlier {kind} without an answer may still land and undo it",
                until=self.at(doubt.until),
                kind=Sentence(doubt.kind),
            )
        refusal = _describe_refusal(opened.refusal) if opened.refusal else ""
        last = Sentence("; last: {refusal}", refusal=refusal) if opened.refusal else ""
        if opened.stage.reads:
            return Sentence(
                "is verifying: it is read back before anything is written again{until}{last}",
                until=until,
                last=last,
            )
        if is_later:
            return Sentence("is waiting{until}{tried}{last}", until=until, tried=tried, last=last)
        return Sentence("is due now{tried}{last}", tried=tried, last=last)

    # --- each job

    def explain_job(self, event: RelationEvent) -> JobExplanationDict:
        """Return one job explained, in a sentence and as data.

        `by` is the newer job, `request` the one that decided, `verified` whether by reading back.
        """
        job = self.evidence.jobs.get(event.job)
        became = join("; ", [self.describe_outcome(event, job), *self.describe_references(job)])
        failure = self.find_failure(job) if event.result == "failed" else None
        applied = event.result == "applied"
        decided = self.find_part(event.detail) if applied else None
        return {
            "id": event.job,
            "state": event.result or (job.state if job else "queued"),
            "text": Sentence("{asked}: {became}", asked=self.describe_job(event.job), became=became),
            "action": job.action if job else None,
            "source": job.source if job else None,
            "occurred_at": write_instant(job.occurred_at) if job else None,
            "by": event.detail if event.result in ("superseded", "stale") else None,
            "request": event.detail or None if applied else None,
            "verified": bool(decided and decided.is_read),
            "error": write_error(failure) if failure else None,
            "references": list(map(_write_reference, self.find_references(job))),
            "requests": [part.to_json(self.zone) for part in self.find_parts(job)],
        }

    def describe_outcome(self, event: RelationEvent, job: JobRecord | None) -> str:
        """Return what became of the job here."""
        match event.result:
            case "applied":
                return self.describe_applied(event.detail)
            case "superseded":
                by_operator = SUPERSEDED_BY_OPERATOR.get(event.detail)
                return by_operator or Sentence("superseded by {job}", job=self.describe_job(event.detail))
            case "stale":
                newer = self.describe_job(event.detail)
                return Sentence("stale: {job} is newer and was confirmed before it came", job=newer)
            case "failed":
                return self.describe_failure(event, job)
        return self.describe_progress(event.job)

    def describe_applied(self, request: str) -> str:
        """Return which request applied it, or that there was nothing left to send."""
        part = self.find_part(request)
        if part is None:
            if any(request in job.requests for job in self.evidence.jobs.values()):
                return Sentence("applied with request {request}, which is no longer kept", request=request)
            return Sentence("applied: it was confirmed already")
        answer = part.describe_answer()
        if part.is_read:
            return Sentence(
                "applied: request {request} read it back and found it as wanted, {answer}",
                request=request,
                answer=answer,
            )
        actions = part.request.actions
        return Sentence(
            "applied with request {request} ({actions} for {relations}), {answer}",
            request=request,
            actions=pluralize(len(actions), "action"),
            relations=pluralize(sum(len(action.relations) for action in actions), "relation"),
            answer=answer,
        )

    def describe_failure(self, event: RelationEvent, job: JobRecord | None) -> str:
        """Return the code, its text, and what to do."""
        code, _, error = event.detail.partition(" ")
        refusal = self.find_failure(job) or Refusal(int(code or 0), error, "")
        was_replayed = job and job.state in OPEN_STATES and self.evidence.relation not in job.failed
        return Sentence(
            "failed: {refusal}{replayed}. {advice}",
            refusal=_describe_refusal(refusal),
            replayed=Sentence("; a replay put it back") if was_replayed else "",
            advice=Sentence(advise(refusal.code, refusal.error)),
        )

    # --- parts

    def find_part(self, request: str) -> RequestPart | None:
        """Return what a request had to do with the relation, if it is still kept."""
        return find_part(self.evidence.requests.get(request), self.evidence.relation)

    def find_parts(self, job: JobRecord | None) -> Iterator[RequestPart]:
        """Yield what each request that the job travelled in had to do with the relation."""
        yield from filter(None, map(self.find_part, job.requests if job else ()))

    def find_references(self, job: JobRecord | None) -> Iterator[JobReference]:
        """Yield the references of the job that led to a record of the relation."""
        sides = {"parent": self.evidence.relation.parent, "child": self.evidence.relation.child}
        yield from (each for each in (job.references if job else ()) if each.record == sides[each.side])

    def describe_references(self, job: JobRecord | None) -> Iterator[str]:
        """Yield how the records of the relation were found that the job names by references."""
        yield from (
            join(" ", [Sentence(each.side), describe_reference(each, self.zone)])
            for each in self.find_references(job)
        )

    def find_failure(self, job: JobRecord | None) -> Failure | None:
        """Return why the relation failed for the job, as far as the job keeps it."""
        failures = job.failures if job else ()
        return next((each for each in failures if each.relation == self.evidence.relation), None)

    def describe_job(self, job_id: str) -> str:
        """Return the job with what it asked for, if it is still kept."""
        job = self.evidence.jobs.get(job_id)
        if job is None:
            return Sentence("{job} (no longer kept)", job=job_id)
        return Sentence(
            "{job} {action}{info} at {at} by {source}",
            job=job_id,
            action=Sentence(job.action),
            info=format_info(job.info),
            at=self.at(job.occurred_at),
            source=job.source or "api",
        )

    def describe_version(self, confirmed: JobVersion) -> str:
        """Return when a confirmed change happened, and its job."""
        at = self.at(confirmed.version.occurred_at)
        return Sentence("for the change of {at} ({job})", at=at, job=confirmed.job)

    def at(self, micros: int) -> Instant:
        """Return the instant in the reader's time zone."""
        return Instant(micros, self.zone)


def _write_reference(each: JobReference) -> NamedRecordDict:
    return {
        "side": each.side,
        "reference": each.reference.as_object(),
        "asked_at": write_instant(each.asked_at),
        "chosen_by": each.by or None,
    }


def _describe_refusal(refusal: Refusal | Failure) -> str:
    """Return such as `80 No such record (record)`."""
    answer = join(" ", filter(None, (str(refusal.code or ""), _words_of(refusal))))
    error = Sentence(refusal.error)
    return Sentence("{answer} ({error})", answer=answer, error=error) if answer else error


def _words_of(refusal: Refusal | Failure) -> str:
    """Return what was said: by the API, where there is a code, else by us."""
    return refusal.message if refusal.code else Sentence(refusal.message)
