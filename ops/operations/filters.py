"""Filters and selections, as the HTTP interface takes them in its parameters and forms. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from producers.job_admin.selection import NarrowedJobs, Selection
from worker.contract import write_instant
from worker.ports.deliveries import DeliveryFilter
from worker.ports.records import JobFilter

FILTER_FIELDS: Final[Mapping[str, str]] = {  # of the filter → parameter of the interface
    "state": "state",
    "type": "relationtype",
    "parent": "parentid",
    "child": "childid",
    "error": "error",
    "source": "source",
    "batch": "batch",
    "event_id": "event_id",
}
TIME_FIELDS: Final = ("since", "until", "failed_since", "failed_until")


def write_filter(wanted: JobFilter) -> dict[str, Any]:
    """Return the parameters of a filter, without those that let everything pass."""
    values = {FILTER_FIELDS[name]: getattr(wanted, name) for name in FILTER_FIELDS}
    times = {name: write_instant(at) for name in TIME_FIELDS if (at := getattr(wanted, name))}
    reference = {"reference": str(wanted.reference)} if wanted.reference else {}
    return {name: value for name, value in values.items() if value} | times | reference


def write_delivery_filter(wanted: DeliveryFilter) -> dict[str, Any]:
    """Return the parameters of a filter of at most one source, without those that let everything pass."""
    values = {"source": "".join(wanted.sources), "outcome": wanted.outcome}
    times = {name: write_instant(at) for name in ("since", "until") if (at := getattr(wanted, name))}
    return {name: value for name, value in values.items() if value} | times


def write_selection(account: str, selection: Selection) -> dict[str, Any]:
    """Return the fields of a form that selects jobs of an account."""
    if isinstance(selection, JobFilter):
        return {"account": account, **write_filter(selection)}
    if isinstance(selection, NarrowedJobs):
        return {"account": account, "jobs": selection.jobs, **write_filter(selection.filter)}
    return {"account": account, "jobs": selection}
