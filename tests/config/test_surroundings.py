"""Tests say the same whatever the shell around them has sourced."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ops.dev.local import environment
from tests.support.surroundings import forget_settings, keep_bytecode
from tests.support.waiting import HANGS_AFTER

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"


def sourced() -> dict[str, str]:
    """Return what `env.sh` of a workbench that does not run any more exports."""
    ours = {
        f"RELATIONS_{name}": f"{NOWHERE}/{name}"
        for name in ("CONFIG", "REDIS_URL", "BROKER_URL", "API_URL", "URL", "PREFIX")
    }
    stack: Any = SimpleNamespace(environ=ours, url=NOWHERE, simulator=NOWHERE, key="canary-key")
    lines = environment(stack).splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if "export PATH=" not in line)


def test_all_that_a_workbench_exports_is_forgotten_and_nothing_else() -> None:
    kept = {
        "HOME": "/home/ada",
        "PATH": "/bin",
        "RELATIONS_WRITE_REFERENCE": "1",
        "STORE_URL": "redis://here",
    }
    environ = {**kept, **sourced()}
    forget_settings(environ)
    assert environ == kept


def test_what_one_process_compiles_the_next_reads_whatever_the_shell_says(tmp_path: Path) -> None:
    (tmp_path / "imported.py").touch()
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    keep_bytecode(environ)
    subprocess.run([sys.executable, "-c", "import imported"], cwd=tmp_path, env=environ, check=True)
    assert list((tmp_path / "__pycache__").iterdir())


def test_tests_of_the_interface_pass_in_the_shell_of_a_workbench() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/web/test_start_page.py"],
        cwd=ROOT,
        env={**os.environ, **sourced(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=HANGS_AFTER,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
