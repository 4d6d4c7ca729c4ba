"""Signed calls for the simulator's tests, built from the documentation only, and a clock that they move."""

import base64
import hashlib
import hmac
from typing import Any

import httpx

from ops.simulator import Simulator
from ops.simulator.inprocess import InProcess

TOKEN, SECRET = "token-of-acme", "secret-of-acme"
NOW = 1_700_000_000.0
URL = "https://api.example.test/api/stable/api.php"
ACTION = "urn:onoffice-de-ns:smart:2.5:smartml:action:"
URN = "urn:onoffice-de-ns:smart:2.5:relationTypes:"
BUYER, BROKER, APPOINTMENT = "estate:address:buyer", "estate:address:contactPerson", "calendar:address"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def simulator(**options: Any) -> Simulator:
    options.setdefault("clock", Clock())
    return Simulator({TOKEN: SECRET}, **options)


def action(
    kind: str,
    parameters: dict[str, Any],
    /,
    *,
    at: float = NOW,
    token: str = TOKEN,
    secret: str = SECRET,
    resource: str = "",
    **changes: Any,
) -> dict[str, Any]:
    """One signed action; `changes` overwrite its attributes after signing, None removes them."""
    resource = resource or ("idsfromrelation" if kind == "get" else "relation")
    message = f"{int(at)}{token}{resource}{ACTION}{kind}"
    made = {
        "actionid": ACTION + kind,
        "resourceid": "",
        "resourcetype": resource,
        "identifier": "",
        "timestamp": int(at),
        "hmac": base64.b64encode(
            hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest()
        ).decode(),
        "hmac_version": "2",
        "parameters": dict(sorted(parameters.items())),
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def star(
    kind: str, name: str, parents: Any, children: Any, info: Any = None, **changes: Any
) -> dict[str, Any]:
    """Return a create or modify action; for a delete, plain integers."""
    given = {"relationtype": URN + name, "parentid": parents, "childid": children}
    return action(kind, given | ({} if info is None else {"relationinfo": info}), **changes)


def get(name: str, **changes: Any) -> dict[str, Any]:
    """Return a get action; pass `parentids` or `childids`."""
    sides = {side: changes.pop(side) for side in ("parentids", "childids") if side in changes}
    return action("get", {"relationtype": URN + name} | sides, **changes)


def read(module: str, data: Any, filter_: Any = None, /, **parameters: Any) -> dict[str, Any]:
    """Return an action that reads records of a module."""
    given = {"data": data, **({} if filter_ is None else {"filter": filter_}), **parameters}
    return action("read", {key: value for key, value in given.items() if value is not None}, resource=module)


def body(*actions: Any, token: str = TOKEN) -> dict[str, Any]:
    return {"token": token, "request": {"actions": list(actions)}}


def client(of: Simulator) -> httpx.Client:
    return httpx.Client(transport=InProcess(of))


def send(to: Simulator, *actions: Any, token: str = TOKEN) -> httpx.Response:
    return client(to).post(URL, json=body(*actions, token=token))


def results(to: Simulator, *actions: Any, token: str = TOKEN) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = send(to, *actions, token=token).json()["response"]["results"]
    return found


def codes(to: Simulator, *actions: Any, token: str = TOKEN) -> list[int]:
    """Return the error code of every action."""
    return [result["status"]["errorcode"] for result in results(to, *actions, token=token)]


def links(of: Simulator, token: str = TOKEN) -> set[tuple[str, int, int]]:
    """Return the relations that exist, as plain tuples."""
    return {tuple(relation) for relation in of.relations(token)}
