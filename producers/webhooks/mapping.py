"""Turns the payload of a webhook into changes: JMESPath rules make messages, which the contract parses. Pure.

Knows no HTTP; whether the sender can be trusted is `verify`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from producers.webhooks.verify import WebhookDelivery
from worker.config import Rule, Settings, Source
from worker.contract import Change, from_message
from worker.errors import Fault, InvalidChange, InvalidSettings

FIELDS: Final = (
    "action",
    "relationtype",
    "parentid",
    "childid",
    "occurred_at",
    "relationinfo",
    "allow_empty",
)
EXPRESSIONS: Final = (*FIELDS, "when", "event_id")
MAX_ERROR_TEXT: Final = 200  # characters
MAX_PARENTS: Final = 1000  # of one rule with several children, since each parent becomes a change of its own
ONOFFICE_NUMBER: Final = re.compile(r"[0-9]{1,3}([.][0-9]{3}){0,5}|[0-9]{1,18}")  # it writes 4629 as 4.629

Result = TypeVar("Result")


class MappedMessage(NamedTuple):
    """A message, and the path of the rule that made it, which leads the paths of its faults."""

    path: str
    message: Mapping[str, object]


class MappedChange(NamedTuple):
    """A change, and the path of the rule that made it."""

    path: str
    change: Change


def check_rules(settings: Settings) -> None:
    """Raise InvalidSettings with every expression that is not JMESPath.

    Called at the start, so that a typo does not wait for the first webhook.
    """
    faults = [fault for source in settings.sources.values() for fault in _find_broken_expressions(source)]
    if faults:
        raise InvalidSettings(faults)


def read_payload(source: Source, delivery: WebhookDelivery) -> object:
    """Return what the rules search: the JSON of the body, or onOffice's query with its ids as numbers."""
    if source.scheme == "onoffice":
        return {name: _read_value(name, text) for name, text in parse_qsl(urlsplit(delivery.url).query)}
    try:
        return msgspec.json.decode(delivery.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidChange([Fault("", f"expected JSON: {error}")]) from None


def build_changes(source: Source, payload: object, message_id: str) -> list[MappedChange]:
    """Return the changes that the source's rules make of a payload, none if no rule applies.

    The event id of a change is made of the delivery's `message_id`, the rule and the position, so that a
    redelivery finds its jobs. All or none: raises InvalidChange with every fault, by rule.
    """
    return _collect(partial(_parse_message, mapped) for mapped in build_messages(source, payload, message_id))


def build_messages(source: Source, payload: object, message_id: str) -> list[MappedMessage]:
    """Return the messages of `build_changes` before they are parsed, so that they can be corrected."""
    account = find_account(source, payload)
    by_rule = _collect(
        partial(
            _apply_rule,
            rule,
            payload,
            path=f"rules[{number}]",
            constants={"account": account, "source": source.name},
            event_id=f"{message_id}:{number}",
        )
        for number, rule in enumerate(source.rules)
    )
    return [message for messages in by_rule for message in messages]


def find_account(source: Source, payload: object) -> str:
    """Return the account that a payload is for; raises InvalidChange if it names none of the source's."""
    if source.account:
        return source.account
    found = _search(source.account_from, payload, "account_from")
    account = source.accounts.get(str(found)) if isinstance(found, str | int) else None
    if account is None:
        raise InvalidChange(
            [Fault("account_from", "finds nothing in the payload that stands for an account of this source")]
        )
    return account


def _collect(calls: Iterable[Callable[[], Result]]) -> list[Result]:
    """Return the results of all calls, or raise InvalidChange with the faults of all."""
    results, faults = list[Result](), list[Fault]()
    for call in calls:
        try:
            results.append(call())
        except InvalidChange as error:
            faults += error.faults
    if faults:
        raise InvalidChange(faults)
    return results


def _parse_message(mapped: MappedMessage) -> MappedChange:
    return MappedChange(mapped.path, from_message(mapped.message, mapped.path).change)


def _apply_rule(
    rule: Rule, payload: object, *, path: str, constants: Mapping[str, str], event_id: str
) -> list[MappedMessage]:
    """Return the messages that one rule makes, none if its condition does not hold."""
    if rule.when and not _is_true(_search(rule.when, payload, f"{path}.when")):
        return []
    if rule.event_id:  # the payload's own id stands in for that of the delivery
        own_id = _read_id(_search(rule.event_id, payload, f"{path}.event_id"), f"{path}.event_id")
        event_id = f"{own_id}:{event_id.rpartition(':')[2]}"
    fields = {
        field: _search(expression, payload, f"{path}.{field}")
        for field in FIELDS
        if (expression := getattr(rule, field))
    }
    return [
        MappedMessage(path, {**constants, **message, "event_id": f"{event_id}:{position}"})
        for position, message in enumerate(_split_by_parent(fields, path))
    ]


def _split_by_parent(fields: Mapping[str, object], path: str) -> Iterator[Mapping[str, object]]:
    """Yield the fields as one message, or as one per parent where both sides name several records."""
    parents, children = fields.get("parentid"), fields.get("childid")
    if not (isinstance(parents, list) and isinstance(children, list)) or min(len(parents), len(children)) < 2:
        yield fields
        return
    if len(parents) > MAX_PARENTS:
        expected = f"expected at most {MAX_PARENTS} ids beside several children, got {len(parents)}"
        raise InvalidChange([Fault(f"{path}.parentid", expected)])
    yield from ({**fields, "parentid": parent} for parent in parents)


def _is_true(value: object) -> bool:
    """Return the truth of a value by JMESPath: null, false and everything empty is false; 0 is true."""
    return bool(value) or (isinstance(value, int | float) and not isinstance(value, bool))


def _read_id(value: object, path: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidChange([Fault(path, "expected it to find a text or a number in the payload")])
    return str(value)


def _search(expression: str, payload: object, path: str) -> object:
    try:
        found: object = _compile(expression).search(payload)
    except Exception as error:  # not every error of jmespath's functions is one of its own
        text = f"cannot be found in this payload: {str(error)[:MAX_ERROR_TEXT]}"
        raise InvalidChange([Fault(path, text)]) from None
    return found


@lru_cache(maxsize=1024)
def _compile(expression: str) -> Any:
    return jmespath.compile(expression)


def _find_broken_expressions(source: Source) -> Iterator[Fault]:
    expressions = {"account_from": source.account_from} | {
        f"rules[{number}].{name}": getattr(rule, name)
        for number, rule in enumerate(source.rules)
        for name in EXPRESSIONS
    }
    for path, expression in expressions.items():
        try:
            if expression:
                _compile(expression)
        except (JMESPathError, RecursionError) as error:
            reason = f"is no JMESPath expression: {str(error).splitlines()[0]}"
            yield Fault(f"sources.{source.name}.{path}", reason)


def _read_value(name: str, text: str) -> object:
    """Return a value of onOffice's query: the fields whose names end in `Id` hold numbers, even with dots."""
    return int(text.replace(".", "")) if name.endswith("Id") and ONOFFICE_NUMBER.fullmatch(text) else text
