"""`python -m ops.bench.http [--seconds S] [--json]`: the HTTP intake beside others that do the same work,
and a bare application, in turns.

One process each, single changes from 32 connections, the same Redis with its append-only file; the client
runs in this process.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

import httpx
import msgspec

from ops.bench.http_client import Throughput, make_requests, send_all
from ops.bench.temporary import temporary_stack
from ops.dev.processes import Process, free_port
from ops.dev.stack import Shape, Stack
from ops.dev.stack_settings import hash_of

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
