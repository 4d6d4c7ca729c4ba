"""Whole stories drawn from seeds: whatever happens in whatever order, nothing is lost and the CRM ends as it was asked to.

CI tells the same stories every time, a person's run tells new ones; a failing one prints the command that tells it again.
"""

import os
import random

import pytest

from tests.torture.expected_state import AcceptedChange, wanted
from tests.torture.fault_profile import Chaos
from tests.torture.schedule import SECOND, Schedule
from tests.torture.simulated_broker import Broker
from tests.torture.simulation import Story, simulate, survive
from worker.contract import Change, Relation
from worker.planner.actions import Request
from worker.ports import DeleteBrake, Pause
from worker.testing import MemoryStore
from worker.testing.lease import MemoryLease

FIRST = 1 if "CI" in os.environ else random.SystemRandom().randrange(1, 1_000_000_000)
STORIES = 50


def test_nothing_is_lost_and_the_crm_ends_as_it_was_asked_to(redis_url: str) -> None:
    said: list[str] = []
    survived = survive(range(FIRST, FIRST + STORIES), url=redis_url, echo=said.append)
    assert (said, survived.failing, survived.lost) == ([], (), 0)
    assert min(survived.crashes, survived.faults, survived.changes) > 0


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_a_seed_tells_the_same_story_every_time(store: str, redis_url: str) -> None:
    def told() -> tuple[Story, list[object]]:
        steps: list[object] = []
        story = simulate(
            FIRST, store=store, url=redis_url, tell=lambda at, who, what: steps.append((at, who, what[0]))
        )
        return story, steps

    assert told() == told()


def test_a_store_that_lets_anyone_begin_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = MemoryLease.begin

    def careless(
        self: MemoryLease, request_id: str, request: Request, brake: DeleteBrake | None = None
    ) -> int | Pause:
        with monkeypatch.context() as patch:
            patch.setattr(self, "_held_state", lambda: self._state, raising=False)
            return begin(self, request_id, request, brake)

    monkeypatch.setattr(MemoryLease, "begin", careless)
    assert any("begin of" in wrong for seed in range(1, 99) for wrong in simulate(seed).wrong)


def test_a_sweep_that_overlooks_work_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "due_accounts", lambda self, accounts: [])
    assert any("not finished" in wrong for seed in range(1, 5) for wrong in simulate(seed).wrong)


def test_of_those_whose_time_has_come_the_dice_choose_and_time_never_goes_back() -> None:
    def order(seed: int) -> list[int]:
        schedule, heard = Schedule(random.Random(seed), 0), list[int]()
        for number in range(9):
            schedule.after(number // 3, lambda number=number: heard.append(number))
        schedule.run(lambda: len(heard) == 9)
        assert schedule.now == 2 * SECOND
        return heard

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert [number // 3 for number in order(2)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_lost_message_never_comes_and_a_doubled_one_comes_twice() -> None:
    def taken(chaos: Chaos) -> list[str]:
        schedule, got = Schedule(random.Random(1), 0), list[str]()
        broker = Broker(schedule, lambda: chaos)

        def live() -> None:
            while True:
                got.append(broker.take(actor))

        actor = schedule.spawn("worker", live)
        broker.put("acme", 1.0)
        schedule.after(9.0, lambda: None)
        schedule.run(lambda: schedule.now >= 9 * SECOND)
        schedule.end()
        return got

    assert taken(Chaos()) == ["acme"]
    assert taken(Chaos(lose=1.0)) == []
    assert taken(Chaos(double=1.0)) == ["acme", "acme"]


def test_the_reference_knows_that_the_latest_wins_and_ties_go_by_acceptance() -> None:
    def change(action: str) -> Change:
        return Change(account="acme", action=action, type="estate:address:buyer", parents=(1,), children=(2,))

    accepted = [
        AcceptedChange(5, 1, "b", change("delete")),
        AcceptedChange(5, 0, "a", change("create")),
        AcceptedChange(4, 2, "c", change("create")),
    ]
    [want] = wanted(
        ((entry, Relation("estate:address:buyer", 1, 2)) for entry in accepted), upsert=False
    ).values()
    assert want.present is False
