"""JMESPath for the rules of webhooks: what an expression finds, and what to do about one that is wrong. Pure.

Beside JMESPath's own functions there are those of `functions`. `map('stage', value)` looks a value up in a
map of the settings; with an expression, `map(&name, list)`, it is JMESPath's.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import jmespath
from jmespath import functions, visitor
from jmespath.exceptions import JMESPathError, JMESPathTypeError

from producers.webhooks.functions import FUNCTIONS, REQUEST_FUNCTIONS, call_rule_function, translate
from producers.webhooks.scope import Scope
from worker.contract.fields import NOT_A_REFERENCE, TEXT_OF_DIGITS
from worker.contract.quoting import escape_unprintable, suggest
from worker.errors import Fault, InvalidChange

NUMBER: Final = re.compile(r"[+-]?([0-9]{1,4000}([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,9})?", re.ASCII)
THOUSAND: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}[.]000")
MAX_ERROR_TEXT: Final = 200  # characters
TEXT_PER_LOOK: Final = 16  # characters of a text
_WRAPPERS: Final = ("flatten", "projection", "filter_projection", "value_projection")

Node = Mapping[str, Any]
HERE: Final[Node] = {"type": "identity", "children": []}  # what `@` and an expression that begins with [] are


class BoundedInterpreter(visitor.TreeInterpreter):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's interpreter, which counts what it looks at.

    It remembers no methods of its own, as JMESPath's does: they would hold it, and with it the delivery,
    until somebody looks for cycles.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(jmespath.Options(custom_functions=ScopeFunctions(scope)))
        self._spend = scope.budget.spend

    def visit(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        """Return what one node of an expression finds."""
        self._spend(1)
        return getattr(self, f"visit_{node['type']}")(node, *args, **kwargs)


class ScopeFunctions(functions.Functions):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's functions, and those that look around."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def call_function(self, function_name: str, resolved_args: list[Any]) -> Any:
        """Call a function by its name; it costs what it is given and what it makes of that."""
        spend = self._scope.budget.spend
        spend(sum(map(_weigh, resolved_args)))
        if function_name == "join" and len(resolved_args) == 2:  # before it is made
            spend(_weigh(resolved_args[0]) * _weigh(resolved_args[1]))
        result = self._call(function_name, resolved_args)
        spend(_weigh(result))
        return result

    def _call(self, function_name: str, resolved_args: list[Any]) -> Any:
        if function_name == "to_number" and [*map(type, resolved_args)] == [str]:
            return _read_number(resolved_args[0])
        try:
            if function_name in FUNCTIONS:
                return call_rule_function(function_name, self._scope, resolved_args)
            if function_name == "map" and len(resolved_args) == 2 and isinstance(resolved_args[0], str):
                return translate(self._scope, *resolved_args)
        except ValueError as error:
            raise InvalidChange([Fault("", str(error))]) from None
        return super().call_function(function_name, resolved_args)


def _read_number(text: str) -> float | None:
    """Return the number that a text writes with digits, a point and an exponent, None of any other.

    JMESPath's own takes `2024_17` for 202417. What may be one, or a thousand as Germans write it, is neither:
    as the id of a record it would be somebody else's.
    """
    text = text.strip()
    if not NUMBER.fullmatch(text) or THOUSAND.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def search(expression: str, scope: Scope, path: str) -> object:
    """Return what an expression finds; raise InvalidChange if it cannot be applied there."""
    try:
        found: object = BoundedInterpreter(scope).visit(compile_expression(expression), scope.value)
    except InvalidChange as error:
        raise type(error)([replace(fault, path=path) for fault in error.faults]) from None
    except JMESPathTypeError as error:  # whose own text repeats the value, and that may be a person's
        wanted = " or ".join(error.expected_types)
        text = f"{error.function_name}() wants {wanted}, got {error.actual_type}"
        raise InvalidChange([Fault(path, f"cannot be found in this payload: {text}")]) from None
    except Exception as error:  # not every error of jmespath's functions is one of its own
        text = f"cannot be found in this payload: {escape_unprintable(str(error)[:MAX_ERROR_TEXT])}"
        raise InvalidChange([Fault(path, text)]) from None
    return found


def _weigh(value: object) -> int:
    """Return how many looks it costs to go through a value; a character costs less than an item."""
    if isinstance(value, str):
        return len(value) // TEXT_PER_LOOK
    return len(value) if isinstance(value, list | dict) else 1


@lru_cache(maxsize=1024)
def compile_expression(expression: str) -> Node:
    """Return the syntax tree of an expression, composed (NFC) as payloads are.

    Raises JMESPathError or RecursionError if it is none.
    """
    parsed: Node = jmespath.compile(unicodedata.normalize("NFC", expression)).parsed
    return parsed


def reason_broken(expression: str) -> str:
    """Return why an expression is no JMESPath or calls what is no function; nothing if it is good."""
    try:
        tree = compile_expression(expression)
    except (JMESPathError, RecursionError) as error:
        return f"is no JMESPath expression: {str(error).splitlines()[0]}{advise_on_syntax(expression)}"
    known = (*FUNCTIONS, *functions.Functions.FUNCTION_TABLE)
    for node in _walk(tree):
        if node["type"] == "function_expression" and node["value"] not in known:
            return f"calls {node['value']}(), which is no function{suggest(node['value'], known)}"
    return ""


def maps_of(expression: str) -> frozenset[str]:
    """Return the maps of the settings in which an expression looks a value up."""
    calls = [
        node["children"][0]
        for node in _walk(compile_expression(expression))
        if node["type"] == "function_expression" and node["value"] == "map" and node["children"]
    ]
    return frozenset(str(named["value"]) for named in calls if named["type"] == "literal")


@lru_cache(maxsize=1024)
def calls_of(expression: str) -> frozenset[tuple[str, str]]:
    """Return the functions that read the request, each with its argument if that is a fixed text."""
    return frozenset(_find_calls(compile_expression(expression))) if expression else frozenset()


def _find_calls(tree: Node) -> Iterator[tuple[str, str]]:
    for node in _walk(tree):
        if node["type"] == "function_expression" and node["value"] in REQUEST_FUNCTIONS:
            children = node["children"]
            argument = children[0].get("value") if children and children[0]["type"] == "literal" else ""
            yield node["value"], argument if isinstance(argument, str) else ""


def _walk(node: Node) -> Iterator[Node]:
    """Yield a node of a syntax tree and all below it."""
    yield node
    for child in node["children"]:
        if isinstance(child, Mapping):
            yield from _walk(child)


@lru_cache(maxsize=1024)
def lists_of(expression: str) -> frozenset[str]:
    """Return the lists that an expression takes apart: of `rows[].a` and `map(&b, rows)` that of `rows`.

    Two expressions that share one find values that belong together pair by pair.
    """
    return frozenset(_find_lists(compile_expression(expression)))


def _find_lists(node: Node) -> Iterator[str]:
    children = [child for child in node["children"] if isinstance(child, Mapping)]
    if node["type"] in _WRAPPERS:
        yield json.dumps(_strip(children[0]))
        children = children[:1]  # what stands to the right looks at an element
    elif node["type"] == "function_expression" and node["value"] == "map" and _is_of_jmespath(node):
        yield json.dumps(_strip(children[1]))
    for child in children:
        yield from _find_lists(child)


def _is_of_jmespath(node: Node) -> bool:
    return bool(node["children"]) and node["children"][0]["type"] == "expref"


def _strip(node: Node) -> Node:
    """Return the list itself, without what only opens it: `rows`, `rows[]` and `rows[:5]` are one."""
    while node["type"] in ("flatten", "projection", "index_expression"):
        if node["type"] == "projection" and node["children"][1]["type"] != "identity":
            return node
        if node["type"] == "index_expression" and node["children"][1]["type"] != "slice":
            return node
        node = node["children"][0]
    return HERE if node["type"] == "current" else node


# --- advice for whoever writes rules: the contract and JMESPath know none

QUOTED: Final = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`""")
FIXED_TEXT: Final = re.compile(r"[\w][\w :./-]*")
SLIPS: Final = (
    (re.compile(r"(?<![=!<>])=(?!=)"), "; equal is =="),
    (re.compile(r"\b(and|or|not)\b", re.IGNORECASE), "; and, or, not are written &&, ||, !"),
)
OF_VALUES: Final = (
    (TEXT_OF_DIGITS, "; to_number() makes a number of it, reference() names a record by another field"),
    (NOT_A_REFERENCE, "; reference() names a record by what its sender knows of it"),
    (", got null", ", got null; the rule finds nothing there"),
)


def advise_on_value(fault: Fault) -> Fault:
    """Return the fault of a value that a rule found, with what a rule can do about it."""
    for end, advice in OF_VALUES:
        if fault.message.endswith(end):
            return replace(fault, message=fault.message.removesuffix(end) + advice)
    reads_other = fault.path.endswith("occurred_at") and "RFC 3339" in fault.message
    return replace(fault, message=f"{fault.message}; time() reads others") if reads_other else fault


def advise_on_syntax(expression: str) -> str:
    """Return what may be meant by an expression that is no JMESPath; "" if nothing comes to mind."""
    if FIXED_TEXT.fullmatch(expression):
        return f"""; a fixed text has single quotation marks within the double ones: "'{expression}'\""""
    bare = QUOTED.sub("", expression)
    return next((advice for slip, advice in SLIPS if slip.search(bare)), "")
