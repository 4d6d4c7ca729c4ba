"""Laws of erasing on both stores: whoever comes in between, nothing of the record is written again."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.store_steps import accept, come_between, job_admin_of, read_all, take_lease
from tests.support.store_values import BUYER, REFUSED, change
from worker.contract import Relation
from worker.errors import StoreUnavailable
from worker.planner.apply_reply import RelationOutcome
from worker.planner.fold import NOTHING
from worker.planner.relation_state import Doubt
from worker.ports.erasure import RecordRef
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry
from worker.ports.replays import Replay, ReplayEntry
from worker.ports.store import Store
from worker.ports.work import Lease, OpenWrite, Writes
from worker.store.lease.lease import RedisLease
from worker.testing import FakeClock


def audit_entry(act: str, name: str) -> AuditEntry:
    return AuditEntry(name, "ada", act, "some")


def erase_all(store: Store, lease: Lease, who: RecordRef) -> Counter[str]:
    """Erase a record from everything, and return what went."""
    admin, erased = job_admin_of(store), Counter[str]()
    for erase_piece in (admin.erase_jobs, admin.erase_rest):
        piece = erase_piece(lease, who, 0)
        erased += Counter(piece.counts)
        while piece.next:
            piece = erase_piece(lease, who, piece.next)
            erased += Counter(piece.counts)
    return erased


class Between:
    """A client or a dictionary; after its next call of a command, an act is carried out once."""

    def __init__(self, inner: Any, command: str, act: Callable[[], object]) -> None:
        self._inner, self._command, self._left = inner, command, [act]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name != self._command:
            return method

        def call(*args: Any, **options: Any) -> Any:
            answer = method(*args, **options)
            if self._left:
                self._left.pop()()
            return answer

        return call


def test_a_pause_that_is_ended_while_its_words_are_erased_stays_ended(store: Store) -> None:
    store.pause("acme", Pause("by hand", "until address 9001 is mended"))
    lease = take_lease(store)
    assert isinstance(lease, RedisLease)
    database = lease.leased.database
    inner, key = database.redis, database.key("acme", "pause")
    database.redis = Between(inner, "hmget", lambda: inner.delete(key))
    erase_all(store, lease, RecordRef("address", 9001))
    assert not inner.exists(key)


def test_a_replay_that_is_erased_while_it_advances_leaves_nothing_behind(store: Store) -> None:
    accept(store, change(1, 9))
    admin = job_admin_of(store)
    message = {"relationtype": BUYER, "parentid": 1, "childid": 9001}
    replay = Replay(id="acme-r1", account="acme", by="ada", what="all", eligible=1)
    admin.save_replay(
        replay, [ReplayEntry("acme-000", (message,))], audit_entry("replay prepared", "p"), erasures=0
    )
    admin.set_replay_state("acme-r1", "running", audit_entry("replay started", "s"))
    lease, who = take_lease(store), RecordRef("address", 9001)
    worker = job_admin_of(store)
    worker.database.scripts = dict(worker.database.scripts)
    come_between(worker.database, lambda: erase_all(store, lease, who))
    done = audit_entry("replay done", "d")
    assert worker.advance_replay(replay, 0, 1, back=1, missed={}, audit_entry=done) is None
    assert not admin.database.redis.exists(admin.database.key("acme", "replay:acme-r1"))


def test_a_set_whose_replay_was_never_saved_is_erased_and_no_replay_is_made_of_a_part(store: Store) -> None:
    admin, who = job_admin_of(store), RecordRef("address", 9001)
    message = {"relationtype": BUYER, "parentid": 1, "childid": 9001}
    replay = Replay(id="acme-r1", account="acme", by="ada", what="all", eligible=1)
    accept(store, change(1, 9))
    lease, prepared = take_lease(store), audit_entry("replay prepared", "p")
    erased = list[int]()

    def erase() -> None:
        erased.append(erase_all(store, lease, who)["replays"])

    maker = job_admin_of(store)
    save = maker._save_replay
    vars(maker)["_save_replay"] = lambda *args: (erased or erase(), save(*args))
    with pytest.raises(StoreUnavailable, match="prepare it again"):
        maker.save_replay(replay, [ReplayEntry("acme-000", (message,))], prepared, erasures=0)
    assert erased == [1]
    redis = admin.database.redis
    assert not redis.exists(admin.database.key("acme", "replay:acme-r1:jobs"))
    assert admin.get_replay("acme-r1") is None


def test_a_guard_that_stood_for_a_write_in_doubt_is_erased_once_that_is_over(
    store: Store, clock: FakeClock
) -> None:
    unit = Relation("estate:estateUnit", 501, 9001)
    accept(store, change(501, 9001, name=unit.type))
    lease = take_lease(store)
    work, writes = read_all(lease), Writes()
    until = clock.now() + 150_000_000
    writes.opens[unit] = OpenWrite(None, f"{unit.type}:9001", until)
    writes.outcomes = [RelationOutcome(work.jobs[0].job, unit, "failed", refusal=REFUSED)]
    writes.confirmed[unit] = NOTHING, Doubt(until, "create", ())
    lease.claim(work.jobs, (), writes)
    who, guards = RecordRef("estate", 9001), [f"{unit.type}:9001"]
    erase_all(store, lease, who)
    assert lease.guarded_relations(guards) == {guards[0]: (unit,)}
    lease.release()
    clock.advance(151.0)
    lease = take_lease(store, "h2")
    erase_all(store, lease, who)
    assert lease.guarded_relations(guards) == {guards[0]: ()}
