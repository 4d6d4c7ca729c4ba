"""One relation explained: what is wanted of it now, what is known, and what became of every job that named it.

Pure: whoever calls it fetches the evidence and says what time it is, in which zone, and how API codes are advised on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, NamedTuple

from ops.explain.words import count, info_text, instant
from worker.contract import Relation, write_instant
from worker.planner.actions import Action
from worker.planner.fold import NEVER, JobVersion
from worker.planner.relation_state import Refusal, RelationState, contradicts, reopen
from worker.ports import (
    CANCELLED,
    ERASED,
    OPEN_STATES,
    JobRecord,
    RelationEvent,
    RelationRecord,
    RequestRecord,
)

Advice = Callable[[int], str]

WITHDRAWN: Mapping[str, str] = {
    CANCELLED: "cancelled while it waited in the inbox",
    ERASED: "ended when a record was erased",
}
WITHOUT_CODE: Mapping[str, str] = {
    "dependency": "Mend what the other half of the swap failed of, then replay both jobs.",
    "unreadable": "Mend its producer, or the rules of its webhook, then replay it: it is read again.",
    "poison": "Look into the workers' logs for what ended them, then replay.",
    "unknown": "Run `relations doctor` to see whether the API can be reached, then replay.",
    "not_sent": "Run `relations doctor` to see whether the API can be reached, then replay.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is kept about a relation; `now` in µs of the store's clock, `upsert` as the account's policy has it."""

    relation: Relation
    record: RelationRecord
    mentions: Sequence[RelationEvent]
    jobs: Mapping[str, JobRecord]
    requests: Mapping[str, RequestRecord]
    now: int
    upsert: bool = False
    still: str = ""  # why nothing of the account is sent now


class Told(NamedTuple):
    """One job's part: its outcome for this relation or, while open, its state; a sentence; a sentence per request where there is more to
    tell than the first says; and `facts` and `trail`, the same as data for programs."""

    job: str
    state: str
    text: str
    requests: tuple[str, ...] = ()
    facts: Mapping[str, Any] = {}
    trail: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The relation explained; `str()` is for people, `json()` for programs."""

    relation: Relation
    wanted: str
    known: tuple[str, ...]
    jobs: tuple[Told, ...]
    presence: bool | None = None
    open: bool = False
    still: str = ""

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield str(self.relation)
        yield f"  wanted: {self.wanted}"
        yield from [f"  but:    {self.still}"] if self.still else []
        yield from (f"  known:  {each}" for each in self.known)
        if not self.jobs:
            yield "  no job named it, or none that is still kept"
        for told in self.jobs:
            yield f"  {told.text}"
            yield from (f"      {each}" for each in told.requests)

    def json(self) -> dict[str, Any]:
        """The same as plain data; `wanted.presence` is null where only info is wanted, or nothing is."""
        return {
            "relation": {
                "relationtype": self.relation.type,
                "parentid": self.relation.parent,
                "childid": self.relation.child,
            },
            "wanted": {
                "open": self.open,
                "presence": self.presence,
                "text": self.wanted,
                "but": self.still or None,
            },
            "known": list(self.known),
            "jobs": [
                {
                    "id": told.job,
                    "state": told.state,
                    "text": told.text,
                    **told.facts,
                    "requests": list(told.trail),
                }
                for told in self.jobs
            ],
        }


def explain(evidence: Evidence, *, zone: tzinfo, advice: Advice) -> Explanation:
    """The explanation; times in `zone`, and what to do about an API code in the words of `advice`."""
    teller = _Teller(evidence, zone, advice)
    case = teller.case
    unread = any(not event.result for event in evidence.mentions)
    return Explanation(
        relation=evidence.relation,
        wanted=teller.wanted(),
        known=tuple(teller.known()),
        jobs=tuple(teller.told(event) for event in {each.job: each for each in evidence.mentions}.values()),
        presence=case.target.presence if case else None,
        open=case is not None,
        still=evidence.still if case or unread else "",
    )


class _Teller:
    def __init__(self, evidence: Evidence, zone: tzinfo, advice: Advice) -> None:
        self.of, self.zone, self.advice = evidence, zone, advice
        opened, known, doubt = evidence.record
        self.case: RelationState | None = (
            reopen(opened, known, doubt, upsert=evidence.upsert) if opened else None
        )

    # --- now

    def wanted(self) -> str:
        """What the open wishes come to."""
        if self.case is None:
            waiting = any(not event.result for event in self.of.mentions)
            return (
                "what a change in the inbox asks for; it has not been read yet"
                if waiting
                else "nothing is open"
            )
        target = self.case.target
        what = {True: "that it is there", False: "that it is not there", None: "its info"}[target.presence]
        since = (
            f", as of {self.at(target.decisive.version.occurred_at)} ({target.decisive.job})"
            if target.presence is not None
            else ""
        )
        return f"{what}{info_text(target.patch)}{since}"

    def known(self) -> Iterator[str]:
        """What the API confirmed, and what may still land."""
        memory, doubt = self.of.record.confirmed, self.of.record.doubt
        if memory.presence != NEVER:
            word = "there" if memory.present > memory.absent else "not there"
            yield f"{word}, confirmed {self.mark(memory.presence)}"
        for key, was in sorted(memory.info.items()):
            yield f"{key}, {'gone again, but ' if was.removed else ''}confirmed {self.mark(was.job_version)}"
        if doubt and doubt.until > self.of.now:
            yield f"in doubt until {self.at(doubt.until)}: a {doubt.kind} got no answer and may still land"
        if memory.presence == NEVER and not memory.info:
            yield "nothing was confirmed, or longer ago than is remembered"

    def progress(self, job: str) -> str:
        """What an open job waits for here."""
        if self.case is None or all(intent.job != job for intent in self.case.open.intents):
            return "waits in the inbox"
        opened, doubt, now = self.case.open, self.case.doubt, self.of.now
        tried = f" after {count(opened.rejections, 'rejection')}" if opened.rejections else ""
        last = f"; last: {self.refusal(opened.refusal)}" if opened.refusal else ""
        if opened.waits_for_swap:
            return f"is held{tried}: the other half of its swap has to be confirmed first{last}"
        if doubt and doubt.until > now and contradicts(doubt, self.case.target):
            return f"is in doubt until {self.at(doubt.until)}: an earlier {doubt.kind} without an answer may still land and undo it"
        if opened.stage.reads:
            return f"is verifying: it is read back before anything is written again{self.until(opened.not_before)}{last}"
        if opened.not_before > now:
            return f"is waiting{self.until(opened.not_before)}{tried}{last}"
        return f"is due now{tried}{last}"

    # --- each job

    def told(self, event: RelationEvent) -> Told:
        """One job's sentence."""
        job = self.of.jobs.get(event.job)
        state = event.result or (job.state if job else "queued")
        text = f"{self.named(event.job)}: {self.outcome(event, job)}"
        trail = list(self.trail(job))
        longer = len(trail) > 1 or any(each.observed for each in trail)
        told = tuple(map(self.request, trail)) if longer else ()
        return Told(event.job, state, text, told, self.facts(event, job), tuple(map(self.passage, trail)))

    def facts(self, event: RelationEvent, job: JobRecord | None) -> Mapping[str, Any]:
        """What the sentence says, as data: `by` is the job that is newer, `request` the one that decided, `verified` if by reading back."""
        decided = self.of.requests.get(event.detail) if event.result == "applied" else None
        known = (
            job.refusal
            if event.result == "failed" and job and job.refusal and job.refusal[3] == str(self.of.relation)
            else None
        )
        return {
            "action": job.action if job else None,
            "source": job.source if job else None,
            "occurred_at": write_instant(job.occurred_at) if job else None,
            "by": event.detail if event.result in ("superseded", "stale") else None,
            "request": event.detail or None if event.result == "applied" else None,
            "verified": bool(decided and decided.actions[self.position(decided)].kind == "get"),
            "error": {"code": known[0], "class": known[1], "message": known[2]} if known else None,
        }

    def passage(self, record: RequestRecord) -> Mapping[str, Any]:
        """One request's part, as data."""
        at = self.position(record)
        verdict, code, message = record.answers[at]
        return {
            "id": record.id,
            "at": write_instant(record.at),
            "action": record.actions[at].kind,
            "relations": len(record.actions[at].relations),
            "answer": {"verdict": verdict, "code": code, "message": message},
            "status": record.status,
            "seconds": record.seconds,
            "observed": record.observed,
            "text": self.request(record),
        }

    def outcome(self, event: RelationEvent, job: JobRecord | None) -> str:
        """What became of the job here."""
        match event.result:
            case "applied":
                return self.applied(event.detail)
            case "superseded":
                return WITHDRAWN.get(event.detail) or f"superseded by {self.named(event.detail)}"
            case "stale":
                return f"stale: {self.named(event.detail)} is newer and was confirmed before it came"
            case "failed":
                return self.failed(event, job)
        return self.progress(event.job)

    def applied(self, detail: str) -> str:
        """By which request it was applied, or that there was nothing left to send."""
        record = self.of.requests.get(detail)
        if record is None:
            in_jobs = any(detail in job.requests for job in self.of.jobs.values())
            return (
                f"applied with request {detail}, which is no longer kept"
                if in_jobs
                else "applied: it was confirmed already"
            )
        at = self.position(record)
        action, said = record.actions[at], self.answer(record, at)
        if action.kind == "get":
            return f"applied: request {record.id} read it back and found it as wanted, {said}"
        relations = sum(len(each.relations) for each in record.actions)
        return f"applied with request {record.id} ({count(len(record.actions), 'action')} for {count(relations, 'relation')}), {said}"

    def failed(self, event: RelationEvent, job: JobRecord | None) -> str:
        """Code, text and what to do."""
        code, _, error = event.detail.partition(" ")
        known = job.refusal if job and job.refusal and job.refusal[3] == str(self.of.relation) else None
        refusal = Refusal(*known[:3]) if known else Refusal(int(code or 0), error, "")
        again = (
            "; a replay put it back"
            if job and job.state in OPEN_STATES and self.of.relation not in job.failed
            else ""
        )
        todo = (
            self.advice(refusal.code)
            if refusal.code
            else WITHOUT_CODE.get(refusal.error, "Replay it when its cause is gone.")
        )
        return f"failed: {self.refusal(refusal)}{again}. {todo}"

    def trail(self, job: JobRecord | None) -> Iterator[RequestRecord]:
        """The kept requests the job travelled in that were about this relation."""
        records = (self.of.requests.get(each) for each in (job.requests if job else ()))
        yield from (record for record in records if record and self.position(record) >= 0)

    # --- words

    def request(self, record: RequestRecord) -> str:
        """One request's sentence."""
        at = self.position(record)
        action = record.actions[at]
        return f"{record.id} at {self.at(record.at)}: {_about(action)}, {self.answer(record, at)}"

    def answer(self, record: RequestRecord, at: int) -> str:
        """What the API said to one action."""
        verdict, code, message = record.answers[at]
        if record.observed:
            return "would be sent; the account only observes"
        words = {
            "ok": "API answered ok",
            "rejected": f"API answered {code} {message}".rstrip(),
            "unknown": f"no usable answer ({message or record.message or 'none at all'})",
            "not_sent": f"it never left ({message or record.message or 'no connection'})",
        }
        return f"{words[verdict]} after {record.seconds:.2f} s"

    def position(self, record: RequestRecord) -> int:
        """Which of its actions was about this relation; -1 for none."""
        return next(
            (at for at, action in enumerate(record.actions) if self.of.relation in action.relations), -1
        )

    def named(self, name: str) -> str:
        """The job with what it asked for, if it is still kept."""
        job = self.of.jobs.get(name)
        if job is None:
            return f"{name} (no longer kept)"
        return (
            f"{name} {job.action}{info_text(job.info)} at {self.at(job.occurred_at)} by {job.source or 'api'}"
        )

    def mark(self, mark: JobVersion) -> str:
        """When a confirmed change happened, and its job."""
        return f"for the change of {self.at(mark.version.occurred_at)} ({mark.job})"

    def refusal(self, refusal: Refusal) -> str:
        """`80 No such record (record)`."""
        said = " ".join(filter(None, (str(refusal.code or ""), refusal.message)))
        return f"{said} ({refusal.error})" if said else refusal.error

    def until(self, micros: int) -> str:
        """` until …` if that is still to come."""
        return f" until {self.at(micros)}" if micros > self.of.now else ""

    def at(self, micros: int) -> str:
        """An instant."""
        return instant(micros, self.zone)


def _about(action: Action) -> str:
    verb = "read back" if action.kind == "get" else action.kind
    return f"{verb} of {count(len(action.relations), 'relation')}"
