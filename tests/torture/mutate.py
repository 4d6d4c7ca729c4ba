"""Valid inputs made wrong, by dice: JSON values at any place in them, texts and bytes. Pure; the same dice, the same wrong."""

import json
import random
from collections.abc import Callable
from typing import Any, Final

Twist = Callable[[bytes, random.Random], bytes]

NASTY: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**53 - 1,
        2**53,
        2**63,
        10**30,
        10**400,
        -(10**400),
        0.5,
        -0.0,
        1e308,
        -1e-308,
    ),
    *(
        float("nan"),
        float("inf"),
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
    *(
        "create",
        "modify",
        "delete",
        "estate:address:buyer",
        "acme",
        "2026-11-21T02:00:00Z",
        "2026-02-30T25:61:61+99:99",
        "0000-00-00",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        [{}],
        {"": ""},
        [1, 2],
        [[1]],
        list(range(600)),
        {str(each): each for each in range(300)},
    ),
)
"""Values that something once stumbled over."""

TOKENS: Final = (
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b'"',
    b"\\",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
)
DEEP: Final = (5, 50, 500, 5000, 100_000)


def twisted(value: Any, dice: random.Random) -> Any:
    """The value with one thing changed somewhere in it: replaced, left out, doubled, renamed or wrapped."""
    if not isinstance(value, dict | list) or not value or dice.random() < 0.2:
        return _other(value, dice)
    if isinstance(value, list):
        return _twisted_list(value, dice)
    key = dice.choice(sorted(value, key=str))
    rest = {name: each for name, each in value.items() if name != key}
    match dice.randrange(6):
        case 0:
            return rest
        case 1:
            return rest | {str(dice.choice(NASTY))[:90_000]: value[key]}
        case _:
            return value | {key: twisted(value[key], dice)}


def _twisted_list(value: list[Any], dice: random.Random) -> list[Any]:
    at = dice.randrange(len(value))
    match dice.randrange(6):
        case 0:
            return value[:at] + value[at + 1 :]
        case 1:
            return value + value[at:]
        case _:
            return [*value[:at], twisted(value[at], dice), *value[at + 1 :]]


def _other(value: Any, dice: random.Random) -> Any:
    match dice.randrange(5):
        case 0:
            return [value]
        case 1:
            return {"a": value}
        case 2:
            return nested(value, dice.choice(DEEP[:3]))
        case _:
            return dice.choice(NASTY)


def nested(value: Any, levels: int) -> Any:
    """The value in lists in lists."""
    for _ in range(levels):
        value = [value]
    return value


def written(value: Any, dice: random.Random) -> bytes:
    """The value as JSON, or as what looks like it; in UTF-8, rarely in something else."""
    try:
        text = json.dumps(value, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, None, 1)))
    except (RecursionError, ValueError):  # a number of thousands of digits
        text = "[" * 100_000
    return text.encode(dice.choice(("utf-8",) * 8 + ("utf-16", "utf-8-sig")), "surrogatepass")


def garbled(raw: bytes, dice: random.Random) -> bytes:
    """The bytes cut, repeated, with other ones in them, or with brackets without end."""
    return dice.choice(TWISTS)(raw, dice)


def _place(raw: bytes, dice: random.Random) -> int:
    return dice.randrange(len(raw) + 1)


def _cut(raw: bytes, dice: random.Random) -> bytes:
    return raw[: _place(raw, dice)]


def _without(raw: bytes, dice: random.Random) -> bytes:
    start, end = sorted((_place(raw, dice), _place(raw, dice)))
    return raw[:start] + raw[end:]


def _again(raw: bytes, dice: random.Random) -> bytes:
    start, end = sorted((_place(raw, dice), _place(raw, dice)))
    return raw[:end] + raw[start:end] * dice.choice((1, 2, 50)) + raw[end:]


def _flipped(raw: bytes, dice: random.Random) -> bytes:
    at = _place(raw, dice)
    return raw[:at] + bytes([dice.randrange(256)]) + raw[at + 1 :]


def _with_token(raw: bytes, dice: random.Random) -> bytes:
    at = _place(raw, dice)
    return raw[:at] + dice.choice(TOKENS) * dice.choice((1, 1, 3)) + raw[at:]


def _deep(raw: bytes, dice: random.Random) -> bytes:
    return dice.choice((b"[", b'{"a":', b"[{", b"(")) * dice.choice(DEEP) + raw


TWISTS: Final[tuple[Twist, ...]] = (_cut, _without, _again, _flipped, _with_token, _deep)
