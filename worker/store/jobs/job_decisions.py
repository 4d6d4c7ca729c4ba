"""What people decide about the failed relations of a job: they go back, are dismissed or replaced. Pure."""

from collections import Counter
from collections.abc import Collection

from worker.ports.job_admin import REPLACED
from worker.store.jobs.lifecycle import show_first_refusal
from worker.store.jobs.stored_job import FAILED, QUEUED, LoadedJob, StoredJob


def failures_to_requeue(job: LoadedJob, since: int, only: Collection[str] = ()) -> tuple[str, ...]:
    """Return the failed relations, of `only` these, that may go back: none dismissed after `since` (µs).

    Without `only`, those that wait for a decision; if none waits, all that were dismissed.
    """
    v = job.value
    if v.state != FAILED or (v.dismissed and v.dismissed[0] > since):
        return ()
    decided_at = {name: at for name, at, _, _ in v.decided}
    if not only and not v.dismissed:
        return tuple(name for name, _ in v.undecided)
    chosen = frozenset(only or v.failed)
    return tuple(name for name in v.failed if name in chosen and decided_at.get(name, since) <= since)


def requeue(job: LoadedJob, names: Collection[str], mark: str, totals: Counter[str], *, now: int) -> None:
    """Put a failed job back with only these of its failed relations to do; erased failures end superseded.

    The others stay failed, and what was decided about them stays decided.
    """
    v, names = job.value, frozenset(names)
    kept = [(name, place) for name, place in zip(v.failed, v.refused, strict=True) if name not in names]
    back = len(v.failed) - len(kept)
    erased = v.counts[3] - len(v.failed)
    v.counts = (v.counts[0], v.counts[1] + erased, v.counts[2], len(kept))
    v.state, v.left, v.requeued_at = QUEUED, back, now
    v.again = tuple(name for name in v.failed if name in names)
    _decide_all(v, [name for name, _ in kept])
    v.failed, v.refused = tuple(name for name, _ in kept), tuple(place for _, place in kept)
    show_first_refusal(v)
    v.finished_at, v.expires, v.dismissed = 0, 0, None
    v.replay = mark or v.replay
    totals.update({"failed": -1, "relations_failed": -(back + erased)})
    if erased:
        totals["relations_superseded"] += erased


def dismiss(job: LoadedJob, names: Collection[str], at: int, by: str, why: str) -> bool:
    """Dismiss a failed job, or just these of its failed relations; return whether that changed anything."""
    v = job.value
    undecided = {name for name, _ in v.undecided}
    chosen = undecided & {*names} if names else undecided
    if v.dismissed or (names and not chosen):
        return False
    if chosen == undecided:
        v.dismissed = (at, by, why)
    if v.decided or chosen != undecided:
        v.decided += tuple((name, at, by, why) for name in v.failed if name in chosen)
    return True


def replace(job: LoadedJob, names: Collection[str], at: int, by: str) -> bool:
    """Dismiss a failed job, or just these of its failed relations, as sent anew; return whether it was news.

    What was dismissed before counts as sent anew too.
    """
    v = job.value
    known = {name for name, _, _, why in v.decided if why == REPLACED}
    wanted = frozenset(names or (() if v.dismissed else [name for name, _ in v.undecided]) or v.failed)
    fresh = tuple(name for name in v.failed if name in wanted and name not in known)
    if (v.dismissed and (v.dismissed[2] == REPLACED or not v.failed)) or (v.failed and not fresh):
        return False
    is_simple = not (v.decided or v.dismissed) and fresh == v.failed
    if not v.dismissed and {name for name, _ in v.undecided} <= {*fresh}:
        v.dismissed = (at, by, REPLACED)
    if not is_simple:
        others = tuple(entry for entry in v.decided if entry[0] not in fresh)
        v.decided = (*others, *((name, at, by, REPLACED) for name in fresh))
    return True


def _decide_all(v: StoredJob, names: Collection[str]) -> None:
    """Keep what was decided about these relations alone, also if it was about the whole job."""
    kept = frozenset(names)
    decided = tuple(entry for entry in v.decided if entry[0] in kept)
    if v.dismissed:
        known = {entry[0] for entry in decided}
        decided += tuple((name, *v.dismissed) for name in names if name not in known)
    v.decided = decided
