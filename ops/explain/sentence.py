"""English sentences that remember what they were made of, so that a page can say them in its language. Pure.

They are for people: whatever is stored or sent has them as plain text (`str()` of one).
"""

from collections.abc import Iterable, Mapping
from typing import Self


class Sentence(str):
    """The text of an English template with its values, both of which it remembers.

    Values may be sentences. One without values is a text of ours that was made elsewhere, or a word.
    """

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, /, **values: object) -> Self:  # noqa: D102 - the class says it
        self = super().__new__(cls, template.format(**values) if values else template)
        self.template, self.values = template, values
        return self


def join(separator: str, parts: Iterable[str]) -> Sentence:
    """Return the parts as one sentence; those that are sentences stay so."""
    values = {f"part{at}": part for at, part in enumerate(parts)}
    return Sentence(separator.join(f"{{{name}}}" for name in values), **values)
