"""Reading a request: its key, its body within limits, and the headers that concern its changes."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from producers.errors import Forbidden, TooLarge, TooSlow, Unauthorized, Unsupported
from producers.portals.http.content_coding import decode, read_coding
from worker.config import Key, hide
from worker.contract import Change
from worker.contract.message import PRINTABLE
from worker.contract.values import read_json
from worker.errors import Fault, Invalid, InvalidChange

MAX_FORM: Final = 2**20  # bytes
MAX_IDEMPOTENCY_KEY: Final = 180  # characters: `:` and a position have to fit behind it
MAX_WAIT: Final = 30  # seconds a client may ask to be kept waiting
WAIT: Final = re.compile(r'wait[ \t]*=[ \t]*"?([0-9]{1,9})"?[ \t]*(;.*)?', re.IGNORECASE)
EMPTY_ARRAY: Final = "Expected `object`, got `array`"
PHP_HINT: Final = "; PHP writes an empty array as [], send (object) [] for an object"

Form = TypeVar("Form", bound=msgspec.Struct)


def authenticate(keys: Iterable[Key], header: str) -> Key:
    """Return the key that an Authorization header carries; raise Unauthorized.

    A wrong key takes as long as a right one.
    """
    scheme, _, token = header.partition(" ")
    digest = hashlib.sha256(token.strip().encode("latin-1", "replace")).hexdigest()
    found = [key for key in keys if hmac.compare_digest(key.sha256, digest)]
    if not header:
        raise Unauthorized("send a key of this server as `Authorization: Bearer KEY`", reason="no_key")
    if scheme.lower() != "bearer" or not found:
        raise Unauthorized("this key is not known here", reason="unknown_key")
    hide(token.strip())  # should a body quote it, no log and no response repeats it
    return found[0]


def check_access(key: Key, right: str, account: str = "") -> None:
    """Raise Forbidden unless the key has the right, and for this account if one is given."""
    if right not in key.can:
        raise Forbidden(f'key "{key.name}" has no right to {right}')
    if account and account not in key.accounts:
        raise Forbidden(f'key "{key.name}" is not for account "{account}"', reason="other_account")


def job_account(job_id: str) -> str:
    """Return the account that the id of a job or a replay begins with."""
    return job_id.rpartition("-")[0] or job_id


def sent_url(request: Request) -> str:
    """Return the URL of a request byte by byte, as characters of Latin-1, not as the server understood it."""
    scope = request.scope
    host = request.headers.get("host") or "{}:{}".format(*scope["server"])
    target, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return f"{scope['scheme']}://{host}{target}{f'?{query}' if query else ''}"


def joined_headers(request: Request) -> Mapping[str, str]:
    """Return the headers by name in lower case, with the values of one that came several times joined."""
    names = dict.fromkeys(request.headers.keys())
    return {name: ", ".join(request.headers.getlist(name)) for name in names}


async def read_body(
    request: Request, limit: int, *, seconds: float, content_types: Collection[str] = ()
) -> bytes:
    """Return the body, if it is of one of these content types (of any, if none is given), decompressed.

    Raises Unsupported before anything is read, TooLarge as soon as the limit is passed by what came or by
    what it becomes, TooSlow after these seconds.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_types and content_type not in content_types:
        got = content_type or "a body without Content-Type"
        raise Unsupported(f"send {' or '.join(content_types)}, not {got}")
    body, coding = await read_sent_body(request, limit, seconds=seconds)
    return await run_in_threadpool(decode, body, coding, limit) if coding else body


async def read_sent_body(request: Request, limit: int, *, seconds: float) -> tuple[bytes, str]:
    """Return the body as it was sent, and its content coding; empty if there is none.

    Raises Unsupported before anything is read, TooLarge as soon as the limit is passed, TooSlow after these
    seconds.
    """
    coding = read_coding(",".join(request.headers.getlist("content-encoding")))
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise TooLarge(limit)
    try:
        async with asyncio.timeout(seconds):
            return await _read_chunks(request, limit), coding
    except TimeoutError:
        raise TooSlow(f"the body did not come within {seconds:g} seconds; send it in parts") from None


async def _read_chunks(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(limit)
    return bytes(body)


async def read_form(request: Request, form_type: type[Form], *, seconds: float, required: bool) -> Form:
    """Return the JSON object of the body as a value of this type; one that is not required may be empty.

    Raises Invalid with the first fault.
    """
    content_types = ("application/json",) if required else ()
    raw = await read_body(request, MAX_FORM, seconds=seconds, content_types=content_types)
    try:
        form = msgspec.json.decode(raw if raw or required else b"{}", type=form_type)
        read_json(raw or b"{}")  # refuses names that stand twice
        return form
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        text, _, path = str(error).partition(" - at `$")
        hint = PHP_HINT if text == EMPTY_ARRAY else ""
        raise Invalid([Fault(path.strip("`."), text + hint)]) from None


def preferred_wait(request: Request) -> int:
    """Return the seconds that the client prefers to wait (`Prefer: wait=…`, RFC 7240), `MAX_WAIT` at most."""
    preferences = (text.strip() for header in request.headers.getlist("prefer") for text in header.split(","))
    waits = (match for text in preferences if (match := WAIT.fullmatch(text)))
    return next((min(int(match[1]), MAX_WAIT) for match in waits), 0)


def idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key; raise InvalidChange for one that cannot be one, or for several."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1:
        raise InvalidChange([Fault("Idempotency-Key", "is given twice; which one counts?")])
    if len(keys[0]) > MAX_IDEMPOTENCY_KEY or not re.fullmatch(PRINTABLE, keys[0]):
        expected = f"expected 1 to {MAX_IDEMPOTENCY_KEY} printable characters"
        raise InvalidChange([Fault("Idempotency-Key", expected)])
    return keys[0]


def with_event_ids(changes: Sequence[Change], key: str | None) -> list[Change]:
    """Return the changes, those without an event id named by the Idempotency-Key and their position."""
    if key is None:
        return list(changes)
    return [
        change if change.event_id else msgspec.structs.replace(change, event_id=f"{key}:{position}")
        for position, change in enumerate(changes)
    ]


def with_correlation(changes: Iterable[Change], request: Request) -> list[Change]:
    """Return the changes, each with the correlation id of its request."""
    return [msgspec.structs.replace(change, correlation=request.state.correlation) for change in changes]
