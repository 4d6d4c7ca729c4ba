"""What a list of messages would come to: repeats are set aside, the rest is folded, planned, and told.

Nothing is known of the relations beforehand. Pure; nothing is sent and nothing is stored.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from ops.explain.text import format_ids, format_info, join_names, pluralize
from worker.contract import TYPES, Change, GuardedSide, Order, Relation, guarded_side, order_of
from worker.planner.actions import Action
from worker.planner.dry_run import DryRun, DryRunPolicy
from worker.planner.fold import LostIntent
from worker.planner.lookup import LookUp
from worker.planner.plan import Limits
from worker.planner.relation_state import RelationState
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


MAX_LINES: Final = 12  # lines of one kind; what is beyond them is counted
MAX_LONG_LINES: Final = 3 * MAX_LINES
PRESENCE_WORDS: Final = {True: "present", False: "absent", None: "info only"}
TARGET_LABELS: Final = {True: "present", False: "absent ", None: "info   "}


def explain_plan(
    changes: Sequence[Change], policy_for: Callable[[str], DryRunPolicy] = lambda _account: DEFAULT_POLICY
) -> str:
    """Explain what would be sent, account by account; messages go by their numbers, `#1` first."""
    by_account: dict[str, dict[str, Change]] = defaultdict(dict)
    for name, change in number_messages(changes).items():
        by_account[change.account][name] = change
    runs = (dry_run_changes(messages, policy_for(account)) for account, messages in by_account.items())
    return "\n".join("\n".join(_describe(run)) for run in runs)


def _describe(run: ChangesDryRun) -> Iterator[str]:
    plan, changes = run.plan, len(run.messages) - len(run.repeats)
    repeated = f", {len(run.repeats)} delivered again" if run.repeats else ""
    messages = pluralize(len(run.messages), "message")
    yield f"{messages} for account {run.account}: {pluralize(changes, 'change')}{repeated}"
    yield from _cut([f"  {name} is {first} again: same event_id, same job" for name, first in run.repeats])
    yield ""
    known = [change for change in run.messages.values() if not change.references]
    if run.look_ups.changes:
        yield from _describe_look_ups(run)
        if not known:
            return
        yield ""
    relations = len({relation for change in known for relation in change.relations})
    changes -= run.look_ups.changes
    folded = f"{pluralize(changes, 'change')} → {pluralize(relations, 'relation')}"
    yield f"Fold: {folded}; for each the latest change wins"
    yield from _cut(list(_describe_lost(plan.lost, run.messages)))
    yield from _cut(list(_describe_merged(plan.states)))
    yield ""
    yield f"Targets: {_count_targets(plan.states)}"
    yield from _cut(list(_describe_targets(plan.states)), most=MAX_LONG_LINES)
    yield ""
    sent = f"{pluralize(plan.actions, 'action')} in {pluralize(len(plan.requests), 'request')}"
    yield f"Plan: {sent}; {_describe_minimum(plan)}"
    for number, request in enumerate(plan.requests, start=1):
        yield f"  request {number}{' (waits for the answers before it)' if number > 1 else ''}"
        yield from _cut([_describe_action(action) for action in request.actions], most=MAX_LONG_LINES)


def _describe_look_ups(run: ChangesDryRun) -> Iterator[str]:
    cost = run.look_ups
    asked = f"{pluralize(cost.references, 'record')} in {pluralize(cost.actions, 'read')}"
    yield f"Look up: {asked}, for {pluralize(cost.changes, 'change')}; what these come to is known then"
    named = ((name, change) for name, change in run.messages.items() if change.references)
    yield from _cut(
        [
            f"  {name} {change.action} {change.type} by {', '.join(map(str, change.references))}"
            for name, change in named
        ]
    )


def _cut(lines: list[str], *, most: int = MAX_LINES) -> list[str]:
    if len(lines) <= most:
        return lines
    return [*lines[:most], f"  … and {len(lines) - most:,} more of this kind"]


def _describe_lost(
    lost: Sequence[tuple[Relation, LostIntent]], messages: Mapping[str, Change]
) -> Iterator[str]:
    arrival = {name: number for number, name in enumerate(messages)}
    for relation, loser in lost:
        intent, by = loser.intent, loser.by
        late = " (it came first, but happened later)" if arrival[by] < arrival[intent.job] else ""
        winner = f"{by}, a {messages[by].action}{late}"
        yield f"  {intent.job} {intent.action} {relation} is superseded by {winner}"


def _describe_merged(states: Mapping[Relation, RelationState]) -> Iterator[str]:
    for relation, state in states.items():
        if len(names := [intent.job for intent in state.target.intents]) > 1:
            merged = f"{join_names(names)} stand together behind one target for {relation}"
            yield f"  {merged} and share its outcome"


def _count_targets(states: Mapping[Relation, RelationState]) -> str:
    counts = Counter(PRESENCE_WORDS[state.target.presence] for state in states.values())
    ordered = sorted(counts.items(), reverse=True)
    return ", ".join(f"{number:,} {word}" for word, number in ordered) or "none"


def _describe_targets(states: Mapping[Relation, RelationState]) -> Iterator[str]:
    """Yield one line per type, parent and target, with its children together."""
    children: dict[tuple[str, int, bool | None, str], list[int]] = defaultdict(list)
    for relation, state in states.items():
        target = state.target
        key = relation.type, relation.parent, target.presence, format_info(target.patch)
        children[key].append(relation.child)
    for (relation_type, parent, presence, info), ids in children.items():
        yield f"  {TARGET_LABELS[presence]}  {relation_type}  {parent} → {format_ids(ids)}{info}"


def _describe_minimum(plan: DryRun) -> str:
    if not (extra := plan.actions - plan.least):
        return "no plan has fewer actions"
    return f"{plan.least} would do if an action held more ids, {extra} more by the limit on ids"


def _describe_action(action: Action) -> str:
    number = len(action.relations)
    size = f"  ({pluralize(number, 'relation')})" if number > 1 else ""
    ids = f"{format_ids(action.parents)} → {format_ids(action.children)}"
    return f"    {action.kind}  {action.type}  {ids}{format_info(action.info)}{size}"
