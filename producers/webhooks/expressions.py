"""JMESPath for the rules of webhooks: where an expression looks, and which lists it takes apart. Pure.

Beside JMESPath's own functions there are `root()`, the whole payload, and `outer()`, what the list was found
in whose element a rule is looking at (`outer(`2`)`: one level further out); and `parse_json(text)`, for JSON
within a field.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import jmespath
from jmespath import functions, visitor
from jmespath.exceptions import JMESPathError

from producers.webhooks.body import read_json_text
from worker.contract.quoting import escape_unprintable
from worker.errors import Fault, InvalidChange

MAX_ERROR_TEXT: Final = 200  # characters
_WRAPPERS: Final = ("flatten", "projection", "filter_projection", "value_projection")

Node = Mapping[str, Any]
HERE: Final[Node] = {"type": "identity", "children": []}  # what `@` and an expression that begins with [] are


class Scope(NamedTuple):
    """Where a rule looks: at `value`, inside of `around`, the payload first."""

    value: object
    around: tuple[object, ...] = ()

    def step_into(self, element: object) -> "Scope":
        """Return where one looks at an element of what was found here."""
        return Scope(element, (*self.around, self.value))


class ScopeFunctions(functions.Functions):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's functions, and those that look around."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def call_function(self, function_name: str, resolved_args: list[Any]) -> Any:
        """Call a function by its name."""
        if function_name == "root" and not resolved_args:
            return (*self._scope.around, self._scope.value)[0]
        if function_name == "outer" and len(resolved_args) <= 1:
            return self._outer(*resolved_args)
        if function_name == "parse_json" and len(resolved_args) == 1:
            return read_json_text(resolved_args[0]) if isinstance(resolved_args[0], str) else None
        return super().call_function(function_name, resolved_args)

    def _outer(self, levels: object = 1) -> object:
        around = self._scope.around
        return around[-levels] if isinstance(levels, int) and 1 <= levels <= len(around) else None


def search(expression: str, scope: Scope, path: str) -> object:
    """Return what an expression finds; raise InvalidChange if it cannot be applied there."""
    options = jmespath.Options(custom_functions=ScopeFunctions(scope))
    try:
        found: object = visitor.TreeInterpreter(options).visit(compile_expression(expression), scope.value)
    except Exception as error:  # not every error of jmespath's functions is one of its own
        text = f"cannot be found in this payload: {escape_unprintable(str(error)[:MAX_ERROR_TEXT])}"
        raise InvalidChange([Fault(path, text)]) from None
    return found


@lru_cache(maxsize=1024)
def compile_expression(expression: str) -> Node:
    """Return the syntax tree of an expression, composed (NFC) as payloads are.

    Raises JMESPathError or RecursionError if it is none.
    """
    parsed: Node = jmespath.compile(unicodedata.normalize("NFC", expression)).parsed
    return parsed


def reason_broken(expression: str) -> str:
    """Return why an expression is no JMESPath, or nothing if it is."""
    try:
        compile_expression(expression)
    except (JMESPathError, RecursionError) as error:
        return f"is no JMESPath expression: {str(error).splitlines()[0]}"
    return ""


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
    elif node["type"] == "function_expression" and node["value"] == "map":
        yield json.dumps(_strip(children[1]))
    for child in children:
        yield from _find_lists(child)


def _strip(node: Node) -> Node:
    """Return the list itself, without what only opens it: `rows`, `rows[]` and `rows[:5]` are one."""
    while node["type"] in ("flatten", "projection", "index_expression"):
        if node["type"] == "projection" and node["children"][1]["type"] != "identity":
            return node
        if node["type"] == "index_expression" and node["children"][1]["type"] != "slice":
            return node
        node = node["children"][0]
    return HERE if node["type"] == "current" else node
