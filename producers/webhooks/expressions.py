"""JMESPath for the rules of webhooks: where an expression looks, and which lists it takes apart. Pure.

Beside JMESPath's own functions there are `root()`, the whole payload, and `outer()`, what the list was found
in whose element a rule is looking at (`outer(`2`)`: one level further out); and `parse_json(text)`, for JSON
within a field. `header('X-Event')`, `query('event')` and `path(`0`)` read the request; the last is what
stands behind the source's name in the address.
"""

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import jmespath
from jmespath import functions, visitor
from jmespath.exceptions import JMESPathError

from producers.webhooks.body import read_json_text
from producers.webhooks.fields import decode_text, split_fields
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.texts import compose
from worker.contract.quoting import escape_unprintable
from worker.errors import Fault, InvalidChange

MAX_ERROR_TEXT: Final = 200  # characters
MAX_LOOKS: Final = 1_000_000  # at values, by all rules of one delivery: a second or two
TEXT_PER_LOOK: Final = 16  # characters of a text
_WRAPPERS: Final = ("flatten", "projection", "filter_projection", "value_projection")

NO_DELIVERY: Final = WebhookDelivery("", {}, b"")
Node = Mapping[str, Any]
HERE: Final[Node] = {"type": "identity", "children": []}  # what `@` and an expression that begins with [] are


class TooMuchWork(InvalidChange):
    """The rules of a source are too costly for this payload; the rest of them is not tried."""


class Budget:
    """The work that all rules of one delivery may cost together: as many looks at a value as `left` says.

    A few rules over a large payload can cost more than its sender may take: what has to be looked at for
    each element of a list for each element of a list.
    """

    def __init__(self, left: int = MAX_LOOKS) -> None:
        self.left = left

    def spend(self, looks: int) -> None:
        """Count looks; raise TooMuchWork once there are too many."""
        self.left -= looks
        if self.left < 0:
            reason = f"is one look too many: the rules look at more than {MAX_LOOKS} values"
            raise TooMuchWork([Fault("", f"{reason}; use `each` to look at parts of the payload")])


class Scope:
    """Where a rule looks: at `value`, inside of `around`, the payload first; and the work it may cost.

    `delivery` is the request that brought the payload.
    """

    def __init__(
        self,
        value: object,
        around: tuple[object, ...] = (),
        budget: Budget | None = None,
        delivery: WebhookDelivery = NO_DELIVERY,
    ) -> None:
        self.value, self.around, self.budget, self.delivery = value, around, budget or Budget(), delivery

    def step_into(self, element: object) -> "Scope":
        """Return where one looks at an element of what was found here."""
        return Scope(element, (*self.around, self.value), self.budget, self.delivery)

    def at(self, value: object) -> "Scope":
        """Return where one looks at a value and at nothing around it."""
        return Scope(value, (), self.budget, self.delivery)


class BoundedInterpreter(visitor.TreeInterpreter):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's interpreter, which counts what it looks at."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(jmespath.Options(custom_functions=ScopeFunctions(scope)))
        self._spend = scope.budget.spend

    def visit(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        """Return what one node of an expression finds."""
        self._spend(1)
        return super().visit(node, *args, **kwargs)


class ScopeFunctions(functions.Functions):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's functions, and those that look around."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def call_function(self, function_name: str, resolved_args: list[Any]) -> Any:
        """Call a function by its name; it costs what it is given and what it makes of that."""
        spend = self._scope.budget.spend
        spend(sum(map(_weigh, resolved_args)))
        result = self._call(function_name, resolved_args)
        spend(_weigh(result))
        return result

    def _call(self, function_name: str, resolved_args: list[Any]) -> Any:
        if function_name == "root" and not resolved_args:
            return (*self._scope.around, self._scope.value)[0]
        if function_name == "outer" and len(resolved_args) <= 1:
            return self._outer(*resolved_args)
        if function_name == "parse_json" and len(resolved_args) == 1:
            return read_json_text(resolved_args[0]) if isinstance(resolved_args[0], str) else None
        if function_name in REQUEST_FUNCTIONS and len(resolved_args) == 1:
            return compose(REQUEST_FUNCTIONS[function_name](self._scope.delivery, resolved_args[0]))
        return super().call_function(function_name, resolved_args)

    def _outer(self, levels: object = 1) -> object:
        around = self._scope.around
        return around[-levels] if isinstance(levels, int) and 1 <= levels <= len(around) else None


def _header(delivery: WebhookDelivery, name: object) -> object:
    return delivery.headers.get(str(name).lower())


def _query(delivery: WebhookDelivery, name: object) -> object:
    pairs = split_fields(delivery.url.partition("?")[2].encode("latin-1"))
    texts = [[decode_text(text.encode("latin-1")) for text in pair] for pair in pairs]
    found = [value for given, value in texts if given == name]
    return found[0] if len(found) == 1 else found or None


def _path(delivery: WebhookDelivery, position: object) -> object:
    parts = [decode_text(part) for part, _ in further_parts(delivery.url)]
    return parts[position] if isinstance(position, int) and 0 <= position < len(parts) else None


REQUEST_FUNCTIONS: Final[Mapping[str, Callable[[WebhookDelivery, object], object]]] = {
    "header": _header,
    "query": _query,
    "path": _path,
}


def further_parts(url: str) -> list[tuple[bytes, str]]:
    """Return the parts of an address behind `/webhooks/NAME`, as they are meant and as they were sent."""
    path = url.partition("?")[0].partition("://")[2].partition("/")[2]
    return [(unquote_to_bytes(raw.encode("latin-1")), raw) for raw in path.split("/")[2:]]


def search(expression: str, scope: Scope, path: str) -> object:
    """Return what an expression finds; raise InvalidChange if it cannot be applied there."""
    try:
        found: object = BoundedInterpreter(scope).visit(compile_expression(expression), scope.value)
    except TooMuchWork as error:
        raise TooMuchWork([replace(fault, path=path) for fault in error.faults]) from None
    except Exception as error:  # not every error of jmespath's functions is one of its own
        text = f"cannot be found in this payload: {escape_unprintable(str(error)[:MAX_ERROR_TEXT])}"
        raise InvalidChange([Fault(path, text)]) from None
    return found


def _weigh(value: object) -> int:
    """Return how many looks it costs to go through a value; a character costs less than an item."""
    if isinstance(value, str):
        return len(value) // TEXT_PER_LOOK
    return len(value) if isinstance(value, list) else 1


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
def calls_of(expression: str) -> frozenset[tuple[str, str]]:
    """Return the functions that read the request, each with its argument if that is a fixed text."""
    return frozenset(_find_calls(compile_expression(expression))) if expression else frozenset()


def _find_calls(node: Node) -> Iterator[tuple[str, str]]:
    children = [child for child in node["children"] if isinstance(child, Mapping)]
    if node["type"] == "function_expression" and node["value"] in REQUEST_FUNCTIONS:
        argument = children[0].get("value") if children and children[0]["type"] == "literal" else ""
        yield node["value"], argument if isinstance(argument, str) else ""
    for child in children:
        yield from _find_calls(child)


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
