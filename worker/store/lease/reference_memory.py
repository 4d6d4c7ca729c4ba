"""The records that references led to lately, so that a burst of one reference costs one look-up."""

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from itertools import chain

from worker.contract import Reference
from worker.store.commit import Commit
from worker.store.database import Database


class ReferenceMemory:
    """What an account's references led to within the last so many `seconds`, in hashes of that time each."""

    def __init__(self, database: Database, account: str, seconds: float) -> None:
        self._database, self._account = database, account
        self._period = max(1, round(seconds * 1e6))

    def read(self, references: Collection[Reference]) -> dict[Reference, int]:
        """Return the records of references, without those that the API has not known since."""
        if not references:
            return {}
        now, digests = self._database.now(), [_digest(reference) for reference in references]
        rows = self._read(now, digests)
        known: dict[Reference, tuple[int, int]] = {}
        for reference, values in zip(references, rows, strict=True):
            for value in filter(None, values):
                record, asked_at = map(int, value.split())
                if now - asked_at <= self._period:
                    known[reference] = (record, asked_at)
        names = {record_name(reference.module, record) for reference, (record, _) in known.items()}
        gone_at = self._gone_at(now, sorted(names))
        return {
            reference: record
            for reference, (record, asked_at) in known.items()
            if gone_at.get(record_name(reference.module, record), 0) < asked_at
        }

    def exists(self) -> bool:
        """Return whether anything is remembered."""
        now, reads = self._database.now(), self._database.reads(self._account)
        for key in (self._key(now - self._period), self._key(now)):
            reads.exists(key)
        return any(reads.run())

    def write(self, commit: Commit, records: Mapping[Reference, int]) -> None:
        """Remember what references led to, as of now."""
        now = self._database.now()
        self._put(commit, now, [(_digest(each), f"{record} {now}") for each, record in records.items()])

    def forget(self, commit: Commit, records: Iterable[tuple[str, int]]) -> None:
        """Let references lead to these records (module, id) no more before they were looked up again."""
        now = self._database.now()
        self._put(commit, now, [(record_name(*record), now) for record in records])

    def _put(self, commit: Commit, now: int, pairs: Collection[tuple[bytes, object]]) -> None:
        if pairs:
            key = self._key(now)
            commit.run("HSET", key, *chain.from_iterable(pairs))
            commit.run("PEXPIRE", key, 2 * self._period // 1000 + 1)

    def _gone_at(self, now: int, names: Collection[bytes]) -> dict[bytes, int]:
        rows = self._read(now, names) if names else []
        return {
            name: max(map(int, filter(None, row)), default=0) for name, row in zip(names, rows, strict=True)
        }

    def _read(self, now: int, fields: Collection[bytes]) -> list[tuple[bytes | None, ...]]:
        reads = self._database.reads(self._account)
        for key in (self._key(now - self._period), self._key(now)):
            reads.hmget(key, list(fields))
        return list(zip(*reads.run(), strict=True))

    def _key(self, now: int) -> str:
        return f"references:{now // self._period}"


def _digest(reference: Reference) -> bytes:
    fields = "\0".join(chain.from_iterable(reference.fields))
    return blake2b(f"{reference.module}\0{fields}".encode(), digest_size=12).digest()


def record_name(module: str, record: int) -> bytes:
    """Return the field that says since when the API knows a record no more."""
    return f"{module} {record}".encode()
