"""What operators ask and do over HTTP: the endpoints of `relations api` beside those for producers. Each act stands in the audit.

Who did it is the name of the key. Everything works beside the event loop; long acts are cut at `MOST` jobs a call.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Final, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ops.cli.job_selection import reasons
from ops.explain import explain
from ops.explain.gather import gather
from ops.serializers import account_json, deed_json, failure_json, replay_json, request_json
from ops.web.forms import Chosen, Erasure, Newest, PageQuery, Paused, Replayed
from producers.job_admin.selection import describe_selection
from producers.portals.http import problems
from producers.portals.http.handlers import Routes
from producers.portals.http.query import OneAccount, read
from producers.portals.http.requests import body, permit
from producers.replay.service import ReplayService
from producers.services import Services, build_services
from worker.config import Key
from worker.contract import Relation, resolve
from worker.contract.message import MAX_ID
from worker.errors import Fault, Invalid, NotFound
from worker.onoffice.codes import advice
from worker.ports import AdminResult, AuditEntry, JobState, Pause, Replay

MOST: Final = 10_000  # jobs that one call acts on; the answer says whether there are more
ID: Final = "the id of a record, a positive whole number"
SMALL: Final = 2**20  # bytes of a body
Asked = TypeVar("Asked", bound=OneAccount)
Form = TypeVar("Form", Chosen, Replayed, Paused, Erasure)


async def relation(routes: Routes, request: Request) -> Response:
    """`GET /v1/relations/{type}/{parent}/{child}`."""
    asked = _query(routes, request, "read", OneAccount)
    places = request.path_params
    if faults := [
        Fault(side, f"expected {ID}") for side in ("parent", "child") if not 1 <= places[side] <= MAX_ID
    ]:
        raise Invalid(faults)
    meant = resolve(places["type"])
    parent, child = (
        (places["child"], places["parent"]) if meant.swapped else (places["parent"], places["child"])
    )
    account = routes.runtime.settings.account(asked.account)
    evidence = await run_in_threadpool(
        gather, routes.runtime, account, Relation(meant.type.name, parent, child)
    )
    return problems.answer(explain(evidence, zone=UTC, advice=advice).json())


async def errors(routes: Routes, request: Request) -> Response:
    """`GET /v1/errors`."""
    asked = _query(routes, request, "read", OneAccount)
    found = await run_in_threadpool(routes.runtime.queries.failure_groups, asked.account)
    return problems.answer({"errors": [failure_json(asked.account, each) for each in found]})


async def requests(routes: Routes, request: Request) -> Response:
    """`GET /v1/requests`."""
    asked = _query(routes, request, "read", PageQuery)
    page = await run_in_threadpool(
        lambda: routes.runtime.queries.list_requests(asked.account, limit=asked.limit, cursor=asked.cursor)
    )
    return problems.answer(
        {"requests": [request_json(each) for each in page.requests], "next": page.next or None}
    )


async def one_request(routes: Routes, request: Request) -> Response:
    """`GET /v1/requests/{id}`."""
    asked = _query(routes, request, "read", OneAccount)
    found = await run_in_threadpool(
        routes.runtime.store.get_request, asked.account, request.path_params["id"]
    )
    if found is None:
        raise NotFound("there is no such request (any more)")
    return problems.answer(request_json(found))


async def audit(routes: Routes, request: Request) -> Response:
    """`GET /v1/audit`."""
    asked = _query(routes, request, "admin", PageQuery)
    page = await run_in_threadpool(
        lambda: routes.runtime.job_admin.audit_log(asked.account, limit=asked.limit, cursor=asked.cursor)
    )
    return problems.answer({"deeds": [deed_json(each) for each in page.deeds], "next": page.next or None})


async def accounts(routes: Routes, request: Request) -> Response:
    """`GET /v1/accounts`: those of the key."""
    key = routes.key(request, "read")
    mine = [account for name, account in routes.runtime.settings.accounts.items() if name in key.accounts]
    return problems.answer(
        {
            "accounts": await run_in_threadpool(
                lambda: [account_json(routes.runtime, each, UTC) for each in mine]
            )
        }
    )


async def pause(routes: Routes, request: Request) -> Response:
    """`POST /v1/accounts/{account}/pause`."""
    key, account = _account(routes, request)
    form = await _form(routes, request, Paused, optional=True)
    deed = AuditEntry(routes.runtime.intake().new_id(), key.name, "paused", account, form.why)
    await run_in_threadpool(lambda: routes.runtime.store.pause(account, Pause("hand", form.why), deed=deed))
    return problems.answer({"account": account, "paused": True})


async def resume(routes: Routes, request: Request) -> Response:
    """`POST /v1/accounts/{account}/resume`."""
    key, account = _account(routes, request)
    deed = AuditEntry(routes.runtime.intake().new_id(), key.name, "resumed", account)
    was = await run_in_threadpool(lambda: routes.runtime.store.resume(account, deed=deed))
    await run_in_threadpool(routes.runtime.limiter.reset, account)
    return problems.answer({"account": account, "paused": False, "was_paused": was})


async def cancel(routes: Routes, request: Request) -> Response:
    """`POST /v1/jobs/cancel`."""
    return await _act(routes, request, _services(routes).jobs.cancel, "queued")


async def dismiss(routes: Routes, request: Request) -> Response:
    """`POST /v1/jobs/dismiss`."""
    return await _act(routes, request, _services(routes).jobs.dismiss, "failed")


async def post_replay(routes: Routes, request: Request) -> Response:
    """`POST /v1/replays`: a set is fixed and shown, nothing is sent yet."""
    key = routes.key(request, "replay")
    form = await _form(routes, request, Replayed)
    permit(key, "replay", form.account)
    for other in [form.set["account"]] if "account" in form.set else []:
        permit(key, "replay", str(other))
    made = await run_in_threadpool(
        lambda: _services(routes).replays.prepare(
            form.account, form.wanted(), by=key.name, forced=form.force, correction=form.set
        )
    )
    return problems.answer(replay_json(made), status=201, headers={"Location": f"/v1/replays/{made.id}"})


async def get_replay(routes: Routes, request: Request) -> Response:
    """`GET /v1/replays/{id}`."""
    return await _steered(routes, request, "read", lambda replays, name, _by: replays.find(name), follow=True)


async def list_replays(routes: Routes, request: Request) -> Response:
    """`GET /v1/replays`: those of the last week, newest first."""
    asked = _query(routes, request, "read", Newest)
    found = await run_in_threadpool(
        lambda: routes.runtime.job_admin.list_replays(asked.account, limit=asked.limit)
    )
    return problems.answer({"replays": [replay_json(each) for each in found]})


async def run_replay(hand: Callable[[str], None], routes: Routes, request: Request) -> Response:
    """`POST /v1/replays/{id}/run`: a worker is handed it."""

    def start(replays: ReplayService, name: str, by: str) -> Replay:
        started = replays.start(name, by=by)
        hand(name)
        return started

    return await _steered(routes, request, "replay", start, status=202)


async def stop_replay(routes: Routes, request: Request) -> Response:
    """`POST /v1/replays/{id}/cancel`."""
    return await _steered(routes, request, "replay", lambda replays, name, by: replays.stop(name, by=by))


async def post_erasure(routes: Routes, request: Request) -> Response:
    """`POST /v1/erasures`."""
    key = routes.key(request, "admin")
    form = await _form(routes, request, Erasure)
    permit(key, "admin", form.account)
    account = routes.runtime.settings.account(form.account).name
    counts = await run_in_threadpool(
        lambda: _services(routes).erasure.erase(account, form.module, form.id, by=key.name)
    )
    return problems.answer(
        {"account": account, "erased": {kind: number for kind, number in counts.items() if number}}
    )


def _services(routes: Routes) -> Services:
    return build_services(routes.runtime)


def _query(routes: Routes, request: Request, right: str, kind: type[Asked]) -> Asked:
    """The query, of a key that has this right for its account."""
    key = routes.key(request, right)
    asked = read(request.query_params.multi_items(), kind)
    permit(key, right, asked.account)
    routes.runtime.settings.lane(asked.account)
    return asked


def _account(routes: Routes, request: Request) -> tuple[Key, str]:
    key, name = routes.key(request, "admin"), request.path_params["account"]
    permit(key, "admin", name)
    return key, routes.runtime.settings.account(name).name


async def _form(routes: Routes, request: Request, kind: type[Form], *, optional: bool = False) -> Form:
    """The body as a value of this kind; raises Invalid with the fault."""
    raw = await body(request, SMALL, seconds=routes.slow, kinds=() if optional else ("application/json",))
    try:
        return msgspec.json.decode(raw or b"{}" if optional else raw, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        text, _, path = str(error).partition(" - at `$")
        raise Invalid([Fault(path.strip("`.") if path else "", text)]) from None


async def _act(
    routes: Routes, request: Request, act: Callable[..., AdminResult], state: JobState
) -> Response:
    """Cancel or dismiss what is chosen, or say what would be."""
    key = routes.key(request, "replay")
    form = await _form(routes, request, Chosen)
    permit(key, "replay", form.account)
    jobs, refused, more = await run_in_threadpool(_chosen, _services(routes), form, state)
    if form.dry_run or not jobs:
        return problems.answer(_decided(form, jobs, refused, more))
    note = "" if form.jobs else f"of {describe_selection(form.wanted())}"
    acted = await run_in_threadpool(lambda: act(form.account, jobs, by=key.name, note=note))
    return problems.answer(_decided(form, acted.done, {**refused, **acted.refused}, more))


def _decided(
    form: Chosen, jobs: Sequence[str], refused: Mapping[str, str], more: bool
) -> Mapping[str, object]:
    summary = reasons(Counter(refused.values()))
    return {
        "dry_run": form.dry_run,
        "jobs": list(jobs),
        "refused": dict(refused),
        "more": more,
        "summary": summary,
    }


def _chosen(services: Services, form: Chosen, state: JobState) -> tuple[list[str], dict[str, str], bool]:
    """The jobs that are meant, `MOST` at once, those that cannot be and why, and whether there are more; raises InvalidChange."""
    jobs, refused = list[str](), dict[str, str]()
    for fit, unfit in services.jobs.preview(form.account, form.wanted(), state):
        jobs += fit
        refused |= unfit
        if len(jobs) > MOST:
            return jobs[:MOST], refused, True
    return jobs, refused, False


async def _steered(
    routes: Routes,
    request: Request,
    right: str,
    steer: Callable[[ReplayService, str, str], Replay],
    *,
    status: int = 200,
    follow: bool = False,
) -> Response:
    key, name = routes.key(request, right), request.path_params["id"]
    permit(
        key, right, name.rpartition("-")[0] or name
    )  # before it is looked up, so that nobody learns what others have
    found = await run_in_threadpool(steer, _services(routes).replays, name, key.name)
    became = await run_in_threadpool(_services(routes).replays.count_outcomes, found) if follow else None
    return problems.answer(replay_json(found, became), status=status)
