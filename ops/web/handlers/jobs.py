"""What became of jobs, which failures wait for a decision, and acting on jobs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from starlette.responses import Response

from ops.explain.text import format_tally
from ops.job_outcomes import read_outcomes
from ops.serializers.acts import ActedDict
from ops.serializers.failures import FailuresDict, serialize_failures
from ops.serializers.jobs import PayloadDict, RelationOutcomesDict, serialize_payload
from ops.web.deps import OperatorDeps
from ops.web.forms import JobActionForm, ResolveForm
from ops.web.operator_route import OF_JOB, get, post
from producers.job_admin.cancel_dismiss import CANCELLABLE, DISMISSABLE
from producers.job_admin.resolve import PARKED, preview_choice
from producers.job_admin.selection import SelectedJobs, describe_selection, narrow_to_relations, select_jobs
from producers.portals.http.api_route import ApiCall
from producers.portals.http.endpoint import job_account
from producers.portals.http.problems import json_response
from producers.portals.http.query import AccountQuery
from worker.errors import NotFound
from worker.ports.job_admin import AdminResult
from worker.ports.records import JobState

MAX_JOBS: Final = 10_000  # that one call acts on; the response says whether there are more
JOBS_EXAMPLE: Final = {"account": "acme", "batch": "import-7", "dry_run": True}


@get("/v1/errors", "What failed and waits for a decision, by error and type", answer=FailuresDict)
async def list_failures(deps: OperatorDeps, call: ApiCall[AccountQuery]) -> Response:
    """List what failed and waits for a decision, by error and type, and by suspect record."""
    account = call.account
    groups = await deps.run(call, deps.operations.failure_groups, account)
    suspects = await deps.run(call, deps.operations.find_suspects, account)
    return json_response(serialize_failures(account, groups, suspects))


@get(
    "/v1/jobs/{id}/relations",
    "Show what became of each relation of a job",
    answer=RelationOutcomesDict,
    **OF_JOB,
)
async def list_outcomes(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show what became of each relation of a job."""
    job_id = call.request.path_params["id"]
    job = await deps.run(call, deps.operations.get_job, job_id)
    if job is None:
        raise NotFound(f'there is no job "{job_id}" (any more)')
    outcomes = await deps.run(call, read_outcomes, deps.runtime.queries, job)
    return json_response({"relations": [outcome.to_json() for outcome in outcomes]})


@get(
    "/v1/jobs/{id}/payload",
    "Show the unreadable message that a job stands for",
    answer=PayloadDict,
    right="replay",
    **OF_JOB,
)
async def get_payload(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Show the unreadable message that a job stands for, as it came."""
    job_id = call.request.path_params["id"]
    message = await deps.run(call, deps.operations.get_payload, job_id)
    if message is None:
        raise NotFound(f"nothing is kept of a message for {job_id}")
    return json_response(serialize_payload(message))


@post(
    "/v1/jobs/cancel", "End queued changes", answer=ActedDict, form=JobActionForm, form_example=JOBS_EXAMPLE
)
async def cancel_jobs(deps: OperatorDeps, call: ApiCall[JobActionForm]) -> Response:
    """End changes that wait, in the inbox or taken; what is under way or in doubt goes on."""
    return await _act(deps, call, deps.services.jobs.cancel, CANCELLABLE)


@post(
    "/v1/jobs/dismiss",
    "Take failures that need no replay off the list",
    answer=ActedDict,
    form=JobActionForm,
    form_example=JOBS_EXAMPLE,
)
async def dismiss_jobs(deps: OperatorDeps, call: ApiCall[JobActionForm]) -> Response:
    """Take failures that need no replay off the list of those that wait for a decision."""
    return await _act(deps, call, deps.services.jobs.dismiss, DISMISSABLE)


@post(
    "/v1/jobs/look-up-records",
    "Have the records of parked changes looked up at once",
    answer=ActedDict,
    form=JobActionForm,
    form_example={"account": "acme", "state": "parked"},
)
async def look_up_records(deps: OperatorDeps, call: ApiCall[JobActionForm]) -> Response:
    """Have the records of parked changes looked up at once."""
    return await _act(deps, call, deps.services.references.look_up, PARKED)


@post(
    "/v1/jobs/{id}/resolve",
    "Say which records the references of a job are",
    answer=ActedDict,
    form=ResolveForm,
    form_example={"childid": 9001},
    **OF_JOB,
)
async def resolve_job(deps: OperatorDeps, call: ApiCall[ResolveForm]) -> Response:
    """Say which records the references of a job are; then the change is carried out."""
    form, job_id, service = call.input, call.request.path_params["id"], deps.services.references
    about = job_account(job_id), job_id, form.choice()
    if form.dry_run:
        _, jobs = await deps.run(call, preview_choice, deps.operations, *about, everywhere=form.all)
        return _acted(jobs, {}, dry_run=True)
    result = await deps.run(call, service.resolve, *about, by=call.key.name, everywhere=form.all)
    return _acted(result.done, result.refused)


async def _act(
    deps: OperatorDeps,
    call: ApiCall[JobActionForm],
    act: Callable[..., AdminResult],
    states: Sequence[JobState],
) -> Response:
    """Act on the selected jobs that are in these states; with `dry_run` only name them.

    Jobs that are named by their ids are acted on as they are, so that a repeated call answers the same.
    """
    form, selection = call.input, call.input.ids_or_filter()
    jobs, refused, more = SelectedJobs(form.jobs, {})
    if form.dry_run or not jobs:
        jobs, refused, more = await deps.run(
            call, select_jobs, deps.operations, form.account, selection, states, most=MAX_JOBS
        )
    if jobs and not form.dry_run:
        chosen, note = selection, ""
        if not form.jobs:
            chosen = narrow_to_relations(jobs, selection) if states is DISMISSABLE else jobs
            note = f"of {describe_selection(selection)}"
        result = await deps.run(call, act, form.account, chosen, by=call.key.name, note=note)
        jobs, refused = result.done, {**refused, **result.refused}
    return _acted(jobs, refused, dry_run=form.dry_run, more=more)


def _acted(
    jobs: Sequence[str], refused: Mapping[str, str], *, dry_run: bool = False, more: bool = False
) -> Response:
    summary = format_tally(Counter(refused.values()))
    return json_response(
        {"dry_run": dry_run, "jobs": jobs, "refused": refused, "more": more, "summary": summary}
    )
