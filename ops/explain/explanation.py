"""A relation explained: plain data, whose texts are sentences; and the same as lines for people."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, NotRequired, TypedDict

from ops.explain.text import Instant, Sentence, Zone, pluralize
from worker.contract import Relation, Side, write_instant
from worker.planner.actions import Action
from worker.ports.records import Failure
from worker.ports.requests import RequestRecord

ErrorFact = TypedDict("ErrorFact", {"code": int, "class": str, "message": str})


class RelationDict(TypedDict):
    """A relation under its canonical type."""

    relationtype: str
    parentid: int
    childid: int


class AnswerDict(TypedDict):
    """What the API said of an action."""

    verdict: str
    code: int
    message: str


class WantedDict(TypedDict):
    """What is wanted of a relation; `presence` is null where only info or nothing is."""

    open: bool
    presence: bool | None
    text: str
    but: str | None


class RequestPartDict(TypedDict):
    """The part of a request that was about the relation."""

    id: str
    at: str
    action: str
    relations: int
    answer: AnswerDict
    status: int
    seconds: float
    observed: bool
    text: str


class NamedRecordDict(TypedDict):
    """A record of the relation that a job names by a reference: looked up at `asked_at`, or chosen then."""

    side: Side
    reference: dict[str, dict[str, str]]
    asked_at: str
    chosen_by: str | None


class JobExplanationDict(TypedDict):
    """What became of a job here: in words, and as data."""

    id: str
    state: str  # of the relation; while it is open, of the job
    text: str
    action: NotRequired[str | None]
    source: NotRequired[str | None]
    occurred_at: NotRequired[str | None]
    by: NotRequired[str | None]
    request: NotRequired[str | None]
    verified: NotRequired[bool]
    error: NotRequired[ErrorFact | None]
    references: NotRequired[list[NamedRecordDict]]
    requests: list[RequestPartDict]


class ExplanationDict(TypedDict):
    """A relation explained by every job that named it."""

    relation: RelationDict
    wanted: WantedDict
    known: list[str]
    jobs: list[JobExplanationDict]


class RequestPart(NamedTuple):
    """One action of a request, with its answer."""

    request: RequestRecord
    action: Action
    verdict: str
    code: int
    message: str

    @property
    def is_read(self) -> bool:
        """Whether the relation was read back instead of written."""
        return self.action.kind == "get"

    def describe_answer(self) -> str:
        """Return what the API answered to the action, or why there is no answer."""
        if self.request.observed:
            return Sentence("would be sent; the account only observes")
        reason = Sentence(self.message or self.request.message)
        answers = {
            "ok": Sentence("API answered ok"),
            "rejected": Sentence("API answered {answer}", answer=f"{self.code} {self.message}".rstrip()),
            "unknown": Sentence("no usable answer ({reason})", reason=reason or Sentence("none at all")),
            "not_sent": Sentence("it never left ({reason})", reason=reason or Sentence("no connection")),
        }
        answer = answers[self.verdict]
        return Sentence("{answer} after {seconds:.2f} s", answer=answer, seconds=self.request.seconds)

    def describe(self, zone: Zone) -> str:
        """Return what was sent when, and what the API answered."""
        return Sentence(
            "{request} at {at}: {verb} of {relations}, {answer}",
            request=self.request.id,
            at=Instant(self.request.at, zone),
            verb=Sentence("read back" if self.is_read else self.action.kind),
            relations=pluralize(len(self.action.relations), "relation"),
            answer=self.describe_answer(),
        )

    def to_json(self, zone: Zone) -> RequestPartDict:
        """Return the part as data; its text is a sentence."""
        return {
            "id": self.request.id,
            "at": write_instant(self.request.at),
            "action": self.action.kind,
            "relations": len(self.action.relations),
            "answer": write_answer(self.verdict, self.code, self.message),
            "status": self.request.status,
            "seconds": self.request.seconds,
            "observed": self.request.observed,
            "text": self.describe(zone),
        }


def find_part(request: RequestRecord | None, relation: Relation) -> RequestPart | None:
    """Return the part of a request that was about the relation, if there is one."""
    if request is None:
        return None
    for action, answer in zip(request.actions, request.answers, strict=False):
        if relation in action.relations:
            return RequestPart(request, action, *answer)
    return None


def write_relation(relation: Relation) -> RelationDict:
    """Return a relation as plain data."""
    return {"relationtype": relation.type, "parentid": relation.parent, "childid": relation.child}


def write_answer(verdict: str, code: int, message: str) -> AnswerDict:
    """Return what the API said of an action as plain data."""
    return {"verdict": verdict, "code": code, "message": message}


def write_error(failure: Failure) -> ErrorFact:
    """Return why a relation failed as plain data."""
    return {"code": failure.code, "class": failure.error, "message": failure.message}


def format_explanation(explained: ExplanationDict) -> Iterator[str]:
    """Yield the explanation line by line."""
    wanted, jobs = explained["wanted"], explained["jobs"]
    yield "{relationtype}:{parentid}:{childid}".format_map(explained["relation"])
    yield f"  wanted: {wanted['text']}"
    if wanted["but"]:
        yield f"  but:    {wanted['but']}"
    yield from (f"  known:  {fact}" for fact in explained["known"])
    if not jobs:
        yield "  no job named it, or none that is still kept"
    for job in jobs:
        yield f"  {job['text']}"
        yield from (f"      {line}" for line in list_request_lines(job))


def list_request_lines(job: JobExplanationDict) -> Sequence[str]:
    """Return a line for each request of a job, where there is more to say of them than its text does."""
    requests = job["requests"]
    has_more = len(requests) > 1 or any(request["observed"] for request in requests)
    return [request["text"] for request in requests] if has_more else []
