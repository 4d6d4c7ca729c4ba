"""Requests to the API: what was sent, and what was answered."""

from typing import TypedDict

from ops.explain.explanation import HealthVerdict
from worker.contract import write_instant
from worker.ports.requests import RequestPage, RequestRecord


class ActionDict(TypedDict):
    """An action of a request, with its answer; `asked` are the pairs of ids that a read asked for."""

    action: str
    relationtype: str
    parentid: list[int]
    childid: list[int]
    relationinfo: dict[str, str]
    asked: list[list[int]]
    answer: HealthVerdict


class SearchDict(TypedDict):
    """A search of a request, with its answer: by how many values of a field, and how many records it had."""

    module: str
    field: str
    values: int
    found: int
    answer: HealthVerdict


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


def serialize_request_page(page: RequestPage) -> RequestPageDict:
    """Return a page of requests as JSON."""
    return {"requests": list(map(serialize_request, page.requests)), "next": page.next or None}


def serialize_request(request: RequestRecord) -> RequestDict:
    """Return a request as JSON."""
    actions: list[ActionDict] = [
        {
            "action": action.kind,
            "relationtype": action.type,
            "parentid": list(action.parents),
            "childid": list(action.children),
            "relationinfo": dict(action.info),
            "asked": [[relation.parent, relation.child] for relation in action.asked],
            "answer": _serialize_answer(answer),
        }
        for action, answer in zip(request.actions, request.answers, strict=False)
    ]
    searches: list[SearchDict] = [
        {
            "module": search.module,
            "field": search.field,
            "values": search.values,
            "found": search.found,
            "answer": _serialize_answer(answer),
        }
        for search, answer in zip(request.searches, request.answers, strict=False)
    ]
    return {
        "id": request.id,
        "kind": request.kind,
        "at": write_instant(request.at),
        "status": request.status,
        "seconds": request.seconds,
        "message": request.message,
        "observed": request.observed,
        "correlations": list(request.correlations),
        "actions": actions,
        "searches": searches,
    }


def _serialize_answer(answer: tuple[str, int, str]) -> HealthVerdict:
    verdict, code, message = answer
    return {"verdict": verdict, "code": code, "message": message}
