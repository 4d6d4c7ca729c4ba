"""Whether an account may do an action to a relation type: the documentation decides, unless overridden."""

from collections.abc import Mapping
from typing import Literal, get_args

from worker.contract.change import Change
from worker.contract.types import TYPES, Order, RelationType, Verb
from worker.errors import Fault, InvalidChange

Permission = Literal["allow", "warn", "deny"]
Override = Mapping[str, str]
"""The settings of one type: `create`, `modify`, `delete` → allow, warn or deny; `order` → an `Order`."""

PERMISSIONS: dict[str, Permission] = {word: word for word in get_args(Permission)}
ORDERS: dict[str, Order] = {word: word for word in get_args(Order)}


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
    """Return whether creates go before deletes of this type, after them, or freely; an override wins."""
    if override and "order" in override:
        return ORDERS[override["order"]]
    return relation_type.order


def check(change: Change, overrides: Mapping[str, Override] | None = None) -> list[str]:
    """Return warnings about a change that may be tried; raise `InvalidChange` if it may not.

    `overrides` are by short type name.
    """
    relation_type = TYPES[change.type]
    override = overrides.get(change.type) if overrides else None
    permission = permission_of(relation_type, change.action, override)
    if permission == "deny":
        raise InvalidChange([Fault("action", _denial(relation_type, change.action))])
    if permission == "warn":
        return [f"{change.action} is not documented for {change.type}; the CRM may reject it"]
    return []


def _denial(relation_type: RelationType, verb: Verb) -> str:
    name = relation_type.name
    reason = "is read only" if relation_type.read_only else f"is not open to {verb}"
    return f'{name} {reason}; an operator can allow it with {verb} = "allow" under [types."{name}"]'
