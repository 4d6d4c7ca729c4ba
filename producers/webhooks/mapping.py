"""Turns the payload of a webhook into changes: JMESPath rules make messages, which the contract parses. Pure.

Knows no HTTP; whether the sender can be trusted is `verify`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

import msgspec

from producers.webhooks.body import read_body_value
from producers.webhooks.events import Event, find_account, find_events, find_ignore_rule, is_true, make_scope
from producers.webhooks.expressions import advise_on_value, lists_of, maps_of, reason_broken, search
from producers.webhooks.fields import compose, make_tree, plain_fields, split_fields
from producers.webhooks.mail import explain_unread_mail
from producers.webhooks.request_parts import has_message_in_query, show_query
from producers.webhooks.scope import NO_DELIVERY, TooMuchWork
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.signed_content import list_expressions
from producers.webhooks.times import read_time
from producers.webhooks.verify import signed_fields
from worker.config import Rule, Settings, Source
from worker.contract import MAX_FAULTS, Change, from_message, limit_faults
from worker.contract.message import MAX_IDS
from worker.contract.quoting import quote
from worker.contract.reference import is_short_form
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
ONOFFICE_NUMBER: Final = re.compile(r"[0-9]{1,3}([.][0-9]{3}){0,5}|[0-9]{1,18}")  # it writes 4629 as 4.629

MAX_PAIRS: Final = 10_000  # that one rule makes of an event
MAX_PARENTS: Final = 1000  # of one rule with several children, since each parent becomes a change of its own

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


def _find_broken_expressions(source: Source) -> Iterator[Fault]:
    expressions = {"account_from": source.account_from}
    expressions |= {f"ignore[{number}].when": rule.when for number, rule in enumerate(source.ignore)}
    for number, rule in enumerate(source.rules):
        expressions |= {f"rules[{number}].{name}": getattr(rule, name) for name in EXPRESSIONS}
        expressions |= {f"rules[{number}].each[{level}]": text for level, text in enumerate(rule.each)}
    for key in ("secret_in", "secret_from", "signature_in", "timestamp_in"):
        place, _, expression = getattr(source, key).partition(":")
        expressions[key] = expression if place == "body" else ""
    expressions |= {f"signed[{number}]": text for number, text in enumerate(list_expressions(source.signed))}
    known = {*source.maps, *(name for account in source.owners.values() for name in account.maps)}
    for path, expression in expressions.items():
        if not expression:
            continue
        if reason := reason_broken(expression):
            yield Fault(f"sources.{source.name}.{path}", reason)
            continue
        for name in sorted(maps_of(expression) - known):
            advice = f"add [sources.{source.name}.maps.{name}]"
            yield Fault(f"sources.{source.name}.{path}", f"there is no map {quote(name)}; {advice}")


def read_payload(source: Source, delivery: WebhookDelivery) -> object:
    """Return what the rules search: the body's value, of a GET without one the fields of its query.

    Of onOffice's query the ids are numbers.
    """
    try:
        return compose(_read_value(source, delivery))
    except RecursionError:
        raise InvalidChange([Fault("", "is nested too deeply")]) from None


def _read_value(source: Source, delivery: WebhookDelivery) -> object:
    if source.scheme == "onoffice":
        signed = plain_fields(signed_fields(delivery.url))
        signed.pop("signature", None)
        return {name: _read_number(name, value) for name, value in signed.items()}
    if has_message_in_query(source, delivery):
        fields = split_fields(show_query(source, delivery)[1:].encode("latin-1"))
        return plain_fields(make_tree(fields, repeated=True)) or None
    return read_body_value(delivery)


def _read_number(name: str, value: object) -> object:
    """Return a value of onOffice's query: the fields whose names end in `Id` hold numbers, even with dots."""
    is_number = name.endswith("Id") and isinstance(value, str) and ONOFFICE_NUMBER.fullmatch(value)
    return int(str(value).replace(".", "")) if is_number else value


def build_changes(
    source: Source, payload: object, message_id: str, delivery: WebhookDelivery = NO_DELIVERY
) -> list[MappedChange]:
    """Return the changes that the source's rules make of a payload and the request that brought it.

    The event id of a change is made of the delivery's `message_id`, the rule and the position, so that a
    redelivery finds its jobs. All or none: raises InvalidChange with the faults, by rule and event.
    """
    messages = build_messages(source, payload, message_id, delivery)
    mapped = _collect(partial(_parse_message, message) for message in messages)
    _check_event_ids(mapped)
    return mapped


def check_mail_is_read(payload: object, changes: Sequence[MappedChange]) -> None:
    """Raise InvalidChange for a mail that makes no change: nobody chose it, so somebody must see it."""
    if not changes and (reason := explain_unread_mail(payload)):
        raise InvalidChange([Fault("", reason)])


def build_messages(
    source: Source, payload: object, message_id: str, delivery: WebhookDelivery = NO_DELIVERY
) -> list[MappedMessage]:
    """Return the messages of `build_changes` before they are parsed, so that they can be corrected."""
    scope = make_scope(source, payload, delivery)
    if find_ignore_rule(source, scope) is not None:
        return []
    by_rule = _collect(
        partial(find_events, rule, Event(scope, f"rules[{number}]", f"{message_id}:{number}"))
        for number, rule in enumerate(source.rules)
    )
    by_event = _collect(
        partial(_apply_rule, source, number, event)
        for number, events in enumerate(by_rule)
        for event in events
    )
    return [message for messages in by_event for message in messages]


def make_change(message: Mapping[str, object], path: str) -> Change:
    """Return the change of a message, with an event id that is a webhook's; raises InvalidChange."""
    return msgspec.structs.replace(from_message(message, path).change, delivered=True)


def _collect(calls: Iterable[Callable[[], Result]]) -> list[Result]:
    """Return the results of all calls, or raise InvalidChange with the faults of all, each once."""
    results, faults = list[Result](), dict[Fault, None]()
    for call in calls:
        try:
            results.append(call())
        except TooMuchWork:
            raise
        except InvalidChange as error:
            faults |= dict.fromkeys(error.faults)
        if len(faults) > MAX_FAULTS:  # whoever made so many made one mistake many times
            break
    if faults:
        raise InvalidChange(limit_faults(faults))
    return results


def _parse_message(mapped: MappedMessage) -> MappedChange:
    try:
        return MappedChange(mapped.path, make_change(mapped.message, mapped.path))
    except InvalidChange as error:
        raise InvalidChange([advise_on_value(fault) for fault in error.faults]) from None


def _check_event_ids(mapped: Sequence[MappedChange]) -> None:
    """Raise InvalidChange for events that differ under one id: of two, one would count as the other again."""
    first: dict[tuple[str, str | None], str] = {}
    faults = [
        Fault(f"{path}.event_id", f"{change.event_id!r} is also that of another event in this delivery")
        for path, change in mapped
        if first.setdefault((change.account, change.event_id), change.fingerprint) != change.fingerprint
    ]
    if faults:
        raise InvalidChange(limit_faults(faults))


def _apply_rule(source: Source, number: int, event: Event) -> list[MappedMessage]:
    """Return the messages that one rule makes of an event, none if its condition does not hold."""
    rule, scope, path = source.rules[number], event.scope, event.path
    if rule.when and not is_true(search(rule.when, scope, f"{path}.when")):
        return []
    constants = {"account": find_account(source, scope), "source": source.name}
    event_id = event.id
    if rule.event_id:  # the event's own id stands in for that of the delivery
        own_id = _read_id(search(rule.event_id, scope, f"{path}.event_id"), f"{path}.event_id")
        event_id = f"{own_id}:{number}"
    fields = {
        field: search(expression, scope, f"{path}.{field}")
        for field in FIELDS
        if (expression := getattr(rule, field))
    }
    if rule.occurred_at:
        fields["occurred_at"] = read_time(fields["occurred_at"])
    check_pairs(rule, fields, path)
    return [
        MappedMessage(path, {**constants, **message, "event_id": f"{event_id}:{position}"})
        for position, message in enumerate(split_by_parent(fields, path))
    ]


def _read_id(value: object, path: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidChange([Fault(path, "expected it to find a text or a number in the payload")])
    return str(value)


def check_pairs(rule: Rule, fields: Mapping[str, object], path: str) -> None:
    """Raise InvalidChange if both sides take the same list apart: every pair would become a product."""
    sides = [side for side in (fields.get("parentid"), fields.get("childid")) if isinstance(side, list)]
    if len(sides) < 2 or max(map(len, sides)) < 2:
        return
    if lists_of(rule.parentid) & lists_of(rule.childid):
        reason = "and childid take the same list apart, which loses what belongs together"
        remedy = 'name the list in `each`, as `each = "[]"`, and one element here'
        raise InvalidChange([Fault(f"{path}.parentid", f"{reason}; {remedy}")])


def split_by_parent(fields: Mapping[str, object], path: str) -> Iterator[Mapping[str, object]]:
    """Yield the fields as messages, of which each names one record on one side at least.

    A reference stands alone, so that one which is not found holds up no other; but what is to replace all
    others is said as a whole.
    """
    if fields.get("action") == "replace":
        yield fields
        return
    sides = {field: _group_ids(fields[field]) for field in ("parentid", "childid") if field in fields}
    parents, children = sides.get("parentid", [None]), sides.get("childid", [None])
    if any(isinstance(side, list) and len(side) > 1 for side in children):
        parents = [each for group in parents for each in (group if isinstance(group, list) else [group])]
    if max(len(parents), len(children)) < 2:
        yield fields
        return
    for field, groups, most in (("parentid", parents, MAX_PARENTS), ("childid", children, MAX_IDS)):
        named = sum(len(group) if isinstance(group, list) else 1 for group in groups)
        if named > most:  # before they are multiplied
            expected = f"expected at most {most} ids where both sides have several, got {named}"
            raise InvalidChange([Fault(f"{path}.{field}", expected)])
    if len(parents) * len(children) > MAX_PAIRS:
        raise InvalidChange([Fault(f"{path}.childid", f"with parentid makes more than {MAX_PAIRS} changes")])
    yield from ({**fields, "parentid": parent, "childid": child} for parent in parents for child in children)


def _group_ids(side: object) -> list[object]:
    """Return a side's ids as one list, and each of its references by itself."""
    if not isinstance(side, list):
        return [side]
    references = [each for each in side if _is_reference(each)]
    ids = [each for each in side if not _is_reference(each)]
    return [*([ids] if ids or not references else []), *references]


def _is_reference(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, str) and is_short_form(value))
