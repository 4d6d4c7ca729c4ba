"""What a list of messages would come to: repeats are set aside, the rest is folded and planned.

Nothing is known of the relations beforehand. Pure; nothing is sent and nothing is stored.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from worker.contract import TYPES, Change, GuardedSide, Order, guarded_side, order_of
from worker.planner.dry_run import DryRun
from worker.planner.plan import Limits
from worker.ports import ClaimedJob
from worker.usecases.dry_run import DryRunPolicy, dry_run_jobs


class Repeat(NamedTuple):
    """A message that is answered with the job of an earlier one; both by their names."""

    name: str
    first: str


class ChangesDryRun(NamedTuple):
    """One account's messages by name, in order of arrival, and what would be sent for them.

    Intents in the plan carry the name of their message as job id.
    """

    account: str
    messages: Mapping[str, Change]
    repeats: Sequence[Repeat]
    plan: DryRun


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
        ClaimedJob(
            name,
            change.asks,
            change.relations,
            change.info,
            now if change.occurred_at is None else change.occurred_at,
            accepted=number,
            allow_empty=change.allow_empty,
        )
        for number, (name, change) in enumerate(changes.items())
    ]
    account = next(iter(messages.values())).account
    return ChangesDryRun(account, messages, repeats, dry_run_jobs(jobs, {}, policy))


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
