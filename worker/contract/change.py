"""A change, canonical and checked, the relations it is about, and whether an account may make it.

Changes from outside are made by `parsing` only.
"""

import re
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from worker.contract.instant import write_instant
from worker.contract.message import SOURCE, MessageDict, RecordDict
from worker.contract.reference import Reference
from worker.contract.types import (
    NO_OVERRIDE,
    NO_OVERRIDES,
    TYPES,
    ChangeAction,
    GuardedSide,
    Override,
    RelationType,
    Verb,
    guarded_side,
    permission_of,
)
from worker.errors import Fault, InvalidChange

CORRELATION = re.compile(r"[A-Za-z0-9._:/+=@-]{1,60}")  # short enough for a compact hash, safe in any header
# Version, trace, span, flags; `ff` is no version, and neither id is all zeros.
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Info = tuple[tuple[str, str], ...]


class Relation(NamedTuple):
    """One relation, the unit of every decision; `type` is a short name such as `estate:address:buyer`."""

    type: str
    parent: int
    child: int

    def __str__(self) -> str:
        # One for each key of a flush: half the time of three names in an f-string.
        return "%s:%d:%d" % self  # noqa: UP031

    @classmethod
    def parse(cls, text: str) -> "Relation":
        """Return the relation that `str()` wrote."""
        name, parent, child = text.rsplit(":", 2)
        return cls(name, int(parent), int(child))


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One action on the 1:n relations of one type, under its canonical short name.

    Ids are in the message's order without repetition, and one side is a single id. `info` is sorted by key.
    `occurred_at` is in microseconds since the epoch, None until intake fills in the time of acceptance.
    `correlation` is the id of the call that brought the change, by which it is followed through the logs;
    it is no part of the message. A delete with `allow_empty` may take the last relation of a record that is
    otherwise to keep one (R12). One that was `delivered` is made of a webhook: its event id is in a space of
    its own, and stands for whatever is delivered under it. Records that are named by references are not among
    parents and children before they were looked up. A replace says which side it `replaces`: the one record
    of the other side is to have exactly those of this one. `replays` is the failed job in whose place it is
    sent, no part of the message either.
    """

    account: str
    action: ChangeAction
    type: str
    parents: tuple[int, ...]
    children: tuple[int, ...]
    info: Info = ()
    occurred_at: int | None = None
    event_id: str | None = None
    source: str = SOURCE
    batch: str = ""
    allow_empty: bool = False
    correlation: str = ""
    delivered: bool = False
    parent_references: tuple[Reference, ...] = ()
    child_references: tuple[Reference, ...] = ()
    replaces: GuardedSide = ""
    replays: str = ""

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The relations this change is about, in the order of its ids; without those of references."""
        return tuple(Relation(self.type, parent, child) for parent in self.parents for child in self.children)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The references of both sides."""
        return (*self.parent_references, *self.child_references)

    @property
    def asks(self) -> Verb:
        """What it asks of its relations: a replace creates first, and deletes what else a read shows."""
        return "create" if self.action == "replace" else self.action

    @property
    def fingerprint(self) -> str:
        """12 characters that are equal for equal content: its source, event id and label do not count."""
        digest = blake2b(msgspec.json.encode(_content(self)), digest_size=9).digest()
        return b2a_base64(digest, newline=False).decode().replace("+", "-").replace("/", "_")


def correlation_of(*candidates: object) -> str:
    """Return the first of a call's ids that is fit to be stored and logged; "" if none is."""
    return next((text for text in candidates if isinstance(text, str) and CORRELATION.fullmatch(text)), "")


def traceparent_of(text: object) -> str:
    """Return a header `traceparent` (W3C Trace Context) as it is, "" if it is none that names a span."""
    return text if isinstance(text, str) and TRACEPARENT.fullmatch(text) else ""


def _content(change: Change) -> dict[str, object]:
    # Defaults are left out, so that a field added later does not change the fingerprints of older messages.
    content: dict[str, object] = {
        "account": change.account,
        "action": change.action,
        "type": change.type,
        "parents": sorted(change.parents),
        "children": sorted(change.children),
    }
    if change.info:
        content["info"] = change.info
    if change.occurred_at is not None:
        content["occurred_at"] = change.occurred_at
    if change.allow_empty:
        content["allow_empty"] = True
    if change.parent_references or change.child_references:
        content["references"] = (sorted(change.parent_references), sorted(change.child_references))
    if change.replaces:
        content["replaces"] = change.replaces
    return content


def to_message(change: Change) -> MessageDict:
    """Return the public JSON form, defaults left out; parsing it gives an equal change."""
    message: MessageDict = {
        "account": change.account,
        "action": change.action,
        "relationtype": change.type,
        "parentid": _one_or_many(
            change.parents, change.parent_references, listed=change.replaces == "parent"
        ),
        "childid": _one_or_many(change.children, change.child_references, listed=change.replaces == "child"),
    }
    if change.info:
        message["relationinfo"] = dict(change.info)
    if change.occurred_at is not None:
        message["occurred_at"] = write_instant(change.occurred_at)
    if change.event_id is not None:
        message["event_id"] = change.event_id
    if change.source != SOURCE:
        message["source"] = change.source
    if change.batch:
        message["batch"] = change.batch
    if change.allow_empty:
        message["allow_empty"] = True
    return message


def _one_or_many(
    ids: tuple[int, ...], references: tuple[Reference, ...], *, listed: bool
) -> RecordDict | Sequence[RecordDict]:
    records: list[RecordDict] = [*ids, *(reference.as_object() for reference in references)]
    return records[0] if len(records) == 1 and not listed else records


# --- whether it may be made: the documentation decides, unless overridden


def removes_first(change: Change, overrides: Mapping[str, Override] = NO_OVERRIDES) -> bool:
    """Return whether a replace has to remove before it creates: of a child that has one parent at most."""
    if change.replaces != "parent":
        return False
    return _has_one_parent(change, overrides)


def _has_one_parent(change: Change, overrides: Mapping[str, Override]) -> bool:
    return guarded_side(TYPES[change.type], overrides.get(change.type, NO_OVERRIDE)) == "child"


def check(change: Change, overrides: Mapping[str, Override] = NO_OVERRIDES) -> list[str]:
    """Return warnings about a change that may be tried; raise `InvalidChange` if it may not.

    `overrides` are by short type name.
    """
    if change.action != "replace":
        return _check(change, change.action, overrides)
    if change.replaces == "parent" and len(change.parents) > 1 and _has_one_parent(change, overrides):
        child = f"{TYPES[change.type].child} {change.children[0]}" if change.children else "a record"
        reason = f"{child} can have one parent at most by {change.type}, and would have {len(change.parents)}"
        raise InvalidChange([Fault("parentid", f"{reason}; name the one that is right")])
    return [*_check(change, "create", overrides), *_check(change, "delete", overrides)]


def _check(change: Change, verb: Verb, overrides: Mapping[str, Override]) -> list[str]:
    relation_type = TYPES[change.type]
    permission = permission_of(relation_type, verb, overrides.get(change.type, NO_OVERRIDE))
    if permission == "deny":
        raise InvalidChange([Fault("action", _denial(relation_type, verb))])
    if permission == "warn":
        return [f"{verb} is not documented for {change.type}; the CRM may reject it"]
    return []


def _denial(relation_type: RelationType, verb: Verb) -> str:
    name = relation_type.name
    reason = "is read only" if relation_type.read_only else f"is not open to {verb}"
    return f'{name} {reason}; an operator can allow it with {verb} = "allow" under [types."{name}"]'
