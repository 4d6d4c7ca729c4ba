"""Laws of people's acts on jobs, on both stores: cancel, dismiss, unreadable messages, audit log, brake."""

from collections import Counter

import pytest
from redis import Redis

from tests.support.broken_stores import inspector_of
from tests.support.store_steps import (
    BASE,
    accept,
    claim_all,
    come_between,
    count_by_state,
    dump_keys,
    job_admin_of,
    job_of,
    list_jobs,
    metrics_of,
    queries_of,
    read_all,
    send_and_settle,
    take_lease,
)
from tests.support.store_values import BUYER, MONTH, change, make_request, submission
from worker.contract import Relation
from worker.errors import BacklogFull, Invalid
from worker.ports.erasure import RecordRef
from worker.ports.job_admin import CANCELLED, AdminResult
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry, JobFilter
from worker.ports.store import IntakeBounds, Receipt, Store, UnreadableMessage
from worker.ports.work import DeleteBrake, Writes
from worker.store.lease.lease import RedisLease
from worker.store.limits import MAX_AUDIT_ENTRIES, MAX_CONTENTS, MAX_PAYLOAD_BYTES
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock

BRAKE = DeleteBrake(3, 2)
TWO_DELETES = make_request([Relation(BUYER, 1, 9), Relation(BUYER, 1, 10)], kind="delete")


def audit_entry(act: str = "cancelled", name: str = "d1") -> AuditEntry:
    return AuditEntry(name, "ada", act, "some", "because")


def job_ids(*numbers: int) -> list[str]:
    return [f"acme-{number:03d}" for number in numbers]


# --- cancelling


def test_a_cancelled_job_ends_superseded_and_all_others_keep_their_order(store: Store) -> None:
    accept(store, *(change(number, 9, batch="import") for number in range(1, 7)))
    result = job_admin_of(store).cancel("acme", [*job_ids(0, 2, 3), "acme-gone"], audit_entry())
    assert result == AdminResult(tuple(job_ids(0, 2, 3)), {"acme-gone": "gone"})
    assert [job.job for job in read_all(take_lease(store)).jobs] == job_ids(1, 4, 5)
    ended = job_of(store, 2)
    assert (ended.state, ended.by, ended.counts["superseded"], bool(ended.finished_at)) == (
        "superseded",
        CANCELLED,
        1,
        True,
    )
    assert [event.detail for event in store.relation_history("acme", Relation(BUYER, 3, 9))[1]] == [CANCELLED]
    assert store.batch_counts("acme", "import") == {"accepted": 6, "superseded": 3}
    assert store.counts("acme")["backlog"] == 3 == count_by_state(metrics_of(store), "acme")["queued"]
    claim_all(take_lease(store))
    accept(store, change(7, 9), first=7)
    assert store.counts("acme")["backlog"] == 1 == count_by_state(metrics_of(store), "acme")["queued"]


def test_cancelling_makes_room_at_once_and_an_account_with_all_cancelled_is_not_due(store: Store) -> None:
    accept(store, change(1, 9), change(2, 9))
    with pytest.raises(BacklogFull):
        accept_at_most(store, 2)
    job_admin_of(store).cancel("acme", job_ids(0, 1), audit_entry())
    take_lease(store).release()
    assert store.due_accounts(["acme"]) == []
    accept_at_most(store, 1)
    assert store.counts("acme")["backlog"] == 1


def accept_at_most(store: Store, backlog: int) -> None:
    store.accept("acme", [submission("900", change(9, 9))], IntakeBounds(backlog, MONTH))


def test_a_job_cancelled_between_read_and_claim_is_not_sent_and_its_batch_loses_nothing(
    store: Store,
) -> None:
    accept(store, change(1, 9), change(2, 9))
    lease = take_lease(store)
    work = read_all(lease)
    job_admin_of(store).cancel("acme", job_ids(1), audit_entry())
    assert not lease.claim(work.jobs, (), Writes())
    assert [job.job for job in claim_all(lease).jobs] == job_ids(0)
    assert [
        bool(record.open)
        for record in lease.records([Relation(BUYER, parent, 9) for parent in (1, 2)]).values()
    ] == [True, False]


def test_a_claimed_job_is_not_cancelled_in_the_queue(store: Store) -> None:
    accept(store, change(1, 9))
    lease = take_lease(store)
    claim_all(lease)
    assert job_admin_of(store).cancel("acme", job_ids(0), audit_entry()) == AdminResult(
        (), {"acme-000": "held"}
    )
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied"})
    assert job_admin_of(store).cancel("acme", job_ids(0), audit_entry()) == AdminResult(
        (), {"acme-000": "succeeded"}
    )


def test_jobs_of_a_paused_account_can_be_cancelled_and_a_requeued_job_keeps_its_outcomes(
    store: Store,
) -> None:
    accept(store, change(1, 9, 10))
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied", Relation(BUYER, 1, 10): "failed"})
    store.requeue("acme", job_ids(0))
    store.pause("acme", Pause("by hand"))
    assert job_admin_of(store).cancel("acme", job_ids(0), audit_entry()).done == ("acme-000",)
    job = job_of(store)
    assert (job.state, job.counts) == ("succeeded", {"applied": 1, "superseded": 1, "stale": 0, "failed": 0})
    assert read_all(lease).jobs == ()


def test_many_are_cancelled_in_pieces_with_one_audit_entry_and_the_inbox_becomes_empty(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, *(change(number, *range(1, 31)) for number in range(1, 1201)))
    all_jobs = job_ids(*range(1200))
    all_jobs.reverse()  # so that none is at the head of the inbox before the last piece
    result = job_admin_of(redis_store).cancel("acme", all_jobs, audit_entry())
    assert (len(result.done), result.refused) == (1200, {})
    assert [(each.count, each.act) for each in job_admin_of(redis_store).audit_log("acme").entries] == [
        (1200, "cancelled")
    ]
    assert redis_store.counts("acme")["relations_superseded"] == 36_000
    while redis_client.exists(f"{BASE}inbox"):
        assert read_all(take_lease(redis_store)).jobs == ()
    assert not redis_client.exists(f"{BASE}dead")


# --- dismissing


def test_a_dismissed_job_waits_for_no_decision_and_can_still_be_requeued(
    store: Store, clock: FakeClock
) -> None:
    accept(store, change(1, 9), change(2, 9))
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "failed", Relation(BUYER, 2, 9): "applied"})
    result = job_admin_of(store).dismiss("acme", [*job_ids(0, 1), "acme-gone"], audit_entry("dismissed"))
    assert result == AdminResult(("acme-000",), {"acme-001": "succeeded", "acme-gone": "gone"})
    job = job_of(store)
    assert (job.state, job.dismissed) == ("failed", (clock.now(), "ada", "because"))
    assert (
        store.failed_jobs("acme", limit=9),
        queries_of(store).failure_groups("acme"),
        store.counts("acme")["failed"],
    ) == ([], [], 1)
    assert store.requeue("acme", job_ids(0))[0] == job_ids(0)
    replayed = job_of(store)
    assert replayed.dismissed is None


# --- messages that cannot be read


def unreadable(event: str, body: bytes = b"{}", *faults: str) -> UnreadableMessage:
    return UnreadableMessage(
        "acme", "celery", event, faults or ("parentid: is required", "childid: is required"), body
    )


def test_an_unreadable_message_is_a_failed_job_once_and_keeps_its_bytes(store: Store) -> None:
    assert store.reject("acme", "acme-1", unreadable("e", b"{7}")) == Receipt("acme-1")
    assert store.reject("acme", "acme-2", unreadable("e", b"{7}")) == Receipt("acme-1", duplicate=True)
    [job] = list_jobs(store)
    assert (job.state, job.total, job.type, job.event_id, job.refusal) == (
        "failed",
        0,
        "",
        "e",
        (0, "unreadable", "parentid: is required", ""),
    )
    assert job_admin_of(store).get_payload("acme-1") == (
        b"{7}",
        ("parentid: is required", "childid: is required"),
        3,
        False,
    )
    [group] = queries_of(store).failure_groups("acme")
    assert (
        group.error,
        group.jobs,
        queries_of(store).find_jobs("acme", JobFilter(error="unreadable")).entries,
    ) == ("unreadable", 1, (job,))
    assert store.requeue("acme", ["acme-1"]) == ([], False)  # there is nothing of it to do again


def test_unreadable_messages_of_one_event_id_and_other_contents_are_all_kept_within_bounds(
    store: Store,
) -> None:
    bodies = [b"{%d" % number for number in range(MAX_CONTENTS)]
    for again in (False, True):
        for number, body in enumerate(bodies):
            expected = Receipt(f"acme-{number}", duplicate=again)
            assert store.reject("acme", f"acme-{number + 90 * again}", unreadable("e", body)) == expected
    kept = [job_admin_of(store).get_payload(f"acme-{number}") for number in range(MAX_CONTENTS)]
    assert [payload and payload.body for payload in kept] == bodies
    found = queries_of(store).find_jobs("acme", JobFilter(event_id="e", source="celery")).entries
    assert {job.id for job in found} == {f"acme-{number}" for number in range(MAX_CONTENTS)}
    one_more = store.reject("acme", "acme-x", unreadable("e", b"one more"))
    assert one_more == Receipt(f"acme-{MAX_CONTENTS - 1}", duplicate=True)
    assert inspector_of(store).inspect("acme").flaws == ()


def test_an_unreadable_delivery_is_its_event_id_whatever_is_in_it(store: Store) -> None:
    first, other = (unreadable("e", body)._replace(delivered=True) for body in (b"{1", b"{2"))
    assert store.reject("acme", "acme-1", first) == Receipt("acme-1")
    assert store.reject("acme", "acme-2", other) == Receipt("acme-1", duplicate=True)


@pytest.mark.parametrize("is_repaired", [False, True], ids=["by an earlier release", "repaired"])
def test_of_a_content_that_was_not_noted_the_kept_bytes_say_whether_it_comes_again(
    redis_store: RedisStore, redis_client: Redis, is_repaired: bool
) -> None:
    redis_store.reject("acme", "acme-1", unreadable("e", b"{7}"))
    (digest,) = redis_client.hkeys(f"{BASE}events:kept")
    if is_repaired:
        redis_client.delete(f"{BASE}events:kept")
        assert inspector_of(redis_store).inspect("acme", repair=True).mended
    else:
        redis_client.hset(f"{BASE}events:kept", digest, "1 unreadable")
    assert redis_client.hget(f"{BASE}events:kept", digest) == b"1 unreadable"
    assert redis_store.reject("acme", "acme-2", unreadable("e", b"{7}")) == Receipt("acme-1", duplicate=True)
    assert redis_store.reject("acme", "acme-3", unreadable("e", b"{8}")) == Receipt("acme-3")
    redis_client.delete(f"{BASE}payload:acme-1")
    assert redis_store.reject("acme", "acme-4", unreadable("e", b"{9}")) == Receipt("acme-1", duplicate=True)


def test_the_corrected_message_with_the_same_event_id_is_a_change_of_its_own(store: Store) -> None:
    store.reject("acme", "acme-1", unreadable("000"))
    assert [receipt.duplicate for receipt in accept(store, change(1, 9))] == [False]


def test_long_ones_are_cut_and_only_the_latest_are_kept(redis_store: RedisStore, redis_client: Redis) -> None:
    for number in range(1003):
        redis_store.reject(
            "acme",
            f"acme-{number:04d}",
            unreadable(str(number), b"x" * (MAX_PAYLOAD_BYTES + 5) if number == 1002 else b"{"),
        )
    kept = job_admin_of(redis_store).get_payload("acme-1002")
    assert kept is not None
    assert (len(kept.body), kept.size) == (MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 5)
    assert [job_admin_of(redis_store).get_payload(f"acme-{number:04d}") is None for number in (0, 2, 3)] == [
        True,
        True,
        False,
    ]
    assert len(list(redis_client.scan_iter(f"{BASE}payload:*", count=1000))) == 1000
    assert all(redis_client.ttl(key) > 0 for key in redis_client.keys(f"{BASE}payload*"))


# --- the audit log


def test_the_audit_log_is_newest_first_by_cursor_and_capped(
    redis_store: RedisStore, redis_client: Redis, clock: FakeClock
) -> None:
    job_admin = job_admin_of(redis_store)
    for number in range(25):
        clock.advance(1.0)
        job_admin.add_audit_entry(
            "acme", AuditEntry(f"n{number:05d}", "ada", "noted", f"thing {number}", count=number)
        )
    job_admin.add_audit_entry("acme", AuditEntry("n00003", "bob", "noted again"))
    first = job_admin.audit_log("acme", limit=20)
    rest = job_admin.audit_log("acme", limit=20, cursor=first.next)
    assert [each.count for each in (*first.entries, *rest.entries)] == list(reversed(range(25)))
    assert (rest.next, first.entries[0]) == (
        "",
        AuditEntry("n00024", "ada", "noted", "thing 24", "", 24, clock.now()),
    )
    assert job_admin.audit_log("acme", cursor="m99999").entries == ()  # was dropped, as all that is so old
    with pytest.raises(Invalid, match="is of another list"):
        job_admin.audit_log("acme", cursor="n00007-of-the-requests")
    redis_client.zadd(f"{BASE}deeds", {f"old{number}": number for number in range(MAX_AUDIT_ENTRIES)})
    job_admin.add_audit_entry("acme", audit_entry(name="newest"))
    assert (redis_client.zcard(f"{BASE}deeds"), job_admin.audit_log("acme", limit=1).entries[0].name) == (
        MAX_AUDIT_ENTRIES,
        "newest",
    )


def test_a_pause_and_its_end_have_one_audit_entry_and_only_when_they_happen(store: Store) -> None:
    store.pause("acme", Pause("by hand"), audit_entry=audit_entry("paused", "p1"))
    assert [
        store.resume("acme", audit_entry=audit_entry("resumed", "p2")),
        store.resume("acme", audit_entry=audit_entry("resumed", "p3")),
    ] == [True, False]
    assert Counter(each.act for each in job_admin_of(store).audit_log("acme").entries) == {
        "paused": 1,
        "resumed": 1,
    }


# --- the brake


def test_the_brake_stops_a_mass_delete_before_its_first_and_counts_what_left_within_the_hour(
    store: Store, clock: FakeClock
) -> None:
    lease = take_lease(store)
    assert isinstance(lease.begin("r1", TWO_DELETES, BRAKE), int)
    clock.advance(9.0)
    lease.renew()
    stopped = lease.begin("r2", TWO_DELETES, BRAKE)
    assert isinstance(stopped, Pause)
    assert (stopped.reason, stopped.until, store.get_pause("acme")) == ("brake", 0, stopped)
    assert stopped.detail.startswith("4 deletes within an hour")
    assert "relations accounts resume acme" in stopped.detail
    lease.release()
    assert [entry.request_id for entry in read_all(take_lease(store, "h2")).begun] == ["r1"]


def test_resuming_grants_a_fresh_hour_and_then_the_brake_stops_again(store: Store) -> None:
    lease, mass = take_lease(store), DeleteBrake(3, 500)
    assert isinstance(lease.begin("r1", TWO_DELETES, mass), Pause)
    store.resume("acme")
    assert isinstance(lease.begin("r2", TWO_DELETES, mass), int)  # a person has allowed it
    assert isinstance(lease.begin("r3", TWO_DELETES, mass), Pause)
    store.resume("acme")
    assert isinstance(lease.begin("r4", TWO_DELETES, mass), int)


def test_creates_are_not_braked_and_after_an_hour_deletes_do_not_count(
    store: Store, clock: FakeClock
) -> None:
    lease = take_lease(store)
    assert isinstance(lease.begin("r1", TWO_DELETES, BRAKE), int)
    assert isinstance(lease.begin("r2", make_request([Relation(BUYER, 2, 9)]), DeleteBrake(3, 500)), int)
    for _ in range(601):
        clock.advance(6.0)
        lease.renew()
    assert isinstance(lease.begin("r3", TWO_DELETES, BRAKE), int)


# --- repeated calls


def test_every_act_called_twice_leaves_what_it_leaves_when_called_once(redis_client: Redis) -> None:
    left = []
    for is_repeated in (False, True):
        redis_client.flushall()
        store = RedisStore(redis_client, "t", now=FakeClock(1_800_000_000_000_000).now)
        accept(store, *(change(number, 9, batch="import") for number in range(1, 5)))
        lease, job_admin = take_lease(store), job_admin_of(store)
        claim_all(lease)
        send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "failed", Relation(BUYER, 2, 9): "failed"})
        accept(store, change(5, 9), change(6, 9), first=5)
        for _ in range(1 + is_repeated):
            job_admin.cancel("acme", job_ids(5), audit_entry())
            job_admin.dismiss("acme", job_ids(0), audit_entry("dismissed", "d2"))
            job_admin.link_replacement("acme-001", ["acme-006"], by="ada")
            store.reject("acme", "acme-u", unreadable("u"))
            store.requeue("acme", job_ids(1), mark="m")
        left.append(dump_keys(redis_client))
    assert left[0] == left[1]


# --- somebody comes in between


@pytest.mark.parametrize("kind", ["memories", "payloads"])
def test_an_erasure_that_a_person_overtakes_is_decided_again(store: Store, kind: str) -> None:
    lease = take_lease(store)
    if kind == "memories":
        accept(store, change(1, 9001))
        claim_all(lease)
        send_and_settle(lease, "r1", {Relation(BUYER, 1, 9001): "applied"})
    else:
        body = b'{"relationtype": "estate:address:buyer", "parentid": "?", "childid": 9001}'
        store.reject("acme", "acme-900", unreadable("e", body))
    accept(store, change(1, 9), first=1)
    assert isinstance(lease, RedisLease)
    come_between(lease.leased.database, lambda: job_admin_of(store).cancel("acme", job_ids(1), audit_entry()))
    admin, who = job_admin_of(store), RecordRef("address", 9001)
    piece = admin.erase_rest(lease, who, 0)
    erased = Counter(piece.counts)
    while piece.next:
        piece = admin.erase_rest(lease, who, piece.next)
        erased += Counter(piece.counts)
    assert erased[kind] == 1
    assert not any(store.relation_history("acme", Relation(BUYER, 1, 9001))[1])
    assert admin.get_payload("acme-900") is None


def test_replays_that_are_gone_are_dropped_although_a_person_comes_in_between(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, change(1, 9))
    redis_client.zadd(f"{BASE}running", {"acme-gone": 1})
    admin = job_admin_of(redis_store)
    come_between(admin.database, lambda: job_admin_of(redis_store).cancel("acme", job_ids(0), audit_entry()))
    assert admin.stalled_replays("acme", 0.0) == []
    assert not redis_client.exists(f"{BASE}running")
