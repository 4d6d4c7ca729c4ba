"""`python -m ops.bench.peers.producer MODULE`: enqueues with a peer's library what the bench hands over.

A line of JSON each time, and a line back when all of it is enqueued:
`{"job": "apply" or "nothing", "changes": [...]}` is answered with `enqueued`.
"""

import asyncio
import importlib
import inspect
import json
import sys
from collections.abc import Awaitable, Callable

from ops.bench.peers.call import ChangeDict

Enqueue = Callable[[str, list[ChangeDict]], Awaitable[None] | None]


def serve(enqueue: Enqueue) -> None:
    """Enqueue what is asked for until the input ends; `enqueue` may be a coroutine function."""
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            asked = json.loads(line)
            made = enqueue(asked["job"], asked["changes"])
            if inspect.isawaitable(made):
                runner.run(_wait(made))
            sys.stdout.write("enqueued\n")
            sys.stdout.flush()


async def _wait(made: Awaitable[None]) -> None:
    await made


if __name__ == "__main__":
    serve(importlib.import_module(f"ops.bench.peers.{sys.argv[1]}").enqueue)
