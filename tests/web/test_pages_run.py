"""What the pages tell a reader to type works: each ```bash block that begins with curl is run as it stands against the real interface."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from front import KEYS, Front

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "reference/http.md", *sorted((DOCS / "how-to").glob("*.md"))]
BLOCK = re.compile(r"^```bash\n(curl -sS .*?)^```", re.DOTALL | re.MULTILINE)
LINE = {"account": "acme", "action": "create", "relationtype": "estate:address:buyer", "parentid": 1, "childid": 2}
BLOCKS = [
    pytest.param(match[1], id=f"{page.stem}:{number}")
    for page in PAGES
    for number, match in enumerate(BLOCK.finditer(page.read_text("utf-8")), start=1)
]


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("block", BLOCKS)
def test_a_command_of_a_page_does_what_it_says(front: Front, tmp_path: Path, block: str) -> None:
    (tmp_path / "changes.ndjson").write_text(json.dumps(LINE) + "\n", "utf-8")
    environ = {**os.environ, "URL": front.url, "KEY": KEYS["portal"][0], "ADMIN": KEYS["admin"][0]}
    run = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=environ, capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert {"jobs", "eligible"} & json.loads(run.stdout).keys()
