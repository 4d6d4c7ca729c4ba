"""Bad input for as long as one likes: every fuzzer in turn, with seeds that repeat a failing try."""

import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.dev.redis_server import run_server
from tests.torture import client_fuzz, http_fuzz, import_fuzz, input_fuzz, webhook_fuzz
from tests.torture.input_fuzz import Fuzzer

INTERVAL = 10.0  # seconds between lines of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzResult:
    """Tries, and how many were accepted, by fuzzer; the seconds of the longest; `failing` as fuzzer:seed."""

    tries: Mapping[str, int]
    accepted: Mapping[str, int]
    longest: float
    failing: tuple[str, ...]


def run(*, seconds: float, first: int, echo: Callable[[str], None]) -> FuzzResult:
    """Run every fuzzer in turn, with seeds from `first` on, until the time is over."""
    with all_fuzzers() as fuzzers:
        tries, accepted = dict.fromkeys(fuzzers, 0), dict.fromkeys(fuzzers, 0)
        failing, longest, seed = list[str](), 0.0, first
        deadline, next_line = time.monotonic() + seconds, time.monotonic() + INTERVAL
        while time.monotonic() < deadline:
            for name, fuzzer in fuzzers.items():
                started = time.monotonic()
                try:
                    accepted[name] += run_once(name, fuzzer, seed)
                except Exception as error:  # any error is a finding
                    failing.append(f"{name}:{seed}")
                    echo(f"{name}, seed {seed}: {type(error).__name__}: {str(error)[:200]}")
                tries[name] += 1
                longest = max(longest, time.monotonic() - started)
            seed += 1
            if time.monotonic() > next_line:
                next_line = time.monotonic() + INTERVAL
                total, taken = sum(tries.values()), sum(accepted.values())
                echo(f"{total:,} tries, {taken:,} accepted, {len(failing)} failing")
    return FuzzResult(tries=tries, accepted=accepted, longest=round(longest, 2), failing=tuple(failing))


def run_once(name: str, fuzzer: Fuzzer, seed: int) -> bool:
    """Run one try; the same name and seed give the same input."""
    return fuzzer(random.Random(f"{name}:{seed}"))


@contextmanager
def all_fuzzers() -> Iterator[dict[str, Fuzzer]]:
    """Yield every fuzzer by name, with the servers that some need."""
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.addHandler(logging.NullHandler())  # it would write "invalid request" thousands of times
    uvicorn.propagate = False
    with tempfile.TemporaryDirectory(prefix="relations-fuzz-") as directory:
        folder = Path(directory)
        (folder / "settings").mkdir()
        with (
            run_server(folder / "redis") as redis,
            http_fuzz.serve_http(redis.url, folder) as fuzz_http,
            client_fuzz.CannedServer() as api,
        ):
            yield {
                "messages": input_fuzz.fuzz_messages,
                "files": input_fuzz.fuzz_lines,
                "tables": import_fuzz.fuzz_tables,
                "settings": input_fuzz.settings_fuzzer(folder / "settings"),
                "rules": webhook_fuzz.fuzz_rules,
                "signatures": webhook_fuzz.fuzz_signatures,
                "answers": input_fuzz.fuzz_answers,
                "client": client_fuzz.client_fuzzer(api),
                "http": fuzz_http,
            }
