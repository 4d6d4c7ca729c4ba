"""A relation explained; `ops.explain.explanation` writes it."""

from typing import Final, NotRequired, TypedDict

from ops.explain.explanation import Explanation, JobExplanation
from ops.serializers.relations import ErrorFact, RelationDict, read_relation
from ops.serializers.requests import HealthVerdict
from worker.ports.references import Side

EXPLAINED: Final = ("id", "state", "text", "requests")  # of a job's explanation; the rest are its facts


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


def read_explanation(document: ExplanationDict) -> Explanation:
    """Return the explanation of a relation, with the times in its texts as the server wrote them."""
    wanted = document["wanted"]
    return Explanation(
        relation=read_relation(document["relation"]),
        wanted=wanted["text"],
        known=tuple(document["known"]),
        jobs=tuple(map(_read_explained_job, document["jobs"])),
        presence=wanted["presence"],
        is_open=wanted["open"],
        why_not_sending=wanted["but"] or "",
    )


def _read_explained_job(document: JobExplanationDict) -> JobExplanation:
    requests = tuple(document["requests"])
    facts = {name: value for name, value in document.items() if name not in EXPLAINED}
    return JobExplanation(document["id"], document["state"], document["text"], facts, requests)
