"""Jobs: the list, one job, and saying which record it means."""

from collections.abc import Mapping
from typing import Final

from ops.dashboard.deps import DashboardDeps
from ops.dashboard.formats import relation_path
from ops.dashboard.job_query import EXAMPLE, FIELDS, STATES, JobQueryView, describe_query, read_job_query
from ops.dashboard.listing import MAX_ACCOUNTS
from ops.dashboard.listing import list_jobs as list_page
from ops.dashboard.page import Answer, Page, SeeOther, Visit, get, link_next, post
from ops.lookups import read_outcomes
from producers.job_admin.cancel_dismiss import CANCELLABLE
from producers.job_admin.resolve import RecordChoice
from producers.portals.http.endpoint import job_account
from worker.contract import TYPES, Relation
from worker.contract.message import MAX_ID
from worker.contract.values import read_whole
from worker.errors import Fault, InvalidChange, NotFound
from worker.onoffice.codes import advise
from worker.ports.metrics import AccountStats
from worker.ports.records import OPEN_STATES, JobRecord

PAGE_SIZES: Final = (25, 50, 100)
MAX_REQUESTS: Final = 20  # the last ones that a job travelled in


@get("/jobs")
def list_jobs(deps: DashboardDeps, visit: Visit) -> Page:
    """Show the jobs that fit, newest first."""
    query = read_job_query(visit, visit.query)
    size = next((size for size in PAGE_SIZES if visit.asked("limit") == str(size)), PAGE_SIZES[1])
    jobs: tuple[JobRecord, ...] = ()
    following = ""
    listed = pick_accounts(deps, query)
    if not query.faults:
        queries = deps.runtime.queries
        jobs, following = list_page(queries, listed, query.filter, limit=size, cursor=visit.asked("cursor"))
    kept = {"account": query.account, **query.given}
    return Page(
        "jobs.html",
        {
            "query": query,
            "left_out": max(0, len(listed) - MAX_ACCOUNTS),
            "fields": FIELDS,
            "example": EXAMPLE,
            "types": sorted(TYPES),
            "tabs": count_tabs(deps, query),
            "jobs": jobs,
            "waits": deps.runtime.waits.of_jobs(jobs),
            "words": describe_query(visit, query),
            "kept": kept,
            "state": query.given.get("state", ""),
            "following": link_next("/jobs", following, **kept, limit=size),
            "size": size,
            "sizes": PAGE_SIZES,
            "cancellable": CANCELLABLE,
        },
    )


def pick_accounts(deps: DashboardDeps, query: JobQueryView) -> list[str]:
    """Return the accounts that may have jobs that fit, those with most of them first.

    That is by the state that is asked for, or without one by everything that was ever accepted.
    """
    if len(query.accounts) == 1:
        return list(query.accounts)
    stats = deps.runtime.metrics.account_stats(query.accounts)
    state = "failed" if query.filter.error else query.filter.state
    counts = {
        name: count_states(each)[state] if state else each.counts.get("accepted", 0) + each.unresolved
        for name, each in stats.items()
    }
    return sorted((name for name in query.accounts if counts[name]), key=lambda name: -counts[name])


def count_states(stats: AccountStats) -> dict[str, int]:
    """Return jobs by state: open ones now, ended ones ever, failed ones that wait for a decision."""
    counts = {
        **stats.open_jobs,
        **{name: stats.counts.get(name, 0) for name in STATES if name not in OPEN_STATES},
        "failed": stats.unresolved,
    }
    return {state: counts.get(state, 0) for state in STATES}


def count_tabs(deps: DashboardDeps, query: JobQueryView) -> Mapping[str, int | None]:
    """Return the jobs by state; without counts where more than the state and the account is asked for."""
    if query.is_narrowed:
        return dict.fromkeys(STATES)
    counts = dict.fromkeys(STATES, 0)
    for stats in deps.runtime.metrics.account_stats(query.accounts).values():
        for state, count in count_states(stats).items():
            counts[state] += count
    return {**counts}


@get("/jobs/{id}")
def show_job(deps: DashboardDeps, visit: Visit) -> Page:
    """Show one job: what it asks for, what became of each relation, and what to do about it."""
    job_id = visit.named("id")
    account = visit.check("read", job_account(job_id))
    job = deps.runtime.store.get_job(job_id)
    if job is None:
        raise NotFound(f'there is no job "{job_id}" (any more)')
    payload = deps.runtime.job_admin.get_payload(job_id) if not job.type and visit.may("replay") else None
    outcomes = read_outcomes(deps.runtime.queries, job)
    requests = {
        request: deps.runtime.store.get_request(account, request) for request in job.requests[-MAX_REQUESTS:]
    }
    waiting = deps.runtime.waits.of_job(job)
    code, error = (job.refusal[0], job.refusal[1]) if job.refusal else (0, "")
    return Page(
        "job.html",
        {
            "job": job,
            "outcomes": [(Relation(job.type, each["parentid"], each["childid"]), each) for each in outcomes],
            "advise": advise,
            "todo": advise(code, error) if job.refusal and not outcomes else "",
            "requests": requests,
            "waiting": waiting,
            "faults": payload.faults if payload else (),
            "can_cancel": job.state in CANCELLABLE,
            "can_replay": job.state == "failed",
            "path": relation_path,
        },
    )


@post("/jobs/{id}/resolve")
def resolve_reference(deps: DashboardDeps, visit: Visit) -> Answer:
    """Say which record a reference of a job is; then the change is carried out."""
    job_id = visit.named("id")
    account = visit.check("replay", job_account(job_id))
    job, at = deps.runtime.store.get_job(job_id), read_whole(visit.sent("reference"))
    if job is None or at is None or not 0 <= at < len(job.references):
        raise NotFound(f"there is no job {job_id} with such a reference (any more)")
    record = read_whole(visit.sent("record"))
    if not record or record > MAX_ID:
        raise InvalidChange([Fault("record", "expected the id of a record, a positive whole number")])
    choice = RecordChoice(references={str(job.references[at].reference): record})
    deps.services.references.resolve(account, job_id, choice, by=visit.by)
    return SeeOther(f"/jobs/{job_id}")
