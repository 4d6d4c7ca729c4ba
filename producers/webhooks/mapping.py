"""What a webhook means: JMESPath over its payload makes messages, and the contract makes changes of them. Pure.

Knows no HTTP; whether the sender may be believed is `signatures`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from producers.webhooks.verify import Delivery
from worker.config import Rule, Settings, Source
from worker.contract import Change, from_message
from worker.errors import Fault, InvalidChange, InvalidSettings

FIELDS: Final = ("action", "relationtype", "parentid", "childid", "occurred_at", "relationinfo")
EXPRESSIONS: Final = (*FIELDS, "when", "event_id")
SHOWN: Final = 200  # characters of an error text
MANY: Final = 1000  # changes of one rule: where both sides name several records, there is one per parent
GROUPED: Final = re.compile(r"[0-9]{1,3}([.][0-9]{3}){0,5}|[0-9]{1,18}")  # onOffice writes 4629 as 4.629


Found = TypeVar("Found")


class Made(NamedTuple):
    """A message, and the rule that made it, to lead the paths of its faults."""

    path: str
    message: Mapping[str, object]


class Mapped(NamedTuple):
    """A change, and the rule that made it, to lead the paths of its faults."""

    path: str
    change: Change


def check_rules(settings: Settings) -> None:
    """Raises InvalidSettings with every expression that is no JMESPath: a slip shows at the start, not with the first webhook."""
    faults = [fault for source in settings.sources.values() for fault in _unreadable(source)]
    if faults:
        raise InvalidSettings(faults)


def payload_of(source: Source, delivery: Delivery) -> object:
    """What the rules look at: the JSON of the body, or for onOffice the query, its ids as numbers."""
    if source.scheme == "onoffice":
        return {name: _id(name, value) for name, value in parse_qsl(urlsplit(delivery.url).query)}
    try:
        return msgspec.json.decode(delivery.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidChange([Fault("", f"expected JSON: {error}")]) from None


def changes_of(source: Source, payload: object, message: str) -> list[Mapped]:
    """The changes that the source's rules make of a payload; none if no rule applies. `message` is the id of the delivery.

    Each gets an event id of message, rule and position, so that a redelivery finds its jobs. All or none: raises InvalidChange
    with every fault by rule.
    """
    return each_of(partial(_mapped, made) for made in messages_of(source, payload, message))


def messages_of(source: Source, payload: object, message: str) -> list[Made]:
    """The same as messages, before they are checked, so that they can be corrected."""
    account = account_of(source, payload)
    rules = (
        partial(
            _by_rule,
            rule,
            payload,
            f"rules[{number}]",
            {"account": account, "source": source.name},
            f"{message}:{number}",
        )
        for number, rule in enumerate(source.rules)
    )
    return [made for several in each_of(rules) for made in several]


def each_of(asked: Iterable[Callable[[], Found]]) -> list[Found]:
    """All of it, or InvalidChange with the faults of all."""
    found, faults = list[Found](), list[Fault]()
    for ask in asked:
        try:
            found.append(ask())
        except InvalidChange as error:
            faults += error.faults
    if faults:
        raise InvalidChange(faults)
    return found


def _mapped(made: Made) -> Mapped:
    return Mapped(made.path, from_message(made.message, made.path).change)


def _by_rule(rule: Rule, payload: object, path: str, whose: Mapping[str, str], name: str) -> list[Made]:
    if rule.when and not _holds(_search(rule.when, payload, f"{path}.when")):
        return []
    if rule.event_id:
        event = _search(rule.event_id, payload, f"{path}.event_id")
        name = f"{_text(event, f'{path}.event_id')}:{name.rpartition(':')[2]}"
    found = {
        field: _search(getattr(rule, field), payload, f"{path}.{field}")
        for field in FIELDS
        if getattr(rule, field)
    }
    return [
        Made(path, {**whose, **each, "event_id": f"{name}:{position}"})
        for position, each in enumerate(_one_to_many(found, path))
    ]


def _one_to_many(found: Mapping[str, object], path: str) -> Iterator[Mapping[str, object]]:
    """The message, or one per parent where both sides name several records."""
    parents, children = found.get("parentid"), found.get("childid")
    if isinstance(parents, list) and isinstance(children, list) and len(parents) > 1 and len(children) > 1:
        if len(parents) > MANY:
            raise InvalidChange(
                [
                    Fault(
                        f"{path}.parentid",
                        f"expected at most {MANY} ids beside several children, got {len(parents)}",
                    )
                ]
            )
        yield from ({**found, "parentid": parent} for parent in parents)
    else:
        yield found


def account_of(source: Source, payload: object) -> str:
    """The account that a payload is for; raises InvalidChange if it names none of the source's."""
    if source.account:
        return source.account
    found = _search(source.account_from, payload, "account_from")
    account = source.accounts.get(str(found)) if isinstance(found, str | int) else None
    if account is None:
        raise InvalidChange(
            [Fault("account_from", "finds nothing in the payload that stands for an account of this source")]
        )
    return account


def _holds(value: object) -> bool:
    """Truth as JMESPath has it: null, false and everything empty is false; 0 is a value."""
    return bool(value) or (isinstance(value, int | float) and not isinstance(value, bool))


def _text(value: object, path: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidChange([Fault(path, "expected it to find a text or a number in the payload")])
    return str(value)


def _search(expression: str, payload: object, path: str) -> object:
    try:
        found: object = _compiled(expression).search(payload)
    except Exception as error:  # a function that got something else than it takes: not all of jmespath's faults are its own errors
        raise InvalidChange([Fault(path, f"cannot be found in this payload: {str(error)[:SHOWN]}")]) from None
    return found


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)


def _unreadable(source: Source) -> Iterator[Fault]:
    written = {
        f"rules[{number}].{name}": getattr(rule, name)
        for number, rule in enumerate(source.rules)
        for name in EXPRESSIONS
    }
    for where, expression in {"account_from": source.account_from, **written}.items():
        try:
            if expression:
                _compiled(expression)
        except (JMESPathError, RecursionError) as error:
            yield Fault(
                f"sources.{source.name}.{where}", f"is no JMESPath expression: {str(error).splitlines()[0]}"
            )


def _id(name: str, value: str) -> object:
    return int(value.replace(".", "")) if name.endswith("Id") and GROUPED.fullmatch(value) else value
