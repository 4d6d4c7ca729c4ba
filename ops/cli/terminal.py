"""The border between the program and a terminal: nothing is printed that a terminal would obey, or refuse.

Reasons, ids, file names and messages of the API come from others. Our own colours pass.
"""

import codecs
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from worker.contract.quoting import make_printable
from worker.errors import RelationsError

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
        try:
            super().write("".join(pieces))
        except BrokenPipeError:  # its reader has ended, which is no fault
            raise
        except OSError as error:
            self._drop_the_rest()
            raise RelationsError(f"what was to be printed cannot be written: {error.strerror}") from None
        return len(text)

    def _drop_the_rest(self) -> None:
        """Let nothing that is still kept here be written again, by whoever ends the program."""
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), self.fileno())


@contextmanager
def safe_streams() -> Iterator[None]:
    """Let everything that is printed in the block cross the border; to a closed stream goes nothing.

    From a closed input comes nothing.
    """
    before, given = (sys.stdout, sys.stderr), sys.stdin
    with Path(os.devnull).open() as nothing, Path(os.devnull).open("w") as nowhere:
        sys.stdin = given or nothing
        originals = [stream or nowhere for stream in before]  # there is none that was closed before the start
        wrapped = [SafeWriter(stream) if hasattr(stream, "buffer") else stream for stream in originals]
        writers = [stream for stream in wrapped if isinstance(stream, SafeWriter)]
        for stream in originals:
            stream.flush()
        sys.stdout, sys.stderr = wrapped
        try:
            yield
        finally:
            (sys.stdout, sys.stderr), sys.stdin = before, given
            for writer in writers:
                writer.flush()
                writer.detach()


def drawing_stream(stream: TextIO) -> TextIO:
    """Return what to draw on: the terminal itself, where texts must be made printable one by one."""
    return stream.original if isinstance(stream, SafeWriter) else stream
