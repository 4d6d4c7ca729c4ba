"""Whether an account may do an action to a relation type: the documentation decides, unless overridden."""

from collections.abc import Mapping
from typing import Literal, get_args

from worker.contract.change import Change
from worker.contract.types import TYPES, GuardedSide, LastOne, Order, RelationType, Verb
from worker.errors import Fault, InvalidChange

Permission = Literal["allow", "warn", "deny"]
Override = Mapping[str, str]
"""The settings of one type: `create`, `modify`, `delete` → allow, warn or deny; `order` → an `Order`;
`last_one` → keep or allow."""

PERMISSIONS: dict[str, Permission] = {word: word for word in get_args(Permission)}
ORDERS: dict[str, Order] = {word: word for word in get_args(Order)}
LAST_ONE: dict[str, LastOne] = {word: word for word in get_args(LastOne)}


def permission_of(relation_type: RelationType, verb: Verb, override: Override | None = None) -> Permission:
    """Return allow for what is documented, warn where that is silent, deny for what it rules out.

    An override wins.
    """
    if override and verb in override:
        return PERMISSIONS[override[verb]]
    if verb in relation_type.documented:
        return "allow"
    # Silence about create and delete means little: their pages say "for example". That on modify is complete.
    return "deny" if relation_type.read_only or verb == "modify" else "warn"


def order_of(relation_type: RelationType, override: Override | None = None) -> Order:
    """Return whether creates go before deletes of this type, after them, or freely; an override wins.

    A type of which the last one is kept is one whose creates go first.
    """
    if override and "order" in override:
        return ORDERS[override["order"]]
    return "create_first" if override and override.get("last_one") == "keep" else relation_type.order


def guarded_side(relation_type: RelationType, override: Override | None = None) -> GuardedSide:
    """Return which record's other relations decide whether one of this type may be written (R12).

    A parent of a `create_first` type keeps its last child, unless an override allows to take it; a child of
    a `delete_first` type has one parent.
    """
    order = order_of(relation_type, override)
    if order == "create_first":
        return "" if override and LAST_ONE.get(override.get("last_one", "")) == "allow" else "parent"
    return "child" if order == "delete_first" else ""


def removes_first(change: Change, overrides: Mapping[str, Override] | None = None) -> bool:
    """Return whether a replace has to remove before it creates: of a child that has one parent at most."""
    if change.replaces != "parent":
        return False
    return guarded_side(TYPES[change.type], overrides.get(change.type) if overrides else None) == "child"


def check(change: Change, overrides: Mapping[str, Override] | None = None) -> list[str]:
    """Return warnings about a change that may be tried; raise `InvalidChange` if it may not.

    `overrides` are by short type name.
    """
    if change.action != "replace":
        return _check(change, change.action, overrides)
    return [*_check(change, "create", overrides), *_check(change, "delete", overrides)]


def _check(change: Change, verb: Verb, overrides: Mapping[str, Override] | None) -> list[str]:
    relation_type = TYPES[change.type]
    permission = permission_of(relation_type, verb, overrides.get(change.type) if overrides else None)
    if permission == "deny":
        raise InvalidChange([Fault("action", _denial(relation_type, verb))])
    if permission == "warn":
        return [f"{verb} is not documented for {change.type}; the CRM may reject it"]
    return []


def _denial(relation_type: RelationType, verb: Verb) -> str:
    name = relation_type.name
    reason = "is read only" if relation_type.read_only else f"is not open to {verb}"
    return f'{name} {reason}; an operator can allow it with {verb} = "allow" under [types."{name}"]'
