"""Stopped before or after any call to the world, and started again, intake and flush end as if nothing had happened."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ops.simulator import FaultPlan, Records
from tests.support.crashes import Fuse, forget, live
from tests.support.flow_world import INFO, World, asked_for, change
from worker.contract import Change
from worker.planner.plan import Limits

BROKER, APPOINTMENT, BUYER = "estate:address:contactPerson", "calendar:address", "estate:address:buyer"


def scenario() -> list[Change]:
    """A swap, a bad id in a star, confirmations, a contradiction and a duplicate."""
    return [
        change("create", BUYER, 501, *range(9000, 9006), at=-9),
        change("delete", BUYER, 501, 9001, at=-8),
        change("create", BROKER, 501, 43, at=-7),
        change("delete", BROKER, 501, 42, at=-6),
        change("create", APPOINTMENT, 77, 1, 2, at=-5),
        change("modify", APPOINTMENT, 77, 1, at=-4, info=((INFO, "gesendet"),)),
        change("create", BUYER, 502, 9000, at=-3),
    ]


def play(world: Callable[..., World], fuse: Fuse, faults: tuple[str, ...]) -> World:
    here = world(
        lane={"limits": Limits(max_ids=4, max_actions=3)},
        records=Records(missing=frozenset({("address", 9004)})),
        faults=FaultPlan.script(faults),
    )
    here.simulator.seed("token-acme", [change("create", BROKER, 501, 42).relations[0]])
    asked = [msgspec.structs.replace(each, event_id=f"e{at}") for at, each in enumerate(scenario())]

    def day() -> None:
        for each in asked:  # a producer that got no answer says the same again
            here.accept(each)
        here.drain()

    return live(here, fuse, day)


def ending(here: World) -> tuple[Any, Any]:
    jobs = sorted({receipt.job for receipt in here.receipts})
    outcomes = sorted(
        (job.event_id, job.state, tuple(job.counts.items()), job.failed)
        for job in map(here.store.get_job, jobs)
    )
    return here.relations(), outcomes


@pytest.mark.parametrize(
    "faults", [(), ("lost_after", None, "lost_before")], ids=["calm", "with lost answers"]
)
def test_a_crash_at_any_step_changes_neither_the_end_state_nor_the_outcomes(
    world: Callable[..., World], faults: tuple[str, ...]
) -> None:
    fuse = Fuse()
    undisturbed = play(world, fuse, faults)
    state, outcomes = ending(undisturbed)
    wanted = asked_for(
        (each, relation) for each in scenario() for relation in each.relations if relation.child != 9004
    )
    assert state.keys() == {relation for relation, want in wanted.items() if want.present}
    for at, after in itertools.product(range(fuse.calls), (False, True)):
        forget(undisturbed.store)
        assert (at, after, *ending(play(world, Fuse(at, after=after), faults))) == (
            at,
            after,
            state,
            outcomes,
        )
