"""Crashed before or after any call to the outside, and started again, intake and flush end the same."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ops.simulator import FaultPlan, Records
from tests.support.crashes import CrashPoint, crash_points, delete_keys, run_with_crash
from tests.support.flow_world import INFO, World, change, expected_states
from worker.contract import Change
from worker.planner.plan import Limits
from worker.testing import MemoryStore

BROKER, APPOINTMENT, BUYER = "estate:address:contactPerson", "calendar:address", "estate:address:buyer"


def scenario() -> list[Change]:
    """Return a swap, a bad id in a star, confirmations, a contradiction and a duplicate."""
    return [
        change("create", BUYER, 501, *range(9000, 9006), at=-9),
        change("delete", BUYER, 501, 9001, at=-8),
        change("create", BROKER, 501, 43, at=-7),
        change("delete", BROKER, 501, 42, at=-6),
        change("create", APPOINTMENT, 77, 1, 2, at=-5),
        change("modify", APPOINTMENT, 77, 1, at=-4, info=((INFO, "gesendet"),)),
        change("create", BUYER, 502, 9000, at=-3),
    ]


def play(make_world: Callable[..., World], point: CrashPoint, faults: tuple[str, ...]) -> World:
    world = make_world(
        policy={"limits": Limits(max_ids=4, max_actions=3), "in_flight": 2},
        records=Records(missing=frozenset({("address", 9004)})),
        faults=FaultPlan.script(faults),
    )
    world.simulator.seed("token-acme", [change("create", BROKER, 501, 42).relations[0]])
    submitted = [msgspec.structs.replace(wanted, event_id=f"e{at}") for at, wanted in enumerate(scenario())]

    def run() -> None:
        for wanted in submitted:  # a producer that got no answer sends the same again
            world.accept(wanted)
        world.drain()

    return run_with_crash(world, point, run)


def final_state(world: World) -> tuple[Any, Any]:
    jobs = sorted({receipt.job for receipt in world.receipts})
    outcomes = sorted(
        (job.event_id, job.state, tuple(job.counts.items()), job.failed)
        for job in map(world.store.get_job, jobs)
    )
    return world.relations(), outcomes


@pytest.mark.parametrize(
    "faults", [(), ("lost_after", None, "lost_before")], ids=["calm", "with lost answers"]
)
def test_a_crash_at_any_step_changes_neither_the_end_state_nor_the_outcomes(
    make_world: Callable[..., World], faults: tuple[str, ...]
) -> None:
    point = CrashPoint()
    undisturbed = play(make_world, point, faults)
    relations, outcomes = final_state(undisturbed)
    expected = expected_states(
        (wanted, relation) for wanted in scenario() for relation in wanted.relations if relation.child != 9004
    )
    assert relations.keys() == {relation for relation, state in expected.items() if state.present}
    crashes = crash_points(point.calls)
    if not isinstance(undisturbed.store, MemoryStore):
        crashes = crashes[::3]  # every one is tried on the store in memory, whose code is the same
    for crash in crashes:
        delete_keys(undisturbed.store)
        assert final_state(play(make_world, crash, faults)) == (relations, outcomes), (crash.at, crash.after)
