"""A process imports what it uses: a command starts in a fraction of the time that the whole system takes."""

import subprocess
import sys

import pytest

from tests.support.waiting import HANGS_AFTER
from worker.garbage import THRESHOLDS

COMMAND = "from ops.cli.root import main; main.get_command(None, 'jobs')"
ON_REDIS = f"{COMMAND}; import ops.operations.local, producers.services, worker.background, worker.wiring"
INTERFACE = "import ops.dashboard.routes, ops.web.routes, producers.portals.http.application"


def imported_by(code: str, *libraries: str) -> set[str]:
    print_imported = f"import sys; print(*({set(libraries)} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", f"{code}\n{print_imported}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=HANGS_AFTER,
    )
    return set(found.stdout.split())


@pytest.mark.parametrize(
    ("code", "others"),
    [
        (COMMAND, ("celery", "httpx", "phonenumbers", "redis", "starlette", "structlog", "worker.wiring")),
        (ON_REDIS, ("celery", "httpcore", "httpx", "phonenumbers", "starlette")),
        (INTERFACE, ("celery", "httpcore", "httpx", "phonenumbers")),
    ],
    ids=["a command", "a command on Redis", "the interface"],
)
def test_what_it_does_not_need_is_not_imported(code: str, others: tuple[str, ...]) -> None:
    assert imported_by(code, *others) == set()


def test_what_speaks_http_is_imported_before_a_worker_forks() -> None:
    code = "from celery import signals; from worker.app import app; app.finalize(), app.conf.broker_url"
    needed = {"httpcore", "worker.onoffice.client", "worker.callbacks.transport"}
    assert needed <= imported_by(f"{code}; signals.worker_init.send(None)", *needed)


def test_a_worker_looks_for_cycles_seldom_and_not_among_what_was_imported() -> None:
    code = (
        "import gc; from celery import signals; from worker.app import app; app.finalize(); "
        "app.conf.broker_url; signals.worker_init.send(None); "
        "print(gc.get_freeze_count() > 50_000, *gc.get_threshold())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANGS_AFTER
    )
    assert found.stdout.split()[-4:] == ["True", *map(str, THRESHOLDS)]
