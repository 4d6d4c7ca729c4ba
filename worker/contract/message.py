"""The message of a producer as it travels: its fields and bounds, and the decoder's view of it.

The bounds are stated once, here; the decoder, the JSON Schema and the fault texts use them. What an account
may be called holds in settings, requests and commands too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, Required, TypedDict

import msgspec
from msgspec import Meta

from worker.contract.quoting import quote
from worker.contract.types import ChangeAction
from worker.errors import Fault, Invalid

MAX_MESSAGE = 2**20  # bytes of one change
MAX_BODY = 2**24  # bytes of many
MAX_IDS = 500
MAX_ID = 2**53 - 1  # the greatest integer that JavaScript and Lua keep exactly
MAX_EVENT_ID, MAX_LABEL = 200, 64
ACCOUNT = "[a-z0-9][a-z0-9_-]{0,31}"
CONTROLS = "\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029"
PRINTABLE = f"[^{CONTROLS}\\ud800-\\udfff]+"  # lone surrogates come from json.loads, and no store takes them
UNROUTED = "unrouted"  # the account of messages that name no known one; no other may have this name
SOURCE = "api"  # of a change that names none

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
ReferenceObject = dict[str, dict[str, str | int]]
# Which text is a reference is decided in `parsing`: of a union of a bounded integer with a text that has a
# pattern, msgspec 0.22 frees memory that is not its own when the process ends.
Record = Id | str | ReferenceObject
Records = Record | Annotated[tuple[Record, ...], Meta(max_length=MAX_IDS)]
EventId = Annotated[str, Meta(max_length=MAX_EVENT_ID, pattern=rf"\A{PRINTABLE}\Z")]
Label = Annotated[str, Meta(max_length=MAX_LABEL, pattern=rf"\A{PRINTABLE}\Z")]


class Message(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A well-formed message; whether its fields go together is decided in `parsing`."""

    account: Annotated[str, Meta(pattern=rf"\A{ACCOUNT}\Z")]
    action: ChangeAction
    relationtype: str
    parentid: Records
    childid: Records
    relationinfo: dict[str, str] | None = None
    occurred_at: str | None = None
    event_id: EventId | None = None
    source: Label | None = None
    batch: Label | None = None
    allow_empty: bool | None = None
    version: Literal[1] | None = None


RecordDict = int | str | Mapping[str, Mapping[str, str | int]]
"""A record: by its id, or by a reference that is looked up, in its short form or as an object."""


class Options(TypedDict, total=False):
    """The optional fields of a change; a client may add the account."""

    account: str
    relationinfo: Mapping[str, str]
    occurred_at: str
    event_id: str
    source: str
    batch: str
    allow_empty: bool


class MessageDict(Options, total=False):
    """The public JSON form, as a type for Python producers."""

    action: Required[ChangeAction]
    relationtype: Required[str]
    parentid: Required[RecordDict | Sequence[RecordDict]]
    childid: Required[RecordDict | Sequence[RecordDict]]
    version: int


ACCOUNT_NAME: Final = "an account name (1 to 32 of a-z 0-9 _ -, a letter or digit first)"
_is_good = re.compile(ACCOUNT).fullmatch


def explain_account_name(name: object) -> str:
    """Return why this cannot be the name of an account; "" if it can."""
    if isinstance(name, str) and _is_good(name):
        return ""
    return f"expected {ACCOUNT_NAME}, got {quote(name)}"


def check_account_name(name: object) -> None:
    """Raise Invalid, with the fault at `account`, unless this can be the name of an account."""
    if reason := explain_account_name(name):
        raise Invalid([Fault("account", reason)])


def account_of(id_: str) -> str:
    """Return the account that the id of a job, a replay or a message begins with (R5); "" for no such id."""
    return id_.rpartition("-")[0]
