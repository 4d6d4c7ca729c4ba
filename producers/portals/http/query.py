"""What a query asks for: its parameters as one type, from which they are read, checked and described.

The faults are the descriptions, so that what is said of a parameter is what is checked.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from worker.contract import RelationType, ResolvedType, read_instant, resolve
from worker.contract.instant import PATTERN
from worker.contract.message import ACCOUNT, CONTROLS, MAX_ID, MAX_LABEL
from worker.errors import Fault, Invalid, NotFound
from worker.ports import JobFilter, JobState

MOST: Final = 500  # jobs of one page
NO_TYPE: Final = RelationType("", "", "", "")
CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "relationtype": resolve,
    "since": read_instant,
    "until": read_instant,
}

Account = Annotated[str, Meta(pattern=f"^{ACCOUNT}$", description="the name of an account")]
Id = Annotated[int, Meta(ge=1, le=MAX_ID, description="the id of a record, a positive whole number")]
Label = Annotated[
    str,
    Meta(
        max_length=MAX_LABEL,
        pattern=f"^[^{CONTROLS}]+$",
        description=f"1 to {MAX_LABEL} printable characters",
    ),
]
Moment = Annotated[
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
Error = Annotated[
    str, Meta(pattern="^(-?[0-9]{1,9}|[a-z][a-z_]{0,31})$", description="the code or the class of an error")
]
Type = Annotated[
    str, Meta(min_length=1, max_length=200, description="a relation type, by its short name or URN")
]
Limit = Annotated[int, Meta(ge=1, le=MOST, description=f"a whole number from 1 to {MOST}")]
Cursor = Annotated[str, Meta(pattern="^[0-9]{0,15}$", description="the `next` of a page")]


class OneAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Whose."""

    account: Account


class Jobs(OneAccount, frozen=True, kw_only=True):
    """Which jobs of an account: all that is given must fit. `since` and `until` are about their acceptance, `until` itself excluded."""

    state: State | UnsetType = UNSET
    relationtype: Type | UnsetType = UNSET
    parentid: Id | UnsetType = UNSET
    childid: Id | UnsetType = UNSET
    error: Error | UnsetType = UNSET
    source: Label | UnsetType = UNSET
    batch: Label | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET

    def filter(self) -> JobFilter:
        """As the store is asked; raises Invalid. The ids of a mirrored type change places, as they do in a change."""
        if faults := [
            fault for name in CHECKS if (given := getattr(self, name)) for fault in _unfit(name, given)
        ]:
            raise Invalid(faults)
        type_, swapped, _ = resolve(self.relationtype) if self.relationtype else ResolvedType(NO_TYPE)
        parent, child = (self.childid, self.parentid) if swapped else (self.parentid, self.childid)
        return JobFilter(
            state=self.state or "",
            type=type_.name,
            parent=parent or 0,
            child=child or 0,
            error=self.error or "",
            source=self.source or "",
            batch=self.batch or "",
            since=read_instant(self.since) if self.since else 0,
            until=read_instant(self.until) if self.until else 0,
        )


class Listing(Jobs, frozen=True, kw_only=True):
    """Which page of which jobs."""

    limit: Limit = 50
    cursor: Cursor = ""


Asked = TypeVar("Asked", bound=OneAccount)


def read(query: Iterable[tuple[str, str]], kind: type[Asked]) -> Asked:
    """The query as a value of this kind; raises Invalid with every fault: an unknown filter must not look like an empty one."""
    given, faults = dict[str, Any](), list[Fault]()
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    for name, text in query:
        if name not in known:
            faults.append(Fault(name, f"is unknown; there are {', '.join(known)}"))
        elif name in given:
            faults.append(Fault(name, "is given twice"))
        else:
            given[name] = text
    faults += [
        Fault(name, "is required") for name, field in known.items() if field.required and name not in given
    ]
    for name, field in known.items():
        try:
            given |= {name: _value(given[name], field.type)} if name in given else {}
        except ValueError as error:
            faults.append(Fault(name, str(error)))
        else:
            faults += _unfit(name, given[name]) if name in CHECKS and name in given else []
    if faults:
        raise Invalid(faults)
    return kind(**given)


def _unfit(name: str, text: str) -> list[Fault]:
    try:
        CHECKS[name](text)
    except (ValueError, NotFound) as error:
        return [Fault(name, str(error))]
    return []


def _value(text: str, kind: Any) -> Any:
    try:
        value = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        raise ValueError(f"expected {_description(kind)}") from None
    if text.endswith("\n"):  # which `$` in a pattern overlooks
        raise ValueError(f"expected {_description(kind)}")
    return value


def _description(kind: Any) -> str:
    """What the type says of itself."""
    schema = msgspec.json.schema(kind)
    return str(schema["description"])
