"""Counts the jobs that are stored, and holds the account's counters against them. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from worker.planner.fold import RESULTS
from worker.store.inspection.flaws import ENDED, LOST, Flaw, StoredNumbers, flaw
from worker.store.jobs.stored_job import COUNTED, OUTCOME_COUNTERS, QUEUED, SENDING, STATES, LoadedJob
from worker.store.keys import bucket_of


class Tally:
    """The jobs that were accepted before a survey began, counted as the account counts them.

    A bucket ends `ends_ms` after its last open job. `highest` is the highest acceptance number, also of later
    jobs.
    """

    def __init__(self, stored: StoredNumbers, ends_ms: int) -> None:
        self.jobs, self.highest, self._stored, self._ends_ms = 0, 0, stored, ends_ms
        self._states, self._outcomes = Counter[str](), Counter[str]()
        self._labels: dict[str, Counter[str]] = {}
        self._opened: dict[int, int] = dict.fromkeys(stored.buckets, 0)

    def count(self, job: LoadedJob, claimed: Collection[str]) -> None:
        """Count a job."""
        v = job.value
        self.jobs += 1
        self.highest = max(self.highest, job.number)
        is_claimed = v.state == QUEUED and job.short in claimed
        self._states[STATES[SENDING if is_claimed else v.state]] += 1
        self._outcomes.update(dict(zip(RESULTS, v.counts, strict=True)))
        if not job.is_kept:
            bucket = bucket_of(job.short)
            self._opened[bucket] = self._opened.get(bucket, 0) + job.is_open
        if v.batch:
            label = self._labels.setdefault(v.batch, Counter())
            label["accepted"] += 1
            if v.state in ENDED:
                label[STATES[v.state]] += 1

    def buckets(self) -> list[int]:
        """Return the buckets of jobs."""
        return sorted(self._opened)

    def labels(self) -> list[str]:
        """Return the batch labels of jobs."""
        return sorted(self._labels)

    def check_buckets(self, lifetimes: Mapping[int, Sequence[int]]) -> Iterator[Flaw]:
        """Yield wrong numbers of open jobs, and buckets that end too early or never (`lifetimes` in ms)."""
        for bucket, opened in self._opened.items():
            counted = self._stored.buckets.get(bucket)
            if counted != opened:
                message = f"counts {counted or 0} open jobs, of which there are {opened}"
                write = ("OPEN", bucket, opened - (counted or 0), self._ends_ms)
                yield flaw("counter", f"bucket {bucket}", message, write)
            elif any((left == -1) is not bool(opened) for left in lifetimes.get(bucket, ()) if left != -2):
                message = "would end while jobs are open" if opened else "has no end"
                yield flaw("index", f"bucket {bucket}", message, ("OPEN", bucket, 0, self._ends_ms))

    def check_labels(self, labels: Mapping[str, Mapping[str, int]], accepted: int) -> Iterator[Flaw]:
        """Yield wrong counts of batch labels; `accepted` is how many changes are accepted by now."""
        for label, right in self._labels.items():
            known, wrong = labels.get(label, {}), dict[str, int]()
            if known.get("accepted", 0) < right["accepted"]:
                continue  # it has ended, as the last of its jobs did, and was perhaps begun anew
            for name in ("accepted", *(STATES[state] for state in ENDED)):
                short = right[name] - known.get(name, 0)
                if short > 0 or (short < 0 and self._is_exact and accepted == self._stored.accepted):
                    wrong[name] = short
            if wrong:
                message = f"counts are wrong by {wrong}"
                writes = (("HINCRBY", f"batch:{label}", name, by) for name, by in wrong.items())
                yield flaw("counter", f"batch {label}", message, *writes)

    def check_numbers(self, accepted: int) -> Iterator[Flaw]:
        """Yield a number of accepted changes (by now) that is too low; all else is held against it."""
        if self.highest > accepted:
            message = f"counts {accepted}, and job number {self.highest} was accepted"
            yield flaw(
                "counter", "accepted", message, ("HINCRBY", "counts", "accepted", self.highest - accepted)
            )

    def check_counters(self) -> Iterator[Flaw]:
        """Yield counters that do not add up.

        What is counted of jobs that were forgotten is not known one by one, but their number is.
        """
        counts, right = self._stored.counts, dict[str, int]()
        for name in COUNTED:
            right[name] = self._states[name]
        seen: dict[str, int] = {STATES[state]: self._states[STATES[state]] for state in ENDED}
        seen |= {counter: self._outcomes[result] for result, counter in OUTCOME_COUNTERS.items()}
        for name, value in seen.items():
            right[name] = value if self._is_exact else max(value, counts.get(name, 0))
        for name, value in right.items():
            if value != counts.get(name, 0):
                message = f"counts {counts.get(name, 0)}, and {value} would be right"
                yield flaw("counter", name, message, ("HINCRBY", "counts", name, value - counts.get(name, 0)))
        states = sum(right[name] for name in (*COUNTED, *(STATES[state] for state in ENDED)))
        known = states + self._states["queued"] + counts.get(LOST, 0)
        if known < self._stored.accepted:
            gone = self._stored.accepted - known
            message = f"{gone} accepted changes have no state: the store has lost them"
            yield flaw("lost", "accepted", message, ("HINCRBY", "counts", LOST, gone))
        elif known > self._stored.accepted:
            by = known - self._stored.accepted
            message = f"counts {self._stored.accepted}, and the states of jobs {known}"
            yield flaw("counter", "accepted", message, ("HINCRBY", "counts", "accepted", by))

    @property
    def _is_exact(self) -> bool:
        """Whether every job that was ever accepted is still there."""
        return self.jobs == self._stored.accepted
