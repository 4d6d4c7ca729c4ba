"""TypeScript clients that generators make of the OpenAPI document compile, send, poll and replay."""

import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from ops.dev.stack import Stack
from tests.support.foreign_clients import ACCOUNT, GENERATORS, MISSING
from tests.support.waiting import HANGS_AFTER

GENERATE = {
    "openapi_typescript": ("openapi-typescript", "openapi.json", "--output", "made/openapi_typescript.ts"),
    "hey_api": (
        *("openapi-ts", "--input", "openapi.json", "--output", "made/hey_api"),
        *("--client", "@hey-api/client-fetch", "--no-log-file"),
    ),
}


def run(folder: Path, *command: str) -> str:
    """Return what a program prints that ends well."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANGS_AFTER)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("generator", GENERATE)
def test_a_generated_client_compiles_sends_polls_and_replays(
    stack: Stack, tmp_path: Path, generator: str
) -> None:
    for name in (f"{generator}.ts", "tsconfig.json"):
        shutil.copy(GENERATORS.parent / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(GENERATORS)
    (tmp_path / "openapi.json").write_text(httpx.get(f"{stack.url}/openapi.json", trust_env=False).text)
    programs = GENERATORS / ".bin"
    tool, *options = GENERATE[generator]
    run(tmp_path, str(programs / tool), *options)
    run(tmp_path, str(programs / "tsc"), "--project", ".")
    program = f"compiled/{generator}.js"
    printed = run(tmp_path, "node", program, stack.url, stack.key, ACCOUNT, str(MISSING))
    assert json.loads(printed) == {
        "failed": ["failed", MISSING, 1],
        "plan": 1,
        "again": ["succeeded", [9002]],
        "unknown": 404,
    }
