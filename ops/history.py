"""What an account did over the last day, in buckets, from the counters that were noted."""

from collections.abc import Iterable, Sequence
from typing import Final

from worker.ports.metrics import HISTORY_SECONDS, AccountStats, HistoryPoint, Metrics

COUNTS: Final = ("accepted", "actions", "requests", "applied", "superseded", "stale", "failed")


HistoryBucket = HistoryPoint
"""What happened from `at` (µs) until the next bucket; `waiting` were in the inbox when it began."""


def read_history(metrics: Metrics, account: str, stats: AccountStats | None = None) -> list[HistoryBucket]:
    """Return what an account did within the last day, by its state if that was read already."""
    stats = stats or metrics.account_stats([account])[account]
    return make_buckets(metrics.history(account), metrics.now(), stats)


def make_buckets(points: Sequence[HistoryPoint], now: int, stats: AccountStats) -> list[HistoryBucket]:
    """Return the buckets between the points, the last until now; counters that fell began anew.

    What happened while nothing was noted counts for the bucket before.
    """
    ends = [*points[1:], HistoryPoint.of(now, stats)] if points else []
    return [
        HistoryBucket(
            start.at,
            **{name: max(0, getattr(end, name) - getattr(start, name)) for name in COUNTS},
            waiting=start.waiting,
        )
        for start, end in zip(points, ends, strict=True)
    ]


def gather(buckets: Iterable[HistoryBucket], *, start: int, seconds: int, size: int) -> list[HistoryBucket]:
    """Return so many buckets of these seconds from a time (µs) on, each the sum of those that began in it.

    `waiting` is the most that waited; sums of several accounts are made of all their buckets at once.
    """
    sums = [dict.fromkeys(COUNTS, 0) for _ in range(size)]
    waiting = [dict[int, int]() for _ in range(size)]
    for bucket in buckets:
        place = (bucket.at - start) // (seconds * 1_000_000)
        if not 0 <= place < size:
            continue
        for name in COUNTS:
            sums[place][name] += getattr(bucket, name)
        moment = bucket.at // (HISTORY_SECONDS * 1_000_000)
        waiting[place][moment] = waiting[place].get(moment, 0) + bucket.waiting
    return [
        HistoryBucket(
            start + place * seconds * 1_000_000, **counts, waiting=max(waiting[place].values(), default=0)
        )
        for place, counts in enumerate(sums)
    ]
