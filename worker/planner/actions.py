"""The values between fold, plan and the API: operations in, actions, searches and requests out, results back.

Frozen and comparable; nothing here does I/O, reads a clock or knows Redis, Celery or HTTP.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Final, Literal, NamedTuple

import msgspec

from worker.contract import GuardedSide, Info, Module, Relation

MAX_VALUES: Final = 500  # of one search, and records of one answer: the API's `listlimit`
Kind = Literal["create", "modify", "delete", "get"]


class Operation(msgspec.Struct, frozen=True, gc=False):
    """One thing to do to one relation next.

    `part` names the piece of a split star it belongs to, if any: operations of different parts never share an
    action. A read asks for the records on the side `ask`, "": on that with fewer of them.
    """

    kind: Kind
    relation: Relation
    info: Info = ()
    part: str = ""
    ask: GuardedSide = ""


class Action(msgspec.Struct, frozen=True, gc=False):
    """One action of the API: a star, so at least one of the two sides is a single id.

    For `get` exactly one side is filled, with the ids to read; `asked` are the relations the answer is wanted
    for.
    """

    kind: Kind
    type: str
    parents: tuple[int, ...]
    children: tuple[int, ...]
    info: Info = ()
    part: str = ""
    asked: tuple[Relation, ...] = ()

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The relations that the action is about, in the order of its ids."""
        return self.asked or tuple(
            [Relation(self.type, parent, child) for parent in self.parents for child in self.children]
        )

    @property
    def size(self) -> int:
        """The number of those relations."""
        return len(self.asked) or len(self.parents) * len(self.children)

    @property
    def split_from(self) -> Relation | None:
        """The relation that its part is named after: the first one of the star that was split."""
        return Relation.parse(self.part.partition("/")[0]) if self.part else None


class Search(msgspec.Struct, frozen=True, gc=False):
    """One action of the API: which records of a module have one of these values in a field.

    `data` are the fields to answer with, that field among them; `offset` is how many records to skip.
    """

    module: Module
    field: str
    values: tuple[str, ...]
    data: tuple[str, ...]
    offset: int = 0

    @property
    def kind(self) -> Literal["read"]:
        """The kind of the action."""
        return "read"

    @property
    def size(self) -> int:
        """The number of relations that the action is about: none."""
        return 0


class FoundRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that a search found: its id, and the values of the fields that were asked for, as texts.

    A field has several values where the record has several entries (e-mails, phones), none where it is empty.
    """

    id: int
    values: Mapping[str, tuple[str, ...]]


class Request(msgspec.Struct, frozen=True, dict=True):
    """Actions that travel together under one token; none of them conflicts with another (R11)."""

    actions: tuple[Action, ...]

    @cached_property
    def relations_by_action(self) -> tuple[tuple[Relation, ...], ...]:
        """The relations that each action is about."""
        return tuple([action.relations for action in self.actions])

    def relations(self) -> Iterator[Relation]:
        """Yield every relation of every action."""
        return chain.from_iterable(self.relations_by_action)

    @property
    def deletes(self) -> int:
        """The number of relations that it would delete."""
        return sum(action.size for action in self.actions if action.kind == "delete")


class ErrorClass(StrEnum):
    """What an API error code means to us; the table of codes is `worker.onoffice.codes`."""

    CREDENTIALS = "credentials"
    CLOCK = "clock"
    AMBIGUOUS = "ambiguous"  # a write that may be refused because it is already so: read back, then decide
    RECORD = "record"  # no such record, or no right to see it
    SHAPE = "shape"  # bad type or bad parameters
    STAR = "star"  # 219 and 302: the planner made an action the API does not take
    ABSENT = "absent"  # 180: modify of a relation that does not exist
    RIGHTS = "rights"
    SYNC = "sync"
    TRANSIENT = "transient"
    OTHER = "other"  # permanent, kept with code and text


class Verdict(StrEnum):
    """What is known about one action after its request."""

    OK = "ok"
    REJECTED = "rejected"  # a definite answer with an error code
    UNKNOWN = "unknown"  # it may have been executed: no answer, an unreadable one, or a transient code
    NOT_SENT = "not_sent"  # it never left: the connection did not stand


class ActionResult(msgspec.Struct, frozen=True, gc=False):
    """The answer to one action, or that there was none.

    `related` is filled for a `get` that is ok: id asked about → related ids; ids without relations may be
    missing, and `unreadable` ones are. `found` and `total` are of a search: the records of this answer, and
    how many there are in all.
    """

    verdict: Verdict
    code: int = 0
    error: ErrorClass = ErrorClass.OTHER
    message: str = ""
    related: Mapping[int, frozenset[int]] = {}
    unreadable: frozenset[int] = frozenset()
    found: tuple[FoundRecord, ...] = ()
    total: int = 0


_error_of = attrgetter("error")


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What came of one request: one result per action, in their order, and what it shows about the account.

    `status` is the HTTP status, 0 without an answer. `retry_after` is in seconds (429, 503); `skew` is the
    API's clock minus the one the request was signed with, from the `Date` header. Both are None if the answer
    did not have them. `signed_again` is whether the answer before was a refusal of its timestamp.
    """

    results: tuple[ActionResult, ...]
    status: int = 0
    seconds: float = 0.0
    retry_after: float | None = None
    skew: float | None = None
    message: str = ""
    signed_again: bool = False

    @property
    def errors(self) -> set[ErrorClass]:
        """The classes of its results' errors."""
        return set(map(_error_of, self.results))

    @property
    def is_answered(self) -> bool:
        """Whether the API gave a definite answer to any action."""
        return any(result.verdict in (Verdict.OK, Verdict.REJECTED) for result in self.results)


class Answer(NamedTuple):
    """What a look-up says of a reference: the one record that it names, or 0 and the `candidates`.

    Candidates are several that are as asked, or some that are nearly so. `refusal` is why the API did not
    look: code, error class and text.
    """

    record: int = 0
    candidates: tuple[int, ...] = ()
    is_ambiguous: bool = False
    refusal: tuple[int, str, str] | None = None
