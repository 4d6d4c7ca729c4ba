"""The store's clock is set back an hour: nothing that was dated stands longer than it was to."""

from collections.abc import Callable
from typing import Any

from ops.simulator import FaultPlan
from tests.support.broken_stores import inspector_of
from tests.support.flow_world import World, change
from tests.support.store_steps import deliveries_of, job_admin_of, metrics_of
from worker.usecases.sweep import Sweeper

BUYER = "estate:address:buyer"


class StoreTime:
    """Metrics that tell the world's time, which a test sets back."""

    def __init__(self, world: World) -> None:
        self._metrics, self._now = metrics_of(world.store), world.clock.now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metrics, name)

    def now(self) -> int:
        return self._now()


def test_a_retry_goes_when_it_was_to_go_though_the_clock_was_set_back(
    make_world: Callable[..., World],
) -> None:
    world = make_world(faults=FaultPlan.script(["lost_after"]))
    woken: list[str] = []
    sweeper = Sweeper(
        store=world.store,
        job_admin=job_admin_of(world.store),
        metrics=StoreTime(world),
        deliveries=deliveries_of(world.store),
        list_accounts=lambda: ["acme"],
        fingerprint_of=lambda _: "",
        wake=lambda account, _: woken.append(account),
        mend=inspector_of(world.store).mend,
        emit=world.emit,
    )
    sweeper.sweep()
    world.accept(change("create", BUYER, 501, 9001))
    next_in = world.flush().next_in
    assert next_in is not None
    sweeper.sweep()
    world.clock.advance(-3600.0)
    for _ in range(60):
        woken.clear()
        sweeper.sweep()
        if woken:
            world.flush()
        world.clock.advance(2.0)
        if world.job().state == "succeeded":
            break
    assert world.job().state == "succeeded"
    assert [fields["seconds"] for event, fields in world.events if event == "clock.stepped"] == [3600.0]
    assert inspector_of(world.store).inspect("acme").flaws == ()
