"""Swaps (R12): which half of one goes first, and what the two halves have in common. Pure.

An estate must never lose its only broker to a half-done swap, so its delete waits for the create; a unit has
one base object, so its create waits for the delete.
"""

from worker.contract import Order, Relation


def swap_key(relation: Relation, order: Order) -> str:
    """Return what both halves share: the parent that keeps a child, or the child that keeps one parent.

    It is "" for a type without swaps.
    """
    if order == "create_first":
        return f"{relation.type}:{relation.parent}"
    return f"{relation.type}::{relation.child}" if order == "delete_first" else ""


def is_first_half(presence: bool | None, order: Order) -> bool:
    """Return whether a target with this presence is the half that goes first."""
    return (presence is True and order == "create_first") or (presence is False and order == "delete_first")


def is_waiting_half(presence: bool | None, order: Order) -> bool:
    """Return whether a target with this presence is the half that waits for the other."""
    return (presence is False and order == "create_first") or (presence is True and order == "delete_first")
