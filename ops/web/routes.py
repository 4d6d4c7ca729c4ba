"""The operators' routes, once: what serves each and how it is described; joined to the producers' by `relations api`."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ops.web import handlers
from ops.web.forms import Chosen, Erasure, Newest, PageQuery, Paused, Replayed
from producers.portals.http.handlers import Routes
from producers.portals.http.openapi import Answer, Body, Operation, Text
from producers.portals.http.query import OneAccount
from producers.portals.http.routes import Handler
from worker.config.values import Right

JSON: Final = "application/json"
TEXT: Final = Answer(description="The text format, or OpenMetrics.", type=str, kind="text/plain")
REPLAY: Final = Text(
    description="The id of a replay; it begins with its account.", example="acme-1m7y8t1vgssvve752b"
)
REQUEST: Final = Text(description="The id of a request.", example="1m7y8t1vgssvve752b")
ACCOUNT: Final = Text(description="The name of an account.", example="acme")
PLACES: Final = {
    "type": Text(description="A relation type, by its short name or URN.", example="estate:address:buyer"),
    "parent": Text(description="The id of the parent.", pattern="^[1-9][0-9]*$", example="501"),
    "child": Text(description="The id of the child.", pattern="^[1-9][0-9]*$", example="9001"),
}
EXAMPLES: Final[dict[str, Any]] = {
    "chosen": {"account": "acme", "batch": "import-7", "dry_run": True},
    "replay": {"account": "acme", "error": "160", "since": "2026-11-20T18:00:00Z"},
    "erasure": {"account": "acme", "module": "address", "id": 9001},
    "pause": {"why": "moving to the new API user"},
}


def _get(
    path: str,
    summary: str,
    handler: Handler,
    *,
    query: Any = OneAccount,
    right: Right = "read",
    places: Any = None,
) -> tuple[Operation, Handler]:
    answer = Answer(description="What is there.", type=dict[str, Any])
    return (
        Operation(
            method="GET",
            path=path,
            summary=summary,
            right=right,
            query=query,
            places=places or {},
            answers={200: answer},
            problems=(404, 422, 503),
        ),
        handler,
    )


def _post(
    path: str,
    summary: str,
    handler: Handler,
    *,
    form: Any = None,
    example: str = "",
    right: Right = "replay",
    places: Any = None,
    status: int = 200,
) -> tuple[Operation, Handler]:
    body = (
        Body(
            schemas={JSON: _schema(form)},
            examples={JSON: {example: EXAMPLES[example]}},
            required=form is not Paused,
        )
        if form
        else None
    )
    answer = Answer(description="What was done.", type=dict[str, Any])
    return (
        Operation(
            method="POST",
            path=path,
            summary=summary,
            right=right,
            body=body,
            places=places or {},
            answers={status: answer},
            problems=(404, 422, 503),
        ),
        handler,
    )


def _schema(form: Any) -> dict[str, Any]:
    """The form's own schema, with what it refers to inside."""
    (shape,), parts = msgspec.json.schema_components([form], ref_template="{name}")
    return parts[shape["$ref"]] if "$ref" in shape else shape


def operators_table(
    hand: Callable[[str], None], scrape: Callable[[Request], Awaitable[Response]]
) -> Sequence[tuple[Operation, Handler]]:
    """The routes; `hand` gives a replay to a worker, `scrape` serves the metrics."""

    async def metrics(_: Routes, request: Request) -> Response:
        return await scrape(request)

    return (
        (
            Operation(
                method="GET",
                path="/metrics",
                summary="Numbers for Prometheus",
                answers={200: TEXT},
                problems=(503,),
            ),
            metrics,
        ),
        _get(
            "/v1/relations/{type:path}/{parent:int}/{child:int}",
            "Explain a relation",
            handlers.relation,
            places=PLACES,
        ),
        _get("/v1/errors", "What failed and waits for a decision, by error and type", handlers.errors),
        _get("/v1/requests", "What was sent and answered, newest first", handlers.requests, query=PageQuery),
        _get("/v1/requests/{id}", "Show a request", handlers.one_request, places={"id": REQUEST}),
        _get("/v1/audit", "Who did what, newest first", handlers.audit, query=PageQuery, right="admin"),
        _get(
            "/v1/accounts", "The accounts of the key: backlog, pace, breaker", handlers.accounts, query=None
        ),
        _post(
            "/v1/accounts/{account}/pause",
            "Stop an account",
            handlers.pause,
            right="admin",
            places={"account": ACCOUNT},
            form=Paused,
            example="pause",
        ),
        _post(
            "/v1/accounts/{account}/resume",
            "Let an account go on",
            handlers.resume,
            right="admin",
            places={"account": ACCOUNT},
        ),
        _post("/v1/jobs/cancel", "End queued changes", handlers.cancel, form=Chosen, example="chosen"),
        _post(
            "/v1/jobs/dismiss",
            "Take failures that need no replay off the list",
            handlers.dismiss,
            form=Chosen,
            example="chosen",
        ),
        _post(
            "/v1/replays",
            "Fix a set of failed jobs, and show what would be sent",
            handlers.post_replay,
            form=Replayed,
            example="replay",
            status=201,
        ),
        _get(
            "/v1/replays", "The replays of the last week, newest first", handlers.list_replays, query=Newest
        ),
        _get("/v1/replays/{id}", "Show a replay", handlers.get_replay, query=None, places={"id": REPLAY}),
        _post(
            "/v1/replays/{id}/run",
            "Run a replay",
            partial(handlers.run_replay, hand),
            places={"id": REPLAY},
            status=202,
        ),
        _post("/v1/replays/{id}/cancel", "Stop a replay", handlers.stop_replay, places={"id": REPLAY}),
        _post(
            "/v1/erasures",
            "Take a record out of everything that is kept",
            handlers.post_erasure,
            form=Erasure,
            example="erasure",
            right="admin",
        ),
    )
