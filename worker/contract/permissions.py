"""Whether an account may do an action to a relation type: the documentation decides, unless overridden."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from worker.contract.change import Change
from worker.contract.types import TYPES, GuardedSide, LastOne, Order, RelationType, Verb
from worker.errors import Fault, InvalidChange

Permission = Literal["allow", "warn", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """What an operator decides for a relation type; None leaves what the catalogue says."""

    order: Order | None = None
    last_one: LastOne | None = None
    create: Permission | None = None
    modify: Permission | None = None
    delete: Permission | None = None


NO_OVERRIDE: Final = Override()
NO_OVERRIDES: Final[Mapping[str, Override]] = MappingProxyType({})


def permission_of(relation_type: RelationType, verb: Verb, override: Override = NO_OVERRIDE) -> Permission:
    """Return allow for what is documented, warn where that is silent, deny for what it rules out.

    An override wins.
    """
    decided: Permission | None = getattr(override, verb)
    if decided:
        return decided
    if verb in relation_type.documented:
        return "allow"
    # Silence about create and delete means little: their pages say "for example". That on modify is complete.
    return "deny" if relation_type.read_only or verb == "modify" else "warn"


def order_of(relation_type: RelationType, override: Override = NO_OVERRIDE) -> Order:
    """Return whether creates go before deletes of this type, after them, or freely; an override wins.

    A type of which the last one is kept is one whose creates go first.
    """
    return override.order or ("create_first" if override.last_one == "keep" else relation_type.order)


def guarded_side(relation_type: RelationType, override: Override = NO_OVERRIDE) -> GuardedSide:
    """Return which record's other relations decide whether one of this type may be written (R12).

    A parent of a `create_first` type keeps its last child, unless an override allows to take it; a child of
    a `delete_first` type has one parent.
    """
    order = order_of(relation_type, override)
    if order == "create_first":
        return "" if override.last_one == "allow" else "parent"
    return "child" if order == "delete_first" else ""


def removes_first(change: Change, overrides: Mapping[str, Override] = NO_OVERRIDES) -> bool:
    """Return whether a replace has to remove before it creates: of a child that has one parent at most."""
    if change.replaces != "parent":
        return False
    return _has_one_parent(change, overrides)


def _has_one_parent(change: Change, overrides: Mapping[str, Override]) -> bool:
    return guarded_side(TYPES[change.type], overrides.get(change.type, NO_OVERRIDE)) == "child"


def check(change: Change, overrides: Mapping[str, Override] = NO_OVERRIDES) -> list[str]:
    """Return warnings about a change that may be tried; raise `InvalidChange` if it may not.

    `overrides` are by short type name.
    """
    if change.action != "replace":
        return _check(change, change.action, overrides)
    if change.replaces == "parent" and len(change.parents) > 1 and _has_one_parent(change, overrides):
        child = f"{TYPES[change.type].child} {change.children[0]}" if change.children else "a record"
        reason = f"{child} can have one parent at most by {change.type}, and would have {len(change.parents)}"
        raise InvalidChange([Fault("parentid", f"{reason}; name the one that is right")])
    return [*_check(change, "create", overrides), *_check(change, "delete", overrides)]


def _check(change: Change, verb: Verb, overrides: Mapping[str, Override]) -> list[str]:
    relation_type = TYPES[change.type]
    permission = permission_of(relation_type, verb, overrides.get(change.type, NO_OVERRIDE))
    if permission == "deny":
        raise InvalidChange([Fault("action", _denial(relation_type, verb))])
    if permission == "warn":
        return [f"{verb} is not documented for {change.type}; the CRM may reject it"]
    return []


def _denial(relation_type: RelationType, verb: Verb) -> str:
    name = relation_type.name
    reason = "is read only" if relation_type.read_only else f"is not open to {verb}"
    return f'{name} {reason}; an operator can allow it with {verb} = "allow" under [types."{name}"]'
