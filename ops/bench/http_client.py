"""A bare HTTP client that sends changes from many connections at once, so that the server is measured."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ops.bench.load import links
from worker.contract import to_message

CONNECTIONS: Final = 32


class Throughput(NamedTuple):
    """Requests answered per second, and how long 99 of 100 took at most, in seconds."""

    rate: float
    p99: float


def make_requests(account: str, key: str) -> list[bytes]:
    """Return two thousand requests of one change each, as they go over the wire."""
    return [
        _request(msgspec.json.encode(to_message(change)), key)
        for change in links(2000, account=account, seed=7)
    ]


async def send_all(url: str, requests: Sequence[bytes], seconds: float) -> Throughput:
    """Send the requests from many connections at once, each waiting for its answer before the next."""
    started, spent = time.perf_counter(), list[float]()
    await asyncio.gather(
        *(_connection(url, requests[at::CONNECTIONS], started + seconds, spent) for at in range(CONNECTIONS))
    )
    return Throughput(len(spent) / (time.perf_counter() - started), sorted(spent)[len(spent) * 99 // 100])


async def _connection(url: str, requests: Sequence[bytes], until: float, spent: list[float]) -> None:
    place, turn = urlsplit(url), 0
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    while (began := time.perf_counter()) < until:
        writer.write(requests[turn % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(
            int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        )
        if b" 202 " not in head[:20]:
            raise RuntimeError(answer.decode())
        spent.append(time.perf_counter() - began)
        turn += 1
    writer.close()


def _request(body: bytes, key: str) -> bytes:
    head = (
        f"POST /v1/changes HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
