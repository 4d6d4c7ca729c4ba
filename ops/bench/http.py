"""`python -m ops.bench.http [--seconds S] [--json]`: the HTTP intake beside others that do the same work,
and a bare application, in turns.

One process each, single changes from 32 connections, the same Redis with its append-only file; the client
sends from many connections at once, so that the server is measured.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec

from ops.bench.temporary import temporary_stack
from ops.bench.workloads import links
from ops.dev.processes import Process, free_port
from ops.dev.stack import Shape, Stack
from ops.dev.stack_settings import hash_of
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


TURNS: Final = 3  # of each, by turns, so that a noisy moment hits all; the median counts
SHAPE: Final = Shape(accounts=("one",), defaults={"window": 60.0}, parts=("api",))


def measure(*, seconds: float) -> dict[str, Throughput]:
    """Ours, FastAPI, Starlette by hand, and the bare application, of one run."""
    with (
        temporary_stack(SHAPE) as stack,
        _peer(stack, "fastapi_intake") as fastapi,
        _peer(stack, "starlette_intake") as starlette,
        _peer(stack, "bare") as bare,
    ):
        urls = {"ours": stack.url, "fastapi": fastapi, "starlette": starlette, "bare": bare}
        requests = make_requests("one", stack.key)
        turns = [
            {name: asyncio.run(send_all(url, requests, seconds)) for name, url in urls.items()}
            for _ in range(TURNS)
        ]
    return {
        name: Throughput(*(median(column) for column in zip(*(turn[name] for turn in turns), strict=True)))
        for name in urls
    }


@contextmanager
def _peer(stack: Stack, name: str) -> Iterator[str]:
    """Yield the URL of a peer, which is served as the intake is."""
    port = free_port()
    options = ["--port", str(port), "--log-level", "warning", "--no-access-log", "--lifespan", "off"]
    command = [sys.executable, "-m", "uvicorn", f"ops.bench.http_peers.{name}:app", *options]
    environ = {**stack.environ, "BENCH_KEY_SHA256": hash_of(stack.key)}
    with Process(command, log=stack.log(name), env=environ) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: _answers(f"{url}/"), seconds=30)
        yield url


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == httpx.codes.NOT_FOUND
    except httpx.TransportError:
        return False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.http", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    paces = measure(seconds=chosen.seconds)
    base = paces["fastapi"].rate
    facts = {
        name: {"rate": pace.rate, "p99": pace.p99, "ratio": pace.rate / base} for name, pace in paces.items()
    }
    if chosen.json:
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
        return
    for name, fact in facts.items():
        sys.stdout.write(
            f"{name:9} {fact['rate']:8,.0f} requests/s   p99 {fact['p99'] * 1000:6.1f} ms"
            f"   {fact['ratio']:5.2f} x FastAPI\n"
        )


if __name__ == "__main__":
    main()
