"""Help, the reference page made of it, and the golden explanations of the samples.

To update them after a change: RELATIONS_WRITE_REFERENCE=1 .venv/bin/pytest tests/cli
"""

import csv
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ops import samples
from ops.cli.errors import Exit
from ops.cli.root import main
from ops.explain import explain_plan
from ops.explain.dry_run import dry_run_changes, number_messages
from tests.support.docs_pages import is_current
from tests.support.waiting import HANGS_AFTER
from worker.contract import parse_many

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SAMPLES = ROOT / "ops" / "samples"

HEAD = """# Command line

What `relations COMMAND --help` says, without `--help`, `--json` and `--url`, which stand here:

Every command takes `--json` where it has something to answer: one document on stdout, and an error as one
object on stderr. People get tables, with colours on a terminal only (`NO_COLOR=1`: none). Answers go to
stdout, remarks and errors to stderr. What a command ends with is listed under [exit codes](exit-codes.md).
Settings come from the environment and one file, as for every other part: see [settings](settings.md).
`--json` and `--url` may stand before the command too (`relations --json jobs list`), all other options
behind it.

Options that pick jobs are the same everywhere, and are explained under [`jobs list`](#relations-jobs-list).

Commands, options and file names are completed after `eval "$(_RELATIONS_COMPLETE=bash_source relations)"` in
`~/.bashrc`; of zsh it is `zsh_source` in `~/.zshrc`, and of fish `_RELATIONS_COMPLETE=fish_source relations |
source` in `~/.config/fish/config.fish`.

`--account` may be left out when there is exactly one. With `--url` (or `RELATIONS_URL`) a command asks the
HTTP interface there, with the key in `RELATIONS_KEY` or the file of `RELATIONS_KEY_FILE`, and needs neither
Redis nor settings: see [operate from afar](../how-to/operate-from-afar.md).
"""


def walk(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*path, name))


COMMANDS = dict(walk(main))


def help_of(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(
        main,
        [*path, "--help"],
        prog_name="relations",
        terminal_width=100,
        env={"RELATIONS_CONFIG": "/nowhere.toml"},
    )
    assert result.exit_code == 0, result.output
    return result.output


def options_of(text: str) -> dict[str, str]:
    """Return the options of a help text by their names, each with what it says."""
    listed = text.partition("Options:\n")[2].partition("\n\n")[0]
    entries = [entry for entry in re.split(r"^(?=  -)", listed, flags=re.MULTILINE) if entry]
    return {name[0]: entry for entry in entries if (name := re.search(r"--[\w-]+", entry))}


ONCE = {"--help", "--json", "--url"}  # options that the head of the page explains
PICKING = options_of(help_of(("jobs", "list"))).keys() - ONCE - {"--limit", "--cursor"}  # that pick jobs


def shown(path: tuple[str, ...]) -> str:
    """Return the help of a command without what the page says once."""
    text = help_of(path)
    options, elsewhere = options_of(text), set(ONCE)
    if path != ("jobs", "list") and options.keys() >= PICKING:
        elsewhere |= PICKING
        text = text.replace("Options:\n", "Options, beside those that pick jobs:\n")
    for name in elsewhere & options.keys():
        text = text.replace(options[name], "")
    return re.sub(r"\n\nOptions.*:\n+(?=\n|\Z)", "\n", text)


def reference() -> str:
    leaves = [path for path, each in COMMANDS.items() if not (path and isinstance(each, click.Group))]
    sections = (f"\n## `{' '.join(('relations', *path))}`\n\n```text\n{shown(path)}```\n" for path in leaves)
    return HEAD + "".join(sections)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_names_the_command_and_needs_no_settings(path: tuple[str, ...]) -> None:
    examples = help_of(path).partition("Examples:\n")[2]
    assert re.search(rf"^ +{' '.join(('relations', *path))}\b", examples, re.MULTILINE)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_example_is_a_command_line_that_parses(path: tuple[str, ...]) -> None:
    lines = re.findall(
        r"^ +relations (.+)$", (COMMANDS[path].help or "").partition("Examples:")[2], re.MULTILINE
    )
    assert lines
    for words in map(shlex.split, lines):
        length = next(n for n in (2, 1) if tuple(words[:n]) in COMMANDS)
        COMMANDS[tuple(words[:length])].make_context("relations", words[length:], **main.context_settings)


def test_every_command_answers_in_json_but_those_that_only_run_or_only_group() -> None:
    plain = {
        path for path, command in COMMANDS.items() if "as_json" not in {each.name for each in command.params}
    }
    assert plain == {
        (),
        ("jobs",),
        ("accounts",),
        ("deliveries",),
        ("callbacks",),
        ("keys",),
        ("dev",),
        ("replays",),
        ("requests",),
        ("sources",),
    }


def test_every_command_has_a_module_that_bears_its_name() -> None:
    modules = {path.stem for path in (ROOT / "ops" / "cli" / "commands").glob("*.py")}
    missing = set(main.list_commands(click.Context(main))) - modules
    assert missing == {"import"}  # a keyword of Python, so its module is import_file
    assert "import_file" in modules


def test_commands_are_listed_without_being_imported_and_are_all_that_there_are() -> None:
    code = (
        "import sys, ops.cli.root as root; print(*root.main.list_commands(None), '|', *sorted(sys.modules))"
    )
    names, _, imported = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANGS_AFTER
    ).stdout.partition("|")
    assert not [name for name in imported.split() if name.startswith("ops.cli.commands.")]
    assert [COMMANDS[name,].name for name in names.split()] == names.split()
    assert set(main.commands) == set(names.split())


def complete(words: str, at: int, tmp_path: Path) -> list[str]:
    """Return what the shell offers for the last word; the first is the program."""
    env = {**os.environ, "COMP_WORDS": words, "COMP_CWORD": str(at), "_RELATIONS_COMPLETE": "bash_complete"}
    command = [sys.executable, "-m", "ops.cli"]
    done = subprocess.run(
        command,
        env={**env, "RELATIONS_CONFIG": "/nowhere.toml", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=HANGS_AFTER,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_completes_commands_options_and_files_without_settings(tmp_path: Path) -> None:
    assert complete("relations jo", 1, tmp_path) == ["plain,jobs"]
    assert complete("relations jobs l", 2, tmp_path) == ["plain,list", "plain,look-up"]
    assert "plain,--time-zone" in complete("relations import --", 2, tmp_path)
    for words, at in (("relations import ", 2), ("relations send ", 2), ("relations sources try immo ", 4)):
        assert complete(words, at, tmp_path) == ["file,"]


def test_the_reference_page_is_current() -> None:
    assert is_current(REFERENCE / "cli.md", reference())


def test_the_page_of_exit_codes_names_every_code() -> None:
    page = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| `(\d+)` \|", page, re.MULTILINE)} == set(Exit)


# --- samples


@pytest.mark.parametrize("name", samples.list_names())
def test_the_explanation_of_a_sample_is_current(name: str) -> None:
    assert is_current(SAMPLES / f"{name}.explained.txt", explain_plan(samples.read_changes(name)) + "\n")
    shown = CliRunner().invoke(main, ["explain", "--sample", name], env={"RELATIONS_CONFIG": "/nowhere.toml"})
    assert shown.output == samples.read_explanation(name)


@pytest.mark.parametrize("name", samples.list_names())
def test_the_readme_counts_a_sample_rightly(name: str) -> None:
    row = re.search(
        rf"^\| `{name}` \|.*\| (\d+) \| (\d+) \| (\d+) \|$",
        (SAMPLES / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    run = dry_run_changes(number_messages(samples.read_changes(name)))
    assert row
    assert tuple(map(int, row.groups())) == (len(run.messages), run.plan.actions, len(run.plan.requests))


@pytest.mark.parametrize("name", samples.list_names())
def test_a_sample_is_one_minute_of_one_account(name: str) -> None:
    flow = samples.read_changes(name)
    times = [change.occurred_at for change in flow]
    assert {change.account for change in flow} == {"acme"}
    assert max(times) - min(times) < 60_000_000
    assert all(change.event_id for change in flow)


@pytest.mark.parametrize("name", ["01-portal-burst", "01", "1", "portal-burst"])
def test_a_sample_is_found_by_name_number_or_title(name: str) -> None:
    assert samples.find_name(name) == "01-portal-burst"


def test_a_sample_that_is_not_there_is_not_found() -> None:
    result = CliRunner().invoke(main, ["explain", "--sample", "9"])
    assert result.exit_code == Exit.NOT_FOUND
    assert "08-address-merge" in result.output


def test_the_table_of_the_new_build_is_the_same_import_as_its_messages() -> None:
    with (SAMPLES / "05-new-build.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            (row["action"], row["relationtype"], int(row["parentid"]), int(row["childid"]))
            for row in csv.DictReader(file)
        ]
    flow = samples.read_changes("05-new-build")
    assert rows == [(change.action, change.type, change.parents[0], change.children[0]) for change in flow]
    pairs = [row[2:] for row in rows]
    assert len(pairs) == 129
    assert len(pairs) - len(set(pairs)) == 6
    assert len([pair for pair in pairs if pair[::-1] in pairs]) == 2


def test_a_shifted_sample_ends_now_and_keeps_its_distances() -> None:
    flow = samples.read_changes("01")
    now = 2_000_000_000_000_000
    shifted = samples.shift_to(flow, account="berg", now=now, run="x")
    assert max(change.occurred_at for change in shifted) == now
    assert {new.occurred_at - old.occurred_at for new, old in zip(shifted, flow, strict=True)} == {
        now - max(each.occurred_at for each in flow)
    }
    assert {change.account for change in shifted} == {"berg"}
    assert len({change.event_id for change in shifted}) == 17


def test_the_samples_are_valid_ndjson_for_any_producer() -> None:
    for name in samples.list_names():
        assert parse_many((SAMPLES / f"{name}.ndjson").read_bytes())
