"""Whole scenarios from seeds: whatever happens in any order, nothing is lost and the CRM ends as asked for.

CI runs the same scenarios every time, other runs new ones; a failing one prints the command that repeats it.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ops.simulator import Records
from tests.support.flow_world import World, change
from tests.torture.checked_ports import CheckedStore
from tests.torture.expected_state import AcceptedChange, expect, is_cleared
from tests.torture.fault_profile import FaultProfile
from tests.torture.history_checker import HistoryChecker
from tests.torture.schedule import SECOND, Schedule
from tests.torture.simulated_broker import SimulatedBroker
from tests.torture.simulation import ScenarioResult, check_crm, run_seeds, simulate
from worker.contract import Change, Relation
from worker.planner.actions import Request
from worker.ports.callbacks import CallbackAttempt, CallbackMessage
from worker.ports.pace import Pause
from worker.ports.work import DeleteBrake
from worker.store.database import Commit
from worker.store.job_admin import RedisJobAdmin
from worker.store.jobs import lifecycle
from worker.store.lease import replaced
from worker.store.lease.lease import RedisLease
from worker.store.memories import Memory
from worker.testing import MemoryStore
from worker.usecases import withdrawal
from worker.usecases.callbacks import decide_attempt

FIRST = 1 if "CI" in os.environ else random.SystemRandom().randrange(1, 1_000_000_000)
SEEDS = 30
BUYER = "estate:address:buyer"


def test_nothing_is_lost_and_the_crm_ends_as_it_was_asked_to(redis_url: str) -> None:
    failures: list[str] = []
    total = run_seeds(range(FIRST, FIRST + SEEDS), url=redis_url, echo=failures.append)
    assert (failures, total.failing, total.lost) == ([], (), 0)
    assert min(total.crashes, total.faults, total.changes) > 0


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_a_seed_gives_the_same_run_every_time(store: str, redis_url: str) -> None:
    def run() -> tuple[ScenarioResult, list[object]]:
        steps: list[object] = []
        result = simulate(
            FIRST, store=store, url=redis_url, trace=lambda at, who, step: steps.append((at, who, step[0]))
        )
        return result, steps

    assert run() == run()


def test_a_store_that_lets_anyone_begin_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = RedisLease.begin

    def begin_without_check(
        self: RedisLease, request_id: str, request: Request, brake: DeleteBrake | None = None
    ) -> int | Pause:
        with monkeypatch.context() as patch:
            patch.setattr(Commit, "check", lambda *_: None)
            return begin(self, request_id, request, brake)

    monkeypatch.setattr(RedisLease, "begin", begin_without_check)
    assert any("begin of" in wrong for seed in range(1, 113) for wrong in simulate(seed).wrong)


def test_a_sweep_that_overlooks_work_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "due_accounts", lambda self, accounts: [])
    assert any("not finished" in wrong for seed in range(1, 5) for wrong in simulate(seed).wrong)


def test_a_job_that_does_not_name_what_was_sent_in_its_place_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RedisJobAdmin, "link_replacement", lambda *_, **__: None)
    assert any("does not name" in wrong for seed in range(25, 125) for wrong in simulate(seed).wrong)


def test_an_erasure_that_forgets_what_has_no_answer_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withdrawal, "unfinished_until", lambda *_, **__: None)
    assert any("expected is" in wrong for seed in range(79, 279) for wrong in simulate(seed).wrong)


def test_a_replace_that_removes_although_one_could_not_come_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "has_to_remove", lambda v: bool(v.replaces) and v.phase == 0)
    assert any("before it may" in wrong for seed in range(135, 335) for wrong in simulate(seed).wrong)


def test_a_removal_that_failed_and_counts_as_done_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replace could not remove a child, and a change that is older than it comes late."""
    assert check_a_late_change_after_a_failed_removal() == []
    read = Memory.read

    def read_without(*given: Any) -> Memory:
        return msgspec.structs.replace(read(*given), own_replaces=())

    monkeypatch.setattr(Memory, "read", read_without)
    (wrong,) = check_a_late_change_after_a_failed_removal()
    assert "expected is" in wrong


def check_a_late_change_after_a_failed_removal() -> list[str]:
    """Return what the checker finds wrong in the CRM at the end."""
    checkers = list[HistoryChecker]()

    def make_store(now: Callable[[], int]) -> Any:
        checkers.append(HistoryChecker(now, lambda _: None))
        return CheckedStore(MemoryStore(now), checkers[0], upsert=False)

    world = World(make_store, records=Records(no_write=frozenset({("address", 10)})))
    world.simulator.seed("token-acme", [(BUYER, 1, 10)])
    replacing = msgspec.structs.replace(change("replace", BUYER, 1, 11, at=-5), replaces="child")
    world.accept(replacing)
    world.drain()
    world.simulator.seed("token-acme", records=Records(), drop=((BUYER, 1, 10),))
    world.accept(change("create", BUYER, 1, 10, at=-9))
    world.drain()
    assert world.job().state == "failed"
    return [*checkers[0].wrong, *check_crm(checkers[0], "acme", world.relations(), upsert=False)]


def test_what_replaces_did_not_find_any_more_and_is_not_remembered_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replaced, "with_replaced", lambda _database, _account, found: found)
    assert any("drift of" in wrong for seed in range(360, 460) for wrong in simulate(seed).wrong)


def test_a_message_that_counts_as_taken_when_nobody_answers_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decide(message: CallbackMessage, attempt: CallbackAttempt, **options: float) -> CallbackMessage:
        taken = attempt._replace(status=200) if attempt.error else attempt
        return decide_attempt(message, taken, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("worker.usecases.callbacks.decide_attempt", decide)
    assert any("as delivered" in wrong for seed in range(58, 258) for wrong in simulate(seed).wrong)


def test_a_read_of_drift_that_takes_everything_as_there_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.usecases.drift.is_seen", lambda *_: True)
    assert any("drift of" in wrong for seed in range(6, 206) for wrong in simulate(seed).wrong)


def test_every_act_of_an_operator_happens_and_some_are_interrupted() -> None:
    acts, crashes = Counter[str](), 0
    for seed in range(FIRST, FIRST + 20):
        result = simulate(seed)
        acts += Counter(dict(result.acts))
        crashes += result.interrupted_acts
    assert acts.keys() >= {"pause", "resume", "cancel", "dismiss", "requeue", "replay", "erase", "finish"}
    assert crashes > 0


def test_the_seed_orders_what_is_due_and_time_never_goes_back() -> None:
    def run_order(seed: int) -> list[int]:
        schedule, order = Schedule(random.Random(seed), 0), list[int]()
        for number in range(9):
            schedule.after(number // 3, lambda number=number: order.append(number))
        schedule.run(lambda: len(order) == 9)
        assert schedule.now == 2 * SECOND
        return order

    assert run_order(1) == run_order(1)
    assert run_order(1) != run_order(2)
    assert [number // 3 for number in run_order(2)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_lost_message_never_arrives_and_a_doubled_one_arrives_twice() -> None:
    def arrivals(faults: FaultProfile) -> list[str]:
        schedule, arrived = Schedule(random.Random(1), 0), list[str]()
        broker = SimulatedBroker(schedule, lambda: faults)

        def take_forever() -> None:
            while True:
                arrived.append(broker.take(actor))

        actor = schedule.spawn("worker", take_forever)
        broker.put("acme", 1.0)
        schedule.after(9.0, lambda: None)
        schedule.run(lambda: schedule.now >= 9 * SECOND)
        schedule.end()
        return arrived

    assert arrivals(FaultProfile()) == ["acme"]
    assert arrivals(FaultProfile(lose=1.0)) == []
    assert arrivals(FaultProfile(double=1.0)) == ["acme", "acme"]


def test_the_expected_state_follows_the_latest_change_and_ties_go_by_acceptance() -> None:
    def change(action: str) -> Change:
        return Change(account="acme", action=action, type=BUYER, parents=(1,), children=(2,))

    accepted = [
        AcceptedChange(5, 1, "b", change("delete")),
        AcceptedChange(5, 0, "a", change("create")),
        AcceptedChange(4, 2, "c", change("create")),
    ]
    relation = Relation(BUYER, 1, 2)
    [state] = expect(((entry, relation) for entry in accepted), upsert=False).values()
    assert state.present is False


def test_the_expected_state_of_what_a_replace_does_not_name_is_absent_unless_a_later_change_says_more() -> (
    None
):
    wanted = Change(
        account="acme", action="replace", type=BUYER, parents=(1,), children=(2,), replaces="child"
    )
    later = Change(account="acme", action="create", type=BUYER, parents=(1,), children=(4,))
    cleared = [relation for child in (2, 3, 4) if is_cleared(wanted, relation := Relation(BUYER, 1, child))]
    replaced = AcceptedChange(5, 1, "b", wanted)
    pairs = [(replaced, relation) for relation in (*wanted.relations, *cleared)]
    pairs += [(AcceptedChange(6, 0, "a", later), Relation(BUYER, 1, 4))]
    states = expect(pairs, upsert=False)
    assert {relation.child: state.present for relation, state in states.items()} == {
        2: True,
        3: False,
        4: True,
    }
    assert not any(
        is_cleared(wanted, other) for other in (Relation(BUYER, 2, 3), Relation("estate:estateUnit", 1, 3))
    )
