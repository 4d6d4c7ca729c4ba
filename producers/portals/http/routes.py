"""The routes for portals; a new one stands above its function here, and in `docs/reference/http.md`."""

from functools import partial
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from msgspec import Meta
from starlette.responses import Response

from producers.portals.http.api_route import JOB_ID, ApiCall, ApiRoute, JobId, ResponseDoc, get, post
from producers.portals.http.change_handler import MAX_CHANGES, post_changes, preferred_wait
from producers.portals.http.deps import HttpDeps
from producers.portals.http.endpoint import check_access, job_account
from producers.portals.http.openapi import CHANGE_REF
from producers.portals.http.problems import JobsDict, json_response, preference_applied
from producers.portals.http.query import AccountQuery, JobLookupForm, JobPageQuery
from producers.portals.http.start_page import StartDict, start_response
from producers.portals.http.webhook_handler import receive_webhook
from producers.portals.serializers import BatchDict, JobDict, batch_json, job_json
from worker.config import redact
from worker.contract import schema
from worker.errors import NotFound

CHANGE: Final[Any] = schema()["examples"][0]

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


APPLIED: Final = {"Preference-Applied": "The preference that was applied: all has ended."}
LOCATION: Final = {"Location": "Where a single job is found."}
ACCEPTED: Final = ResponseDoc("Everything is written.", JobsDict, _jobs_example("queued"), LOCATION)
ENDED: Final = ResponseDoc(
    "Everything is written and has ended; only where `Prefer: wait` asked for it.",
    JobsDict,
    _jobs_example("succeeded"),
    {**LOCATION, **APPLIED},
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
        form_required=False,
        problems=(401, 404, 405, 410, 503),
    )


@get(
    "/v1/jobs",
    "Find jobs of an account, newest first",
    description="A page of jobs.",
    problems=(422, 503),
)
def list_jobs(deps: HttpDeps, call: ApiCall[JobPageQuery]) -> JobPageDict:
    """List the jobs that fit, newest first, one page at a time."""
    runtime, query = deps.runtime, call.input
    page = runtime.queries.find_jobs(query.account, query.filter(), limit=query.limit, cursor=query.cursor)
    waits = runtime.waits.of_jobs(page.entries)
    return {"jobs": [job_json(job, waits.get(job.id)) for job in page.entries], "next": page.next or None}


@post(
    "/v1/jobs/lookup",
    "Show several jobs",
    right="read",
    description="The jobs.",
    form_example={"jobs": [JOB_ID]},
    problems=(503,),
)
def look_up_jobs(deps: HttpDeps, call: ApiCall[JobLookupForm]) -> JobLookupDict:
    """Show several jobs, in the order of their ids; null for one that is not there (any more)."""
    runtime, ids = deps.runtime, call.input.jobs
    for account in {job_account(job_id) for job_id in ids}:
        check_access(call.key, "read", account)
    jobs = runtime.queries.get_jobs(ids)
    waits = runtime.waits.of_jobs(list(jobs.values()))
    return {"jobs": [job_json(jobs[id_], waits.get(id_)) if id_ in jobs else None for id_ in ids]}


async def get_job(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Show one job; with `Prefer: wait` when it has ended, or as it is when the time is over."""
    wait = preferred_wait(call.request)
    read = partial(deps.threads.read_for, call.key.name, _read_job, deps, call.id)
    document: JobDict = await read()
    if wait and document["finished_at"] is None:
        await deps.job_poller.wait_until_ended({call.id}, wait)
        document = await read()
    return json_response(document, headers=preference_applied(wait if document["finished_at"] else 0))


def _read_job(deps: HttpDeps, job_id: str) -> JobDict:
    if (job := deps.runtime.store.get_job(job_id)) is None:
        raise NotFound(f'there is no job "{job_id}" (any more)')
    return job_json(job, deps.runtime.waits.of_job(job))


@get(
    "/v1/batches/{label:path}",
    "Show how far the jobs of a batch are",
    description="Counts of its jobs.",
    path_params={"label": BatchLabel},
)
def get_batch(deps: HttpDeps, call: ApiCall[AccountQuery]) -> BatchDict:
    """Count the jobs of a batch by what has become of them."""
    label = call.request.path_params["label"]
    return batch_json(call.account, label, deps.runtime.store.batch_counts(call.account, label))


async def get_start_page(_deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Say who is here and where to go on: a page for people, JSON for programs."""
    return start_response(call.request)


async def healthz(_deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer, which shows that the process is up."""
    return json_response({"status": "ok"})


async def readyz(deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer if changes are accepted, and note what is wrong: what is accepted waits until it is mended."""
    deps.runtime.live_settings.refresh()  # which reads them again if they changed
    troubles = await deps.redis_probe.check()
    notes = [redact(str(trouble)) for trouble in troubles]
    return json_response({"status": "ok", **({"notes": notes} if notes else {})})


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
    list_jobs,
    look_up_jobs,
    ApiRoute(
        get_job,
        "GET",
        "/v1/jobs/{id}",
        "Show a job",
        {200: ResponseDoc("The job.", JobDict, headers=APPLIED)},
        right="read",
        account_in="id",
        path_params={"id": JobId},
        headers={"Prefer": Preference},
        problems=(404, 503),
    ),
    get_batch,
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
        get_start_page,
        "GET",
        "/",
        "Who is here, and where to go on: JSON, or a page for a browser",
        {200: ResponseDoc("It.", StartDict)},
    ),
    ApiRoute(healthz, "GET", "/healthz", "Whether the process is up", {200: HEALTHY}),
    ApiRoute(readyz, "GET", "/readyz", "Whether Redis takes changes", {200: HEALTHY}, problems=(503,)),
)
