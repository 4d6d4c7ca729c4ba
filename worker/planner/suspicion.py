"""Which relations share requests, so that one that makes requests fail hurts only itself (R24). Pure.

The API may fail a whole request for what is in it, and does not say for which relation. A first failure is
the account's. A relation is *suspected* when requests with it fail again although the API answers others:
then it travels among suspected ones only, in ever smaller groups, and in the end alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.planner.actions import Action, Operation, Request
from worker.planner.apply_reply import UNANSWERED, Effects, fail_relation
from worker.planner.relation_state import ALONE, OpenRelation, RelationState
from worker.planner.retry_policy import RetryPolicy

TOGETHER = (64, 8)
"""The most suspected relations in a request after one failure and after two; then each goes alone."""
REST = (
    4  # times as long as their failed request took, or as the slots it counts for, suspected relations rest
)
MOST_SLOTS = 16  # that a failed request counts for
LONGEST_REST = 300.0  # seconds
LONGEST_APART = 60.0  # seconds between the first and the last of those that are put off together
DOUBTFUL_FAILURES = 2  # failures in a row after which it has to be shown that the API is there
PROBES_A_RELATION = 6  # failures in a row from which on every other probe reads a relation

HARMLESS_READ = Request((Action("get", "estate:address:buyer", (1,), ()),))
"""A read of a record that need not exist: any answer to it shows that the API is there."""


class Priority(IntEnum):
    """How requests with a relation went so far; a smaller one goes first, and none shares with another."""

    NEW = 0  # never failed, and opened last
    OPEN = 1
    FAILED = 2  # perhaps through no fault of its own
    SUSPECTED = 3


class OperationGroup(NamedTuple):
    """Operations of one priority that may share requests.

    `failures` is the most that one of them has had in a row, `suspicion` the highest of them.
    """

    priority: Priority
    operations: tuple[Operation, ...]
    failures: int = 0
    suspicion: int = 0

    def may_go(self, account_failures: int) -> bool:
        """Return whether it may be sent after so many failures of the account in a row.

        What is suspected or failed repeatedly goes only if the API has answered since the last failure: so
        its next one says whose fault it is. Everything else may be the one to find out.
        """
        if self.priority is Priority.SUSPECTED or self.failures > 1:
            return account_failures == 0
        return account_failures < DOUBTFUL_FAILURES

    def is_to_blame(self, account_failures: int) -> bool:
        """Return whether a failure now would be its own: it failed before, and others were answered since."""
        return self.is_doubtful and account_failures == 0

    @property
    def is_doubtful(self) -> bool:
        """Whether it failed before, and so has to wait while suspected relations rest."""
        return self.priority >= Priority.FAILED

    def rest_after(self, seconds: float, *, rate: float) -> float:
        """Return for how long (s) suspected relations rest after a failure of it that took so many seconds.

        So they take a fifth of the account's time and slots at most, and less the longer they fail alone:
        each such failure counts for twice as many slots as the one before.
        """
        slots = min(1 << max(0, self.suspicion - ALONE), MOST_SLOTS)
        return min(REST * max(seconds, slots / rate), LONGEST_REST)


def next_groups(
    operations: Sequence[Operation], states: Mapping[Relation, RelationState], *, troubled: bool
) -> list[OperationGroup]:
    """Return the groups of the best priority, the one to be sent next first.

    Only while the account is `troubled` is it told apart what never failed, and what of that came last: it
    must not fail for what came before it. Else one failure is forgiven, and all of it travels together.
    There are several of suspected relations only: the least suspected go first, then those that wait longest.
    """
    if not troubled and not any(map(_has_failed, _opened(operations, states))):  # nearly always
        return [OperationGroup(Priority.OPEN, tuple(operations))] if operations else []
    newest = 0
    if troubled:
        fresh = (opened.since for opened in _opened(operations, states) if not _failures(opened))
        newest = max(fresh, default=0)
    by_priority = defaultdict[Priority, list[Operation]](list)
    for operation, opened in zip(operations, _opened(operations, states), strict=True):
        by_priority[_priority(opened, troubled=troubled, newest=newest)].append(operation)
    if not by_priority:
        return []
    best = min(by_priority)
    if best is not Priority.SUSPECTED:
        return [_to_group(best, by_priority[best], states)]
    small = sorted(_small_groups(by_priority[best], states), key=lambda group: _waiting_since(group, states))
    groups = [_to_group(best, group, states) for group in small]
    return sorted(groups, key=lambda group: group.suspicion)


def is_doubtful(opened: OpenRelation, *, troubled: bool) -> bool:
    """Return whether the relation failed before, so that it waits while suspected relations rest."""
    return _priority(opened, troubled=troubled, newest=opened.since) >= Priority.FAILED


def put_off(
    groups: Iterable[OperationGroup],
    states: Mapping[Relation, RelationState],
    *,
    now: int,
    until: int,
    apart: float,
    retry: RetryPolicy,
) -> Effects:
    """Return the effects of letting groups wait until `until` (µs), each `apart` seconds after the other.

    What failed alone and has been tried for `give_up_after` fails: another try would decide nothing.
    """
    effects = Effects()
    for place, group in enumerate(groups):
        due = until + round(min(place * apart, LONGEST_APART) * SECOND)
        for relation in (operation.relation for operation in group.operations):
            state = states[relation]
            if state.open.suspicion > ALONE and now - state.open.since > retry.give_up_after * SECOND:
                refusal = state.open.refusal or UNANSWERED
                effects.add(relation, fail_relation(relation, state, refusal, upsert=retry.upsert))
            else:
                effects.states[relation] = state.delayed(due)
    return effects


def probe(group: OperationGroup, states: Mapping[Relation, RelationState], failures: int) -> Request:
    """Return a harmless read that shows whether the API is there, after so many failures in a row.

    It names nothing of the batch; but while the account's breaker stays open, every other probe reads the
    relation that failed least, lest an API that cannot answer the first kind counts as away for ever.
    """
    if failures < PROBES_A_RELATION or failures % 2:
        return HARMLESS_READ
    relation = min(group.operations, key=lambda each: states[each.relation].open.failures).relation
    return Request((Action("get", relation.type, (relation.parent,), (), asked=(relation,)),))


def _opened(operations: Sequence[Operation], states: Mapping[Relation, RelationState]) -> list[OpenRelation]:
    return [states[operation.relation].open for operation in operations]


def _has_failed(opened: OpenRelation) -> bool:
    return bool(opened.failures or opened.lost_writes or opened.suspicion)


def _failures(opened: OpenRelation) -> int:
    return max(opened.failures, opened.lost_writes)


def _priority(opened: OpenRelation, *, troubled: bool, newest: int) -> Priority:
    if opened.suspicion:
        return Priority.SUSPECTED
    if _failures(opened) > (not troubled):
        return Priority.FAILED
    return Priority.NEW if troubled and opened.since == newest else Priority.OPEN


def _to_group(
    priority: Priority, group: Sequence[Operation], states: Mapping[Relation, RelationState]
) -> OperationGroup:
    failures = max(_failures(opened) for opened in _opened(group, states))
    suspicion = max(opened.suspicion for opened in _opened(group, states))
    return OperationGroup(priority, tuple(group), failures, suspicion)


def _waiting_since(group: Sequence[Operation], states: Mapping[Relation, RelationState]) -> int:
    return min(states[operation.relation].open.not_before for operation in group)


def _small_groups(
    operations: Sequence[Operation], states: Mapping[Relation, RelationState]
) -> Iterator[list[Operation]]:
    """Yield the suspected operations in groups of neighbours, the more suspected the smaller."""
    by_size = defaultdict[int, list[Operation]](list)
    for operation in sorted(operations, key=lambda each: each.relation):
        suspicion = states[operation.relation].open.suspicion
        by_size[TOGETHER[suspicion - 1] if suspicion < ALONE else 1].append(operation)
    for size, group in by_size.items():
        for start in range(0, len(group), size):
            yield group[start : start + size]
