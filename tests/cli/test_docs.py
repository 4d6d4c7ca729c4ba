"""What every page for readers names is there: files, headings, commands with their options, variables."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ops.cli.root import main
from tests.cli.test_help_and_reference import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for folder in ("docs", "ops", "sdk") for page in (ROOT / folder).rglob("*.md")) + sorted(
    ROOT.glob("*.md")
)
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
COMMAND = re.compile(r"(?:^|[|;&] *|\$ )(?:\.venv/bin/)?relations ([a-z].*)$")
SHELL = re.compile(r" (?:\||>|&&|;|2>) | +# |<\(")  # what ends a command, or is no option of it
VARIABLE = re.compile(r"(?<!env:)\bRELATIONS_[A-Z]+(?:_[A-Z]+)*\b")
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|…|\|")  # in a command that is told of, not one to copy


def prose_of(page: Path) -> str:
    """Return a page without its blocks."""
    return FENCED.sub("", page.read_text("utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    anchors = list[str]()
    for heading in re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading.strip())
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        again = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", each) is not None for each in anchors)
        anchors.append(f"{anchor}-{again}" if again else anchor)
    return set(anchors)


def commands_of(page: Path) -> Iterator[list[str]]:
    """Yield the words of every command of a page behind `relations`, of its blocks and of its sentences."""
    for _, language, block in FENCED.findall(page.read_text("utf-8")):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines() if language in ("sh", "bash") else ():
            if found := COMMAND.search(line.strip()):
                yield shlex.split(SHELL.split(found[1])[0])
    for text in re.findall(r"`relations ([a-z][^`]*)`", prose_of(page)):
        if not PLACEHOLDER.search(text):
            yield shlex.split(SHELL.split(text)[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_there_are(page: Path) -> None:
    for path, anchor in LINK.findall(prose_of(page)):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or target.suffix != ".md" or anchor in anchors_of(target), (path, anchor)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse_with_all_their_options(page: Path) -> None:
    for words in commands_of(page):
        length = next((size for size in (2, 1) if tuple(words[:size]) in COMMANDS), 0)
        assert length, words
        command = COMMANDS[tuple(words[:length])]
        if isinstance(command, click.Group):
            assert words[length:] in ([], ["--help"]), words
            continue
        try:
            command.make_context("relations", words[length:], **main.context_settings)
        except click.UsageError as error:
            # A sentence may name a command without what it is for.
            is_short = isinstance(error, click.MissingParameter) or "requires an argument" in error.message
            if not is_short:
                raise AssertionError(words) from error


def test_every_variable_that_a_page_names_is_read_somewhere() -> None:
    read = set[str]()
    for folder in ("worker", "producers", "ops", "sdk", "tests"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".yml", ".service", "") and file.is_file():
                read |= set(VARIABLE.findall(file.read_text("utf-8", "replace")))
    read |= set(VARIABLE.findall((ROOT / "docker-compose.yml").read_text("utf-8")))
    named = {name for page in PAGES for name in VARIABLE.findall(page.read_text("utf-8"))}
    assert named - read == set()
