"""What is checked before a handler runs: the key, its right, the account of the call, its query or form."""

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from starlette.requests import Request

from producers.errors import Forbidden, Unauthorized
from producers.portals.http.api_route import ApiCall, ApiRoute
from producers.portals.http.body import read_form
from producers.portals.http.query import AccountQuery, read_query
from worker.config import Key, Settings, hide
from worker.contract import account_of, check_account_name

PUBLIC_KEY: Final = Key(name="", sha256="", accounts=(), can=())  # of routes without a right; opens nothing


async def check_call(
    route: ApiRoute, request: Request, current_settings: Callable[[], Settings], *, body_seconds: float
) -> ApiCall[Any]:
    """Return the call that a request makes; raise the RelationsError that says why it cannot be made."""
    if route.right is None:
        return ApiCall(request, PUBLIC_KEY, "", None)
    key = authenticate(current_settings().keys.values(), request.headers.get("authorization", ""))
    account = _account_in_path(route, request)
    check_access(key, route.right, account)
    values: msgspec.Struct | None = None
    if route.form:
        values = await read_form(request, route.form, seconds=body_seconds, required=route.form_required)
    elif route.query:
        values = read_query(request.query_params.multi_items(), route.query)
    if isinstance(values, AccountQuery):
        account = values.account
        check_access(key, route.right, account)
    return ApiCall(request, key, account, values)


def authenticate(keys: Iterable[Key], header: str) -> Key:
    """Return the key that an Authorization header carries; raise Unauthorized.

    A wrong key takes as long as a right one.
    """
    scheme, _, token = header.partition(" ")
    digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.sha256, digest)]
    if not header:
        raise Unauthorized("send a key of this server as `Authorization: Bearer KEY`", reason="no_key")
    if scheme.lower() != "bearer" or not found:
        raise Unauthorized("this key is not known here", reason="unknown_key")
    hide(token.strip())  # should a body quote it, no log and no response repeats it
    return found[0]


def check_access(key: Key, right: str, account: str = "") -> None:
    """Raise Forbidden unless the key has the right, and for this account if one is given."""
    if right not in key.can:
        raise Forbidden(f'key "{key.name}" has no right to {right}')
    if account and account not in key.accounts:
        raise Forbidden(f'key "{key.name}" is not for account "{account}"', reason="other_account")


def job_account(job_id: str) -> str:
    """Return the account that the id of a job or a replay begins with."""
    return account_of(job_id) or job_id


def _account_in_path(route: ApiRoute, request: Request) -> str:
    if not route.account_in:
        return ""
    value: str = request.path_params[route.account_in]
    if route.account_in == "id":
        return job_account(value)
    check_account_name(value)
    return value
