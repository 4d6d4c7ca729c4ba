"""What a request says, checked: whose key it carries, its body within bounds, and its wishes."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec
from starlette.requests import Request

from producers.errors import Forbidden, TooLarge, TooSlow, Unauthorized, Unsupported
from worker.config import Key, hide
from worker.contract import Change, correlation_of
from worker.contract.message import PRINTABLE
from worker.errors import Fault, InvalidChange

JSON: Final = ("application/json", "application/x-ndjson")
LONGEST_KEY: Final = 180  # characters of an Idempotency-Key: `:` and a position have to fit behind it
LONGEST_WAIT: Final = 30  # seconds a client may ask to be kept waiting
WAIT: Final = re.compile(r'wait[ \t]*=[ \t]*"?([0-9]{1,9})"?[ \t]*(;.*)?', re.IGNORECASE)


def key_of(keys: Iterable[Key], header: str) -> Key:
    """The key that an Authorization header carries; raises Unauthorized. Takes as long for a wrong one as for a right one."""
    scheme, _, token = header.partition(" ")
    digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.sha256, digest)]
    if scheme.lower() != "bearer" or not found:
        raise Unauthorized(
            "send a key of this server as `Authorization: Bearer KEY`"
            if not header
            else "this key is not known here"
        )
    hide(token.strip())  # should it be quoted from a body, no log and no answer repeats it
    return found[0]


def permit(key: Key, right: str, account: str = "") -> None:
    """Raises Forbidden unless the key has the right, and for this account if one is named."""
    if right not in key.can:
        raise Forbidden(f'key "{key.name}" has no right to {right}')
    if account and account not in key.accounts:
        raise Forbidden(f'key "{key.name}" is not for account "{account}"')


async def body(request: Request, limit: int, *, seconds: float, kinds: Collection[str] = ()) -> bytes:
    """The body, of one of these content types (any if none is named); raises TooLarge and TooSlow as soon as it is, Unsupported
    before reading."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kinds and kind not in kinds:
        raise Unsupported(f"send {' or '.join(kinds)}, not {kind or 'a body without Content-Type'}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unsupported("send the body without Content-Encoding")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise TooLarge(limit)
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, limit)
    except TimeoutError:
        raise TooSlow(f"the body did not come within {seconds:g} seconds; send it in parts") from None


async def _read(request: Request, limit: int) -> bytes:
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > limit:
            raise TooLarge(limit)
    return bytes(read)


def patience(request: Request) -> int:
    """The seconds that the client would rather wait (`Prefer: wait=…`, RFC 7240), within bounds; 0 without such a wish."""
    intents = (intent.strip() for header in request.headers.getlist("prefer") for intent in header.split(","))
    waits = (match for intent in intents if (match := WAIT.fullmatch(intent)))
    return next((min(int(match[1]), LONGEST_WAIT) for match in waits), 0)


def identified(changes: Sequence[Change], key: str | None) -> list[Change]:
    """The changes, those without an event id named by the Idempotency-Key and their position."""
    if key is None:
        return list(changes)
    if len(key) > LONGEST_KEY or not re.fullmatch(PRINTABLE, key):
        raise InvalidChange([Fault("Idempotency-Key", f"expected 1 to {LONGEST_KEY} printable characters")])
    return [
        change if change.event_id else msgspec.structs.replace(change, event_id=f"{key}:{position}")
        for position, change in enumerate(changes)
    ]


def correlation(request: Request, name: Callable[[], str]) -> str:
    """What the client calls its request, by X-Correlation-Id or X-Request-Id; else, or where that is not fit to be kept, a fresh name."""
    return (
        correlation_of(request.headers.get("x-correlation-id"), request.headers.get("x-request-id")) or name()
    )


def correlated(changes: Sequence[Change], request: Request) -> list[Change]:
    """The changes, each with what its request is called."""
    return [msgspec.structs.replace(change, correlation=request.state.correlation) for change in changes]
