"""What acts on jobs need of the system, in one value: of a runtime's parts, or of those a test puts together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from producers.webhooks.reparse import reading
from worker.clock import SystemClock
from worker.contract import Change, Relation
from worker.ports import ClaimedJob, Clock, JobAdmin, JobRecord, Queries, RelationRecord, Store, Writes
from worker.usecases.intake import Intake
from worker.wiring import Runtime

Reread = Callable[[JobRecord, bytes, Mapping[str, Any]], Sequence[Change]]
"""Reads an unreadable message's bytes again, by the rules of today and with corrections; raises InvalidChange if they are still none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """The parts; `rehearse` says what a flush of jobs would send, `withdraw` what ends open relations (see `Runtime`)."""

    store: Store
    questions: Queries
    acts: JobAdmin
    intake: Intake
    clock: Clock
    rehearse: Callable[[str, Sequence[ClaimedJob], Mapping[Relation, RelationRecord]], Any]
    withdraw: Callable[..., Writes]
    read: Reread

    @property
    def name(self) -> Callable[[], str]:
        """Gives a fresh sortable name."""
        return self.intake.new_id


def means(runtime: Runtime) -> Means:
    """Those of a runtime."""
    return Means(
        store=runtime.store,
        questions=runtime.queries,
        acts=runtime.job_admin,
        intake=runtime.intake(),
        clock=SystemClock(),
        rehearse=runtime.dry_run,
        withdraw=runtime.withdraw,
        read=lambda job, body, correction: reading(runtime.settings.sources, job, body, correction),
    )
