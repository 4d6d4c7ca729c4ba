"""Cancelling what was taken and never signed: it ends, others of its relation go on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ops.simulator import FaultPlan, InjectedFault
from producers.job_admin.cancel_dismiss import CANCELLABLE, JobAdminService
from producers.job_admin.selection import narrow, select_jobs
from tests.support.crashes import BrokenConnection, CrashPoint
from tests.support.flow_world import World, change
from tests.support.store_steps import count_by_state, expire_lease, job_admin_of, metrics_of, queries_of
from worker.contract import Relation
from worker.errors import InvalidChange, LeaseLost, Unavailable
from worker.ports.job_admin import CANCELLED, AdminResult
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry, JobFilter
from worker.testing import skip_renewal
from worker.usecases.cancel_taken import AT_WORK, OVERRULED, UNFINISHED, TakenJobs

BUYER = "estate:address:buyer"
Make = Callable[..., World]


def service_of(world: World, wakes: list[str] | None = None) -> JobAdminService:
    wakes = [] if wakes is None else wakes
    queries, job_admin = queries_of(world.store), job_admin_of(world.store)
    taken = TakenJobs(
        store=world.store,
        queries=queries,
        job_admin=job_admin,
        policy_of=world.policy_of,
        clock=world.clock,
        keep_lease=skip_renewal,
        new_id=world.new_id,
        wake=lambda account, _: wakes.append(account),
    )
    return JobAdminService(
        queries=queries, job_admin=job_admin, new_id=world.new_id, cancel_taken=taken.cancel
    )


def cancel(world: World, selection: Any) -> AdminResult:
    return service_of(world).cancel("acme", selection, by="ada")


def ids(world: World, *positions: int) -> list[str]:
    return [world.receipts[position].job for position in positions]


def stopped_before_sending(make_world: Make, *changes: Any, **options: Any) -> World:
    """Return a world whose changes were taken by a flush that found the breaker open, and sent nothing."""
    world = make_world(**options)
    for _ in range(5):
        world.limiter.report("acme", "failed")
    world.accept(*changes)
    world.flush()
    return world


def test_a_worker_is_woken_for_what_has_waited_while_taken_changes_were_cancelled(make_world: Make) -> None:
    world, wakes = stopped_before_sending(make_world, change("create", BUYER, 1, 9)), list[str]()
    world.clock.advance(60.0)
    world.accept(change("create", BUYER, 2, 9))
    assert service_of(world, wakes).cancel("acme", ids(world, 0), by="ada").done == tuple(ids(world, 0))
    assert wakes == ["acme"]


def test_what_was_taken_and_never_signed_is_held_and_can_be_cancelled(make_world: Make) -> None:
    world = stopped_before_sending(make_world, change("create", BUYER, 1, 9), change("create", BUYER, 2, 9))
    assert [world.job(at).state for at in (0, 1)] == ["held", "held"]
    assert count_by_state(metrics_of(world.store), "acme")["held"] == 2
    assert count_by_state(metrics_of(world.store), "acme")["sending"] == 0
    assert [found.id for found in queries_of(world.store).find_jobs("acme", JobFilter(state="held")).entries]
    world.store.pause("acme", Pause("hand"))
    assert cancel(world, ids(world, 0)) == AdminResult(tuple(ids(world, 0)), {})
    assert (world.job(0).state, world.job(0).by) == ("superseded", CANCELLED)
    assert cancel(world, ids(world, 0)).done == tuple(ids(world, 0))  # a repeated call says the same
    acts = [(entry.act, entry.count) for entry in job_admin_of(world.store).audit_log("acme").entries]
    assert acts == [("cancelled", 0), ("cancelled", 1)]
    world.store.resume("acme")
    world.drain()
    assert set(world.relations()) == {Relation(BUYER, 2, 9)}
    assert world.job(1).state == "succeeded"


def test_what_a_worker_finished_while_one_waited_for_its_lease_is_refused_for_what_it_is_by_then(
    make_world: Make,
) -> None:
    world = stopped_before_sending(make_world, change("create", BUYER, 1, 9))

    def be_late(_account: str, jobs: Sequence[str], _entry: AuditEntry) -> AdminResult:
        """Answer as after five seconds without the lease; the worker that has it goes on."""
        world.drain()
        return AdminResult((), dict.fromkeys(jobs, AT_WORK))

    result = replace(service_of(world), cancel_taken=be_late).cancel("acme", ids(world, 0), by="ada")
    assert result == AdminResult((), {ids(world, 0)[0]: "succeeded"})


def test_a_filter_cancels_what_waits_in_the_inbox_and_what_was_taken_alike(make_world: Make) -> None:
    world = stopped_before_sending(make_world, change("create", BUYER, 1, 9, batch="b"))
    world.accept(change("create", BUYER, 2, 9, batch="b"), change("create", BUYER, 3, 9))
    assert set(cancel(world, JobFilter(batch="b")).done) == set(ids(world, 0, 1))
    world.drain()
    assert set(world.relations()) == {Relation(BUYER, 3, 9)}


def test_other_changes_of_its_relation_go_on_without_it(make_world: Make) -> None:
    world = stopped_before_sending(
        make_world, change("create", BUYER, 1, 9), change("create", BUYER, 1, 9, event_id="again")
    )
    assert cancel(world, ids(world, 1)).done == tuple(ids(world, 1))
    world.drain()
    assert set(world.relations()) == {Relation(BUYER, 1, 9)}
    assert [world.job(at).state for at in (0, 1)] == ["succeeded", "superseded"]


def test_one_that_overruled_others_goes_on_because_nobody_would_do_what_they_asked_for(
    make_world: Make,
) -> None:
    world = stopped_before_sending(
        make_world, change("create", BUYER, 1, 9, at=-9), change("delete", BUYER, 1, 9, at=-5)
    )
    assert cancel(world, ids(world, 1)).refused == {ids(world, 1)[0]: OVERRULED}
    world.drain()
    assert world.job(1).state == "succeeded"


def test_a_request_under_way_is_sending_and_goes_on(make_world: Make) -> None:
    world = make_world()
    world.accept(change("create", BUYER, 1, 9))
    seen = []

    class Watching:
        """The API, while somebody tries to cancel what it is sent."""

        def send(self, actions: Any, **how: Any) -> Any:
            seen.append((world.job(0).state, cancel(world, ids(world, 0)).refused))
            return api.send(actions, **how)

    api, world.apis["acme"] = world.apis["acme"], Watching()
    world.flush()
    assert seen == [("sending", {ids(world, 0)[0]: "sending"})]
    assert world.job(0).state == "succeeded"


def test_while_a_worker_has_the_account_what_it_took_is_refused_with_the_reason(make_world: Make) -> None:
    world = stopped_before_sending(make_world, change("create", BUYER, 1, 9))
    lease = world.store.lease("acme", "another worker")
    assert lease is not None
    assert cancel(world, ids(world, 0)).refused == {ids(world, 0)[0]: AT_WORK}
    lease.release()
    assert cancel(world, ids(world, 0)).done


def test_what_has_no_answer_goes_on(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script([InjectedFault("lost_after")]))
    world.accept(change("create", BUYER, 1, 9, 10))
    world.flush()
    assert world.job(0).state == "verifying"
    assert cancel(world, ids(world, 0)).refused == {ids(world, 0)[0]: "verifying"}
    world.drain()
    assert world.job(0).state == "succeeded"


def test_what_a_dead_worker_had_begun_goes_on(make_world: Make) -> None:
    world = stopped_before_sending(make_world, change("create", BUYER, 1, 9))
    world.limiter.reset("acme")
    api, world.apis["acme"] = world.apis["acme"], BrokenConnection()
    with pytest.raises(Unavailable):
        world.flush()
    world.apis["acme"] = api
    world.clock.advance(20.0)
    refused = cancel(world, ids(world, 0)).refused
    assert refused[ids(world, 0)[0]] in (UNFINISHED, "sending")
    world.drain()
    assert world.job(0).state == "succeeded"


def test_a_part_of_a_change_cannot_be_cancelled(make_world: Make) -> None:
    world = stopped_before_sending(make_world, change("create", BUYER, 1, 9, 10))
    part = narrow(ids(world, 0), JobFilter(child=9))
    with pytest.raises(InvalidChange, match="as a whole"):
        cancel(world, part)
    with pytest.raises(InvalidChange, match="as a whole"):
        select_jobs(service_of(world).queries, "acme", part, CANCELLABLE)


@pytest.mark.parametrize("children", [1, 200])
def test_what_a_change_overruled_is_asked_for_all_of_its_relations_at_once(
    make_world: Make, children: int
) -> None:
    world = stopped_before_sending(make_world, change("create", BUYER, 1, *range(9, 9 + children)))
    database, counted = world.store.database, CrashPoint()
    reads, database.reads = database.reads, lambda *args, **how: counted.call(reads, *args, **how)
    assert cancel(world, ids(world, 0)).done
    assert counted.calls <= 20


class LostAfterAClaim:
    """A lease that another worker takes as soon as its holder has written something."""

    def __init__(self, lease: Any, world: World) -> None:
        self._lease, self._world = lease, world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lease, name)

    def claim(self, *args: Any) -> bool:
        is_claimed: bool = self._lease.claim(*args)
        expire_lease(self._world.store)
        assert type(self._world.store).lease(self._world.store, "acme", "another worker")
        return is_claimed


def test_what_was_cancelled_before_the_lease_is_lost_is_in_the_audit_log(
    make_world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = msgspec.structs.replace(change("create", BUYER, 1, *range(50)), parents=tuple(range(1, 101)))
    other = msgspec.structs.replace(one, children=tuple(range(50, 100)))  # each is a piece of its own
    world = stopped_before_sending(make_world, one, other)
    world.flush()
    take = world.store.lease
    monkeypatch.setattr(world.store, "lease", lambda *args: LostAfterAClaim(take(*args), world))
    with pytest.raises(LeaseLost):
        cancel(world, ids(world, 0, 1))
    assert sorted(job.state for job in world.jobs()) == ["held", "superseded"]
    (entry,) = job_admin_of(world.store).audit_log("acme").entries
    assert (entry.by, entry.act, entry.count) == ("ada", "cancelled", 1)
