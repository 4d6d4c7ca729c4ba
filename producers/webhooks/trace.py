"""Explains what each rule of a source did with a payload: what it made, or what its `when` found. Pure.

It looks once more at what came to nothing, after the changes were made, so that mapping knows nothing of it.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Final

from producers.webhooks.events import Event, find_events, is_true, make_scope
from producers.webhooks.expressions import search
from producers.webhooks.mapping import MappedChange
from producers.webhooks.scope import NO_DELIVERY, Budget, Scope
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.syntax import list_operands
from worker.config import Source, redact_bytes
from worker.contract import MAX_FAULTS
from worker.errors import InvalidChange
from worker.ports.deliveries import RuleTrace

MAX_LOOKS: Final = 50_000  # at values, to explain one delivery
MAX_VALUE: Final = 120  # characters of a value that is shown
MAX_ITEMS: Final = 10  # of a list or an object
MAX_OPERANDS: Final = 8  # values of one condition
MAX_RULES: Final = 100  # that are explained
MAX_ELEMENTS: Final = 100  # of a rule with `each` that are looked at again


def explain_rules(
    source: Source,
    payload: object,
    delivery: WebhookDelivery = NO_DELIVERY,
    *,
    made: Sequence[MappedChange] = (),
    jobs: Sequence[str] = (),
    error: InvalidChange | None = None,
) -> tuple[RuleTrace, ...]:
    """Return what each rule did: `made` with its `jobs`, which may be missing, or nothing for the `error`.

    Behind a rule by which the payload is ignored no other one was asked.
    """
    scope = make_scope(source, payload, delivery, Budget(MAX_LOOKS))
    traces = list[RuleTrace]()
    for trace in _explain_each(source, scope, made, jobs, error):
        traces.append(trace)
        if trace.outcome == "ignored" or len(traces) == MAX_RULES:
            break
    return tuple(traces)


def _explain_each(
    source: Source,
    scope: Scope,
    made: Sequence[MappedChange],
    jobs: Sequence[str],
    error: InvalidChange | None,
) -> Iterator[RuleTrace]:
    for number, ignore in enumerate(source.ignore):
        path = f"ignore[{number}]"
        if faults := _faults_of(path, error):
            yield RuleTrace(rule=path, outcome="failed", when=ignore.when, faults=faults)
        elif not made and _holds(ignore.when, scope):
            yield RuleTrace(rule=path, outcome="ignored", when=ignore.when)
        else:
            found = _find_values(ignore.when, scope)
            yield RuleTrace(rule=path, outcome="no_match", when=ignore.when, found=found)
    by_rule: dict[str, list[str]] = {}
    for mapped, job in zip(made, chain(jobs, repeat("")), strict=False):
        by_rule.setdefault(mapped.path.partition(".")[0], []).append(job)
    for number in range(len(source.rules)):
        path = f"rules[{number}]"
        if path in by_rule:
            own = tuple(dict.fromkeys(filter(None, by_rule[path])))
            yield RuleTrace(rule=path, outcome="made", jobs=own)
        elif faults := _faults_of(path, error):
            yield RuleTrace(rule=path, outcome="failed", faults=faults)
        else:
            yield _explain_rule(source, number, scope, path)


def _explain_rule(source: Source, number: int, scope: Scope, path: str) -> RuleTrace:
    """Return why a rule made nothing, which is not its own fault."""
    rule = source.rules[number]
    try:
        events = find_events(rule, Event(scope, path, ""))
    except InvalidChange:  # it costs more than an explanation may
        return RuleTrace(rule=path, outcome="no_match", when=rule.when)
    if not events:
        return RuleTrace(rule=path, outcome="no_elements", when=" → ".join(rule.each))
    if not rule.when or any(_holds(rule.when, event.scope) for event in events[:MAX_ELEMENTS]):
        return RuleTrace(rule=path, outcome="would_make")
    found = _find_values(rule.when, events[0].scope)
    elements = len(events) if rule.each else 0
    return RuleTrace(rule=path, outcome="no_match", when=rule.when, found=found, elements=elements)


def _faults_of(path: str, error: InvalidChange | None) -> tuple[str, ...]:
    faults = error.faults if error else ()
    own = [str(fault) for fault in faults if fault.location.partition(".")[0] == path]
    return tuple(own[:MAX_FAULTS])


def _holds(expression: str, scope: Scope) -> bool:
    try:
        return is_true(search(expression, scope, ""))
    except InvalidChange:
        return False


def _find_values(expression: str, scope: Scope) -> dict[str, str]:
    """Return what a condition looked at, as JSON by expression."""
    found = dict[str, str]()
    for operand in list_operands(expression)[:MAX_OPERANDS]:
        try:
            found[operand] = _shorten(search(operand, scope, ""))
        except InvalidChange as error:
            found[operand] = error.faults[0].message
    return found


def _shorten(value: object) -> str:
    text = json.dumps(_preview(value), ensure_ascii=False, default=str)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _preview(value: object, depth: int = 3) -> object:
    """Return the beginning of a value, without secrets: it must not matter how large it is."""
    if isinstance(value, str):
        return redact_bytes(value.encode("utf-8", "replace"), 4 * MAX_VALUE).decode("utf-8", "ignore")
    if isinstance(value, dict):
        items = islice(value.items(), MAX_ITEMS) if depth else ()
        return {str(_preview(name)): _preview(item, depth - 1) for name, item in items}
    if isinstance(value, list):
        return [_preview(item, depth - 1) for item in value[:MAX_ITEMS]] if depth else []
    return value
