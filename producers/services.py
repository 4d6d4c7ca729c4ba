"""The services behind the operators' commands and endpoints, built from a runtime in this one place."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from producers.job_admin.cancel_dismiss import JobAdminService
from producers.job_admin.erase import EraseService
from producers.job_admin.resolve import ReferenceService
from producers.replay.service import ReplayService
from producers.webhooks.redelivery import DeliveryService
from producers.webhooks.reparse import reparse
from worker.config import Source
from worker.wiring import Runtime


@dataclass(frozen=True, slots=True)
class Services:
    """What operators do to jobs and records, one service per concern."""

    jobs: JobAdminService
    erasure: EraseService
    references: ReferenceService
    replays: ReplayService
    deliveries: DeliveryService


def build_services(runtime: Runtime) -> Services:
    """Build the services of a runtime; nothing connects."""
    queries, job_admin, intake = runtime.queries, runtime.job_admin, runtime.intake()

    def list_sources() -> Mapping[str, Source]:
        return runtime.settings.sources

    return Services(
        jobs=JobAdminService(
            queries=queries, job_admin=job_admin, new_id=intake.new_id, cancel_taken=runtime.taken_jobs.cancel
        ),
        erasure=EraseService(
            store=runtime.store,
            job_admin=job_admin,
            deliveries=runtime.deliveries,
            clock=time,
            new_id=intake.new_id,
            withdraw=runtime.withdraw,
            now=runtime.metrics.now,
            wake=runtime.wake_known,
        ),
        references=ReferenceService(
            queries=queries, job_admin=job_admin, new_id=intake.new_id, wake=runtime.wake_known
        ),
        replays=ReplayService(
            store=runtime.store,
            queries=queries,
            job_admin=job_admin,
            intake=intake,
            dry_run=runtime.dry_run,
            reparse=lambda job, payload, correction: reparse(list_sources(), job, payload, correction),
        ),
        deliveries=DeliveryService(
            deliveries=runtime.deliveries,
            queries=queries,
            job_admin=job_admin,
            intake=intake,
            list_sources=list_sources,
        ),
    )
