"""Laws of selecting jobs for an act by a filter of no state: those of each state that fits, each once."""

from producers.job_admin.cancel_dismiss import CANCELLABLE
from producers.job_admin.selection import judge_jobs
from tests.support.store_steps import accept, claim_all, list_jobs, queries_of, send_and_settle, take_lease
from tests.support.store_values import change, look_up_results, name_by_references
from worker.contract import Relation
from worker.ports.records import JobFilter
from worker.ports.store import Store
from worker.testing import FakeClock

TYPE = change(1, 9).type


def test_a_filter_of_no_state_selects_the_jobs_of_every_state_that_fits(
    store: Store, clock: FakeClock
) -> None:
    accept(store, change(1, 9, batch="one"), change(2, 9, batch="one"), change(2, 9, batch="two"))
    lease = take_lease(store)
    claim_all(lease, later=60.0)
    send_and_settle(lease, "r1", {Relation(TYPE, 1, 9): "applied"})
    accept(store, name_by_references(change(3, 9, batch="one"), "child"), first=3)
    results, _ = look_up_results(lease.read_look_ups(9), ["none"], park=True)
    lease.write_look_ups(results, {}, memory=60.0)
    accept(store, change(4, 9, batch="one"), change(4, 9, batch="two"), first=4)
    lease.release()
    wanted = [job for job in list_jobs(store) if job.batch == "one" and job.state in CANCELLABLE]
    assert {job.state for job in wanted} == {"retrying", "parked", "queued"}
    judged = judge_jobs(queries_of(store), "acme", JobFilter(batch="one"), CANCELLABLE)
    assert sorted((job_id, reason) for job_id, _, reason in judged) == sorted((job.id, "") for job in wanted)
