"""`python -m ops.bench.http [--seconds S] [--json]`: the HTTP intake beside FastAPI doing the same work and a
bare application, in turns.

One process each, single changes from 32 connections, the same Redis with its append-only file; the client
runs in this process.
"""

import argparse
import asyncio
import hashlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec

from ops.bench.load import links
from ops.dev.processes import Process, free_port
from ops.dev.stack import Shape, Stack, running
from worker.contract import to_message

CONNECTIONS: Final = 32
TURNS: Final = 3  # of each, by turns, so that a noisy moment hits all; the median counts
SHAPE: Final = Shape(accounts=("one",), defaults={"window": 60.0}, parts=("api",))


class Throughput(NamedTuple):
    """Requests answered per second, and how long 99 of 100 took at most, in seconds."""

    rate: float
    p99: float


def measure(directory: Path, *, seconds: float) -> dict[str, Throughput]:
    """Ours, FastAPI and the bare application, of one run."""
    with (
        running(directory, SHAPE) as stack,
        _peer(stack, "fastapi") as fastapi,
        _peer(stack, "bare") as bare,
    ):
        places = {"intake": stack.url, "fastapi": fastapi.command[-1], "bare": bare.command[-1]}
        urls = {
            name: place if "://" in place else f"http://127.0.0.1:{place}" for name, place in places.items()
        }
        requests = [
            _request(message, stack.key) for message in map(to_message, links(2000, account="one", seed=7))
        ]
        turns = [
            {name: asyncio.run(send_all(url, requests, seconds)) for name, url in urls.items()}
            for _ in range(TURNS)
        ]
    return {
        name: Throughput(*(median(column) for column in zip(*(turn[name] for turn in turns), strict=True)))
        for name in urls
    }


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


def _peer(stack: Stack, name: str) -> Process:
    port = str(free_port())
    environ = {**stack.environ, "BENCH_KEY_SHA256": hashlib.sha256(stack.key.encode()).hexdigest()}
    process = Process(
        [sys.executable, "-m", "ops.bench.http_peers", name, port], log=stack.log(name), env=environ
    )
    process.wait_until(lambda: _answers(f"http://127.0.0.1:{port}/"), seconds=30)
    return process


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == httpx.codes.NOT_FOUND
    except httpx.TransportError:
        return False


def _request(message: Any, key: str) -> bytes:
    body = msgspec.json.encode(message)
    head = (
        f"POST /v1/changes HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.http", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relations-bench-", ignore_cleanup_errors=True) as directory:
        paces = measure(Path(directory), seconds=chosen.seconds)
    base = paces["fastapi"].rate
    facts = {
        name: {"rate": pace.rate, "p99": pace.p99, "ratio": pace.rate / base} for name, pace in paces.items()
    }
    if chosen.json:
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
        return
    for name, fact in facts.items():
        sys.stdout.write(
            f"{name:8} {fact['rate']:8,.0f} requests/s   p99 {fact['p99'] * 1000:6.1f} ms"
            f"   {fact['ratio']:5.2f} x FastAPI\n"
        )


if __name__ == "__main__":
    main()
