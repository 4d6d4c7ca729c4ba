"""Webhook sources: their rules, and what they would make of a payload."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from ops.dashboard.page import DashboardDeps, Page, Visit, first_value, get, post
from ops.explain.text import format_change
from producers.webhooks.mapping import MappedChange
from producers.webhooks.record import map_payload
from worker.config import Rule, Source
from worker.errors import InvalidChange, NotFound

MAX_SHOWN: Final = 200  # changes that a payload makes


@get("/sources")
def list_sources(deps: DashboardDeps, visit: Visit) -> Page:
    """Show the sources whose changes are for an account of the key."""
    del deps
    return Page("sources.html", {"sources": own_sources(visit)})


def own_sources(visit: Visit) -> list[Source]:
    """Return the sources whose changes are for an account of the key."""
    return [
        source for source in visit.settings.sources.values() if source.account_names & set(visit.key.accounts)
    ]


@get("/sources/{name}")
def show_source(deps: DashboardDeps, visit: Visit) -> Page:
    """Show one source with its rules, and a box to try a payload in."""
    del deps
    return _source_page(visit)


@post("/sources/{name}")
def try_payload(deps: DashboardDeps, visit: Visit) -> Page:
    """Show what the rules make of a payload, or which rule fails where; nothing is sent."""
    source, body = _find(visit), first_value(visit.form, "payload")
    try:
        changes = map_payload(source, body.encode(), deps.runtime.live_settings.overrides).changes
    except InvalidChange as error:
        return _source_page(visit, payload=body, faults=tuple(map(str, error.faults)))
    return _source_page(visit, payload=body, changes=changes)


def _find(visit: Visit) -> Source:
    name = visit.named("name")
    found = next((source for source in own_sources(visit) if source.name == name), None)
    if found is None:
        raise NotFound("there is no webhook source of that name for the accounts of this key")
    return found


def _source_page(
    visit: Visit,
    *,
    payload: str = "",
    faults: Sequence[str] = (),
    changes: Sequence[MappedChange] | None = None,
) -> Page:
    source = _find(visit)
    made = [(each.path, each.change.account, format_change(each.change)) for each in changes or ()]
    return Page(
        "source.html",
        {
            "source": source,
            "rules": [list_expressions(rule) for rule in source.rules],
            "payload": payload,
            "faults": faults,
            "made": None if changes is None else made[:MAX_SHOWN],
            "count": len(made),
        },
    )


def list_expressions(rule: Rule) -> list[tuple[str, str]]:
    """Return the expressions of a rule that were given, by name."""
    given = [(each.name, getattr(rule, each.name)) for each in fields(rule)]
    return [
        (name, ", ".join(value) if isinstance(value, tuple) else str(value)) for name, value in given if value
    ]
