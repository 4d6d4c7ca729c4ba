"""What a check found: of what, how it is, and what to do about it. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from ops.serializers.system import FindingDict
from worker.usecases.health import Severity, Trouble

Level = Literal["ok", "warn", "fail"]
LEVELS: Final[Mapping[Severity, Level]] = {"page": "fail", "ticket": "warn"}


class Finding(NamedTuple):
    """The result of one check: what was checked, how it is, and what to do about it."""

    subject: str
    level: Level
    message: str
    advice: str = ""

    def to_json(self) -> FindingDict:
        """Return the finding as plain data."""
        return {"what": self.subject, "level": self.level, "text": self.message, "todo": self.advice}


def read_finding(document: FindingDict) -> Finding:
    """Return the finding of a document."""
    level: Any = document["level"]
    return Finding(document["what"], level, document["text"], document["todo"])


def report(subject: str, trouble: Trouble) -> Finding:
    """Return a trouble, which readiness and alerts tell too, as a finding."""
    return Finding(subject, LEVELS[trouble.severity], trouble.message, trouble.advice)


def verdict_of(findings: Iterable[Finding]) -> Level:
    """Return how all is: the worst of what was found."""
    levels = {finding.level for finding in findings}
    return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"


def report_troubles(troubles: Iterable[Trouble]) -> list[Finding]:
    """Return the troubles of a system as findings."""
    return [report(f"account {each.account}" if each.account else "system", each) for each in troubles]
