"""From a decoded request body to the API's answer: envelope, signatures, actions, two levels of status.

It knows no bytes, no HTTP and no injected faults.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from ops.simulator import parameters as read
from ops.simulator import reads
from ops.simulator.catalogue import URN, ApiRefusal
from ops.simulator.crm import Crm, Module
from ops.simulator.switches import Switches

Json = dict[str, Any]
ACTION = "urn:onoffice-de-ns:smart:2.5:smartml:action:"
DELETED: Json = {"id": 0, "type": "", "elements": {"success": "success"}}
_READABLE: tuple[Module, ...] = ("estate", "address")
_RESOURCES: Mapping[str, tuple[str, ...]] = {
    "create": ("relation",),
    "modify": ("relation",),
    "delete": ("relation",),
    "get": ("idsfromrelation",),
    "read": _READABLE,
}


@dataclass(slots=True)
class SimulatedAccount:
    """An API user: the secret of its token and the CRM it works on (which accounts may share)."""

    secret: str
    crm: Crm


class ActionEntry(NamedTuple):
    """One action and its result for the log; `code` 0 is success, None not executed.

    Of a `read`, `type` is the module, and `values` how many values its filter compares with; what they are
    is kept nowhere.
    """

    kind: str
    type: str
    parents: tuple[int, ...]
    children: tuple[int, ...]
    code: int | None
    values: int = 0


class ApiAnswer(NamedTuple):
    """The body to send, and what was done for it."""

    body: Json
    acts: tuple[ActionEntry, ...] = ()


def refuse(refused: ApiRefusal, *, code: int = 400) -> ApiAnswer:
    """Answer a request that is bad as a whole.

    `code` is the status code inside the body; the HTTP status is 200 all the same.
    """
    return ApiAnswer(_envelope([], {"code": code, "errorcode": refused.code, "message": refused.message}))


def decode(raw: bytes) -> object:
    """Decode the JSON of a request body; raise `ApiRefusal` 9 for an empty one, 4 for bad JSON."""
    if not raw:
        raise ApiRefusal(9)
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        raise ApiRefusal(4) from None


def token_of(body: object) -> str:
    """Return the token that a request names, or ""."""
    token = body.get("token") if isinstance(body, dict) else None
    return token if isinstance(token, str) else ""


def requested_actions(body: object) -> tuple[ActionEntry, ...]:
    """Return the actions a request asks for, as not executed."""
    try:
        _, actions = _read_envelope(body)
    except ApiRefusal:
        return ()
    return tuple(_action_entry(action, None) for action in actions if isinstance(action, dict))


def answer(
    body: object,
    now: float,
    *,
    accounts: Mapping[str, SimulatedAccount],
    switches: Switches,
    half: bool = False,
) -> ApiAnswer:
    """Answer a request that comes in at `now`.

    `half` makes every create of several relations stop halfway with an error.
    """
    try:
        token, actions = _read_envelope(body)
        if token not in accounts and switches.credentials == "request":
            raise ApiRefusal(40)
    except ApiRefusal as refused:
        return refuse(refused)
    executor = _ActionExecutor(token, accounts.get(token), now, switches, half)
    step = 1 if switches.execution == "in_order" else -1
    known = [action if isinstance(action, dict) else {} for action in actions]
    pairs = [executor.execute(action) for action in known[::step]][::step]
    acts = tuple(entry for _, entry in pairs)
    return ApiAnswer(_envelope([result for result, _ in pairs], _status(acts, switches)), acts)


@dataclass(frozen=True, slots=True)
class _ActionExecutor:
    """Executes the actions of one request."""

    token: str
    account: SimulatedAccount | None
    now: float
    switches: Switches
    half: bool

    def execute(self, action: Json) -> tuple[Json, ActionEntry]:
        try:
            data, fault = self._perform(action), None
        except ApiRefusal as refused:
            data, fault = _data([]), refused
        return self._result(action, data, fault), _action_entry(action, fault.code if fault else 0)

    def _perform(self, action: Json) -> Json:
        _check_attributes(action)
        if self.account is None:
            raise ApiRefusal(40)
        check_signature(action, token=self.token, secret=self.account.secret, now=self.now)
        given: read.Parameters = action["parameters"] or {}
        if self.switches.require_sorted and list(given) != sorted(given):
            raise ApiRefusal(137)
        kind, crm = _kind(action), self.account.crm
        if kind == "read":
            module, resourceid = action["resourcetype"], action["resourceid"]
            return reads.answer_read(module, resourceid, given, crm, self.switches)
        return _data(self._dispatch(kind, given, crm))

    def _dispatch(self, kind: str, given: read.Parameters, crm: Crm) -> list[Json]:
        if kind == "get":
            return self._get(given, crm)
        if kind == "delete":
            crm.delete(read.read_delete(given, crm.types), switches=self.switches)
            return [DELETED]
        if kind == "modify" or self._is_modify(given, crm):
            star = read.read_modify(given, crm.types)
            crm.modify(star.relations, star.info, switches=self.switches)
        else:
            self._create(read.read_create(given, crm.types), crm)
        return []

    def _is_modify(self, given: read.Parameters, crm: Crm) -> bool:
        if not self.switches.modify_is_create or not given.get("relationinfo"):
            return False
        return all(relation in crm for relation in read.read_modify(given, crm.types).relations)

    def _create(self, star: read.StarParameters, crm: Crm) -> None:
        cut = len(star.relations) // 2 if self.half else 0
        crm.create(star.relations[:cut] if cut else star.relations, star.info, switches=self.switches)
        if cut:
            raise ApiRefusal(78)

    def _get(self, given: read.Parameters, crm: Crm) -> list[Json]:
        name, ids, of_parents = read.read_get(given, crm.types)
        related = crm.children if of_parents else crm.parents
        found = {str(asked): list(map(str, related(name, asked))) for asked in ids}
        if self.switches.empty_ids != "list":
            found = {asked: answers for asked, answers in found.items() if answers}
        if not found and self.switches.empty_ids == "no_records":
            return []
        elements: Json | list[Json] = found or []  # PHP cannot tell an empty object from an empty list
        return [{"id": "relatedIds", "type": "", "elements": elements}]

    def _result(self, action: Json, data: Json, fault: ApiRefusal | None) -> Json:
        return {
            "actionid": action.get("actionid", ""),
            "resourceid": action.get("resourceid", ""),
            "resourcetype": action.get("resourcetype", ""),
            "cacheable": action.get("resourcetype") in ("idsfromrelation", *_READABLE),
            "identifier": action.get("identifier", ""),
            "data": [] if fault and self.switches.error_data == "list" else data,
            "status": {"errorcode": fault.code, "message": fault.message}
            if fault
            else {"errorcode": 0, "message": "OK"},
        }


def _data(records: list[Json]) -> Json:
    return {"meta": {"cntabsolute": len(records)}, "records": records}


def _read_envelope(body: object) -> tuple[str, list[object]]:
    token = token_of(body)
    if not token:
        raise ApiRefusal(13)
    request = body.get("request") if isinstance(body, dict) else None
    if not isinstance(request, dict):
        raise ApiRefusal(14)
    actions = request.get("actions")
    if not isinstance(actions, list) or not actions:
        raise ApiRefusal(15)
    return token, actions


def _check_attributes(action: Json) -> None:
    for key, code in (("actionid", 16), ("resourceid", 18), ("resourcetype", 19)):
        if not isinstance(action.get(key), str):
            raise ApiRefusal(code)
    if not action["actionid"]:
        raise ApiRefusal(17)
    given = action.get("parameters")
    if not isinstance(given, dict) and given != []:  # [] is PHP's empty object
        raise ApiRefusal(20)
    if "" in given:
        raise ApiRefusal(21)


def _kind(action: Json) -> str:
    kind = str(action["actionid"]).removeprefix(ACTION)
    if ACTION + kind != action["actionid"] or kind not in _RESOURCES:
        raise ApiRefusal(23, action["actionid"])
    if action["resourcetype"] not in _RESOURCES[kind]:
        raise ApiRefusal(25, action["resourcetype"])
    return kind


def _status(acts: tuple[ActionEntry, ...], switches: Switches) -> Json:
    if switches.top_level == "97" and any(act.code for act in acts):
        return {"code": 500, "errorcode": 97, "message": ApiRefusal(97).message}
    return {"code": 200, "errorcode": 0, "message": "OK"}


def _envelope(results: list[Json], status: Json) -> Json:
    return {"status": status, "response": {"results": results}}


def _action_entry(action: Json, code: int | None) -> ActionEntry:
    """Describe an action for the log, from whatever was sent: a refused action may be of any shape."""
    given = action.get("parameters")
    given = given if isinstance(given, dict) else {}
    kind = str(action.get("actionid", "")).rsplit(":", 1)[-1]
    if kind == "read":
        return ActionEntry(kind, str(action.get("resourcetype", "")), (), (), code, reads.count_values(given))
    name = str(given.get("relationtype", "")).removeprefix(URN)
    parents, children = (_ids_of(given.get(side, given.get(f"{side}s"))) for side in ("parentid", "childid"))
    return ActionEntry(kind, name, parents, children, code)


def _ids_of(value: object) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [value]
    return tuple(number for number in ids if type(number) is int)


_LIFE = 120.0
"""Seconds a signature counts, before and after its timestamp."""


def sign(secret: str, *, timestamp: int, token: str, resourcetype: str, actionid: str) -> str:
    """Return the base64 HMAC over what identifies an action; parameters and identifier are not covered."""
    message = f"{timestamp}{token}{resourcetype}{actionid}"
    return b64encode(hmac.digest(secret.encode(), message.encode(), "sha256")).decode()


def check_signature(action: Mapping[str, Any], *, token: str, secret: str, now: float) -> None:
    """Check the signature; raise `ApiRefusal` 137 for a wrong one, 136 for one whose time is over."""
    timestamp, given = action.get("timestamp"), action.get("hmac")
    if not read.is_digits(timestamp) or not isinstance(given, str) or str(action.get("hmac_version")) != "2":
        raise ApiRefusal(137)
    time = int(str(timestamp))
    good = sign(
        secret, timestamp=time, token=token, resourcetype=action["resourcetype"], actionid=action["actionid"]
    )
    if not hmac.compare_digest(good.encode(), given.encode()):
        raise ApiRefusal(137)
    if abs(now - time) > _LIFE:
        raise ApiRefusal(136)
