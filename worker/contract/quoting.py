"""How values and suggestions appear in fault texts: short, quoted, safe to print whatever was sent."""

from difflib import get_close_matches
from functools import lru_cache

_SHOWN = 60  # characters of a text
_LONG = 100  # no suggestion for a word beyond this: it is no slip of the pen
_NAMES: dict[type, str] = {list: "an array", tuple: "an array", dict: "an object", type(None): "null"}


def show(value: object) -> str:
    """The value as a producer would recognise it, e.g. `"x"`, `7`, `null`, `an array`."""
    if isinstance(value, str):
        shortened = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
        return f'"{ascii_safe(shortened)}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else "a huge number"
    return repr(value) if isinstance(value, float) else _NAMES.get(type(value), type(value).__name__)


def ascii_safe(text: str) -> str:
    """The text with everything unprintable (controls, lone surrogates) as escapes; letters like ä stay."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def did_you_mean(word: object, choices: tuple[str, ...]) -> str:
    """`; did you mean X?` for the nearest choice, or nothing when none is near or it is no word at all."""
    return _nearest(word, choices) if isinstance(word, str) and len(word) <= _LONG else ""


@lru_cache(maxsize=1024)  # a feed repeats its mistakes, and a search takes a millisecond
def _nearest(word: str, choices: tuple[str, ...]) -> str:
    near = get_close_matches(word.lower(), [choice.lower() for choice in choices], n=1)
    named = [choice for choice in choices if choice.lower() in near]
    return f"; did you mean {named[0]}?" if named else ""
