"""A relation explained: plain data, whose texts are sentences; and the same as lines for people."""

from collections.abc import Iterator, Sequence
from typing import NotRequired, TypedDict

from worker.contract import Relation
from worker.ports.references import Side

ErrorFact = TypedDict("ErrorFact", {"code": int, "class": str, "message": str})


class RelationDict(TypedDict):
    """A relation under its canonical type."""

    relationtype: str
    parentid: int
    childid: int


class HealthVerdict(TypedDict):
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
    answer: HealthVerdict
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


def write_relation(relation: Relation) -> RelationDict:
    """Return a relation as plain data."""
    return {"relationtype": relation.type, "parentid": relation.parent, "childid": relation.child}


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
