"""Actions and searches into the body of a request, the body of an answer into results. Pure.

Sources: the documentation pages "Create Relations", "Modify Relations", "Delete Relations" and "Request
elements", for signatures also the vendor's PHP SDK; the answers' odd shapes (PHP's empty arrays, ids as
strings, identifiers missing) are from recorded answers. Whatever cannot be read is UNKNOWN.
"""

import base64
import hashlib
import hmac
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Literal

import msgspec

from worker.contract.catalogue import PREFIX as RELATION_PREFIX
from worker.onoffice import search
from worker.onoffice.codes import classify, describe
from worker.onoffice.php import as_items, as_number, as_object, as_text
from worker.onoffice.redact import clean
from worker.planner.actions import Action, ActionResult, ErrorClass, Search, Verdict


def signature(secret: str, *, timestamp: int, token: str, resourcetype: str, actionid: str) -> str:
    """Return the `hmac` of an action (HMAC v2), base64.

    It covers neither parameters nor identifier, so all actions of one kind share it for a second; it is good
    for ±120 s.
    """
    signed = f"{timestamp}{token}{resourcetype}{actionid}"
    return base64.b64encode(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)).decode()


ACTION_PREFIX = "urn:onoffice-de-ns:smart:2.5:smartml:action:"

ModifyAction = Literal["modify", "create"]
_CALLS = {  # what an action's kind, or a search's module, becomes: action and resource
    "create": ("create", "relation"),
    "modify": ("modify", "relation"),
    "delete": ("delete", "relation"),
    "get": ("get", "idsfromrelation"),
    "estate": ("read", "estate"),
    "address": ("read", "address"),
}
_WRITES = frozenset({"create", "modify", "delete"})
_kind_of = attrgetter("kind")
Clean = Callable[[str], str]
"""Makes a message fit for logs and pages."""

# Codes that refuse a whole request before any of its actions runs: broken JSON, a missing element, an unknown
# action. Not 3, 7 and 8: JSON that cannot be *written* has the same codes, and then the actions ran.
_REFUSING_CODES = frozenset({4, 5, 6, 9, *range(13, 22), 23, 24, 25, 247})
_OK = ActionResult(Verdict.OK)
_REFUSING_CLASSES = frozenset({ErrorClass.CREDENTIALS, ErrorClass.CLOCK})


class _Status(msgspec.Struct, gc=False):
    errorcode: int


class _Row(msgspec.Struct, gc=False):
    identifier: str
    status: _Status


class _Results(msgspec.Struct):
    results: list[_Row]


class _PlainAnswer(msgspec.Struct):
    """An answer without any of PHP's habits, as far as it says whether writes are done."""

    response: _Results


_decode_plain = msgspec.json.Decoder(_PlainAnswer).decode


def identifiers(request_id: str, count: int) -> tuple[str, ...]:
    """Return one short identifier per action, which comes back in its result."""
    return tuple([f"{request_id}.{position}" for position in range(count)])


def body(
    actions: Sequence[Action | Search],
    *,
    token: str,
    secret: str,
    timestamp: int,
    identifiers: Sequence[str],
    modify_action: ModifyAction,
    extendedclaim: str | None = None,
) -> bytes:
    """Return the JSON body of a request.

    Actions of one kind and resource share one signature, since it covers neither parameters nor identifier.
    """

    def signed_head(call: str) -> dict[str, Any]:
        name, resourcetype = _CALLS[call]
        actionid = ACTION_PREFIX + (modify_action if call == "modify" else name)
        hmac = signature(
            secret, timestamp=timestamp, token=token, resourcetype=resourcetype, actionid=actionid
        )
        return {
            "actionid": actionid,
            "resourceid": "",
            "resourcetype": resourcetype,
            "timestamp": timestamp,
            "hmac": hmac,
            "hmac_version": "2",
        }

    calls = list(map(_call, actions))
    heads = {call: signed_head(call) for call in set(calls)}
    claim = {"extendedclaim": extendedclaim} if extendedclaim else {}
    encoded = [
        heads[call] | {"identifier": identifier, "parameters": _parameters(action, claim)}
        for call, action, identifier in zip(calls, actions, identifiers, strict=True)
    ]
    return msgspec.json.encode({"token": token, "request": {"actions": encoded}})


def _call(action: Action | Search) -> str:
    return action.module if isinstance(action, Search) else action.kind


def _parameters(action: Action | Search, claim: dict[str, str]) -> dict[str, Any]:
    """Return the parameters of an action and the claim, in the order of their names."""
    if isinstance(action, Search):
        return search.parameters(action, claim)
    relationtype = RELATION_PREFIX + action.type
    if action.kind == "get":
        if action.parents:
            return {**claim, "parentids": action.parents, "relationtype": relationtype}
        return {"childids": action.children, **claim, "relationtype": relationtype}
    if action.kind == "delete":
        (parent,), (child,) = action.parents, action.children  # the API deletes one pair per action
        return {"childid": child, **claim, "parentid": parent, "relationtype": relationtype}
    sides: dict[str, Any] = {"childid": action.children, **claim, "parentid": action.parents}
    if action.info:
        sides["relationinfo"] = dict(action.info)
    sides["relationtype"] = relationtype
    return sides


def read(
    answer: bytes,
    actions: Sequence[Action | Search],
    identifiers: Sequence[str],
    *,
    status: int = 200,
    hidden: Sequence[str] = (),
) -> tuple[ActionResult, ...]:
    """Return one result per action, whatever the answer looks like.

    `status` is HTTP's, `hidden` are texts that no message may show, as it shows no value that is searched
    for. Where there are results they alone decide: the API answers 400 or 500 with results of which some
    succeeded.
    """
    if _is_plainly_done(answer, actions, identifiers):
        return (_OK,) * len(actions)
    searched = {value for action in actions if isinstance(action, Search) for value in action.values}
    clean_message = partial(clean, hidden=hidden, searched=searched)
    document = _document(answer)
    rows = _rows(document)
    if not any(rows):
        return (_request_result(as_object(document.get("status")), status, clean_message),) * len(actions)
    matches = _match(rows, actions, identifiers)
    return tuple(
        _action_result(action, own, clean_message) for action, own in zip(actions, matches, strict=True)
    )


def unknown(message: str, *, code: int = 0) -> ActionResult:
    """Return the result of an action that may have been executed."""
    return ActionResult(Verdict.UNKNOWN, code, ErrorClass.TRANSIENT, message)


# --- the answer, from the outside in


def _is_plainly_done(answer: bytes, actions: Sequence[Action | Search], identifiers: Sequence[str]) -> bool:
    """Return whether the answer has one result for each action in their order, and all are writes and done.

    A short way, for most answers are such.
    """
    if not _WRITES.issuperset(map(_kind_of, actions)):
        return False
    try:
        # As text: what it looks past must be UTF-8, too, which msgspec checks only of what it takes.
        rows = _decode_plain(answer.decode()).response.results
    except (ValueError, RecursionError):
        return False
    codes = {row.status.errorcode for row in rows}
    return codes == {0} and [row.identifier for row in rows] == list(identifiers)


def _document(answer: bytes) -> dict[str, Any]:
    try:
        return as_object(msgspec.json.decode(answer.removeprefix(BOM_UTF8)))
    except (ValueError, RecursionError):  # errors of msgspec and of UTF-8, and too much nesting
        return {}


def _rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the results; one that is no object counts as an empty one, because positions may decide."""
    return [as_object(row) for row in as_items(as_object(document.get("response")).get("results"))]


def _request_result(state: Mapping[str, Any], status: int, clean_message: Clean) -> ActionResult:
    """Return what an answer without results means for every action alike."""
    code = as_number(state.get("errorcode")) or 0
    if code in _REFUSING_CODES or classify(code) in _REFUSING_CLASSES:
        return _error(code, state.get("message"), clean_message)
    reason = f": {describe(code, as_text(state.get('message')))} (code {code})" if code else ""
    message = clean_message(f"HTTP {status} without readable results{reason}")
    if status == 429:  # refused before any action ran
        return ActionResult(Verdict.NOT_SENT, code, ErrorClass.TRANSIENT, message)
    if status in (401, 403):  # from a gateway; the API itself answers 200 and a code
        return ActionResult(Verdict.REJECTED, code, ErrorClass.CREDENTIALS, message)
    return unknown(message, code=code)


# --- results to actions


def _match(
    rows: Sequence[dict[str, Any]], actions: Sequence[Action | Search], identifiers: Sequence[str]
) -> list[list[dict[str, Any]]]:
    """Return for each action the results that are its own.

    They are matched by identifier; by position only if none has an identifier and the order is credible.
    """
    by_identifier = defaultdict(list)
    for row in rows:
        by_identifier[_identifier(row)].append(row)
    if by_identifier.keys() != {""}:
        return [by_identifier.get(identifier, []) for identifier in identifiers]
    is_credible = len(rows) == len(actions) and all(map(_may_answer, rows, actions))
    return [[row] for row in rows] if is_credible else [[] for _ in actions]


def _identifier(row: Mapping[str, Any]) -> str:
    identifier = row.get("identifier")
    if identifier is None:
        return ""
    return str(identifier) if isinstance(identifier, str | int) else "?"


def _may_answer(row: Mapping[str, Any], action: Action | Search) -> bool:
    """Return whether a result without identifier can be the answer to this action."""
    name, resourcetype = _CALLS[_call(action)]
    names = ("modify", "create") if name == "modify" else (name,)
    allowed = {"actionid": [ACTION_PREFIX + name for name in names], "resourcetype": [resourcetype]}
    return all(not row.get(key) or row[key] in values for key, values in allowed.items())


def _action_result(
    action: Action | Search, rows: Sequence[dict[str, Any]], clean_message: Clean
) -> ActionResult:
    if not rows:
        return unknown("the answer has no result for this action")
    first = _row_result(action, rows[0], clean_message)
    if any(_row_result(action, row, clean_message) != first for row in rows[1:]):
        return unknown("the answer has results for this action that disagree")
    return first


def _row_result(action: Action | Search, row: Mapping[str, Any], clean_message: Clean) -> ActionResult:
    state = as_object(row.get("status"))
    code = as_number(state.get("errorcode"))
    if code is None:
        return unknown("the result has no readable errorcode")
    if code:
        return _error(code, state.get("message"), clean_message)
    if isinstance(action, Search):
        return _search_result(action, row)
    return _read_related(action, row) if action.kind == "get" else _OK


def _search_result(asked: Search, row: Mapping[str, Any]) -> ActionResult:
    try:
        found, total = search.read_records(asked, row.get("data"))
    except search.Unreadable as error:
        return unknown(str(error))
    return ActionResult(Verdict.OK, found=found, total=total)


def _error(code: int, message: Any, clean_message: Clean) -> ActionResult:
    error = classify(code)
    verdict = Verdict.UNKNOWN if error is ErrorClass.TRANSIENT else Verdict.REJECTED
    return ActionResult(verdict, code, error, clean_message(describe(code, as_text(message))))


def _read_related(action: Action, row: Mapping[str, Any]) -> ActionResult:
    """Return the result of a read: requested id → related ids.

    An id is left out if the answer leaves it out, and is unreadable if it has anything unreadable for it, or
    is none at all: neither proves absence, but what is left out may have nothing related.
    """
    requested = frozenset(action.parents or action.children)
    elements = _related_elements(row.get("data"))
    if elements is None:
        return ActionResult(Verdict.OK, unreadable=requested)
    found: dict[int, set[int]] = {}
    unreadable = set[int]()
    for number, value in elements:
        related = _ids(value)
        if number in requested and related is not None:
            found.setdefault(number, set()).update(related)
        elif number in requested:
            unreadable.add(number)
    related_ids = {number: frozenset(ids) for number, ids in found.items() if number not in unreadable}
    return ActionResult(Verdict.OK, related=related_ids, unreadable=frozenset(unreadable))


def _related_elements(data: Any) -> list[tuple[int, Any]] | None:
    """Return each id that an answer speaks of, with what it says; None if it is no answer to a read."""
    records = as_object(data).get("records")
    if not isinstance(records, list | dict):
        return None
    parts = [as_object(record).get("elements") for record in as_items(records)]
    if not all(isinstance(part, dict) or part == [] for part in parts):
        return None
    if not parts and as_number(as_object(as_object(data).get("meta")).get("cntabsolute")):
        return None  # it counts what it does not show
    pairs = [(as_number(key), value) for part in parts for key, value in as_object(part).items()]
    readable = [(key, value) for key, value in pairs if key is not None]
    return readable if len(readable) == len(pairs) else None  # what is no id may stand for any of them


def _ids(value: Any) -> frozenset[int] | None:
    """Return the related ids of a list; 0 is none of them, as PHP reads an empty text as a number."""
    if not isinstance(value, list | dict):
        return None
    ids = [as_number(item) for item in as_items(value)]
    return frozenset(item for item in ids if item) if None not in ids else None
