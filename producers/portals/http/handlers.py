"""The handlers that show something: jobs, batches, the start page, and whether the service is well."""

from starlette.responses import Response

from producers.portals.http.api_route import ApiCall
from producers.portals.http.deps import HttpDeps
from producers.portals.http.endpoint import check_access, job_account
from producers.portals.http.problems import json_response
from producers.portals.http.query import AccountQuery, JobLookupForm, JobPageQuery
from producers.portals.http.start_page import start_response
from producers.portals.serializers import JobDict, batch_json, job_json
from worker.config import redact
from worker.errors import NotFound


async def get_job(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Show one job."""
    runtime, job_id = deps.runtime, call.request.path_params["id"]

    def show() -> JobDict:
        if (job := runtime.store.get_job(job_id)) is None:
            raise NotFound(f'there is no job "{job_id}" (any more)')
        return job_json(job, runtime.waits.of_job(job))

    return json_response(await deps.threads.run_for(call.key.name, show))


async def look_up_jobs(deps: HttpDeps, call: ApiCall[JobLookupForm]) -> Response:
    """Show several jobs, in the order of their ids; null for one that is not there (any more)."""
    runtime, ids = deps.runtime, call.input.jobs
    for account in {job_account(job_id) for job_id in ids}:
        check_access(call.key, "read", account)

    def show() -> list[JobDict | None]:
        jobs = runtime.queries.get_jobs(ids)
        waits = runtime.waits.of_jobs(list(jobs.values()))
        return [job_json(jobs[id_], waits.get(id_)) if id_ in jobs else None for id_ in ids]

    return json_response({"jobs": await deps.threads.run_for(call.key.name, show)})


async def list_jobs(deps: HttpDeps, call: ApiCall[JobPageQuery]) -> Response:
    """List the jobs that fit, newest first, one page at a time."""
    runtime, query = deps.runtime, call.input
    wanted = query.filter()

    def show() -> dict[str, object]:
        page = runtime.queries.find_jobs(query.account, wanted, limit=query.limit, cursor=query.cursor)
        waits = runtime.waits.of_jobs(page.entries)
        return {"jobs": [job_json(job, waits.get(job.id)) for job in page.entries], "next": page.next or None}

    return json_response(await deps.threads.run_for(call.key.name, show))


async def get_batch(deps: HttpDeps, call: ApiCall[AccountQuery]) -> Response:
    """Count the jobs of a batch by what has become of them."""
    label = call.request.path_params["label"]
    count = deps.runtime.store.batch_counts
    counts = await deps.threads.run_for(call.key.name, count, call.account, label)
    return json_response(batch_json(call.account, label, counts))


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
