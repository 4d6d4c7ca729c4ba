"""Values for the tests of the store: changes, submissions, and writes as a flush makes them."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from worker.contract import TYPES, Change, Reference, Relation, guarded_side
from worker.planner.actions import Action, Answer, Kind, Request
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import ConfirmedInfo, ConfirmedState, Intent, JobVersion, Result, Version
from worker.planner.guard import guard_key
from worker.planner.relation_state import Doubt, OpenRelation, Refusal, RelationRecord
from worker.ports.references import LookUpBatch, LookUpResult, Parking
from worker.ports.requests import RequestRecord
from worker.ports.store import Submission
from worker.ports.work import ClaimedJob, OpenWrite, Writes

START = 1_800_000_000_000_000  # µs; far from any real test run, so that a real clock would show
BUYER, BROKER = "estate:address:buyer", "estate:address:contactPerson"
MONTH = 30 * 86_400.0
NO_LIMIT = 1_000_000
REFUSED = Refusal(78, "ambiguous", "no")


def change(
    parent: int,
    *children: int,
    kind: str = "create",
    name: str = BUYER,
    account: str = "acme",
    **rest: object,
) -> Change:
    """Return one change."""
    return Change(account=account, action=kind, type=name, parents=(parent,), children=children, **rest)


def name_by_references(asked: Change, sides: str) -> Change:
    """Return the change with the records of these sides ("parent", "child", "both") named by references."""
    parents = asked.parents if sides in ("parent", "both") else ()
    children = asked.children[:1] if sides in ("child", "both") else ()
    return msgspec.structs.replace(
        asked,
        parents=asked.parents[len(parents) :],
        children=asked.children[len(children) :],
        parent_references=tuple(Reference("estate", (("uuid", str(each)),)) for each in parents),
        child_references=tuple(Reference("address", (("KdNr", str(each)),)) for each in children),
    )


def look_up_results(
    batch: LookUpBatch, chosen: Sequence[str], *, park: bool
) -> tuple[list[LookUpResult], dict[Reference, int]]:
    """Return what becomes of changes whose references lead to what is chosen, and what was found.

    What lacks a record is parked for a minute, or fails. A replace finds two children, if anything is found.
    """
    results, found = list[LookUpResult](), dict[Reference, int]()
    for number, job in enumerate(batch.jobs):
        answers, lacks = dict[Reference, Answer](), ""
        for place, reference in enumerate(job.references):
            outcome, record = chosen[(number + place) % len(chosen)], int(reference.fields[0][1])
            candidates = (record, 77) if outcome == "several" else ()
            answers[reference] = Answer(record if outcome == "found" else 0, candidates)
            found |= {reference: record} if outcome == "found" else {}
            lacks = lacks if outcome == "found" else outcome
        since = job.parked.since if job.parked else batch.now
        parked = Parking(since, batch.now + 60_000_000, 1, lacks) if lacks and park else None
        refusal = (0, "not_found", lacks) if lacks and not park else None
        related = frozenset({9, 10}) if job.replaced and not lacks else None
        results.append(LookUpResult(job.job, answers, batch.now, parked, refusal, related))
    return results, found


def submission(job: str, asked: Change, *, event_id: str = "", redelivered: bool = False) -> Submission:
    """Return the change as intake gives it to the store."""
    asked = msgspec.structs.replace(asked, delivered=redelivered)
    return Submission(f"{asked.account}-{job}", asked, event_id or job)


def intents_by_relation(
    jobs: Iterable[ClaimedJob], records: Mapping[Relation, RelationRecord]
) -> dict[Relation, tuple[Intent, ...]]:
    """Return each relation's intents, oldest first: those that were open, and those of the jobs."""
    intents = {relation: record.open.intents for relation, record in records.items() if record.open}
    for job in jobs:
        intent = Intent(Version(job.occurred_at, job.accepted), job.job, job.action, job.info)
        for relation in job.relations:
            intents[relation] = (*intents.get(relation, ()), intent)
    return intents


def open_write(relation: Relation, opened: OpenRelation | None) -> OpenWrite:
    """Return the write of an open relation, with its guarded record."""
    return OpenWrite(opened, guard_key(relation, guarded_side(TYPES[relation.type])))


def settle_all(relation: Relation, intents: Sequence[Intent], result: Result, writes: Writes) -> None:
    """Give every intent an outcome, close the relation and remember it."""
    writes.opens[relation] = open_write(relation, None)
    newest = max(intent.job_version for intent in intents)
    refusal = REFUSED if result == "failed" else None
    by = newest.job if result in ("superseded", "stale") else ""
    writes.outcomes += [RelationOutcome(intent.job, relation, result, by, refusal) for intent in intents]
    if result == "applied":
        confirmed = ConfirmedState(
            present=newest, info={"key": ConfirmedInfo(newest.version, newest.job, "value")}
        )
        writes.confirmed[relation] = confirmed, None


def keep_newest(
    relation: Relation,
    intents: Sequence[Intent],
    progress: Mapping[str, object],
    writes: Writes,
    *,
    doubt: int = 0,
) -> None:
    """Supersede all intents but the newest; that one stays open, perhaps with a write in doubt."""
    *older, newest = sorted(intents)
    writes.outcomes += [RelationOutcome(intent.job, relation, "superseded", newest.job) for intent in older]
    leave_open(relation, (newest,), progress, writes, doubt=doubt)


def leave_open(
    relation: Relation,
    intents: Sequence[Intent],
    progress: Mapping[str, object],
    writes: Writes,
    *,
    doubt: int = 0,
) -> None:
    """Leave the intents open, perhaps with a write in doubt until then (µs)."""
    opened = OpenRelation(tuple(intents), **progress)
    writes.opens[relation] = open_write(relation, opened)
    if doubt:
        memory = ConfirmedState(absent=JobVersion(Version(1, 1), "acme-0"))
        writes.confirmed[relation] = memory, Doubt(doubt, "create", (("key", "value"),))
    if opened.not_before:
        state = "verifying" if opened.stage.reads else "retrying"
        writes.job_states |= dict.fromkeys((intent.job for intent in intents), state)


def make_request(relations: Iterable[Relation], *, kind: Kind = "create") -> Request:
    """Return a request with an action for each relation."""
    return Request(tuple(Action(kind, each.type, (each.parent,), (each.child,)) for each in relations))


def make_request_record(request_id: str, request: Request, now: int) -> RequestRecord:
    """Return the record of a request that was answered."""
    return RequestRecord(
        id=request_id,
        at=now,
        status=200,
        seconds=0.25,
        message="OK",
        actions=request.actions,
        answers=tuple(("ok", 0, "OK") for _ in request.actions),
    )
