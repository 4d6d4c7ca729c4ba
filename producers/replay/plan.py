"""What a replay would send: a dry run of what flushes would make of its jobs and new changes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from worker.contract import Change, Relation
from worker.planner.actions import Action
from worker.planner.dry_run import DryRun
from worker.ports.queries import Queries
from worker.ports.records import JobRecord
from worker.ports.work import ClaimedJob, RelationRecord

MAX_LISTED_ACTIONS: Final = 200
MAX_LISTED_IDS: Final = 5_000  # of all listed actions together
MAX_PLANNED_RELATIONS: Final = 50_000  # beyond, the plan covers only the first jobs of the set
NEWEST: Final = 2**60  # greater than the acceptance number of any job, and than any time in µs

DryRunOf = Callable[[str, Sequence[ClaimedJob], Mapping[Relation, RelationRecord]], DryRun]
"""Plans what flushes of an account's jobs would send, by what is stored of their relations."""


@dataclass(slots=True)
class ReplayPlan:
    """The jobs and new changes that are sent, of which accounts, and how many relations they are about.

    What `look_ups` jobs or changes come to is not known before the records that they name are found.
    """

    accounts: set[str] = field(default_factory=set)
    relations: int = 0
    look_ups: int = 0
    _jobs: dict[str, list[ClaimedJob]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def add_job(self, account: str, job: JobRecord, relations: tuple[Relation, ...]) -> None:
        """Add a job, of which these relations go back into the inbox."""
        self._add(account, claim_job(job, relations))

    def add_change(self, change: Change) -> None:
        """Add a new change; the records that it names by references are looked up first."""
        if change.references:
            self.add_look_up(change.account)
        else:
            number = next(self._numbers)  # the greater, the later it was accepted
            name, accepted = f"{change.account}-new{number}", NEWEST + number
            job = ClaimedJob.of_change(name, change, now=NEWEST, accepted=accepted)
            self._add(change.account, job)

    def add_look_up(self, account: str) -> None:
        """Count what is looked up first."""
        self.accounts.add(account)
        self.look_ups += 1

    def _add(self, account: str, job: ClaimedJob) -> None:
        """Add a job to what the plan covers, as long as that is not too much."""
        self.accounts.add(account)
        self.relations += len(job.relations)
        if self.relations <= MAX_PLANNED_RELATIONS:
            self._jobs.setdefault(account, []).append(job)

    def describe(self, dry_run: DryRunOf, queries: Queries) -> Mapping[str, Any]:
        """Return what would be sent as plain data: counts, and the first of the actions."""
        counts, listed = Counter[str](requests=0, actions=0), list[dict[str, Any]]()
        for account, jobs in self._jobs.items():
            relations = dict.fromkeys(relation for job in jobs for relation in job.relations)
            requests = dry_run(account, jobs, queries.get_records(account, relations)).requests
            actions = [action for request in requests for action in request.actions]
            counts.update({"requests": len(requests), "actions": len(actions)})
            counts.update(f"{action.kind}s" if action.kind != "modify" else "modifies" for action in actions)
            listed += map(_action_json, actions[: MAX_LISTED_ACTIONS - len(listed)])
        listed = list(_within(listed, MAX_LISTED_IDS))
        more = {"look_ups": self.look_ups} if self.look_ups else {}
        return {**counts, **more, "listed": listed, "whole": self.relations <= MAX_PLANNED_RELATIONS}


def claim_job(job: JobRecord, relations: tuple[Relation, ...]) -> ClaimedJob:
    """Return what a flush would read of the job once these of its relations are back in the inbox."""
    return ClaimedJob(
        job.id,
        "create" if job.action == "replace" else job.action,  # type: ignore[arg-type]
        relations,
        job.info,
        job.occurred_at,
        job.number,
        allow_empty=job.allow_empty,
        removes=frozenset(job.removals),
    )


def _action_json(action: Action) -> dict[str, Any]:
    """Return an action in the fields of the HTTP interface."""
    document = {
        "action": action.kind,
        "relationtype": action.type,
        "parentid": list(action.parents),
        "childid": list(action.children),
    }
    return {**document, "relationinfo": dict(action.info)} if action.info else document


def _within(listed: Iterable[dict[str, Any]], ids: int) -> Iterator[dict[str, Any]]:
    """Yield the first of the actions that have so many ids together."""
    for action in listed:
        ids -= len(action["parentid"]) + len(action["childid"])
        if ids < 0:
            return
        yield action
