"""The routes that show jobs and batches to portals."""

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from producers.portals.http.api_route import ApiCall
from producers.portals.http.deps import HttpDeps
from producers.portals.http.problems import json_response
from producers.portals.http.query import AccountQuery, JobPageQuery
from producers.portals.serializers import batch_json, job_json
from worker.errors import NotFound


async def get_job(deps: HttpDeps, call: ApiCall[None]) -> Response:
    """Show one job."""
    job_id = call.request.path_params["id"]
    job = await run_in_threadpool(deps.store.get_job, job_id)
    if job is None:
        raise NotFound(f'there is no job "{job_id}" (any more)')
    return json_response(job_json(job))


async def list_jobs(deps: HttpDeps, call: ApiCall[JobPageQuery]) -> Response:
    """List the jobs that fit, newest first, one page at a time."""
    query = call.input
    page = await run_in_threadpool(
        deps.queries.find_jobs, query.account, query.filter(), limit=query.limit, cursor=query.cursor
    )
    return json_response({"jobs": [job_json(job) for job in page.jobs], "next": page.next or None})


async def get_batch(deps: HttpDeps, call: ApiCall[AccountQuery]) -> Response:
    """Count the jobs of a batch by what has become of them."""
    label = call.request.path_params["label"]
    counts = await run_in_threadpool(deps.store.batch_counts, call.account, label)
    return json_response(batch_json(call.account, label, counts))
