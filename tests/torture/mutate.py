"""Random mutations of valid inputs: JSON values at any place in them, and bytes. Pure; a seed decides all."""

import json
import random
from collections.abc import Callable
from typing import Any, Final

Mutation = Callable[[bytes, random.Random], bytes]

NUMBERS: Final = (
    *(0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63, 10**30, 10**400, -(10**400)),
    *(0.5, -0.0, 1e308, -1e-308, float("nan"), float("inf")),
)
TEXTS: Final = (
    *(
        "",
        " ",
        "0",
        "1",
        "-1",
        "4.629",
        "a" * 300,
        "a" * 70_000,
        "\0",
        "\x1b[31m",
        "\u2028",
        "\ud800",
        "é",
        "🏠",
    ),
    *("create", "modify", "delete", "estate:address:buyer", "acme"),
    *("2026-11-21T02:00:00Z", "2026-02-30T25:61:61+99:99", "0000-00-00"),
)
CONTAINERS: Final[tuple[Any, ...]] = (
    *([], {}, [[]], [None], [{}], {"": ""}, [1, 2], [[1]], list(range(600))),
    {str(number): number for number in range(300)},
)
NASTY: Final[tuple[Any, ...]] = (None, True, False, *NUMBERS, *TEXTS, *CONTAINERS)
"""Values that some code once failed on."""

TOKENS: Final = (
    *(b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\n", b"\r\n", b"\r\n\r\n"),
    *(b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":"),
)
DEPTHS: Final = (5, 50, 500, 5000, 100_000)


def mutate(value: Any, rng: random.Random) -> Any:
    """Return the value with one thing in it changed: replaced, left out, doubled, renamed or wrapped."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.2:
        return _replace(value, rng)
    if isinstance(value, list):
        return _mutate_list(value, rng)
    key = rng.choice(sorted(value, key=str))
    others = {name: item for name, item in value.items() if name != key}
    match rng.randrange(6):
        case 0:
            return others
        case 1:
            return others | {str(rng.choice(NASTY))[:90_000]: value[key]}
        case _:
            return value | {key: mutate(value[key], rng)}


def _mutate_list(value: list[Any], rng: random.Random) -> list[Any]:
    at = rng.randrange(len(value))
    match rng.randrange(6):
        case 0:
            return value[:at] + value[at + 1 :]
        case 1:
            return value + value[at:]
        case _:
            return [*value[:at], mutate(value[at], rng), *value[at + 1 :]]


def _replace(value: Any, rng: random.Random) -> Any:
    match rng.randrange(5):
        case 0:
            return [value]
        case 1:
            return {"a": value}
        case 2:
            return nest(value, rng.choice(DEPTHS[:3]))
        case _:
            return rng.choice(NASTY)


def nest(value: Any, levels: int) -> Any:
    """Return the value inside so many lists."""
    for _ in range(levels):
        value = [value]
    return value


def encode(value: Any, rng: random.Random) -> bytes:
    """Return the value as JSON, or as what looks like it; in UTF-8, rarely in another encoding."""
    try:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, None, 1)))
    except (RecursionError, ValueError):  # a number of thousands of digits
        text = "[" * 100_000
    return text.encode(rng.choice(("utf-8",) * 8 + ("utf-16", "utf-8-sig")), "surrogatepass")


def garble(raw: bytes, rng: random.Random) -> bytes:
    """Return the bytes cut, repeated, with other bytes in them, or behind thousands of brackets."""
    return rng.choice(MUTATIONS)(raw, rng)


def _position(raw: bytes, rng: random.Random) -> int:
    return rng.randrange(len(raw) + 1)


def _range(raw: bytes, rng: random.Random) -> tuple[int, int]:
    start, end = sorted((_position(raw, rng), _position(raw, rng)))
    return start, end


def _truncate(raw: bytes, rng: random.Random) -> bytes:
    return raw[: _position(raw, rng)]


def _cut_out(raw: bytes, rng: random.Random) -> bytes:
    start, end = _range(raw, rng)
    return raw[:start] + raw[end:]


def _repeat(raw: bytes, rng: random.Random) -> bytes:
    start, end = _range(raw, rng)
    return raw[:end] + raw[start:end] * rng.choice((1, 2, 50)) + raw[end:]


def _replace_byte(raw: bytes, rng: random.Random) -> bytes:
    at = _position(raw, rng)
    return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]


def _insert_token(raw: bytes, rng: random.Random) -> bytes:
    at = _position(raw, rng)
    return raw[:at] + rng.choice(TOKENS) * rng.choice((1, 1, 3)) + raw[at:]


def _prepend_brackets(raw: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"[", b'{"a":', b"[{", b"(")) * rng.choice(DEPTHS) + raw


MUTATIONS: Final[tuple[Mutation, ...]] = (
    _truncate,
    _cut_out,
    _repeat,
    _replace_byte,
    _insert_token,
    _prepend_brackets,
)
