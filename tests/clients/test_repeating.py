"""Clients that repeat a post under its Idempotency-Key make one job, whatever becomes of the interface."""

import subprocess
from pathlib import Path

import pytest

from ops.dev.stack import Stack
from tests.support.foreign_clients import ACCOUNT
from tests.support.waiting import HANGS_AFTER, wait_until
from worker.ports.records import JobFilter, JobRecord

FOLDER = Path(__file__).parent / "repeating"
CLIENTS = {"node": ("node", FOLDER / "repeat.mjs"), "java": ("java", FOLDER / "Repeat.java")}
POSTS = 15
KILLED_AT = (
    3,
    7,
    8,
    12,
)  # as soon as there are so many jobs, while the client waits for the last one's answer


@pytest.mark.parametrize("language", CLIENTS)
def test_fifteen_posts_are_fifteen_jobs_although_the_interface_is_killed(stack: Stack, language: str) -> None:
    queries = stack.runtime(wakes=False).queries

    def jobs() -> list[JobRecord]:
        return queries.find_jobs(ACCOUNT, JobFilter(batch=language), limit=100).entries

    def has(number: int) -> bool:
        return len(jobs()) >= number

    command = [*CLIENTS[language], stack.url, stack.key, ACCOUNT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        try:
            for number in KILLED_AT:
                wait_until(lambda number=number: has(number), f"there are no {number} jobs")
                stack.replace("api")
            printed, faults = client.communicate(timeout=HANGS_AFTER)
        finally:
            client.kill()
    assert client.returncode == 0, faults
    answers = [line.split() for line in printed.splitlines()]
    assert len(answers) == POSTS
    assert {name for name, _ in answers} == {job.id for job in jobs()}
    assert len(jobs()) == POSTS
    assert [is_duplicate for _, is_duplicate in answers].count("true") >= 1  # whose first answer was lost
    assert {job.state for job in jobs()} == {"succeeded"}
