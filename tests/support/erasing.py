"""Erase a record as most tests want it: counts of what was changed, or the error of what waits."""

from collections.abc import Mapping
from typing import Any

from producers.job_admin.erase import EraseService
from tests.support.flow_world import World
from tests.support.store_steps import deliveries_of, job_admin_of
from worker.ports.erasure import ERASED
from worker.testing import skip_renewal
from worker.usecases.withdrawal import withdraw_record


def erasure_of(world: World, wakes: list[str] | None = None) -> EraseService:
    """Return what erases records of a world; `wakes` gets the accounts that it wakes."""
    wakes = [] if wakes is None else wakes
    return EraseService(
        store=world.store,
        job_admin=job_admin_of(world.store),
        deliveries=deliveries_of(world.store),
        clock=world.clock,
        new_id=world.new_id,
        withdraw=lambda account, *known: withdraw_record(*known, world.policy_of(account), by=ERASED),
        now=world.clock.now,
        keep_lease=skip_renewal,
        wake=lambda account, _: wakes.append(account),
    )


def erase_record(
    service: EraseService, account: str, module: str, number: int, *, by: str, **options: Any
) -> Mapping[str, int]:
    """Erase the record and return counts by kind; raises Unavailable if anything waits."""
    proof, waiting = service.erase(account, module, number, by=by, **options)
    if waiting:
        raise waiting
    return proof.erased
