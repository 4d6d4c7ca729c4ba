"""How the operators' routes are declared: above their handlers, with what most of them have in common."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from msgspec import Meta
from starlette.responses import Response

from producers.portals.http.api_route import ApiRoute, ResponseDoc
from producers.portals.http.query import AccountName, AccountQuery
from producers.portals.http.routes import JOB_ID, JobId
from worker.config.values import Right

PROBLEMS: Final = (404, 422, 503)

Handler = Callable[..., Awaitable[Response]]


def get(
    path: str,
    summary: str,
    *,
    answer: Any,
    right: Right = "read",
    query: Any = AccountQuery,
    **more: Any,
) -> Callable[[Handler], ApiRoute]:
    """Make a handler the route that shows something; by default the query names the account."""
    responses = {200: ResponseDoc("What is there.", answer)}
    return lambda handler: ApiRoute(
        handler, "GET", path, summary, responses, right=right, query=query, problems=PROBLEMS, **more
    )


def post(
    path: str,
    summary: str,
    *,
    answer: Any,
    right: Right = "replay",
    status: int = 200,
    problems: Sequence[int] = PROBLEMS,
    **more: Any,
) -> Callable[[Handler], ApiRoute]:
    """Make a handler the route that does something."""
    responses = {status: ResponseDoc("What was done.", answer)}
    return lambda handler: ApiRoute(
        handler, "POST", path, summary, responses, right=right, problems=problems, **more
    )


def _named_by(parameter: str, meaning: Any) -> Mapping[str, Any]:
    """Return the options of a route whose path names the account, so that no query has to."""
    return {"path_params": {parameter: meaning}, "account_in": parameter, "query": None}


def _id_of(what: str) -> Any:
    return Annotated[
        str, Meta(description=f"The id of {what}; it begins with its account.", examples=[JOB_ID])
    ]


OF_ACCOUNT: Final = _named_by("account", AccountName)
OF_JOB: Final = _named_by("id", JobId)
OF_REPLAY: Final = _named_by("id", _id_of("a replay"))
OF_MESSAGE: Final = _named_by("id", _id_of("a message of a callback"))
