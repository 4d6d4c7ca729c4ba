"""Laws of what people do to jobs: cancelling, dismissing, messages that cannot be read, the audit; on a real server and in memory."""

from collections import Counter

import pytest
from redis import Redis

from tests.support.store_moves import BROKER, BUYER, MONTH, change, request_about, submission
from tests.support.store_steps import BASE, accept, acts, contents, jobs, lease, questions, read, settle, take
from worker.config.values import RESERVED
from worker.contract import Relation
from worker.errors import BacklogFull
from worker.ports import (
    CANCELLED,
    UNROUTED,
    AdminResult,
    AuditEntry,
    DeleteBrake,
    JobFilter,
    Pause,
    Receipt,
    Store,
    UnreadableMessage,
    Writes,
)
from worker.store.limits import DEEDS, PAYLOAD
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock

BRAKE = DeleteBrake(3, 2)


def deed(act: str = "cancelled", name: str = "d1") -> AuditEntry:
    return AuditEntry(name, "ada", act, "some", "because")


def names(*numbers: int) -> list[str]:
    return [f"acme-{number:03d}" for number in numbers]


# --- cancelling


def test_what_is_cancelled_ends_superseded_and_everything_else_is_done_in_its_order(store: Store) -> None:
    accept(store, *(change(number, 9, batch="import") for number in range(1, 7)))
    acted = acts(store).cancel("acme", [*names(0, 2, 3), "acme-gone"], deed())
    assert acted == AdminResult(tuple(names(0, 2, 3)), {"acme-gone": "gone"})
    assert [job.job for job in read(lease(store)).jobs] == names(1, 4, 5)
    ended = store.get_job("acme-002")
    assert ended is not None
    assert (ended.state, ended.by, ended.counts["superseded"], bool(ended.finished_at)) == (
        "superseded",
        CANCELLED,
        1,
        True,
    )
    assert [mention.detail for mention in store.relation_history("acme", Relation(BUYER, 3, 9))[1]] == [
        CANCELLED
    ]
    assert store.batch_counts("acme", "import") == {"accepted": 6, "superseded": 3}
    assert store.counts("acme")["backlog"] == 3 == questions(store).count_by_state("acme")["queued"]
    take(lease(store))
    accept(store, change(7, 9), first=7)
    assert store.counts("acme")["backlog"] == 1 == questions(store).count_by_state("acme")["queued"]


def test_cancelling_makes_room_at_once_and_what_is_all_cancelled_is_not_due(store: Store) -> None:
    accept(store, change(1, 9), change(2, 9))
    with pytest.raises(BacklogFull):
        accept_at_most(store, 2)
    acts(store).cancel("acme", names(0, 1), deed())
    lease(store).release()
    assert store.due_accounts(["acme"]) == []
    accept_at_most(store, 1)
    assert store.counts("acme")["backlog"] == 1


def accept_at_most(store: Store, backlog: int) -> None:
    store.accept("acme", [submission("900", change(9, 9))], max_backlog=backlog, oldest=MONTH)


def test_a_job_that_is_cancelled_between_read_and_take_is_not_sent_and_nothing_of_its_batch_is_lost(
    store: Store,
) -> None:
    accept(store, change(1, 9), change(2, 9))
    held = lease(store)
    work = read(held)
    acts(store).cancel("acme", names(1), deed())
    assert not held.claim(work.jobs, (), Writes())
    assert [job.job for job in take(held).jobs] == names(0)
    assert [
        bool(record.open)
        for record in held.records([Relation(BUYER, parent, 9) for parent in (1, 2)]).values()
    ] == [True, False]


def test_what_was_taken_cannot_be_cancelled(store: Store) -> None:
    accept(store, change(1, 9))
    held = lease(store)
    take(held)
    assert acts(store).cancel("acme", names(0), deed()) == AdminResult((), {"acme-000": "sending"})
    settle(held, "r1", {Relation(BUYER, 1, 9): "applied"})
    assert acts(store).cancel("acme", names(0), deed()) == AdminResult((), {"acme-000": "succeeded"})


def test_a_cancelled_half_that_would_have_gone_first_is_not_waited_for(store: Store) -> None:
    accept(store, change(1, 9, name=BROKER), change(1, 8, name=BROKER, kind="delete"))
    guard = f"{BROKER}:1"
    assert lease(store).swap_partners([guard])[guard].arriving == 1
    acts(store).cancel("acme", names(0), deed())
    assert lease(store).swap_partners([guard])[guard].arriving == 0


def test_a_paused_account_can_be_cancelled_and_a_replayed_job_keeps_what_it_had(store: Store) -> None:
    accept(store, change(1, 9, 10))
    held = lease(store)
    take(held)
    settle(held, "r1", {Relation(BUYER, 1, 9): "applied", Relation(BUYER, 1, 10): "failed"})
    store.requeue("acme", names(0))
    store.pause("acme", Pause("by hand"))
    assert acts(store).cancel("acme", names(0), deed()).done == ("acme-000",)
    job = store.get_job("acme-000")
    assert job is not None
    assert (job.state, job.counts) == ("succeeded", {"applied": 1, "superseded": 1, "stale": 0, "failed": 0})
    assert read(held).jobs == ()


def test_many_are_cancelled_in_pieces_with_one_deed_and_the_inbox_gets_empty(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    accept(redis_store, *(change(number, *range(1, 31)) for number in range(1, 1201)))
    everything = names(*range(1200))
    everything.reverse()  # so that none is at the head before the last piece
    acted = acts(redis_store).cancel("acme", everything, deed())
    assert (len(acted.done), acted.refused) == (1200, {})
    assert [(each.count, each.act) for each in acts(redis_store).audit_log("acme").deeds] == [
        (1200, "cancelled")
    ]
    assert redis_store.counts("acme")["relations_superseded"] == 36_000
    while redis_client.exists(f"{BASE}inbox"):
        assert read(lease(redis_store)).jobs == ()
    assert not redis_client.exists(f"{BASE}dead", f"{BASE}arriving")


# --- dismissing


def test_a_dismissed_job_waits_for_no_decision_and_can_still_be_replayed(
    store: Store, clock: FakeClock
) -> None:
    accept(store, change(1, 9), change(2, 9))
    held = lease(store)
    take(held)
    settle(held, "r1", {Relation(BUYER, 1, 9): "failed", Relation(BUYER, 2, 9): "applied"})
    acted = acts(store).dismiss("acme", [*names(0, 1), "acme-gone"], deed("dismissed"))
    assert acted == AdminResult(("acme-000",), {"acme-001": "succeeded", "acme-gone": "gone"})
    job = store.get_job("acme-000")
    assert job is not None
    assert (job.state, job.dismissed) == ("failed", (clock.now(), "ada", "because"))
    assert (
        store.failed_jobs("acme", limit=9),
        questions(store).failure_groups("acme"),
        store.counts("acme")["failed"],
    ) == ([], [], 1)
    assert store.requeue("acme", names(0))[0] == names(0)
    replayed = store.get_job("acme-000")
    assert replayed is not None
    assert replayed.dismissed is None


# --- messages that cannot be read


def letter(event: str, body: bytes = b"{}", *faults: str) -> UnreadableMessage:
    return UnreadableMessage(
        "acme", "celery", event, faults or ("parentid: is required", "childid: is required"), body
    )


def test_an_unreadable_message_is_a_failed_job_once_and_keeps_its_bytes(store: Store) -> None:
    assert store.reject("acme", "acme-1", letter("e", b"{7}")) == Receipt("acme-1")
    assert store.reject("acme", "acme-2", letter("e", b"other")) == Receipt("acme-1", duplicate=True)
    [job] = jobs(store)
    assert (job.state, job.total, job.type, job.event_id, job.refusal) == (
        "failed",
        0,
        "",
        "e",
        (0, "unreadable", "parentid: is required", ""),
    )
    assert acts(store).get_payload("acme-1") == (b"{7}", ("parentid: is required", "childid: is required"), 3)
    [group] = questions(store).failure_groups("acme")
    assert (
        group.error,
        group.jobs,
        questions(store).find_jobs("acme", JobFilter(error="unreadable")).jobs,
    ) == ("unreadable", 1, (job,))
    assert store.requeue("acme", ["acme-1"]) == ([], False)  # there is nothing of it to do again


def test_the_mended_message_with_the_same_event_id_is_a_change_of_its_own(store: Store) -> None:
    store.reject("acme", "acme-1", letter("000"))
    assert [receipt.duplicate for receipt in accept(store, change(1, 9))] == [False]


def test_long_ones_are_cut_and_only_the_latest_are_kept(redis_store: RedisStore, redis_client: Redis) -> None:
    for number in range(1003):
        redis_store.reject(
            "acme",
            f"acme-{number:04d}",
            letter(str(number), b"x" * (PAYLOAD + 5) if number == 1002 else b"{"),
        )
    kept = acts(redis_store).get_payload("acme-1002")
    assert kept is not None
    assert (len(kept.body), kept.size) == (PAYLOAD, PAYLOAD + 5)
    assert [acts(redis_store).get_payload(f"acme-{number:04d}") is None for number in (0, 2, 3)] == [
        True,
        True,
        False,
    ]
    assert len(list(redis_client.scan_iter(f"{BASE}payload:*", count=1000))) == 1000
    assert all(redis_client.ttl(key) > 0 for key in redis_client.keys(f"{BASE}payload*"))


def test_the_lane_of_nobodys_messages_can_be_nobodys_account() -> None:
    assert RESERVED == UNROUTED


# --- who did what


def test_the_audit_is_newest_first_by_cursor_and_capped(
    redis_store: RedisStore, redis_client: Redis, clock: FakeClock
) -> None:
    desk = acts(redis_store)
    for number in range(25):
        clock.sleep(1.0)
        desk.add_audit_entry(
            "acme", AuditEntry(f"n{number:05d}", "ada", "noted", f"thing {number}", count=number)
        )
    desk.add_audit_entry("acme", AuditEntry("n00003", "bob", "noted again"))
    first = desk.audit_log("acme", limit=20)
    rest = desk.audit_log("acme", limit=20, cursor=first.next)
    assert [each.count for each in (*first.deeds, *rest.deeds)] == list(reversed(range(25)))
    assert (rest.next, first.deeds[0]) == (
        "",
        AuditEntry("n00024", "ada", "noted", "thing 24", "", 24, clock.now()),
    )
    redis_client.zadd(f"{BASE}deeds", {f"old{number}": number for number in range(DEEDS)})
    desk.add_audit_entry("acme", deed(name="newest"))
    assert (redis_client.zcard(f"{BASE}deeds"), desk.audit_log("acme", limit=1).deeds[0].name) == (
        DEEDS,
        "newest",
    )


def test_a_pause_and_its_end_are_told_once_and_only_when_they_happen(store: Store) -> None:
    store.pause("acme", Pause("by hand"), deed=deed("paused", "p1"))
    assert [
        store.resume("acme", deed=deed("resumed", "p2")),
        store.resume("acme", deed=deed("resumed", "p3")),
    ] == [True, False]
    assert Counter(each.act for each in acts(store).audit_log("acme").deeds) == {"paused": 1, "resumed": 1}


# --- the brake


def test_the_brake_holds_before_any_of_a_mass_delete_and_counts_what_left_within_the_hour(
    store: Store, clock: FakeClock
) -> None:
    held, two = lease(store), request_about([Relation(BUYER, 1, 9), Relation(BUYER, 1, 10)], kind="delete")
    assert isinstance(held.begin("r1", two, BRAKE), int)
    clock.sleep(9.0)
    held.renew()
    stopped = held.begin("r2", two, BRAKE)
    assert isinstance(stopped, Pause)
    assert (stopped.reason, stopped.until, store.get_pause("acme")) == ("brake", 0, stopped)
    assert stopped.detail.startswith("4 deletes within an hour")
    assert "relations accounts resume acme" in stopped.detail
    assert [entry.request_id for entry in read(held).begun] == ["r1"]


def test_resuming_grants_a_fresh_hour_and_then_the_brake_holds_again(store: Store) -> None:
    held, two = lease(store), request_about([Relation(BUYER, 1, 9), Relation(BUYER, 1, 10)], kind="delete")
    mass = DeleteBrake(3, 500)
    assert isinstance(held.begin("r1", two, mass), Pause)
    store.resume("acme")
    assert isinstance(held.begin("r2", two, mass), int)  # somebody has looked
    assert isinstance(held.begin("r3", two, mass), Pause)
    store.resume("acme")
    assert isinstance(held.begin("r4", two, mass), int)


def test_what_creates_is_not_braked_and_an_hour_later_nothing_counts(store: Store, clock: FakeClock) -> None:
    held, two = lease(store), request_about([Relation(BUYER, 1, 9), Relation(BUYER, 1, 10)], kind="delete")
    assert isinstance(held.begin("r1", two, BRAKE), int)
    assert isinstance(held.begin("r2", request_about([Relation(BUYER, 2, 9)]), DeleteBrake(3, 500)), int)
    for _ in range(601):
        clock.sleep(6.0)
        held.renew()
    assert isinstance(held.begin("r3", two, BRAKE), int)


# --- twice


def test_every_act_carried_out_twice_leaves_what_it_leaves_once(redis_client: Redis) -> None:
    left = []
    for repeated in (False, True):
        redis_client.flushall()
        store = RedisStore(redis_client, "t", now=FakeClock(1_800_000_000_000_000).now)
        accept(store, *(change(number, 9, batch="import") for number in range(1, 5)))
        held, desk = lease(store), acts(store)
        take(held)
        settle(held, "r1", {Relation(BUYER, 1, 9): "failed", Relation(BUYER, 2, 9): "failed"})
        accept(store, change(5, 9), change(6, 9), first=5)
        for _ in range(1 + repeated):
            desk.cancel("acme", names(5), deed())
            desk.dismiss("acme", names(0), deed("dismissed", "d2"))
            desk.link_replacement("acme-001", ["acme-006"], by="ada")
            store.reject("acme", "acme-u", letter("u"))
            store.requeue("acme", names(1), mark="m")
        left.append(contents(redis_client))
    assert left[0] == left[1]
