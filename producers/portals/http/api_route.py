"""Routes as values: one declaration of a route is what is served, checked and described.

A handler runs only after its route's checks have passed, which are in `endpoint`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker.config import Key
from worker.config.values import Right

Input = TypeVar("Input")


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
