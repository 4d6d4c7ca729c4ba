"""The part of a request that was about one relation, in a sentence and as data."""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any, NamedTuple

from ops.explain.text import format_instant, pluralize
from worker.contract import Relation, write_instant
from worker.planner.actions import Action
from worker.ports import RequestRecord


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
            return "would be sent; the account only observes"
        reason = self.message or self.request.message
        answers = {
            "ok": "API answered ok",
            "rejected": f"API answered {self.code} {self.message}".rstrip(),
            "unknown": f"no usable answer ({reason or 'none at all'})",
            "not_sent": f"it never left ({reason or 'no connection'})",
        }
        return f"{answers[self.verdict]} after {self.request.seconds:.2f} s"

    def describe(self, zone: tzinfo) -> str:
        """Return what was sent when, and what the API answered."""
        verb = "read back" if self.is_read else self.action.kind
        what = f"{verb} of {pluralize(len(self.action.relations), 'relation')}"
        at = format_instant(self.request.at, zone)
        return f"{self.request.id} at {at}: {what}, {self.describe_answer()}"

    def to_json(self, zone: tzinfo) -> Mapping[str, Any]:
        """Return the same as plain data."""
        return {
            "id": self.request.id,
            "at": write_instant(self.request.at),
            "action": self.action.kind,
            "relations": len(self.action.relations),
            "answer": {"verdict": self.verdict, "code": self.code, "message": self.message},
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
