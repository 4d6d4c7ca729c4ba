"""What a list of messages would come to: repeats are set aside, the rest is folded and planned.

Nothing is known of the relations beforehand. Pure; nothing is sent and nothing is stored.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from worker.contract import TYPES, Change, GuardedSide, Order, guarded_side, order_of
from worker.planner.dry_run import DryRun, DryRunPolicy
from worker.planner.lookup import LookUp
from worker.planner.plan import Limits
from worker.ports.work import ClaimedJob
from worker.usecases.dry_run import dry_run_jobs

COUNTRY: Final = "DE"  # of phone numbers, each of which is searched for in a few spellings


class Repeat(NamedTuple):
    """A message that is answered with the job of an earlier one; both by their names."""

    name: str
    first: str


class LookUpCost(NamedTuple):
    """How many changes name records by references, how many references these are, and what asking costs."""

    changes: int = 0
    references: int = 0
    actions: int = 0
    requests: int = 0


class ChangesDryRun(NamedTuple):
    """One account's messages by name, in order of arrival, and what would be sent for them.

    Intents in the plan carry the name of their message as job id. Messages with references are not in the
    plan, since nobody knows what they come to; `look_ups` counts the requests and actions that find out.
    """

    account: str
    messages: Mapping[str, Change]
    repeats: Sequence[Repeat]
    plan: DryRun
    look_ups: LookUpCost


def count_look_ups(changes: Iterable[Change], max_actions: int) -> LookUpCost:
    """Return what it costs to look up the records that changes name by references, if none is remembered."""
    named = [change.references for change in changes if change.references]
    references = dict.fromkeys(chain.from_iterable(named), 0)
    look_up, actions, requests = LookUp(references, COUNTRY), 0, 0
    while request := look_up.next_request(max_actions):
        actions, requests = actions + len(request), requests + 1
    return LookUpCost(len(named), len(references), actions, requests)


def catalogue_order(relation_type: str) -> Order:
    """Return which half of a swap goes first, by the catalogue alone."""
    return order_of(TYPES[relation_type])


def catalogue_guarded(relation_type: str) -> GuardedSide:
    """Return which record a type guards, by the catalogue alone."""
    return guarded_side(TYPES[relation_type])


DEFAULT_POLICY: Final = DryRunPolicy(Limits(max_ids=100, max_actions=50), catalogue_order, catalogue_guarded)


def number_messages(changes: Sequence[Change]) -> dict[str, Change]:
    """Name the messages `#1`, `#2` and so on."""
    return {f"#{number}": change for number, change in enumerate(changes, start=1)}


def dry_run_changes(messages: Mapping[str, Change], policy: DryRunPolicy = DEFAULT_POLICY) -> ChangesDryRun:
    """Plan one account's messages, all accepted before the first flush; there must be at least one."""
    changes, repeats = _without_repeats(messages)
    # A change without a time happens now, so after all others.
    now = max((change.occurred_at or 0 for change in changes.values()), default=0)
    jobs = [
        ClaimedJob.of_change(name, change, now=now, accepted=number)
        for number, (name, change) in enumerate(changes.items())
        if not change.references
    ]
    account = next(iter(messages.values())).account
    look_ups = count_look_ups(changes.values(), policy.limits.max_actions)
    return ChangesDryRun(account, messages, repeats, dry_run_jobs(jobs, {}, policy), look_ups)


def _without_repeats(messages: Mapping[str, Change]) -> tuple[dict[str, Change], list[Repeat]]:
    """Split the messages into those that get a job of their own, and repeats of an earlier event id."""
    first: dict[tuple[str, str], str] = {}
    changes, repeats = dict[str, Change](), list[Repeat]()
    for name, change in messages.items():
        key = (change.source, change.event_id or name)
        if first.setdefault(key, name) == name:
            changes[name] = change
        else:
            repeats.append(Repeat(name, first[key]))
    return changes, repeats
