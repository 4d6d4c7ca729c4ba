"""Says what the core wrote in English in the language of a page. Pure.

A `Sentence` remembers its template and values. Of all else only the text is known, because it was stored or
raised as an error: it is recognised by its template in the catalogue, with `{0}`, `{1}` for the values.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from string import Formatter as Filler
from typing import Any, Final, NamedTuple

from ops.dashboard.texts import Texts, read_catalogue
from ops.explain.sentence import Sentence
from ops.explain.text import Instant
from worker.contract import read_instant
from worker.contract.instant import RFC3339

LONGEST: Final = 2000  # characters of a text that is recognised
JOINT: Final = re.compile("[;:] ")  # between sentences that were made apart
MOST_JOINTS: Final = 8
OUR_VALUE: Final = re.compile(r"{\d")
DECIMALS: Final = str.maketrans(",.", ".,")


class Pattern(NamedTuple):
    """A template of the catalogue: its words in order, and the expression that finds its values."""

    template: str
    literals: tuple[str, ...]
    expression: re.Pattern[str]

    @property
    def size(self) -> int:
        """How many characters of a text it explains."""
        return sum(map(len, self.literals))


@cache
def patterns_of(language: str) -> Sequence[Pattern]:
    """Return the templates with values, those that say most first."""
    templates = filter(OUR_VALUE.search, read_catalogue(language))
    return sorted(map(_read_pattern, templates), key=lambda pattern: -pattern.size)


def _read_pattern(template: str) -> Pattern:
    pieces = list(Filler().parse(template))
    expression = "".join(re.escape(words) + ("" if name is None else "(.*?)") for words, name, *_ in pieces)
    literals = tuple(words for words, *_ in pieces)
    return Pattern(template, literals, re.compile(expression, re.DOTALL))


class Speaker(Filler):
    """Fills templates of one language; `write_instant` writes an instant (µs) as the page does.

    A value in a translation is said too where it is written `{0!t}`; others are names, and texts of others.
    """

    def __init__(self, texts: Texts, write_instant: Callable[[int], str]) -> None:
        self._texts, self._write_instant = texts, write_instant

    def say(self, text: str) -> str:
        """Return a text of ours in the language; what is not recognised stays as it is."""
        if self._texts.language == "en":
            return text
        if isinstance(text, Instant):
            return self._write_instant(text.micros)
        if isinstance(text, Sentence) and text.values:
            return self.vformat(self._texts(text.template), (), text.values)
        return self._recognise(text)

    def _recognise(self, text: str, joints: int = MOST_JOINTS) -> str:
        if text in self._texts.catalogue or len(text) > LONGEST:
            return self._texts(text)
        if RFC3339.fullmatch(text):
            with suppress(ValueError):
                return self._write_instant(read_instant(text))
        for template, literals, expression in patterns_of(self._texts.language):
            may_fit = text.startswith(literals[0]) and all(words in text for words in literals)
            if may_fit and (found := expression.fullmatch(text)):
                return self.vformat(self._texts(template), found.groups(), {})
        if not (joints and (joint := JOINT.search(text))):
            return text
        first, rest = text[: joint.start()], text[joint.end() :]
        rest = self._recognise(rest, joints - 1) if " " in rest else rest  # a single word is a name
        return f"{self._recognise(first, 0)}{joint[0]}{rest}"

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        """Say a value that is marked with `!t`."""
        return self._recognise(str(value)) if conversion == "t" else value

    def format_field(self, value: Any, format_spec: str) -> str:
        """Say a value that is a sentence; write a number, which has a format, with a decimal comma."""
        if isinstance(value, Sentence | Instant):
            return self.say(value)
        text = value if isinstance(value, str) else format(value, format_spec)
        return text.translate(DECIMALS) if format_spec else text
