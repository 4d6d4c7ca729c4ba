"""Paths, queries and bodies of the operators' routes, as types that are read, checked and described."""

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from producers.job_admin.resolve import RecordChoice
from producers.job_admin.selection import Selection, narrow
from producers.portals.http.api_route import JOB_ID, PROBLEMS, JobId
from producers.portals.http.query import (
    MAX_PAGE,
    AccountName,
    AccountQuery,
    JobQuery,
    Label,
    Limit,
    RecordId,
    Timestamp,
    TypeName,
    parse_faults,
)
from producers.replay.repair import MAX_RELATIONS as MAX_REPAIRED
from worker.contract import Relation, limit_faults, read_instant, resolve
from worker.errors import Fault, Invalid, NotFound
from worker.ports.deliveries import DeliveryFilter, DeliveryOutcome
from worker.ports.drift import DriftedRelation, DriftFilter, DriftState
from worker.usecases.drift import MAX_SAMPLE

JobIds = Annotated[
    tuple[str, ...], Meta(max_length=10_000, description="the ids of jobs; instead of a filter")
]
DeliveryIds = Annotated[
    tuple[str, ...], Meta(max_length=MAX_PAGE, description="the ids of deliveries; instead of a filter")
]
Cursor = Annotated[str, Meta(max_length=64, description="the `next` of a page")]
ENTRY_PLACE: Final = "[0-9a-z]{18}"  # where a page of requests or of the audit log begins: an id
# And one of messages: when the last of them was made, and its id, which earlier releases did not name.
MESSAGE_PLACE: Final = "[0-9]{1,17}(:.{1,100})?"
DELIVERY_PLACE: Final = "[0-9]{1,17}:.{1,100}"
EntryCursor = Annotated[str, Meta(pattern=f"^({ENTRY_PLACE})?$", description="the `next` of a page")]
MessageCursor = Annotated[str, Meta(pattern=f"^({MESSAGE_PLACE})?$", description="the `next` of a page")]
DeliveryCursor = Annotated[
    str, Meta(pattern=f"^({DELIVERY_PLACE})?$", description="the `next` of a page of deliveries")
]
Outcome = Annotated[DeliveryOutcome, Meta(description=f"one of {', '.join(get_args(DeliveryOutcome))}")]
UtcOffset = Annotated[
    str,
    Meta(
        pattern="^[+-]([01][0-9]|2[0-3]):[0-5][0-9]$",
        description="the offset from UTC of the times in texts, such as +01:00, `+` written as %2B",
    ),
]
Module = Annotated[str, Meta(min_length=1, max_length=40, description="as in relation types, e.g. address")]


def _named_by(parameter: str, meaning: Any) -> Mapping[str, Any]:
    """Return the options of a route whose path names the account, so that no query has to."""
    return {"path_params": {parameter: meaning}, "account_in": parameter}


def _id_of(what: str) -> Any:
    return Annotated[
        str, Meta(description=f"The id of {what}; it begins with its account.", examples=[JOB_ID])
    ]


OF_ACCOUNT: Final = _named_by("account", AccountName)
OF_JOB: Final = _named_by("id", JobId)
PREPARED: Final[Any] = {"status": 201, "problems": (*PROBLEMS, 429), "location": "/v1/replays/{id}"}
OF_REPLAY: Final = _named_by("id", _id_of("a replay"))
OF_MESSAGE: Final = _named_by("id", _id_of("a message of a callback"))


class TextsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How texts are to be written."""

    utc_offset: UtcOffset = "+00:00"


class ExplainQuery(AccountQuery, frozen=True, kw_only=True):
    """The account of a relation, and how texts are to be written."""

    utc_offset: UtcOffset = "+00:00"


def find_zone(utc_offset: str) -> tzinfo:
    """Return the time zone of that offset, such as +01:00."""
    return datetime.strptime(utc_offset, "%z").tzinfo or UTC


class NewestQuery(AccountQuery, frozen=True, kw_only=True):
    """The newest entries of an account, and how many of them."""

    limit: Limit = 50


class PageQuery(NewestQuery, frozen=True, kw_only=True):
    """One page of the entries of an account."""

    cursor: EntryCursor = ""

    @property
    def page(self) -> dict[str, Any]:
        """Where the page begins, and how many entries it has."""
        return {"limit": self.limit, "cursor": self.cursor}


class MessagePageQuery(PageQuery, frozen=True, kw_only=True):
    """One page of the messages of an account's callbacks."""

    cursor: MessageCursor = ""


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


class DeliveryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries that fit everything given, which came at `since` or later and before `until`."""

    source: Label | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    since: Timestamp | UnsetType = UNSET
    until: Timestamp | UnsetType = UNSET
    limit: Limit = 50
    cursor: DeliveryCursor = ""

    def filter(self) -> DeliveryFilter:
        """Return the filter for the store; raises Invalid."""
        times = {name: text for name in ("since", "until") if (text := getattr(self, name))}
        if faults := [fault for name, text in times.items() for fault in parse_faults(name, text)]:
            raise Invalid(faults)
        return DeliveryFilter(
            sources=(self.source,) if self.source else (),
            outcome=self.outcome or "",
            **{name: read_instant(text) for name, text in times.items()},
        )


class RedeliverForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `dry_run` it is only shown what would become of a delivery."""

    dry_run: bool = False


class RemapForm(DeliveryQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deliveries by their ids, or one page of those that fit; with `dry_run` it is only shown."""

    deliveries: DeliveryIds = ()
    dry_run: bool = False


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


class DriftForm(AccountQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of the confirmed relations to read back: a page of them, or so many that are drawn by chance.

    With `since`, those whose confirmed change occurred then or later.
    """

    relationtype: TypeName | UnsetType = UNSET
    parentid: RecordId | UnsetType = UNSET
    childid: RecordId | UnsetType = UNSET
    since: Timestamp | UnsetType = UNSET
    cursor: Cursor = ""
    sample: Annotated[int, Meta(ge=0, le=MAX_SAMPLE, description=f"0 to {MAX_SAMPLE}; 0 reads a page")] = 0

    def filter(self) -> DriftFilter:
        """Return the filter; the ids of a mirrored type change places, as they do in a change."""
        found = JobQuery(
            account=self.account,
            relationtype=self.relationtype,
            parentid=self.parentid,
            childid=self.childid,
            since=self.since,
        ).filter()
        return DriftFilter(found.type, found.parent, found.child, found.since)


class DriftedForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A relation that has drifted, as a page shows it."""

    relationtype: TypeName
    parentid: RecordId
    childid: RecordId
    state: DriftState
    occurred_at: Timestamp
    job: Annotated[str, Meta(max_length=200)]
    read_at: Timestamp

    def read(self) -> DriftedRelation:
        """Return the relation; raise NotFound for its type, ValueError for a time that there is not."""
        known = resolve(self.relationtype)
        parent, child = (self.childid, self.parentid) if known.swapped else (self.parentid, self.childid)
        return DriftedRelation(
            Relation(known.type.name, parent, child),
            self.state,
            read_instant(self.occurred_at),
            self.job,
            read_instant(self.read_at),
        )


class RepairForm(AccountQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Relations that have drifted, to be made as they were confirmed."""

    relations: Annotated[tuple[DriftedForm, ...], Meta(min_length=1, max_length=MAX_REPAIRED)]

    def drifted(self) -> list[DriftedRelation]:
        """Return the relations under their canonical types; raises Invalid with every fault."""
        found, faults = list[DriftedRelation](), list[Fault]()
        for place, each in enumerate(self.relations):
            try:
                found.append(each.read())
            except (ValueError, NotFound) as error:
                faults.append(Fault("relations", str(error), place))
        if faults:
            raise Invalid(limit_faults(faults))
        return found


class CallbackTestForm(AccountQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The callback to try, and the account that its message names."""

    callback: Annotated[str, Meta(min_length=1, max_length=40, description="a callback of the settings")]
