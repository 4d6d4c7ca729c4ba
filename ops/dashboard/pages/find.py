"""The box that finds what is typed into it: a job, a replay, a request, a relation, a record, an event."""

import re
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

from ops.dashboard.formats import relation_path
from ops.dashboard.page import Answer, DashboardDeps, Page, SeeOther, Visit, get, link
from ops.lookups import resolve_relation
from producers.portals.http.endpoint import job_account
from producers.portals.imports.load import SOURCE as CLI_SOURCE
from worker.contract import TYPES, Relation
from worker.contract.message import MAX_ID
from worker.contract.message import SOURCE as DEFAULT_SOURCE
from worker.contract.reference import is_short_form
from worker.contract.values import strip_pasted
from worker.errors import RelationsError
from worker.ports.records import JobFilter, JobRecord

SOURCES: Final = (DEFAULT_SOURCE, CLI_SOURCE)  # of producers that name none
MAX_LOOKED_UP: Final = 20  # accounts that are asked for something without an account
MAX_TEXT: Final = 300  # characters of what is looked for
NUMBER: Final = re.compile(r"[0-9]{1,19}")
RECORD: Final = re.compile(r"(?i)(estate|objekt|immobilie|address|person|adresse)[\s:#]+([0-9]{1,19})")
MODULES: Final = {
    **dict.fromkeys(("estate", "objekt", "immobilie"), "estate"),
    **dict.fromkeys(("address", "person", "adresse"), "address"),
}


class Found(NamedTuple):
    """Something that a text may mean: what it is, and where it stands."""

    what: str
    text: str
    path: str


@get("/find")
def find(deps: DashboardDeps, visit: Visit) -> Answer:
    """Go to what the text names; where it may mean several things, or none, show what there is."""
    text = visit.asked("q")[:MAX_TEXT]
    found = list(dict.fromkeys(_look_up(deps, visit, text))) if text else []
    if len(found) == 1:
        return SeeOther(found[0].path)
    return Page("find.html", {"text": text, "found": found})


def _look_up(deps: DashboardDeps, visit: Visit, text: str) -> list[Found]:
    if owned := _by_id(deps, visit, strip_pasted(text)):
        return owned
    if relation := read_relation(text):
        t = visit.texts
        known = deps.runtime.ask_each(partial(_knows, deps, relation), visit.accounts)
        accounts = [name for name, is_known in known.items() if is_known] or visit.accounts
        return [
            Found(t("relation"), f"{name}: {relation}", relation_path(name, relation)) for name in accounts
        ]
    if is_short_form(text):
        return [Found(visit.texts("Reference"), text, link("/jobs", reference=text))]
    if record := RECORD.fullmatch(text):
        return _by_record(visit, MODULES[record[1].lower()], int(record[2]))
    if NUMBER.fullmatch(text):
        return [*_by_record(visit, "", int(text)), *_by_event(deps, visit, text)]
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


def _knows(deps: DashboardDeps, relation: Relation, account: str) -> bool:
    record, events = deps.runtime.store.relation_history(account, relation)
    return bool(events or record.open)


def read_relation(text: str) -> Relation | None:
    """Return the relation that a text names, such as `estate:address:buyer 501 9001`; None for others."""
    parts = [part for part in re.split(r"[\s/→>,]+", text) if part not in ("", "-")]
    if len(parts) == 1 and text.count(":") >= 3:
        parts = text.rsplit(":", 2)
    if len(parts) != 3 or not all(NUMBER.fullmatch(part) for part in parts[1:]):
        return None
    try:
        return resolve_relation(parts[0], int(parts[1]), int(parts[2]))
    except RelationsError:
        return None


def _by_record(visit: Visit, module: str, number: int) -> list[Found]:
    """Return the lists of jobs that name a record as a parent, or as a child; "" stands for any module."""
    if not 0 < number <= MAX_ID:
        return []
    t = visit.texts
    sides = (("parentid", t("as parent"), "parent"), ("childid", t("as child"), "child"))
    return [
        Found(t(module or "record"), f"{number} {words}", link("/jobs", **{name: number}))
        for name, words, side in sides
        if not module or any(getattr(known, side) == module for known in TYPES.values())
    ]


def _by_event(deps: DashboardDeps, visit: Visit, text: str) -> list[Found]:
    """Return the jobs of this event id: by their keys, of the sources that are known, and among the newest.

    A source that stands before the event id is known by that.
    """
    queries, sources = deps.runtime.queries, [*SOURCES, *deps.runtime.settings.sources]
    source, _, event = text.partition(" ")

    def find_in(account: str) -> list[JobRecord]:
        jobs = [*queries.find_event(account, text, sources)]
        jobs += queries.find_event(account, event.strip(), [source]) if event else ()
        return [*jobs, *queries.find_jobs(account, JobFilter(event_id=text), limit=5).entries]

    found = chain.from_iterable(deps.runtime.ask_each(find_in, visit.inboxes[:MAX_LOOKED_UP]).values())
    return [Found(visit.texts("job of this event"), job.id, f"/jobs/{job.id}") for job in found]
