"""Secrets by reference, and the memory of what must never be printed.

Every value a `Secret` ever revealed is known to `redact`, so a rotated one stays out of logs too.
"""

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn

from worker.errors import Fault, InvalidSettings

STARS: Final = "***"
SHORTEST: Final = 6  # shorter values would blank ordinary words
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

_hidden: tuple[str, ...] = ()


def hide(value: str) -> None:
    """From now on `redact` replaces this value."""
    global _hidden  # replaced, never changed in place, so that other threads may read on
    if len(value) >= SHORTEST and value not in _hidden:
        _hidden = tuple(sorted({*_hidden, value}, key=len, reverse=True))


def redact(text: str) -> str:
    """The text with stars in place of every hidden value."""
    for value in _hidden:
        text = text.replace(value, STARS)
    return text


def fingerprint(token: str, secret: str, salt: str) -> str:
    """A short salted hash that tells whether credentials changed, and nothing else about them."""
    return hmac.new(salt.encode(), f"{token}\0{secret}".encode(), hashlib.sha256).hexdigest()[:16]


class Secret:
    """A secret named by `env:NAME`, `file:PATH` or itself; only `reveal` shows it, and it cannot be pickled or copied.

    A file is read again when it was replaced or changed; while it is missing or empty, its last value holds.
    """

    __slots__ = ("_environ", "_folder", "_reference", "_seen")

    def __init__(
        self, reference: str, *, environ: Mapping[str, str] = NOTHING, folder: Path = Path()
    ) -> None:
        self._reference, self._environ, self._folder = reference, environ, folder
        self._seen: tuple[object, str] = (None, "")

    @property
    def literal(self) -> bool:
        """Whether the secret itself is written where a reference should be."""
        return not self._reference.startswith(("env:", "file:"))

    def reveal(self) -> str:
        """The value as it is now; raises InvalidSettings if there is none."""
        source, _, name = self._reference.partition(":")
        value = (
            self._reference
            if self.literal
            else self._environ.get(name, "").strip()
            if source == "env"
            else self._read(name)
        )
        if not value:
            raise InvalidSettings([Fault(str(self), "is empty or not set")])
        if not value.isprintable():  # several lines, or bytes of another encoding: it could not even be sent
            raise InvalidSettings(
                [
                    Fault(
                        str(self), "holds characters that cannot be printed, so it is no secret; copy it anew"
                    )
                ]
            )
        hide(value)
        return value

    def _read(self, name: str) -> str:
        path = self._folder / name
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp != self._seen[0]:
                self._seen = (stamp, path.read_text("utf-8").strip() or self._seen[1])
        except (OSError, ValueError) as error:  # a path with a null byte, a file that is not UTF-8
            if not self._seen[1]:
                why = getattr(error, "strerror", None) or "it is not text"
                raise InvalidSettings([Fault(str(self), f"cannot be read: {why}")]) from None
        return self._seen[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._reference, self._folder) == (
            other._reference,
            other._folder,
        )

    def __hash__(self) -> int:
        return hash((self._reference, self._folder))

    def __str__(self) -> str:
        return STARS if self.literal else self._reference

    def __repr__(self) -> str:
        return f"Secret({self})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret does not leave the process: pass its account's name instead")
