"""Explains what each rule of a source did with a payload: what it made, or what its `when` found. Pure.

It looks once more at what came to nothing, after the changes were made, so that mapping knows nothing of it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache, partial, reduce
from itertools import chain, islice, repeat
from typing import Any, Final

from producers.webhooks.events import Event, find_events, is_true, make_scope
from producers.webhooks.expressions import compile_expression, search
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

Hidden = Callable[[], Sequence[str]]
"""Finds the signatures that stand in a body, which is read for that once, and only if a value is shown."""


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
    find_hidden, traces = cache(partial(find_signatures, source, delivery)), list[RuleTrace]()
    for trace in _explain_each(source, scope, made, jobs, error, find_hidden):
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
    find_hidden: Hidden,
) -> Iterator[RuleTrace]:
    for number, ignore in enumerate(source.ignore):
        path = f"ignore[{number}]"
        if faults := _faults_of(path, error):
            yield RuleTrace(rule=path, outcome="failed", when=ignore.when, faults=faults)
        elif not made and _holds(ignore.when, scope):
            yield RuleTrace(rule=path, outcome="ignored", when=ignore.when)
        else:
            found = _find_values(list_operands(ignore.when), scope, find_hidden)
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
            found = _explain_faults(source.rules[number], scope, path, faults, find_hidden)
            yield RuleTrace(rule=path, outcome="failed", faults=faults, found=found)
        else:
            yield _explain_rule(source.rules[number], scope, path, find_hidden)


def _explain_rule(rule: Rule, scope: Scope, path: str, find_hidden: Hidden) -> RuleTrace:
    """Return why a rule made nothing, which is not its own fault."""
    try:
        events = find_events(rule, Event(scope, path, ""))
    except InvalidChange:  # it costs more than an explanation may
        return RuleTrace(rule=path, outcome="no_match", when=rule.when)
    if not events:
        return RuleTrace(rule=path, outcome="no_elements", when=" → ".join(rule.each))
    if not rule.when or any(_holds(rule.when, event.scope) for event in events[:MAX_ELEMENTS]):
        return RuleTrace(rule=path, outcome="would_make")
    found = _find_values(list_operands(rule.when), events[0].scope, find_hidden)
    elements = len(events) if rule.each else 0
    return RuleTrace(rule=path, outcome="no_match", when=rule.when, found=found, elements=elements)


def _explain_faults(
    rule: Rule, scope: Scope, path: str, faults: Sequence[str], find_hidden: Hidden
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
                return _find_values(parts, event.scope, find_hidden)
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


def _find_values(operands: Sequence[str], scope: Scope, find_hidden: Hidden) -> dict[str, str]:
    """Return what expressions find, as JSON by expression."""
    found, hidden = dict[str, str](), find_hidden() if operands else ()
    for operand in operands[:MAX_OPERANDS]:
        try:
            found[operand] = _shorten(search(operand, scope, ""), hidden)
        except InvalidChange as error:
            found[operand] = redact(error.faults[0].message)
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


# --- conditions as texts: what values one looks at, each written as JMESPath

Node = Mapping[str, Any]
COMPARED_BY: Final = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
CONNECTIVES: Final = ("and_expression", "or_expression", "not_expression")
WHOLES: Final = (
    "multi_select_dict",
    "multi_select_list",
    "key_val_pair",
    "comparator",
)  # of which the parts tell more
TESTS: Final = ("contains", "starts_with", "ends_with")  # functions that say yes or no about what they get
PLAIN_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")


@lru_cache(maxsize=1024)
def list_operands(expression: str) -> tuple[str, ...]:
    """Return what a condition looks at: of `type == 'new' && contains(tags, 'x')` it is `type` and `tags`."""
    return tuple(dict.fromkeys(filter(None, _find_operands(compile_expression(expression)))))


def _find_operands(node: Node) -> Iterator[str]:
    is_test = node["type"] == "function_expression" and node["value"] in TESTS
    if is_test or node["type"] in (*CONNECTIVES, "comparator"):
        for child in node["children"]:
            yield from _find_operands(child)
    elif node["type"] != "literal":
        yield write_node(node)


@lru_cache(maxsize=1024)
def list_parts(expression: str) -> tuple[str, ...]:
    """Return what a value is made of: of `email(field(@, 'Mail'))` itself, `field(@, 'Mail')` and `@`."""
    return tuple(dict.fromkeys(filter(None, _find_parts(compile_expression(expression)))))


def _find_parts(node: Node) -> Iterator[str]:
    if node["type"] in ("literal", "expref"):  # of which the second finds nothing by itself
        return
    is_call, is_whole = node["type"] == "function_expression", node["type"] in (*CONNECTIVES, *WHOLES)
    if not is_whole and not (is_call and node["value"] in ("first", "reference")):
        yield write_node(node)
    for child in node["children"] if is_call or is_whole else ():
        yield from _find_parts(child)


def write_node(node: Node) -> str:
    """Return the expression of a node, or nothing for one that cannot be written alike."""
    try:
        text = _write(node)
        return text if compile_expression(text) == node else ""
    except Exception:  # a kind of node that is not known here, or a text that is none
        return ""


def _write(node: Node) -> str:
    kind, value, children = node["type"], node.get("value"), node.get("children", [])
    if kind in _LEAVES:
        return _LEAVES[kind](value)
    if kind == "slice":
        return f"[{':'.join('' if bound is None else str(bound) for bound in children)}]"
    parts = [_write(child) for child in children]
    if kind in _BRANCHES:
        return _BRANCHES[kind](value, parts)
    if kind in ("projection", "value_projection", "filter_projection"):
        return _write_projection(kind, children[0], parts)
    raise KeyError(kind)


def _write_projection(kind: str, of: Node, parts: Sequence[str]) -> str:
    left, right, *condition = parts
    is_sliced = of["type"] == "index_expression" and of["children"][-1]["type"] == "slice"
    star = "" if is_sliced or of["type"] == "flatten" else "[*]"
    middle = {"projection": star, "value_projection": ".*", "filter_projection": f"[?{''.join(condition)}]"}[
        kind
    ]
    return f"{left}{middle}{_join(right)}"


def _join(right: str) -> str:
    return f".{right}" if right and not right.startswith("[") else right


def _write_literal(value: object) -> str:
    if isinstance(value, str) and not set(value) & {"'", "\\"}:
        return f"'{value}'"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _write_field(value: Any) -> str:
    return str(value) if PLAIN_NAME.fullmatch(value) else json.dumps(value, ensure_ascii=False)


_LEAVES: Final[Mapping[str, Callable[[Any], str]]] = {
    "field": _write_field,
    "literal": _write_literal,
    "index": lambda value: f"[{value}]",
    "current": lambda _: "@",
    "identity": lambda _: "",
}
_BRANCHES: Final[Mapping[str, Callable[[Any, Sequence[str]], str]]] = {
    "subexpression": lambda _, parts: ".".join(parts),
    "index_expression": lambda _, parts: "".join(parts),
    "flatten": lambda _, parts: f"{parts[0]}[]",
    "expref": lambda _, parts: f"&{parts[0]}",
    "pipe": lambda _, parts: " | ".join(parts),
    "and_expression": lambda _, parts: f"({' && '.join(parts)})",
    "or_expression": lambda _, parts: f"({' || '.join(parts)})",
    "not_expression": lambda _, parts: f"!{parts[0]}",
    "comparator": lambda value, parts: f"{parts[0]} {COMPARED_BY[value]} {parts[1]}",
    "function_expression": lambda value, parts: f"{value}({', '.join(parts)})",
    "multi_select_list": lambda _, parts: f"[{', '.join(parts)}]",
    "multi_select_dict": lambda _, parts: f"{{{', '.join(parts)}}}",
    "key_val_pair": lambda value, parts: f"{_write_field(value)}: {parts[0]}",
}
