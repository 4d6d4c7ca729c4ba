"""Swaps (R12): which half of one goes first, and what the two halves have in common.

An estate must never lose its only broker to a half-done swap, so its delete waits for the create; a unit has one base
object, so its create waits for the delete. Pure.
"""

from worker.contract import Order, Relation


def swap_key(relation: Relation, order: Order) -> str:
    """What the halves of a swap share: the parent that keeps a child, or the child that keeps one parent; "" when free."""
    if order == "create_first":
        return f"{relation.type}:{relation.parent}"
    return f"{relation.type}::{relation.child}" if order == "delete_first" else ""


def is_first_half(presence: bool | None, order: Order) -> bool:
    """Whether a target with this presence is the half that goes first."""
    return (presence is True and order == "create_first") or (presence is False and order == "delete_first")


def is_waiting_half(presence: bool | None, order: Order) -> bool:
    """Whether it is the half that waits."""
    return (presence is False and order == "create_first") or (presence is True and order == "delete_first")
