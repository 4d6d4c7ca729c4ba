"""What a file is, from one pass over its bytes: its digest, which makes every line of it known again, its encoding, its lines."""

import codecs
from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO, Final, NamedTuple

from worker.errors import Fault, Invalid

BLOCK: Final = 2**20  # bytes in memory at once
BOMS: Final = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
GUESSES: Final = ("utf-8", "cp1252")  # German Excel writes the latter


class FileFormat(NamedTuple):
    """16 characters that stand for the content, its encoding, and about how many lines it has."""

    digest: str
    encoding: str
    lines: int


def detect_format(file: BinaryIO) -> FileFormat:
    """Read all of it; raises Invalid for bytes that are no text we know."""
    digest, lines, head = sha256(), 0, b""
    readers = dict[str, codecs.IncrementalDecoder]()
    for block in _blocks(file):
        if not head:
            head, readers = block, _readers(block)
        digest.update(block)
        lines += block.count(b"\n")
        for name in [name for name, reader in readers.items() if not _reads(reader, block)]:
            del readers[name]
    left = [name for name, reader in readers.items() if _reads(reader, b"", final=True)]
    if head and not left:
        raise Invalid([Fault("", "expected text in UTF-8 or Windows-1252; save the file as CSV UTF-8")])
    return FileFormat(digest.hexdigest()[:16], next(iter(left), GUESSES[0]), lines + 1)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def _readers(head: bytes) -> dict[str, codecs.IncrementalDecoder]:
    """A decoder for each encoding it may be in; a byte order mark leaves no doubt."""
    marked = [name for mark, name in BOMS.items() if head.startswith(mark)]
    return {name: codecs.getincrementaldecoder(name)() for name in marked or GUESSES}


def _reads(reader: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        reader.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True
