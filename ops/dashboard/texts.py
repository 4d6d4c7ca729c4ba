"""What people read on the pages, in their language: English texts are the keys of the other catalogues."""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

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
