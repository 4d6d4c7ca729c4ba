"""The part of a request that was about one relation, in a sentence and as data."""

from datetime import tzinfo
from typing import NamedTuple

from ops.explain.explanation import RequestPartDict
from ops.explain.text import Instant, Sentence, pluralize
from worker.contract import Relation, write_instant
from worker.planner.actions import Action
from worker.ports.requests import RequestRecord


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

    def describe(self, zone: tzinfo) -> str:
        """Return what was sent when, and what the API answered."""
        return Sentence(
            "{request} at {at}: {verb} of {relations}, {answer}",
            request=self.request.id,
            at=Instant(self.request.at, zone),
            verb=Sentence("read back" if self.is_read else self.action.kind),
            relations=pluralize(len(self.action.relations), "relation"),
            answer=self.describe_answer(),
        )

    def to_json(self, zone: tzinfo) -> RequestPartDict:
        """Return the same as data; its text is a sentence."""
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
