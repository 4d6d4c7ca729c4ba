"""The programs that the how-tos show do what they say, also while the interface is being replaced."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ops.dev.stack import Stack
from tests.support.foreign_clients import ACCOUNT
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.ports.records import JobFilter, JobRecord

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PROGRAMS = {
    "js": ("other-languages.md", "node", "send.mjs"),
    "java": ("other-languages.md", "java", "Send.java"),
    "go": ("other-languages.md", "go run", "main.go"),
    "ruby": ("other-languages.md", "ruby", "send.rb"),
    "php": ("php-and-curl.md", "php", "send.php"),
}


def read_program(language: str, page: str, stack: Stack) -> str:
    """Return the program of a page, for the running system and with event ids of its own."""
    [program] = re.findall(rf"```{language}\n(.*?)```", (HOW_TO / page).read_text("utf-8"), re.DOTALL)
    program = program.replace("https://relations.example", stack.url).replace("deal-17", f"deal-{language}")
    program = re.sub(r'(["\\])acme(["\\])', rf"\g<1>{ACCOUNT}\g<2>", program)
    return f"<?php\n{program}" if language == "php" else program


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_of_the_pages_sends_its_changes_once(stack: Stack, tmp_path: Path, language: str) -> None:
    page, command, name = PROGRAMS[language]
    if not shutil.which(command.split()[0]):
        pytest.skip(f"there is no {command}")
    (tmp_path / name).write_text(read_program(language, page, stack), "utf-8")
    queries = stack.runtime(wakes=False).queries

    def jobs() -> list[JobRecord]:
        found = queries.find_jobs(ACCOUNT, JobFilter(), limit=500).entries
        return [job for job in found if (job.event_id or "").startswith(f"deal-{language}")]

    environ = {**os.environ, "RELATIONS_URL": stack.url, "RELATIONS_KEY": stack.key}

    def start() -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*command.split(), name], cwd=tmp_path, env=environ, text=True, **pipes)

    with start() as first:
        printed, faults = first.communicate(timeout=HANGS_AFTER)
        assert first.returncode == 0, faults
    sent = {job.id for job in jobs()}
    assert len(sent) == (1 if language == "php" else 2)
    assert language == "php" or all(job in printed for job in sent)
    stack.processes["api"].kill()
    with start() as second:
        stack.replace("api")
        printed, faults = second.communicate(timeout=HANGS_AFTER)
        assert second.returncode == 0, faults
    wait_until(lambda: {job.state for job in jobs()} == {"succeeded"}, "a change was not carried out")
    assert {job.id for job in jobs()} == sent
