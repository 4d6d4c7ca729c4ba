"""The state after the kills, compared with what was sent: jobs, outcomes, the CRM, its log of requests."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from ops.dev.demo import crm_state
from ops.dev.demo.agency import CrmRelations
from ops.dev.stack import Stack
from tests.torture.expected_state import AcceptedChange, ExpectedRelation, expect
from tests.torture.load_generator import SentChanges, seeded_relations
from worker.contract import Relation
from worker.ports.records import OPEN_STATES, JobRecord
from worker.wiring import Runtime

LAST_SECOND: Final = 1.0  # seconds before a kill of Redis whose changes AOF `everysec` may lose
MAX_EXAMPLES: Final = 5  # of each kind
ALL_REQUESTS: Final = "1000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class TortureResult:
    """Counts of changes, and what is wrong.

    `in_last_second` are lost changes that were acknowledged at most a second before Redis was killed.
    `repeated` are creates and deletes that were sent twice without a read in between. `celery_lost` messages
    never reached `relations.accept`, so that nothing was promised; `unanswered` changes got no 202 over HTTP.
    """

    acknowledged: int
    resent: int
    duplicates: int
    by_celery: int
    celery_lost: int
    requests: int
    succeeded: int
    superseded: int
    lost: int
    in_last_second: int
    stuck: int
    failed: int
    unanswered: int
    wrong: int
    repeated: int
    examples: tuple[str, ...]


def compare(
    stack: Stack,
    runtime: Runtime,
    changes: SentChanges,
    *,
    redis_kills: Sequence[float],
    ordinary: Sequence[str],
) -> TortureResult:
    """Read everything and compare it with what was sent.

    Changes acknowledged in the second before one of `redis_kills` may be lost.
    """
    named = {change.account for change in changes.sent.values()}
    accounts = {name: credentials for name, credentials in stack.credentials.items() if name in named}
    jobs = {
        job.event_id: job for account in accounts for job in crm_state.list_jobs(runtime.queries, account)
    }
    lost = {
        event
        for event, (_, job) in changes.acknowledged.items()
        if event not in jobs or jobs[event].id != job
    }
    excused = {event for event in lost if _was_before_kill(changes.acknowledged[event][0], redis_kills)}
    wrong: list[str] = []
    for account in accounts:
        actual = crm_state.read_relations(stack, account)
        seeded = account in ordinary
        wrong += _check_crm(actual, changes, account, jobs, seeded=seeded, excused=excused)
        broken = stack.simulate("state", account=account)["violations"]
        wrong += [f"{account}: the guard was broken: {edge}" for edge in broken]
    log = stack.simulate("log", limit=ALL_REQUESTS)
    repeated = find_repeated_writes(log, set(ordinary))
    failed = [f"{job.id} failed: {job.refusal}" for job in jobs.values() if job.state == "failed"]
    stuck = [f"{job.id} is {job.state}" for job in jobs.values() if _is_stuck(job)]
    return TortureResult(
        **_count(changes, jobs),
        requests=len(log),
        lost=len(lost) - len(excused),
        in_last_second=len(excused),
        stuck=len(stuck),
        failed=len(failed),
        wrong=len(wrong),
        repeated=len(repeated),
        examples=_first_of_each(stuck, failed, changes.refused, wrong, list(map(str, repeated))),
    )


def _count(changes: SentChanges, jobs: Mapping[str, JobRecord]) -> dict[str, int]:
    states = [job.state for job in jobs.values()]
    return {
        "acknowledged": len(changes.acknowledged),
        "resent": changes.counts["resent"],
        "duplicates": changes.counts["duplicates"],
        "by_celery": len(changes.by_celery & jobs.keys()),
        "celery_lost": len(changes.by_celery - jobs.keys()),
        "succeeded": states.count("succeeded"),
        "superseded": states.count("superseded"),
        "unanswered": len(changes.sent.keys() - changes.by_celery - changes.acknowledged.keys()),
    }


def find_repeated_writes(log: Iterable[Mapping[str, Any]], accounts: Set[str]) -> list[Relation]:
    """Return the relations that these accounts wrote twice without reading them back in between.

    Their changes name each relation once. HTTP 429 counts as not sent: it says that nothing was done.
    """
    unread, repeated = set[tuple[str, Relation]](), list[Relation]()
    for entry in log:
        account = entry["account"]
        if account not in accounts or entry["fault"] == "throttle" or entry["landed"]:
            continue
        for action in entry["acts"]:
            if action["kind"] == "get":
                unread = {pair for pair in unread if pair[0] != account or not _is_read_by(pair[1], action)}
                continue
            written = {(account, relation) for relation in _relations_of(action)}
            repeated += [relation for _, relation in sorted(written & unread)]
            unread |= written
    return repeated


def _relations_of(action: Mapping[str, Any]) -> list[Relation]:
    return [
        Relation(action["type"], parent, child)
        for parent in action["parents"]
        for child in action["children"]
    ]


def _is_read_by(relation: Relation, action: Mapping[str, Any]) -> bool:
    return relation.type == action["type"] and (
        relation.parent in action["parents"] or relation.child in action["children"]
    )


def _was_before_kill(acknowledged: float, redis_kills: Sequence[float]) -> bool:
    return any(0 <= kill - acknowledged <= LAST_SECOND for kill in redis_kills)


def _is_stuck(job: JobRecord) -> bool:
    return job.state in OPEN_STATES or sum(job.counts.values()) != job.total


def _first_of_each(*kinds: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for lines in kinds for line in lines[:MAX_EXAMPLES])


def _check_crm(
    actual: CrmRelations,
    changes: SentChanges,
    account: str,
    jobs: Mapping[str, JobRecord],
    *,
    seeded: bool,
    excused: Set[str],
) -> list[str]:
    """Return every relation of an account that is not in the CRM as the accepted changes ask for."""
    sent = {event: change for event, change in changes.sent.items() if change.account == account}
    done = {event for event in sent if event in jobs and jobs[event].state != "failed"}
    # No two changes of a relation happened at once, so that the order of acceptance decides nothing.
    accepted = (AcceptedChange(sent[event].occurred_at or 0, 0, event, sent[event]) for event in done)
    expected = expect(
        ((entry, relation) for entry in accepted for relation in entry.change.relations), upsert=False
    )
    before = set(seeded_relations()) if seeded else set()
    not_done = {relation for event in sent.keys() - done for relation in sent[event].relations}
    uncertain = not_done - expected.keys()
    uncertain |= {relation for event in excused & sent.keys() for relation in sent[event].relations}
    return [
        f"{account}: {relation} is {actual.get(relation)}, expected is {expected.get(relation)}"
        for relation in sorted((expected.keys() | actual.keys() | before) - uncertain)
        if not expected.get(relation, ExpectedRelation(present=relation in before)).allows(
            actual.get(relation)
        )
    ]
