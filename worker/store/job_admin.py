"""What people do to jobs on Redis: one script each, in pieces that do not block the server for long."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from worker.contract import Relation
from worker.errors import LeaseLost
from worker.ports import (
    AdminResult,
    AuditEntry,
    AuditPage,
    Lease,
    Payload,
    RecordRef,
    Replay,
    ReplayEntry,
    ReplayState,
)
from worker.redis.client import Client, available, script
from worker.store import codec, keys
from worker.store.erasure import Scrub, token
from worker.store.lease import RedisLease
from worker.store.limits import AT_ONCE, EXAMINED, REPLAY_LIFE, Retention

PARTS: Final[Mapping[str, tuple[str, ...]]] = {  # the scripts, and what each is put together from
    "cancel": ("inbox", "relation", "failures", "end", "withdraw", "deed"),
    "dismiss": ("failures", "deed"),
    "replace": ("failures",),
    "deed": ("deed",),
    "prepare": ("deed",),
    "steer": ("deed",),
    "advance": ("deed",),
    "stalled": (),
    "handed": (),
    "erase": ("inbox", "relation", "failures", "end", "withdraw", "erase"),
    "forget": ("failures",),
}


class RedisJobAdmin:
    """Implements `ports.JobAdmin`. Hand `now` (µs) in tests only; production lets Redis say what time it is."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        *,
        keep: Callable[[str], Retention] = lambda _: Retention(),
        now: Callable[[], int] | None = None,
    ) -> None:
        self._client: Any = client  # answers bytes, at once; see RedisStore
        self._prefix, self._keep = prefix, keep
        self._now: Callable[[], str] = (lambda: str(now())) if now else (lambda: "")
        self._scripts = {
            name: script(client, "worker.store", name, "shared", *parts) for name, parts in PARTS.items()
        }

    def cancel(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """End changes that wait in the inbox."""
        return self._act("cancel", account, jobs, (codec.lifetimes(self._keep(account)), codec.deed(audit_entry)))

    def dismiss(self, account: str, jobs: Sequence[str], audit_entry: AuditEntry) -> AdminResult:
        """Let failed jobs wait for a decision no longer."""
        return self._act("dismiss", account, jobs, (codec.deed(audit_entry), codec.encode((audit_entry.by, audit_entry.note))))

    def link_replacement(self, job: str, new: Sequence[str], *, by: str, mark: str = "") -> None:
        """Link a failed job with those sent in its place, and dismiss it; they may be another account's."""
        why = codec.encode((by, "replaced"))
        for account in dict.fromkeys(_account(name) for name in (*new, job)):
            self._run("replace", account, self._now(), why, mark, job, *new)

    def add_audit_entry(self, account: str, audit_entry: AuditEntry) -> None:
        """Remember a audit_entry."""
        self._run("deed", account, self._now(), codec.deed(audit_entry), audit_entry.count)

    def audit_log(self, account: str, *, limit: int = 50, cursor: str = "") -> AuditPage:
        """Who did what, newest first."""
        key = self._key(account, "deeds")
        with available():
            start = self._client.zrevrank(key, cursor) if cursor else -1
            if start is None:  # so old that it was forgotten
                return AuditPage((), "")
            rows = self._client.zrevrange(key, start + 1, start + limit, withscores=True)
            told = self._client.hmget(self._key(account, "deed"), [name for name, _ in rows]) if rows else []
        found = tuple(
            _deed(name.decode(), int(at), text) for (name, at), text in zip(rows, told, strict=True) if text
        )
        return AuditPage(found, rows[-1][0].decode() if len(rows) == limit else "")

    def get_payload(self, job: str) -> Payload | None:
        """What is kept of the unreadable message that the job stands for."""
        with available():
            body, faults, size = self._client.hmget(
                self._key(_account(job), f"payload:{job}"), "body", "faults", "size"
            )
        return (
            None
            if body is None
            else Payload(body, msgspec.json.decode(faults, type=tuple[str, ...]), int(size))
        )

    def save_replay(self, replay: Replay, entries: Sequence[ReplayEntry], audit_entry: AuditEntry) -> None:
        """Keep a replay and its set; a piece of the set that is lost on the way makes no replay."""
        texts = [codec.entry(each) for each in entries]
        life = round(REPLAY_LIFE * 1000)
        for start in range(0, len(texts), EXAMINED):
            self._run(
                "prepare",
                replay.account,
                self._now(),
                replay.id,
                start,
                life,
                "",
                "",
                0,
                *texts[start : start + EXAMINED],
            )
        self._run(
            "prepare",
            replay.account,
            self._now(),
            replay.id,
            -1,
            life,
            codec.encode(replay),
            codec.deed(audit_entry),
            replay.eligible,
        )

    def get_replay(self, replay_id: str) -> Replay | None:
        """One replay, with how far it is."""
        with available():
            return codec.replay(self._client.hgetall(self._key(_account(replay_id), f"replay:{replay_id}")))

    def list_replays(self, account: str, *, limit: int = 50) -> list[Replay]:
        """The account's replays, newest first."""
        with available():
            names = self._client.zrevrange(self._key(account, "replays"), 0, limit - 1)
        return [found for name in names if (found := self.get_replay(name.decode()))]

    def replay_entries(self, replay_id: str, start: int, most: int) -> list[ReplayEntry]:
        """A piece of its set."""
        with available():
            rows = self._client.lrange(
                self._key(_account(replay_id), f"replay:{replay_id}:jobs"), start, start + most - 1
            )
        return [codec.read_entry(row) for row in rows]

    def set_replay_state(self, replay_id: str, to: ReplayState, audit_entry: AuditEntry) -> ReplayState | None:
        """Let it run (on), or stop it; the state it is in then."""
        return _state(self._run("steer", _account(replay_id), self._now(), replay_id, to, codec.deed(audit_entry)))

    def advance_replay(
        self, replay: Replay, start: int, end: int, *, back: int, missed: Mapping[str, int], audit_entry: AuditEntry
    ) -> ReplayState | None:
        """Count a piece of the set as worked, once."""
        told = start, end, replay.eligible, back, codec.pack(dict(missed)), codec.deed(audit_entry)
        return _state(self._run("advance", replay.account, self._now(), replay.id, *told))

    def stalled_replays(self, account: str, seconds: float) -> list[str]:
        """The replays that should run and have not come on for so long."""
        return [
            name.decode() for name in self._run("stalled", account, self._now(), round(seconds * 1_000_000))
        ]

    def touch_replay(self, replay_id: str) -> None:
        """It was given to a worker once more."""
        self._run("handed", _account(replay_id), self._now(), replay_id)

    def count_unsettled(self, account: str) -> int:
        """Requests that were begun and not settled."""
        with available():
            return int(self._client.hlen(self._key(account, "journal")))

    def open_relations_with(self, account: str, who: RecordRef) -> list[Relation]:
        """The open relations whose work names a record."""
        named = token(who)
        with available():
            rows = self._client.hscan_iter(self._key(account, "open"), count=EXAMINED)
            found = {Relation.parse(name.decode()): named.search(work) for name, work in rows}
        return sorted(relation for relation, by_name in found.items() if by_name or who.is_part_of(relation))

    def erase_jobs(self, lease: Lease, who: RecordRef, after: int) -> tuple[int, Mapping[str, int]]:
        """Take a record out of the next jobs."""
        assert isinstance(lease, RedisLease)  # noqa: S101 another store's lease is a mistake of ours
        told = (
            lease.holder,
            str(who.number),
            codec.pack(who.sides),
            codec.lifetimes(self._keep(lease.account)),
            after,
            AT_ONCE,
        )
        answer = self._run("erase", lease.account, self._now(), *told)
        if answer == b"lost":
            raise LeaseLost(f"the lease on account {lease.account} is not ours any more")
        return int(answer[0]), {"jobs": answer[1], "emptied": answer[2]}

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> tuple[int, Mapping[str, int]]:
        """Take a record out of a part of everything else that is kept."""
        lease.renew()  # whoever lost it stops here
        with available():
            return Scrub(
                self._client, keys.base(self._prefix, lease.account), who, self._scripts["forget"]
            ).step(cursor)

    def _act(self, name: str, account: str, jobs: Sequence[str], told: Sequence[bytes]) -> AdminResult:
        """The act in pieces, each of which the deed counts."""
        left, done, refused = list(dict.fromkeys(jobs)), list[str](), dict[str, str]()
        while left:
            looked, acted, others = self._run(name, account, self._now(), *told, *left[:AT_ONCE])
            left = left[looked:]
            done += [job.decode() for job in acted]
            refused |= {
                job.decode(): why.decode() for job, why in zip(others[::2], others[1::2], strict=True)
            }
        return AdminResult(tuple(done), refused)

    def _key(self, account: str, name: str) -> str:
        return f"{keys.base(self._prefix, account)}:{name}"

    def _run(self, name: str, account: str, *args: str | bytes | int) -> Any:
        with available():
            return self._scripts[name](keys=[keys.base(self._prefix, account)], args=args)


def _account(name: str) -> str:
    """The account that a job or a replay carries in its id (R5)."""
    return name.rpartition("-")[0]


def _state(answer: bytes) -> ReplayState | None:
    return answer.decode() or None  # type: ignore[return-value]


def _deed(name: str, at: int, text: bytes) -> AuditEntry:
    by, act, what, count, note = msgspec.json.decode(text, type=tuple[str, str, str, int, str])
    return AuditEntry(name, by, act, what, note, count, at)
