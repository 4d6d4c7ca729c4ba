"""The filter of a list of jobs, as it stands in an address: read, checked, and said in words."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple, get_args

from ops.dashboard.formats import Formatter
from ops.dashboard.page import Visit, first_value
from producers.portals.http.query import JobQuery, read_query
from worker.contract.instant import read_local
from worker.errors import Fault, Invalid
from worker.ports.records import FILTER_TIMES, JobFilter, JobState

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
