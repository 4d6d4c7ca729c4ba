"""Secrets by reference, and the memory of what must never be printed.

Every value a `Secret` ever revealed is known to `redact`, so a rotated one stays out of logs too.
"""

import hashlib
import hmac
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn

from worker.config.text_file import read_text_file
from worker.errors import Fault, Invalid, InvalidSettings

STARS: Final = "***"
HOLDS_SECRET: Final = "holds a secret of this server, kept nowhere; leave it out, and change it"  # noqa: S105
SHORTEST: Final = 6  # shorter values would blank ordinary words
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

SHORT_SECRET: Final = 16  # shorter values can be found by trying
LONG_WORD: Final = re.compile(rf"[\w-]{{{SHORT_SECRET},}}", re.ASCII)  # as `relations keys new` makes keys
MAX_SECRET: Final = 1024  # bytes of a secret that may stand where a message is cut
SHOWN: Final = 32  # characters of a longer value that are hidden by themselves: texts are cut

FEW: Final = 100  # values that are looked for one by one


class HiddenValues:
    """Values that no text may show, known by how they begin.

    Looking for thousands takes hardly longer than for a hundred. Threads may add and look at the same time.
    """

    def __init__(self) -> None:
        self._values: list[str] = []
        self._by_start: dict[str, list[str]] = {}

    def add(self, value: str) -> None:
        """Add a value of at least `SHORTEST` characters."""
        same_start = self._by_start.setdefault(value[:SHORTEST], [])
        if value not in same_start:
            same_start.append(value)
            self._values.append(value)

    def find(self, text: str, *, shortest: int = SHORTEST) -> list[str]:
        """Return those of at least so many characters that stand in the text, the longest first."""
        if len(self._values) <= FEW:
            found = {value for value in self._values if value in text}
        else:
            starts = {text[at : at + SHORTEST] for at in range(len(text) - SHORTEST + 1)}
            known = [self._by_start[start] for start in starts if start in self._by_start]
            found = {value for values in known for value in values if value in text}
        if not found:
            return []
        return sorted((value for value in found if len(value) >= shortest), key=len, reverse=True)


_hidden: Final = HiddenValues()
_key_hashes: frozenset[str] = frozenset()


def hide(value: str) -> None:
    """Make `redact` replace this value from now on, also where a text was cut within it."""
    if len(value) >= SHORTEST:
        _hidden.add(value)
        _hidden.add(value[:SHOWN])


def hide_key(sha256: str) -> None:
    """Know a key of the HTTP interface by its hash."""
    global _key_hashes
    if sha256 not in _key_hashes:
        _key_hashes = _key_hashes | {sha256}


def redact(text: str) -> str:
    """Return the text with stars in place of every hidden value: for logs, and what operators read."""
    for value in _hidden.find(text):
        text = text.replace(value, STARS)
    return text


def redact_bytes(content: bytes, most: int) -> bytes:
    """Return the first `most` bytes of what somebody sent, with stars in place of hidden values and keys.

    Only what may be kept is looked at: it must not matter how large a message is.
    """
    text = content[: most + MAX_SECRET].decode(errors="surrogateescape")
    return _redact_keys(redact(text)).encode(errors="surrogateescape")[:most]


def redact_answer(text: str) -> str:
    """Return the text with stars in place of hidden values and keys, for those who may have chosen it.

    Only values that nobody finds by trying: from the stars of a shorter one, a sender of many guesses would
    learn which of them is right.
    """
    for value in _hidden.find(text, shortest=SHORT_SECRET):
        text = text.replace(value, STARS)
    return _redact_keys(text)


def _redact_keys(text: str) -> str:
    """Return the text with stars in place of every word that is a key."""
    if not _key_hashes:
        return text
    return LONG_WORD.sub(lambda word: STARS if _is_key(word[0]) else word[0], text)


def _is_key(text: str) -> bool:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() in _key_hashes


def holds_secret(text: str) -> bool:
    """Return whether a hidden value that nobody can guess stands in the text, or a key as a word of it."""
    if len(text) < SHORT_SECRET:
        return False
    if _hidden.find(text, shortest=SHORT_SECRET):
        return True
    return bool(_key_hashes) and any(map(_is_key, {text, *LONG_WORD.findall(text)}))


def refuse_secrets(**texts: str) -> None:
    """Raise Invalid if one of these texts of a person or program holds a secret; it is not repeated."""
    if faults := [Fault(name, HOLDS_SECRET) for name, text in texts.items() if holds_secret(text)]:
        raise Invalid(faults)


def fingerprint(token: str, secret: str, salt: str) -> str:
    """Return a short salted hash that changes with the credentials and shows nothing else about them."""
    return hmac.new(salt.encode(), f"{token}\0{secret}".encode(), hashlib.sha256).hexdigest()[:16]


class NamedText:
    """A text named by `env:NAME`, `file:PATH` or itself; it cannot be pickled or copied.

    A file is read again when it was replaced or changed; while it is missing or empty, its last value holds.
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
    def literal(self) -> bool:
        """Whether the value itself is written where a reference should be."""
        return not self._reference.startswith(("env:", "file:"))

    def read(self) -> str:
        """Return the value as it is now; raises InvalidSettings if there is none."""
        if value := self._current():
            return value
        raise self._fault("is empty or not set")

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
                self._last = (state, read_text_file(path).strip() or self._last[1])
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
        return isinstance(other, type(self)) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, Path]:
        return self._reference, self._folder

    def __str__(self) -> str:
        return STARS if self.literal else self._reference

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret does not leave the process: pass its account's name instead")


class Secret(NamedText):
    """A secret, which only `reveal` shows, and hides everywhere else from then on."""

    __slots__ = ()

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
        with self._written_beside(value) as fresh:
            os.utime(fresh, (at, at))
            fresh.replace(self.file)
        return True

    def create(self, value: str) -> bool:
        """Write a value into the file, unless there is one; return whether there was none. Raises OSError."""
        if self.file is None:
            raise ValueError(f"{self} is no file")
        with self._written_beside(value) as fresh, suppress(FileExistsError):
            try:
                os.link(fresh, self.file)  # at once whole, and never in place of another
            except FileExistsError:
                raise
            except OSError:  # this file system has no hard links, as FAT and many shares
                _write_new(self.file, value)
            return True
        return False

    @contextmanager
    def _written_beside(self, value: str) -> Iterator[Path]:
        """Yield a file beside that of the secret, with this value, closed to others, until the end."""
        path = self._folder / self._reference.partition(":")[2]
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            fresh.unlink(missing_ok=True)
            _write_new(fresh, value)
            yield fresh
        finally:
            fresh.unlink(missing_ok=True)

    def reveal(self) -> str:
        """Return the value as it is now; raises InvalidSettings if there is none."""
        value = self.read()
        if not value.isprintable():  # several lines, or bytes of another encoding: it could not even be sent
            raise self._fault("holds characters that cannot be printed, so it is no secret; copy it again")
        hide(value)
        return value


def _write_new(file: Path, value: str) -> None:
    """Write a value into a file that only its owner reads; raises FileExistsError if there is one."""
    opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(opened, "w", encoding="utf-8") as text:
            text.write(f"{value}\n")
    except OSError:  # a full disk: an empty file would keep the secret out for good
        file.unlink(missing_ok=True)
        raise
