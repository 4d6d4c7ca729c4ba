"""What operators look up in a running system, and letting an account go on: the same for every front."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from ops.explain import Evidence, ExplanationDict, explain
from ops.explain.explanation import write_error
from ops.explain.text import Sentence, Zone
from ops.serializers.accounts import WaitsDict, serialize_waiting
from ops.serializers.acts import PausedDict
from ops.serializers.jobs import RelationOutcomeDict
from producers.webhooks.redelivery import is_visible
from worker.config import Account, refuse_secrets
from worker.contract import Relation, resolve
from worker.contract.message import MAX_ID
from worker.errors import Fault, Invalid, NotFound
from worker.ports.deliveries import Deliveries, KeptDelivery
from worker.ports.metrics import HISTORY_SECONDS, AccountStats, HistoryPoint, Metrics
from worker.ports.pace import ACCOUNT_REASONS, Pace
from worker.ports.queries import Queries, walk_pages
from worker.ports.records import OPEN_STATES, AuditEntry, JobFilter, JobRecord, RelationEvent
from worker.ports.requests import RequestRecord
from worker.ports.store import Store
from worker.usecases.waiting import AccountView, why_account_waits
from worker.wiring import Runtime

MAX_PAGES: Final = 200  # of jobs, among which those are looked for that still wait
PAGE: Final = 500  # jobs
FEW: Final = 1000  # waiting changes, of which each is looked at anyway


def resolve_relation(type_name: str, parent: int, child: int) -> Relation:
    """Return the relation under its canonical type, which may swap parent and child; raises NotFound.

    Raises Invalid for what is no id of a record.
    """
    if bad := [side for side, id_ in (("parent", parent), ("child", child)) if not 1 <= id_ <= MAX_ID]:
        raise Invalid([Fault(side, "expected the id of a record, a positive whole number") for side in bad])
    resolved = resolve(type_name)
    if resolved.swapped:
        parent, child = child, parent
    return Relation(resolved.type.name, parent, child)


def explain_relation(
    runtime: Runtime, account: Account, relation: Relation, *, zone: Zone
) -> ExplanationDict:
    """Explain the relation by everything that is kept about it; its texts are sentences."""
    view = runtime.waits.view(account.name)
    evidence = collect_evidence(
        runtime.store,
        runtime.queries,
        account.name,
        relation,
        now=view.now,
        since=_waits_since(runtime, view),
        upsert=account.on_modify_absent == "create",
        why_not_sending=why_not_sending(view, zone),
    )
    return explain(evidence, zone=zone)


def _waits_since(runtime: Runtime, view: AccountView) -> int | None:
    """Return since when what waits was accepted (µs; 0: whenever); None if nothing waits.

    What was resolved is older than what it stands behind. Only among many the first one says where to stop.
    """
    if view.state.waiting <= FEW:
        return 0 if view.state.waiting else None
    return runtime.metrics.account_stats([view.name])[view.name].oldest


def collect_evidence(
    store: Store,
    queries: Queries,
    account: str,
    relation: Relation,
    *,
    now: int,
    since: int | None = 0,
    upsert: bool = False,
    why_not_sending: str = "",
) -> Evidence:
    """Return everything that is kept about the relation.

    `since` (µs, 0: whenever) is when what waits was accepted at the earliest, None if nothing waits.
    """
    record, ended = store.relation_history(account, relation)
    waiting = [] if since is None else _find_waiting(queries, account, relation, since)
    results = {event.job: event.result for event in ended}
    unread = [RelationEvent(job.id, "", "") for job in reversed(waiting) if job.id not in results]
    jobs = queries.get_jobs(list(_named_jobs((*ended, *unread))))
    replayed = [
        RelationEvent(job, "", "")
        for job, result in results.items()
        if result == "failed" and _waits_again(jobs.get(job), relation)
    ]
    events = (*ended, *replayed, *unread)
    return Evidence(
        relation=relation,
        record=record,
        events=events,
        jobs=jobs,
        requests=_get_requests(store, account, jobs.values()),
        now=now,
        upsert=upsert,
        why_not_sending=why_not_sending,
    )


def _find_waiting(queries: Queries, account: str, relation: Relation, since: int) -> list[JobRecord]:
    """Find the jobs in the inbox that name the relation, newest first, as far back as `MAX_PAGES` go."""
    waiting = JobFilter(
        state="queued", type=relation.type, parent=relation.parent, child=relation.child, since=since
    )
    pages = walk_pages(lambda cursor: queries.find_jobs(account, waiting, limit=PAGE, cursor=cursor))
    return [job for page in islice(pages, MAX_PAGES) for job in page.entries]


def _waits_again(job: JobRecord | None, relation: Relation) -> bool:
    """Return whether a job that failed for the relation was put back into the inbox for it."""
    return job is not None and job.state == "queued" and relation not in job.failed


def _named_jobs(events: Sequence[RelationEvent]) -> Iterable[str]:
    """Return the jobs of the events, and the newer jobs that overruled them, each once."""
    newer = (event.detail for event in events if event.result in ("superseded", "stale"))
    return dict.fromkeys(filter(None, [*(event.job for event in events), *newer]))


def _get_requests(store: Store, account: str, jobs: Iterable[JobRecord]) -> dict[str, RequestRecord]:
    """Return the requests that the jobs travelled in, as far as they are still kept."""
    ids = dict.fromkeys(request for job in jobs for request in job.requests)
    return {request: kept for request in ids if (kept := store.get_request(account, request))}


def why_not_sending(view: AccountView, zone: Zone) -> str:
    """Return why nothing of the account is sent now, and until when; empty if it is sent."""
    waiting = why_account_waits(view)
    return describe_stop(serialize_waiting(waiting, zone)) if waiting else ""


def describe_stop(waits: WaitsDict | None) -> str:
    """Return why nothing of an account is sent and until when, by the `waits` of its status, or nothing."""
    if not waits or waits["reason"] not in ACCOUNT_REASONS:
        return ""
    why = Sentence(waits["message"])
    until = waits["until"]
    return Sentence("{why}; until {until}", why=why, until=Sentence(until)) if until else why


def find_delivery(deliveries: Deliveries, delivery_id: str, allowed: Collection[str] | None) -> KeptDelivery:
    """Return a delivery; raise NotFound for one that is not for the `allowed` accounts (None: any), too."""
    found = deliveries.get(delivery_id)
    if found is None or not is_visible(found.delivery, allowed):
        raise NotFound(f'there is no delivery "{delivery_id}" (any more)')
    return found


COUNTS: Final = HistoryPoint._fields[1:-1]  # all but when it began, and how many waited then


def read_history(metrics: Metrics, account: str, stats: AccountStats | None = None) -> list[HistoryPoint]:
    """Return what an account did within the last day, by its state if that was read already."""
    stats = stats or metrics.account_stats([account])[account]
    return make_buckets(metrics.history(account), metrics.now(), stats)


def make_buckets(points: Sequence[HistoryPoint], now: int, stats: AccountStats) -> list[HistoryPoint]:
    """Return the buckets between the points, the last until now; counters that fell began anew.

    What happened while nothing was noted counts for the bucket before.
    """
    ends = [*points[1:], HistoryPoint.of(now, stats)] if points else []
    return [
        HistoryPoint(
            start.at,
            **{name: max(0, getattr(end, name) - getattr(start, name)) for name in COUNTS},
            waiting=start.waiting,
        )
        for start, end in zip(points, ends, strict=True)
    ]


def gather(buckets: Iterable[HistoryPoint], *, start: int, seconds: int, size: int) -> list[HistoryPoint]:
    """Return so many buckets of these seconds from a time (µs) on, each the sum of those that began in it.

    `waiting` is the most that waited; sums of several accounts are made of all their buckets at once.
    """
    sums = [dict.fromkeys(COUNTS, 0) for _ in range(size)]
    waiting = [dict[int, int]() for _ in range(size)]
    for bucket in buckets:
        place = (bucket.at - start) // (seconds * 1_000_000)
        if not 0 <= place < size:
            continue
        for name in COUNTS:
            sums[place][name] += getattr(bucket, name)
        moment = bucket.at // (HISTORY_SECONDS * 1_000_000)
        waiting[place][moment] = waiting[place].get(moment, 0) + bucket.waiting
    return [
        HistoryPoint(
            start + place * seconds * 1_000_000, **counts, waiting=max(waiting[place].values(), default=0)
        )
        for place, counts in enumerate(sums)
    ]


MAX_RELATIONS: Final = 500  # of one change


def read_outcomes(queries: Queries, job: JobRecord) -> list[RelationOutcomeDict]:
    """Return the outcome of each relation of a job, in the order of its ids; in one round trip."""
    relations = job.relations[:MAX_RELATIONS]
    events = queries.relation_events(job.account, relations)
    return [outcome_of(job, relation, events.get(relation, ())) for relation in relations]


def outcome_of(job: JobRecord, relation: Relation, events: Sequence[RelationEvent]) -> RelationOutcomeDict:
    """Return what became of one relation: `applied`, `superseded`, `stale`, `failed`, `open`, or not known.

    `by` is the newer job, or what it was superseded by; `request` the one that it was applied with.
    """
    failure = next((each for each in job.failures if each.relation == relation), None)
    own = [event for event in events if event.job == job.id]
    result, detail = (own[-1].result, own[-1].detail or None) if own else ("", None)
    if failure:
        result = "failed"
    elif result not in ("applied", "superseded", "stale"):  # a job that failed and is open was replayed
        result = "open" if job.state in OPEN_STATES else ""
    return {
        "parentid": relation.parent,
        "childid": relation.child,
        "outcome": result or None,
        "by": detail if result in ("superseded", "stale") else None,
        "request": detail if result == "applied" else None,
        "error": write_error(failure) if failure else None,
        "dismissed_by": failure.dismissed.by or None if failure and failure.dismissed else None,
    }


def describe_resumed(resumed: PausedDict) -> Iterator[str]:
    """Yield what was done, in sentences."""
    account = resumed["account"]
    yield f"{account} goes on." if resumed["was_paused"] else f"{account} was not paused."
    yield from resumed["did"]


def resume_account(runtime: Runtime, account: str, *, by: str, now: float) -> PausedDict:
    """Let the account go on at full pace, whatever stopped it; return how it stood, and what became of it.

    The audit log shows what this changed. `now` is in seconds since the epoch, by the store's clock.
    """
    refuse_secrets(by=by)
    pace = runtime.limiter.state(account)
    if pace["not_before"] <= now:
        pace = {**pace, "not_before": 0.0}
    did = list(describe_pace(pace))
    note = " ".join(did)
    entry = AuditEntry(runtime.intake().new_id(), by, "resumed", account, note)
    was_paused = runtime.store.resume(account, audit_entry=entry)
    runtime.limiter.reset(account)
    if note and not was_paused:
        runtime.job_admin.add_audit_entry(account, msgspec.structs.replace(entry, count=1))
    return {
        "account": account,
        "paused": False,
        "was_paused": was_paused,
        "breaker_was": pace["breaker"],
        "pace_was": pace["factor"],
        "did": did,
    }


def describe_pace(pace: Pace) -> Iterator[str]:
    """Yield what resuming does to a breaker and a pace like these; nothing if they are as when it began."""
    if pace["breaker"] != "closed":
        state = pace["breaker"].replace("_", " ")
        reason = f" ({pace['reason']})" if pace["reason"] else ""
        yield f"Its breaker was {state}{reason}: it is closed, and requests are sent without a probe."
    if pace["not_before"]:
        yield "The API had asked to wait (Retry-After): that is no longer kept."
    if pace["factor"] != 1:
        yield f"Its pace was {pace['factor']:.0%}: it is full."
