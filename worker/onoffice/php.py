"""PHP's habits in JSON: empty objects as `[]`, lists with gaps as objects, numbers as texts."""

from typing import Any


def as_object(value: Any) -> dict[str, Any]:
    """Return the value if it is an object, else an empty one: PHP writes an empty object as `[]`."""
    return value if isinstance(value, dict) else {}


def as_items(value: Any) -> list[Any]:
    """Return the items of a list; PHP writes one with gaps in its keys as an object."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """Return the value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def as_number(value: Any) -> int | None:
    """Return a number from 0 to the largest id, written as a number or as digits; None for anything else.

    A whole number may have a fraction of zero, as PHP writes one that was computed.
    """
    if isinstance(value, float) and value.is_integer() and value < 2**53:
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**63 else None
