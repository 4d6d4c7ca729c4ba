"""The relation types as values: how producers may spell them, what may be done to them, and in which order.

The data is in `catalogue`; operators may override what may be done, and the order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from worker.contract import catalogue
from worker.contract.quoting import quote, suggest
from worker.errors import NotFound

Verb = Literal["create", "modify", "delete"]
ChangeAction = Literal["create", "modify", "delete", "replace"]
"""What a change asks for; a replace is creates and deletes, which of them a read of the record shows."""
Order = Literal["create_first", "delete_first", "free"]
LastOne = Literal["keep", "allow"]
Side = Literal["parent", "child"]
GuardedSide = Literal[Side, ""]
"""The side of a relation whose record is guarded (R12): a parent keeps one child, a child has one parent."""

VERBS: dict[str, Verb] = {"c": "create", "m": "modify", "d": "delete"}

# How the documentation and its readers misspell the prefix: no hyphens, other language or case, only its end.
NEAR_PREFIX = re.compile(r"(urn:on-?office-?[a-z]{0,2}-?ns:smart:2\.5:)?relation-?types?:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RelationType:
    """One kind of relation the API knows, under its short name, e.g. `estate:address:buyer`.

    `documented` are the writes that its documentation names.
    """

    name: str
    parent: str
    child: str
    description: str
    documented: frozenset[Verb] = frozenset()
    read_only: bool = False
    order: Order = "free"
    info_keys: tuple[str, ...] = ()
    note: str = ""

    @property
    def urn(self) -> str:
        """The name that the API takes."""
        return catalogue.PREFIX + self.name


class ResolvedType(NamedTuple):
    """The canonical type of a spelling, whether parent and child are swapped, and notes on corrections."""

    type: RelationType
    swapped: bool = False
    notes: tuple[str, ...] = ()


def _type(name: str, documented: str, description: str) -> RelationType:
    parent, child = catalogue.SIDES.get(name) or name.split(":")[:2]
    return RelationType(
        name,
        parent,
        child,
        description,
        documented=frozenset(VERBS[letter] for letter in documented),
        read_only=name in catalogue.READ_ONLY,
        order=catalogue.ORDERS.get(name, "free"),
        info_keys=catalogue.INFO_KEYS.get(name, ()),
        note=catalogue.NOTES.get(name, ""),
    )


TYPES: dict[str, RelationType] = {row[0]: _type(*row) for row in catalogue.ROWS}
"""Every type by its short name, in the order of the documentation; aliases included."""


def _canonical(name: str) -> ResolvedType:
    if name not in catalogue.ALIASES:
        return ResolvedType(TYPES[name])
    canonical, swapped = catalogue.ALIASES[name]
    from_other_side = f"{name} is {canonical} from the other side; parent and child were swapped"
    note = from_other_side if swapped else f"{name} is another name of {canonical}"
    return ResolvedType(TYPES[canonical], swapped, (note,))


MAX_SPELLING = 200  # characters, far beyond any type; keeps the cache and the search for a suggestion small

# Both exact spellings of every type, so that a correct one costs a single look-up.
EXACT: dict[str, ResolvedType] = {
    spelling: _canonical(name) for name in TYPES for spelling in (name, TYPES[name].urn)
}


def resolve(text: str) -> ResolvedType:
    """Return the canonical type of a URN or short name.

    Mistyped prefixes and second names are corrected and noted. Raises `NotFound`, which suggests the
    nearest type.
    """
    return EXACT.get(text) or _correct(text[:MAX_SPELLING])


@lru_cache(maxsize=1024)
def _correct(text: str) -> ResolvedType:
    prefix = NEAR_PREFIX.match(text)
    name = text[prefix.end() :] if prefix else text.rpartition(":relationTypes:")[2]
    if prefix is None or name not in TYPES:
        raise NotFound(f"unknown relation type {quote(text)}{suggest(name, tuple(TYPES))}")
    exact = EXACT[name]
    note = f"the prefix {prefix[0]} was read as {catalogue.PREFIX}"
    return exact._replace(notes=(note, *exact.notes))


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
