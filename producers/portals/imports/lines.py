"""A text as lines with their numbers, and the row that is made of one or more of them."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TextIO

from worker.contract import MAX_MESSAGE
from worker.errors import Fault

MAX_SHOWN_TEXT: Final = 1000  # characters of a line that is too long
PIECE: Final = 2**16  # characters that are read at once where lines do not count
LINE_ENDS: Final = ("\n", "\r")


RowKey = tuple[int, int]
"""The line and the part of a row."""


class InputRow(NamedTuple):
    """A row of a file: the number of its first line, from 1, its text, and its message if it can be read.

    `faults` say what is wrong with it; `lines` is how many lines are rejected with it. `part` tells the rows
    of one line apart.
    """

    line: int
    text: str
    message: Mapping[str, Any] | None
    faults: Sequence[Fault] = ()
    lines: int = 1
    part: int = 0

    @property
    def key(self) -> RowKey:
        """What tells the row from all others of its file."""
        return self.line, self.part

    @classmethod
    def too_long(cls, line: int, text: str) -> "InputRow":
        """Return the row of a text that is longer than a message may be."""
        expected = f"expected at most {MAX_MESSAGE} characters in a line"
        return cls(line, text[:MAX_SHOWN_TEXT], None, [Fault("", expected)])


class LineReader(Iterator[str]):
    """The lines of a text, cut at the longest allowed; can look ahead, and collects what was read."""

    def __init__(self, text: TextIO) -> None:
        self._text, self._ahead, self._taken = text, deque[str](), list[str]()
        self._is_cut = False
        self.number = 0

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else self._read_line()
        if not line:
            raise StopIteration
        self.number += 1
        self._taken.append(line)
        return line

    def peek(self, count: int) -> list[str]:
        """Return the next lines without reading on."""
        while len(self._ahead) < count and (line := self._read_line()):
            self._ahead.append(line)
        return list(islice(self._ahead, count))

    def skip_blank(self) -> str:
        """Skip blank lines and return the next one without reading on; empty at the end."""
        while (first := "".join(self.peek(1))) and not first.strip():
            next(self)
        self.take_text()
        return first

    def take_text(self) -> str:
        """Return what was read since the last call."""
        text = "".join(self._taken).rstrip("\r\n")
        self._taken.clear()
        return text

    def read_pieces(self) -> Iterator[str]:
        """Yield all that is left, in pieces that end with their line at the latest; `number` is its line."""
        while piece := self._ahead.popleft() if self._ahead else self._text.readline(PIECE):
            yield piece
            self.number += piece.endswith(LINE_ENDS)

    def _read_line(self) -> str:
        while self._is_cut:  # the end of a line that is too long is dropped
            self._is_cut = _is_cut(self._text.readline(MAX_MESSAGE))
        line = self._text.readline(MAX_MESSAGE + 1)
        self._is_cut = _is_cut(line)
        return line


def _is_cut(text: str) -> bool:
    return len(text) >= MAX_MESSAGE and not text.endswith(LINE_ENDS)
