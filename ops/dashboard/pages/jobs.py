"""Jobs: the list, one job, and the box that finds whatever is typed into it."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ops.dashboard.deps import DashboardDeps
from ops.dashboard.formats import relation_path
from ops.dashboard.job_query import FIELDS, STATES, JobQueryView, describe_query, read_job_query
from ops.dashboard.listing import MAX_ACCOUNTS
from ops.dashboard.listing import list_jobs as list_page
from ops.dashboard.page import Answer, Page, SeeOther, Visit, link
from ops.explain.advice import advise
from ops.job_outcomes import read_outcomes
from ops.lookups import resolve_relation
from producers.job_admin.cancel_dismiss import CANCELLABLE
from producers.portals.http.access import job_account
from worker.contract import TYPES, Relation
from worker.contract.message import MAX_ID
from worker.contract.reference import is_short_form
from worker.errors import NotFound, RelationsError
from worker.ports import OPEN_STATES, AccountStats, JobFilter, JobRecord, count_open_jobs

PAGE_SIZES: Final = (25, 50, 100)
MAX_REQUESTS: Final = 20  # the last ones that a job travelled in
MAX_LOOKED_UP: Final = 20  # accounts that are asked for something without an account
MAX_TEXT: Final = 300  # characters of what is looked for
NUMBER: Final = re.compile(r"[0-9]{1,19}")
RECORD: Final = re.compile(r"(?i)(estate|objekt|immobilie|address|person|adresse)[\s:#]+([0-9]{1,19})")
MODULES: Final = {
    **dict.fromkeys(("estate", "objekt", "immobilie"), "estate"),
    **dict.fromkeys(("address", "person", "adresse"), "address"),
}


class Tab(NamedTuple):
    """A state as a tab: how many jobs are in it, None where that is not known."""

    state: str
    jobs: int | None


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
            "types": sorted(TYPES),
            "tabs": count_tabs(deps, query),
            "jobs": jobs,
            "waits": deps.runtime.waits.of_jobs(jobs),
            "words": describe_query(visit, query),
            "kept": kept,
            "state": query.given.get("state", ""),
            "following": link("/jobs", **kept, limit=size, cursor=following) if following else "",
            "is_first": not visit.asked("cursor"),
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
        **count_open_jobs(stats.backlog, stats.counts, begun=stats.begun),
        **{name: stats.counts.get(name, 0) for name in STATES if name not in OPEN_STATES},
        "failed": stats.unresolved,
    }
    return {state: counts.get(state, 0) for state in STATES}


def count_tabs(deps: DashboardDeps, query: JobQueryView) -> list[Tab]:
    """Return a tab per state; without counts where more than the state and the account is asked for."""
    if query.is_narrowed:
        return [Tab(state, None) for state in STATES]
    counts = dict.fromkeys(STATES, 0)
    for stats in deps.runtime.metrics.account_stats(query.accounts).values():
        for state, count in count_states(stats).items():
            counts[state] += count
    return [Tab(state, counts[state]) for state in STATES]


def show_job(deps: DashboardDeps, visit: Visit) -> Page:
    """Show one job: what it asks for, what became of each relation, and what to do about it."""
    job_id = str(visit.path_params["id"])
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
            "outcomes": outcomes,
            "advice": {each.relation: advise(each.code, each.error) for each in outcomes if each.error},
            "todo": advise(code, error) if job.refusal and not outcomes else "",
            "requests": requests,
            "waiting": waiting,
            "faults": payload.faults if payload else (),
            "can_cancel": job.state in CANCELLABLE,
            "can_replay": job.state == "failed",
            "path": relation_path,
        },
    )


# --- the box that finds


class Found(NamedTuple):
    """Something that a text may mean: what it is, and where it stands."""

    what: str
    text: str
    path: str


def find(deps: DashboardDeps, visit: Visit) -> Answer:
    """Go to what the text names; where it may mean several things, or none, show what there is."""
    text = visit.asked("q")[:MAX_TEXT]
    found = list(dict.fromkeys(_look_up(deps, visit, text))) if text else []
    if len(found) == 1:
        return SeeOther(found[0].path)
    return Page("find.html", {"text": text, "found": found})


def _look_up(deps: DashboardDeps, visit: Visit, text: str) -> list[Found]:
    if owned := _by_id(deps, visit, text):
        return owned
    if relation := read_relation(text):
        t = visit.texts
        accounts = [name for name in visit.accounts if _knows(deps, name, relation)] or list(visit.accounts)
        return [
            Found(t("relation"), f"{name}: {relation}", relation_path(name, relation)) for name in accounts
        ]
    if is_short_form(text):
        return [Found(visit.texts("Reference"), text, link("/jobs", reference=text))]
    if record := RECORD.fullmatch(text):
        return _by_record(visit, MODULES[record[1].lower()], int(record[2]))
    if NUMBER.fullmatch(text):
        return _by_record(visit, "", int(text))
    return _by_event(deps, visit, text)


def _by_id(deps: DashboardDeps, visit: Visit, text: str) -> list[Found]:
    """Return the job, the replay or the request of this id."""
    account, t = job_account(text), visit.texts
    if account in visit.inboxes:
        if deps.runtime.queries.get_states([text]):
            return [Found(t("job"), text, f"/jobs/{text}")]
        if deps.runtime.job_admin.get_replay(text):
            return [Found(t("replay"), text, f"/replays/{text}")]
    if re.fullmatch(r"(observed-)?[0-9a-z]{8,32}", text) and not NUMBER.fullmatch(text):
        return [
            Found(t("request"), f"{name}: {text}", f"/requests/{name}/{text}")
            for name in visit.accounts[:MAX_LOOKED_UP]
            if deps.runtime.store.get_request(name, text)
        ]
    return []


def _knows(deps: DashboardDeps, account: str, relation: Relation) -> bool:
    record, events = deps.runtime.store.relation_history(account, relation)
    return bool(events or record.open)


def read_relation(text: str) -> Relation | None:
    """Return the relation that a text names, such as `estate:address:buyer 501 9001`; None for others."""
    parts = [part for part in re.split(r"[\s/→>,]+", text) if part not in ("", "-")]
    if len(parts) == 1 and text.count(":") >= 3:
        parts = text.rsplit(":", 2)
    if len(parts) != 3 or not all(NUMBER.fullmatch(part) for part in parts[1:]):
        return None
    parent, child = int(parts[1]), int(parts[2])
    if not (0 < parent <= MAX_ID and 0 < child <= MAX_ID):
        return None
    try:
        return resolve_relation(parts[0], parent, child)
    except (RelationsError, ValueError):
        return None


def _by_record(visit: Visit, module: str, number: int) -> list[Found]:
    """Return the lists of jobs that name a record as a parent, or as a child; "" stands for any module."""
    t = visit.texts
    sides = (("parentid", t("as parent"), "parent"), ("childid", t("as child"), "child"))
    return [
        Found(t(module or "record"), f"{number} {words}", link("/jobs", **{name: number}))
        for name, words, side in sides
        if not module or any(getattr(known, side) == module for known in TYPES.values())
    ]


def _by_event(deps: DashboardDeps, visit: Visit, text: str) -> list[Found]:
    """Return the jobs of this event id among the newest of each account, and a list that looks further."""
    t, jobs = visit.texts, list[JobRecord]()
    for account in visit.inboxes[:MAX_LOOKED_UP]:
        jobs += deps.runtime.queries.find_jobs(account, JobFilter(event_id=text), limit=5).jobs
    if jobs:
        return [Found(t("job of this event"), job.id, f"/jobs/{job.id}") for job in jobs]
    return []


def group_by_account(ids: Sequence[str]) -> Mapping[str, list[str]]:
    """Return ids of jobs by account."""
    found: dict[str, list[str]] = {}
    for job_id in ids:
        found.setdefault(job_account(job_id), []).append(job_id)
    return found
