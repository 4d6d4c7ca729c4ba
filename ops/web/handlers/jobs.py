"""What became of jobs, which failures wait for a decision, and acting on jobs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ops.explain.text import format_tally
from ops.lookups import read_outcomes
from ops.serializers.acts import ActedDict
from ops.serializers.failures import FailuresDict
from ops.serializers.jobs import PayloadDict, RelationOutcomesDict, serialize_payload
from ops.web.deps import OperatorDeps
from ops.web.forms import OF_JOB, JobActionForm, ResolveForm
from producers.job_admin.cancel_dismiss import CANCELLABLE, DISMISSABLE
from producers.job_admin.resolve import PARKED, preview_choice
from producers.job_admin.selection import SelectedJobs, describe_selection, narrow_to_relations, select_jobs
from producers.portals.http.api_route import ApiCall, get, post
from producers.portals.http.endpoint import job_account
from producers.portals.http.query import AccountQuery
from worker.errors import NotFound
from worker.ports.job_admin import AdminResult
from worker.ports.records import JobState

MAX_JOBS: Final = 10_000  # that one call acts on; the response says whether there are more
JOBS_EXAMPLE: Final = {"account": "acme", "batch": "import-7", "dry_run": True}


@get("/v1/errors", "What failed and waits for a decision, by error and type")
def list_failures(deps: OperatorDeps, call: ApiCall[AccountQuery]) -> FailuresDict:
    """List what failed and waits for a decision, by error and type, and by suspect record."""
    return deps.operations.list_failures(call.account)


@get("/v1/jobs/{id}/relations", "Show what became of each relation of a job", **OF_JOB)
def list_outcomes(deps: OperatorDeps, call: ApiCall[None]) -> RelationOutcomesDict:
    """Show what became of each relation of a job."""
    job = deps.operations.get_job(call.id)
    if job is None:
        raise NotFound(f'there is no job "{call.id}" (any more)')
    return {"relations": read_outcomes(deps.runtime.queries, job)}


@get("/v1/jobs/{id}/payload", "Show the unreadable message that a job stands for", right="replay", **OF_JOB)
def get_payload(deps: OperatorDeps, call: ApiCall[None]) -> PayloadDict:
    """Show the unreadable message that a job stands for, as it came."""
    message = deps.operations.get_payload(call.id)
    if message is None:
        raise NotFound(f"nothing is kept of a message for {call.id}")
    return serialize_payload(message)


@post("/v1/jobs/cancel", "End queued changes", form_example=JOBS_EXAMPLE)
def cancel_jobs(deps: OperatorDeps, call: ApiCall[JobActionForm]) -> ActedDict:
    """End changes that wait, in the inbox or taken; what is under way or in doubt goes on."""
    return _act(deps, call, deps.operations.cancel, CANCELLABLE)


@post("/v1/jobs/dismiss", "Take failures that need no replay off the list", form_example=JOBS_EXAMPLE)
def dismiss_jobs(deps: OperatorDeps, call: ApiCall[JobActionForm]) -> ActedDict:
    """Take failures that need no replay off the list of those that wait for a decision."""
    return _act(deps, call, deps.operations.dismiss, DISMISSABLE)


@post(
    "/v1/jobs/look-up-records",
    "Have the records of parked changes looked up at once",
    form_example={"account": "acme", "state": "parked"},
)
def look_up_records(deps: OperatorDeps, call: ApiCall[JobActionForm]) -> ActedDict:
    """Have the records of parked changes looked up at once."""
    return _act(deps, call, deps.operations.look_up, PARKED)


@post(
    "/v1/jobs/{id}/resolve",
    "Say which records the references of a job are",
    form_example={"childid": 9001},
    **OF_JOB,
)
def resolve_job(deps: OperatorDeps, call: ApiCall[ResolveForm]) -> ActedDict:
    """Say which records the references of a job are; then the change is carried out."""
    form = call.input
    about = job_account(call.id), call.id, form.choice()
    if form.dry_run:
        _, jobs = preview_choice(deps.operations, *about, everywhere=form.all)
        return _acted(jobs, {}, dry_run=True)
    result = deps.operations.resolve(*about, by=call.key.name, everywhere=form.all)
    return _acted(result.done, result.refused)


def _act(
    deps: OperatorDeps,
    call: ApiCall[JobActionForm],
    act: Callable[..., AdminResult],
    states: Sequence[JobState],
) -> ActedDict:
    """Act on the selected jobs that are in these states; with `dry_run` only name them.

    Jobs that are named by their ids are acted on as they are, so that a repeated call answers the same.
    """
    form, selection = call.input, call.input.ids_or_filter()
    jobs, refused, more = SelectedJobs(form.jobs, {})
    if form.dry_run or not jobs:
        jobs, refused, more = select_jobs(deps.operations, form.account, selection, states, most=MAX_JOBS)
    if jobs and not form.dry_run:
        chosen, note = selection, ""
        if not form.jobs:
            chosen = narrow_to_relations(jobs, selection) if states is DISMISSABLE else jobs
            note = f"of {describe_selection(selection)}"
        result = act(form.account, chosen, by=call.key.name, note=note)
        jobs, refused = result.done, {**refused, **result.refused}
    return _acted(jobs, refused, dry_run=form.dry_run, more=more)


def _acted(
    jobs: Sequence[str], refused: Mapping[str, str], *, dry_run: bool = False, more: bool = False
) -> ActedDict:
    summary = format_tally(Counter(refused.values()))
    return {"dry_run": dry_run, "jobs": list(jobs), "refused": {**refused}, "more": more, "summary": summary}
