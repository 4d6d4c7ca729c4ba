"""The relation types as values, and the one place that knows how producers may spell them.

The data is in `catalogue`; whether an action on a type is allowed is `policy`.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from worker.contract import catalogue
from worker.contract.quoting import did_you_mean, show
from worker.errors import NotFound

Verb = Literal["create", "modify", "delete"]
Order = Literal["create_first", "delete_first", "free"]

_VERBS: dict[str, Verb] = {"c": "create", "m": "modify", "d": "delete"}

# What the documentation and its readers make of the prefix: lost hyphens, another language, another case, or only its end.
_NEAR_PREFIX = re.compile(r"(urn:on-?office-?[a-z]{0,2}-?ns:smart:2\.5:)?relation-?types?:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RelationType:
    """One kind of relation the API knows, under its short name, e.g. `estate:address:buyer`.

    `documented` are the writes its documentation names; `alias_of` is filled for a second name of another type.
    """

    name: str
    parent: str
    child: str
    description: str
    documented: frozenset[Verb] = frozenset()
    read_only: bool = False
    order: Order = "free"
    info_keys: tuple[str, ...] = ()
    alias_of: str = ""
    note: str = ""

    @property
    def urn(self) -> str:
        """The name the API wants."""
        return catalogue.PREFIX + self.name


class Resolved(NamedTuple):
    """The canonical type of a spelling, whether parent and child change places, and what was corrected."""

    type: RelationType
    swapped: bool = False
    notes: tuple[str, ...] = ()


def _order(name: str) -> Order:
    if name in catalogue.CREATE_FIRST:
        return "create_first"
    return "delete_first" if name in catalogue.DELETE_FIRST else "free"


def _type(name: str, parent: str, child: str, documented: str, description: str) -> RelationType:
    return RelationType(
        name,
        parent,
        child,
        description,
        documented=frozenset(_VERBS[letter] for letter in documented),
        read_only=name in catalogue.READ_ONLY,
        order=_order(name),
        info_keys=catalogue.INFO_KEYS.get(name, ()),
        alias_of=catalogue.ALIASES.get(name, ("", False))[0],
        note=catalogue.NOTES.get(name, ""),
    )


TYPES: dict[str, RelationType] = {row[0]: _type(*row) for row in catalogue.ROWS}
"""Every type by its short name, in the order of the documentation; aliases included."""


def _resolved(name: str) -> Resolved:
    if name not in catalogue.ALIASES:
        return Resolved(TYPES[name])
    canonical, swapped = catalogue.ALIASES[name]
    how = (
        f"{name} is {canonical} from the other side; parent and child were swapped"
        if swapped
        else f"{name} is another name of {canonical}"
    )
    return Resolved(TYPES[canonical], swapped, (how,))


_LONGEST = 200  # far beyond any spelling; keeps the cache and the search for a suggestion small

# Both exact spellings of every type, so that a correct one costs a single look-up.
_EXACT: dict[str, Resolved] = {
    spelling: _resolved(name) for name in TYPES for spelling in (name, TYPES[name].urn)
}


def resolve(text: str) -> Resolved:
    """The type meant by a URN or short name, canonical; mistyped prefixes and second names are corrected and noted.

    Raises `NotFound`, whose text suggests the nearest type.
    """
    return _EXACT.get(text) or _correct(text[:_LONGEST])


@lru_cache(maxsize=1024)
def _correct(text: str) -> Resolved:
    prefix = _NEAR_PREFIX.match(text)
    name = text[prefix.end() :] if prefix else text.rpartition(":relationTypes:")[2]
    if prefix is None or name not in TYPES:
        raise NotFound(f"unknown relation type {show(text)}{did_you_mean(name, tuple(TYPES))}")
    exact = _EXACT[name]
    note = f"the prefix {prefix[0]} was read as {catalogue.PREFIX}"
    return exact._replace(notes=(note, *exact.notes))
