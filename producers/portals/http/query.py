"""Queries as types, from which they are read, checked and described.

A fault quotes the description of its parameter, so that the description is what is checked.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from worker.contract import (
    ACCOUNT_NAME,
    RelationType,
    ResolvedType,
    check_account_name,
    explain_account_name,
    read_instant,
    read_optional_instant,
    read_reference,
    resolve,
)
from worker.contract.instant import PATTERN
from worker.contract.message import ACCOUNT, CONTROLS, MAX_EVENT_ID, MAX_ID, MAX_LABEL
from worker.contract.quoting import suggest
from worker.contract.values import read_whole
from worker.errors import Fault, Invalid, NotFound
from worker.ports.records import ERROR_CLASSES, FILTER_TIMES, JobFilter, JobState

MAX_PAGE: Final = 500  # entries of one page
ANY_TYPE: Final = ResolvedType(RelationType("", "", "", ""))


def read_error(text: str) -> str:
    """Return the code or the class of an error; raise ValueError for what is no class."""
    if re.fullmatch("-?[0-9]+", text) or text in ERROR_CLASSES:
        return text
    hint = suggest(text, ERROR_CLASSES)
    raise ValueError(f"expected a code, or one of {', '.join(ERROR_CLASSES)}{hint}")


PARSERS: Final[Mapping[str, Callable[[str], object]]] = {  # of texts that a pattern alone cannot check
    "relationtype": resolve,
    **dict.fromkeys(FILTER_TIMES, read_instant),
    "error": read_error,
    "reference": read_reference,
}

AccountName = Annotated[  # which `explain_account_name` checks, so that its text is the same everywhere
    str,
    Meta(description=ACCOUNT_NAME, examples=["acme"], extra_json_schema={"pattern": f"^{ACCOUNT}$"}),
]
RecordId = Annotated[int, Meta(ge=1, le=MAX_ID, description="the id of a record, a positive whole number")]


def _printable(most: int) -> Meta:
    return Meta(max_length=most, pattern=f"^[^{CONTROLS}]+$", description=f"1 to {most} printable characters")


Label = Annotated[str, _printable(MAX_LABEL)]
EventId = Annotated[str, _printable(MAX_EVENT_ID)]
Timestamp = Annotated[
    str,
    Meta(
        pattern=f"^{PATTERN}$",
        description="a date and time with offset (RFC 3339) between 1970 and 2255, `+` written as %2B",
    ),
]
State = Annotated[
    JobState,
    Meta(description=f"one of {', '.join(get_args(JobState))}; failed only while they wait for a decision"),
]
ErrorName = Annotated[
    str, Meta(pattern="^(-?[0-9]{1,9}|[a-z][a-z_]{0,31})$", description="the code or the class of an error")
]
TypeName = Annotated[
    str, Meta(min_length=1, max_length=200, description="a relation type, by its short name or URN")
]
ReferenceShort = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=400,
        description="a record as a change names it, such as address:email=x@example.test",
    ),
]
Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE, description=f"a whole number from 1 to {MAX_PAGE}")]
PLACE: Final = r"[0-9]{1,15}(\.[0-9]{1,10})?"  # where a page of jobs begins
Cursor = Annotated[str, Meta(pattern=f"^({PLACE})?$", description="the `next` of a page")]


class AccountQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The account that is asked about."""

    account: AccountName

    def __post_init__(self) -> None:
        check_account_name(self.account)


class JobQuery(AccountQuery, frozen=True, kw_only=True):
    """Jobs of an account that fit everything given, accepted at `since` or later and before `until`.

    Those that failed at `failed_since` or later and before `failed_until` are of the state `failed`.
    """

    state: State | UnsetType = UNSET
    relationtype: TypeName | UnsetType = UNSET
    parentid: RecordId | UnsetType = UNSET
    childid: RecordId | UnsetType = UNSET
    error: ErrorName | UnsetType = UNSET
    source: Label | UnsetType = UNSET
    batch: Label | UnsetType = UNSET
    event_id: EventId | UnsetType = UNSET
    reference: ReferenceShort | UnsetType = UNSET
    since: Timestamp | UnsetType = UNSET
    until: Timestamp | UnsetType = UNSET
    failed_since: Timestamp | UnsetType = UNSET
    failed_until: Timestamp | UnsetType = UNSET

    def filter(self) -> JobFilter:
        """Return the filter for the store; the ids of a mirrored type change places, as they do in a change.

        Raises Invalid.
        """
        given = {name: text for name in PARSERS if (text := getattr(self, name))}
        if faults := [fault for name, text in given.items() for fault in parse_faults(name, text)]:
            raise Invalid(faults)
        by_failure = bool(self.failed_since or self.failed_until)
        if by_failure and self.state and self.state != "failed":
            raise Invalid([Fault("state", "expected failed, or none, with failed_since and failed_until")])
        type_, swapped, _ = resolve(self.relationtype) if self.relationtype else ANY_TYPE
        parent, child = (self.childid, self.parentid) if swapped else (self.parentid, self.childid)
        return JobFilter(
            state="failed" if by_failure else self.state or "",
            type=type_.name,
            parent=parent or 0,
            child=child or 0,
            error=self.error or "",
            source=self.source or "",
            batch=self.batch or "",
            event_id=self.event_id or "",
            reference=read_reference(self.reference) if self.reference else None,
            **{name: read_optional_instant(getattr(self, name) or None) for name in FILTER_TIMES},
        )


class JobPageQuery(JobQuery, frozen=True, kw_only=True):
    """One page of the jobs that fit."""

    limit: Limit = 50
    cursor: Cursor = ""


class JobLookupForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs by their ids, of the accounts of the key."""

    jobs: Annotated[list[str], Meta(min_length=1, max_length=MAX_PAGE, description="Ids of jobs.")]


Query = TypeVar("Query", bound=msgspec.Struct)


def read_query(parameters: Iterable[tuple[str, str]], query_type: type[Query]) -> Query:
    """Return the query as a value of this type; raise Invalid with every fault.

    Unknown and repeated parameters are faults too: an unknown filter must not look like an empty one.
    """
    fields = {field.name: field for field in msgspec.structs.fields(query_type)}
    texts, values, faults = dict[str, str](), dict[str, Any](), list[Fault]()
    for name, text in parameters:
        if name not in fields:
            faults.append(Fault(name, f"is unknown; there are {', '.join(fields)}"))
        elif name in texts:
            faults.append(Fault(name, "is given twice"))
        else:
            texts[name] = text
    for name, field in fields.items():
        if name not in texts:
            faults += [Fault(name, "is required")] if field.required else []
            continue
        try:
            values[name] = _convert(texts[name], field.type)
        except ValueError as error:
            faults.append(Fault(name, str(error)))
        else:
            faults += parse_faults(name, texts[name])
    if faults:
        raise Invalid(faults)
    return query_type(**values)


def parse_faults(name: str, text: str) -> list[Fault]:
    """Return what is wrong with a parameter that its type alone does not check."""
    if name == "account":
        return [Fault(name, reason)] if (reason := explain_account_name(text)) else []
    try:
        if parse := PARSERS.get(name):
            parse(text)
    except (ValueError, NotFound) as error:
        return [Fault(name, str(error))]
    return []


def _convert(text: str, value_type: Any) -> Any:
    try:
        value = msgspec.convert(text, value_type, strict=False)
        # A `$` in a pattern overlooks a last line end; and a number is written as everywhere else.
        if not (text.endswith("\n") or (type(value) is int and read_whole(text) is None)):
            return value
    except msgspec.ValidationError:
        pass
    raise ValueError(f"expected {msgspec.json.schema(value_type)['description']}")
