"""Reading the body of a request within its bounds, also one that comes compressed."""

import asyncio
import codecs
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Final, Protocol, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from producers.errors import TooLarge, TooSlow, Unsupported
from worker.contract.values import read_json
from worker.errors import Fault, Invalid, Unavailable

BODY_SECONDS = 60.0  # that a body may take to come
MAX_FORM: Final = 2**20  # bytes
SMALL_BODY: Final = 2**16  # bytes of a body that is not counted; messages have a few thousand
MAX_HELD: Final = 2**28  # bytes of larger bodies that are held at once
LENGTH_DIGITS: Final = 20  # of a length; more than the parser's 64 bits have are zeros before it
EMPTY_ARRAY: Final = "Expected `object`, got `array`"
PHP_HINT: Final = "; PHP writes an empty array as [], send (object) [] for an object"

ZLIB: Final = 15  # the largest window of zlib's own format
GZIP: Final = 16 + ZLIB
RAW: Final = -ZLIB

Form = TypeVar("Form", bound=msgspec.Struct)


class HeldBodies:
    """The large bodies that are held at once, while nobody knows yet who sends them."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def count(self) -> Iterator[Callable[[int], None]]:
        """Yield what is told how long a body has become; raises Unavailable if all are too long together."""
        own = 0

        def grow(size: int) -> None:
            nonlocal own
            more = max(0, size - SMALL_BODY) - own
            if more > 0 and self._held + more > MAX_HELD:
                raise Unavailable("too many large messages come at the same time", retry_after=1.0)
            own, self._held = own + more, self._held + more

        try:
            yield grow
        finally:
            self._held -= own


async def read_body(request: Request, limit: int, *, content_types: Collection[str] = ()) -> bytes:
    """Return the body, if it is of one of these content types (of any, if none is given), decompressed.

    A byte order mark, which .NET and PowerShell write, is left out.
    Raises Unsupported before anything is read, TooLarge as soon as the limit is passed by what came or by
    what it becomes, TooSlow after BODY_SECONDS.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_types and content_type not in content_types:
        got = content_type or "a body without Content-Type"
        raise Unsupported(f"send {' or '.join(content_types)}, not {got}")
    body, coding = await read_sent_body(request, limit)
    plain = await run_in_threadpool(decode, body, coding, limit) if coding else body
    return plain.removeprefix(codecs.BOM_UTF8)


async def read_form(request: Request, form_type: type[Form], *, required: bool) -> Form:
    """Return the JSON object of the body as a value of this type; one that is not required may be empty.

    Raises Invalid with the first fault.
    """
    content_types = ("application/json",) if required else ()
    raw = await read_body(request, MAX_FORM, content_types=content_types)
    try:
        form = msgspec.json.decode(raw if raw or required else b"{}", type=form_type)
        read_json(raw or b"{}")  # refuses names that stand twice
        return form
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        text, _, path = str(error).partition(" - at `$")
        hint = PHP_HINT if text == EMPTY_ARRAY else ""
        raise Invalid([Fault(path.strip("`."), text + hint)]) from None


async def read_sent_body(
    request: Request, limit: int, grow: Callable[[int], None] = lambda _: None
) -> tuple[bytes, str]:
    """Return the body as it was sent, and its content coding; empty if there is none.

    Raises Unsupported before anything is read, TooLarge as soon as the limit is passed, TooSlow after
    BODY_SECONDS, and what `grow` does, which is told how long the body is by now.
    """
    coding = read_coding(",".join(request.headers.getlist("content-encoding")))
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[-LENGTH_DIGITS:]) > limit:
        raise TooLarge(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_chunks(request, limit, grow), coding
    except TimeoutError:
        raise TooSlow(f"the body did not come within {BODY_SECONDS:g} seconds; send it in parts") from None


async def _read_chunks(request: Request, limit: int, grow: Callable[[int], None]) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(limit)
        grow(len(body))
    return bytes(body)


# --- content codings


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


# What says nothing of a compression, although it stands there: clients name their charset so, and mails this.
NO_CODING: Final = re.compile(r"(identity|none|binary|[78]bit|utf-?(8|16)|iso-8859-[0-9]{1,2}|(us-)?ascii)?")


def read_coding(header: str) -> str:
    """Return the coding that a Content-Encoding header names; empty for none. Raises Unsupported."""
    codings = [word.strip().lower() for word in header.split(",")]
    applied = [word for word in codings if not NO_CODING.fullmatch(word)]
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
