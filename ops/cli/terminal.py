"""The border between the program and a terminal: nothing is printed that a terminal would obey, or refuse.

Reasons, ids, file names and messages of the API come from others. Our own colours pass.
"""

import codecs
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from worker.contract.quoting import make_printable

COLOURS: Final = re.compile(r"(\x1b\[(?:0|1|2|3[1-7])m)")  # as `click.style` writes them


class SafeWriter(io.TextIOWrapper):
    """A stream of text that escapes what a terminal would obey, and what its encoding lacks.

    `original` is the stream below, for what draws on the terminal itself.
    """

    def __init__(self, original: TextIO) -> None:
        self.original = original
        encoding = getattr(original, "encoding", None) or "utf-8"
        if codecs.lookup(encoding).name == "ascii":  # click would write past it, in UTF-8
            encoding = "utf-8"
        super().__init__(original.buffer, encoding, "backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        """Write the text."""
        pieces = COLOURS.split(text)
        pieces[::2] = map(make_printable, pieces[::2])
        super().write("".join(pieces))
        return len(text)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Let everything that is printed in the block cross the border."""
    before = sys.stdout, sys.stderr
    wrapped = [SafeWriter(stream) if hasattr(stream, "buffer") else stream for stream in before]
    for stream in before:
        stream.flush()
    sys.stdout, sys.stderr = wrapped
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in wrapped:
            if isinstance(stream, SafeWriter):
                stream.flush()
                stream.detach()


def drawing_stream(stream: TextIO) -> TextIO:
    """Return what to draw on: the terminal itself, where texts must be made printable one by one."""
    return stream.original if isinstance(stream, SafeWriter) else stream
