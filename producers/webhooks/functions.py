"""The functions that rules have beside JMESPath's own: for what senders write differently. Pure.

Each takes the scope of a rule and its arguments; nothing in means nothing out. The page for those who write
rules is `docs/reference/rule-functions.md`.
"""

import html
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from producers.webhooks.answers import find_chosen, find_field, unwrap
from producers.webhooks.body import read_json, read_mail_body, read_xml
from producers.webhooks.contacts import drop_unseen, normalize_email, normalize_phone
from producers.webhooks.fields import compose, decode_text, split_fields
from producers.webhooks.scope import Scope
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.times import DEFAULT_ZONE, write_time
from worker.config.written_bytes import decode_bytes
from worker.contract.quoting import quote

DEFAULT_COUNTRY: Final = "DE"
TEXT_PER_LOOK: Final = 4  # characters of a text that is parsed, which costs more than to search it
LOOKS_PER_PHONE: Final = 50  # each number is tried in several ways
EMPTY: Final[tuple[object, ...]] = (None, "", [], {})


class RuleFunction(NamedTuple):
    """A function of rules: what is called, and how it is written; it takes at least and at most so many."""

    call: Callable[..., object]
    usage: str
    least: int
    most: int


def call_rule_function(name: str, scope: Scope, arguments: list[Any]) -> object:
    """Return what a function makes of its arguments; raises ValueError if they are too few or too many."""
    function = FUNCTIONS[name]
    if not function.least <= len(arguments) <= function.most:
        raise ValueError(f"write {function.usage}, not {name}() with {len(arguments)} arguments")
    return function.call(scope, *arguments)


def translate(scope: Scope, table: str, value: object) -> object:
    """Return what a value stands for in a map of the settings, the account's own first; None if nothing."""
    account, found = scope.find_account(), False
    for owner in (account, scope.source):
        entries = owner.maps.get(table) if owner else None
        if entries is not None and (text := entries.get(_as_text(value))) is not None:
            return text
        found = found or entries is not None
    if not found:
        raise ValueError(f"there is no map {quote(table)} in the settings of this source or its account")
    return None


def further_parts(delivery: WebhookDelivery) -> list[tuple[bytes, str]]:
    """Return the parts of an address behind `/webhooks/NAME`, as they are meant and as they were sent."""
    _, slash, path = delivery.url.partition("?")[0].partition("://")[2].partition("/")
    below = f"{slash}{path}".removeprefix(delivery.root)
    return [(unquote_to_bytes(raw.encode("latin-1")), raw) for raw in below.split("/")[3:]]


# --- around


def _root(scope: Scope) -> object:
    return (*scope.around, scope.value)[0]


def _outer(scope: Scope, levels: object = 1) -> object:
    around = scope.around
    return around[-levels] if isinstance(levels, int) and 1 <= levels <= len(around) else None


# --- the request


def _header(delivery: WebhookDelivery, name: object) -> object:
    return delivery.headers.get(str(name).lower())


def _query(delivery: WebhookDelivery, name: object) -> object:
    pairs = split_fields(delivery.url.partition("?")[2].encode("latin-1"))
    texts = [[decode_text(text.encode("latin-1")) for text in pair] for pair in pairs]
    found = [value for given, value in texts if given == name]
    return found[0] if len(found) == 1 else found or None


def _path(delivery: WebhookDelivery, position: object) -> object:
    parts = [decode_text(part) for part, _ in further_parts(delivery)]
    return parts[position] if isinstance(position, int) and 0 <= position < len(parts) else None


# An entity of more digits than Python makes a number of, or than any character has.
NO_CHARACTER: Final = re.compile(r"&#[0-9]{20,};?")
REQUEST_FUNCTIONS: Final[Mapping[str, Callable[[WebhookDelivery, object], object]]] = {
    "header": _header,
    "query": _query,
    "path": _path,
}


def _of_request(read: Callable[[WebhookDelivery, object], object]) -> Callable[[Scope, object], object]:
    return lambda scope, argument: compose(read(scope.delivery, argument))


def _event(scope: Scope) -> object:
    return (scope.source.event if scope.source else "") or None


# --- texts


def _as_text(value: object) -> str:
    """Return a text or a number, also alone in a list, as text, "" of anything else; 17.0 is 17."""
    value = unwrap(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if _is_text(value) else ""


def _is_text(value: object) -> bool:
    """Return whether a value is a text or a number; 1e999, which is greater than any, is none."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _each_text(change: Callable[[str], object], value: object) -> object:
    """Return what becomes of a text or of each in a list; numbers are texts too, anything else is nothing."""
    if isinstance(value, list):
        return [_each_text(change, item) for item in value]
    return change(str(value)) if _is_text(value) else None


def _of_texts(change: Callable[[str], object]) -> Callable[[Scope, object], object]:
    """Return the function of rules that changes each text by itself."""
    return lambda _scope, value: _each_text(change, value)


def _split(_scope: Scope, value: object, separator: object) -> object:
    if value is None:
        return None
    if not isinstance(separator, str) or not separator:
        raise ValueError("split() wants a text that stands between the parts")
    return [part for each in _as_text(value).split(separator) if (part := each.strip())]


def _strip_prefix(_scope: Scope, value: object, prefix: object) -> object:
    prefixes = [str(each) for each in (prefix if isinstance(prefix, list) else [prefix])]

    def strip(text: str) -> str:
        found = next((each for each in prefixes if each and text.startswith(each)), "")
        return text[len(found) :]

    return _each_text(strip, value)


def _replace(scope: Scope, value: object, old: object, new: object = "") -> object:
    """Replace a text by another, or each name of an object by its value, in their order."""
    pairs = old.items() if isinstance(old, dict) else [(old, new)]

    def replace_all(text: str) -> str:
        for before, after in pairs:
            if not (isinstance(before, str) and before and isinstance(after, str)):
                raise ValueError("replace() wants texts to look for, and texts in their place")
            scope.budget.spend(text.count(before) * len(after) // TEXT_PER_LOOK)  # before it is made
            text = text.replace(before, after)
        return text

    return _each_text(replace_all, value)


def _unescape(text: str) -> str:
    return html.unescape(NO_CHARACTER.sub("\ufffd", text))


def _first(_scope: Scope, *values: object) -> object:
    """Return the first value that is not empty, nor alone in a list; of one list its first such element."""
    candidates = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    return next((value for value in candidates if unwrap(value) not in EMPTY), None)


# --- times, contacts, forms, records


def _time(_scope: Scope, value: object, zone: object = DEFAULT_ZONE) -> object:
    return write_time(unwrap(value), str(zone))


def _email(_scope: Scope, value: object) -> object:
    return [normalize_email(each) for each in value] if isinstance(value, list) else normalize_email(value)


def _phone(scope: Scope, value: object, country: object = None) -> object:
    account = scope.find_account()
    known = scope.source.country if scope.source else ""
    chosen = str(country or known or (account.country if account else DEFAULT_COUNTRY))
    if isinstance(value, list):
        scope.budget.spend(LOOKS_PER_PHONE * len(value))
        return [_read_phone(each, chosen) for each in value]
    return _read_phone(value, chosen)


def _read_phone(value: object, country: str) -> str | None:
    return normalize_phone(str(value) if type(value) is int else value, country)


def _field(scope: Scope, form: object, name: object) -> object:
    scope.budget.spend(_count(form))
    return find_field(form, name)


def _chosen(scope: Scope, form: object, name: object) -> object:
    scope.budget.spend(_count(form))
    return find_chosen(form, name)


def _count(form: object) -> int:
    """Return how many fields a form has, with the options of each, and the rows and columns of a matrix."""
    answers = form.get("answers") if isinstance(form, dict) else None
    lists = [each for each in (form, answers) if isinstance(each, list | dict)]
    fields = [field for each in lists for field in (each.values() if isinstance(each, dict) else each)]
    kinds, dicts = ("options", "rows", "columns"), [field for field in fields if isinstance(field, dict)]
    options = (field.get(kind) for field in dicts for kind in kinds)
    return len(fields) + sum(len(each) for each in options if isinstance(each, list))


def _reference(_scope: Scope, module: object, fields: object) -> object:
    """Return a reference to a record by its fields; nothing if one of them is missing.

    Less would be looked for than the rule says, and somebody else found.
    """
    if fields is None:  # so JMESPath has it where the rule looks at nothing
        return None
    if not isinstance(module, str) or not isinstance(fields, dict) or not fields:
        raise ValueError("write reference('estate', {objektnr_extern: nr})")
    texts = {name: drop_unseen(_as_text(value)).strip() for name, value in fields.items()}
    return {module: texts} if all(texts.values()) else None


def _parser(read: Callable[[bytes], object]) -> Callable[[Scope, object], object]:
    """Return the function of rules that reads a text as a body is read."""

    def parse(scope: Scope, text: object) -> object:
        if not isinstance(text, str) or not text.strip():
            return None
        scope.budget.spend(len(text) // TEXT_PER_LOOK)
        return read(text.encode("utf-8", "surrogatepass"))

    return parse


def _parse_json(scope: Scope, text: object) -> object:
    if isinstance(text, dict | list):  # some senders write it as JSON at one time, and as a text at another
        return text
    return _parser(read_json)(scope, text)


def _decode_base64(_scope: Scope, text: object) -> object:
    """Return the text that a text writes as base64 of either alphabet, with its `=` or without."""
    if not isinstance(text, str) or not text.strip():
        return None
    if (content := decode_bytes("".join(text.split()).rstrip("="), "base64")) is None:
        raise ValueError("decode_base64() wants a text in base64")
    return decode_text(content)


FUNCTIONS: Final[Mapping[str, RuleFunction]] = {
    "root": RuleFunction(_root, "root()", 0, 0),
    "outer": RuleFunction(_outer, "outer() or outer(`2`)", 0, 1),
    **{name: RuleFunction(_of_request(read), f"{name}(…)", 1, 1) for name, read in REQUEST_FUNCTIONS.items()},
    "event": RuleFunction(_event, "event()", 0, 0),
    "lower": RuleFunction(_of_texts(str.lower), "lower(text)", 1, 1),
    "trim": RuleFunction(_of_texts(str.strip), "trim(text)", 1, 1),
    "split": RuleFunction(_split, "split(text, separator)", 2, 2),
    "strip_prefix": RuleFunction(_strip_prefix, "strip_prefix(text, prefix)", 2, 2),
    "replace": RuleFunction(_replace, "replace(text, old, new)", 2, 3),
    "first": RuleFunction(_first, "first(value, value, …)", 1, 100),
    "time": RuleFunction(_time, "time(value, zone)", 1, 2),
    "email": RuleFunction(_email, "email(text)", 1, 1),
    "phone": RuleFunction(_phone, "phone(text, country)", 1, 2),
    "field": RuleFunction(_field, "field(form, name)", 2, 2),
    "chosen": RuleFunction(_chosen, "chosen(form, name)", 2, 2),
    "reference": RuleFunction(_reference, "reference(module, {field: value})", 2, 2),
    "parse_json": RuleFunction(_parse_json, "parse_json(text)", 1, 1),
    "parse_xml": RuleFunction(_parser(read_xml), "parse_xml(text)", 1, 1),
    "parse_mail": RuleFunction(_parser(read_mail_body), "parse_mail(text)", 1, 1),
    "decode_base64": RuleFunction(_decode_base64, "decode_base64(text)", 1, 1),
    "decode_html": RuleFunction(_of_texts(_unescape), "decode_html(text)", 1, 1),
}
