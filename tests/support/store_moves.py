"""What the tests of the store do to it: submissions, and writes such as a flush makes of what it has in hand."""

from collections.abc import Iterable, Mapping, Sequence

from worker.contract import TYPES, Change, Relation, order_of
from worker.planner.actions import Action, Kind, Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import ConfirmedInfo, ConfirmedState, Intent, JobVersion, Result, Version
from worker.planner.relation_state import Doubt, OpenRelation, Refusal
from worker.planner.swaps import is_first_half, swap_key
from worker.ports import ClaimedJob, OpenWrite, RelationRecord, RequestRecord, Submission, SwapSide, Writes

START = 1_800_000_000_000_000  # µs; far from any real test run, so that a real clock would show
BUYER, BROKER = "estate:address:buyer", "estate:address:contactPerson"
MONTH = 30 * 86_400.0
PLENTY = 1_000_000
REFUSED = Refusal(78, "ambiguous", "no")


def change(
    parent: int,
    *children: int,
    kind: str = "create",
    name: str = BUYER,
    account: str = "acme",
    **rest: object,
) -> Change:
    """One change."""
    return Change(account=account, action=kind, type=name, parents=(parent,), children=children, **rest)


def submission(job: str, asked: Change, *, event_id: str = "", redelivered: bool = False) -> Submission:
    """The change as intake hands it over."""
    order = order_of(TYPES[asked.type])
    first = is_first_half({"create": True, "delete": False}.get(asked.action), order)
    firsts = tuple(swap_key(relation, order) for relation in asked.relations) if first else ()
    return Submission(f"{asked.account}-{job}", asked, event_id or job, redelivered, firsts)


def intents_by_relation(
    jobs: Iterable[ClaimedJob], records: Mapping[Relation, RelationRecord]
) -> dict[Relation, tuple[Intent, ...]]:
    """What is asked of each relation, oldest first: what was open before, and what the jobs bring."""
    wishes = {relation: record.open.intents for relation, record in records.items() if record.open}
    for job in jobs:
        wish = Intent(Version(job.occurred_at, job.accepted), job.job, job.action, job.info)
        for relation in job.relations:
            wishes[relation] = (*wishes.get(relation, ()), wish)
    return wishes


def open_write(relation: Relation, opened: OpenRelation | None) -> OpenWrite:
    """The open relation with its place in a swap."""
    order = order_of(TYPES[relation.type])
    if not opened or order == "free":
        return OpenWrite(opened, swap_key(relation, order))
    first = is_first_half(opened.intents[-1].action == "create", order)
    side: SwapSide = "first" if first else "held" if opened.waits_for_swap else ""
    return OpenWrite(opened, swap_key(relation, order), side)


def settle_all(relation: Relation, wishes: Sequence[Intent], result: Result, writes: Writes) -> None:
    """Every wish has its outcome, the relation is closed and remembered."""
    writes.opens[relation] = open_write(relation, None)
    newest = max(wish.job_version for wish in wishes)
    refusal = REFUSED if result == "failed" else None
    by = newest.job if result in ("superseded", "stale") else ""
    writes.outcomes += [RelationOutcome(wish.job, relation, result, by, refusal) for wish in wishes]
    if result == "applied":
        writes.confirmed[relation] = (
            ConfirmedState(present=newest, info={"key": ConfirmedInfo(*newest, "value")}),
            None,
        )


def keep_newest(
    relation: Relation,
    wishes: Sequence[Intent],
    opened: Mapping[str, object],
    writes: Writes,
    *,
    doubt: int = 0,
) -> None:
    """All wishes but the newest are superseded; that one stays open, perhaps with a write in doubt."""
    *older, newest = sorted(wishes)
    writes.outcomes += [RelationOutcome(wish.job, relation, "superseded", newest.job) for wish in older]
    leave(relation, (newest,), opened, writes, doubt=doubt)


def leave(
    relation: Relation,
    wishes: Sequence[Intent],
    opened: Mapping[str, object],
    writes: Writes,
    *,
    doubt: int = 0,
) -> None:
    """The wishes stay open."""
    written = OpenRelation(tuple(wishes), **opened)
    writes.opens[relation] = open_write(relation, written)
    if doubt:
        writes.confirmed[relation] = (
            ConfirmedState(absent=JobVersion(Version(1, 1), "acme-0")),
            Doubt(doubt, "create", (("key", "value"),)),
        )
    if written.not_before:
        writes.job_states |= {wish.job: "verifying" if written.stage.reads else "retrying" for wish in wishes}


def request_about(relations: Iterable[Relation], *, kind: Kind = "create") -> Request:
    """A request with an action for each."""
    return Request(tuple(Action(kind, each.type, (each.parent,), (each.child,)) for each in relations))


def record_of(request_id: str, request: Request, now: int) -> RequestRecord:
    """The record of a request that was answered."""
    answers = tuple(("ok", 0, "OK") for _ in request.actions)
    return RequestRecord(
        id=request_id,
        at=now,
        status=200,
        seconds=0.25,
        message="OK",
        actions=request.actions,
        answers=answers,
    )
