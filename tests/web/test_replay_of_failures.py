"""Replaying failures: the preview names what goes back and what not, and the replay does exactly that."""

import pytest
from front import MISSING, Front

from producers.replay import CHUNK, preview, run
from worker.contract import from_message

BUYERS = {"account": "acme", "action": "create", "relationtype": "estate:address:buyer", "parentid": 501}


@pytest.fixture
def jobs(front: Front) -> list[str]:
    """One job that succeeded, one that failed in part, one that failed, one that waits."""
    intake = front.runtime.intake()
    changes = [from_message({**BUYERS, "childid": child}).change for child in (1, [2, MISSING], MISSING, 3)]
    sent = [receipt.job for receipt in intake.accept(changes[:3])]
    front.runtime.flush("acme")
    return [*sent, intake.accept(changes[3:])[0].job]


def test_the_preview_of_everything_counts_the_failed_relations_by_class_and_changes_nothing(front: Front, jobs: list[str]) -> None:
    shown = preview(front.store, "acme")
    assert set(shown.jobs) == {jobs[1], jobs[2]}
    assert (shown.relations, shown.errors, shown.refused, shown.more) == (2, {"record": 2}, {}, False)
    assert preview(front.store, "acme") == shown
    part = preview(front.store, "acme", most=1)
    assert (part.jobs, part.more) == (shown.jobs[:1], True)


def test_the_preview_of_some_says_why_the_others_cannot_be_replayed(front: Front, jobs: list[str]) -> None:
    shown = preview(front.store, "acme", [jobs[0], jobs[1], jobs[3], "acme-nothing", "beta-1", jobs[1]])
    assert shown.jobs == (jobs[1],)
    assert shown.refused == {
        jobs[0]: "is succeeded, not failed",
        jobs[3]: "is queued, not failed",
        "acme-nothing": "does not exist (any more)",
        "beta-1": "is no job of account acme",
    }


def test_a_replay_puts_back_what_was_shown_once_and_wakes_a_worker(front: Front, jobs: list[str]) -> None:
    front.runtime.flush("acme")
    front.woken.clear()
    shown, heard = preview(front.store, "acme"), list[tuple[int, int]]()
    assert set(run(front.runtime.intake(), shown, progress=lambda done, total: heard.append((done, total)))) == {jobs[1], jobs[2]}
    assert (heard, front.woken) == ([(2, 2)], ["acme"])
    assert preview(front.store, "acme").jobs == ()
    front.runtime.flush("acme")
    assert [job.attempts > 2 for job in map(front.store.job, shown.jobs) if job] == [True, True]
    assert set(preview(front.store, "acme").jobs) == set(shown.jobs)


def test_many_go_back_in_chunks_and_progress_is_told(front: Front) -> None:
    intake = front.runtime.intake()
    intake.accept([from_message({**BUYERS, "childid": MISSING}).change for _ in range(CHUNK + 1)])
    front.runtime.flush("acme")
    shown, heard = preview(front.store, "acme"), list[tuple[int, int]]()
    assert len(run(intake, shown, progress=lambda done, total: heard.append((done, total)))) == CHUNK + 1
    assert heard == [(CHUNK, CHUNK + 1), (CHUNK + 1, CHUNK + 1)]
