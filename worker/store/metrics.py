"""The metrics in Redis: counted in one hash per account, read in one pipeline for all of them.

They use plain commands, so that a cluster's client can send them to every node at once; but for what says who
is alive, which a full server takes, too.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from worker.errors import StoreUnavailable
from worker.ports.metrics import (
    HISTORY_BUCKETS,
    HISTORY_SECONDS,
    AccountStats,
    HistoryPoint,
    MemoryUsage,
    SweepStats,
    WorkerInfo,
)
from worker.redis.client import is_refusal, read_apart, translate_errors, translate_unreadable
from worker.store import codec, keys
from worker.store.account import read_jobs
from worker.store.database import Database
from worker.store.jobs.stored_job import QUEUED, LoadedJob
from worker.store.keys import bucket_of
from worker.store.lease.queue import LOOKED_AT
from worker.store.limits import WORKER_LIFETIME
from worker.store.pauses import PAUSE_FIELDS, KnownPause

COMMANDS_PER_ACCOUNT: Final = 12

BUCKET_US: Final = HISTORY_SECONDS * 1_000_000
HISTORY_LIFETIME_MS: Final = 2000 * HISTORY_BUCKETS * HISTORY_SECONDS  # from the last point

_decode_point = msgspec.json.Decoder(HistoryPoint).decode
_decode_worker = msgspec.json.Decoder(WorkerInfo).decode


class RedisMetrics:
    """Implements `ports.Metrics`."""

    def __init__(self, database: Database) -> None:
        self._redis, self._prefix = database.redis, database.prefix
        self._workers, self._sweep = self._shared("workers"), self._shared("sweep")
        self._database = database

    def _shared(self, name: str) -> str:
        return keys.shared(self._prefix, name)

    def now(self) -> int:
        """Return the store's time."""
        with translate_errors():
            seconds, micros = self._redis.time()
        return int(seconds) * 1_000_000 + int(micros)

    def add(self, account: str, tally: Mapping[str, int]) -> None:
        """Add to the account's counters in one round trip; what cannot be written is not counted."""
        self._add(f"{keys.base(self._prefix, account)}:numbers", tally)

    def account_stats(self, accounts: Sequence[str]) -> Mapping[str, AccountStats]:
        """Return the state of these accounts, in two round trips, without those that cannot be read.

        Raises StoreUnreadable for an account that is alone.
        """
        return read_apart(self._read_stats, accounts)

    def _read_stats(self, accounts: Sequence[str]) -> dict[str, AccountStats]:
        with translate_unreadable(*accounts):
            return self._read_all_stats(accounts)

    def _read_all_stats(self, accounts: Sequence[str]) -> dict[str, AccountStats]:
        bases = [keys.base(self._prefix, account) for account in accounts]
        with translate_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for base in bases:
                _ask_for_stats(pipeline, base)
            answers = pipeline.execute()
            starts = range(0, len(answers), COMMANDS_PER_ACCOUNT)
            rows = [answers[start : start + COMMANDS_PER_ACCOUNT] for start in starts]
            for base, (listed, _, (dead, _), head, unresolved, *_) in zip(bases, rows, strict=True):
                short = (head if listed > int(dead or 0) else unresolved or b"").decode()
                pipeline.hget(f"{base}:jobs:{bucket_of(short)}", short)
                pipeline.hget(f"{base}:kept", short)
            heads = pipeline.execute() if bases else []
        oldest = map(_accepted_at, heads[::2], heads[1::2])
        return {
            account: _read_stats(row, self._skip_cancelled(account, row) or at)
            for account, row, at in zip(accounts, rows, oldest, strict=True)
        }

    def _skip_cancelled(self, account: str, row: Sequence[Any]) -> int:
        """Return since when the first change waits in a queue that has cancelled ones; else 0."""
        listed, _, (dead, _), *_ = row
        if not listed > int(dead or 0) > 0:
            return 0
        names = self._database.read_names(account, "lrange", "queue", 0, LOOKED_AT - 1)
        found = read_jobs(self._database, account, names)
        waiting = (job for name in names if (job := found.get(name)) and job.value.state == QUEUED)
        return next(map(_waits_since, waiting), 0)

    def record_heartbeat(self, worker: WorkerInfo) -> None:
        """Note that the worker is alive, and drop those that have been silent for an hour.

        One that is dated an hour ahead was noted before the clock stepped back, and notes itself again.
        """
        self._note(self._workers, worker.name, codec.encode(worker))
        for other in self.list_workers():
            if abs(other.at - worker.at) > round(WORKER_LIFETIME * 1e6):
                self.remove_worker(other.name)

    def _note(self, key: str, field: str, value: bytes | int) -> None:
        """Write a field, also while the server is full."""
        with translate_errors():
            self._database.scripts["note"](keys=[key], args=[field, value])

    def remove_worker(self, name: str) -> None:
        """Note that the worker has ended."""
        with translate_errors():
            self._redis.hdel(self._workers, name)

    def list_workers(self) -> list[WorkerInfo]:
        """Return every worker that has not reported its end."""
        with translate_errors():
            texts = self._redis.hvals(self._workers)
        return sorted(filter(None, map(_read_worker, texts)), key=lambda worker: worker.name)

    def record_sweep(self, repaired: int, *, at: int) -> None:
        """Count a sweep; one that cannot be written down is not counted."""
        with suppress(StoreUnavailable), translate_errors():
            self._note(self._sweep, "at", at)
            self._redis.hincrby(self._sweep, "made", 1)
            self._redis.hincrby(self._sweep, "repaired", repaired)

    def record_reverted(self, *, at: int) -> None:
        """Note when the store was found to have gone back to an earlier state."""
        self._note(self._sweep, "reverted", at)

    def sweep_stats(self) -> SweepStats:
        """Return the last sweep's time, the totals of all sweeps, and when the store had gone back."""
        with translate_errors():
            numbers = self._redis.hmget(self._sweep, *SweepStats._fields)
        return SweepStats(*map(_read_count, numbers))

    def record_history(self, accounts: Sequence[str], *, at: int) -> None:
        """Note the counters of the accounts that were not noted in this bucket yet, in a ring of buckets."""
        bucket = at // BUCKET_US
        with suppress(StoreUnavailable), translate_errors():
            stats = self.account_stats(self._not_noted(accounts, bucket))
            with self._redis.pipeline(transaction=False) as pipeline:
                for account, state in stats.items():
                    point = codec.encode(HistoryPoint.of(at, state))
                    pipeline.hset(self._history(account), _place(bucket), point)
                    pipeline.pexpire(self._history(account), HISTORY_LIFETIME_MS)
                pipeline.execute()

    def _not_noted(self, accounts: Sequence[str], bucket: int) -> list[str]:
        """Return the accounts of which nothing was noted in this bucket yet."""

        def read(accounts: Sequence[str]) -> dict[str, HistoryPoint | None]:
            with translate_errors(), self._redis.pipeline(transaction=False) as pipeline:
                for account in accounts:
                    pipeline.hget(self._history(account), _place(bucket))
                return dict(zip(accounts, map(_read_point, pipeline.execute()), strict=True))

        points = read_apart(read, accounts)
        return [name for name, point in points.items() if point is None or point.at // BUCKET_US != bucket]

    def history(self, account: str) -> list[HistoryPoint]:
        """Return the points of the last buckets, oldest first."""
        oldest = self.now() // BUCKET_US - HISTORY_BUCKETS
        with translate_errors():
            kept = self._redis.hvals(self._history(account))
        points = filter(None, map(_read_point, kept))
        return sorted(point for point in points if point.at // BUCKET_US > oldest)

    def _history(self, account: str) -> str:
        return f"{keys.base(self._prefix, account)}:history"

    def add_refusals(self, counts: Mapping[str, int]) -> None:
        """Add to the numbers of refused keys and webhooks, in one round trip."""
        self._add(self._shared("refusals"), counts)

    def refusals(self) -> dict[str, int]:
        """Return the numbers of refused keys and webhooks."""
        return self._read(self._shared("refusals"))

    def add_deliveries(self, counts: Mapping[str, int]) -> None:
        """Add to the numbers of deliveries, in one round trip."""
        self._add(self._shared("deliveries"), counts)

    def deliveries(self) -> dict[str, int]:
        """Return the numbers of deliveries."""
        return self._read(self._shared("deliveries"))

    def _read(self, key: str) -> dict[str, int]:
        with translate_errors():
            row = self._redis.hgetall(key)
        return {
            name.decode(errors="replace"): count for name, text in row.items() if (count := _read_count(text))
        }

    def _add(self, key: str, counts: Mapping[str, int]) -> None:
        with (
            suppress(StoreUnavailable),
            translate_errors(),
            self._redis.pipeline(transaction=False) as pipeline,
        ):
            for name, by in counts.items():
                pipeline.hincrby(key, name, by)
            pipeline.execute()

    def memory_usage(self) -> MemoryUsage | None:
        """Return how full the server is, or all nodes of a cluster together; None where it does not tell."""
        try:
            with translate_errors():
                info = self._redis.info("memory")
        except StoreUnavailable as error:
            if is_refusal(error):
                return None
            raise
        nodes = [node for node in info.values() if isinstance(node, dict)] or [info]
        if not all(isinstance(node.get("used_memory"), int) for node in nodes):
            return None  # of a server that tells less than Redis does
        used = sum(node["used_memory"] for node in nodes)
        return MemoryUsage(used, sum(node.get("maxmemory", 0) for node in nodes))


def _place(bucket: int) -> str:
    """Return where in the ring a bucket is noted."""
    return str(bucket % HISTORY_BUCKETS)


# What is beside the accounts is of nobody: something else that was written there is passed over.


def _read_count(text: bytes | None) -> int:
    """Return a counter, or a time; 0 for what is none."""
    return int(text) if text and text.isdigit() else 0


def _read_worker(text: bytes) -> WorkerInfo | None:
    """Return a worker; None for what is none."""
    with suppress(msgspec.MsgspecError):
        return _decode_worker(text)
    return None


def _read_point(text: bytes | None) -> HistoryPoint | None:
    """Return a point of an account's history; None for one of another release, which has other numbers."""
    with suppress(msgspec.MsgspecError):
        return _decode_point(text or b"")
    return None


def _ask_for_stats(pipeline: Any, base: str) -> None:
    """Queue as many commands as `COMMANDS_PER_ACCOUNT`, answered as `_read_stats` reads them."""
    pipeline.llen(f"{base}:queue")
    pipeline.llen(f"{base}:look_ups")
    pipeline.hmget(f"{base}:meta", ("dead", "held"))
    pipeline.lindex(f"{base}:queue", 0)
    pipeline.lindex(f"{base}:look_ups", 0)
    pipeline.hlen(f"{base}:open")
    pipeline.hlen(f"{base}:journal")
    pipeline.zcard(f"{base}:failed")
    pipeline.hgetall(f"{base}:counts")
    pipeline.hgetall(f"{base}:numbers")
    pipeline.hmget(f"{base}:pause", *PAUSE_FIELDS)
    pipeline.zcard(f"{base}:due")  # for its type alone: without it nothing of the account is worked


def _accepted_at(text: bytes | None, kept: bytes | None) -> int:
    """Return since when the first job of a queue waits (µs)."""
    if not text and not kept:
        return 0
    return _waits_since(LoadedJob.read("", text or kept or b"", is_kept=not text))


def _waits_since(job: LoadedJob) -> int:
    """Return when the job was accepted (µs), or put back into the queue."""
    return job.value.requeued_at or job.accepted_at


def _read_stats(row: Sequence[Any], oldest: int) -> AccountStats:
    """Read one account's answers."""
    listed, look_ups, (dead, held), _, _, opened, begun, unresolved, counts, numbers, pause, _ = row
    return AccountStats(
        listed + look_ups - int(dead or 0),
        oldest if listed + look_ups > int(dead or 0) else 0,
        opened + int(held or 0),
        begun,
        unresolved,
        codec.counts(counts),
        codec.counts(numbers),
        KnownPause.read(pause).pause,
    )
