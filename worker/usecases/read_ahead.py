"""When a flush takes its next batch while requests of this one are on their way (R11, R21). Pure.

Only a whole batch is taken, so nothing is sent apart that would have travelled together a moment later. One
that conflicts with what the flush has in hand waits until that is settled.
"""

from collections.abc import Container

from worker.contract import Relation
from worker.contract.instant import SECOND
from worker.ports.work import WorkBatch
from worker.usecases.flush_context import FlushPolicy

READ_AHEAD_FOR = 2.0  # seconds after which a flush takes no further batch: other accounts have their turn


class ReadAhead:
    """Whether a flush takes its next batch before this one is done, and the batch that waits for that.

    Times are by the monotonic clock.
    """

    def __init__(self, policy: FlushPolicy, *, started: float) -> None:
        self._policy, self._until, self._waiting = policy, started + READ_AHEAD_FOR, 0
        self._postponed: WorkBatch | None = None
        self._has_conflicted = False

    def note(self, work: WorkBatch) -> None:
        """Note how much waits behind the batch that was read; nothing may follow one that is not plain."""
        self._waiting = work.waiting if _is_plain(work) else 0

    def stop(self) -> None:
        """Take no further batch."""
        self._waiting, self._postponed = 0, None

    def is_wanted(self, *, now: float, is_flying: bool) -> bool:
        """Return whether another whole batch waits, and the flush has time for it.

        Where one has conflicted, the next ones probably would: they are read when nothing is on its way.
        """
        if self._waiting < self._policy.max_batch or self._postponed or now >= self._until:
            return False
        return not (is_flying and self._has_conflicted)

    def may_join(self, work: WorkBatch, in_progress: Container[Relation]) -> bool:
        """Return whether a further batch conflicts with nothing in hand; if it does, it is kept for later."""
        if not _is_plain(work) or self._is_early(work):
            self.stop()
            return False
        types = {relation.type for relation in work.named}
        if all(map(self._is_free, types)) and not _touches(work, in_progress):
            return True
        self._postponed, self._has_conflicted = work, True
        return False

    def take_postponed(self, in_progress: Container[Relation]) -> WorkBatch | None:
        """Return the batch that was kept; None if there is none, or it still conflicts."""
        work, self._postponed = self._postponed, None
        return work if work and not _touches(work, in_progress) else None

    def _is_early(self, work: WorkBatch) -> bool:
        """Return whether the batch is still being collected, by the age of its first change."""
        return work.jobs[0].accepted_at + self._policy.window * SECOND > work.now if work.jobs else False

    def _is_free(self, relation_type: str) -> bool:
        """Return whether relations of the type conflict with themselves only."""
        return self._policy.order(relation_type) == "free" and not self._policy.guarded(relation_type)


def _is_plain(work: WorkBatch) -> bool:
    """Return whether the batch has new changes only, and nothing that died or has to be looked up."""
    return not (work.due or work.begun or work.recovered or work.condemned or work.small or work.look_ups)


def _touches(work: WorkBatch, in_progress: Container[Relation]) -> bool:
    return any(relation in in_progress for relation in work.named)
