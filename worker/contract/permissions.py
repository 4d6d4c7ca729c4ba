"""Whether an account may do an action to a relation type: what the documentation says, unless the operator says otherwise."""

from collections.abc import Mapping
from typing import Literal, get_args

from worker.contract.change import Change
from worker.contract.types import TYPES, Order, RelationType, Verb
from worker.errors import Fault, InvalidChange

Permission = Literal["allow", "warn", "deny"]
Override = Mapping[str, str]
"""What the settings say of one type: `create`, `modify`, `delete` → allow, warn or deny; `order` → an `Order`."""

_PERMISSIONS: dict[str, Permission] = {word: word for word in get_args(Permission)}
_ORDERS: dict[str, Order] = {word: word for word in get_args(Order)}


def permission(relation_type: RelationType, verb: Verb, override: Override | None = None) -> Permission:
    """Allow what is documented, warn where the documentation is silent, deny what it rules out; an override wins."""
    if override and verb in override:
        return _PERMISSIONS[override[verb]]
    if verb in relation_type.documented:
        return "allow"
    # Silence about create and delete means little (the pages say "for example"); about modify the page is plain.
    return "deny" if relation_type.read_only or verb == "modify" else "warn"


def order_of(relation_type: RelationType, override: Override | None = None) -> Order:
    """Whether creates go before deletes of this type, after them, or freely; an override wins."""
    if override and "order" in override:
        return _ORDERS[override["order"]]
    return relation_type.order


def check(change: Change, overrides: Mapping[str, Override] | None = None, *, path: str = "") -> list[str]:
    """Warnings about a change that may be tried, by overrides per short type name; raises `InvalidChange` when it may not."""
    relation_type = TYPES[change.type]
    allowed = permission(relation_type, change.action, (overrides or {}).get(change.type))
    if allowed == "deny":
        raise InvalidChange(
            [Fault(f"{path}.action" if path else "action", _denied(relation_type, change.action))]
        )
    return (
        [f"{change.action} is not documented for {change.type}; the CRM may reject it"]
        if allowed == "warn"
        else []
    )


def _denied(relation_type: RelationType, verb: Verb) -> str:
    reason = "is read only" if relation_type.read_only else f"is not open to {verb}"
    return f'{relation_type.name} {reason}; an operator can allow it with {verb} = "allow" under [types."{relation_type.name}"]'
