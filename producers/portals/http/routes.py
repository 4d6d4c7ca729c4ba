"""The routes for portals, as a table; a new one is a row here and a row in `docs/reference/http.md`."""

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from msgspec import Meta

from producers.portals.http import handlers
from producers.portals.http.api_route import ApiRoute, ResponseDoc
from producers.portals.http.change_handler import MAX_CHANGES, post_changes
from producers.portals.http.openapi import CHANGE_REF
from producers.portals.http.problems import JobsDict
from producers.portals.http.query import AccountQuery, JobLookupForm, JobPageQuery
from producers.portals.http.start_page import StartDict
from producers.portals.http.webhook_handler import receive_webhook
from producers.portals.serializers import BatchDict, JobDict
from worker.contract import schema

JOB_ID: Final = "acme-1m7y8t1vgssvve752b"
CHANGE: Final[Any] = schema()["examples"][0]

JobId = Annotated[str, Meta(description="The id of a job; it begins with its account.", examples=[JOB_ID])]
BatchLabel = Annotated[str, Meta(description="The `batch` of changes.", examples=["import-7"])]
SourceName = Annotated[
    str, Meta(description="The name of a webhook source of the settings.", examples=["immo"])
]
MorePath = Annotated[
    str, Meta(description="Further parts of the address, which a secret and rules may be read from.")
]
IdempotencyKey = Annotated[
    str,
    Meta(
        description="Names every change without `event_id`: the key, a colon, and its position in the body.",
        pattern="^[ -~]{1,180}$",
    ),
]
Preference = Annotated[
    str, Meta(description="`wait=N`: answer when the jobs have ended, or after N seconds, 30 at most.")
]


class HealthDict(TypedDict):
    """The status of a service that is well; `notes` say what should be looked at."""

    status: str
    notes: NotRequired[list[str]]


class JobPageDict(TypedDict):
    """Jobs, newest first, and the cursor of the next page; null after the last."""

    jobs: list[JobDict]
    next: str | None


class JobLookupDict(TypedDict):
    """Jobs in the order of the ids; null for one that is not there (any more)."""

    jobs: list[JobDict | None]


def _jobs_example(state: str) -> Any:
    return {"jobs": [{"id": JOB_ID, "state": state, "duplicate": False}]}


LOCATION: Final = {"Location": "Where a single job is found."}
ACCEPTED: Final = ResponseDoc("Everything is written.", JobsDict, _jobs_example("queued"), LOCATION)
ENDED: Final = ResponseDoc(
    "Everything is written and has ended; only where `Prefer: wait` asked for it.",
    JobsDict,
    _jobs_example("succeeded"),
    {**LOCATION, "Preference-Applied": "The preference that was applied."},
)
PRESENT: Final = ResponseDoc("The source is known; there was nothing to do.", JobsDict, {"jobs": []})
HEALTHY: Final = ResponseDoc("It is.", HealthDict, {"status": "ok"})
CHANGES_BODY: Final = {
    "application/json": {
        "schema": {"anyOf": [CHANGE_REF, {"type": "array", "items": CHANGE_REF, "maxItems": MAX_CHANGES}]},
        "examples": {"one": {"value": CHANGE}, "several": {"value": [CHANGE]}},
    },
}

WEBHOOK_BODY: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _webhook_route(
    method: Literal["GET", "POST"], below: str, summary: str, *, operation: str = ""
) -> ApiRoute:
    """Return a route by which a source's messages come, at its address or below it."""
    return ApiRoute(
        receive_webhook,
        method,
        f"/webhooks/{{source}}{below}",
        summary,
        {202: ACCEPTED, 200: PRESENT},
        operation=operation,
        path_params={"source": SourceName, **({"rest": MorePath} if below else {})},
        body=WEBHOOK_BODY if method == "POST" else {},
        problems=(401, 404, 405, 410, 503),
    )


PORTAL_ROUTES: Final = (
    ApiRoute(
        post_changes,
        "POST",
        "/v1/changes",
        "Accept changes",
        {202: ACCEPTED, 200: ENDED},
        right="send",
        headers={"Idempotency-Key": IdempotencyKey, "Prefer": Preference},
        body=CHANGES_BODY,
        problems=(429, 503),
    ),
    ApiRoute(
        handlers.list_jobs,
        "GET",
        "/v1/jobs",
        "Find jobs of an account, newest first",
        {200: ResponseDoc("A page of jobs.", JobPageDict)},
        right="read",
        query=JobPageQuery,
        problems=(422, 503),
    ),
    ApiRoute(
        handlers.look_up_jobs,
        "POST",
        "/v1/jobs/lookup",
        "Show several jobs",
        {200: ResponseDoc("The jobs.", JobLookupDict)},
        right="read",
        form=JobLookupForm,
        form_example={"jobs": [JOB_ID]},
        problems=(503,),
    ),
    ApiRoute(
        handlers.get_job,
        "GET",
        "/v1/jobs/{id}",
        "Show a job",
        {200: ResponseDoc("The job.", JobDict)},
        right="read",
        account_in="id",
        path_params={"id": JobId},
        problems=(404, 503),
    ),
    ApiRoute(
        handlers.get_batch,
        "GET",
        "/v1/batches/{label:path}",
        "Show how far the jobs of a batch are",
        {200: ResponseDoc("Counts of its jobs.", BatchDict)},
        right="read",
        path_params={"label": BatchLabel},
        query=AccountQuery,
        problems=(404, 422, 503),
    ),
    _webhook_route(
        "GET",
        "",
        "Take a message whose query carries all, as onOffice's; without a query, only answer",
        operation="receiveOnofficeWebhook",
    ),
    _webhook_route("POST", "", "Take a message of a webhook, proved as the source's scheme has it"),
    _webhook_route(
        "GET",
        "/{rest:path}",
        "The same, where the address has more parts",
        operation="receiveOnofficeWebhookBelow",
    ),
    _webhook_route(
        "POST",
        "/{rest:path}",
        "Take a message of a webhook whose address has more parts: a secret, or what it is about",
        operation="receiveWebhookBelow",
    ),
    ApiRoute(
        handlers.get_start_page,
        "GET",
        "/",
        "Who is here, and where to go on: JSON, or a page for a browser",
        {200: ResponseDoc("It.", StartDict)},
    ),
    ApiRoute(handlers.healthz, "GET", "/healthz", "Whether the process is up", {200: HEALTHY}),
    ApiRoute(
        handlers.readyz, "GET", "/readyz", "Whether Redis takes changes", {200: HEALTHY}, problems=(503,)
    ),
)
