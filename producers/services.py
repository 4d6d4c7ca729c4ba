"""The services behind the operators' commands and endpoints, built from a runtime in this one place."""

from contextlib import suppress
from dataclasses import dataclass

from producers.job_admin.cancel_dismiss import JobAdminService
from producers.job_admin.erase import EraseService
from producers.job_admin.resolve import ReferenceService
from producers.replay.service import ReplayService
from producers.webhooks.reparse import reparse
from worker.clock import SystemClock
from worker.errors import NotFound
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True)
class Services:
    """What operators do to jobs and records, one service per concern."""

    jobs: JobAdminService
    erasure: EraseService
    references: ReferenceService
    replays: ReplayService


def build_services(runtime: Runtime) -> Services:
    """Build the services of a runtime; nothing connects."""
    intake = runtime.intake()

    def wake(account: str) -> None:
        with suppress(NotFound):  # an account that has left the settings; nobody works it
            intake.wake_worker(intake.policy_of(account))

    return Services(
        jobs=JobAdminService(
            queries=runtime.queries,
            job_admin=runtime.job_admin,
            new_id=intake.new_id,
            cancel_taken=runtime.taken_jobs.cancel,
        ),
        erasure=EraseService(
            store=runtime.store,
            job_admin=runtime.job_admin,
            clock=SystemClock(),
            new_id=intake.new_id,
            withdraw=runtime.withdraw,
            now=runtime.metrics.now,
        ),
        references=ReferenceService(
            queries=runtime.queries,
            job_admin=runtime.job_admin,
            new_id=intake.new_id,
            wake=wake,
        ),
        replays=ReplayService(
            store=runtime.store,
            queries=runtime.queries,
            job_admin=runtime.job_admin,
            intake=intake,
            dry_run=runtime.dry_run,
            reparse=lambda job, payload, correction: reparse(
                runtime.settings.sources, job, payload, correction
            ),
        ),
    )
