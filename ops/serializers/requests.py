"""Requests to the API: what was sent, and what was answered."""

from typing import TypedDict

from ops.explain.explanation import AnswerDict, write_answer
from ops.serializers import write_document
from worker.contract import write_instant
from worker.planner.actions import Action
from worker.ports.queries import CursorPage
from worker.ports.requests import RequestRecord


class ActionDict(TypedDict):
    """An action of a request, with its answer; `asked` are the pairs of ids that a read asked for."""

    action: str
    relationtype: str
    parentid: list[int]
    childid: list[int]
    relationinfo: dict[str, str]
    asked: list[list[int]]
    answer: AnswerDict


class SearchDict(TypedDict):
    """A search of a request, with its answer: by how many values of a field, and how many records it had."""

    module: str
    field: str
    values: int
    found: int
    answer: AnswerDict


class RequestDict(TypedDict):
    """A request to the API: it has actions, or searches if it looks records up."""

    id: str
    kind: str
    at: str
    status: int
    seconds: float
    message: str
    observed: bool
    correlations: list[str]
    actions: list[ActionDict]
    searches: list[SearchDict]


class RequestPageDict(TypedDict):
    """Requests, newest first, and the cursor of the next page; null after the last."""

    requests: list[RequestDict]
    next: str | None


def serialize_request_page(page: CursorPage[RequestRecord]) -> RequestPageDict:
    """Return a page of requests as JSON."""
    return {"requests": list(map(serialize_request, page.entries)), "next": page.next or None}


def serialize_request(request: RequestRecord) -> RequestDict:
    """Return a request as JSON."""
    answers = [write_answer(*answer) for answer in request.answers]
    return write_document(
        RequestDict,
        request,
        at=write_instant(request.at),
        actions=list(map(_serialize_action, request.actions, answers)),
        searches=[
            write_document(SearchDict, search, answer=answer)
            for search, answer in zip(request.searches, answers, strict=False)
        ],
    )


def _serialize_action(action: Action, answer: AnswerDict) -> ActionDict:
    return {
        "action": action.kind,
        "relationtype": action.type,
        "parentid": list(action.parents),
        "childid": list(action.children),
        "relationinfo": dict(action.info),
        "asked": [[relation.parent, relation.child] for relation in action.asked],
        "answer": answer,
    }
