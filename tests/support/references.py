"""Records that are named by what the CRM knows of them, and changes that name them so."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tests.support.flow_world import World, change
from worker.contract import Change, Reference

BUYER = "estate:address:buyer"
ESTATE = Reference("estate", (("objektnr_extern", "PC910"),))
FIELDS: dict[str, dict[int, dict[str, Any]]] = {
    "estate": {501: {"objektnr_extern": "PC910"}, 502: {"objektnr_extern": "815"}},
    "address": {
        9001: {"email": ["anna@example.test", "Anna.Berg@Example.test"], "KdNr": "00815"},
        9002: {"email": "bernd@example.test", "phone": "0221 / 12 34 56", "KdNr": "815"},
        9003: {"email": "office@example.test"},
        9004: {"email": "office@example.test", "phone": "+49 221 99887766"},
    },
}


def email(address: str) -> Reference:
    """Return an address by its email."""
    return Reference("address", (("email", address),))


def address(**fields: str) -> Reference:
    """Return an address by some of its fields."""
    return Reference("address", tuple(sorted(fields.items())))


def wish(
    *people: Reference | int, estate: Reference | int = ESTATE, action: str = "create", **more: Any
) -> Change:
    """Return a change of records that are named by references or ids."""
    return msgspec.structs.replace(
        change(action, BUYER, 1, 1, **more),
        parents=tuple(each for each in (estate,) if isinstance(each, int)),
        children=tuple(each for each in people if isinstance(each, int)),
        parent_references=tuple(each for each in (estate,) if isinstance(each, Reference)),
        child_references=tuple(each for each in people if isinstance(each, Reference)),
    )


def seed(world: World, fields: Mapping[str, Any]) -> None:
    """Let the CRM have records with these fields."""
    world.simulator.seed("token-acme", {}, fields=fields)
