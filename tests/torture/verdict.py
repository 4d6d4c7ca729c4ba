"""What is left after the torture, compared with what was sent: every acknowledged change, every outcome, the CRM, its log of requests."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from ops.dev.demo import crm_state
from ops.dev.demo.agency import CrmRelations
from ops.dev.stack import Stack
from tests.torture.expected_state import AcceptedChange, Wanted, wanted
from tests.torture.load import ESTATE, RENTER, SEEDED, Books
from worker.contract import Relation
from worker.ports import OPEN_STATES, JobRecord
from worker.wiring import Runtime

LAST: Final = 1.0  # seconds before a kill of Redis whose changes AOF `everysec` may lose
SHOWN: Final = 5
ENTRIES: Final = "1000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Counts of changes, and what is wrong. `in_last_second` are those acknowledged at most a second before Redis was killed, and gone.

    `repeated` are creates and deletes that were sent twice without a reading between. `celery_lost` messages of changes never came
    to `relations.accept`, so nobody was promised anything; `unanswered` ones got no 202 over HTTP, however often they were sent.
    """

    acknowledged: int
    sent_again: int
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


def judge(
    stack: Stack, runtime: Runtime, books: Books, *, outages: Sequence[float], agreeing: Sequence[str]
) -> Verdict:
    """Read everything and compare."""
    jobs = {job.event_id: job for account in stack.credentials for job in crm_state.list_jobs(runtime.queries, account)}
    gone = [
        event for event, (_, job) in books.acknowledged.items() if event not in jobs or jobs[event].id != job
    ]
    excused = {
        event
        for event in gone
        if any(0 <= outage - books.acknowledged[event][0] <= LAST for outage in outages)
    }
    wrong = [
        line
        for account in stack.credentials
        for line in _wrong(
            crm_state.read_relations(stack, account), books, account, jobs, seeded=account in agreeing, excused=excused
        )
    ]
    log = stack.simulate("log", limit=ENTRIES)
    twice = repeated(log, {stack.credentials[account].token for account in agreeing})
    failed = [f"{job.id} failed: {job.refusal}" for job in jobs.values() if job.state == "failed"]
    stuck = [
        f"{job.id} is {job.state}"
        for job in jobs.values()
        if job.state in OPEN_STATES or sum(job.counts.values()) != job.total
    ]
    states = [job.state for job in jobs.values()]
    return Verdict(
        acknowledged=len(books.acknowledged),
        sent_again=books.counts["sent again"],
        duplicates=books.counts["duplicates"],
        by_celery=len(books.by_celery & jobs.keys()),
        celery_lost=len(books.by_celery - jobs.keys()),
        requests=len(log),
        succeeded=states.count("succeeded"),
        superseded=states.count("superseded"),
        lost=len(gone) - len(excused),
        in_last_second=len(excused),
        stuck=len(stuck),
        failed=len(failed),
        unanswered=len(books.sent.keys() - books.by_celery - books.acknowledged.keys()),
        wrong=len(wrong),
        repeated=len(twice),
        examples=tuple(
            line for lines in (stuck, failed, books.denied, wrong, twice) for line in map(str, lines[:SHOWN])
        ),
    )


def repeated(log: Iterable[Mapping[str, Any]], tokens: Set[str]) -> list[Relation]:
    """Writes of these accounts that were sent again although nobody had read back since: each relation of theirs is asked for once.

    HTTP 429 counts as not sent: it says that nothing was done.
    """
    unread, twice = set[tuple[str, Relation]](), list[Relation]()
    for entry in log:
        acts = (
            entry["acts"]
            if entry["token"] in tokens and entry["fault"] != "throttle" and not entry["landed"]
            else ()
        )
        for act in acts:
            if act["kind"] == "get":
                unread -= {
                    (token, relation)
                    for token, relation in unread
                    if token == entry["token"] and _is_asked(relation, act)
                }
                continue
            written = {(entry["token"], relation) for relation in _star(act)}
            twice += [relation for _, relation in sorted(written & unread)]
            unread |= written
    return twice


def _star(act: Mapping[str, Any]) -> list[Relation]:
    return [Relation(act["type"], parent, child) for parent in act["parents"] for child in act["children"]]


def _is_asked(relation: Relation, act: Mapping[str, Any]) -> bool:
    return relation.type == act["type"] and (
        relation.parent in act["parents"] or relation.child in act["children"]
    )


def _wrong(
    held: CrmRelations, books: Books, account: str, jobs: Mapping[str, JobRecord], *, seeded: bool, excused: Set[str]
) -> list[str]:
    """Every relation of an account that the CRM does not hold as the accepted changes ask for."""
    sent = {event: change for event, change in books.sent.items() if change.account == account}
    done = {event for event in sent if event in jobs and jobs[event].state != "failed"}
    # No two changes of a relation happened at once, so that the order of acceptance decides nothing.
    asked = wanted(
        (
            (AcceptedChange(sent[e].occurred_at or 0, 0, e, sent[e]), r)
            for e in done
            for r in sent[e].relations
        ),
        upsert=False,
    )
    before = {Relation(RENTER, ESTATE, child) for child in range(1, SEEDED + 1)} if seeded else set()
    unsure = {relation for event in sent.keys() - done for relation in sent[event].relations} - asked.keys()
    unsure |= {relation for event in excused & sent.keys() for relation in sent[event].relations}
    return [
        f"{account}: {relation} is {held.get(relation)}, asked for is {asked.get(relation)}"
        for relation in sorted((asked.keys() | held.keys() | before) - unsure)
        if not asked.get(relation, Wanted(present=relation in before)).allows(held.get(relation))
    ]
