"""What callers of the Python clients write passes `mypy --strict`: the pages and the docstrings' examples."""

import doctest
import subprocess
import sys
from pathlib import Path
from textwrap import indent

from producers.portals.sdk import client
from tests.support.docs_pages import DOCS, blocks
from tests.support.waiting import HANGS_AFTER

PRELUDE = """
import asyncio
from producers.portals import (
    AsyncRelations, InvalidChange, JobDict, MessageDict, Relations, RelationsError, Sent, Unavailable
)
from worker.config import Settings

url: str = ""
key: str = ""
settings: Settings
relations: Relations
changes: list[MessageDict] = []
"""
CALLS = """
link: MessageDict = {"action": "create", "relationtype": "t", "parentid": (1, 2), "childid": 3}
sent: list[Sent] = relations.send([link, {**link, "account": "acme", "parentid": [1]}])
sent = relations.send(
    [{"action": "delete", "relationtype": "t", "parentid": parent, "childid": 1} for parent in (1, 2)]
)
jobs: list[JobDict] = relations.wait(sent)
codes: list[int] = [job["error"]["code"] for job in jobs if job["error"]]
try:
    relations.create("t", 1, 2, batch="x")
except InvalidChange as error:
    paths: list[str] = [fault.path for fault in error.faults]
except (Unavailable, RelationsError):
    pass
"""
WRONG = """
relations.send([{"action": "link", "relationtype": "t", "parentid": 1, "childid": 1}])
relations.send([{"action": "create", "relationtype": "t", "parentid": 1}])
relations.create("t", 1, 2, label="x")
"""


def test_what_callers_write_is_typed(tmp_path: Path) -> None:
    page = [block.text for block in blocks(DOCS / "how-to" / "python.md") if block.language == "python"]
    finder = doctest.DocTestFinder()
    examples = [
        "".join(example.source for example in test.examples) for test in finder.find(client) if test.examples
    ]
    assert len(page) > 2
    assert len(examples) > 5
    found = check(tmp_path, [*page, *examples, CALLS, WRONG])
    assert [name for name, _ in found] == ["WRONG"] * 3, found


def check(folder: Path, texts: list[str]) -> list[tuple[str, str]]:
    """Return what `mypy --strict` says of these texts, each as the body of a function, and of which.

    Pages name the client as its own distribution does; here it is the program's.
    """
    texts = [text.replace("from onoffice_relations ", "from producers.portals ") for text in texts]
    bodies = [
        f"async def block_{number}() -> None:\n{indent(text, '    ')}" for number, text in enumerate(texts)
    ]
    file = folder / "caller.py"
    file.write_text(PRELUDE + "\n".join(bodies), "utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(file)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
    )
    assert not run.stderr
    first_wrong = file.read_text("utf-8")[: -len(bodies[-1])].count("\n") + 1
    errors = [line for line in run.stdout.splitlines() if ": error: " in line]
    # What mypy has in its cache of the same text names the folder that it was in before.
    places = [int(line.partition(": error: ")[0].rpartition(":")[2]) for line in errors]
    return [
        ("WRONG" if at >= first_wrong else "right", line) for at, line in zip(places, errors, strict=True)
    ]
