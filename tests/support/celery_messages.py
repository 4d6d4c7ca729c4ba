"""Messages for Celery: a good change, and what Celery itself would write into its log and drop."""

from typing import Any, Final

GOOD: Final[dict[str, Any]] = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 501,
    "childid": 9001,
}
BODY: Final = b'[["personal"],{},{}]'
NAMED: Final[dict[str, Any]] = {"task": "relations.accept", "id": "one", "lang": "py"}
REFUSED: Final[tuple[tuple[dict[str, Any], bytes], ...]] = (
    ({**NAMED, "id": "two", "compression": "application/zstd"}, BODY),
    ({**NAMED, "id": "three", "compression": "application/x-gzip"}, BODY),
    ({**NAMED, "id": "four", "task": "another"}, BODY),
    ({**NAMED, "id": "five"}, b'{"x": "personal"}'),
    ({**NAMED, "id": "nine"}, b'[["personal"], {}, 7]'),
    ({**NAMED, "id": "ten"}, b'[["personal"], {}, {"id": 5}]'),
    ({**NAMED, "id": 6}, BODY),
    ({**NAMED, "id": "seven", "argsrepr": "personal", "eta": "0001-01-01T00:00:00+05:00"}, BODY),
    ({}, b'{"task": "another", "x": "personal"}'),
    ({}, b'{"task": ["another"], "x": "personal"}'),
    ({}, b'{"task": "relations.accept", "args": 7, "x": "personal"}'),
)
"""Headers and bodies; what is personal stands in no log."""
