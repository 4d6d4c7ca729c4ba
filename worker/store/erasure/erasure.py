"""What an erasure of a record needs of the store: what still works it, and every place that may name it."""

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from worker.contract import Relation, account_of
from worker.errors import StoreUnavailable, Unavailable
from worker.ports.erasure import ERASED, ErasedPiece, RecordRef, UnsettledRequests
from worker.ports.work import Lease
from worker.redis.client import is_refusal, tells_unreadable, translate_errors, translate_unreadable
from worker.store import codec, keys
from worker.store.account import AccountCommit, read_jobs
from worker.store.acts import Acts
from worker.store.database import Database, repeat_while_overtaken
from worker.store.erasure.record_eraser import RecordEraser
from worker.store.erasure.record_text import RecordText
from worker.store.jobs import job_references, lifecycle
from worker.store.jobs.stored_job import NO_EVENT, QUEUED, IndexedState, LoadedJob
from worker.store.lease.lease import RedisLease
from worker.store.lease.leased_account import LeasedAccount
from worker.store.lease.look_ups import leave_look_ups
from worker.store.limits import JOBS_PER_CALL, MAX_EXAMINED, RELATIONS_PER_CALL
from worker.store.meta import read_meta
from worker.store.places import PLACE_BITS


class RedisErasure(Acts):
    """Implements `ports.Erasure`."""

    @tells_unreadable
    def unsettled_requests(self, account: str) -> UnsettledRequests:
        """Return the requests that were begun and not settled, oldest first.

        Raises Unavailable for an account whose worker died with claimed changes: a flush goes on with them.
        """
        reads = self.database.reads(account)
        reads.hgetall("journal")
        reads.exists("claimed")
        journal, claimed_ids = reads.run()
        if claimed_ids:
            raise Unavailable(
                f"a worker died with claimed changes of account {account}; the next flush goes on with them: "
                "if it is paused, resume it, and try again",
                retry_after=5.0,
            )
        return UnsettledRequests(self.database.now(), codec.begun(journal))

    @tells_unreadable
    def open_relations_with(self, account: str, who: RecordRef) -> list[Relation]:
        """Return the open relations whose work names a record."""
        text, named = RecordText(who), list[Relation]()
        pages = self.database.scan_hash(account, "open")
        for name, work in chain.from_iterable(page.items() for page in pages):
            relation = Relation.parse(name.decode())
            if who.is_part_of(relation) or text.is_in_open(codec.read_open(work)):
                named.append(relation)
        return sorted(set(named))

    def erase_jobs(
        self, lease: Lease, who: RecordRef, after: int, *, waiting: Collection[str] = ()
    ) -> ErasedPiece:
        """Erase a record from the next jobs, but not from those that are waiting."""
        assert isinstance(lease, RedisLease)  # noqa: S101 another store's lease would be a mistake of ours
        leased = lease.leased
        replays = {} if after else RecordEraser(leased, who).erase_replays()
        piece = repeat_while_overtaken(lease.account, lambda: erase_jobs(leased, who, after, waiting=waiting))
        return piece._replace(counts={**piece.counts, **replays})

    def erase_rest(self, lease: Lease, who: RecordRef, cursor: int) -> ErasedPiece:
        """Erase a record from a part of everything else that is kept."""
        assert isinstance(lease, RedisLease)  # noqa: S101 another store's lease would be a mistake of ours
        lease.renew()  # raises if it was lost
        if not cursor:
            repeat_while_overtaken(lease.account, lambda: _count_erasure(lease.leased))
        with translate_unreadable(lease.account):
            return RecordEraser(lease.leased, who).erase_next(cursor)

    def erase_previews(self, account: str, who: RecordRef) -> tuple[int, int]:
        """Forget acts that were prepared on pages and name a record, unless they are of other accounts."""
        redis, text, looked, gone = self.database.redis, RecordText(who), 0, 0
        pattern = keys.escape_glob(keys.shared(self.database.prefix, "act:")) + "*"
        with translate_errors():
            for name in redis.scan_iter(match=pattern, count=MAX_EXAMINED):
                act = _read_act(redis.get(name))
                if act is not None and _is_of(act, account):
                    looked += 1
                    chosen_on = unquote_plus(act.get("chosen_on", ""))
                    gone += redis.delete(name) if text.is_in_json(act) or text.is_in(chosen_on) else 0
        return looked, gone

    def rewrite_append_only_file(self) -> str:
        """Let the server rewrite its append-only file, which holds what was erased until then."""
        redis = self.database.redis
        of_nodes = {"target_nodes": "primaries"} if hasattr(redis, "get_node_from_key") else {}
        try:
            with translate_errors():
                redis.bgrewriteaof(**of_nodes)
        except StoreUnavailable as error:
            if not is_refusal(error):
                raise
            if "in progress" in str(error):
                return "is being rewritten already; ask again when that is done, it may have begun before"
            return (
                f"was not rewritten, the server forbids it ({error}): what was erased stays there until "
                "the server rewrites it by itself (auto-aof-rewrite-percentage), or whoever runs it calls "
                "BGREWRITEAOF"
            )
        return "is being rewritten in the background; each replica rewrites its own"


def _count_erasure(leased: LeasedAccount) -> None:
    """Let no replay be saved from here on that was made of jobs as they were: nothing would find it."""
    commit = leased.commit()
    commit.run("HINCRBY", "meta", "erasures", 1)
    leased.send_others(commit)


def _read_act(text: bytes | None) -> Mapping[str, Any] | None:
    """Return an act that was prepared on a page, as it is stored; None for what is none."""
    with suppress(msgspec.DecodeError):
        act = msgspec.json.decode(text or b"null")
        return act if isinstance(act, dict) else None
    return None


def _is_of(act: Mapping[str, Any], account: str) -> bool:
    """Return whether an act that was prepared on a page is of an account, or of none."""
    ids = chain(*act.get("jobs", {}).values(), *(act.get(name, ()) for name in ("unfit", "replays")))
    accounts = set(map(account_of, ids))
    return account in accounts or not accounts


def erase_jobs(
    leased: LeasedAccount, who: RecordRef, after: int, *, waiting: Collection[str] = ()
) -> ErasedPiece:
    """Erase the record from the next jobs; return where to go on (0: done), and how many were changed.

    First those that are kept, by acceptance number; then bucket by bucket. No job so far names the record any
    more, not even in what their producer called them; one that was about nothing else keeps only its state,
    counts and times. What was left to do about the record ends superseded, all else stays as it was.
    """
    database, account, text = leased.database, leased.account, RecordText(who)
    now = database.now()
    listed = _list_jobs(database, account, after)
    commit = leased.commit()
    meta = read_meta(database, account)
    commit.raise_version("p", meta.people_version)
    found = read_jobs(database, account, [short for short, _, _ in listed])
    counts, relations, is_any, next_after, looked_at = Counter[str](), 0, False, 0, 0
    for short, place, is_kept in listed:
        next_after, looked_at = place, looked_at + 1
        job = found.get(short)
        if job is None or job.is_gone(now) or job.is_kept != is_kept:
            continue
        before, is_waiting = IndexedState.of(job), f"{account}-{short}" in waiting
        labels = _drop_labels(job, text)
        counts["labels"] += labels
        lost = 0 if is_waiting else _erase_one(commit, job, who, counts)
        if lost or labels:
            commit.put(job, before)
            is_any = True
        relations += lost
        if relations >= RELATIONS_PER_CALL:
            break
    if is_any:
        leased.send_others(commit)
    found_in = {
        kind: counts[kind] for kind in ("jobs", "emptied", "labels") if counts[kind] or kind != "labels"
    }
    return ErasedPiece(next_after, found_in, looked={"jobs": looked_at})


def _erase_one(commit: AccountCommit, job: LoadedJob, who: RecordRef, counts: Counter[str]) -> int:
    """Erase the record from one job; return how many relations named it."""
    v = job.value
    if job.is_unresolved:
        return _erase_unresolved(commit, job, who, counts)
    named = [relation for relation in job.all_relations() if who.is_part_of(relation)]
    if not named:
        return 0
    if v.state == QUEUED:
        left = [relation for relation in job.relations() if who.is_part_of(relation)]
        if v.left == len(left):
            lifecycle.end_in_queue(job, ERASED, now=commit.now, keep=commit.keep)
            commit.run("HINCRBY", "meta", "dead", 1)
        elif left:
            lifecycle.supersede(job, len(left), ERASED)
    counts["jobs"] += 1
    counts["emptied"] += lifecycle.erase(job, who)
    return len(named)


def _erase_unresolved(commit: AccountCommit, job: LoadedJob, who: RecordRef, counts: Counter[str]) -> int:
    """Erase the record from a job of which another one is still to be found, or never was."""
    if not job_references.names(job, who):
        return 0
    is_waiting = job_references.waits(job)
    if is_waiting and lifecycle.is_nothing_without(job.value, who):
        leave_look_ups(commit, job)
        lifecycle.end_in_queue(job, ERASED, now=commit.now, keep=commit.keep)
    counts["jobs"] += 1
    counts["emptied"] += lifecycle.erase(job, who)
    if job.is_open:
        job_references.count_left(job.value)
    return 1


def _drop_labels(job: LoadedJob, text: RecordText) -> bool:
    """Drop the producer's own labels, people's notes, and texts of the API, in which the id stands."""
    v, is_any = job.value, False
    for name, without in (("source", ""), ("batch", ""), ("correlation", ""), ("event_id", NO_EVENT)):
        if text.is_in(getattr(v, name)):
            setattr(v, name, without)
            is_any = True
    if v.dismissed and text.is_in_words(v.dismissed[2]):
        v.dismissed, is_any = (*v.dismissed[:2], ""), True
    if any(text.is_in_words(why) for *_, why in v.decided):
        v.decided = tuple(
            (name, at, by, "" if text.is_in_words(why) else why) for name, at, by, why in v.decided
        )
        is_any = True
    messages = [message for _, _, message in v.refusals]
    messages += [each[2] for each in (v.refusal,) if each] + [each[3] for each in (v.parked,) if each]
    if any(map(text.is_in, messages)):
        lifecycle.drop_texts(v)
        is_any = True
    return is_any


def _list_jobs(database: Database, account: str, after: int) -> list[tuple[str, int, bool]]:
    """Return the next ids, where to continue after each, and whether it is looked for among the kept ones."""
    if after < 1 << PLACE_BITS:
        rows = database.read(
            account, "zrangebyscore", "keep", f"({after}", "+inf", start=0, num=JOBS_PER_CALL, withscores=True
        )
        if rows:
            return [(name.decode(), int(number), True) for name, number in rows]
        after = 1 << PLACE_BITS
    for bucket in sorted(int(number) for number in database.read(account, "hkeys", "buckets")):
        first = bucket + 1 << PLACE_BITS
        start = max(0, after - first)
        if start >> PLACE_BITS:
            continue
        if names := database.read(account, "lrange", f"order:{bucket}", start, start + JOBS_PER_CALL - 1):
            return [(name.decode(), first + start + at + 1, False) for at, name in enumerate(names)]
    return []
