"""The handlers that show something: jobs, batches, the start page, and whether the service is well."""

from starlette.responses import Response

from producers.portals.http.api_route import ApiCall
from producers.portals.http.deps import HttpDeps
from producers.portals.http.endpoint import check_access, job_account
from producers.portals.http.problems import json_response
from producers.portals.http.query import AccountQuery, JobLookupForm, JobPageQuery
from producers.portals.http.start_page import start_response
from producers.portals.serializers import batch_json, job_json
from worker.config import redact
from worker.errors import NotFound


async def get_job(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Show one job."""
    job_id = call.request.path_params["id"]
    job = await deps.threads.run_for(call.key.name, deps.store.get_job, job_id)
    if job is None:
        raise NotFound(f'there is no job "{job_id}" (any more)')
    return json_response(job_json(job, await deps.threads.run_for(call.key.name, deps.waits.of_job, job)))


async def look_up_jobs(deps: HttpDeps, call: ApiCall[JobLookupForm]) -> Response:
    """Show several jobs, in the order of their ids; null for one that is not there (any more)."""
    ids = call.input.jobs
    for account in {job_account(job_id) for job_id in ids}:
        check_access(call.key, "read", account)
    jobs = await deps.threads.run_for(call.key.name, deps.queries.get_jobs, ids)
    waits = await deps.threads.run_for(call.key.name, deps.waits.of_jobs, list(jobs.values()))
    return json_response(
        {"jobs": [job_json(jobs[id_], waits.get(id_)) if id_ in jobs else None for id_ in ids]}
    )


async def list_jobs(deps: HttpDeps, call: ApiCall[JobPageQuery]) -> Response:
    """List the jobs that fit, newest first, one page at a time."""
    query = call.input
    page = await deps.threads.run_for(
        call.key.name,
        deps.queries.find_jobs,
        query.account,
        query.filter(),
        limit=query.limit,
        cursor=query.cursor,
    )
    waits = await deps.threads.run_for(call.key.name, deps.waits.of_jobs, page.jobs)
    return json_response(
        {"jobs": [job_json(job, waits.get(job.id)) for job in page.jobs], "next": page.next or None}
    )


async def get_batch(deps: HttpDeps, call: ApiCall[AccountQuery]) -> Response:
    """Count the jobs of a batch by what has become of them."""
    label = call.request.path_params["label"]
    counts = await deps.threads.run_for(call.key.name, deps.store.batch_counts, call.account, label)
    return json_response(batch_json(call.account, label, counts))


async def get_start_page(_deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Say who is here and where to go on: a page for people, JSON for programs."""
    return start_response(call.request)


async def healthz(_deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer, which shows that the process is up."""
    return json_response({"status": "ok"})


async def readyz(deps: HttpDeps, _call: ApiCall[None]) -> Response:
    """Answer if changes are accepted, and note what is wrong: what is accepted waits until it is mended."""
    deps.current_settings()  # which reads them again if they changed
    troubles = await deps.redis_probe.check()
    notes = [redact(str(trouble)) for trouble in troubles]
    return json_response({"status": "ok", **({"notes": notes} if notes else {})})
