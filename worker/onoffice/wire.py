"""Actions into the body of a request, the body of an answer into results. Pure: bytes here, values there.

Sources: the documentation pages "Create Relations", "Modify Relations", "Delete Relations" and "Request
elements"; the answers' odd shapes (PHP's empty arrays, ids as strings, identifiers missing) are from recorded
answers. Whatever cannot be read is UNKNOWN.
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
MAX_MESSAGE = 500

ModifyAction = Literal["modify", "create"]

# Codes that refuse a whole request before any of its actions runs: broken JSON, a missing element, an unknown
# action. Not 3, 7 and 8: JSON that cannot be *written* has the same codes, and then the actions ran.
_REFUSING_CODES = frozenset({4, 5, 6, 9, *range(13, 22), 23, 24, 25, 247})
_OK = ActionResult(Verdict.OK)
_REFUSING_CLASSES = frozenset({ErrorClass.CREDENTIALS, ErrorClass.CLOCK})


def identifiers(request_id: str, count: int) -> tuple[str, ...]:
    """Return one short identifier per action, which comes back in its result."""
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
    """Return the JSON body of a request.

    Actions of one kind share one signature, since it covers neither parameters nor identifier.
    """

    def signed_head(kind: Kind) -> dict[str, Any]:
        actionid = ACTION_PREFIX + (modify_action if kind == "modify" else kind)
        resourcetype = _resourcetype(kind)
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

    heads = {kind: signed_head(kind) for kind in dict.fromkeys(action.kind for action in actions)}
    claim = {"extendedclaim": extendedclaim} if extendedclaim else {}
    encoded = [
        {**heads[action.kind], "identifier": identifier, "parameters": _parameters(action, claim)}
        for action, identifier in zip(actions, identifiers, strict=True)
    ]
    return msgspec.json.encode({"token": token, "request": {"actions": encoded}})


def _resourcetype(kind: Kind) -> str:
    return "idsfromrelation" if kind == "get" else "relation"


def _parameters(action: Action, claim: dict[str, str]) -> dict[str, Any]:
    """Return the parameters of an action and the claim, in the order of their names."""
    relationtype = RELATION_PREFIX + action.type
    if action.kind == "get":
        if action.parents:
            return {**claim, "parentids": action.parents, "relationtype": relationtype}
        return {"childids": action.children, **claim, "relationtype": relationtype}
    if action.kind == "delete":
        (parent,), (child,) = action.parents, action.children  # the API deletes one pair per action
        return {"childid": child, **claim, "parentid": parent, "relationtype": relationtype}
    info = {"relationinfo": dict(action.info)} if action.info else {}
    sides = {"childid": action.children, **claim, "parentid": action.parents}
    return {**sides, **info, "relationtype": relationtype}


def read(
    answer: bytes,
    actions: Sequence[Action],
    identifiers: Sequence[str],
    *,
    status: int = 200,
    hidden: Sequence[str] = (),
) -> tuple[ActionResult, ...]:
    """Return one result per action, whatever the answer looks like.

    `status` is HTTP's, `hidden` are texts that no message may show. Where there are results they alone
    decide: the API answers 400 or 500 with results of which some succeeded.
    """
    document = _document(answer)
    rows = _rows(document)
    if not any(rows):
        return (_request_result(_object(document.get("status")), status, hidden),) * len(actions)
    matches = _match(rows, actions, identifiers)
    return tuple(_action_result(action, own, hidden) for action, own in zip(actions, matches, strict=True))


def clean(text: str, hidden: Sequence[str]) -> str:
    """Return the text fit for logs and pages: secrets taken out first, then cut."""
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text[:MAX_MESSAGE]


def unknown(message: str, *, code: int = 0) -> ActionResult:
    """Return the result of an action that may have been executed."""
    return ActionResult(Verdict.UNKNOWN, code, ErrorClass.TRANSIENT, message)


# --- the answer, from the outside in


def _document(answer: bytes) -> dict[str, Any]:
    try:
        return _object(msgspec.json.decode(answer))
    except (ValueError, RecursionError):  # errors of msgspec and of UTF-8, and too much nesting
        return {}


def _rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the results; one that is no object counts as an empty one, because positions may decide."""
    return [_object(row) for row in _items(_object(document.get("response")).get("results"))]


def _request_result(state: Mapping[str, Any], status: int, hidden: Sequence[str]) -> ActionResult:
    """Return what an answer without results means for every action alike."""
    code = _number(state.get("errorcode")) or 0
    if code in _REFUSING_CODES or classify(code) in _REFUSING_CLASSES:
        return _error(code, state.get("message"), hidden)
    reason = f": {describe(code, _text(state.get('message')))} (code {code})" if code else ""
    message = clean(f"HTTP {status} without readable results{reason}", hidden)
    if status == 429:  # refused before any action ran
        return ActionResult(Verdict.NOT_SENT, code, ErrorClass.TRANSIENT, message)
    if status in (401, 403):  # from a gateway; the API itself answers 200 and a code
        return ActionResult(Verdict.REJECTED, code, ErrorClass.CREDENTIALS, message)
    return unknown(message, code=code)


# --- results to actions


def _match(
    rows: Sequence[dict[str, Any]], actions: Sequence[Action], identifiers: Sequence[str]
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


def _may_answer(row: Mapping[str, Any], action: Action) -> bool:
    """Return whether a result without identifier can be the answer to this action."""
    kinds = ("modify", "create") if action.kind == "modify" else (action.kind,)
    allowed = {
        "actionid": [ACTION_PREFIX + kind for kind in kinds],
        "resourcetype": [_resourcetype(action.kind)],
    }
    return all(not row.get(key) or row[key] in values for key, values in allowed.items())


def _action_result(action: Action, rows: Sequence[dict[str, Any]], hidden: Sequence[str]) -> ActionResult:
    if not rows:
        return unknown("the answer has no result for this action")
    first, *others = [_row_result(action, row, hidden) for row in rows]
    if any(other != first for other in others):
        return unknown("the answer has results for this action that disagree")
    return first


def _row_result(action: Action, row: Mapping[str, Any], hidden: Sequence[str]) -> ActionResult:
    state = _object(row.get("status"))
    code = _number(state.get("errorcode"))
    if code is None:
        return unknown("the result has no readable errorcode")
    if code:
        return _error(code, state.get("message"), hidden)
    return ActionResult(Verdict.OK, related=_related(action, row)) if action.kind == "get" else _OK


def _error(code: int, message: Any, hidden: Sequence[str]) -> ActionResult:
    error = classify(code)
    verdict = Verdict.UNKNOWN if error is ErrorClass.TRANSIENT else Verdict.REJECTED
    return ActionResult(verdict, code, error, clean(describe(code, _text(message)), hidden))


def _related(action: Action, row: Mapping[str, Any]) -> dict[int, frozenset[int]]:
    """Return requested id → related ids.

    An id is left out if the answer leaves it out or has anything unreadable for it: absence must be proved.
    """
    requested = frozenset(action.parents or action.children)
    found: dict[int, set[int]] = {}
    for record in _items(_object(row.get("data")).get("records")):
        for key, value in _object(_object(record).get("elements")).items():
            number, related = _number(key), _ids(value)
            if number in requested and related is not None:
                found.setdefault(number, set()).update(related)
    return {number: frozenset(related) for number, related in found.items()}


def _ids(value: Any) -> frozenset[int] | None:
    if not isinstance(value, list | dict):
        return None
    ids = [_number(item) for item in _items(value)]
    return frozenset(item for item in ids if item is not None) if None not in ids else None


# --- PHP's habits


def _object(value: Any) -> dict[str, Any]:
    """Return the value if it is an object, else an empty one: PHP writes an empty object as `[]`."""
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    """Return the items of a list; PHP writes one with gaps in its keys as an object."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    """Return a number from 0 to the largest id, written as a number or as digits; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**63 else None
