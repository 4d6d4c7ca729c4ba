"""Filters and selections, as the HTTP interface takes them in its parameters and forms. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from producers.job_admin.selection import NarrowedJobs, Selection
from worker.contract import write_instant
from worker.ports.deliveries import DeliveryFilter
from worker.ports.records import FILTER_TIMES, JobFilter

PARAMETERS: Final[Mapping[str, str]] = {  # of the interface, by the fields of a filter
    **{field: field for field in JobFilter.__struct_fields__},
    "type": "relationtype",
    "parent": "parentid",
    "child": "childid",
}


def write_filter(wanted: JobFilter) -> dict[str, Any]:
    """Return the parameters of a filter, without those that let everything pass."""
    values = {field: value for field, value in msgspec.structs.asdict(wanted).items() if value}
    times = {field: write_instant(values[field]) for field in FILTER_TIMES if field in values}
    reference = {"reference": str(wanted.reference)} if wanted.reference else {}
    return {PARAMETERS[field]: value for field, value in (values | times | reference).items()}


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
