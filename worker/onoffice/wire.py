"""What travels: actions into the body of a request, the body of an answer into outcomes. Pure; bytes on one side, values on the other.

Sources: the documentation pages "Create Relations", "Modify Relations", "Delete Relations" and "Request elements"; the answers'
odd shapes (PHP's empty arrays, ids as strings, names missing) are from recorded answers. Whatever cannot be read is UNKNOWN.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from worker.contract.catalogue import PREFIX as RELATION_PREFIX
from worker.onoffice.codes import classify, describe
from worker.onoffice.sign import signature
from worker.planner.actions import Action, ActionResult, ErrorClass, Kind, Verdict

ACTION_PREFIX = "urn:onoffice-de-ns:smart:2.5:smartml:action:"
LONGEST_MESSAGE = 500

ModifyAction = Literal["modify", "create"]

# Codes that refuse a whole request before any of its actions runs: broken JSON, a missing element, an unknown action.
# Not 3, 7 and 8: JSON that cannot be *written* has the same codes, and then the actions ran.
_REFUSALS = frozenset({4, 5, 6, 9, *range(13, 22), 23, 24, 25, 247})
_REFUSED = frozenset({ErrorClass.CREDENTIALS, ErrorClass.CLOCK})


def identifiers(request_id: str, count: int) -> tuple[str, ...]:
    """One short name per action, told back in its result."""
    return tuple(f"{request_id}.{position}" for position in range(count))


def body(
    actions: Sequence[Action],
    *,
    token: str,
    secret: str,
    timestamp: int,
    identifiers: Sequence[str],
    modify_action: ModifyAction,
    extendedclaim: str | None = None,
) -> bytes:
    """The JSON body of a request; actions of one kind share one signature, since it covers neither parameters nor identifier."""
    heads = {kind: _head(kind, modify_action) for kind in dict.fromkeys(action.kind for action in actions)}
    for head in heads.values():
        signed = signature(
            secret,
            timestamp=timestamp,
            token=token,
            resourcetype=head["resourcetype"],
            actionid=head["actionid"],
        )
        head |= {"timestamp": timestamp, "hmac": signed, "hmac_version": "2"}
    claim = {"extendedclaim": extendedclaim} if extendedclaim else {}
    written = [
        heads[action.kind]
        | {"identifier": identifier, "parameters": dict(sorted((_parameters(action) | claim).items()))}
        for action, identifier in zip(actions, identifiers, strict=True)
    ]
    return msgspec.json.encode({"token": token, "request": {"actions": written}})


def _head(kind: Kind, modify_action: ModifyAction) -> dict[str, Any]:
    name = modify_action if kind == "modify" else kind
    return {"actionid": ACTION_PREFIX + name, "resourceid": "", "resourcetype": _resourcetype(kind)}


def _resourcetype(kind: Kind) -> str:
    return "idsfromrelation" if kind == "get" else "relation"


def _parameters(action: Action) -> dict[str, Any]:
    relationtype = {"relationtype": RELATION_PREFIX + action.type}
    if action.kind == "get":
        return relationtype | (
            {"parentids": action.parents} if action.parents else {"childids": action.children}
        )
    if action.kind == "delete":
        (parent,), (child,) = action.parents, action.children  # the API deletes one pair per action
        return relationtype | {"parentid": parent, "childid": child}
    info = {"relationinfo": dict(action.info)} if action.info else {}
    return relationtype | info | {"parentid": action.parents, "childid": action.children}


def read(
    answer: bytes,
    actions: Sequence[Action],
    identifiers: Sequence[str],
    *,
    status: int = 200,
    hidden: Sequence[str] = (),
) -> tuple[ActionResult, ...]:
    """One outcome per action, whatever the answer looks like; `status` is HTTP's, `hidden` are texts no message may show.

    Where there are results they alone decide: the API says 400 or 500 above results of which some succeeded.
    """
    document = _document(answer)
    rows = _rows(document)
    if not any(rows):
        return (_whole(_object(document.get("status")), status, hidden),) * len(actions)
    own = _matched(rows, actions, identifiers)
    return tuple(_outcome(action, found, hidden) for action, found in zip(actions, own, strict=True))


def clean(text: str, hidden: Sequence[str]) -> str:
    """A text fit for logs and pages: secrets taken out first, then cut."""
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text[:LONGEST_MESSAGE]


def unknown(message: str, *, code: int = 0) -> ActionResult:
    """The outcome of an action that may have been executed."""
    return ActionResult(Verdict.UNKNOWN, code, ErrorClass.TRANSIENT, message)


# The answer, from the outside in ------------------------------------------------------------------------------------------------


def _document(answer: bytes) -> dict[str, Any]:
    try:
        return _object(msgspec.json.decode(answer))
    except (
        ValueError,
        RecursionError,
    ):  # every error of msgspec and of UTF-8 is a ValueError; nesting is the other
        return {}


def _rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results, in place; one that is no object stands as an empty one, because positions may have to be trusted."""
    return [_object(row) for row in _items(_object(document.get("response")).get("results"))]


def _whole(state: Mapping[str, Any], status: int, hidden: Sequence[str]) -> ActionResult:
    """What an answer without results says about every action alike."""
    code = _number(state.get("errorcode")) or 0
    if code in _REFUSALS or classify(code) in _REFUSED:
        return _error(code, state.get("message"), hidden)
    said = f": {describe(code, _text(state.get('message')))} (code {code})" if code else ""
    message = clean(f"HTTP {status} without readable results{said}", hidden)
    if status == 429:  # turned away at the door, before any action ran
        return ActionResult(Verdict.NOT_SENT, code, ErrorClass.TRANSIENT, message)
    if status in (401, 403):  # a gateway's way to say it; the API itself answers 200 and a code
        return ActionResult(Verdict.REJECTED, code, ErrorClass.CREDENTIALS, message)
    return unknown(message, code=code)


# Results to actions -------------------------------------------------------------------------------------------------------------


def _matched(
    rows: Sequence[dict[str, Any]], actions: Sequence[Action], identifiers: Sequence[str]
) -> list[list[dict[str, Any]]]:
    """For each action the results that are its own: by name; by position only if none has a name and the order is credible."""
    named = defaultdict(list)
    for row in rows:
        named[_name(row)].append(row)
    if named.keys() != {""}:
        return [named.get(identifier, []) for identifier in identifiers]
    credible = len(rows) == len(actions) and all(map(_may_be, rows, actions))
    return [[row] for row in rows] if credible else [[] for _ in actions]


def _name(row: Mapping[str, Any]) -> str:
    name = row.get("identifier")
    return "" if name is None else str(name) if isinstance(name, str | int) else "?"


def _may_be(row: Mapping[str, Any], action: Action) -> bool:
    """Whether a nameless result says nothing against being the answer to this action."""
    names = ("modify", "create") if action.kind == "modify" else (action.kind,)
    known = {
        "actionid": [ACTION_PREFIX + name for name in names],
        "resourcetype": [_resourcetype(action.kind)],
    }
    return all(not row.get(key) or row[key] in allowed for key, allowed in known.items())


def _outcome(action: Action, own: Sequence[dict[str, Any]], hidden: Sequence[str]) -> ActionResult:
    if not own:
        return unknown("the answer has no result for this action")
    first, *more = (_result(action, row, hidden) for row in own)
    return (
        first
        if all(other == first for other in more)
        else unknown("the answer has results for this action that disagree")
    )


def _result(action: Action, row: Mapping[str, Any], hidden: Sequence[str]) -> ActionResult:
    state = _object(row.get("status"))
    code = _number(state.get("errorcode"))
    if code is None:
        return unknown("the result has no readable errorcode")
    if code:
        return _error(code, state.get("message"), hidden)
    return ActionResult(Verdict.OK, related=_related(action, row) if action.kind == "get" else {})


def _error(code: int, message: Any, hidden: Sequence[str]) -> ActionResult:
    error = classify(code)
    verdict = Verdict.UNKNOWN if error is ErrorClass.TRANSIENT else Verdict.REJECTED
    return ActionResult(verdict, code, error, clean(describe(code, _text(message)), hidden))


def _related(action: Action, row: Mapping[str, Any]) -> dict[int, frozenset[int]]:
    """Asked id → related ids; a key is left out if the answer leaves it out or holds anything unreadable: absence must be proved."""
    asked = frozenset(action.parents or action.children)
    found: dict[int, set[int]] = {}
    for record in _items(_object(row.get("data")).get("records")):
        for key, value in _object(_object(record).get("elements")).items():
            near, far = _number(key), _ids(value)
            if near in asked and far is not None:
                found.setdefault(near, set()).update(far)
    return {near: frozenset(far) for near, far in found.items()}


def _ids(value: Any) -> frozenset[int] | None:
    if not isinstance(value, list | dict):
        return None
    ids = [_number(item) for item in _items(value)]
    return frozenset(item for item in ids if item is not None) if None not in ids else None


# PHP's habits -------------------------------------------------------------------------------------------------------------------


def _object(value: Any) -> dict[str, Any]:
    """An object; PHP writes an empty one as `[]`, and whatever else stands there says nothing."""
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    """A list; PHP writes one with gaps in its keys as an object."""
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    """A number from 0 up to what an id may be, written as a number or as digits; anything else is None."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**63 else None
