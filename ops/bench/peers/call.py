"""One signed call to the API for one change, over a client that the process keeps. Plain Python and httpx.

Where the API is and whose account it is come from the environment (`PEER_API`, `PEER_TOKEN`, `PEER_SECRET`).
"""

import base64
import functools
import hashlib
import hmac
import os
import time
from typing import Any, TypedDict

import httpx

ACTION = "urn:onoffice-de-ns:smart:2.5:smartml:action:"
RELATION = "urn:onoffice-de-ns:smart:2.5:relationTypes:"
NO_SUCH_RELATION = 168  # what a delete answers when there is nothing to delete: done
OPTIONS: dict[str, Any] = {
    "timeout": 30.0,
    "trust_env": False,
    "limits": httpx.Limits(max_connections=None, max_keepalive_connections=None),
}


class ChangeDict(TypedDict):
    """One change as the bench hands it over."""

    action: str
    type: str
    parents: list[int]
    children: list[int]
    info: dict[str, str]


class Refused(Exception):
    """The API refused the change."""


def apply(change: ChangeDict) -> None:
    """Make the call for one change; raises Refused, or an error of httpx."""
    check(client().post(os.environ["PEER_API"], json=body(change)), change)


async def apply_async(change: ChangeDict) -> None:
    """Make the call for one change from an event loop; raises Refused, or an error of httpx."""
    check(await async_client().post(os.environ["PEER_API"], json=body(change)), change)


@functools.cache
def client() -> httpx.Client:
    """Return the client of this process; first asked for in the process that uses it, after any fork."""
    return httpx.Client(**OPTIONS)


@functools.cache
def async_client() -> httpx.AsyncClient:
    """Return the client of this process's event loop."""
    return httpx.AsyncClient(**OPTIONS)


def body(change: ChangeDict) -> dict[str, Any]:
    """Return the signed request of one action."""
    token, actionid, timestamp = os.environ["PEER_TOKEN"], ACTION + change["action"], int(time.time())
    single = change["action"] == "delete"  # the API deletes one pair per action
    parameters: dict[str, Any] = {
        "childid": change["children"][0] if single else change["children"],
        "parentid": change["parents"][0] if single else change["parents"],
    }
    if change["info"]:
        parameters["relationinfo"] = change["info"]
    parameters["relationtype"] = RELATION + change["type"]
    action = {
        "actionid": actionid,
        "resourceid": "",
        "resourcetype": "relation",
        "identifier": "",
        "timestamp": timestamp,
        "hmac": signature(f"{timestamp}{token}relation{actionid}"),
        "hmac_version": "2",
        "parameters": parameters,
    }
    return {"token": token, "request": {"actions": [action]}}


def signature(text: str) -> str:
    """Return the base64 HMAC of the text with the account's secret."""
    digest = hmac.new(os.environ["PEER_SECRET"].encode(), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def check(answer: httpx.Response, change: ChangeDict) -> None:
    """Raise Refused unless the one action of the answer was executed."""
    document = answer.raise_for_status().json()
    results = document["response"]["results"]
    code = (results[0] if results else document)["status"]["errorcode"]
    if code and not (change["action"] == "delete" and code == NO_SUCH_RELATION):
        raise Refused(f"code {code}")
