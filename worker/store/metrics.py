"""The numbers on Redis: counted in one hash per account, read in one pipeline for all of them. Plain commands, so that a
cluster's client may send them to every node at once."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from worker.clock import time_of_id
from worker.errors import StoreUnavailable
from worker.ports import AccountStats, MemoryUsage, SweepStats, WorkerInfo
from worker.redis.client import Client, available
from worker.store import codec, keys
from worker.store.limits import FORGOTTEN

PAUSE: Final = ("reason", "detail", "since", "until", "fingerprint")
ASKED: Final = 9  # commands per account

_worker = msgspec.json.Decoder(WorkerInfo).decode


class RedisMetrics:
    """Implements `ports.Metrics`."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client: Any = client  # answers bytes, at once; see RedisStore
        self._prefix, self._workers, self._sweep = prefix, keys.workers(prefix), keys.sweep(prefix)

    def add(self, account: str, tally: Mapping[str, int]) -> None:
        """Count on, in one round trip; what cannot be written is not counted."""
        with suppress(StoreUnavailable), available(), self._client.pipeline(transaction=False) as pipeline:
            for name, by in tally.items():
                pipeline.hincrby(f"{keys.base(self._prefix, account)}:numbers", name, by)
            pipeline.execute()

    def account_stats(self, accounts: Sequence[str]) -> dict[str, AccountStats]:
        """How these accounts stand, in two round trips."""
        bases = [keys.base(self._prefix, account) for account in accounts]
        with available(), self._client.pipeline(transaction=False) as pipeline:
            for base in bases:
                self._ask(pipeline, base)
            answers = pipeline.execute()
            rows = [answers[start : start + ASKED] for start in range(0, len(answers), ASKED)]
            for base, (_, _, head, *_) in zip(
                bases, rows, strict=True
            ):  # one that a replay put back waits since then
                pipeline.hget(f"{base}:job:{(head or b'').decode()}", "bk")
            backs = pipeline.execute() if bases else []
        return {
            account: _standing(row, int(back or 0))
            for account, row, back in zip(accounts, rows, backs, strict=True)
        }

    def record_heartbeat(self, worker: WorkerInfo) -> None:
        """The worker is alive; those that have not been for an hour are forgotten."""
        with available():
            self._client.hset(self._workers, worker.name, codec.encode(worker))
        for other in self.list_workers():
            if other.at < worker.at - round(FORGOTTEN * 1e6):
                self.remove_worker(other.name)

    def remove_worker(self, name: str) -> None:
        """The worker has ended."""
        with available():
            self._client.hdel(self._workers, name)

    def list_workers(self) -> list[WorkerInfo]:
        """Every worker that has not ended in peace."""
        with available():
            return sorted(map(_worker, self._client.hvals(self._workers)), key=lambda each: each.name)

    def record_sweep(self, repaired: int, *, at: int) -> None:
        """A sweep was made; one that cannot be written down is made all the same."""
        with suppress(StoreUnavailable), available():
            self._client.hset(self._sweep, "at", at)
            self._client.hincrby(self._sweep, "made", 1)
            self._client.hincrby(self._sweep, "repaired", repaired)

    def sweep_stats(self) -> SweepStats:
        """What there is to say of sweeps."""
        with available():
            return SweepStats(
                *(int(number or 0) for number in self._client.hmget(self._sweep, *SweepStats._fields))
            )

    def memory_usage(self) -> MemoryUsage:
        """How full the server is, or all of a cluster's together."""
        with available():
            info = self._client.info("memory")
        nodes = [info] if "used_memory" in info else list(info.values())
        return MemoryUsage(
            sum(node["used_memory"] for node in nodes), sum(node.get("maxmemory", 0) for node in nodes)
        )

    def _ask(self, pipeline: Any, base: str) -> None:
        """As many commands as `ASKED`, answered as `_standing` reads them."""
        pipeline.llen(f"{base}:inbox")
        pipeline.get(f"{base}:dead")
        pipeline.lindex(f"{base}:inbox", 0)
        pipeline.hlen(f"{base}:open")
        pipeline.hlen(f"{base}:journal")
        pipeline.zcard(f"{base}:failed")
        pipeline.hgetall(f"{base}:counts")
        pipeline.hgetall(f"{base}:numbers")
        pipeline.hmget(f"{base}:pause", *PAUSE)


def _standing(row: Sequence[Any], back: int) -> AccountStats:
    listed, dead, head, opened, begun, unresolved, counts, numbers, pause = row
    backlog = listed - int(dead or 0)
    oldest = back or time_of_id(head.decode().rpartition("-")[2]) if backlog > 0 else 0
    held = codec.pause(pause) if pause[0] else None
    return AccountStats(backlog, oldest, opened, begun, unresolved, _whole(counts), _whole(numbers), held)


def _whole(row: Mapping[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in row.items() if value != b"0"}
