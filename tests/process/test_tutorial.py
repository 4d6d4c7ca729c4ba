"""The tutorial is right: its commands run in order against a real `relations dev` and print what it shows.

Of a block of output each line has to come, in order; `…` stands for anything. Only the ports are others.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.docs_pages import DOCS, Block, blocks, shell
from tests.support.started import started

PAGE = [block for block in blocks(DOCS / "tutorial/webhook-to-buyer.md") if block.language in ("sh", "text")]
BIN = Path(sys.executable).parent
HEAD = "set +e; failed=0; trap 'failed=$?' ERR; exec 2>&1\n"
# After each block: which code a command of it failed with.
TAIL = "\nprintf '\\036%d\\036' \"$failed\"; failed=0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder in which the page's first command is running."""
    server, *_ = PAGE
    words = shlex.split(server.text)
    assert words[:2] == ["relations", "dev"]
    with started([str(BIN / words[0]), *words[1:], "--port", "0", "--simulator-port", "0"], tmp_path):
        yield tmp_path


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")
def test_the_commands_print_what_the_page_shows(folder: Path) -> None:
    commands = [block.text for block in PAGE[1:] if block.language == "sh"]
    script = HEAD + "".join(command + TAIL for command in commands)
    run = shell(script, cwd=folder, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"})
    *outputs, rest = run.stdout.split("\036")
    assert not rest, rest
    results = dict(zip(commands, zip(outputs[::2], outputs[1::2], strict=True), strict=True))
    for command, (output, code) in results.items():
        assert code == "0", f"{command}\n{output}"
    for command, expected in expected_outputs(PAGE):
        missing = list(missing_lines(expected, results[command][0]))
        assert not missing, f"{missing} is not printed by\n{command}\nwhich printed\n{results[command][0]}"


def expected_outputs(page: list[Block]) -> Iterator[tuple[str, str]]:
    """Yield each block of commands that is followed by its output, and the output."""
    for command, output in pairwise(page):
        if output.language == "text":
            assert command.language == "sh"
            yield command.text, output.text


def missing_lines(expected: str, output: str) -> Iterator[str]:
    """Yield the expected lines that do not come in this order."""
    lines = iter(output.splitlines())
    for wanted in expected.splitlines():
        pattern = ".*".join(map(re.escape, wanted.split("…")))
        if not any(re.fullmatch(pattern, line) for line in lines):
            yield wanted
