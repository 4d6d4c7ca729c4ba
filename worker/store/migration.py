"""Brings an account's stored data from the layout of release 0.1.0 to this one.

That release keeps a hash per job, a string per idempotency key and a hash per relation. It may still be
running: its workers find the account's lease taken for good, and what its producers still accept lies in its
own inbox until a worker of this release moves it, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from worker.errors import StoreUnavailable
from worker.planner.fold import NEVER, RESULTS, ConfirmedInfo, ConfirmedState, JobVersion
from worker.planner.relation_state import Doubt
from worker.ports.store import Retention
from worker.redis.client import translate_errors
from worker.store import keys
from worker.store.account import AccountCommit
from worker.store.database import Check, Database, new_commit_id
from worker.store.jobs.stored_job import ACTIONS, FAILED, NO_EVENT, NUMBER_OF, QUEUED, LoadedJob, StoredJob
from worker.store.keys import LAYOUT, bucket_of, short_id
from worker.store.limits import MAX_EXAMINED
from worker.store.memories import Memory


class OldMemory(
    msgspec.Struct, frozen=True, rename={"present": "p", "absent": "a", "info": "i", "doubt": "d"}
):
    """A relation's memory as release 0.1.0 stored it."""

    present: JobVersion = NEVER
    absent: JobVersion = NEVER
    info: dict[str, ConfirmedInfo] = {}
    doubt: Doubt | None = None


_decode_memory = msgspec.json.Decoder(OldMemory).decode
_decode_info = msgspec.json.Decoder(dict[str, str]).decode
_decode_refusal = msgspec.json.Decoder(tuple[int, str, str, str]).decode
_decode_dismissal = msgspec.json.Decoder(tuple[str, str]).decode


def read_event(value: bytes) -> bytes:
    """Return the value of an idempotency key without the account."""
    job, _, fingerprint = value.decode().partition(" ")
    return f"{short_id(job)} {fingerprint}".encode()


def read_memory(relation: str, row: Mapping[bytes, bytes]) -> Memory:
    """Return the memory of a relation, of the fields of its hash."""
    memory = Memory(relation)
    if text := row.get(b"k"):
        old = _decode_memory(text)
        memory = Memory(relation, ConfirmedState(old.present, old.absent, old.info), old.doubt)
    events = []
    for name, value in sorted(row.items()):
        if name.startswith(b"#"):
            result, _, why = value.decode().partition(" ")
            events.append((short_id(name[1:].decode()), RESULTS.index(result), why))
    memory.events = tuple(events)
    return memory


def read_job(short: str, row: Mapping[bytes, bytes], *, expires: int) -> LoadedJob:
    """Return a job, of the fields of its hash."""
    text = {name.decode(): value.decode() for name, value in row.items()}
    state = NUMBER_OF[text["s"]]  # type: ignore[index]
    event_id = text.get("e")
    at, _, why = text.get("d", "").partition(" ")
    value = StoredJob(
        action=ACTIONS[text["a"]],
        type=text["t"],
        parents=_ids(text["p"]),
        children=_ids(text["c"]),
        occurred_at=int(text["o"]),
        digest=bytes.fromhex(text.get("k", "")),
        event_id=NO_EVENT if event_id is None else "" if event_id == short else event_id,
        info=_decode_info(text["i"]) if "i" in text else None,
        source=text.get("u", ""),
        batch=text.get("b", ""),
        correlation=text.get("ci", ""),
        allow_empty="ae" in text,
        state=state,
        finished_at=int(text.get("f", 0)),
        expires=expires,
        left=int(text["r"]),
        total=int(text["z"]),
        counts=tuple(int(text.get(name, 0)) for name in ("ok", "su", "st", "fa")),  # type: ignore[arg-type]
        attempts=int(text.get("m", 0)),
        requests=tuple(text.get("w", "").split()),
        by=text.get("y", ""),
        refusal=_decode_refusal(text["x"]) if "x" in text else None,
        failed=tuple(text.get("fr", "").split()),
        again=tuple(text.get("ag", "").split()),
        requeued_at=int(text.get("bk", 0)),
        dismissed=(int(at), *_decode_dismissal(why)) if at else None,
        replays=text.get("rp", ""),
        replayed_by=tuple(text.get("rb", "").split()),
        replay=text.get("rm", ""),
    )
    is_kept = state == FAILED or value.requeued_at > 0
    return LoadedJob(short, int(text["n"]), int(text["q"]), value, is_kept=is_kept)


def _ids(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()


OLD_HOLDER: Final = f"layout {LAYOUT}"
"""Who has the lease of the old layout for good."""
MOVER_MS: Final = 60_000  # for which a move that makes no progress keeps others out
PIECE: Final = 200  # old keys that are moved at once


def ensure_layout(database: Database, account: str, keep: Retention, found: bytes | None) -> None:
    """Give an account this layout; raise StoreUnavailable for that of a newer release."""
    if found is None:
        migrate(database, account, keep)
    elif found.decode() != LAYOUT:
        raise StoreUnavailable(
            f"the stored data of account {account} has layout {found.decode()}, and this release knows only "
            f"layout {LAYOUT}: a newer release has written it, so install that one here too",
            retry_after=60.0,
        )


def migrate(database: Database, account: str, keep: Retention) -> None:
    """Bring an account's data to this layout: all that an earlier release wrote, or what it accepted since.

    Raises StoreUnavailable while an old worker has the account, or another process is at it.
    """
    _Migration(database, account, keep).run()


class _Migration:
    """One account's move; every piece of it may be made twice, and by another process."""

    def __init__(self, database: Database, account: str, keep: Retention) -> None:
        self._database, self._account, self._keep = database, account, keep
        self._base, self._now = keys.base(database.prefix, account), database.now()
        self._redis: Any = database.redis
        self._token = new_commit_id()

    def run(self) -> None:
        """Move everything, and write the layout."""
        self._keep_old_workers_out()
        reads = self._database.reads(self._account)
        reads.exists("jobs")
        reads.exists("inbox")
        reads.hget("meta", "layout")
        has_jobs, has_inbox, layout = reads.run()
        if has_jobs and layout is None:
            self._keep_others_out()
            for names in self._scan("rel:"):
                self._send(self._move_memories(names))
            for names in self._scan("event:"):
                self._send(self._move_events(names))
        if has_jobs:
            self._move_all_jobs()
        if has_inbox:
            self._move_inbox()
        commit = self._commit()
        for name in ("jobs", "dead", "arriving"):
            commit.run("DEL", name)
        if layout is None:
            commit.run("HSET", "meta", "layout", LAYOUT)
            commit.run("DEL", "holder")
        commit.send()

    # --- nobody else

    def _keep_old_workers_out(self) -> None:
        """Take the lease of the old layout for good."""
        commit = self._commit()
        commit.check("lease", "token", "")
        commit.run("HSET", "lease", "token", OLD_HOLDER, "step", 0)
        try:
            commit.send()
        except Check as failed:
            if failed.found != OLD_HOLDER:
                raise StoreUnavailable(
                    f"a worker of an earlier release has account {self._account}: its stored data is brought "
                    f"to layout {LAYOUT} as soon as that one is done; try again",
                    retry_after=5.0,
                ) from None

    def _keep_others_out(self) -> None:
        """Let no other process of this release move the account at the same time."""
        commit = self._commit()
        commit.check("holder", "token", "")
        commit.check("meta", "layout", "")
        commit.run("HSET", "holder", "token", self._token, "step", 0)
        commit.run("PEXPIRE", "holder", MOVER_MS)
        if not commit.try_send():
            raise StoreUnavailable(
                f"the stored data of account {self._account} is being brought to layout {LAYOUT}; try again",
                retry_after=5.0,
            )

    # --- pieces

    def _move_memories(self, names: Sequence[str]) -> AccountCommit:
        commit = self._commit()
        for name, row in self._read_hashes(names).items():
            commit.put_memories([read_memory(name.removeprefix("rel:"), row)])
            commit.run("DEL", name)
        commit.run("HSET", "meta", "memories", 0, "memories_since", self._now)
        return commit

    def _move_events(self, names: Sequence[str]) -> AccountCommit:
        """Move idempotency keys; those of jobs that are kept are written once more with them."""
        commit, reads = self._commit(), self._database.reads(self._account)
        for name in names:
            reads.get(name)
        for name, value in zip(names, reads.run(), strict=True):
            if value:
                commit.hset("events:0", bytes.fromhex(name.removeprefix("event:")), read_event(value))
            commit.run("DEL", name)
        commit.run("HSET", "meta", "events", 0, "events_since", self._now)
        return commit

    def _move_all_jobs(self) -> None:
        """Move the jobs in the order of acceptance."""
        while ids := self._database.read_names(self._account, "zrange", "jobs", 0, PIECE - 1):
            commit = self._move_jobs(ids)
            commit.run("ZREM", "jobs", *ids)
            self._send(commit)

    def _move_inbox(self) -> None:
        """Let the old inbox follow: what is still queued, and jobs that an old producer has just accepted."""
        while ids := self._database.read_names(self._account, "lrange", "inbox", 0, PIECE - 1):
            commit = self._move_jobs(ids)
            reads = self._database.reads(self._account)
            for id_ in ids:
                reads.hget(f"jobs:{bucket_of(short_id(id_))}", short_id(id_))
                reads.hget("kept", short_id(id_))
            rows = reads.run()
            for id_, bucket, kept in zip(ids, rows[::2], rows[1::2], strict=True):
                short, text = short_id(id_), bucket or kept
                job = self._moved.get(short) or (text and LoadedJob.read(short, text, is_kept=not bucket))
                if job and job.value.state == QUEUED:
                    commit.run("RPUSH", "queue", short)
            for id_ in ids:  # not by their number: another process may have moved some of them
                commit.run("LREM", "inbox", 1, id_)
            commit.run("ZREM", "jobs", *ids)
            self._send(commit)

    def _move_jobs(self, ids: Sequence[str]) -> AccountCommit:
        """Return the move of old jobs that holds only while nobody has changed their states."""
        commit, names = self._commit(), [f"job:{id_}" for id_ in ids]
        rows = self._read_hashes(names)
        reads = self._database.reads(self._account)
        for name, row in rows.items():
            reads.pttl(name)
            reads.get(f"event:{row.get(b'k', b'').decode()}")
            reads.hget("events:0", bytes.fromhex(row.get(b"k", b"").decode()))
        more = reads.run()
        self._moved: dict[str, LoadedJob] = {}
        for (name, row), lifetime, old, moved in zip(
            rows.items(), more[::3], more[1::3], more[2::3], strict=True
        ):
            commit.check(name, "s", row[b"s"])
            short = short_id(name)
            job = read_job(short, row, expires=self._now + 1000 * lifetime if lifetime > 0 else 0)
            event = read_event(old) if old else moved
            if event and event.endswith(b" "):  # a webhook wrote it; they have a space of their own now
                job.value.digest = keys.delivery(job.value.source, job.value.event_id or short)
            self._put(commit, job, event or b"")
            commit.run("DEL", name)
            commit.run("DEL", f"event:{row.get(b'k', b'').decode()}")
            self._moved[short] = job
        return commit

    def _put(self, commit: AccountCommit, job: LoadedJob, event: bytes) -> None:
        bucket = bucket_of(job.short)
        commit.hset("kept" if job.is_kept else f"jobs:{bucket}", job.short, job.encode())
        commit.run("RPUSH", f"order:{bucket}", job.short)
        lifetime = round(1000 * self._keep.finished)
        commit.count_open(bucket, int(job.is_open and not job.is_kept), lifetime)
        if event:
            for key in ("events:0", "events:kept")[: 1 + job.is_kept]:  # the latter lives as long as the job
                commit.hset(key, job.value.digest, event)
        if job.is_kept:
            commit.run("ZADD", "keep", job.number, job.short)

    # --- reading and writing

    def _read_hashes(self, names: Sequence[str]) -> dict[str, Mapping[bytes, bytes]]:
        reads = self._database.reads(self._account)
        for name in names:
            reads.hgetall(name)
        return {name: row for name, row in zip(names, reads.run(), strict=True) if row}

    def _scan(self, kind: str) -> Iterator[list[str]]:
        """Yield the account's keys of a kind in pieces; a cluster has them all on one node."""
        options: dict[str, Any] = {"match": f"{keys.escape_glob(self._base)}:{kind}*", "count": MAX_EXAMINED}
        if hasattr(self._redis, "get_node_from_key"):
            options["target_nodes"] = self._redis.get_node_from_key(f"{self._base}:meta")
        with translate_errors():
            found = [
                name.decode().removeprefix(f"{self._base}:") for name in self._redis.scan_iter(**options)
            ]
        for start in range(0, len(found), PIECE):
            yield found[start : start + PIECE]

    def _commit(self) -> AccountCommit:
        return AccountCommit(self._database, self._account, self._keep, now=self._now)

    def _send(self, commit: AccountCommit) -> None:
        commit.run("PEXPIRE", "holder", MOVER_MS)
        commit.try_send()  # or an old program has changed one of the jobs: the next piece reads it again
