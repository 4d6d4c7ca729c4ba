"""Requests to the API: what was sent, and what was answered."""

from typing import Any, TypedDict

from worker.contract import Relation, read_instant, write_instant
from worker.planner.actions import Action
from worker.ports import RequestPage, RequestRecord


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


class RequestDict(TypedDict):
    """A request to the API."""

    id: str
    at: str
    status: int
    seconds: float
    message: str
    observed: bool
    correlations: list[str]
    actions: list[ActionDict]


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
            "answer": {"verdict": verdict, "code": code, "message": message},
        }
        for action, (verdict, code, message) in zip(request.actions, request.answers, strict=False)
    ]
    return {
        "id": request.id,
        "at": write_instant(request.at),
        "status": request.status,
        "seconds": request.seconds,
        "message": request.message,
        "observed": request.observed,
        "correlations": list(request.correlations),
        "actions": actions,
    }


def read_request(document: RequestDict) -> RequestRecord:
    """Return the request."""
    answers = [action["answer"] for action in document["actions"]]
    return RequestRecord(
        id=document["id"],
        at=read_instant(document["at"]),
        status=document["status"],
        seconds=document["seconds"],
        message=document["message"],
        actions=tuple(map(_read_action, document["actions"])),
        answers=tuple((answer["verdict"], answer["code"], answer["message"]) for answer in answers),
        correlations=tuple(document["correlations"]),
    )


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
