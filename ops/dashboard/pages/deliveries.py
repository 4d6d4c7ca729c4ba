"""Deliveries to webhooks: what came, what became of it, what each rule said, and reading them again."""

from typing import Final, get_args

from ops.dashboard.page import Answer, DashboardDeps, Page, SeeOther, Visit, get, link_next, post
from ops.dashboard.pages.sources import own_sources
from ops.explain.text import format_change
from ops.lookups import find_delivery
from producers.webhooks.redelivery import is_visible
from worker.errors import Fault, Invalid
from worker.ports.deliveries import Delivery, DeliveryFilter, DeliveryOutcome

DELIVERIES: Final = 50  # of one page
OUTCOMES: Final[tuple[DeliveryOutcome, ...]] = get_args(DeliveryOutcome)


@get("/deliveries")
def list_deliveries(deps: DashboardDeps, visit: Visit) -> Page:
    """Show the deliveries for accounts of the key, newest first."""
    source, outcome, cursor = visit.asked("source"), visit.asked("outcome"), visit.asked("cursor")
    chosen = next((known for known in OUTCOMES if known == outcome), None)
    if outcome and chosen is None:
        raise Invalid([Fault("outcome", f"expected one of {', '.join(OUTCOMES)}")])
    wanted = DeliveryFilter(sources=(source,) if source else (), outcome=chosen or "")
    page = deps.runtime.deliveries.find(wanted, limit=DELIVERIES, cursor=cursor)
    return Page(
        "deliveries.html",
        {
            "deliveries": [each for each in page.entries if is_visible(each, visit.key.accounts)],
            "sources": [known.name for known in own_sources(visit)],
            "source": source,
            "outcome": outcome,
            "outcomes": OUTCOMES,
            "following": link_next("/deliveries", page.next, source=source, outcome=outcome),
        },
    )


@get("/deliveries/{id}")
def show_delivery(deps: DashboardDeps, visit: Visit) -> Page:
    """Show one delivery: what became of it, and what each rule said."""
    return Page("delivery.html", {"delivery": _find(deps, visit), "remapped": None, "changes": ()})


@post("/deliveries/{id}/preview")
def preview_redelivery(deps: DashboardDeps, visit: Visit) -> Page:
    """Show what today's rules would make of a delivery; nothing is made."""
    delivery = _find(deps, visit)
    [remapped] = deps.operations.remap([delivery.id], by=visit.by, dry_run=True, allowed=visit.key.accounts)
    changes = [(each.rule, format_change(each.change), each.job, each.is_new) for each in remapped.changes]
    return Page("delivery.html", {"delivery": delivery, "remapped": remapped, "changes": changes})


@post("/deliveries/{id}/redeliver")
def redeliver(deps: DashboardDeps, visit: Visit) -> Answer:
    """Read a delivery again by today's rules; what it made already is not made again."""
    delivery = _find(deps, visit)
    list(deps.operations.remap([delivery.id], by=visit.by, dry_run=False, allowed=visit.key.accounts))
    return SeeOther(f"/deliveries/{delivery.id}")


def _find(deps: DashboardDeps, visit: Visit) -> Delivery:
    delivery_id = visit.named("id")
    return find_delivery(deps.runtime.deliveries, delivery_id, visit.key.accounts).delivery
