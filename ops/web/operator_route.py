"""How the operators' routes are declared: above plain functions, whose types say what is taken and answered.

A function runs in a thread, a few at a time for each key.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta
from starlette.responses import Response

from ops.web.deps import OperatorDeps
from producers.portals.http.api_route import ApiCall, ApiRoute, ResponseDoc
from producers.portals.http.problems import json_response
from producers.portals.http.query import AccountName
from producers.portals.http.routes import JOB_ID, JobId
from worker.config.values import Right

PROBLEMS: Final = (404, 422, 503)

Handler = Callable[[OperatorDeps, ApiCall[Any]], Any]


def get(
    path: str, summary: str, *, right: Right = "read", **more: Any
) -> Callable[[Callable[..., Any]], ApiRoute]:
    """Make a function the route that shows what it returns; its call says what the query is."""
    return lambda function: _make_route(
        function, "GET", path, summary, description="What is there.", right=right, **more
    )


def post(
    path: str, summary: str, *, right: Right = "replay", **more: Any
) -> Callable[[Callable[..., Any]], ApiRoute]:
    """Make a function the route that does something and returns what was done.

    Its call says what the form is; `location` is where that is found, with names of its fields in braces.
    """
    return lambda function: _make_route(
        function, "POST", path, summary, description="What was done.", right=right, **more
    )


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
    async def handler(deps: OperatorDeps, call: ApiCall[Any]) -> Response:
        document = await deps.threads.run_for(call.key.name, function, deps, call)
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


def _named_by(parameter: str, meaning: Any) -> Mapping[str, Any]:
    """Return the options of a route whose path names the account, so that no query has to."""
    return {"path_params": {parameter: meaning}, "account_in": parameter}


def _id_of(what: str) -> Any:
    return Annotated[
        str, Meta(description=f"The id of {what}; it begins with its account.", examples=[JOB_ID])
    ]


OF_ACCOUNT: Final = _named_by("account", AccountName)
OF_JOB: Final = _named_by("id", JobId)
PREPARED: Final[Any] = {"status": 201, "problems": (*PROBLEMS, 429), "location": "/v1/replays/{id}"}
OF_REPLAY: Final = _named_by("id", _id_of("a replay"))
OF_MESSAGE: Final = _named_by("id", _id_of("a message of a callback"))
