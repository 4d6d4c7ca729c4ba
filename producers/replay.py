"""Replaying what failed: first a preview that says what would go back and what not, then the replay of exactly that.

Only the failed relations of a job go back to the inbox, with their own time: what newer changes decided since, stays decided.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from worker.intake import Intake
from worker.ports import JobRecord, Store

CHUNK: Final = 500  # jobs put back at once, so that no script blocks the server for long
MOST: Final = 100_000  # failed jobs of one preview


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a replay would do: these jobs, oldest first, with so many failed relations.

    `errors` counts the jobs by the class of their first refusal; `refused` names the jobs that cannot be replayed, and why.
    `more` says that there are failed jobs beyond these: replay again afterwards.
    """

    account: str
    jobs: tuple[str, ...]
    relations: int
    errors: Mapping[str, int]
    refused: Mapping[str, str]
    more: bool = False


def preview(store: Store, account: str, jobs: Iterable[str] | None = None, *, most: int = MOST) -> Preview:
    """What replaying these jobs of the account, or all its failed ones, would do; changes nothing."""
    names = list(dict.fromkeys(store.failed(account, limit=most + 1) if jobs is None else jobs))
    chosen = names[:most] if jobs is None else names
    judged = {name: _judged(store, account, name) for name in chosen}
    good = [job for job in judged.values() if isinstance(job, JobRecord)]
    return Preview(
        account=account,
        jobs=tuple(job.id for job in good),
        relations=sum(job.counts["failed"] for job in good),
        errors=dict(Counter(job.refusal[1] if job.refusal else "other" for job in good).most_common()),
        refused={name: why for name, why in judged.items() if isinstance(why, str)},
        more=len(names) > len(chosen),
    )


def run(intake: Intake, shown: Preview, *, progress: Callable[[int, int], None] = lambda _done, _total: None) -> list[str]:
    """The jobs of the preview that went back; fewer if some were replayed or forgotten meanwhile. `progress` hears of done and total."""
    back: list[str] = []
    for start in range(0, len(shown.jobs), CHUNK):
        back += intake.replay(shown.account, shown.jobs[start : start + CHUNK])
        progress(min(start + CHUNK, len(shown.jobs)), len(shown.jobs))
    return back


def _judged(store: Store, account: str, name: str) -> JobRecord | str:
    """The job, or why it cannot be replayed."""
    if name.rpartition("-")[0] != account:
        return f"is no job of account {account}"
    job = store.job(name)
    if job is None:
        return "does not exist (any more)"
    return job if job.state == "failed" else f"is {job.state}, not failed"
