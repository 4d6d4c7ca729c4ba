"""Each ```bash block of the pages that begins with curl is run as it stands against the real interface."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.docs_pages import DOCS, blocks, shell
from tests.support.http_front import KEYS, Front

PAGES = [DOCS / "reference/http.md", *sorted((DOCS / "how-to").glob("*.md"))]
LINE = {
    "account": "acme",
    "action": "create",
    "relationtype": "estate:address:buyer",
    "parentid": 1,
    "childid": 2,
}
COMMANDS = [
    pytest.param(text, id=f"{page.stem}:{number}")
    for page in PAGES
    for number, (_, text) in enumerate(
        (item for item in blocks(page) if item.language == "bash" and item.text.startswith("curl -sS ")), 1
    )
]


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_page_does_what_it_says(front: Front, tmp_path: Path, command: str) -> None:
    (tmp_path / "changes.ndjson").write_text(json.dumps(LINE) + "\n", "utf-8")
    environ = {**os.environ, "URL": front.url, "KEY": KEYS["portal"][0], "ADMIN": KEYS["admin"][0]}
    run = shell(command, cwd=tmp_path, env=environ)
    assert run.returncode == 0, run.stderr
    assert {"jobs", "eligible", "drifted"} & json.loads(run.stdout).keys()
