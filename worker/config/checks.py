"""What a single setting may be: each check knows what it expects in words, and turns a raw value into a good one.

Nothing here knows which settings there are; that is `reader`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import urlsplit

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check(Generic[T]):
    """Accepts a value (None: refused); a private one never repeats what it refused."""

    expected: str
    accept: Callable[[Any], T | None]
    private: bool = False

    def refusal(self, value: object) -> str:
        """What is wrong with a refused value."""
        return (
            f"expected {self.expected}" if self.private else f"expected {self.expected}, got {quoted(value)}"
        )


def quoted(value: object) -> str:
    """The value as a person wrote it, cut to a readable length."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):  # an integer of thousands of digits, tables in tables in tables
        text = f"something huge ({type(value).__name__})"
    return text if len(text) <= 60 else f"{text[:57]}…"


def is_number(value: object) -> bool:
    """Whether it is a finite number; TOML's true and nan are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= HUGE  # false for nan; an integer of TOML may be greater than any float


def number(low: float, high: float) -> Check[float]:
    """A number in a range."""
    return Check(
        f"a number from {low:g} to {high:g}",
        lambda value: float(value) if is_number(value) and low <= value <= high else None,
    )


def whole(low: int, high: int) -> Check[int]:
    """A whole number in a range."""
    fits: Callable[[Any], bool] = lambda value: (
        is_number(value) and value == int(value) and low <= value <= high
    )  # noqa: E731
    return Check(f"a whole number from {low} to {high}", lambda value: int(value) if fits(value) else None)


def one_of(*words: T) -> Check[T]:
    """One of these words."""
    known = ", ".join(f'"{word}"' for word in words)
    return Check(f"one of {known}", lambda value: cast(T, value) if value in words else None)


def some_of(*words: T) -> Check[tuple[T, ...]]:
    """A list of some of these words."""
    known = ", ".join(f'"{word}"' for word in words)
    return Check(
        f"a list of {known}",
        lambda value: (
            tuple(value)
            if value and isinstance(value, list) and all(each in words for each in value)
            else None
        ),
    )


def matching(expected: str, pattern: str) -> Check[str]:
    """Text that matches all of a pattern."""
    return Check(
        expected, lambda value: value if isinstance(value, str) and re.fullmatch(pattern, value) else None
    )


def is_url(value: object, schemes: tuple[str, ...]) -> bool:
    """Whether it is a URL with one of the schemes, and a port that is a number where there is one host."""
    if not isinstance(value, str) or not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        return False
    try:
        parts = urlsplit(value)
        several = "," in value or ";" in value
        return bool(parts.netloc or parts.path.strip("/")) and (several or parts.port != 0)
    except ValueError:  # a port that is no number, a broken IPv6 address
        return False


def url(*schemes: str) -> Check[str]:
    """A URL with one of these schemes; refused ones are not repeated, because they may carry a password."""
    known = ", ".join(f"{scheme}://" for scheme in schemes)
    return Check(
        f"a URL that begins with {known}",
        lambda value: value if is_url(value, schemes) else None,
        private=True,
    )


def password(value: str) -> str:
    """The password inside a URL, or nothing."""
    try:
        return urlsplit(value).password or ""
    except ValueError:
        return ""


def is_private_way(value: str) -> bool:
    """Whether nobody on the way can read what is sent to this URL: it is encrypted, or does not leave the machine."""
    parts = urlsplit(value)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")


def pair(value: Any) -> tuple[float, float] | None:
    """Two positive numbers in order, at most a day."""
    if not isinstance(value, list) or len(value) != 2 or not all(map(is_number, value)):
        return None
    return (float(value[0]), float(value[1])) if 0 < value[0] <= value[1] <= DAY else None


def texts(value: Any) -> tuple[str, ...] | None:
    """One text or several, as a tuple."""
    listed = value if isinstance(value, list) else [value]
    return tuple(listed) if listed and all(isinstance(each, str) and each for each in listed) else None


DAY: Final = 86_400
HUGE: Final = 1e15  # no setting comes near; below it whole numbers are exact
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
TEXT: Final = Check("text", lambda value: value if isinstance(value, str) and value else None)
NAMES: Final = Check("a list of names", lambda value: texts(value) if isinstance(value, list) else None)
POSITIVE: Final = Check(
    "a positive number", lambda value: float(value) if is_number(value) and value > 0 else None
)
BACKOFF: Final = Check(f"[first, longest] with 0 < first <= longest <= {DAY}", pair)
SECRET: Final = Check(
    "env:NAME, file:PATH or the secret itself",
    lambda value: value if isinstance(value, str) and value else None,
    private=True,
)
SECRETS: Final = Check("env:NAME, file:PATH or the secret itself, or a list of them", texts, private=True)
API: Final = Check(
    "an https:// or http:// URL without user and password",
    lambda value: value if is_url(value, ("https", "http")) and "@" not in urlsplit(value).netloc else None,
    private=True,
)
