"""Requests to the API: what was sent, and what was answered."""

from typing import Any, TypedDict

from worker.contract import Relation, read_instant, write_instant
from worker.planner.actions import Action
from worker.ports.requests import RequestPage, RequestRecord, SearchRecord


class HealthVerdict(TypedDict):
    """What the API said of an action."""

    verdict: str
    code: int
    message: str


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


def read_request(document: RequestDict) -> RequestRecord:
    """Return the request; one of an older server has neither kind nor searches."""
    searches = document.get("searches", [])
    answers = [each["answer"] for each in (*document["actions"], *searches)]
    return RequestRecord(
        id=document["id"],
        at=read_instant(document["at"]),
        status=document["status"],
        seconds=document["seconds"],
        message=document["message"],
        actions=tuple(map(_read_action, document["actions"])),
        answers=tuple((answer["verdict"], answer["code"], answer["message"]) for answer in answers),
        correlations=tuple(document["correlations"]),
        kind=document.get("kind", "changes"),
        searches=tuple(
            SearchRecord(each["module"], each["field"], each["values"], each["found"]) for each in searches
        ),
    )


def _serialize_answer(answer: tuple[str, int, str]) -> HealthVerdict:
    verdict, code, message = answer
    return {"verdict": verdict, "code": code, "message": message}


def _read_action(document: ActionDict) -> Action:
    kind: Any = document["action"]
    name = document["relationtype"]
    return Action(
        kind,
        name,
        tuple(document["parentid"]),
        tuple(document["childid"]),
        tuple(document["relationinfo"].items()),
        asked=tuple(Relation(name, parent, child) for parent, child in document["asked"]),
    )
