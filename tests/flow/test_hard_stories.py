"""What the simulation found once, told again as short stories: sleepers, starvation, and a lost answer in a swap."""

import itertools
from collections.abc import Sequence

from ops.simulator import FaultPlan, Records
from tests.support.flow_world import World, change
from worker.planner.actions import Action, Reply
from worker.testing import MemoryStore

BUYER, BROKER = "estate:address:buyer", "estate:address:contactPerson"


def test_what_was_begun_under_a_lost_lease_never_undoes_a_newer_change() -> None:
    here = World(MemoryStore)
    api = here.apis["acme"]

    class Sleeper:
        """An API that is not reached before the lease, the signature and the doubt are over, and others have gone on."""

        def send(self, actions: Sequence[Action], *, request_id: str, now: float) -> Reply:
            here.apis["acme"] = api
            here.accept(change("delete", BUYER, 501, 9001))
            here.clock.sleep(200)
            here.drain()
            return api.send(actions, request_id=request_id, now=now)

    here.accept(change("create", BUYER, 501, 9001, at=-1))
    here.apis["acme"] = Sleeper()
    assert here.flush().state == "lost"
    here.drain()
    assert here.relations() == {}


def test_a_clock_that_is_off_costs_one_request_and_no_pause() -> None:
    here = World(MemoryStore)
    here.simulator.clock = lambda: here.clock.now() / 1e6 + 900
    here.accept(change("create", BUYER, 501, 9001))
    flushed = here.flush()
    assert (flushed.requests, here.store.get_pause("acme")) == (2, None)
    assert here.store.get_job(here.receipts[0].job).state == "succeeded"


def test_a_clock_that_nobody_can_set_right_pauses_the_account_for_a_while() -> None:
    here = World(MemoryStore)
    readings = itertools.count(1)
    here.simulator.clock = lambda: here.clock.now() / 1e6 + 900 * next(readings)
    here.accept(change("create", BUYER, 501, 9001))
    assert here.flush().requests == 2
    assert here.store.get_pause("acme").reason == "clock"


def test_waiting_halves_that_fill_every_hand_do_not_keep_the_first_half_in_the_inbox_for_ever() -> None:
    here = World(MemoryStore, lane={"max_batch": 1})
    here.accept(
        *(change("delete", BROKER, 501, child, at=-2) for child in range(1, 6)),
        change("create", BROKER, 501, 6, at=-1),
    )
    for _ in range(100):
        here.flush()
        here.clock.sleep(0.3)  # a slow hand: it needs longer for all of them than one steps back at first
    assert here.open_accounts() == {}
    assert [relation.child for relation in here.relations()] == [6]


def test_a_waiting_half_that_was_sent_before_is_read_back_and_not_said_to_be_unsent() -> None:
    here = World(
        MemoryStore,
        records=Records(missing=frozenset({("address", 904)})),
        faults=FaultPlan.script(["lost_after"]),
    )
    here.simulator.seed("token-acme", [(BROKER, 501, 1)])
    here.accept(change("delete", BROKER, 501, 1, at=-2))
    here.flush()
    here.accept(change("create", BROKER, 501, 904, at=-1))
    here.drain()
    assert [here.store.get_job(receipt.job).state for receipt in here.receipts] == ["succeeded", "failed"]
    assert here.relations() == {}
