"""Routes as values: one declaration of a route is what is served, checked and described.

Most stand above plain functions (`get`, `post`), whose types say what is taken and answered; such a function
runs in a thread, a few at a time for each key. A handler runs only after the checks of `endpoint`.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial, wraps
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from producers.portals.http.problems import json_response
from worker.config import Key
from worker.config.values import Right

PROBLEMS: Final = (404, 422, 503)
JOB_ID: Final = "acme-1m7y8t1vgssvve752b"
JobId = Annotated[str, Meta(description="The id of a job; it begins with its account.", examples=[JOB_ID])]

Input = TypeVar("Input")
Handler = Callable[[Any, "ApiCall[Any]"], Any]
"""Takes what handlers share, with its `threads`, and a call; returns a document, or a whole response."""


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

    @property
    def id(self) -> str:
        """The `id` in the path."""
        return str(self.request.path_params["id"])


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


def _declare(
    method: Literal["GET", "POST"], path: str, summary: str, *, right: Right, **more: Any
) -> Callable[[Callable[..., Any]], ApiRoute]:
    return lambda function: _make_route(function, method, path, summary, right=right, **more)


get: Final = partial(_declare, "GET", right="read", description="What is there.")
"""Makes a function the route that shows what it returns; its call says what the query is."""
post: Final = partial(_declare, "POST", right="replay", description="What was done.")
"""Makes a function the route that does something and returns what was done.

Its call says what the form is; `location` is where that is found, with names of its fields in braces.
"""


def _make_route(
    function: Handler,
    method: Literal["GET", "POST"],
    path: str,
    summary: str,
    *,
    description: str,
    status: int = 200,
    location: str = "",
    problems: Sequence[int] = PROBLEMS,
    **more: Any,
) -> ApiRoute:
    @wraps(function)
    async def handler(deps: Any, call: ApiCall[Any]) -> Response:
        run = deps.threads.read_for if method == "GET" else deps.threads.run_for
        document = await run(call.key.name, function, deps, call)
        if isinstance(document, Response):
            return document
        headers = {"Location": location.format_map(document)} if location else {}
        return json_response(document, status=status, headers=headers)

    given, answer = _types_of(function)
    responses = {status: ResponseDoc(description, answer)}
    more["query" if method == "GET" else "form"] = given
    return ApiRoute(handler, method, path, summary, responses, problems=problems, **more)


def _types_of(function: Handler) -> tuple[type[msgspec.Struct] | None, Any]:
    """Return the type of a call's query or form, and that of the document which is answered."""
    *_, call, answer = inspect.get_annotations(function).values()
    (given,) = get_args(call)
    documents = [kind for kind in get_args(answer) or (answer,) if kind is not Response]
    return (None if given is type(None) else given), documents[0]
