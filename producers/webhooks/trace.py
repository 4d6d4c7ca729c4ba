"""Explains what each rule of a source did with a payload: what it made, or what its `when` found. Pure.

It looks once more at what came to nothing, after the changes were made, so that mapping knows nothing of it.
"""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, reduce
from itertools import chain, islice, repeat
from typing import Any, Final

from jmespath.parser import Parser

from producers.webhooks.events import Event, find_events, is_true, make_scope
from producers.webhooks.expressions import Node, search
from producers.webhooks.mapping import EXPRESSIONS, MappedChange
from producers.webhooks.proofs import find_signatures
from producers.webhooks.scope import NO_DELIVERY, Budget, Scope
from producers.webhooks.signatures import WebhookDelivery
from worker.config import Rule, Source, redact, redact_bytes
from worker.config.secret import STARS
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
    hidden, traces = find_signatures(source, delivery), list[RuleTrace]()
    for trace in _explain_each(source, scope, made, jobs, error, hidden):
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
    hidden: Sequence[str],
) -> Iterator[RuleTrace]:
    for number, ignore in enumerate(source.ignore):
        path = f"ignore[{number}]"
        if faults := _faults_of(path, error):
            yield RuleTrace(rule=path, outcome="failed", when=ignore.when, faults=faults)
        elif not made and _holds(ignore.when, scope):
            yield RuleTrace(rule=path, outcome="ignored", when=ignore.when)
        else:
            found = _find_values(list_operands(ignore.when), scope, hidden)
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
            found = _explain_faults(source.rules[number], scope, path, faults, hidden)
            yield RuleTrace(rule=path, outcome="failed", faults=faults, found=found)
        else:
            yield _explain_rule(source.rules[number], scope, path, hidden)


def _explain_rule(rule: Rule, scope: Scope, path: str, hidden: Sequence[str]) -> RuleTrace:
    """Return why a rule made nothing, which is not its own fault."""
    try:
        events = find_events(rule, Event(scope, path, ""))
    except InvalidChange:  # it costs more than an explanation may
        return RuleTrace(rule=path, outcome="no_match", when=rule.when)
    if not events:
        return RuleTrace(rule=path, outcome="no_elements", when=" → ".join(rule.each))
    if not rule.when or any(_holds(rule.when, event.scope) for event in events[:MAX_ELEMENTS]):
        return RuleTrace(rule=path, outcome="would_make")
    found = _find_values(list_operands(rule.when), events[0].scope, hidden)
    elements = len(events) if rule.each else 0
    return RuleTrace(rule=path, outcome="no_match", when=rule.when, found=found, elements=elements)


def _explain_faults(
    rule: Rule, scope: Scope, path: str, faults: Sequence[str], hidden: Sequence[str]
) -> dict[str, str]:
    """Return what the parts of the expressions at fault found, in the first element that has a fault."""
    with suppress(InvalidChange):  # it costs more than an explanation may
        for event in find_events(rule, Event(scope, path, ""))[:MAX_ELEMENTS]:
            at_fault = [
                expression
                for name in EXPRESSIONS
                if (expression := getattr(rule, name))  # what is at fault may be that there is none
                and any(fault.startswith(f"{event.path}.{name}") for fault in faults)
            ]
            if at_fault:
                parts = [*chain.from_iterable(map(list_parts, at_fault))]
                return _find_values(parts, event.scope, hidden)
    return {}


def _faults_of(path: str, error: InvalidChange | None) -> tuple[str, ...]:
    faults = error.faults if error else ()
    own = [str(fault) for fault in faults if fault.location.partition(".")[0] == path]
    return tuple(own[:MAX_FAULTS])


def _holds(expression: str, scope: Scope) -> bool:
    try:
        return is_true(search(expression, scope, ""))
    except InvalidChange:
        return False


def _find_values(operands: Sequence[str], scope: Scope, hidden: Sequence[str]) -> dict[str, str]:
    """Return what expressions find, as JSON by expression in one line."""
    found = dict[str, str]()
    for operand in operands[:MAX_OPERANDS]:
        try:
            value = _shorten(search(operand, scope, ""), hidden)
        except InvalidChange as error:
            value = redact(error.faults[0].message)
        found[" ".join(operand.split())] = value
    return found


def _shorten(value: object, hidden: Sequence[str]) -> str:
    text = json.dumps(_preview(value, hidden), ensure_ascii=False, default=str)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _preview(value: object, hidden: Sequence[str], depth: int = 3) -> object:
    """Return the beginning of a value, without secrets and what is hidden, however large it is."""
    if isinstance(value, str):
        text = redact_bytes(value.encode("utf-8", "replace"), 4 * MAX_VALUE).decode("utf-8", "ignore")
        return reduce(lambda shown, proof: shown.replace(proof, STARS), hidden, text)
    if isinstance(value, dict):
        items = islice(value.items(), MAX_ITEMS) if depth else ()
        return {str(_preview(name, hidden)): _preview(item, hidden, depth - 1) for name, item in items}
    if isinstance(value, list):
        return [_preview(item, hidden, depth - 1) for item in value[:MAX_ITEMS]] if depth else []
    return value


# --- expressions as texts: what values one looks at, each as it is written there

CONNECTIVES: Final = ("and_expression", "or_expression", "not_expression")
WHOLES: Final = (
    "multi_select_dict",
    "multi_select_list",
    "key_val_pair",
    "comparator",
)  # whose parts tell more
TESTS: Final = ("contains", "starts_with", "ends_with")  # functions that say yes or no about what they get


class WrittenParser(Parser):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's parser, which notes of each part of an expression how it is written, as its `text`."""

    def _expression(self, binding_power: int = 0) -> dict[str, Any]:
        first = self._lookahead_token(0)
        self._advance()
        node: dict[str, Any] = getattr(self, f"_token_nud_{first['type']}")(first)
        if first["type"] != "lparen":  # what stands in brackets has its text
            self._note(node, first)
        while binding_power < self.BINDING_POWER[operator := self._current_token()]:
            self._advance()
            node = getattr(self, f"_token_led_{operator}")(node)
            self._note(node, first)
        return node

    def _note(self, node: dict[str, Any], first: Node) -> None:
        node["text"] = self.source[first["start"] : self._lookahead_token(0)["start"]].strip()

    def read(self, expression: str) -> Node:
        """Return the syntax tree of an expression that is known to be one."""
        self.source = unicodedata.normalize("NFC", expression)
        tree: Node = self._do_parse(self.source).parsed
        return tree


@lru_cache(maxsize=1024)
def list_operands(expression: str) -> tuple[str, ...]:
    """Return what a condition looks at: of `type == 'new' && contains(tags, 'x')` it is `type` and `tags`."""
    return tuple(dict.fromkeys(_find_operands(WrittenParser().read(expression))))


def _find_operands(node: Node) -> Iterator[str]:
    is_test = node["type"] == "function_expression" and node["value"] in TESTS
    if is_test or node["type"] in (*CONNECTIVES, "comparator"):
        for child in node["children"]:
            yield from _find_operands(child)
    elif node["type"] != "literal":
        yield node["text"]


@lru_cache(maxsize=1024)
def list_parts(expression: str) -> tuple[str, ...]:
    """Return what a value is made of: of `email(field(@, 'Mail'))` itself, `field(@, 'Mail')` and `@`."""
    return tuple(dict.fromkeys(_find_parts(WrittenParser().read(expression))))


def _find_parts(node: Node) -> Iterator[str]:
    if node["type"] in ("literal", "expref"):  # of which the second finds nothing by itself
        return
    is_call, is_whole = node["type"] == "function_expression", node["type"] in (*CONNECTIVES, *WHOLES)
    if not is_whole and not (is_call and node["value"] in ("first", "reference")):
        yield node["text"]
    for child in node["children"] if is_call or is_whole else ():
        yield from _find_parts(child)
