"""What the operators' endpoints take: their queries and bodies as types, from which they are read, checked and described."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from producers.job_admin.selection import Selection
from producers.portals.http.query import Account, Id, Jobs, Limit, OneAccount
from worker.errors import Fault, Invalid
from worker.ports import JobFilter

JobIds = Annotated[
    tuple[str, ...], Meta(max_length=10_000, description="the ids of jobs; instead of a filter")
]


class Newest(OneAccount, frozen=True, kw_only=True):
    """How many of the newest of what an account has."""

    limit: Limit = 50


class PageQuery(Newest, frozen=True, kw_only=True):
    """Which page of what an account has."""

    cursor: Annotated[str, Meta(max_length=64, description="the `next` of a page")] = ""


class Either(Jobs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs by their ids or by a filter."""

    jobs: JobIds = ()

    def wanted(self) -> Selection:
        """As acts take it; an account alone is an empty filter. Raises Invalid when both are given."""
        wanted = self.filter()
        if self.jobs and wanted != JobFilter():
            raise Invalid([Fault("jobs", "expected ids or a filter, not both")])
        return self.jobs or wanted


class Chosen(Either, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs by their ids or by a filter; with `dry_run` nothing is done, only said."""

    dry_run: bool = False


class Replayed(Either, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Failed jobs by their ids or by a filter; `set` corrects them, `force` lets them overrule what is newer."""

    force: bool = False
    set: dict[str, Any] = msgspec.field(default_factory=dict)


class Paused(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an account is stopped."""

    why: Annotated[str, Meta(max_length=200)] = ""


class Erasure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record that is taken out of everything that is kept."""

    account: Account
    module: Annotated[
        str, Meta(min_length=1, max_length=40, description="as in relation types, e.g. address")
    ]
    id: Id
