"""Every route of the HTTP interface, once: what serves it and how it is described. A new one is a line here and a row in the docs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, TypedDict

from starlette.requests import Request
from starlette.responses import Response

from producers.portals.http import problems
from producers.portals.http.handlers import Routes
from producers.portals.http.openapi import Answer, Body, Document, Operation, Text, change_ref, document
from producers.portals.http.problems import JobsDict
from producers.portals.http.query import Listing, OneAccount
from producers.portals.serializers import BatchDict, JobDict
from worker.contract import schema

Handler = Callable[[Routes, Request], Awaitable[Response]]


class Health(TypedDict):
    """That all is well."""

    status: str


class JobPageDict(TypedDict):
    """Jobs, newest first, and the cursor of the next page; null after the last."""

    jobs: list[JobDict]
    next: str | None


CHANGE: Final[Mapping[str, Any]] = schema()["examples"][0]
JOB: Final = Text(
    description="The id of a job; it begins with its account.", example="acme-1m7y8t1vgssvve752b"
)
LABEL: Final = Text(description="The `batch` of changes.", example="import-7")
SOURCE: Final = Text(description="The name of a webhook source of the settings.", example="immo")
KEY: Final = Text(
    description="Names every change that has no `event_id`: the key, a colon, and its position in the body.",
    pattern="^[ -~]{1,180}$",
)
PREFER: Final = Text(description="`wait=N`: answer when the jobs have ended, or after N seconds, 30 at most.")
ACCEPTED: Final = {"jobs": [{"id": JOB.example, "state": "queued", "duplicate": False}]}
LOCATION: Final = {"Location": "Where a single job is found."}
OK: Final = Answer(description="It is.", type=Health, example={"status": "ok"})
CHANGES: Final = Body(
    schemas={
        "application/json": {
            "anyOf": [change_ref(), {"type": "array", "items": change_ref(), "maxItems": 10_000}]
        },
        "application/x-ndjson": {"type": "string", "description": "One change per line."},
    },
    examples={"application/json": {"one": CHANGE, "several": [CHANGE]}},
)


async def openapi(routes: Routes, _request: Request) -> Response:
    """`GET /openapi.json`."""
    return problems.answer(routes.described)


def described(table: Sequence[tuple[Operation, Handler]]) -> Document:
    """The description of an interface that has these routes."""
    return document([operation for operation, _ in table], version=version("onoffice-relations"))


TABLE: Final[tuple[tuple[Operation, Handler], ...]] = (
    (
        Operation(
            method="POST",
            path="/v1/changes",
            summary="Accept changes",
            right="send",
            headers={"Idempotency-Key": KEY, "Prefer": PREFER},
            body=CHANGES,
            answers={
                202: Answer(
                    description="Everything is written.", type=JobsDict, example=ACCEPTED, headers=LOCATION
                ),
                200: Answer(
                    description="Everything is written and has ended; only where `Prefer: wait` asked for it.",
                    type=JobsDict,
                    example={"jobs": [{"id": JOB.example, "state": "succeeded", "duplicate": False}]},
                    headers={**LOCATION, "Preference-Applied": "The wish that was followed."},
                ),
            },
            problems=(429, 503),
        ),
        Routes.post_changes,
    ),
    (
        Operation(
            method="GET",
            path="/v1/jobs",
            summary="Find jobs of an account, newest first",
            right="read",
            query=Listing,
            answers={200: Answer(description="A page of jobs.", type=JobPageDict)},
            problems=(422, 503),
        ),
        Routes.get_jobs,
    ),
    (
        Operation(
            method="GET",
            path="/v1/jobs/{id}",
            summary="Show a job",
            right="read",
            places={"id": JOB},
            answers={200: Answer(description="The job.", type=JobDict)},
            problems=(404, 503),
        ),
        Routes.get_job,
    ),
    (
        Operation(
            method="GET",
            path="/v1/batches/{label:path}",
            summary="Show how far the jobs of a batch are",
            right="read",
            places={"label": LABEL},
            query=OneAccount,
            answers={200: Answer(description="Counts of its jobs.", type=BatchDict)},
            problems=(404, 422, 503),
        ),
        Routes.get_batch,
    ),
    *(
        (
            Operation(
                method=method,
                path="/webhooks/{source}",
                summary=summary,
                places={"source": SOURCE},
                body=body,
                answers={
                    202: Answer(
                        description="Everything is written.",
                        type=JobsDict,
                        example=ACCEPTED,
                        headers=LOCATION,
                    )
                },
                problems=(401, 404, 405, 422, 429, 503),
            ),
            Routes.webhook,
        )
        for method, summary, body in (
            ("GET", "Take a message of onOffice; its query carries all, signed", None),
            (
                "POST",
                "Take a message of a webhook, proved as the source's scheme has it",
                Body(schemas={"*/*": {}}),
            ),
        )
    ),
    (
        Operation(method="GET", path="/healthz", summary="Whether the process is up", answers={200: OK}),
        Routes.healthz,
    ),
    (
        Operation(
            method="GET", path="/readyz", summary="Whether Redis answers", answers={200: OK}, problems=(503,)
        ),
        Routes.readyz,
    ),
    (
        Operation(
            method="GET",
            path="/openapi.json",
            summary="This description",
            answers={200: Answer(description="An OpenAPI 3.1 document.", type=dict[str, Any])},
        ),
        openapi,
    ),
)
