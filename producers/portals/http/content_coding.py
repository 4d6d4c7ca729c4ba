"""Bodies that come compressed: which content codings are read, and a body decoded within its bound."""

import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, Protocol

from producers.errors import TooLarge, Unsupported
from worker.errors import Fault, Invalid

ZLIB: Final = 15  # the largest window of zlib's own format
GZIP: Final = 16 + ZLIB
RAW: Final = -ZLIB


class Decompressor(Protocol):
    """One compressed stream; the classes of zlib and of zstd have this in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream is at its end."""

    @property
    def unused_data(self) -> bytes:
        """What stands behind its end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most so many bytes of what the data become."""


def _deflate(body: bytes) -> Decompressor:
    """Return what reads deflate: in zlib's format as RFC 9110 has it, or raw as some clients send it."""
    is_zlib = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and not (body[0] * 256 + body[1]) % 31
    return zlib.decompressobj(ZLIB if is_zlib else RAW)


def _find_zstd() -> Any:
    """Return the module that reads zstd: of Python 3.14, or its backport where that is installed."""
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    return None


ZSTD: Final = _find_zstd()
ERRORS: Final = (zlib.error, ValueError, EOFError, *([ZSTD.ZstdError] if ZSTD else []))
DECOMPRESSORS: Final[Mapping[str, Callable[[bytes], Decompressor]]] = {
    "gzip": lambda _: zlib.decompressobj(GZIP),
    "x-gzip": lambda _: zlib.decompressobj(GZIP),
    "deflate": _deflate,
    **({"zstd": lambda _: ZSTD.ZstdDecompressor()} if ZSTD else {}),
}
ACCEPTED: Final = ", ".join(name for name in DECOMPRESSORS if not name.startswith("x-"))


def read_coding(header: str) -> str:
    """Return the coding that a Content-Encoding header names; empty for none. Raises Unsupported."""
    codings = [word.strip().lower() for word in header.split(",")]
    applied = [word for word in codings if word not in ("", "identity")]
    if not applied:
        return ""
    if len(applied) > 1 or applied[0] not in DECOMPRESSORS:
        got = ", ".join(applied)[:60]
        raise Unsupported(f"send the body plain or as {ACCEPTED}, not as {got}", accepted=ACCEPTED)
    return applied[0]


def decode(body: bytes, coding: str, limit: int) -> bytes:
    """Return what the body becomes; raise TooLarge as soon as that is beyond the limit.

    Raises Invalid if it is not whole. Several streams, one behind the other, are one body.
    """
    decoded = bytearray()
    try:
        while body:
            stream = DECOMPRESSORS[coding](body)
            decoded += stream.decompress(body, limit + 1 - len(decoded))
            if len(decoded) > limit:
                raise TooLarge(limit)
            if not stream.eof:
                raise ValueError("it ends before its end")
            body = stream.unused_data
    except ERRORS as error:
        raise Invalid([Fault("", f"the body cannot be read as {coding}: {error}")]) from None
    return bytes(decoded)
