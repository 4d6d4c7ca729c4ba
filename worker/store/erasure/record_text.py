"""Where a record's id stands in texts and messages: not in dates, not inside longer numbers. Pure.

Ids of our own values (relations, actions, changes) are compared as such. In what people and producers wrote,
a number is taken for the id where it stands by itself, also behind letters (`crm9701`), with zeros before it,
or with marks between its thousands. A body that cannot be parsed is rather erased too often than not.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from worker.contract import Relation
from worker.planner.relation_state import OpenRelation
from worker.ports.erasure import RecordRef

TIME: Final = r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?"
DATES: Final = re.compile(
    rf"(?<![0-9A-Za-z:.])(?:"
    rf"\d{{4}}-\d{{2}}-\d{{2}}(?:[Tt ]{TIME})?"
    rf"|\d{{4}}-W\d{{2}}(?:-\d)?"
    rf"|(?:19|20|21)\d{{2}}-(?:0[1-9]|1[0-2])"
    rf"|\d{{4}}/\d{{2}}/\d{{2}}"
    rf"|(?:0?[1-9]|[12]\d|3[01])\.(?:0?[1-9]|1[0-2])\.(?:\d{{4}}|\d{{2}})"
    rf"|\d{{1,2}}/\d{{1,2}}/\d{{4}}"
    rf"|{TIME}"
    rf")(?![0-9:])"
)
"""Dates and times as people and programs write them."""
MARKS: Final = ".,'’\u00a0\u202f"
NUMBER: Final = re.compile(rf"[A-Za-z0-9]+(?:(?<=\d)[{MARKS}](?=\d)[A-Za-z0-9]+)*")
GROUPED: Final = re.compile(rf"\d{{1,3}}([{MARKS}])\d{{3}}(?:\1\d{{3}})*")
OF_OUR_OWN: Final = re.compile(r"error -?\d+|and [\d,]+ more")  # in what the audit log says of a selection
QUOTED: Final = re.compile(r'"([^"]*)"|\'([^\']*)\'|got (\S+)')  # in a fault: what the sender wrote


class RecordText:
    """Finds one record's id."""

    def __init__(self, who: RecordRef) -> None:
        self.who, self._digits = who, str(who.number)
        self._alone = re.compile(rf"[A-Za-z]*0*{self._digits}")

    def is_in(self, text: str, *, is_body: bool = False) -> bool:
        """Return whether the id stands in a text; in a body, a comma also stands between two ids."""
        if self._digits[-3:] not in text:
            return False
        return any(self._is_id(found[0], is_body) for found in NUMBER.finditer(DATES.sub(" ", text)))

    def is_in_fault(self, text: str) -> bool:
        """Return whether the id stands in what a fault quotes."""
        return any(self.is_in("".join(filter(None, quoted))) for quoted in QUOTED.findall(text))

    def is_in_words(self, text: str) -> bool:
        """Return whether the id stands in what the audit log says of a selection, or a person noted."""
        return self.is_in(OF_OUR_OWN.sub(" ", text))

    def is_in_json(self, value: object) -> bool:
        """Return whether the id is a number, or stands in a text or a name, of a JSON value."""
        left = [value]
        while left:
            each = left.pop()
            if self._is_in_scalar(each):
                return True
            left += _parts_of(each)
        return False

    def _is_in_scalar(self, value: object) -> bool:
        if isinstance(value, str):
            return self.is_in(value)
        return isinstance(value, int | float) and not isinstance(value, bool) and value == self.who.number

    def is_in_body(self, body: bytes) -> bool:
        """Return whether the id stands in a message as it came: JSON, a form, or anything else."""
        text = body.decode("utf-8", "replace")
        try:
            return self.is_in_json(json.loads(text))
        except (ValueError, RecursionError):
            return any(self.is_in(each, is_body=True) for each in (text, unquote_plus(text)))

    def is_in_message(self, message: Mapping[str, Any]) -> bool:
        """Return whether a change, as a message, is about the record, or names it in a label."""
        kind = str(message.get("relationtype", ""))
        sides = {"p": message.get("parentid"), "c": message.get("childid")}
        is_about = any(
            self.who.is_on(side, kind, number) for side, ids in sides.items() for number in _as_list(ids)
        )
        return is_about or any(
            self.is_in(str(message.get(name) or "")) for name in ("event_id", "source", "batch")
        )

    def is_in_open(self, opened: OpenRelation) -> bool:
        """Return whether open work was split from a star with the record, or a text of it names it."""
        split_from = Relation.parse(opened.part.partition("/")[0]) if opened.part else None
        texts = [opened.refusal.message] if opened.refusal else []
        texts += [intent.correlation for intent in opened.intents]
        return bool(split_from and self.who.is_part_of(split_from)) or any(map(self.is_in, texts))

    def _is_id(self, found: str, is_body: bool) -> bool:
        if self._alone.fullmatch(found):
            return True
        if GROUPED.fullmatch(found) and re.sub(rf"[{MARKS}]", "", found) == self._digits:
            return True
        is_list = "," in found and (is_body or not GROUPED.fullmatch(found)) and "." not in found
        return is_list and any(map(self._alone.fullmatch, found.split(",")))


def _parts_of(value: object) -> Iterable[object]:
    """Return what stands directly in a JSON value, names included."""
    if isinstance(value, Mapping):
        return (*value.keys(), *value.values())
    return value if isinstance(value, list | tuple) else ()


def _as_list(ids: object) -> Iterable[int]:
    many = ids if isinstance(ids, list | tuple) else [ids]
    return [number for number in many if isinstance(number, int)]
