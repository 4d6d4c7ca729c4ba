"""Bad input, for as long as one likes: every door tried in turn, each try from a seed of its own, so that a failing one can be repeated."""

import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.dev.redis_server import run_server
from tests.torture import import_fuzz, input_fuzz, socket_fuzz, webhook_fuzz
from tests.torture.input_fuzz import InputKind

EVERY = 10.0  # seconds between lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzzed:
    """Tries and what was taken of them, by door; the longest of all in seconds; `failing` are doors with the seed that broke the law."""

    tries: Mapping[str, int]
    taken: Mapping[str, int]
    longest: float
    failing: tuple[str, ...]


def run(*, seconds: float, first: int, echo: Callable[[str], None]) -> Fuzzed:
    """Every door in turn, with seeds from `first` on, until the time is over."""
    tries, taken, failing, longest = dict[str, int](), dict[str, int](), list[str](), 0.0
    with all_doors() as tried:
        until, told, seed = time.monotonic() + seconds, time.monotonic(), first
        while time.monotonic() < until:
            for name, door in tried.items():
                began = time.monotonic()
                try:
                    taken[name] = taken.get(name, 0) + attempt(name, door, seed)
                except Exception as error:  # whatever it is, it is what we look for
                    failing.append(f"{name}:{seed}")
                    echo(f"{name}, seed {seed}: {type(error).__name__}: {str(error)[:200]}")
                tries[name] = tries.get(name, 0) + 1
                longest = max(longest, time.monotonic() - began)
            seed += 1
            if time.monotonic() - told > EVERY:
                told = time.monotonic()
                echo(f"{sum(tries.values()):,} tries, {sum(taken.values()):,} taken, {len(failing)} failing")
    return Fuzzed(tries=tries, taken=taken, longest=round(longest, 2), failing=tuple(failing))


def attempt(name: str, door: InputKind, seed: int) -> bool:
    """One try; the same name and seed, the same input."""
    return door(random.Random(f"{name}:{seed}"))


@contextmanager
def all_doors() -> Iterator[dict[str, InputKind]]:
    """Every door, with the servers that some need."""
    logging.getLogger("uvicorn.error").addHandler(
        logging.NullHandler()
    )  # it would say "invalid request" thousands of times
    logging.getLogger("uvicorn.error").propagate = False
    with tempfile.TemporaryDirectory(prefix="relations-fuzz-") as directory:
        folder = Path(directory)
        with (
            run_server(folder / "redis") as redis,
            socket_fuzz.front(redis.url, folder) as front,
            socket_fuzz.Answering() as api,
        ):
            (folder / "settings").mkdir()
            yield {
                "messages": input_fuzz.messages,
                "files": input_fuzz.lines,
                "tables": import_fuzz.tables,
                "settings": input_fuzz.settings(folder / "settings"),
                "rules": webhook_fuzz.rules,
                "signatures": webhook_fuzz.signatures,
                "answers": input_fuzz.answers,
                "client": socket_fuzz.client(api),
                "http": front,
            }
