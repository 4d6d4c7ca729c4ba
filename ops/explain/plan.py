"""A dry run of messages in sentences: fold, targets, then the plan request by request."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from ops.explain.dry_run import DEFAULT_POLICY, ChangesDryRun, dry_run_changes, number_messages
from ops.explain.text import format_ids, format_info, join_names, pluralize
from worker.contract import Change, Relation
from worker.planner.actions import Action
from worker.planner.dry_run import DryRun, DryRunPolicy
from worker.planner.fold import LostIntent
from worker.planner.relation_state import RelationState

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
