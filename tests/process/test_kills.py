"""Real processes, really killed, one after the other under load: what was accepted is done all the same."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ops.dev.supervisor import (
    ENDS_TO_GIVE_UP,
    FIRST_DELAY,
    LONGEST_DELAY,
    UP_AFTER,
    RestartState,
    GivenUp,
    Supervisor,
)
from tests.torture.kills import torture
from tests.torture.report import survived
from tests.torture.verdict import repeated
from worker.contract import Relation


def test_whatever_is_killed_every_accepted_change_is_done_and_none_is_sent_twice_unread() -> None:
    said: list[str] = []
    killed = torture("always", seconds=5, seed=1, echo=said.append, quarrel=False)
    assert killed.verdict.examples == (), said
    assert survived(asdict(killed))
    assert {"worker", "beat", "api", "redis", "queues"} <= killed.kills.keys()
    assert killed.verdict.acknowledged > 0
    assert killed.verdict.by_celery > 0
    assert killed.verdict.in_last_second == 0


class Parts:
    """Parts that end and start when told to."""

    def __init__(self, log: Path) -> None:
        self.down: list[str] = []
        self.started: list[str] = []
        self._log = log
        log.write_text("first\nlast words\n")

    def ended(self) -> list[str]:
        return list(self.down)

    def replace(self, part: str) -> None:
        self.down.remove(part)
        self.started.append(part)

    def log(self, name: str) -> Path:
        return self._log


def test_a_part_that_ended_is_started_again_after_a_moment_and_somebody_is_told_why(tmp_path: Path) -> None:
    parts, said, now = Parts(tmp_path / "log"), list[str](), [100.0]
    supervisor = Supervisor(parts, echo=said.append, clock=lambda: now[0])
    parts.down = ["beat"]
    supervisor.tend()
    assert parts.started == []
    assert "beat ended" in said[0]
    assert "last words" in said[0]
    now[0] += FIRST_DELAY
    supervisor.tend()
    supervisor.tend()
    assert (parts.started, supervisor.ends, len(said)) == (["beat"], {"beat": 1}, 1)


def test_a_part_that_ends_again_and_again_at_its_start_is_given_up_with_the_end_of_its_log(
    tmp_path: Path,
) -> None:
    parts, now = Parts(tmp_path / "log"), [0.0]
    supervisor = Supervisor(parts, echo=lambda _: None, clock=lambda: now[0])
    for _ in range(ENDS_TO_GIVE_UP - 1):
        parts.down = ["worker"]
        supervisor.tend()
        now[0] += LONGEST_DELAY
        supervisor.tend()
    parts.down = ["worker"]
    with pytest.raises(GivenUp, match=r"worker ended; the end of .*\nfirst\nlast words"):
        supervisor.tend()
    assert parts.started == ["worker"] * (ENDS_TO_GIVE_UP - 1)


def test_delays_grow_until_a_part_has_been_up_for_a_while() -> None:
    care = RestartState(0.0)
    assert [care.note_end(1.0) for _ in range(6)] == [
        FIRST_DELAY,
        2 * FIRST_DELAY,
        4 * FIRST_DELAY,
        8 * FIRST_DELAY,
        16 * FIRST_DELAY,
        LONGEST_DELAY,
    ]
    assert care.note_end(UP_AFTER) == FIRST_DELAY


def test_a_crm_that_is_gone_is_not_started_again_empty(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "log")
    parts.down = ["simulator"]
    with pytest.raises(GivenUp, match="simulator ended"):
        Supervisor(parts, echo=lambda _: None, clock=lambda: 0.0).tend()


def entry(kind: str, child: int, *, parents: tuple[int, ...] = (1,), **more: Any) -> dict[str, Any]:
    act = {"kind": kind, "type": "t", "parents": parents, "children": (child,) if child else (), "code": 0}
    return {"token": "a", "acts": [act], "fault": "", "landed": False, **more}


@pytest.mark.parametrize(
    ("log", "twice"),
    [
        ([entry("create", 5), entry("create", 6)], []),
        ([entry("create", 5), entry("create", 5)], [5]),
        ([entry("create", 5, fault="lost_after"), entry("get", 0), entry("create", 5)], []),
        ([entry("create", 5), entry("get", 0, parents=(2,)), entry("create", 5)], [5]),
        ([entry("get", 0), entry("delete", 5), entry("delete", 5)], [5]),
        ([entry("create", 5, fault="throttle"), entry("create", 5)], []),
        ([entry("create", 5), entry("create", 5, landed=True)], []),
        ([entry("create", 5), entry("create", 5, token="b")], []),
    ],
)
def test_a_write_counts_as_repeated_unless_its_relation_was_read_in_between(
    log: list[dict[str, Any]], twice: list[int]
) -> None:
    assert repeated(log, {"a", "b"}) == [Relation("t", 1, child) for child in twice]


def test_a_loss_anywhere_in_a_part_is_not_survived() -> None:
    assert survived({"kills": {"always": {"verdict": {"lost": 0, "celery_lost": 3, "examples": []}}}})
    assert not survived({"kills": {"always": {"verdict": {"lost": 1}}}})
    assert not survived({"simulation": {"failing": [7]}})
