"""Real processes killed one after the other under load: what was accepted is done all the same."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ops.dev.supervisor import (
    ENDS_TO_GIVE_UP,
    FIRST_DELAY,
    LONGEST_DELAY,
    UP_AFTER,
    GivenUp,
    RestartState,
    Supervisor,
)
from tests.torture.kills import torture
from tests.torture.report import survived
from tests.torture.result import find_repeated_writes
from worker.contract import Relation


def test_whatever_is_killed_every_accepted_change_is_done_and_none_is_sent_twice_unread() -> None:
    lines: list[str] = []
    run = torture("always", seconds=5, seed=1, echo=lines.append, contend=False)
    assert run.result.examples == (), lines
    assert survived(asdict(run))
    assert {"worker", "beat", "api", "redis", "queues"} <= run.kills.keys()
    assert run.result.acknowledged > 0
    assert run.result.by_celery > 0
    assert run.result.in_last_second == 0


class Parts:
    """A stack whose parts end and start as the test says."""

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


def test_a_part_that_ended_is_restarted_after_a_delay_and_the_reason_is_printed(tmp_path: Path) -> None:
    parts, lines, now = Parts(tmp_path / "log"), list[str](), [100.0]
    supervisor = Supervisor(parts, echo=lines.append, clock=lambda: now[0])
    parts.down = ["beat"]
    supervisor.tend()
    assert parts.started == []
    assert "beat ended" in lines[0]
    assert "last words" in lines[0]
    now[0] += FIRST_DELAY
    supervisor.tend()
    supervisor.tend()
    assert (parts.started, supervisor.ends, len(lines)) == (["beat"], {"beat": 1}, 1)


def test_a_part_that_keeps_ending_at_its_start_is_given_up_with_the_end_of_its_log(
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
    state = RestartState(0.0)
    assert [state.note_end(1.0) for _ in range(6)] == [
        FIRST_DELAY,
        2 * FIRST_DELAY,
        4 * FIRST_DELAY,
        8 * FIRST_DELAY,
        16 * FIRST_DELAY,
        LONGEST_DELAY,
    ]
    assert state.note_end(UP_AFTER) == FIRST_DELAY


def test_a_simulator_that_ended_is_not_restarted_without_its_relations(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "log")
    parts.down = ["simulator"]
    with pytest.raises(GivenUp, match="simulator ended"):
        Supervisor(parts, echo=lambda _: None, clock=lambda: 0.0).tend()


def entry(kind: str, child: int, *, parents: tuple[int, ...] = (1,), **more: Any) -> dict[str, Any]:
    act = {"kind": kind, "type": "t", "parents": parents, "children": (child,) if child else (), "code": 0}
    return {"account": "a", "acts": [act], "fault": "", "landed": False, **more}


@pytest.mark.parametrize(
    ("log", "repeated"),
    [
        ([entry("create", 5), entry("create", 6)], []),
        ([entry("create", 5), entry("create", 5)], [5]),
        ([entry("create", 5, fault="lost_after"), entry("get", 0), entry("create", 5)], []),
        ([entry("create", 5), entry("get", 0, parents=(2,)), entry("create", 5)], [5]),
        ([entry("get", 0), entry("delete", 5), entry("delete", 5)], [5]),
        ([entry("create", 5, fault="throttle"), entry("create", 5)], []),
        ([entry("create", 5), entry("create", 5, landed=True)], []),
        ([entry("create", 5), entry("create", 5, account="b")], []),
    ],
)
def test_a_write_counts_as_repeated_unless_its_relation_was_read_in_between(
    log: list[dict[str, Any]], repeated: list[int]
) -> None:
    assert find_repeated_writes(log, {"a", "b"}) == [Relation("t", 1, child) for child in repeated]


def test_a_loss_anywhere_in_a_part_is_not_survived() -> None:
    assert survived({"kills": {"always": {"result": {"lost": 0, "celery_lost": 3, "examples": []}}}})
    assert not survived({"kills": {"always": {"result": {"lost": 1}}}})
    assert not survived({"simulation": {"failing": [7]}})
