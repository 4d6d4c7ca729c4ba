"""Secrets by reference, and the memory of what must never be printed.

Every value a `Secret` ever revealed is known to `redact`, so a rotated one stays out of logs too.
"""

import hashlib
import hmac
import os
import threading
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
    """Make `redact` replace this value from now on."""
    global _hidden  # replaced, never changed in place, so that other threads may read on
    if len(value) >= SHORTEST and value not in _hidden:
        _hidden = tuple(sorted({*_hidden, value}, key=len, reverse=True))


def redact(text: str) -> str:
    """Return the text with stars in place of every hidden value."""
    for value in _hidden:
        text = text.replace(value, STARS)
    return text


def fingerprint(token: str, secret: str, salt: str) -> str:
    """Return a short salted hash that changes with the credentials and shows nothing else about them."""
    return hmac.new(salt.encode(), f"{token}\0{secret}".encode(), hashlib.sha256).hexdigest()[:16]


class Secret:
    """A secret named by `env:NAME`, `file:PATH` or itself; it cannot be pickled or copied.

    Only `reveal` shows it. A file is read again when it was replaced or changed; while it is missing or
    empty, its last value holds.
    """

    __slots__ = ("_environ", "_folder", "_last", "_reference")

    def __init__(
        self, reference: str, *, environ: Mapping[str, str] = NOTHING, folder: Path = Path()
    ) -> None:
        self._reference, self._environ, self._folder = reference, environ, folder
        self._last: tuple[object, str] = (None, "")  # the file's state when it was read, and what it held

    @property
    def file(self) -> Path | None:
        """The file that the value is read from, if it is one."""
        source, _, name = self._reference.partition(":")
        return self._folder / name if source == "file" else None

    @property
    def written_at(self) -> float:
        """When its file was written, in seconds since 1970; 0 if there is none."""
        try:
            return self.file.stat().st_mtime if self.file else 0.0
        except (OSError, ValueError):
            return 0.0

    def replace(self, value: str, *, at: float) -> bool:
        """Write a value that came at this time (seconds) into the file, unless a later one is there.

        Whoever reads it sees the old or the new value, and nobody else sees either. Returns whether it is
        another one; raises OSError.
        """
        if self.file is None:
            raise ValueError(f"{self} is no file")
        if at < int(self.written_at):
            return False
        if self.written_at and self.file.read_bytes().strip() == value.encode():
            os.utime(self.file, (at, at))
            return False
        fresh = self.file.with_name(f".{self.file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            fresh.unlink(missing_ok=True)
            opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                file.write(f"{value}\n")
            os.utime(fresh, (at, at))
            fresh.replace(self.file)
        finally:
            fresh.unlink(missing_ok=True)
        return True

    @property
    def literal(self) -> bool:
        """Whether the secret itself is written where a reference should be."""
        return not self._reference.startswith(("env:", "file:"))

    def reveal(self) -> str:
        """Return the value as it is now; raises InvalidSettings if there is none."""
        value = self._current()
        if not value:
            raise self._fault("is empty or not set")
        if not value.isprintable():  # several lines, or bytes of another encoding: it could not even be sent
            raise self._fault("holds characters that cannot be printed, so it is no secret; copy it again")
        hide(value)
        return value

    def _current(self) -> str:
        if self.literal:
            return self._reference
        source, _, name = self._reference.partition(":")
        return self._environ.get(name, "").strip() if source == "env" else self._read(self._folder / name)

    def _read(self, path: Path) -> str:
        problem = ""
        try:
            status = path.stat()
            # The last is no one's to choose: a file may be written anew with the time that its content has.
            state = (status.st_mtime_ns, status.st_ino, status.st_size, status.st_ctime_ns)
            if state != self._last[0]:
                self._last = (state, path.read_text("utf-8-sig").strip() or self._last[1])
        except OSError as error:
            problem = error.strerror or "it is no file"
        except ValueError:  # a path with a null byte, a file that is not UTF-8
            problem = "it is not text"
        if problem and not self._last[1]:
            raise self._fault(f"cannot be read: {problem}")
        return self._last[1]

    def _fault(self, problem: str) -> InvalidSettings:
        return InvalidSettings([Fault(str(self), problem)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, Path]:
        return self._reference, self._folder

    def __str__(self) -> str:
        return STARS if self.literal else self._reference

    def __repr__(self) -> str:
        return f"Secret({self})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret does not leave the process: pass its account's name instead")
