"""Explains one relation: what is wanted of it now, what is known, and what became of each of its jobs.

Pure: the evidence, with its time, and the time zone are arguments.
"""

from collections.abc import Iterator, Mapping
from datetime import tzinfo
from typing import Any, Final

from ops.explain.advice import advise
from ops.explain.evidence import Evidence
from ops.explain.explanation import Explanation, JobExplanation
from ops.explain.requests import RequestPart, find_part
from ops.explain.text import describe_reference, format_info, format_instant, pluralize
from worker.contract import write_instant
from worker.planner.fold import NEVER, JobVersion
from worker.planner.relation_state import Refusal, RelationState, contradicts, reopen
from worker.ports import CANCELLED, ERASED, OPEN_STATES, JobRecord, JobReference, RelationEvent

SUPERSEDED_BY_OPERATOR: Final[Mapping[str, str]] = {
    CANCELLED: "cancelled before it was sent",
    ERASED: "ended when a record was erased",
}
TARGETS: Final = {True: "that it is there", False: "that it is not there", None: "its info"}


def explain(evidence: Evidence, *, zone: tzinfo) -> Explanation:
    """Explain the relation, with times in `zone`."""
    return _Explainer(evidence, zone).explain()


class _Explainer:
    def __init__(self, evidence: Evidence, zone: tzinfo) -> None:
        self.evidence, self.zone = evidence, zone
        record = evidence.record
        self.state: RelationState | None = (
            reopen(record.open, record.confirmed, record.doubt, upsert=evidence.upsert)
            if record.open
            else None
        )
        self.is_waiting = any(not event.result for event in evidence.events)

    def explain(self) -> Explanation:
        last_events = {event.job: event for event in self.evidence.events}  # of a job that was replayed
        return Explanation(
            relation=self.evidence.relation,
            wanted=self.describe_target(),
            known=tuple(self.describe_known()),
            jobs=tuple(map(self.explain_job, last_events.values())),
            presence=self.state.target.presence if self.state else None,
            is_open=self.state is not None,
            why_not_sending=self.evidence.why_not_sending if self.state or self.is_waiting else "",
        )

    # --- now

    def describe_target(self) -> str:
        """Return what the open intents come to."""
        if self.state is None:
            waiting = "what a change in the inbox asks for; it has not been read yet"
            return waiting if self.is_waiting else "nothing is open"
        target = self.state.target
        what = f"{TARGETS[target.presence]}{format_info(target.patch)}"
        if target.presence is None:
            return what
        return f"{what}, as of {self.at(target.decisive.version.occurred_at)} ({target.decisive.job})"

    def describe_known(self) -> Iterator[str]:
        """Yield what the API confirmed, and what may still take effect."""
        confirmed, doubt = self.evidence.record.confirmed, self.evidence.record.doubt
        if confirmed.presence != NEVER:
            word = "there" if confirmed.present > confirmed.absent else "not there"
            yield f"{word}, confirmed {self.describe_version(confirmed.presence)}"
        for key, info in sorted(confirmed.info.items()):
            removed = "gone again, but " if info.removed else ""
            yield f"{key}, {removed}confirmed {self.describe_version(info.job_version)}"
        if doubt and doubt.until > self.evidence.now:
            yield f"in doubt until {self.at(doubt.until)}: a {doubt.kind} got no answer and may still land"
        if confirmed.presence == NEVER and not confirmed.info:
            yield "nothing was confirmed, or longer ago than is remembered"

    def describe_progress(self, job: str) -> str:
        """Return what an open job waits for here."""
        if self.state is None or all(intent.job != job for intent in self.state.open.intents):
            return "waits in the inbox"
        opened, doubt, now = self.state.open, self.state.doubt, self.evidence.now
        tried = f" after {pluralize(opened.rejections, 'rejection')}" if opened.rejections else ""
        last = f"; last: {_describe_refusal(opened.refusal)}" if opened.refusal else ""
        until = f" until {self.at(opened.not_before)}" if opened.not_before > now else ""
        if opened.held:
            why = opened.refusal.message if opened.refusal else "another relation of its record is in its way"
            return f"is held{until}{tried}: {why}"
        if doubt and doubt.until > now and contradicts(doubt, self.state.target):
            earlier = f"an earlier {doubt.kind} without an answer may still land and undo it"
            return f"is in doubt until {self.at(doubt.until)}: {earlier}"
        if opened.stage.reads:
            return f"is verifying: it is read back before anything is written again{until}{last}"
        return f"is waiting{until}{tried}{last}" if until else f"is due now{tried}{last}"

    # --- each job

    def explain_job(self, event: RelationEvent) -> JobExplanation:
        """Explain one job in a sentence, and its requests where there is more to say than that."""
        job = self.evidence.jobs.get(event.job)
        return JobExplanation(
            job=event.job,
            state=event.result or (job.state if job else "queued"),
            text=f"{self.describe_job(event.job)}: {self.describe_outcome(event, job)}"
            + "".join(f"; {each}" for each in self.describe_references(job)),
            facts=self.get_facts(event, job),
            requests=tuple(part.to_json(self.zone) for part in self.find_parts(job)),
        )

    def get_facts(self, event: RelationEvent, job: JobRecord | None) -> Mapping[str, Any]:
        """Return what the sentence says, as data.

        `by` is the newer job, `request` the one that decided, `verified` whether by reading back.
        """
        applied, failed = event.result == "applied", event.result == "failed"
        decided = self.find_part(event.detail) if applied else None
        refusal = self.find_refusal(job) if failed else None
        return {
            "action": job.action if job else None,
            "source": job.source if job else None,
            "occurred_at": write_instant(job.occurred_at) if job else None,
            "by": event.detail if event.result in ("superseded", "stale") else None,
            "request": event.detail or None if applied else None,
            "verified": bool(decided and decided.is_read),
            "error": {"code": refusal.code, "class": refusal.error, "message": refusal.message}
            if refusal
            else None,
            "references": [
                {
                    "side": each.side,
                    "reference": each.reference.as_object(),
                    "asked_at": write_instant(each.asked_at),
                    "chosen_by": each.by or None,
                }
                for each in self.find_references(job)
            ],
        }

    def describe_outcome(self, event: RelationEvent, job: JobRecord | None) -> str:
        """Return what became of the job here."""
        match event.result:
            case "applied":
                return self.describe_applied(event.detail)
            case "superseded":
                by_operator = SUPERSEDED_BY_OPERATOR.get(event.detail)
                return by_operator or f"superseded by {self.describe_job(event.detail)}"
            case "stale":
                return f"stale: {self.describe_job(event.detail)} is newer and was confirmed before it came"
            case "failed":
                return self.describe_failure(event, job)
        return self.describe_progress(event.job)

    def describe_applied(self, request: str) -> str:
        """Return which request applied it, or that there was nothing left to send."""
        part = self.find_part(request)
        if part is None:
            if any(request in job.requests for job in self.evidence.jobs.values()):
                return f"applied with request {request}, which is no longer kept"
            return "applied: it was confirmed already"
        answer = part.describe_answer()
        if part.is_read:
            return f"applied: request {request} read it back and found it as wanted, {answer}"
        actions = part.request.actions
        size = pluralize(sum(len(action.relations) for action in actions), "relation")
        return f"applied with request {request} ({pluralize(len(actions), 'action')} for {size}), {answer}"

    def describe_failure(self, event: RelationEvent, job: JobRecord | None) -> str:
        """Return the code, its text, and what to do."""
        code, _, error = event.detail.partition(" ")
        refusal = self.find_refusal(job) or Refusal(int(code or 0), error, "")
        was_replayed = job and job.state in OPEN_STATES and self.evidence.relation not in job.failed
        replayed = "; a replay put it back" if was_replayed else ""
        return f"failed: {_describe_refusal(refusal)}{replayed}. {advise(refusal.code, refusal.error)}"

    # --- parts

    def find_part(self, request: str) -> RequestPart | None:
        """Return what a request had to do with the relation, if it is still kept."""
        return find_part(self.evidence.requests.get(request), self.evidence.relation)

    def find_parts(self, job: JobRecord | None) -> Iterator[RequestPart]:
        """Yield the same of every request that the job travelled in."""
        yield from filter(None, map(self.find_part, job.requests if job else ()))

    def find_references(self, job: JobRecord | None) -> Iterator[JobReference]:
        """Yield the references of the job that led to a record of the relation."""
        sides = {"parent": self.evidence.relation.parent, "child": self.evidence.relation.child}
        yield from (each for each in (job.references if job else ()) if each.record == sides[each.side])

    def describe_references(self, job: JobRecord | None) -> Iterator[str]:
        """Yield how the records of the relation were found that the job names by references."""
        yield from (
            f"{each.side} {describe_reference(each, self.zone)}" for each in self.find_references(job)
        )

    def find_refusal(self, job: JobRecord | None) -> Refusal | None:
        """Return the refusal that the job keeps, if it was about this relation."""
        for relation, code, error, message, _ in job.failures if job else ():
            if relation == self.evidence.relation:
                return Refusal(code, error, message)
        return None

    def describe_job(self, job_id: str) -> str:
        """Return the job with what it asked for, if it is still kept."""
        job = self.evidence.jobs.get(job_id)
        if job is None:
            return f"{job_id} (no longer kept)"
        what = f"{job.action}{format_info(job.info)}"
        return f"{job_id} {what} at {self.at(job.occurred_at)} by {job.source or 'api'}"

    def describe_version(self, confirmed: JobVersion) -> str:
        """Return when a confirmed change happened, and its job."""
        return f"for the change of {self.at(confirmed.version.occurred_at)} ({confirmed.job})"

    def at(self, micros: int) -> str:
        """Return the instant in the reader's time zone."""
        return format_instant(micros, self.zone)


def _describe_refusal(refusal: Refusal) -> str:
    """Return such as `80 No such record (record)`."""
    answer = " ".join(filter(None, (str(refusal.code or ""), refusal.message)))
    return f"{answer} ({refusal.error})" if answer else refusal.error
