"""Pages name files and folders that exist, and files of tests have some: who looks finds what is meant."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
PATH = re.compile(r"`((?:worker|producers|ops|tests|docs|sdk)/[\w./-]+)`")
NAME = re.compile(r"`([\w/.-]+\.py)`")  # beside the path that is named before it


def named_in(text: str) -> Iterator[Path]:
    """Yield the files and folders that a text names; a name alone is beside the path before it."""
    folder = Path()
    for found in re.finditer(r"`[^`\n]+`", text):
        if path := PATH.fullmatch(found[0]):
            folder = (ROOT / path[1]).parent if path[1].endswith(".py") else ROOT / path[1]
            yield ROOT / path[1]
        elif name := NAME.fullmatch(found[0]):
            yield folder / name[1]


def test_every_path_on_a_page_leads_somewhere() -> None:
    texts = {page: page.read_text("utf-8") for page in PAGES}
    named = [(page.name, path[1]) for page, text in texts.items() for path in PATH.finditer(text)]
    assert len(named) > 200
    assert [each for each in named if not (ROOT / each[1]).exists()] == []


def test_where_one_changes_something_is_there() -> None:
    rows = [row for row in (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines() if row.startswith("| ")]
    cells = [cell for row in rows for cell in row.split(" | ")]
    named = [path for cell in cells for path in named_in(cell)]
    assert len(named) > 50
    assert [str(path.relative_to(ROOT)) for path in named if not path.exists()] == []


def test_every_file_of_tests_has_some() -> None:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 200
    assert [file.name for file in files if not re.search(r"^def test_", file.read_text("utf-8"), re.M)] == []
