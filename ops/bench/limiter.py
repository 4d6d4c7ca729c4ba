"""How a limiter shares the slots of one account: calls to Redis per slot, fairness, and whether its pace
holds.

Ours beside the libraries `limits` and `throttled-py`; eight processes want as many slots as they can get.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from redis import Redis

from ops.bench.environments import NotInstalled, environment
from ops.bench.peer_runs import ROOT
from ops.bench.peers import catalogue
from ops.bench.temporary import temporary_folder
from ops.dev.redis_server import run_server

CONTENDERS: Final = 8
RATE: Final = 50
BURST: Final = 8
NAMES: Final = ("limits", "throttled-py")
SCRIPTS: Final = ("evalsha", "eval", "fcall")


def measure(seconds: float) -> dict[str, dict[str, Any]]:
    """Return the facts by the name of the limiter; an environment that cannot be made is left out."""
    pythons = {"ours": Path(sys.executable)}
    try:
        place = environment("limiters", catalogue.LIMITERS)
    except NotInstalled as why:
        return {"ours": contend("ours", pythons["ours"], seconds), "skipped": {"why": str(why)}}
    pythons |= dict.fromkeys(NAMES, place / "python")
    return {name: contend(name, python, seconds) for name, python in pythons.items()}


def contend(name: str, python: Path, seconds: float) -> dict[str, Any]:
    """Let eight processes contend for the slots of one account on a server of their own."""
    with (
        temporary_folder() as folder,
        run_server(folder) as server,
        Redis.from_url(server.url) as client,
    ):
        command = [str(python), "-m", f"{catalogue.MODULE}.limiters", name, server.url]
        processes = [_start([*command, str(RATE), str(BURST), str(seconds)]) for _ in range(CONTENDERS)]
        for process in processes:
            process.stdout.readline()  # type: ignore[union-attr]
        before = _calls(client)
        answers = [process.communicate(b"go\n")[0] for process in _go(processes)]
        calls = _calls(client) - before
    granted = [int(answer) for answer in answers]
    return {
        "granted": sum(granted),
        "allowed": RATE * seconds + BURST,
        "calls_per_grant": calls / max(1, sum(granted)),
        "least": min(granted),
        "most": max(granted),
    }


def _start(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 — our own module
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def _go(processes: "Sequence[subprocess.Popen[bytes]]") -> "Sequence[subprocess.Popen[bytes]]":
    """Let all begin before the first is waited for."""
    for process in processes:
        process.stdin.write(b"go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    return processes


def _calls(client: Redis) -> int:
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in SCRIPTS)
