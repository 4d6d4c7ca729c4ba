"""The filter of a list of jobs, as it stands in an address: read, checked, and said in words."""

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Final, NamedTuple, get_args

from ops.dashboard.page import Visit, first_value
from producers.portals.http.query import JobQuery, read_query
from worker.errors import Invalid
from worker.ports.records import JobFilter, JobState

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
TIMES: Final = ("since", "until", "failed_since", "failed_until")
LOCAL: Final = (
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
)


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
    texts = {name: _with_offset(text, visit.zone) if name in TIMES else text for name, text in given.items()}
    wanted, faults = JobFilter(), tuple[str, ...]()
    try:
        wanted = read_query([("account", account or "x"), *texts.items()], JobQuery).filter()
    except Invalid as error:
        faults = tuple(map(str, error.faults))
    return JobQueryView(account, listed, wanted, given, faults)


def describe_query(visit: Visit, query: JobQueryView) -> str:
    """Return the filter in words."""
    t = visit.texts
    names = dict(FIELDS)
    parts = [t("account {name}", name=query.account) if query.account else t("all accounts")]
    if "state" in query.given:
        parts.append(t("state {state}", state=t(query.given["state"])))
    parts += [f"{t(names[name])} {text}" for name, text in query.given.items() if name in names]
    return ", ".join(parts)


def _with_offset(text: str, zone: tzinfo) -> str:
    """Return a time as the interface reads it; one without an offset is of the page's zone."""
    for layout in LOCAL:
        try:
            return datetime.strptime(text, layout).replace(tzinfo=zone).isoformat()
        except ValueError:
            continue
    return text
