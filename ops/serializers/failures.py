"""What failed and waits for a decision: by error and type, and by the record that most refusals name."""

from collections.abc import Iterable, Sequence
from typing import Final, TypedDict

from ops.serializers import write_document
from producers.job_admin.suspects import RecordFailures
from worker.contract import write_instant
from worker.onoffice.codes import advise, describe
from worker.ports.records import FailureGroup

MAX_SUSPECTS: Final = 100  # records that are listed

FailureGroupDict = TypedDict(
    "FailureGroupDict",
    {
        "account": str,
        "code": int,
        "class": str,
        "message": str,
        "relationtype": str | None,
        "jobs": int,
        "first": str,
        "last": str,
        "example": str,
        "todo": str,
    },
)
"""The failed jobs of one error and relation type that wait for a decision.

Not a class statement, because `class` is a keyword of Python.
"""


RecordFailuresDict = TypedDict(
    "RecordFailuresDict",
    {
        "account": str,
        "module": str,
        "id": int,
        "code": int,
        "class": str,
        "message": str,
        "relations": int,
        "jobs": int,
        "first": str,
        "last": str,
        "example": str,
    },
)
"""The failed relations of a record that is most likely the reason, with their most frequent error."""


class FailuresDict(TypedDict):
    """What failed and waits for a decision: by error and type, and by the record that most refusals name."""

    errors: list[FailureGroupDict]
    records: list[RecordFailuresDict]


def serialize_failures(
    account: str, groups: Iterable[FailureGroup], suspects: Sequence[RecordFailures]
) -> FailuresDict:
    """Return an account's failures as JSON, with the first `MAX_SUSPECTS` of its suspect records."""
    return {
        "errors": [_serialize_group(account, group) for group in groups],
        "records": [_serialize_suspect(account, suspect) for suspect in suspects[:MAX_SUSPECTS]],
    }


def _serialize_group(account: str, failure: FailureGroup) -> FailureGroupDict:
    named = {"relationtype": failure.type or None, "todo": advise(failure.code, failure.error)}
    return write_document(FailureGroupDict, failure, **named, **_facts_of(account, failure))


def _serialize_suspect(account: str, suspect: RecordFailures) -> RecordFailuresDict:
    return write_document(RecordFailuresDict, suspect, id=suspect.record, **_facts_of(account, suspect))


def _facts_of(account: str, failure: FailureGroup | RecordFailures) -> dict[str, str]:
    return {
        "account": account,
        "class": failure.error,
        "message": describe_failure(failure),
        "first": write_instant(failure.first),
        "last": write_instant(failure.last),
    }


def describe_failure(failure: FailureGroup | RecordFailures) -> str:
    """Return what the failure's code means, or without a code its class."""
    return describe(failure.code) if failure.code else failure.error
