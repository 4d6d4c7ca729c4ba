"""How fast changes are accepted: straight to the store, singly and in batches, and singly over HTTP from 32
connections.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ops.bench.load import chunks, links
from ops.dev.stack import Stack
from worker.contract import Change, to_message
from worker.wiring import Runtime

BATCHES: Final = (100, 500, 1000)
CONNECTIONS: Final = 32


def direct(runtime: Runtime, account: str, *, seconds: float) -> dict[str, float]:
    """Measure changes per second into the store, by size of batch."""
    return {str(size): _direct(runtime, account, size, seconds) for size in (1, *BATCHES)}


def over_http(stack: Stack, account: str, *, seconds: float) -> float:
    """Measure changes per second, one per request, from many connections at once."""
    requests = [_request(stack, change) for change in links(2000, account=account, seed=7)]
    return asyncio.run(_send_all(stack.url, requests, seconds))


def _direct(runtime: Runtime, account: str, size: int, seconds: float) -> float:
    intake, ready = (
        runtime.intake(),
        list(chunks(links(max(20_000, size * 20), account=account, seed=size), size)),
    )
    return _rate(lambda at: intake.accept(ready[at % len(ready)]), size, seconds)


def _rate(call: Callable[[int], object], size: int, seconds: float) -> float:
    started, done = time.monotonic(), 0
    while (spent := time.monotonic() - started) < seconds:
        call(done)
        done += 1
    return done * size / spent


def _request(stack: Stack, change: Change) -> bytes:
    body = msgspec.json.encode(to_message(change))
    head = (
        f"POST /v1/changes HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {stack.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _send_all(url: str, requests: Sequence[bytes], seconds: float) -> float:
    started = time.monotonic()
    counts = await asyncio.gather(
        *(_connection(url, requests[at::CONNECTIONS], started + seconds) for at in range(CONNECTIONS))
    )
    return sum(counts) / (time.monotonic() - started)


async def _connection(url: str, requests: Sequence[bytes], until: float) -> int:
    """Count the requests answered 202 on one connection; a bare client, so that the server is measured."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    done = 0
    while time.monotonic() < until:
        writer.write(requests[done % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if b" 202 " not in head[:20]:
            raise RuntimeError(answer.decode())
        done += 1
    writer.close()
    return done
