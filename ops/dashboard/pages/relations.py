"""One relation explained, with a picture of what else its two records are related to."""

from typing import Any, Final

from ops.dashboard.charts import Node, neighbourhood
from ops.dashboard.formats import Formatter, module_of, relation_path
from ops.dashboard.page import DashboardDeps, Page, Visit, get, link
from ops.explain.explanation import list_request_lines
from ops.lookups import explain_relation, resolve_relation
from worker.contract import Relation
from worker.ports.records import JobFilter

NEIGHBOURS: Final = 6  # on each side of a relation's picture


@get("/relations/{account}/{type}/{parent:record}/{child:record}")
def show_relation(deps: DashboardDeps, visit: Visit) -> Page:
    """Explain a relation, and show what else its two records are related to."""
    params = visit.path_params
    account = visit.named_account("read")
    relation = resolve_relation(visit.named("type"), int(params["parent"]), int(params["child"]))
    known = deps.runtime.settings.account(account)
    explanation = explain_relation(deps.runtime, known, relation, zone=visit.zone)
    return Page(
        "relation.html",
        {
            "account": account,
            "relation": relation,
            "explanation": explanation,
            "request_lines": list_request_lines,
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
    children = dict.fromkeys(child for job in by_parent.entries for child in job.children)
    parents = dict.fromkeys(parent for job in by_child.entries for parent in job.parents)
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
