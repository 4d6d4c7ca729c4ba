"""What would become of a list of changes: messages → fold → targets → actions → requests, if the API took every action.

A rehearsal with the worker's own pure parts, in an empty world; nothing is sent and nothing is stored.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from ops.explain.words import count, ids, info_text, listed
from worker.contract import TYPES, Change, Order, Relation, order_of
from worker.planner import dry_run as planner
from worker.planner.actions import Action
from worker.planner.dry_run import DryRun, Orders
from worker.planner.fold import Intent, LostIntent, Version
from worker.planner.plan import Limits
from worker.planner.relation_state import RelationState

LIMITS = Limits(max_ids=100, max_actions=50)
SHOWN = 12  # lines of one kind; what is beyond them is counted


class Repeat(NamedTuple):
    """A message that is answered with the job of an earlier one, both by their numbers from 1."""

    number: int
    first: int


@dataclass(slots=True, kw_only=True)
class Rehearsal(DryRun):
    """One account's changes after fold and plan: what each relation should be, what lost, and the requests in order."""

    account: str
    messages: int
    repeats: tuple[Repeat, ...] = ()


def catalogue_order(name: str) -> Order:
    """Which half of a swap goes first, by the catalogue alone."""
    return order_of(TYPES[name])


def explain_plan(
    changes: Sequence[Change], *, limits: Limits = LIMITS, order: Orders = catalogue_order
) -> str:
    """The whole flow in sentences, account by account; messages go by their numbers, `#1` first."""
    numbered: dict[str, list[tuple[int, Change]]] = defaultdict(list)
    for number, change in enumerate(changes, start=1):
        numbered[change.account].append((number, change))
    return "\n".join(
        "\n".join(_tell(rehearse(part, limits=limits, order=order), dict(part))) for part in numbered.values()
    )


def rehearse(
    numbered: Sequence[tuple[int, Change]], *, limits: Limits = LIMITS, order: Orders = catalogue_order
) -> Rehearsal:
    """One account's changes, taken in one window: folded once, then planned and confirmed round by round."""
    fresh, repeats = _fresh(numbered)
    told = planner.dry_run(_wishes(fresh), {}, limits=limits, order=order)
    parts = {each.name: getattr(told, each.name) for each in fields(told)}
    return Rehearsal(account=numbered[0][1].account, messages=len(numbered), repeats=repeats, **parts)


def _fresh(numbered: Sequence[tuple[int, Change]]) -> tuple[list[tuple[int, Change]], tuple[Repeat, ...]]:
    """The messages that get a job of their own, and those that come again under the same event id."""
    first: dict[tuple[str, str], int] = {}
    fresh, repeats = [], []
    for number, change in numbered:
        key = (change.source, change.event_id or f"#{number}")
        if first.setdefault(key, number) == number:
            fresh.append((number, change))
        else:
            repeats.append(Repeat(number, first[key]))
    return fresh, tuple(repeats)


def _wishes(fresh: Sequence[tuple[int, Change]]) -> dict[Relation, tuple[Intent, ...]]:
    """What each relation is asked for; a change without a time happens now, so after all others."""
    now = max((change.occurred_at or 0 for _, change in fresh), default=0)
    intents: dict[Relation, tuple[Intent, ...]] = {}
    for number, change in fresh:
        intent = Intent(
            Version(now if change.occurred_at is None else change.occurred_at, number),
            f"#{number}",
            change.action,
            change.info,
        )
        for relation in change.relations:
            intents[relation] = (*intents.get(relation, ()), intent)
    return intents


# --- in sentences


def _tell(told: Rehearsal, changes: Mapping[int, Change]) -> Iterator[str]:
    fresh = told.messages - len(told.repeats)
    yield f"{count(told.messages, 'message')} for account {told.account}: {count(fresh, 'change')}" + (
        f", {len(told.repeats)} delivered again" if told.repeats else ""
    )
    yield from _cut(
        [f"  #{number} is #{first} again: same event_id, same job" for number, first in told.repeats]
    )
    relations = {relation for number in changes for relation in changes[number].relations}
    yield ""
    yield f"Fold: {count(fresh, 'change')} → {count(len(relations), 'relation')}; for each the latest change wins"
    yield from _cut([_loser(relation, lost, changes) for relation, lost in told.lost])
    yield from _cut(
        [_company(relation, case) for relation, case in told.states.items() if len(case.target.intents) > 1]
    )
    yield ""
    yield f"Targets: {_tally(told.states)}"
    yield from _cut(list(_targets(told.states)), most=3 * SHOWN)
    yield ""
    yield f"Plan: {count(told.actions, 'action')} in {count(len(told.requests), 'request')}; {_proof(told)}"
    for number, request in enumerate(told.requests, start=1):
        yield f"  request {number}{' (waits for the answers before it)' if number > 1 else ''}"
        yield from _cut([_action(action) for action in request.actions], most=3 * SHOWN)


def _cut(lines: list[str], *, most: int = SHOWN) -> list[str]:
    return (
        lines if len(lines) <= most else [*lines[:most], f"  … and {len(lines) - most:,} more of this kind"]
    )


def _loser(relation: Relation, lost: LostIntent, changes: Mapping[int, Change]) -> str:
    winner = changes[int(lost.by[1:])].action
    late = " (it came first, but happened later)" if int(lost.by[1:]) < int(lost.intent.job[1:]) else ""
    return f"  {lost.intent.job} {lost.intent.action} {relation} is superseded by {lost.by}, a {winner}{late}"


def _company(relation: Relation, case: RelationState) -> str:
    jobs = [intent.job for intent in case.target.intents]
    return f"  {listed(jobs)} stand together behind one target for {relation} and share its outcome"


def _tally(cases: Mapping[Relation, RelationState]) -> str:
    words = {True: "present", False: "absent", None: "info only"}
    tally: dict[str, int] = defaultdict(int)
    for case in cases.values():
        tally[words[case.target.presence]] += 1
    return ", ".join(f"{number:,} {word}" for word, number in sorted(tally.items(), reverse=True)) or "none"


def _targets(cases: Mapping[Relation, RelationState]) -> Iterator[str]:
    """One line per type, parent and wanted state, its children together."""
    groups: dict[tuple[str, int, bool | None, str], list[int]] = defaultdict(list)
    for relation, case in cases.items():
        groups[relation.type, relation.parent, case.target.presence, info_text(case.target.patch)].append(
            relation.child
        )
    for (name, parent, presence, info), children in groups.items():
        word = {True: "present", False: "absent ", None: "info   "}[presence]
        yield f"  {word}  {name}  {parent} → {ids(children)}{info}"


def _proof(told: Rehearsal) -> str:
    cut = told.actions - told.least
    return (
        "no plan has fewer actions"
        if not cut
        else f"{told.least} would do if an action held more ids, {cut} more by the limit on ids"
    )


def _action(action: Action) -> str:
    size = f"  ({count(len(action.relations), 'relation')})" if len(action.relations) > 1 else ""
    return f"    {action.kind}  {action.type}  {ids(action.parents)} → {ids(action.children)}{info_text(action.info)}{size}"
