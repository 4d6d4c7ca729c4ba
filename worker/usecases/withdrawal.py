"""The withdrawal of open work: of a record that is erased, of jobs that are cancelled; and what must wait.

What was never sent ends at once. A relation with an unfinished write is left to the flush: one without a
definite answer may have landed or may still do so, and only a read back shows what became of it (R14). Pure.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Request
from worker.planner.apply_reply import (
    UNANSWERED,
    Effects,
    RelationEffect,
    RelationOutcome,
    fail_relation,
)
from worker.planner.relation_state import (
    OpenRelation,
    RelationRecord,
    RelationState,
    drop_jobs,
    unfinished_until,
)
from worker.ports.erasure import RecordRef, UnsettledRequests, Withdrawal
from worker.ports.work import BegunRequest, Writes
from worker.usecases.batch import Batch
from worker.usecases.flush_context import FlushPolicy


def withdraw_record(
    record: RecordRef,
    known: Mapping[Relation, RelationRecord],
    unsettled: UnsettledRequests,
    policy: FlushPolicy,
    *,
    by: str,
) -> Withdrawal:
    """Return what ends the record's relations among the known ones, superseded by `by`, and what must wait.

    A relation that a paused account has kept unfinished for longer than the policy's `give_up_after` ends
    failed, as in a flush. The relations that are not the record's own forget from which star they were
    split, and texts of the API that may name it.
    """
    now = unsettled.now
    waiting = _in_flight(record, unsettled.requests, policy)
    batch = Batch(upsert=policy.retry.upsert, guarded=policy.guarded)
    batch.reopen(known, known)
    effects, jobs, ended = Effects(), set[str](), 0
    for relation, entry in known.items():
        opened, state = entry.open, batch.states.get(relation)
        if not opened:
            continue
        if not record.is_part_of(relation):
            if state:
                effects.states[relation] = _without_texts(state)
            continue
        until = unfinished_until(opened, entry.confirmed, entry.doubt, now=now)
        overdue = now - opened.since > policy.retry.give_up_after * SECOND
        if relation not in waiting and (until is None or (overdue and until <= now)):
            effects.add(relation, _end(relation, opened, state if until else None, policy, by=by))
            ended += 1
            continue
        waiting[relation] = max(until or now, waiting.get(relation, now))
        jobs.update(intent.job for intent in opened.intents)
    return Withdrawal(batch.writes(effects), ended, waiting, frozenset(jobs))


class JobsWithdrawal(NamedTuple):
    """What ends jobs that were taken: which are `done` then, and which are `unfinished` and go on."""

    writes: Writes
    done: frozenset[str]
    unfinished: frozenset[str]


def withdraw_jobs(
    jobs: Collection[str],
    known: Mapping[Relation, RelationRecord],
    unsettled: UnsettledRequests,
    policy: FlushPolicy,
    *,
    by: str,
) -> JobsWithdrawal:
    """Return what ends these jobs on the known relations, superseded by `by`; others of a relation go on.

    A job stays as a whole if a request with one of its relations is begun, or a write of one is unfinished.
    """
    sent = {relation for begun in unsettled.requests for relation in begun.request.relations()}
    upsert = policy.retry.upsert
    batch = Batch(upsert=upsert, guarded=policy.guarded)
    batch.reopen(known, known)
    wanted, unfinished, found = frozenset(jobs), set[str](), set[str]()
    for relation, state in batch.states.items():
        mine = wanted.intersection(intent.job for intent in state.open.intents)
        found |= mine
        until = unfinished_until(state.open, state.confirmed, state.doubt, now=unsettled.now)
        if relation in sent or until is not None:
            unfinished |= mine
    done, effects = found - unfinished, Effects()
    for relation, state in batch.states.items():
        ended = [intent.job for intent in state.open.intents if intent.job in done]
        if not ended:
            continue
        left, lost = drop_jobs(state, done, upsert=upsert)
        outcomes = [RelationOutcome(job, relation, "superseded", by) for job in ended]
        outcomes += [RelationOutcome(each.intent.job, relation, each.result, each.by) for each in lost]
        effects.add(relation, RelationEffect(left, outcomes=tuple(outcomes)))
    return JobsWithdrawal(batch.writes(effects), frozenset(done), frozenset(unfinished))


def _end(
    relation: Relation,
    opened: OpenRelation,
    unfinished: RelationState | None,
    policy: FlushPolicy,
    *,
    by: str,
) -> RelationEffect:
    """Return the effect of ending a relation: failed if a write of it was given up, else superseded."""
    if unfinished:
        whole = unfinished.with_progress(reduced=True)  # so that no intent is tried once more
        return fail_relation(relation, whole, UNANSWERED, upsert=policy.retry.upsert)
    outcomes = [RelationOutcome(intent.job, relation, "superseded", by) for intent in opened.intents]
    return RelationEffect(None, outcomes=tuple(outcomes))


def _without_texts(state: RelationState) -> RelationState:
    refusal = state.open.refusal and state.open.refusal._replace(message="")
    intents = tuple(msgspec.structs.replace(intent, correlation="") for intent in state.open.intents)
    return state.with_progress(part="", refusal=refusal, intents=intents)


def _in_flight(
    record: RecordRef, requests: Iterable[BegunRequest], policy: FlushPolicy
) -> dict[Relation, int]:
    """Return the relations of begun requests that name the record, and until when (µs) each may land."""
    doubt = round(policy.doubt * SECOND)
    return {
        relation: begun.signed + doubt
        for begun in requests
        for relation in _relations_that_name(record, begun.request)
    }


def _relations_that_name(record: RecordRef, request: Request) -> Iterator[Relation]:
    """Yield the request's relations of the record, and those that were split from a star of one of these."""
    for action in filter(record.is_named_by, request.actions):
        own = [relation for relation in action.relations if record.is_part_of(relation)]
        yield from own or action.relations
