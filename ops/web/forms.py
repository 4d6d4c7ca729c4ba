"""Queries and bodies of the operators' routes, as types from which they are read, checked and described."""

from datetime import timedelta, timezone, tzinfo
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from producers.job_admin.resolve import RecordChoice
from producers.job_admin.selection import Selection, narrow
from producers.portals.http.query import AccountQuery, JobQuery, Limit, RecordId

JobIds = Annotated[
    tuple[str, ...], Meta(max_length=10_000, description="the ids of jobs; instead of a filter")
]
UtcOffset = Annotated[
    str,
    Meta(
        pattern="^[+-]([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="the offset from UTC of the times in texts, such as +01:00, `+` written as %2B",
    ),
]
Module = Annotated[str, Meta(min_length=1, max_length=40, description="as in relation types, e.g. address")]


class TextsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How texts are to be written."""

    utc_offset: UtcOffset = "+00:00"


class ExplainQuery(AccountQuery, frozen=True, kw_only=True):
    """The account of a relation, and how texts are to be written."""

    utc_offset: UtcOffset = "+00:00"


def find_zone(utc_offset: str) -> tzinfo:
    """Return the time zone of that offset, such as +01:00."""
    sign = -1 if utc_offset[0] == "-" else 1
    hours, minutes = int(utc_offset[1:3]), int(utc_offset[4:])
    return timezone(sign * timedelta(hours=hours, minutes=minutes))


class NewestQuery(AccountQuery, frozen=True, kw_only=True):
    """The newest entries of an account, and how many of them."""

    limit: Limit = 50


class PageQuery(NewestQuery, frozen=True, kw_only=True):
    """One page of the entries of an account."""

    cursor: Annotated[str, Meta(max_length=64, description="the `next` of a page")] = ""


class JobSelectionForm(JobQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs by their ids or by a filter."""

    jobs: JobIds = ()

    def ids_or_filter(self) -> Selection:
        """Return the ids, or without any the filter; one that gives nothing but the account is empty.

        Beside ids, an error, a type and the ids of records say which failed relations of them. Raises Invalid
        for any other filter beside ids.
        """
        job_filter = self.filter()
        return narrow(self.jobs, job_filter) if self.jobs else job_filter


class JobActionForm(JobSelectionForm, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs by their ids or by a filter; with `dry_run` they are only named."""

    dry_run: bool = False


class ResolveForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which records the references of a job are: by side, or by their texts.

    With `all`, of all parked jobs of the account that have the same references; with `dry_run` the jobs are
    only named.
    """

    parentid: RecordId | UnsetType = UNSET
    childid: RecordId | UnsetType = UNSET
    references: dict[str, RecordId] = msgspec.field(default_factory=dict)
    all: bool = False
    dry_run: bool = False

    def choice(self) -> RecordChoice:
        """Return what the form says."""
        return RecordChoice(parent=self.parentid or 0, child=self.childid or 0, references=self.references)


class ReplayForm(JobSelectionForm, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Failed jobs by ids or a filter; `set` corrects them, `force` lets them overrule what is newer."""

    force: bool = False
    set: dict[str, Any] = msgspec.field(default_factory=dict)


class PauseForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reason for pausing an account."""

    why: Annotated[str, Meta(max_length=200)] = ""


class ErasureForm(AccountQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record to take out of everything that is kept; and whether to rewrite the append-only file.

    With `only_account`, messages that name no known account are left alone.
    """

    module: Module
    id: RecordId
    only_account: bool = False
    rewrite_aof: bool = False


class CallbackTestForm(AccountQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The callback to try, and the account that its message names."""

    callback: Annotated[str, Meta(min_length=1, max_length=40, description="a callback of the settings")]
