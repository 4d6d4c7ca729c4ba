"""What rules are applied to: a payload or elements of it, and the account that each of them is for. Pure."""

import unicodedata
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple

from producers.webhooks.expressions import search
from producers.webhooks.scope import NO_DELIVERY, Budget, Scope
from producers.webhooks.signatures import WebhookDelivery
from worker.config import Account, Rule, Source
from worker.errors import Fault, InvalidChange

MAX_EVENTS: Final = 10_000  # that one rule finds in a payload


class Event(NamedTuple):
    """One thing that a rule is applied to: the payload, or an element that `each` finds in it.

    `path` leads the paths of faults, `id` what the event ids are made of.
    """

    scope: Scope
    path: str
    id: str


def make_scope(
    source: Source, payload: object, delivery: WebhookDelivery = NO_DELIVERY, budget: Budget | None = None
) -> Scope:
    """Return where the rules of a source look, at the whole payload."""
    return _with_owner(Scope(payload, budget=budget or Budget(), delivery=delivery, source=source))


def find_events(rule: Rule, whole: Event) -> list[Event]:
    """Return what a rule is applied to: the payload as a whole, or each element that `each` finds."""
    if not rule.each:
        return [whole]
    scopes = [whole.scope]
    for expression in rule.each:
        scopes = [inner for scope in scopes for inner in _step_into(scope, expression, f"{whole.path}.each")]
        if len(scopes) > MAX_EVENTS:
            raise InvalidChange([Fault(f"{whole.path}.each", f"finds more than {MAX_EVENTS} elements")])
    return [
        Event(_with_owner(scope), f"{whole.path}.each[{index}]", f"{whole.id}:{index}")
        for index, scope in enumerate(scopes)
    ]


def find_ignore_rule(source: Source, scope: Scope) -> int | None:
    """Return the number of the first rule by which there is nothing to do, None if none holds."""
    return next(
        (
            number
            for number, rule in enumerate(source.ignore)
            if is_true(search(rule.when, scope, f"ignore[{number}].when"))
        ),
        None,
    )


def find_account(source: Source, scope: Scope) -> str:
    """Return the account that an event is for, which it names itself or what is around it does.

    Raises InvalidChange if none of the source's is named.
    """
    if source.account:
        return source.account
    accounts = {unicodedata.normalize("NFC", found): account for found, account in source.accounts.items()}
    for value in (scope.value, *reversed(scope.around)):
        found = search(source.account_from, scope.at(value), "account_from")
        if isinstance(found, str | int) and str(found) in accounts:
            return accounts[str(found)]
    raise InvalidChange(
        [Fault("account_from", "finds nothing in the payload that stands for an account of this source")]
    )


def find_account_of_all(source: Source, payload: object, delivery: WebhookDelivery) -> str:
    """Return the one account that all events of a payload are for; nothing if they name none, or several."""
    if source.account:
        return source.account
    whole, accounts = make_scope(source, payload, delivery), set[str]()
    for rule in source.rules:
        for event in find_events(rule, Event(whole, "", "")):
            with suppress(InvalidChange):
                accounts.add(find_account(source, event.scope))
    return accounts.pop() if len(accounts) == 1 else ""


def is_true(value: object) -> bool:
    """Return the truth of a value by JMESPath: null, false and everything empty is false; 0 is true."""
    return bool(value) or (isinstance(value, int | float) and not isinstance(value, bool))


def _step_into(scope: Scope, expression: str, path: str) -> list[Scope]:
    """Return where each element is that an expression finds; a single thing is a list of one."""
    found = search(expression, scope, path)
    elements = found if isinstance(found, list) else [found]
    return [scope.step_into(element) for element in elements if element is not None]


def _with_owner(scope: Scope) -> Scope:
    """Return the scope, with what finds the settings of its account, None while it names none."""

    def find_owner() -> Account | None:
        with suppress(InvalidChange):
            return scope.source.owners.get(find_account(scope.source, scope)) if scope.source else None
        return None

    return replace(scope, find_account=find_owner)
