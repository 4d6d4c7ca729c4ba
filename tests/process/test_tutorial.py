"""The tutorial is right: every command of it is run in order against a real `relations dev`, and prints what the page says.

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

PAGE = [each for each in blocks(DOCS / "tutorial/webhook-to-buyer.md") if each.language in ("sh", "text")]
BIN = Path(sys.executable).parent
HEAD = "set +e; failed=0; trap 'failed=$?' ERR; exec 2>&1\n"
TAIL = "\nprintf '\\036%d\\036' \"$failed\"; failed=0\n"  # after each block: which code a command of it failed with


@pytest.fixture
def tried(tmp_path: Path) -> Iterator[Path]:
    """The folder in which the page's first command is running."""
    server, *_ = PAGE
    words = shlex.split(server.text)
    assert words[:2] == ["relations", "dev"]
    with started([str(BIN / words[0]), *words[1:], "--port", "0", "--simulator-port", "0"], tmp_path):
        yield tmp_path


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")
def test_what_is_typed_prints_what_the_page_says(tried: Path) -> None:
    commands = [each.text for each in PAGE[1:] if each.language == "sh"]
    script = HEAD + "".join(command + TAIL for command in commands)
    run = shell(script, cwd=tried, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"})
    *said, rest = run.stdout.split("\036")
    assert not rest, rest
    told = dict(zip(commands, zip(said[::2], said[1::2], strict=True), strict=True))
    for command, (output, code) in told.items():
        assert code == "0", f"{command}\n{output}"
    for command, expected in promised(PAGE):
        missing = list(absent(expected, told[command][0]))
        assert not missing, f"{missing} is not printed by\n{command}\nwhich says\n{told[command][0]}"


def promised(page: list[Block]) -> Iterator[tuple[str, str]]:
    """Each block of commands that is followed by what it prints, and that."""
    for command, output in pairwise(page):
        if output.language == "text":
            assert command.language == "sh"
            yield command.text, output.text


def absent(expected: str, said: str) -> Iterator[str]:
    """The expected lines that do not come in this order."""
    lines = iter(said.splitlines())
    for wanted in expected.splitlines():
        pattern = ".*".join(map(re.escape, wanted.split("…")))
        if not any(re.fullmatch(pattern, line) for line in lines):
            yield wanted
