"""Handlers by which operators act: pause accounts; cancel, dismiss and replay jobs; erase records.

Each action stands in the audit log under the name of the key.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from starlette.responses import Response

from ops.explain.text import format_tally
from ops.serializers.callbacks import serialize_message
from ops.serializers.drift import serialize_drift_page
from ops.serializers.replays import serialize_replay
from ops.web.deps import OperatorDeps
from ops.web.forms import (
    CallbackTestForm,
    DriftForm,
    ErasureForm,
    JobActionForm,
    PauseForm,
    RepairForm,
    ReplayForm,
    ResolveForm,
)
from producers.job_admin.cancel_dismiss import CANCELLABLE, DISMISSABLE
from producers.job_admin.resolve import PARKED
from producers.job_admin.selection import describe_selection, narrow_to_relations
from producers.portals.http.api_route import ApiCall
from producers.portals.http.endpoint import check_access, job_account
from producers.portals.http.problems import error_response, json_response
from worker.ports import UNROUTED, AdminResult, JobState, Replay

MAX_JOBS: Final = 10_000  # that one call acts on; the response says whether there are more


async def pause_account(deps: OperatorDeps, call: ApiCall[PauseForm]) -> Response:
    """Stop sending for an account until it is resumed."""
    account = deps.account(call.account)
    await deps.run(call, deps.operations.pause_account, account, call.input.why, by=call.key.name)
    return json_response({"account": account, "paused": True})


async def resume_account(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Let an account go on, at full pace and with its breaker closed."""
    account = deps.account(call.account)
    resumed = await deps.run(call, deps.operations.resume_account, account, by=call.key.name)
    return json_response(resumed.to_json())


async def check_account(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Try the credentials of an account by a harmless read."""
    account = deps.account(call.account)
    findings = await deps.run(call, lambda: list(deps.operations.check_account(account)))
    return json_response({"findings": [finding.to_json() for finding in findings]})


async def resend_callback_message(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Let a worker send a message of a callback again, under the id that it has."""
    message_id = call.request.path_params["id"]
    message = await deps.run(call, deps.operations.resend_callback_message, message_id, by=call.key.name)
    return json_response(serialize_message(message), status=202)


async def test_callback(deps: OperatorDeps, call: ApiCall[CallbackTestForm]) -> Response:
    """Send a message that nobody waits for to a callback, from here and at once."""
    name, account = call.input.callback, deps.account(call.input.account)
    attempt = await deps.run(call, deps.operations.test_callback, name, account)
    return json_response(
        {"callback": name, "taken": attempt.is_taken, "status": attempt.status, "error": attempt.error}
    )


async def cancel_jobs(deps: OperatorDeps, call: ApiCall[JobActionForm]) -> Response:
    """End changes that wait, in the inbox or taken; what is under way or in doubt goes on."""
    return await _act(deps, call, deps.services.jobs.cancel, CANCELLABLE)


async def dismiss_jobs(deps: OperatorDeps, call: ApiCall[JobActionForm]) -> Response:
    """Take failures that need no replay off the list of those that wait for a decision."""
    return await _act(deps, call, deps.services.jobs.dismiss, DISMISSABLE)


async def look_up_records(deps: OperatorDeps, call: ApiCall[JobActionForm]) -> Response:
    """Have the records of parked changes looked up at once."""
    return await _act(deps, call, deps.services.references.look_up, PARKED)


async def resolve_job(deps: OperatorDeps, call: ApiCall[ResolveForm]) -> Response:
    """Say which records the references of a job are; then the change is carried out."""
    form, job_id, service = call.input, call.request.path_params["id"], deps.services.references
    about = job_account(job_id), job_id, form.choice()
    if form.dry_run:
        _, jobs = await deps.run(call, service.preview, *about, everywhere=form.all)
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
    jobs, refused, more = form.jobs, dict[str, str](), False
    if form.dry_run or not jobs:
        jobs, refused, more = await deps.run(call, _select, deps, form, states)
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


def _select(
    deps: OperatorDeps, form: JobActionForm, states: Sequence[JobState]
) -> tuple[tuple[str, ...], dict[str, str], bool]:
    """Return the selected jobs in these states, the others with the reason, and whether there are more.

    Raises InvalidChange if nothing or everything is selected.
    """
    jobs, refused = list[str](), dict[str, str]()
    for fit, unfit in deps.operations.preview(form.account, form.ids_or_filter(), states):
        jobs += fit
        refused |= unfit
        if len(jobs) > MAX_JOBS:
            return tuple(jobs[:MAX_JOBS]), refused, True
    return tuple(jobs), refused, False


async def read_drift(deps: OperatorDeps, call: ApiCall[DriftForm]) -> Response:
    """Read a page of what was confirmed back from the CRM, below all other work of the account."""
    form = call.input
    account = deps.account(form.account)
    page = await deps.run(
        call, deps.operations.read_drift, account, form.filter(), cursor=form.cursor, sample=form.sample
    )
    return json_response(serialize_drift_page(page))


async def prepare_repair(deps: OperatorDeps, call: ApiCall[RepairForm]) -> Response:
    """Fix a set of changes that would undo drift, and show what would be sent; nothing is sent yet."""
    form = call.input
    replay = await deps.run(
        call, deps.operations.prepare_repair, form.account, form.drifted(), by=call.key.name
    )
    return _prepared(replay)


async def prepare_replay(deps: OperatorDeps, call: ApiCall[ReplayForm]) -> Response:
    """Fix a set of failed jobs and show what would be sent; nothing is sent yet."""
    form = call.input
    if "account" in form.set:
        check_access(call.key, "replay", str(form.set["account"]))
    replay = await deps.run(
        call,
        deps.services.replays.prepare,
        form.account,
        form.ids_or_filter(),
        by=call.key.name,
        forced=form.force,
        correction=form.set,
        allowed=call.key.accounts,
    )
    return _prepared(replay)


def _prepared(replay: Replay) -> Response:
    headers = {"Location": f"/v1/replays/{replay.id}"}
    return json_response(serialize_replay(replay), status=201, headers=headers)


async def run_replay(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Start a replay, or let a stopped one go on; a worker carries it out.

    Another key may have prepared it, for more accounts than this one has.
    """

    def start() -> Replay:
        replay_id = call.request.path_params["id"]
        for account in deps.operations.find_replay(replay_id).accounts:
            check_access(call.key, "replay", account)
        replay = deps.operations.start_replay(replay_id, by=call.key.name)
        deps.operations.send_replay(replay.id)
        return replay

    return json_response(serialize_replay(await deps.run(call, start)), status=202)


async def stop_replay(deps: OperatorDeps, call: ApiCall[None]) -> Response:
    """Stop a replay after the piece that is being worked."""
    replay_id = call.request.path_params["id"]
    replay = await deps.run(call, deps.operations.stop_replay, replay_id, by=call.key.name)
    return json_response(serialize_replay(replay))


async def erase_record(deps: OperatorDeps, call: ApiCall[ErasureForm]) -> Response:
    """Take a record out of everything that is kept of the account.

    Messages that name no known account are touched only for a key that has these.
    """
    form = call.input
    account = deps.account(form.account)
    proof, waiting = await deps.run(
        call,
        deps.operations.erase,
        account,
        form.module,
        form.id,
        by=call.key.name,
        unrouted=UNROUTED in call.key.accounts and not form.only_account,
        rewrite_aof=form.rewrite_aof,
    )
    document = msgspec.to_builtins(proof)
    if waiting:
        return error_response(waiting, more={"proof": document})
    return json_response({"account": account, "erased": document["erased"], "proof": document})
