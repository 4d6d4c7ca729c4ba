"""Replays and repairs in a world, prepared and run as an operator does."""

from typing import Any

from producers.replay.service import ReplayService
from tests.support.flow_world import World
from tests.support.store_steps import job_admin_of, queries_of
from worker.ports.records import JobFilter, JobRecord
from worker.ports.replays import Replay
from worker.usecases.dry_run import dry_run_jobs


def replays_of(world: World) -> ReplayService:
    """Return what prepares and runs replays in this world."""
    policy = world.policy_of("acme")
    return ReplayService(
        store=world.store,
        queries=queries_of(world.store),
        job_admin=job_admin_of(world.store),
        intake=world.intake,
        dry_run=lambda _account, jobs, known: dry_run_jobs(jobs, known, policy.dry_run),
        reparse=lambda *_: (),
    )


def run_replay(world: World, replay: Replay) -> Replay:
    """Start a replay and run it to its end."""
    service = replays_of(world)
    service.start(replay.id, by="ada")
    return service.run(replay.id)


def replay(world: World, selection: Any, **how: Any) -> Replay:
    """Replay what is selected."""
    return run_replay(world, replays_of(world).prepare("acme", selection, by="ada", **how))


def newest(world: World) -> JobRecord:
    """Return the job that was accepted last."""
    [found] = queries_of(world.store).find_jobs("acme", JobFilter(), limit=1).entries
    return found
