"""Stopped before or after any call to the world, and started again, intake and flush end as if nothing had happened."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from world import INFO, World, asked_for, change

from ops.simulator import FaultPlan, Records
from worker.contract import Change
from worker.planner.plan import Limits
from worker.ports import Store
from worker.store.redis import RedisStore

BROKER, APPOINTMENT, BUYER = "estate:address:contactPerson", "calendar:address", "estate:address:buyer"


class Stop(BaseException):
    """The process is gone; nothing catches this."""


class Fuse:
    """Burns at one call of the world, before or after it is carried out."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.calls = at, after, 0

    def through(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if number == self.at and not self.after:
            raise Stop
        result = call(*args, **kwargs)
        if number == self.at:
            raise Stop
        return result


class Brittle:
    """Anything, its calls led through a fuse; what a lease-giving call gives is brittle, too."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            result = self._fuse.through(value, *args, **kwargs)
            return Brittle(result, self._fuse) if name == "lease" and result is not None else result

        return call


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
    sound, apis = here.store, here.apis
    here.store, here.apis = Brittle(sound, fuse), {name: Brittle(api, fuse) for name, api in apis.items()}
    here.intake = type(here.intake)(store=here.store, doors=here.intake.doors, name=here.name, wake=here.intake.wake, say=here.say)
    asked = [msgspec.structs.replace(each, event_id=f"e{at}") for at, each in enumerate(scenario())]
    for turn in itertools.count():
        try:
            for each in asked:  # a producer that got no answer says the same again
                here.accept(each)
            here.drain()
            break
        except Stop:
            assert turn < 3
            here.clock.sleep(11)  # the lease runs out, by the world's clock …
            forget(sound, "test:{acme}:lease")  # … and by the server's own
    here.store, here.apis = sound, apis
    return here


def forget(store: Store, *keys: str) -> None:
    """Make the server forget keys, or everything; an in-memory store is new for every run anyway."""
    if isinstance(store, RedisStore):
        store._client.delete(*keys) if keys else store._client.flushall()


def ending(here: World) -> tuple[Any, Any]:
    jobs = sorted({receipt.job for receipt in here.receipts})
    outcomes = sorted((job.event_id, job.state, tuple(job.counts.items()), job.failed) for job in map(here.store.job, jobs))
    return here.relations(), outcomes


@pytest.mark.parametrize("faults", [(), ("lost_after", None, "lost_before")], ids=["calm", "with lost answers"])
def test_a_crash_at_any_step_changes_neither_the_end_state_nor_the_outcomes(world: Callable[..., World], faults: tuple[str, ...]) -> None:
    fuse = Fuse(-1, after=False)
    undisturbed = play(world, fuse, faults)
    state, outcomes = ending(undisturbed)
    wanted = asked_for((each, relation) for each in scenario() for relation in each.relations if relation.child != 9004)
    assert state.keys() == {relation for relation, want in wanted.items() if want.present}
    for at, after in itertools.product(range(fuse.calls), (False, True)):
        forget(undisturbed.store)
        assert (at, after, *ending(play(world, Fuse(at, after=after), faults))) == (at, after, state, outcomes)
