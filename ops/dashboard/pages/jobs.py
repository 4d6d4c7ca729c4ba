"""Jobs: what a form asks for, the list, one job, and saying which record it means."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple, get_args

from ops.dashboard.formats import Formatter, relation_path
from ops.dashboard.listing import MAX_ACCOUNTS
from ops.dashboard.listing import list_jobs as list_page
from ops.dashboard.page import Answer, DashboardDeps, Page, SeeOther, Visit, first_value, get, link_next, post
from ops.lookups import read_outcomes
from producers.job_admin.cancel_dismiss import CANCELLABLE
from producers.job_admin.resolve import RecordChoice
from producers.portals.http.endpoint import job_account
from producers.portals.http.query import JobQuery, read_query
from worker.contract import TYPES, Relation
from worker.contract.instant import read_local
from worker.contract.message import MAX_ID
from worker.contract.values import read_whole
from worker.errors import Fault, Invalid, InvalidChange, NotFound
from worker.onoffice.codes import advise
from worker.ports.metrics import AccountStats
from worker.ports.records import FILTER_TIMES, OPEN_STATES, JobFilter, JobRecord, JobState

STATES: Final[tuple[str, ...]] = get_args(JobState)
FIELDS: Final = (  # in the order of the form; `account` and `state` stand beside
    ("relationtype", "Relation type"),
    ("parentid", "Parent"),
    ("childid", "Child"),
    ("error", "Error"),
    ("source", "Source"),
    ("batch", "Batch"),
    ("event_id", "Event id"),
    ("reference", "Reference"),
    ("since", "Accepted since"),
    ("until", "Accepted before"),
    ("failed_since", "Failed since"),
    ("failed_until", "Failed before"),
)
EXAMPLE: Final = "2026-11-21 18:00"


class JobQueryView(NamedTuple):
    """What is asked for: the accounts, the filter, its texts by parameter, and what is wrong with them."""

    account: str
    accounts: tuple[str, ...]
    filter: JobFilter
    given: Mapping[str, str]
    faults: tuple[str, ...]

    @property
    def is_narrowed(self) -> bool:
        """Whether more than a state is asked for, so that counts by state say nothing of the list."""
        return any(name != "state" for name in self.given)


def read_job_query(visit: Visit, values: Mapping[str, Sequence[str]]) -> JobQueryView:
    """Return what the parameters ask for; raise Forbidden for an account of another key."""
    given = {
        name: text
        for name in ("state", *(name for name, _ in FIELDS))
        if (text := first_value(values, name).strip())
    }
    account = first_value(values, "account").strip()
    if account:
        visit.check("read", account)
    listed = (account,) if account else visit.inboxes
    texts = {name: read_time(name, text, visit.zone) for name, text in given.items()}
    wanted, faults = JobFilter(), tuple[str, ...]()
    try:
        wanted = read_query([("account", account or "x"), *texts.items()], JobQuery).filter()
    except Invalid as error:
        faults = tuple(_describe_fault(visit, fault) for fault in error.faults)
    return JobQueryView(account, listed, wanted, given, faults)


def _describe_fault(visit: Visit, fault: Fault) -> str:
    """Return what is wrong with a field of the form, by the name that the form has for it."""
    t, label = visit.texts, dict(FIELDS).get(fault.location, fault.location)
    if fault.location in FILTER_TIMES:
        message = t("expected a date, or a date and a time, such as {example}", example=t(EXAMPLE))
    else:
        message = Formatter(t, visit.zone, 0).translate(fault.message)
    return f"{t(label)}: {message}"


def describe_query(visit: Visit, query: JobQueryView) -> str:
    """Return the filter in words."""
    t = visit.texts
    names = dict(FIELDS)
    parts = [t("account {name}", name=query.account) if query.account else t("all accounts")]
    if "state" in query.given:
        parts.append(t("state {state}", state=t(query.given["state"])))
    parts += [f"{t(names[name])} {text}" for name, text in query.given.items() if name in names]
    return ", ".join(parts)


def read_time(name: str, text: str, zone: tzinfo) -> str:
    """Return a field as the interface reads it; a time without an offset is of the page's zone.

    Of an hour that there is twice, when clocks are set back, it is the one that leaves out less.
    """
    if name not in FILTER_TIMES:
        return text
    local = read_local(text)
    return local.replace(tzinfo=zone, fold=name.endswith("until")).isoformat() if local else text


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
        queries, ask_each = deps.runtime.queries, deps.runtime.ask_each
        cursor = visit.asked("cursor")
        jobs, following = list_page(queries, ask_each, listed, query.filter, limit=size, cursor=cursor)
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
    return sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])


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
    deps.operations.resolve(account, job_id, choice, by=visit.by)
    return SeeOther(f"/jobs/{job_id}")
