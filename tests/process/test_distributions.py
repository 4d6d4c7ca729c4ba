"""Both distributions as they are installed: the program, which is a whole server, and its client alone.

Each gets an environment that holds nothing but what its metadata asks for, linked from this one: no index.
"""

import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.docs_pages import DOCS, blocks
from tests.support.spreadsheets import make_xlsx
from tests.support.waiting import HANGS_AFTER

ROOT = Path(__file__).parents[2]
PROGRAM, CLIENT = ROOT, ROOT / "sdk"


def read_project(folder: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def install(folder: Path, place: Path) -> Path:
    """Install the distribution of this folder with what it needs into a new place; return its Python."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    [wheel] = place.glob("*.whl")
    venv.create(place / "env", with_pip=False, symlinks=True)
    python = place / "env/bin/python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--no-index", "--no-deps", "--disable-pip-version-check", wheel),
        ],
        check=True,
        capture_output=True,
    )
    [site] = (place / "env").glob("lib/python*/site-packages")
    for name in find_needed(read_project(folder)["dependencies"]):
        link_distribution(name, site)
    return python


def find_needed(requirements: list[str]) -> set[str]:
    """Return the names of the distributions that these requirements bring with them here."""
    found, waiting = set[str](), list(find_wanted(requirements, ()))
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found and not wanted.extras:
            continue
        found.add(name)
        waiting += find_wanted(metadata.requires(name) or (), wanted.extras)
    return found


def find_wanted(requirements: Iterable[str], extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements that hold here, for a distribution with these extras."""
    for wanted in map(Requirement, requirements):
        marker = wanted.marker
        if not marker or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            yield wanted


def link_distribution(name: str, site: Path) -> None:
    """Link the top-level files and folders of an installed distribution."""
    distribution = metadata.distribution(name)
    tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
    for top in tops:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(distribution.locate_file(top))))


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER,
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(CLIENT, tmp_path_factory.mktemp("client"))


def test_a_plain_installation_of_the_program_is_a_whole_server(tmp_path: Path) -> None:
    python = install(PROGRAM, tmp_path)
    relations = python.parent / "relations"
    shown = run(relations, "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    code = (
        "import ops.web.routes, producers.portals.http.application, worker.app, ops.dev.demo, ops.dev.local; "
        "from ops.cli.root import main; print(*map(main.get_command, [None] * 99, main.list_commands(None)))"
    )
    imported = run(python, "-c", code, cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    refused = run(relations, "api", "--root-path", "a b", cwd=tmp_path)  # once all is imported
    assert "Invalid value for --root-path" in refused.stderr
    (tmp_path / "table.xlsx").write_bytes(make_xlsx({"one": [["parentid", "childid"], [1, 2]]}))
    planned = run(
        relations, "import", "table.xlsx", "--dry-run", "--account", "acme", "--url", "http://x", cwd=tmp_path
    )
    assert "install `onoffice-relations[spreadsheets]`" in planned.stderr


def test_the_client_needs_nothing_of_the_server(client: Path, tmp_path: Path) -> None:
    code = (
        "import sys, onoffice_relations; from onoffice_relations import *; "
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    imported = run(client, "-c", code, cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    modules = set(re.findall(r"'(\w+)'", imported.stdout))
    assert (
        modules & {"celery", "redis", "kombu", "structlog", "starlette", "worker", "producers", "ops"}
        == set()
    )
    listed = find_needed(read_project(CLIENT)["dependencies"])
    assert listed & {"celery", "redis", "kombu", "structlog", "starlette", "click", "rich"} == set()


def test_the_client_has_every_name_of_the_programs_own(client: Path, tmp_path: Path) -> None:
    import producers.portals

    code = "import onoffice_relations as it; print(*it.__all__); [getattr(it, name) for name in it.__all__]"
    assert run(client, "-c", code, cwd=tmp_path).stdout.split() == list(producers.portals.__all__)


def test_the_client_that_is_asked_for_redis_says_what_is_missing(client: Path, tmp_path: Path) -> None:
    asked = run(client, "-c", "import onoffice_relations as it; it.Relations.connect()", cwd=tmp_path)
    assert asked.stderr.splitlines()[-1].endswith(
        "straight to Redis goes only the program itself, onoffice-relations, not its client alone"
    )


def test_the_two_agree_on_version_and_needs() -> None:
    program, client = read_project(PROGRAM), read_project(CLIENT)
    assert client["version"] == program["version"]
    assert client["requires-python"] == program["requires-python"]
    assert set(client["dependencies"]) <= set(program["dependencies"])


def test_the_examples_of_the_page_are_typed_with_the_client(client: Path, tmp_path: Path) -> None:
    page = [block.text for block in blocks(DOCS / "how-to/python.md") if block.language == "python"]
    example = next(text for text in page if "onoffice_relations" in text)
    (tmp_path / "caller.py").write_text("key = ''\n" + example + "reveal_type(jobs[0])\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", client, "caller.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER,
    )
    assert checked.returncode == 0, checked.stdout
    assert "TypedDict" in checked.stdout
