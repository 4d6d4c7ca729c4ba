"""Cases that the simulation found: a process that slept too long, starvation, and a lost answer in a swap."""

import itertools
from collections.abc import Sequence

import msgspec

from ops.simulator import FaultPlan, InjectedFault, Records
from tests.support.flow_world import World, change
from tests.support.store_steps import job_admin_of
from worker.contract import Change, Relation
from worker.planner.actions import Action, Reply, Search
from worker.ports.records import AuditEntry
from worker.testing import MemoryStore

BUYER, BROKER, UNIT = "estate:address:buyer", "estate:address:contactPerson", "estate:estateUnit"


def replace(parent: int, *children: int, at: float) -> Change:
    return msgspec.structs.replace(change("replace", BUYER, parent, *children, at=at), replaces="child")


def test_what_was_begun_under_a_lost_lease_never_undoes_a_newer_change() -> None:
    world = World(MemoryStore)
    api = world.apis["acme"]

    class Sleeping:
        """An API that is only reached after the lease, the signature and the doubt are over."""

        def send(self, actions: Sequence[Action | Search], *, request_id: str, now: float) -> Reply:
            world.apis["acme"] = api
            world.accept(change("delete", BUYER, 501, 9001))
            world.clock.advance(200)
            world.drain()
            return api.send(actions, request_id=request_id, now=now)

    world.accept(change("create", BUYER, 501, 9001, at=-1))
    world.apis["acme"] = Sleeping()
    assert world.flush().state == "lost"
    world.drain()
    assert world.relations() == {}


def test_a_clock_that_is_off_costs_one_request_and_no_pause() -> None:
    world = World(MemoryStore)
    world.simulator.clock = lambda: world.clock.now() / 1e6 + 900
    world.accept(change("create", BUYER, 501, 9001))
    result = world.flush()
    assert (result.requests, world.store.get_pause("acme")) == (2, None)
    assert world.job().state == "succeeded"


def test_a_clock_that_cannot_be_corrected_pauses_the_account_for_a_while() -> None:
    world = World(MemoryStore)
    readings = itertools.count(1)
    world.simulator.clock = lambda: world.clock.now() / 1e6 + 900 * next(readings)
    world.accept(change("create", BUYER, 501, 9001))
    assert world.flush().requests == 2
    assert world.store.get_pause("acme").reason == "clock"


def test_waiting_halves_that_fill_every_batch_do_not_keep_the_first_half_in_the_inbox_for_ever() -> None:
    world = World(MemoryStore, policy={"max_batch": 1})
    world.accept(
        *(change("delete", BROKER, 501, child, at=-2) for child in range(1, 6)),
        change("create", BROKER, 501, 6, at=-1),
    )
    for _ in range(100):
        world.flush()
        world.clock.advance(0.3)  # so slow that it needs longer for all of them than one steps back at first
    assert world.open_accounts() == {}
    assert [relation.child for relation in world.relations()] == [6]


def test_a_guarded_delete_that_was_sent_before_is_read_back_and_does_not_fail_as_unsent() -> None:
    world = World(
        MemoryStore,
        records=Records(missing=frozenset({("address", 904)})),
        faults=FaultPlan.script([None, "lost_after"]),
    )
    world.simulator.seed("token-acme", [(BROKER, 501, 1), (BROKER, 501, 2)])
    world.accept(change("delete", BROKER, 501, 1, at=-2))
    world.flush()
    world.accept(change("create", BROKER, 501, 904, at=-1), change("delete", BROKER, 501, 2, at=-1))
    world.drain()
    states = [job.state for job in world.jobs()]
    assert states == ["succeeded", "failed", "failed"]
    assert list(world.relations()) == [Relation(BROKER, 501, 2)]


def test_a_replace_that_is_cancelled_before_its_read_still_shows_what_it_applied() -> None:
    world = World(MemoryStore)
    world.accept(replace(501, 1, at=-1))
    world.flush()
    job = world.job().id
    assert job_admin_of(world.store).cancel("acme", [job], AuditEntry("a", "ada", "cancelled", job)).done
    _, history = world.store.relation_history("acme", Relation(BUYER, 501, 1))
    assert [event.result for event in history] == ["applied"]


def test_an_open_change_that_a_replace_has_made_stale_has_one_outcome() -> None:
    world = World(MemoryStore, faults=FaultPlan.script(["lost_after"]))
    world.accept(change("create", BUYER, 501, 1, at=-2))
    world.flush()
    world.accept(replace(501, 2, at=-1))
    world.flush()
    world.clock.advance(2)  # the first is due when the read of the second shows that it landed
    world.drain()
    assert (world.job().total, sum(world.job().counts.values())) == (1, 1)
    assert world.linked() == {(501, 2)}


def test_a_create_that_lands_after_the_read_of_a_newer_replace_is_removed() -> None:
    world = World(MemoryStore, faults=FaultPlan.script([InjectedFault("late", 60.0)]))
    world.accept(change("create", BUYER, 501, 1, at=-2))
    world.flush()
    world.accept(replace(501, 2, at=-1))
    world.drain()
    world.clock.advance(60)
    assert world.linked() == {(501, 2)}


def test_a_unit_that_left_a_building_and_came_back_in_one_flush_gets_no_second_one() -> None:
    world = World(MemoryStore, policy={"max_batch": 2})
    world.simulator.seed("token-acme", [(UNIT, 501, 7)])
    world.accept(change("delete", UNIT, 501, 7, at=-3), change("create", BUYER, 501, 1, at=-3))
    world.accept(change("create", UNIT, 501, 7, at=-2), change("create", UNIT, 502, 7, at=-1))
    world.drain()
    assert world.simulator.violations("token-acme") == ()
