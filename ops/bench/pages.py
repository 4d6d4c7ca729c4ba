"""`python -m ops.bench.pages [--jobs N] [--json]`: how long each page takes with a million jobs in the store.

The pages are asked over a real socket, as a browser asks that has signed in.
"""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
from rich.table import Table

from ops.bench.filled_store import ACCOUNT, KEPT, Month, fill
from ops.bench.program import Echo, run_program
from ops.bench.temporary import temporary_folder
from ops.dashboard.routes import page_routes
from ops.dev.redis_server import run_server
from ops.dev.stack_settings import hash_of
from producers.portals.http.application import application
from producers.portals.http.server import Server
from worker.config import load_settings
from worker.ports.records import JobFilter
from worker.redis.client import connect
from worker.store.redis_store import RedisStore
from worker.wiring import Runtime

KEY: Final = "bench-key-of-the-pages"
SETTINGS: Final = f"""
[accounts.{ACCOUNT}]
token = "{"0" * 32}"
secret = "{"0" * 64}"

[keys.bench]
sha256 = "{hash_of(KEY)}"
accounts = ["{ACCOUNT}"]
can = ["read", "replay", "admin"]
"""
ASKED: Final = 31  # times each page is opened
AIM_MS: Final = 100.0  # at the median
AIM_BYTES: Final = 60_000  # that are transferred


def main(argv: Sequence[str] | None = None) -> int:
    """Fill, open, print; 1 when a page is over an aim."""
    facts = run_program(argv, "pages", __doc__, jobs=1_000_000, measure=measure, show=_table)
    over = (each["median"] > AIM_MS or each["bytes"] > AIM_BYTES for each in facts["pages"].values())
    return int(any(over))


def measure(jobs: int, echo: Echo) -> dict[str, Any]:
    """Milliseconds and bytes per page."""
    times = Month(jobs)
    with temporary_folder() as folder, run_server(folder) as redis:
        (folder / "relations.toml").write_text(SETTINGS, "utf-8")
        store = RedisStore(connect(redis.url), "relations", keep=lambda _: KEPT, now=times.now)
        ids = fill(store, jobs, times, echo=echo)
        settings = load_settings({"RELATIONS_REDIS_URL": redis.url}, folder)
        runtime = Runtime(
            settings, wake=lambda _account, _seconds: None, emit=lambda _event, /, **_fields: None
        )
        pages = page_routes(runtime, send_replay=lambda _: None)
        with Server(application(runtime, pages=pages), port=0) as server:
            found = {name: _time_page(server.url, path) for name, path in _paths(runtime, ids).items()}
    return {"jobs": jobs, "pages": found}


def _paths(runtime: Runtime, ids: Sequence[str]) -> Mapping[str, str]:
    """Return the pages that are opened, the lists with filters that find much, little and nothing."""
    job = runtime.queries.get_jobs([ids[len(ids) // 2]])[ids[len(ids) // 2]]
    [failed] = runtime.queries.find_jobs(ACCOUNT, JobFilter(state="failed"), limit=1).entries
    [request] = runtime.queries.list_requests(ACCOUNT, limit=1).entries
    return {
        "overview": "/",
        "jobs": "/jobs",
        "jobs, 100 rows": "/jobs?limit=100",
        "jobs, failed": "/jobs?state=failed",
        "jobs, parked": "/jobs?state=parked",
        "jobs, of one error": f"/jobs?state=failed&error=160&account={ACCOUNT}",
        "jobs, of one parent": f"/jobs?parentid={job.parents[0]}",
        "jobs, of no source": "/jobs?source=nobody",
        "jobs, of an event": f"/jobs?event_id={job.event_id}",
        "job": f"/jobs/{job.id}",
        "job, failed": f"/jobs/{failed.id}",
        "relation": f"/relations/{ACCOUNT}/{job.type}/{job.parents[0]}/{job.children[0]}",
        "errors": "/errors",
        "requests": "/requests",
        "request": f"/requests/{ACCOUNT}/{request.id}",
        "accounts": "/accounts",
        "account": f"/accounts/{ACCOUNT}",
        "replays": "/replays",
        "audit": "/audit",
        "system": "/system",
        "find": f"/find?q={job.parents[0]}",
    }


def _time_page(url: str, path: str) -> dict[str, float]:
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "text/html", "Accept-Encoding": "gzip"}
    took, size = list[float](), 0
    with httpx.Client(base_url=url, headers=headers, timeout=30.0) as client:
        for _ in range(ASKED):
            started = time.perf_counter()
            answer = client.get(path).raise_for_status()
            took.append((time.perf_counter() - started) * 1000)
            size = answer.num_bytes_downloaded
    return {"median": statistics.median(took), "slowest": max(took), "bytes": size}


def _table(facts: Mapping[str, Any]) -> Table:
    table = Table("page", f"{facts['jobs']:,} jobs: median ms", "slowest ms", "KB transferred", box=None)
    for name, each in facts["pages"].items():
        table.add_row(name, f"{each['median']:.1f}", f"{each['slowest']:.1f}", f"{each['bytes'] / 1000:.1f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
