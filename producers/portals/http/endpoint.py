"""A route as an endpoint: what is checked before its handler runs, and a response for every error.

Checked are the key, its right, the account of the call, and its query or form.
"""

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from producers.errors import Forbidden, Unauthorized
from producers.portals.http.api_route import ApiCall, ApiRoute
from producers.portals.http.body import read_form
from producers.portals.http.deps import HttpDeps
from producers.portals.http.problems import INTERNAL_ERROR, error_response, problem_response, status_of
from producers.portals.http.query import AccountQuery, read_query
from worker.config import Key, hide
from worker.contract import account_of, check_account_name
from worker.errors import RelationsError

Endpoint = Callable[[Request], Awaitable[Response]]
NoteBody = Callable[[str, int, int, Mapping[str, str]], None]
"""Takes the route, status, start (ns since the epoch) and headers of a body that was accepted."""

SEND_KEY: Final = "send a key of this server as `Authorization: Bearer KEY`"
BLANK_IN_KEY: Final = "this key is not known here; there is a blank in it, is `Bearer` there twice?"
PUBLIC_KEY: Final = Key(name="", sha256="", accounts=(), can=())  # of routes without a right; opens nothing


def dispatch(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """Return the endpoint that calls the one for a request's method, and answers OPTIONS."""
    allowed = ", ".join([*endpoints, *(["HEAD"] if "GET" in endpoints else []), "OPTIONS"])

    async def serve(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed, **_allow_sender(request)})
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return serve


def _allow_sender(request: Request) -> dict[str, str]:
    """Return the consent that senders of CloudEvents ask for before they send (HTTP Web Hooks, section 4)."""
    origin = request.headers.get("webhook-request-origin", "")
    is_asked = origin and "source" in request.path_params
    return {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"} if is_asked else {}


def make_endpoint(route: ApiRoute, deps: HttpDeps) -> Endpoint:
    """Return the endpoint of a route; an error without a response would cost the client its connection."""

    async def serve(request: Request) -> Response:
        try:
            call = await check_call(route, request, deps)
            response: Response = await route.handler(call)
        except HTTPException:
            raise
        except ClientDisconnect:
            return problem_response(400, "the connection ended before the body did")
        except Exception as error:
            if isinstance(error, Unauthorized | Forbidden) and route.right:
                deps.refusals.note_key(error, route.path)
            if isinstance(error, RelationsError) and status_of(error) != HTTPStatus.INTERNAL_SERVER_ERROR:
                # A future of its thread has the error, and the frame that has the future has the body.
                error.__traceback__ = error.__context__ = None
                return error_response(error)
            deps.runtime.emit("request.failed", path=route.path, error=type(error).__name__, exc_info=error)
            return problem_response(500, INTERNAL_ERROR)
        return response

    return serve


def noted(endpoint: Endpoint, path: str, note_body: NoteBody) -> Endpoint:
    """Return the endpoint, which also notes each body that it accepts."""

    async def serve(request: Request) -> Response:
        started = time.time_ns()
        response = await endpoint(request)
        if response.status_code < HTTPStatus.MULTIPLE_CHOICES:
            note_body(path, response.status_code, started, request.headers)
        return response

    return serve


async def check_call(route: ApiRoute, request: Request, deps: HttpDeps) -> ApiCall[Any]:
    """Return the call that a request makes; raise the RelationsError that says why it cannot be made."""
    if route.right is None:
        return ApiCall(request, PUBLIC_KEY, "", None)
    key = authenticate(
        deps.runtime.live_settings.refresh().keys.values(), request.headers.get("authorization", "")
    )
    account = _account_in_path(route, request)
    check_access(key, route.right, account)
    values: msgspec.Struct | None = None
    if route.form:
        values = await read_form(request, route.form, required=route.form_required)
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
        raise Unauthorized(SEND_KEY, reason="no_key")
    if scheme.lower() != "bearer":
        raise Unauthorized(f"there is no key behind `Bearer`; {SEND_KEY}", reason="unknown_key")
    if not found and " " in token.strip():
        raise Unauthorized(BLANK_IN_KEY, reason="unknown_key")
    if not found:
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
