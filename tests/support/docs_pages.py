"""The pages of docs/ as a reader has them: the blocks to copy, and a shell that runs them."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.waiting import HANGS_AFTER

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """What stands between two fences, and of which language it is said to be."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Every block of a page that is not part of a list."""
    return [Block(*match.groups()) for match in FENCE.finditer(page.read_text("utf-8"))]


def is_current(page: Path, text: str) -> bool:
    """Return whether the page is this text; RELATIONS_WRITE_REFERENCE writes it first."""
    if os.environ.get("RELATIONS_WRITE_REFERENCE"):
        page.write_text(text, encoding="utf-8")
    return page.read_text(encoding="utf-8") == text


def shell(script: str, *, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script by bash; a command that fails ends it unless the script says otherwise."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
    )
