"""Expressions as texts: what the values are that a condition looks at, each written as JMESPath. Pure."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from producers.webhooks.expressions import compile_expression

Node = Mapping[str, Any]
COMPARED_BY: Final = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
CONNECTIVES: Final = ("and_expression", "or_expression", "not_expression")
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
