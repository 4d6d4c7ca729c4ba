"""Inspects an account's stored data under its lease, and mends what contradicts itself.

What the invariants are is in `integrity.py`, what is read for them in `survey_reader.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from worker.background import keep_lease
from worker.contract import Relation
from worker.errors import LeaseLost, StoreUnreadable
from worker.ports import Clock
from worker.ports.integrity import FlawProgress, Inspection, StoreFlaw
from worker.redis.client import translate_unreadable
from worker.store.database import Overtaken, repeat_while_overtaken
from worker.store.inspection.flaws import Flaw, Write
from worker.store.inspection.integrity import Survey
from worker.store.inspection.survey_reader import SurveyReader
from worker.store.inspection.unreadable import find_unreadable, take_away
from worker.store.jobs.stored_job import COUNTED
from worker.store.keys import LAYOUT
from worker.store.lease.lease import RedisLease, leave
from worker.store.lease.leased_account import LeasedAccount
from worker.store.meta import META_FIELDS, Meta
from worker.store.migration import ensure_layout
from worker.store.redis_store import RedisStore
from worker.usecases.account_lease import MAX_WAIT, acquire_lease

MAX_PASSES: Final = 8  # what one mends may show the next
MAX_MENDED: Final = 20_000  # jobs and relations of an account that is mended in passing
WRITES_PER_COMMIT: Final = 1000


class RedisInspector:
    """Checks all invariants of an account's stored data, and mends what contradicts itself.

    `guard_of` names the guarded record of an account's relation.
    """

    def __init__(
        self,
        store: RedisStore,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        guard_of: Callable[[str, Relation], str] = lambda _account, _relation: "",
    ) -> None:
        self._store, self._clock, self._new_id, self._guard_of = store, clock, new_id, guard_of

    def inspect(
        self, account: str, *, repair: bool = False, on_progress: FlawProgress = lambda _what, _count: None
    ) -> Inspection:
        """Check the account while nobody works it; raises Unavailable if a worker does not let go of it."""
        take = partial(self._store.lease, account, self._new_id())
        lease = acquire_lease(account, take, self._clock, max_wait=MAX_WAIT)
        return self._inspect(lease, repair, on_progress)

    def check_readable(self, account: str, *, repair: bool = False) -> tuple[StoreFlaw, ...]:
        """Return what stands in the account's keys and is not what we write there; take it away if asked to.

        While there is any, nothing else can be inspected. Data of an earlier layout is moved first; raises
        StoreUnavailable for that of a later one, of which we cannot know what may stand there.
        """
        database, flaws = self._store.database, list[StoreFlaw]()
        with translate_unreadable(account):
            ensure_layout(database, account, self._store.retention(account), self._read_layout(account))
        for each in find_unreadable(database, account):
            if repair:  # at once: what is written to the key after that is not what was found
                take_away(database, each)
            flaws.append(each.flaw)
        return tuple(flaws)

    def _read_layout(self, account: str) -> bytes | None:
        """Return the account's layout; ours where its key is of another type."""
        with suppress(StoreUnreadable):
            found: bytes | None = self._store.database.read(account, "hget", "meta", "layout")
            return found
        return LAYOUT.encode()

    def mend(self, account: str) -> tuple[StoreFlaw, ...]:
        """Mend an account that shows signs of a contradiction, if it is small and nobody works it."""
        with translate_unreadable(account):
            if not self.has_signs(account) or self._count_entries(account) > MAX_MENDED:
                return ()
            lease = self._store.lease(account, self._new_id())
            return self._inspect(lease, True, lambda _what, _count: None).flaws if lease else ()

    def has_signs(self, account: str) -> bool:
        """Return whether a few numbers of the account cannot all be true, in one round trip.

        Read at one moment, they show most contradictions of an account nobody works.
        """
        reads = self._store.database.reads(account, at_once=True)
        reads.hmget("meta", META_FIELDS)
        reads.llen("queue")
        reads.hlen("open")
        reads.zcard("due")
        reads.exists("claimed")
        reads.hlen("journal")
        reads.hvals("buckets")
        reads.hmget("counts", tuple(COUNTED))
        reads.llen("look_ups")
        reads.zcard("parked")
        meta_row, listed, opened, due, claimed, begun, buckets, states, *unresolved = reads.run()
        meta, open_jobs = Meta.read(meta_row), sum(map(int, buckets))
        is_idle = listed == meta.dead and not (opened or claimed or begun or sum(unresolved))
        return (
            opened != due
            or not 0 <= meta.dead <= listed
            or meta.held < 0
            or (meta.held != 0 and not claimed)
            or (is_idle and (open_jobs != 0 or sum(int(count or 0) for count in states) != 0))
        )

    def _count_entries(self, account: str) -> int:
        """Return how many jobs and relations an inspection would read."""
        names = self._store.database.read(account, "hkeys", "buckets")
        reads = self._store.database.reads(account)
        reads.llen("queue")
        reads.hlen("open")
        reads.hlen("kept")
        for bucket in map(int, names):
            reads.hlen(f"jobs:{bucket}")
        return sum(reads.run())

    def _inspect(self, lease: RedisLease, repair: bool, on_progress: FlawProgress) -> Inspection:
        try:
            with keep_lease(lease):
                repeat_while_overtaken(lease.account, lambda: _note_inspection(lease.leased))
                return self._look_through(lease.leased, repair, on_progress)
        finally:
            with suppress(LeaseLost):
                leave(lease.leased)

    def _look_through(self, leased: LeasedAccount, repair: bool, on_progress: FlawProgress) -> Inspection:
        """Read everything, to mend as often as something is left to mend; return what was found."""
        found = dict[StoreFlaw, None]()
        for _ in range(MAX_PASSES):
            survey, flaws, people_version = repeat_while_overtaken(
                leased.account, lambda: self._survey(leased, on_progress)
            )
            found |= dict.fromkeys(each.what for each in flaws)
            if not flaws or not repair:
                break
            with suppress(Overtaken):  # the next pass reads what is there now
                self._write(leased, flaws, people_version)
        return Inspection(survey.tally.jobs, len(survey.names), tuple(found), mended=repair and not flaws)

    def _survey(self, leased: LeasedAccount, on_progress: FlawProgress) -> tuple[Survey, list[Flaw], int]:
        """Return what one pass shows, and the version of people's acts that it is true for."""
        leased.read_again()
        meta = leased.meta
        reader = SurveyReader(self._store, leased.account, self._guard_of, on_progress)
        flaws = list(reader.run())
        leased.read_again()
        now = leased.meta
        if (now.lease_version, now.people_version) != (meta.lease_version, meta.people_version):
            raise Overtaken
        return reader.survey, flaws, now.people_version

    def _write(self, leased: LeasedAccount, flaws: Sequence[Flaw], people_version: int) -> None:
        for piece in _pieces(flaws):
            commit = leased.commit()
            commit.raise_version("p", people_version)
            for command, key, *args in piece:
                if command == "OPEN":
                    commit.count_open(key, *args)  # type: ignore[arg-type]
                else:
                    commit.run(str(command), str(key), *args)
            leased.send_others(commit)
            people_version += 1


def _note_inspection(leased: LeasedAccount) -> None:
    """Let replays wait until the lease is given back: what is read while they go on is of no one moment."""
    commit = leased.commit()
    commit.run("HSET", "holder", "inspects", 1)
    commit.run("HDEL", "holder", "wakes")
    leased.send_others(commit)


def _pieces(flaws: Sequence[Flaw]) -> Iterator[list[Write]]:
    """Yield the writes of flaws, as many as one commit takes, but those of one flaw together."""
    piece = list[Write]()
    for each in flaws:
        if piece and len(piece) + len(each.writes) > WRITES_PER_COMMIT:
            yield piece
            piece = []
        piece += each.writes
    if piece:
        yield piece
