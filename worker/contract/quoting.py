"""Values and suggestions in fault texts: short, quoted, and safe to print whatever was sent."""

import re
from difflib import get_close_matches
from functools import lru_cache

MAX_SHOWN = 60  # characters of a text
MAX_WORD = 100  # characters of a word that a suggestion is looked for; a longer one is no typing error
# Controls (C0 but tab and line feed, DEL, C1), marks that turn the direction of writing, lone surrogates.
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
NAMES: dict[type, str] = {list: "an array", tuple: "an array", dict: "an object", type(None): "null"}


def quote(value: object) -> str:
    """Return the value as its sender would recognise it, e.g. `"x"`, `7`, `null`, `an array`."""
    if isinstance(value, str):
        shortened = value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…"
        return f'"{escape_unprintable(shortened)}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 64 else "a huge number"
    return repr(value) if isinstance(value, float) else NAMES.get(type(value), type(value).__name__)


def escape_unprintable(text: str) -> str:
    """Return the text with controls, lone surrogates and the like as escapes; letters like ä stay."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def make_printable(text: str) -> str:
    """Return the text with everything escaped that a terminal would obey or show as something else.

    Line feeds and tabs stay. The escapes are also right inside of JSON.
    """
    return OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def suggest(word: object, choices: tuple[str, ...]) -> str:
    """Return `; did you mean X?` for the nearest choice, or "" if none is near or `word` is no text."""
    return _suggest(word, choices) if isinstance(word, str) and len(word) <= MAX_WORD else ""


@lru_cache(maxsize=1024)  # a feed repeats its mistakes, and a search takes a millisecond
def _suggest(word: str, choices: tuple[str, ...]) -> str:
    near = get_close_matches(word.lower(), [choice.lower() for choice in choices], n=1)
    named = [choice for choice in choices if choice.lower() in near]
    return f"; did you mean {named[0]}?" if named else ""
