"""What is kept of relations, failures, requests and replays."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ops.dashboard.charts import Node, neighbourhood
from ops.dashboard.deps import DashboardDeps
from ops.dashboard.formats import Formatter, module_of, relation_path
from ops.dashboard.page import Page, Visit, link
from ops.explain.advice import advise
from ops.lookups import resolve_relation
from ops.serializers import describe_failure
from producers.job_admin.suspects import RecordFailures, find_suspects
from producers.portals.http.access import job_account
from worker.contract import Relation
from worker.errors import NotFound
from worker.onoffice.codes import describe
from worker.ports import FailureGroup, JobFilter, RequestPage

MAX_ACCOUNTS: Final = 20  # whose failures one page shows
MAX_SUSPECTS: Final = 25
SUSPECTED_JOBS: Final = 500  # failed ones, of all accounts together, that a page looks at for suspects
MAX_GROUPS: Final = 100
NEIGHBOURS: Final = 6  # on each side of a relation's picture
REQUESTS: Final = 50  # of one page
REPLAYS: Final = 50
LISTED_ACTIONS: Final = 50  # of a replay's plan


def show_relation(deps: DashboardDeps, visit: Visit) -> Page:
    """Explain a relation, and show what else its two records are related to."""
    params = visit.path_params
    account = visit.check("read", str(params["account"]))
    relation = resolve_relation(str(params["type"]), int(params["parent"]), int(params["child"]))
    explanation = deps.operations(visit).explain(account, relation)
    return Page(
        "relation.html",
        {
            "account": account,
            "relation": relation,
            "explanation": explanation,
            "picture": draw_neighbourhood(deps, visit, account, relation),
        },
    )


def draw_neighbourhood(deps: DashboardDeps, visit: Visit, account: str, relation: Relation) -> Any:
    """Return the picture of a relation among those that jobs of late named with one of its records."""
    queries = deps.runtime.queries
    by_parent = queries.find_jobs(
        account, JobFilter(type=relation.type, parent=relation.parent), limit=NEIGHBOURS
    )
    by_child = queries.find_jobs(
        account, JobFilter(type=relation.type, child=relation.child), limit=NEIGHBOURS
    )
    children = dict.fromkeys(child for job in by_parent.jobs for child in job.children)
    parents = dict.fromkeys(parent for job in by_child.jobs for parent in job.parents)
    of_parent = [
        Relation(relation.type, relation.parent, each) for each in children if each != relation.child
    ][:NEIGHBOURS]
    of_child = [Relation(relation.type, each, relation.child) for each in parents if each != relation.parent][
        :NEIGHBOURS
    ]
    known = queries.get_records(account, [*of_parent, *of_child])
    f = Formatter(visit.texts, visit.zone, 0, visit.settings.dashboard.mask_ids)

    def node(side: str, number: int, other: Relation | None) -> Node:
        module = module_of(relation.type, side)
        text = f"{visit.texts(module)} {f.id(module, number)}"
        if other is None:
            name = "parentid" if side == "parent" else "childid"
            return Node(text, visit.root + link("/jobs", account=account, **{name: number}))
        record = known.get(other)
        is_there = record and record.confirmed.present > record.confirmed.absent
        tone = "open" if record and record.open else "known" if is_there else "plain"
        return Node(text, visit.root + relation_path(account, other), tone)

    return neighbourhood(
        node("parent", relation.parent, None),
        node("child", relation.child, None),
        of_parent=[node("child", each.child, each) for each in of_parent],
        of_child=[node("parent", each.parent, each) for each in of_child],
        title=visit.texts("Other relations of the two records"),
    )


class FailureRow(NamedTuple):
    """The failed jobs of an account of one error and type, with what the error means and what to do."""

    account: str
    group: FailureGroup
    message: str
    todo: str
    path: str


def list_errors(deps: DashboardDeps, visit: Visit) -> Page:
    """Show what failed and waits for a decision, by error and type, and by the record that is to blame."""
    chosen = visit.asked("account")
    inboxes = (visit.check("read", chosen),) if chosen else visit.inboxes
    stats = deps.runtime.metrics.account_stats(inboxes)
    failing = [name for name in inboxes if stats[name].unresolved]
    rows = [
        _failure_row(account, group)
        for account in failing[:MAX_ACCOUNTS]
        for group in deps.runtime.queries.failure_groups(account)
    ]
    rows.sort(key=lambda row: -row.group.jobs)
    looked_at = SUSPECTED_JOBS // max(1, min(len(failing), MAX_ACCOUNTS))
    suspects = [
        (account, each, _suspect_path(account, each))
        for account in failing[:MAX_ACCOUNTS]
        for each in find_suspects(deps.runtime.queries, account, most=looked_at)[:MAX_SUSPECTS]
    ]
    suspects.sort(key=lambda pair: -pair[1].relations)
    return Page(
        "errors.html",
        {
            "account": chosen,
            "rows": rows[:MAX_GROUPS],
            "suspects": suspects[:MAX_SUSPECTS],
            "left_out": max(0, len(failing) - MAX_ACCOUNTS),
            "looked_at": looked_at,
            "describe": describe,
        },
    )


def _failure_row(account: str, group: FailureGroup) -> FailureRow:
    error = str(group.code) if group.code else group.error
    path = link("/jobs", account=account, state="failed", error=error, relationtype=group.type)
    return FailureRow(account, group, describe_failure(group), advise(group.code, group.error), path)


def _suspect_path(account: str, suspect: RecordFailures) -> str:
    side = "childid" if suspect.module == "address" else "parentid"
    return link("/jobs", account=account, state="failed", **{side: suspect.record})


def list_requests(deps: DashboardDeps, visit: Visit) -> Page:
    """Show what was sent and answered of one account, newest first."""
    account = _chosen_account(visit)
    page = (
        deps.runtime.queries.list_requests(account, limit=REQUESTS, cursor=visit.asked("cursor"))
        if account
        else RequestPage((), "")
    )
    following = link("/requests", account=account, cursor=page.next) if page.next else ""
    return Page("requests.html", {"account": account, "requests": page.requests, "following": following})


def _chosen_account(visit: Visit) -> str:
    """Return the account that is asked for, else the key's first."""
    if chosen := visit.asked("account"):
        return visit.check("read", chosen)
    return next(iter(visit.accounts), "")


def show_request(deps: DashboardDeps, visit: Visit) -> Page:
    """Show one request, action by action."""
    account = visit.check("read", str(visit.path_params["account"]))
    request = deps.runtime.store.get_request(account, str(visit.path_params["id"]))
    if request is None:
        raise NotFound("there is no such request (any more)")
    return Page(
        "request.html",
        {
            "account": account,
            "request": request,
            "actions": list(zip(request.actions, request.answers, strict=False)),
            "path": relation_path,
        },
    )


def list_replays(deps: DashboardDeps, visit: Visit) -> Page:
    """Show the replays of the last week, newest first."""
    chosen = visit.asked("account")
    inboxes: Sequence[str] = (visit.check("read", chosen),) if chosen else visit.inboxes
    replays = [
        replay
        for account in inboxes[:MAX_ACCOUNTS]
        for replay in deps.runtime.job_admin.list_replays(account, limit=REPLAYS)
    ]
    replays.sort(key=lambda replay: -replay.made_at)
    return Page("replays.html", {"account": chosen, "replays": replays[:REPLAYS]})


def show_replay(deps: DashboardDeps, visit: Visit) -> Page:
    """Show a replay: what it would send, how far it is, and what its jobs have become."""
    replay_id = str(visit.path_params["id"])
    visit.check("read", job_account(replay_id))
    replay = deps.services.replays.find(replay_id)
    outcomes = deps.services.replays.count_outcomes(replay, limit=2000)
    return Page(
        "replay.html",
        {
            "replay": replay,
            "became": outcomes,
            "listed": list(replay.plan.get("listed", ()))[:LISTED_ACTIONS],
        },
    )
