"""Erases a record from all that is kept of an account beside jobs: memories, requests, replays, audit log.

It goes through each of them piece by piece, under the account's lease.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from worker.contract import Relation
from worker.ports.callbacks import CallbackMessage
from worker.ports.erasure import ERASED, ErasedPiece, RecordRef
from worker.ports.replays import Replay, ReplayEntry
from worker.ports.requests import RequestRecord
from worker.redis.client import translate_errors
from worker.store import codec
from worker.store.account import AccountCommit, closed_guards, guarded_relation, read_jobs
from worker.store.database import repeat_while_overtaken
from worker.store.erasure.record_text import RecordText
from worker.store.jobs.stored_job import NO_EVENT, IndexedState
from worker.store.keys import base, escape_glob, short_id
from worker.store.lease.leased_account import LeasedAccount
from worker.store.lease.look_ups import record_name
from worker.store.lease.replaced import field_of
from worker.store.limits import MAX_EXAMINED
from worker.store.memories import Memory
from worker.store.meta import read_meta

OWN_PAUSES: Final = (b"brake", b"clock", b"credentials")  # whose texts are of counts and codes


class RecordEraser:
    """One account's keys, and the record to erase from them."""

    def __init__(self, leased: LeasedAccount, who: RecordRef) -> None:
        self._leased, self._database, self._redis = leased, leased.database, leased.database.redis
        self._account, self._base = leased.account, base(leased.database.prefix, leased.account)
        self._who, self._text = who, RecordText(who)
        self._counts, self._in_doubt = Counter[str](), dict[Relation, int]()
        self._looked = Counter[str]()

    def erase_replays(self) -> Mapping[str, int]:
        """Erase the record from the listed replays, and return what went."""
        with translate_errors():
            for replay_id in self._redis.zrange(f"{self._base}:replays", 0, -1):
                self._erase_replay(replay_id.decode())
        return +self._counts

    def erase_next(self, cursor: int) -> ErasedPiece:
        """Erase the record from the next part."""
        phases = (
            self._erase_single_keys,
            partial(self._erase_memories, "memories:0"),
            partial(self._erase_memories, "memories:1"),
            self._erase_keys,
        )
        inner, phase = divmod(cursor, len(phases))  # the phase is in the lowest digit
        with translate_errors():
            inner = phases[phase](inner)
        next_cursor = inner * len(phases) + phase if inner else (phase + 1) % len(phases)
        return ErasedPiece(next_cursor, +self._counts, self._in_doubt, +self._looked)

    def _erase_single_keys(self, _cursor: int) -> int:
        """Erase it from keys that exist once: of the batch being worked, the pause, audit log, callbacks."""
        self._redis.delete(f"{self._base}:work")
        self._erase_replaced()
        self._repeat(self._erase_pause)
        self._repeat(self._erase_deeds)
        self._repeat(self._erase_guards)
        self._erase_callbacks()
        return 0

    def _erase_pause(self, commit: AccountCommit) -> int:
        reason, detail = self._redis.hmget(f"{self._base}:pause", "reason", "detail")
        if reason in OWN_PAUSES or not self._text.is_in((detail or b"").decode()):
            return 0
        commit.check("pause", "detail", detail)
        commit.hset("pause", "detail", ERASED)
        return 1

    def _erase_deeds(self, commit: AccountCommit) -> int:
        """Erase it from the audit log, which keeps who did how much."""
        found, count = list(self._redis.hscan_iter(f"{self._base}:deed", count=MAX_EXAMINED)), 0
        for name, row in found:
            entry = codec.read_audit_entry(name.decode(), 0, row)
            if self._text.is_in_words(entry.what) or self._text.is_in_words(entry.note):
                erased = msgspec.structs.replace(entry, what=ERASED, note="")
                commit.check("deed", name, row)
                commit.hset("deed", name, codec.audit_row(erased, entry.count))
                count += 1
        self._looked["deeds"], self._counts["deeds"] = len(found), count
        return count

    def _erase_guards(self, commit: AccountCommit) -> int:
        """Forget the guards of its closed relations, but of those with a write in doubt."""
        members = self._redis.zrange(f"{self._base}:guard", 0, -1)
        named = [each for each in members if self._who.is_part_of(guarded_relation(each.decode()))]
        old = closed_guards(self._database, self._account, named, now=commit.now)
        if old:
            commit.run("ZREM", "guard", *old)
        return len(old)

    def _erase_callbacks(self) -> None:
        """Forget labels that name it, and messages about these; one that was not sent yet is not."""
        labels = self._redis.hkeys(f"{self._base}:watched")
        named = [label for label in labels if self._text.is_in(label.decode())]
        if named:
            for key in ("watched", "reported"):
                self._redis.hdel(f"{self._base}:{key}", *named)
            self._redis.zrem(f"{self._base}:looks", *named)
        for message_id, text in self._redis.hscan_iter(f"{self._base}:callback", count=MAX_EXAMINED):
            self._looked["callbacks"] += 1
            message = msgspec.json.decode(text, type=CallbackMessage)
            if self._text.is_in(message.batch):
                self._redis.zrem(f"{self._base}:unsent:{message.callback}", message_id)
                self._redis.zrem(f"{self._base}:callbacks", message_id)
                self._counts["callbacks"] += self._redis.hdel(f"{self._base}:callback", message_id)

    def _erase_memories(self, key: str, cursor: int) -> int:
        next_cursor, found = self._redis.hscan(f"{self._base}:{key}", cursor, count=MAX_EXAMINED)
        named, now = [], self._database.now()
        self._looked["memories"] += len(found)
        for name, text in found.items():
            relation = Relation.parse(name.decode())
            if not self._who.is_part_of(relation):
                continue
            doubt = Memory.read(str(relation), text, self._account, now).doubt
            if doubt and doubt.until > now:
                self._in_doubt[relation] = doubt.until
            else:
                named.append(name)
        if named:
            self._repeat(lambda commit: self._delete_memories(commit, key, named))
            self._counts["memories"] += len(named)
        return int(next_cursor)

    def _delete_memories(self, commit: AccountCommit, key: str, names: Sequence[bytes]) -> int:
        commit.run("HDEL", key, *names)
        return len(names)

    def _repeat(self, act: Callable[[AccountCommit], int]) -> int:
        """Read, decide and write while nobody comes in between; an act returns how much it has erased."""

        def attempt() -> int:
            meta, commit = read_meta(self._database, self._account), self._leased.commit()
            commit.raise_version("p", meta.people_version)  # who acts on what was read reads again
            if count := act(commit):
                self._leased.send_others(commit)
            return count

        return repeat_while_overtaken(self._account, attempt)

    def _erase_keys(self, cursor: int) -> int:
        """Erase it from the keys that exist many times, some of which outlive every index."""
        next_cursor, names = self._scan(cursor)
        erasers = {
            "request": self._erase_request,
            "payload": self._erase_payload,
            "replay": self._erase_replay,
            "batch": self._erase_batch,
            "references": self._erase_reference_memory,
        }
        for name in names:
            kind, _, rest = name.decode().removeprefix(f"{self._base}:").partition(":")
            if rest and kind in KINDS:
                self._looked[KINDS[kind]] += not rest.endswith(":jobs")
            if rest and kind in erasers:
                erasers[kind](rest)
        return next_cursor

    def _erase_request(self, request_id: str) -> None:
        text = self._redis.get(f"{self._base}:request:{request_id}")
        if text is None or str(self._who.number).encode()[-3:] not in text:
            return
        record = msgspec.json.decode(text, type=RequestRecord)
        texts = (record.message, *record.correlations, *(message for _, _, message in record.answers))
        if any(map(self._text.is_in, texts)) or any(map(self._who.is_named_by, record.actions)):
            self._counts["requests"] += self._redis.delete(f"{self._base}:request:{request_id}")

    def _erase_payload(self, job_id: str) -> None:
        self._counts["payloads"] += self._repeat(lambda commit: self._try_to_erase_payload(commit, job_id))

    def _try_to_erase_payload(self, commit: AccountCommit, job_id: str) -> int:
        short = short_id(job_id)
        job = read_jobs(self._database, self._account, [short]).get(short)
        body, faults = self._redis.hmget(f"{self._base}:payload:{job_id}", "body", "faults")
        listed = msgspec.json.decode(faults or b"[]", type=list[str])
        is_named = self._text.is_in_body(body or b"") or any(map(self._text.is_in_fault, listed))
        if not (is_named or (job and self._text.is_in(job.value.event_id))):
            return 0
        commit.run("DEL", f"payload:{job_id}")
        commit.run("ZREM", "payloads", job_id)
        if job:
            before, job.value.refusal = IndexedState.of(job), (0, "unreadable", "", "")
            job.value.event_id, job.value.by = NO_EVENT, ERASED
            commit.put(job, before)
        return 1

    def _erase_replay(self, replay_id: str) -> None:
        self._counts["replays"] += self._repeat(lambda commit: self._try_to_erase_replay(commit, replay_id))

    def _try_to_erase_replay(self, commit: AccountCommit, name: str) -> int:
        """Delete a replay that would send the record again; of others, drop what shows it.

        A set whose replay was never saved, because its maker died, is one that would send it.
        """
        replay_id = name.removesuffix(":jobs")
        key, listed = f"replay:{replay_id}", f"replay:{replay_id}:jobs"
        about = self._redis.hget(f"{self._base}:{key}", "about")
        if about and name == listed.removeprefix("replay:"):
            return 0  # it is erased by its own name
        replay = msgspec.json.decode(about, type=Replay) if about else None
        is_corrected = replay is not None and self._text.is_in_json(replay.correction)
        if is_corrected or self._is_sent_by(f"{self._base}:{listed}"):
            for each in (key, listed):
                commit.run("DEL", each)
            commit.run("ZREM", "replays", replay_id)
            return 1
        if replay is None or not self._is_shown_by(replay):
            return 0
        commit.check(key, "about", about)
        erased = msgspec.structs.replace(replay, what=ERASED, plan={}, examples={})
        commit.hset(key, "about", codec.encode(erased))
        return 1

    def _erase_batch(self, label: str) -> None:
        if self._text.is_in(label):
            self._counts["batches"] += self._redis.delete(f"{self._base}:batch:{label}")

    def _erase_replaced(self) -> None:
        """Forget when sides of the record were replaced."""
        sides = ((side, name) for name, where in self._who.sides.items() for side in where)
        fields = [field_of(side, name, self._who.number) for side, name in sides]
        self._redis.hdel(f"{self._base}:replaced", *fields)

    def _erase_reference_memory(self, period: str) -> None:
        """Forget which references led to the record, or to one of another module with its id."""
        key, name = f"{self._base}:references:{period}", record_name(self._who.module, self._who.number)
        for field, value in self._redis.hscan_iter(key, count=MAX_EXAMINED):
            if value.partition(b" ")[0] == str(self._who.number).encode() or field == name:
                self._redis.hdel(key, field)

    def _is_sent_by(self, key: str) -> bool:
        """Return whether an entry of a replay's set has messages that name the record."""
        for start in range(0, self._redis.llen(key), MAX_EXAMINED):
            texts = self._redis.lrange(key, start, start + MAX_EXAMINED - 1)
            entries = (codec.read_replay_entry(text) for text in texts if text.startswith(b"{"))
            if any(self._is_sent(entry) for entry in entries):
                return True
        return False

    def _is_sent(self, entry: ReplayEntry) -> bool:
        relations = map(Relation.parse, entry.relations)
        return any(map(self._who.is_part_of, relations)) or any(map(self._text.is_in_message, entry.changes))

    def _is_shown_by(self, replay: Replay) -> bool:
        """Return whether what is shown of a replay names the record."""
        texts = (replay.what, *replay.examples.values())
        listed = replay.plan.get("listed", ())
        return any(map(self._text.is_in_words, texts)) or any(map(self._text.is_in_message, listed))

    def _scan(self, cursor: int) -> tuple[int, list[bytes]]:
        """Return where to continue and some keys of the account; in a cluster they are all on one node."""
        options = {"match": f"{escape_glob(self._base)}:*", "count": MAX_EXAMINED}
        if not hasattr(self._redis, "get_node_from_key"):
            next_cursor, names = self._redis.scan(cursor, **options)
            return int(next_cursor), names
        node = self._redis.get_node_from_key(f"{self._base}:meta")
        cursors, names = self._redis.scan(cursor, target_nodes=node, **options)
        return int(cursors[node.name]), names


KINDS: Final = {"request": "requests", "payload": "payloads", "replay": "replays", "batch": "batches"}
"""What keys that exist many times are counted as."""
