"""What people read on the pages, in their language: English texts are the keys of the other catalogues.

What the core wrote in English is translated, too. A `Sentence` remembers its template and values. Of all else
only the text is known, because it was stored or raised as an error: it is recognized by its template in the
catalogue, with `{0}`, `{1}` for the values.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from string import Formatter as Filler
from typing import Any, Final, NamedTuple

from ops.explain.text import Instant, Sentence
from worker.contract import read_instant
from worker.contract.instant import RFC3339

LANGUAGES: Final = {"en": "English", "de": "Deutsch"}
COOKIE: Final = "relations-language"
PREFERENCE: Final = re.compile(
    r"\s*([a-zA-Z]{1,8})(?:-[a-zA-Z0-9]+)*\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?))?\s*"
)
SEPARATORS: Final = {"en": ",", "de": "."}  # of thousands


class Texts:
    """The texts of one language; called with an English text, it returns that text with its values."""

    def __init__(self, language: str) -> None:
        self.language = language if language in LANGUAGES else "en"
        is_english = self.language == "en"
        self.catalogue: Mapping[str, str] = {} if is_english else read_catalogue(self.language)
        self._meanings = {} if is_english else read_catalogue(f"{self.language}.codes")

    def __call__(self, text: str, /, **values: object) -> str:
        """Return the text; one without a translation is returned in English."""
        found = self.catalogue.get(text, text)
        return found.format(**values) if values else found

    def meaning(self, text: str) -> str:
        """Return what a code of the API means, by its text in our table."""
        return self._meanings.get(text, text)

    def count(self, number: int, one: str, many: str) -> str:
        """Return how many of something there are: `one` or `many`, with `{n}` for the number."""
        return self(one if number == 1 else many, n=self.number(number))

    def number(self, number: float) -> str:
        """Return a number with its thousands apart."""
        return f"{number:,.0f}".replace(",", SEPARATORS[self.language])


@cache
def read_catalogue(name: str) -> Mapping[str, str]:
    """Return the translations of a catalogue, by the English text: that of a language, or its `.codes`."""
    text = files("ops.dashboard").joinpath("catalogue", f"{name}.json").read_text("utf-8")
    catalogue: Mapping[str, str] = json.loads(text)
    return catalogue


def choose_language(chosen: str, accepted: str) -> str:
    """Return the language that was chosen, else the one that an Accept-Language header likes best."""
    if chosen in LANGUAGES:
        return chosen
    liked = list[tuple[float, str]]()
    for part in accepted.split(",")[:20]:
        if found := PREFERENCE.fullmatch(part):
            liked.append((-float(found[2] or 1), found[1].lower()))
    # A stable sort: of languages that are liked as much, the first one counts.
    wanted = (language for weight, language in sorted(liked, key=lambda pair: pair[0]) if weight < 0)
    return next((language for language in wanted if language in LANGUAGES), "en")


# --- what the core wrote

LONGEST: Final = 2000  # characters of a text that is recognized
JOINT: Final = re.compile("[;:] ")  # between sentences that were made apart
MOST_JOINTS: Final = 8
OUR_VALUE: Final = re.compile(r"{\d")
CODE: Final = re.compile("[a-z]+(_[a-z]+)+")
WRITTEN: Final = re.compile(rf'"[^"]*"|(?<![\w-])(?<! as ){RFC3339.pattern}(?![\w-])')  # and what is quoted
DECIMALS: Final = str.maketrans(",.", ".,")


class Pattern(NamedTuple):
    """A template of the catalogue, and what tells its values in a text, the first ones as short as can be."""

    template: str
    values: re.Pattern[str]


@cache
def patterns_of(language: str) -> Sequence[Pattern]:
    """Return the templates with values, those that say most first."""
    templates = filter(OUR_VALUE.search, read_catalogue(language))
    # One more value, so that words, if only none, stand behind the last one, too.
    words = {template: [text for text, *_ in Filler().parse(f"{template}{{}}")] for template in templates}
    most_first = sorted(words, key=lambda template: -sum(map(len, words[template])))
    return [Pattern(template, _recognize_values(*words[template])) for template in most_first]


def _recognize_values(first: str, *rest: str) -> re.Pattern[str]:
    """Return what finds the values between these words; it never goes back, so that no text takes long."""
    *between, last = map(re.escape, rest)
    groups = "".join(f"(?>(.*?){words})" for words in between)
    return re.compile(f"{re.escape(first)}{groups}(.*){last}", re.DOTALL)


class Translator(Filler):
    """Fills templates of one language; `write_instant` writes an instant (µs) as the page does.

    A value is translated too where a translation has `{0!t}`; others are names, and texts of others.
    """

    def __init__(self, texts: Texts, write_instant: Callable[[int], str]) -> None:
        self._texts, self._write_instant = texts, write_instant

    def translate(self, text: str) -> str:
        """Return a text of ours in the language; what is not recognized stays as it is."""
        if isinstance(text, Instant):
            return self._write_instant(text.micros)
        if self._texts.language == "en":
            return self._write_english(text)
        if isinstance(text, Sentence) and text.values:
            return self.vformat(self._texts(text.template), (), text.values)
        return self._recognize(text)

    def _write_english(self, text: str) -> str:
        if CODE.fullmatch(text) and text in read_catalogue("de"):  # a word of ours, as logs have it
            return text.replace("_", " ")
        written = WRITTEN.sub(lambda found: self._rewrite(found[0]), text)
        return text if written == text else written

    def _recognize(self, text: str, joints: int = MOST_JOINTS) -> str:
        if text in self._texts.catalogue or len(text) > LONGEST:
            return self._texts(text)
        if RFC3339.fullmatch(text):
            return self._rewrite(text)
        for pattern in patterns_of(self._texts.language):
            if found := pattern.values.fullmatch(text):
                return self.vformat(self._texts(pattern.template), found.groups(), {})
        if not (joints and (joint := JOINT.search(text))):
            return text
        first, rest = text[: joint.start()], text[joint.end() :]
        rest = self._recognize(rest, joints - 1) if " " in rest else rest  # a single word is a name
        return f"{self._recognize(first, 0)}{joint[0]}{rest}"

    def _rewrite(self, instant: str) -> str:
        with suppress(ValueError):
            return self._write_instant(read_instant(instant))
        return instant

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        """Translate a value that is marked with `!t`."""
        return self._recognize(str(value)) if conversion == "t" else value

    def format_field(self, value: Any, format_spec: str) -> str:
        """Translate a value that is a sentence; write a number, which has a format, with a decimal comma."""
        if isinstance(value, Sentence | Instant):
            return self.translate(value)
        text = value if isinstance(value, str) else format(value, format_spec)
        return text.translate(DECIMALS) if format_spec else text
