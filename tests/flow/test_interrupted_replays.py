"""What a replay has sent anew names the job that it replaces and is named by it, whoever dies or acts."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from ops.simulator import Records
from producers.job_admin.selection import narrow
from tests.support.broken_stores import inspector_of
from tests.support.crashes import Crashed, CrashPoint, crash_points, delete_keys
from tests.support.erasing import erase_record, erasure_of
from tests.support.flow_world import World, change
from tests.support.replaying import replay, replays_of, run_replay
from tests.support.store_steps import job_admin_of, queries_of
from worker.errors import BacklogFull, Unavailable
from worker.ports.records import AuditEntry, JobFilter, JobRecord
from worker.ports.store import IntakeBounds, Retention
from worker.usecases.dry_run import dry_run_jobs
from worker.usecases.intake import IntakePolicy

BUYER, DAY = "estate:address:buyer", 86_400.0
FAILED = JobFilter(state="failed")
Make = Callable[..., World]


def make_failed(make_world: Make) -> World:
    """Return a world with a job of which two relations are applied, and one failed."""
    world = make_world(records=Records(missing=frozenset({("address", 9)})))
    delete_keys(world.store)
    world.accept(change("create", BUYER, 501, 9001, 9002, 9))
    world.drain()
    assert (world.job().counts["applied"], world.job().counts["failed"]) == (2, 1)
    return world


def nothing(_: World) -> None:
    pass


def dismiss(world: World) -> None:
    entry = AuditEntry(world.new_id(), "bob", "dismissed")
    job_admin_of(world.store).dismiss("acme", [world.job().id], entry)


def put_back(world: World) -> None:
    replay(world, [world.job().id])


def put_back_twice(world: World) -> None:
    put_back(world)
    world.drain()
    put_back(world)


def replacements(world: World) -> list[JobRecord]:
    return [*queries_of(world.store).find_jobs("acme", JobFilter(source="replay")).entries]


def assert_linked(world: World) -> None:
    """Assert that the job and what was sent in its place name each other."""
    made = replacements(world)
    assert {job.replays for job in made} <= {world.job().id}
    assert {*world.job().replayed_by} == {job.id for job in made}


@pytest.mark.parametrize("act", [nothing, dismiss, put_back, put_back_twice])
@pytest.mark.parametrize(
    "how", [{"forced": True}, {"correction": {"childid": 9003}}], ids=["forced", "corrected"]
)
def test_what_was_sent_before_a_worker_died_is_linked_whatever_people_did_to_the_job_meanwhile(
    make_world: Make, act: Callable[[World], None], how: dict[str, Any]
) -> None:
    counted = _run_until(make_failed(make_world), CrashPoint(), **how)
    sent = 0
    for point in crash_points(counted.calls):
        world = make_failed(make_world)
        _run_until(world, point, **how)
        world.clock.advance(1.0)
        act(world)
        prepared = job_admin_of(world.store).list_replays("acme")[-1]
        replays_of(world).run(prepared.id)
        world.drain()
        assert_linked(world)
        sent += bool(replacements(world))
    assert sent


def _run_until(world: World, point: CrashPoint, **how: Any) -> CrashPoint:
    """Run a replay of the job until its worker crashes at a script of the store."""
    service = replays_of(world)
    prepared = service.prepare("acme", FAILED, by="ada", **how)
    service.start(prepared.id, by="ada")
    scripts = world.store.database.scripts
    world.store.database.scripts = {name: partial(point.call, script) for name, script in scripts.items()}
    try:
        service.run(prepared.id)
    except Crashed:
        pass
    finally:
        world.store.database.scripts = scripts
    return point


@pytest.mark.parametrize("how", [{}, {"forced": True}], ids=["as it was", "forced"])
def test_what_people_decide_while_a_replay_is_prepared_counts(make_world: Make, how: dict[str, Any]) -> None:
    world = make_failed(make_world)

    def judge(_: str, jobs: Any, known: Any) -> Any:
        """Dismiss the job when it has been read, and before the replay is saved."""
        world.clock.advance(1.0)
        dismiss(world)
        world.clock.advance(1.0)
        return dry_run_jobs(jobs, known, world.policy_of("acme").dry_run)

    prepared = replace(replays_of(world), dry_run=judge).prepare("acme", FAILED, by="ada", **how)
    assert prepared.eligible == 1
    assert run_replay(world, prepared).missed == {"dismissed": 1}


@pytest.mark.parametrize("how", [{}, {"forced": True}], ids=["as it was", "forced"])
def test_a_job_that_was_kept_too_long_since_the_preview_is_gone(
    make_world: Make, how: dict[str, Any]
) -> None:
    world = make_failed(make_world)
    world.clock.advance(Retention().failed - DAY)
    prepared = replays_of(world).prepare("acme", FAILED, by="ada", **how)
    world.clock.advance(2 * DAY)
    world.store.tidy("acme")
    assert (prepared.eligible, run_replay(world, prepared).missed) == (1, {"gone": 1})


def test_what_was_sent_in_place_of_one_failure_is_not_forgotten_for_that_of_the_others(
    make_world: Make,
) -> None:
    world = make_world(records=Records(missing=frozenset({("address", 8), ("address", 9)})))
    world.accept(change("create", BUYER, 501, 8, 9))
    world.drain()
    replay(world, narrow([world.job().id], JobFilter(child=8)), forced=True)
    world.clock.advance(1.0)
    rest = replay(world, FAILED, forced=True)
    assert (len(world.job().replayed_by), rest.back) == (2, 1)
    assert_linked(world)
    world.drain()
    assert replays_of(world).count_outcomes(rest) == {"failed": 1}


@pytest.mark.parametrize("how", [{}, {"forced": True}], ids=["as it was", "forced"])
def test_a_replay_of_jobs_that_were_read_before_a_record_was_erased_is_not_kept(
    make_world: Make, how: dict[str, Any]
) -> None:
    world = make_failed(make_world)

    def judge(_: str, jobs: Any, known: Any) -> Any:
        """Erase the record when the job has been read, and before the replay is saved."""
        erase_record(erasure_of(world), "acme", "address", 9, by="bob")
        return dry_run_jobs(jobs, known, world.policy_of("acme").dry_run)

    service = replace(replays_of(world), dry_run=judge)
    with pytest.raises(
        Unavailable, match="a record was erased while the replay was prepared; prepare it again"
    ):
        service.prepare("acme", FAILED, by="ada", **how)
    assert job_admin_of(world.store).list_replays("acme") == []
    assert [*world.store.database.redis.scan_iter("*:replay:*")] == []
    assert replays_of(world).prepare("acme", FAILED, by="ada", **how).eligible == 0


def test_a_replay_of_more_jobs_than_an_inbox_takes_goes_on_as_far_as_there_is_room(make_world: Make) -> None:
    world = make_world(records=Records(missing=frozenset({("address", 9)})))
    world.accept(*(change("create", BUYER, parent, 9) for parent in range(1, 12)))
    world.drain()
    service = replays_of(world)
    small = IntakePolicy(account="acme", window=1.0, bounds=IntakeBounds(backlog=4, oldest=30 * 86_400.0))
    narrow_service = replace(service, intake=replace(world.intake, policy_of=lambda _: small))
    prepared = narrow_service.prepare("acme", FAILED, by="ada", forced=True)
    assert prepared.eligible == 11
    service.start(prepared.id, by="ada")
    for done in (4, 8):
        with pytest.raises(BacklogFull):
            narrow_service.run(prepared.id)
        assert service.find(prepared.id).done == done
        world.drain()
    found = narrow_service.run(prepared.id)
    assert (found.state, found.done, found.back, found.missed) == ("done", 11, 11, {})
    assert len(replacements(world)) == 11


def test_a_replay_goes_no_further_while_its_account_is_inspected(make_world: Make) -> None:
    world = make_failed(make_world)
    service, states = replays_of(world), list[str]()
    prepared = service.prepare("acme", FAILED, by="ada")
    service.start(prepared.id, by="ada")

    def run_meanwhile(_what: str, _count: int) -> None:
        states.append(service.run(prepared.id).state)

    inspector = inspector_of(world.store)
    assert inspector.inspect("acme", on_progress=run_meanwhile).flaws == ()
    assert (states, world.job().state) == (["running"], "failed")
    assert (service.run(prepared.id).state, world.job().state) == ("done", "queued")
