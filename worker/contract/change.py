"""The change: what one message asks for, canonical and checked; made by `parse` and its kin, never by hand from outside."""

import re
from base64 import urlsafe_b64encode
from hashlib import blake2b

import msgspec

from worker.contract.instant import write_instant
from worker.contract.message import SOURCE, MessageDict
from worker.contract.relation import Relation
from worker.contract.types import Verb

CORRELATION = re.compile(
    r"[A-Za-z0-9._:/+=@-]{1,60}"
)  # short enough for a compact hash, and safe in any line or header

Info = tuple[tuple[str, str], ...]


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One action on the 1:n relations of one type, under its canonical short name.

    Ids are in the message's order without repetition, and one side is a single id. `info` is sorted by key;
    `occurred_at` are microseconds since the epoch, None until intake fills in the moment of acceptance. `correlation` is what the
    call that brought it goes by: no part of the message, and kept for whoever follows it through the logs.
    """

    account: str
    action: Verb
    type: str
    parents: tuple[int, ...]
    children: tuple[int, ...]
    info: Info = ()
    occurred_at: int | None = None
    event_id: str | None = None
    source: str = SOURCE
    batch: str = ""
    correlation: str = ""

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The relations this change is about, in the order of its ids."""
        return tuple(Relation(self.type, parent, child) for parent in self.parents for child in self.children)

    @property
    def fingerprint(self) -> str:
        """12 characters that are equal for equal content: who sent it, under which key and label, does not count."""
        digest = blake2b(msgspec.json.encode(_content(self)), digest_size=9).digest()
        return urlsafe_b64encode(digest).decode()


def correlation_of(*given: object) -> str:
    """The first of these names of a call that is fit to be kept and logged; empty if none is."""
    return next((name for name in given if isinstance(name, str) and CORRELATION.fullmatch(name)), "")


def _content(change: Change) -> dict[str, object]:
    # Defaults are left out, so that a field added later leaves the fingerprints of older messages as they are.
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
    return content


def to_message(change: Change) -> MessageDict:
    """The public JSON form, defaults left out; parsing it gives an equal change."""
    message: MessageDict = {
        "account": change.account,
        "action": change.action,
        "relationtype": change.type,
        "parentid": _one_or_many(change.parents),
        "childid": _one_or_many(change.children),
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
    return message


def _one_or_many(ids: tuple[int, ...]) -> int | list[int]:
    return ids[0] if len(ids) == 1 else list(ids)
