"""A relation explained, as a value: in words for people, and as plain data for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from worker.contract import Relation


class JobExplanation(NamedTuple):
    """What became of one job here; `state` is its outcome for this relation or, while open, the job's state.

    `facts` and `requests` are for programs.
    """

    job: str
    state: str
    text: str
    facts: Mapping[str, Any]
    requests: tuple[Mapping[str, Any], ...]

    @property
    def request_lines(self) -> Sequence[str]:
        """A line for each request, where there is more to say of them than `text` does."""
        has_more = len(self.requests) > 1 or any(request["observed"] for request in self.requests)
        return [request["text"] for request in self.requests] if has_more else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The relation explained; `str()` is for people, `to_json()` for programs."""

    relation: Relation
    wanted: str
    known: tuple[str, ...]
    jobs: tuple[JobExplanation, ...]
    presence: bool | None = None
    is_open: bool = False
    why_not_sending: str = ""

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield str(self.relation)
        yield f"  wanted: {self.wanted}"
        if self.why_not_sending:
            yield f"  but:    {self.why_not_sending}"
        yield from (f"  known:  {fact}" for fact in self.known)
        if not self.jobs:
            yield "  no job named it, or none that is still kept"
        for job in self.jobs:
            yield f"  {job.text}"
            yield from (f"      {line}" for line in job.request_lines)

    def to_json(self) -> Any:
        """Return the same as plain data; `wanted.presence` is null where only info or nothing is wanted."""
        return {
            "relation": {
                "relationtype": self.relation.type,
                "parentid": self.relation.parent,
                "childid": self.relation.child,
            },
            "wanted": {
                "open": self.is_open,
                "presence": self.presence,
                "text": str(self.wanted),
                "but": str(self.why_not_sending) or None,
            },
            "known": list(map(str, self.known)),
            "jobs": [
                {
                    "id": job.job,
                    "state": job.state,
                    "text": str(job.text),
                    **job.facts,
                    "requests": [{**request, "text": str(request["text"])} for request in job.requests],
                }
                for job in self.jobs
            ],
        }
