"""Reads a file once to find its encoding, its number of lines, and a digest of its content."""

import codecs
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import BinaryIO, Final, NamedTuple

from worker.contract.quoting import quote
from worker.errors import Fault, Invalid

BLOCK: Final = 2**20  # bytes in memory at once
BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16 does
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
HEAD: Final = 1000  # bytes that are looked at for UTF-16 without a mark
MOSTLY: Final = 0.9
ENCODINGS: Final = ("utf-8", "cp1252")  # German Excel writes the latter
WITH_NULS: Final = ("utf-16", "utf-32")
SUGGESTED: Final = ("utf-8", "cp1252", "mac_roman", "cp850", "cp437")
UNKNOWN: Final = (
    "expected text in UTF-8 or Windows-1252; save the file as CSV UTF-8, or name its encoding with --encoding"
)
# Letters of German and French in UTF-8, which by Windows-1252 are `Ã¤` and the like, and no text has.
UTF8_LETTERS: Final = re.compile(rb"\xc3[\x84\x96\x9c\x9f\xa0\xa4\xa7-\xab\xb4\xb6\xbb\xbc]")
MIXED: Final = (
    "has lines in UTF-8 and lines in Windows-1252, as two files behind one another; save each as CSV UTF-8"
)


class FileFormat(NamedTuple):
    """A digest of the content (16 characters), the encoding, and about how many lines there are."""

    digest: str
    encoding: str
    lines: int


def find_encoding(name: str) -> str:
    """Return what Python calls an encoding of texts, by any of its names; raises Invalid."""
    with suppress(LookupError, ValueError):  # no name at all, or `base64` and `idna`, which are of no texts
        "a".encode(name, "surrogateescape")
        return codecs.lookup(name).name
    raise Invalid(
        [Fault("", f"there is no encoding {quote(name)}; there are {', '.join(SUGGESTED)} and others")]
    )


def detect_format(
    file: BinaryIO, encoding: str = "", report: Callable[[int], None] = lambda _: None
) -> FileFormat:
    """Read the whole file; raises Invalid if it is no text in that encoding, by default in a known one.

    `report` is told how many bytes are read.
    """
    digest, feeds, returns, is_empty, has_nul, has_utf8 = sha256(), 0, 0, True, False, False
    decoders = dict[str, codecs.IncrementalDecoder]()
    for block in _read_blocks(file):
        if is_empty:
            decoders, is_empty = _make_decoders(block, encoding), False
        digest.update(block)
        feeds, returns = feeds + block.count(b"\n"), returns + block.count(b"\r")
        has_nul = has_nul or b"\0" in block
        has_utf8 = has_utf8 or bool(UTF8_LETTERS.search(block))
        decoders = {name: decoder for name, decoder in decoders.items() if _can_decode(decoder, block)}
        report(file.tell())
    encodings = [name for name, decoder in decoders.items() if _can_decode(decoder, b"", final=True)]
    if not (encodings or is_empty):
        raise Invalid([Fault("", f"expected text in {encoding}" if encoding else UNKNOWN)])
    if has_nul and not encodings[0].startswith(WITH_NULS):
        raise Invalid([Fault("", "expected text, got NUL bytes; save the file as CSV UTF-8")])
    if has_utf8 and encodings == ["cp1252"] and not encoding:
        raise Invalid([Fault("", MIXED)])
    return FileFormat(
        digest.hexdigest()[:16], encodings[0] if encodings else ENCODINGS[0], (feeds or returns) + 1
    )


def _read_blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def _make_decoders(head: bytes, given: str) -> dict[str, codecs.IncrementalDecoder]:
    """Return a decoder for each possible encoding; a byte order mark leaves only one."""
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), "")
    if given and marked and not given.startswith(family := marked.removesuffix("-sig")):
        raise Invalid([Fault("", f"begins with the mark of {family.upper()}, so it is not in {given}")])
    possible = [marked or given] if marked or given else _find_unmarked(head) or ENCODINGS
    return {name: codecs.getincrementaldecoder(name)() for name in possible}


def _find_unmarked(head: bytes) -> list[str]:
    """Return UTF-16 if it has no mark: every other byte of a Western text's beginning is zero."""
    zeros = [head[start:HEAD:2].count(0) * 2 / max(1, len(head[:HEAD])) for start in (0, 1)]
    if max(zeros) < MOSTLY or min(zeros) > 1 - MOSTLY:
        return []
    return ["utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"]


def _can_decode(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeError:
        return False
    return True
