"""The delete brake, which stops more deletes than allowed, and cancelling during a flush."""

import pytest

from tests.support.flow_world import World, change
from worker.contract import Relation
from worker.ports.records import AuditEntry
from worker.store.job_admin import RedisJobAdmin
from worker.testing import MemoryStore

BUYER = "estate:address:buyer"


def world_with(brake: int) -> World:
    return World(MemoryStore, policy={"max_deletes_per_hour": brake})


def create_buyers(world: World, number: int) -> None:
    """Create so many buyers of estate 1."""
    world.accept(change("create", BUYER, 1, *range(1, number + 1), at=0))
    world.drain()


def test_a_mass_delete_pauses_the_account_before_any_of_it_leaves_and_is_reported_once() -> None:
    world = world_with(brake=10)
    create_buyers(world, 25)
    world.clock.advance(1.0)
    world.accept(change("delete", BUYER, 1, *range(1, 26), at=1))
    world.flush()
    world.flush()
    assert world.sent().count("delete") == 0
    [paused] = [fields for event, fields in world.events if event == "account.paused"]
    assert (
        paused["reason"],
        str(paused["detail"]).startswith("25 deletes within an hour, max_deletes_per_hour = 10"),
    ) == ("brake", True)
    assert len(world.relations()) == 25


def test_each_resume_lets_another_hours_allowance_go_until_all_is_done() -> None:
    world = world_with(brake=10)
    create_buyers(world, 25)
    world.clock.advance(1.0)
    world.accept(change("delete", BUYER, 1, *range(1, 26), at=1))
    left = []
    for _ in range(4):
        world.flush()
        world.flush()
        left.append(len(world.relations()))
        world.store.resume("acme")
    assert left == [25, 15, 5, 0]


def test_a_few_deletes_and_any_number_of_creates_pass_the_brake() -> None:
    world = world_with(brake=10)
    create_buyers(world, 200)
    world.clock.advance(1.0)
    world.accept(change("delete", BUYER, 1, *range(1, 11), at=1))
    world.drain()
    assert len(world.relations()) == 190
    world.clock.advance(60.0)
    world.accept(change("delete", BUYER, 1, 11, at=61))
    world.flush()
    paused = world.store.get_pause("acme")
    assert paused is not None
    assert paused.detail.startswith("11 deletes")
    world.clock.advance(3600.0)
    world.store.resume("acme")
    world.drain()
    assert len(world.relations()) == 189


def test_deletes_of_a_clock_that_was_ahead_do_not_pull_the_brake_once_it_was_set_back() -> None:
    world = world_with(brake=10)
    create_buyers(world, 25)
    world.clock.advance(86_400.0)
    world.accept(change("delete", BUYER, 1, *range(1, 9)))
    world.drain()
    world.clock.advance(-86_400.0)
    world.accept(change("delete", BUYER, 1, *range(9, 17)))
    world.drain()
    assert (len(world.relations()), world.store.get_pause("acme")) == (9, None)


def test_what_is_cancelled_while_a_flush_reads_is_not_sent_and_the_rest_is_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = world_with(brake=0)
    jobs = [
        receipt.job
        for receipt in world.accept(change("create", BUYER, 1, 9, at=0), change("create", BUYER, 2, 9, at=0))
    ]
    acts = RedisJobAdmin(world.store.database)

    def guarded(name: str) -> str:
        """Cancel while the batch is folded: after the read and before the claim."""
        acts.cancel("acme", jobs[:1], AuditEntry("d", "ada", "cancelled"))
        return ""

    monkeypatch.setattr(world, "policy", {"guarded": guarded})
    assert world.flush().next_in == 0.0
    world.drain()
    assert set(world.relations()) == {Relation(BUYER, 2, 9)}
