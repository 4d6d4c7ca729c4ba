"""One TOML table while it is read: keys are taken out with a check, faults are collected, and keys nobody took are named."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from worker.config.checks import NAME, Check, quoted
from worker.errors import Fault

T = TypeVar("T")


@dataclass(slots=True)
class Findings:
    """What the reader found: faults stop the start, warnings do not."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fault(self, path: str, message: str) -> None:
        """Note something that has to be changed."""
        self.faults.append(Fault(path, message))

    def warn(self, path: str, message: str) -> None:
        """Note something that should be looked at."""
        self.warnings.append(f"{path}: {message}")


def under(path: str, key: str) -> str:
    """The path of a key, quoted as TOML wants it."""
    key = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else quoted(key)
    return f"{path}.{key}" if path else key


class Table:
    """A table at a path; anything else there is a fault, and then an empty table."""

    def __init__(self, content: object, path: str, findings: Findings) -> None:
        self.path, self.findings = path, findings
        self.content: Mapping[str, Any] = content if isinstance(content, dict) else {}
        self._taken: list[str] = []
        if not isinstance(content, dict):
            findings.fault(path, f"expected a table, got {quoted(content)}")

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def take(self, key: str, check: Check[T]) -> T | None:
        """The checked value, or None if it is not there or at fault."""
        self._taken.append(key)
        if key not in self.content:
            return None
        value = check.accept(self.content[key])
        if value is None:
            self.fault(key, check.refusal(self.content[key]))
        return value

    def need(self, key: str, check: Check[T], missing: T) -> T:
        """The checked value; the fault of a missing one says what is expected."""
        if key not in self:
            self.fault(key, f"is missing; expected {check.expected}")
        value = self.take(key, check)
        return missing if value is None else value

    def taken(self, checks: Mapping[str, Check[Any]]) -> dict[str, Any]:
        """All of these keys that are there and good."""
        values = {key: self.take(key, check) for key, check in checks.items()}
        return {key: value for key, value in values.items() if value is not None}

    def table(self, key: str) -> "Table":
        """The table under a key, empty if there is none."""
        self._taken.append(key)
        return Table(self.content.get(key, {}), under(self.path, key), self.findings)

    def tables(self, key: str) -> Iterator[tuple[str, "Table"]]:
        """Each named table under a key."""
        group = self.table(key)
        for name in group.content:
            yield name, group.table(name)

    def rows(self, key: str) -> list["Table"]:
        """Each table of the list under a key."""
        self._taken.append(key)
        rows = self.content.get(key, [])
        if not isinstance(rows, list):
            self.fault(key, f"expected a list of tables, got {quoted(rows)}")
            return []
        return [
            Table(row, f"{under(self.path, key)}[{index}]", self.findings) for index, row in enumerate(rows)
        ]

    def named(self, name: str) -> str:
        """The name this table goes by, which also stands in keys, ids and URLs."""
        if not NAME.fullmatch(name):
            self.findings.fault(self.path, "expected a name of at most 40 letters, digits, - and _")
        return name

    def fault(self, key: str, message: str) -> None:
        """Note something wrong with a key."""
        self.findings.fault(under(self.path, key), message)

    def warn(self, key: str, message: str) -> None:
        """Note something doubtful about a key."""
        self.findings.warn(under(self.path, key), message)

    def done(self) -> None:
        """Name every key that nobody took, with the nearest one that is known."""
        for key in self.content:
            if key not in self._taken:
                match = get_close_matches(key, self._taken, n=1)
                self.fault(
                    key,
                    f'is unknown; did you mean "{match[0]}"?'
                    if match
                    else f"is unknown; known are {', '.join(self._taken)}",
                )
