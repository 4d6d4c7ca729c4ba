"""Routes as values: one declaration of a route is what is served, checked and described.

A handler runs only after its route's checks have passed: the key and its right, the account that the call
is about, and the query or the form.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from producers.portals.http.query import AccountQuery, read_query
from producers.portals.http.requests import authenticate, check_access, job_account, read_form
from worker.config import Key, Settings
from worker.config.values import Right
from worker.contract import check_account_name

Input = TypeVar("Input")
PUBLIC_KEY: Final = Key(name="", sha256="", accounts=(), can=())  # of routes without a right; opens nothing


@dataclass(frozen=True, slots=True)
class ApiCall(Generic[Input]):
    """A request that passed the checks of its route.

    `account` is the one that the path, query or form names, or empty. `input` is the query or the form, or
    None.
    """

    request: Request
    key: Key
    account: str
    input: Input


@dataclass(frozen=True, slots=True)
class ResponseDoc:
    """A successful response: a type that msgspec can describe, an example, and headers with their meaning."""

    description: str
    type: Any
    example: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One method of one path.

    `right` is what a key needs; None means that no key is asked for. `account_in` is the path parameter that
    names the account: by itself, or as the beginning of a job's or replay's id. A `query` or a `form` is read
    and checked; `body` (OpenAPI content by content type) is only described, because its handler reads it.
    `path_params` and `headers` give types by name. `problems` are the statuses beside those that every key
    (401, 403) and every body can cause. `operation` is its name in the description, by default the handler's.
    """

    handler: Callable[..., Awaitable[Response]]
    method: Literal["GET", "POST"]
    path: str
    summary: str
    responses: Mapping[int, ResponseDoc]
    _: KW_ONLY
    right: Right | None = None
    account_in: Literal["", "account", "id"] = ""
    path_params: Mapping[str, Any] = field(default_factory=dict)
    query: type[msgspec.Struct] | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    form: type[msgspec.Struct] | None = None
    form_example: Mapping[str, Any] | None = None
    form_required: bool = True
    body: Mapping[str, Any] = field(default_factory=dict)
    problems: Sequence[int] = ()
    operation: str = ""

    @property
    def function(self) -> Callable[..., Awaitable[Response]]:
        """The handler as it was written, without what was bound to it."""
        return self.handler.func if isinstance(self.handler, partial) else self.handler


def bind(routes: Sequence[ApiRoute], deps: object) -> list[ApiRoute]:
    """Return the routes with handlers that need nothing but the call."""
    return [replace(route, handler=partial(route.handler, deps)) for route in routes]


async def check_call(
    route: ApiRoute, request: Request, current_settings: Callable[[], Settings], *, body_seconds: float
) -> ApiCall[Any]:
    """Return the call that a request makes; raise the RelationsError that says why it cannot be made."""
    if route.right is None:
        return ApiCall(request, PUBLIC_KEY, "", None)
    key = authenticate(current_settings().keys.values(), request.headers.get("authorization", ""))
    account = _account_in_path(route, request)
    check_access(key, route.right, account)
    values = await _read_input(route, request, body_seconds)
    if isinstance(values, AccountQuery):
        account = values.account
        check_access(key, route.right, account)
    return ApiCall(request, key, account, values)


def _account_in_path(route: ApiRoute, request: Request) -> str:
    if not route.account_in:
        return ""
    value: str = request.path_params[route.account_in]
    if route.account_in == "id":
        return job_account(value)
    check_account_name(value)
    return value


async def _read_input(route: ApiRoute, request: Request, body_seconds: float) -> msgspec.Struct | None:
    if route.form:
        return await read_form(request, route.form, seconds=body_seconds, required=route.form_required)
    return read_query(request.query_params.multi_items(), route.query) if route.query else None
