"""Which records a filter lets through: SQL's operators over texts, compared as a database may do it."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from ops.simulator.refusals import ApiRefusal
from ops.simulator.switches import Switches

Normalize = Callable[[str], str]
Test = Callable[[str], bool]
_GERMAN: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})


class Expression(NamedTuple):
    """One condition on a field: it holds if any of the field's texts passes, or, `negated`, if none does."""

    field: str
    test: Test
    negated: bool

    def holds(self, texts: Sequence[str]) -> bool:
        """Return whether it holds for a field of these texts; a field without any is empty."""
        return any(map(self.test, texts or ("",))) is not self.negated


def read_expression(field: str, given: Any, normalize: Normalize) -> Expression:
    """Return the condition; raise `ApiRefusal` 142 for an operator, 257 for a value that does not fit it."""
    operator = given.get("op") if isinstance(given, dict) else None
    if str(operator).lower() not in _OPERATORS:
        raise ApiRefusal(142, operator)
    make_test, negated = _OPERATORS[str(operator).lower()]
    return Expression(field, make_test(given.get("val"), normalize), negated)


def normalizer(switches: Switches) -> Normalize:
    """Return what is done to both sides before they are compared."""

    def normalize(text: str) -> str:
        if switches.umlauts == "ae":
            text = text.translate(_GERMAN)
        elif switches.umlauts == "a":
            text = _strip_accents(text.replace("ß", "s"))
        return text if switches.compare_case == "exact" else text.lower()

    return normalize


def _strip_accents(text: str) -> str:
    letters = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _equals(value: Any, normalize: Normalize) -> Test:
    expected = normalize(_read_text(value))
    return lambda text: normalize(text) == expected


def _is_one_of(value: Any, normalize: Normalize) -> Test:
    if not isinstance(value, list) or not value:
        raise ApiRefusal(257, f"expected an array, got {value!r}")
    expected = {normalize(_read_text(item)) for item in value}
    return lambda text: normalize(text) in expected


def _is_like(value: Any, normalize: Normalize) -> Test:
    pattern = re.compile(".*".join(map(re.escape, normalize(_read_text(value)).split("%"))), re.DOTALL)
    return lambda text: pattern.fullmatch(normalize(text)) is not None


def _read_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ApiRefusal(257, f"expected a text or a number, got {value!r}")
    return str(value)


_OPERATORS: Final[dict[str, tuple[Callable[[Any, Normalize], Test], bool]]] = {
    "=": (_equals, False),
    "is": (_equals, False),
    "!=": (_equals, True),
    "<>": (_equals, True),
    "in": (_is_one_of, False),
    "not in": (_is_one_of, True),
    "like": (_is_like, False),
    "not like": (_is_like, True),
}
"""What each operator of a filter tests, and whether it has to fail."""
