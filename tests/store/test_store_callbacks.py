"""What callbacks keep, on both stores: labels to look at, messages that one sender at a time has."""

from typing import Any

import msgspec
import pytest
from redis import Redis

from tests.support.store_steps import BASE, accept, claim_all, job_admin_of, send_and_settle, take_lease
from tests.support.store_values import BUYER, START, change
from worker.contract import Relation
from worker.ports.callbacks import BatchCounts, CallbackMessage, Watch
from worker.ports.erasure import RecordRef
from worker.ports.store import Store
from worker.store import callbacks as module
from worker.store.callbacks import RedisCallbacks
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock

COUNTS = BatchCounts(2, 1, 0, 1)


def callbacks_of(store: Store) -> RedisCallbacks:
    assert isinstance(store, RedisStore)
    return RedisCallbacks(store)


def message(number: int, **more: object) -> CallbackMessage:
    facts = {"batch": "import", "counts": COUNTS, "made_at": START + number, "next_at": START, **more}
    return CallbackMessage(id=f"acme-{number:018d}", account="acme", callback="portal", **facts)


def watched(store: RedisCallbacks) -> tuple[Watch, ...]:
    return store.due_callbacks("acme", ["portal"], limit=10).watches


def keep(store: RedisCallbacks, *messages: CallbackMessage) -> None:
    store.watch("acme", {"import": (["portal"], 0.0)})
    (watch,) = watched(store)
    assert store.settle_watch("acme", watch, look_at=START + 10**12, messages=messages, reported={})


def test_a_label_is_due_after_its_time_with_the_counts_of_its_jobs(store: Store, clock: FakeClock) -> None:
    callbacks = callbacks_of(store)
    callbacks.watch("acme", {"import": (["portal", "other"], 10.0)})
    accept(store, change(1, 9, batch="import"), change(1, 10, batch="import"))
    assert watched(callbacks) == ()
    clock.advance(10)
    (watch,) = watched(callbacks)
    assert watch == Watch("import", START, ("other", "portal"), {}, BatchCounts(2), watch.version)
    lease = take_lease(store)
    claim_all(lease)
    send_and_settle(lease, "r1", {Relation(BUYER, 1, 9): "applied", Relation(BUYER, 1, 10): "failed"})
    (watch,) = watched(callbacks)
    assert watch.counts == COUNTS
    assert watch.counts.open == 0


def test_what_was_decided_about_a_label_is_void_when_another_change_came(
    store: Store, clock: FakeClock
) -> None:
    callbacks = callbacks_of(store)
    callbacks.watch("acme", {"import": (["portal"], 0.0)})
    (watch,) = watched(callbacks)
    clock.advance(1)
    callbacks.watch("acme", {"import": (["portal"], 5.0)})
    reported = {"portal": COUNTS}
    assert not callbacks.settle_watch("acme", watch, look_at=None, messages=[message(1)], reported=reported)
    assert callbacks.list_messages("acme").entries == ()
    clock.advance(5)
    (watch,) = watched(callbacks)
    assert callbacks.settle_watch(
        "acme", watch, look_at=clock.now() + 1, messages=[message(1)], reported=reported
    )
    clock.advance(1)
    assert watched(callbacks)[0].reported == reported
    assert callbacks.list_messages("acme").entries == (message(1),)


def test_of_two_that_look_at_a_label_at_once_one_keeps_a_message(store: Store) -> None:
    callbacks = callbacks_of(store)
    callbacks.watch("acme", {"import": (["portal"], 0.0)})
    (first,), (second,) = watched(callbacks), watched(callbacks)
    reported = {"portal": COUNTS}
    assert callbacks.settle_watch("acme", first, look_at=START, messages=[message(1)], reported=reported)
    assert not callbacks.settle_watch("acme", second, look_at=START, messages=[message(2)], reported=reported)
    assert callbacks.list_messages("acme").entries == (message(1),)


def test_a_message_is_claimed_by_one_at_a_time_and_again_when_that_one_is_lost(
    store: Store, clock: FakeClock
) -> None:
    callbacks = callbacks_of(store)
    keep(callbacks, message(1), message(2))
    assert callbacks.due_callbacks("acme", ["portal", "none"], limit=1).callbacks == {"portal"}
    claims = [callbacks.claim_message("acme", "portal", seconds=60) for _ in range(3)]
    assert [claim and claim.id for claim in claims] == [message(1).id, message(2).id, None]
    assert not callbacks.due_callbacks("acme", ["portal"], limit=1).callbacks
    clock.advance(60)
    again = callbacks.claim_message("acme", "portal", seconds=60)
    assert again
    assert (again.id, again.attempts) == (message(1).id, 0)  # nobody knows whether the first one sent it
    first = claims[0]
    assert first
    assert not callbacks.put_message(first, message(1, state="delivered"))  # it is another's by now
    assert callbacks.put_message(again, message(1, state="delivered", attempts=2))
    assert callbacks.get_message(again.id) == message(1, state="delivered", attempts=2)
    assert callbacks.count_waiting("acme", "portal") == 1


def test_messages_are_listed_page_by_page_newest_first(store: Store) -> None:
    callbacks = callbacks_of(store)
    keep(callbacks, *map(message, range(5)))
    first = callbacks.list_messages("acme", limit=3)
    assert [found.made_at - START for found in first.entries] == [4, 3, 2]
    rest = callbacks.list_messages("acme", limit=3, cursor=first.next)
    assert ([found.made_at - START for found in rest.entries], rest.next) == ([1, 0], "")


def test_messages_that_were_made_at_the_same_time_are_all_listed(store: Store) -> None:
    callbacks = callbacks_of(store)
    keep(callbacks, *(msgspec.structs.replace(message(number), made_at=START) for number in range(5)))
    found, cursor = list[str](), ""
    for _ in range(3):
        page = callbacks.list_messages("acme", limit=2, cursor=cursor)
        found += [each.id for each in page.entries]
        cursor = page.next
    assert (found, cursor) == ([message(number).id for number in (4, 3, 2, 1, 0)], "")


def test_a_page_goes_on_behind_a_message_that_is_gone_by_then(redis_store: RedisStore) -> None:
    callbacks = callbacks_of(redis_store)
    keep(callbacks, *map(message, range(5)))
    cursor = callbacks.list_messages("acme", limit=3).next
    redis_store.database.redis.zrem(redis_store.database.key("acme", "callbacks"), message(2).id)
    rest = callbacks.list_messages("acme", limit=3, cursor=cursor)
    assert [found.made_at - START for found in rest.entries] == [1, 0]
    for number in (1, 0):
        redis_store.database.redis.hdel(redis_store.database.key("acme", "callback"), message(number).id)
    first = callbacks.list_messages("acme", limit=3)
    assert [found.made_at - START for found in first.entries] == [4, 3]


@pytest.mark.parametrize("cursor", ["١", "１２", "²", "-1", "(1", "nan", "9" * 400])
def test_a_cursor_that_is_none_begins_with_the_newest(redis_store: RedisStore, cursor: str) -> None:
    callbacks = callbacks_of(redis_store)
    keep(callbacks, message(1), message(2))
    assert len(callbacks.list_messages("acme", cursor=cursor).entries) == 2


def test_labels_and_messages_beyond_their_numbers_are_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WATCHED", 2)
    monkeypatch.setattr(module, "MAX_MESSAGES", 2)
    callbacks = callbacks_of(store)
    for number, label in enumerate(("a", "b", "c", "d")):
        callbacks.watch("acme", {label: (["portal"], 0.0)})
        watch = next(each for each in watched(callbacks) if each.label == label)
        at = START + 10**12 + number
        assert callbacks.settle_watch("acme", watch, look_at=at, messages=[message(number)], reported={})
    keep(callbacks, message(9))
    assert [found.made_at - START for found in callbacks.list_messages("acme").entries] == [9, 3, 2]
    assert [callbacks.get_message(message(number).id) for number in (0, 1)] == [None, None]
    assert callbacks.count_waiting("acme", "portal") == 3
    assert callbacks.claim_message("acme", "portal", seconds=1) is not None


def test_a_message_that_is_gone_waits_no_longer(redis_store: RedisStore, redis_client: Redis) -> None:
    callbacks = callbacks_of(redis_store)
    keep(callbacks, message(1), message(2))
    redis_client.hdel(f"{BASE}callback", message(1).id)
    claimed = callbacks.claim_message("acme", "portal", seconds=60.0)
    assert claimed
    assert claimed.id == message(2).id
    assert callbacks.count_waiting("acme", "portal") == 1


def test_labels_that_somebody_else_forgets_meanwhile_keep_no_message_from_being_made(
    redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WATCHED", 2)
    callbacks, read = callbacks_of(redis_store), redis_store.database.read
    callbacks.watch("acme", {label: (["portal"], 60.0) for label in ("a", "b")})

    def read_and_forget(account: str, command: str, key: str, *args: Any, **options: Any) -> Any:
        answer = read(account, command, key, *args, **options)
        if (command, key) == ("zcard", "looks"):
            redis_store.database.redis.zrem(f"{BASE}looks", "a", "b")
        return answer

    monkeypatch.setattr(redis_store.database, "read", read_and_forget)
    keep(callbacks, message(1))
    assert [found.id for found in callbacks.list_messages("acme").entries] == [message(1).id]


def test_every_key_of_callbacks_has_a_lifetime(redis_store: RedisStore, redis_client: Redis) -> None:
    keep(callbacks_of(redis_store), message(1))
    for name in ("watched", "looks", "reported", "callback", "callbacks", "unsent:portal"):
        assert 0 < redis_client.ttl(f"{BASE}{name}") <= 30 * 86_400, name


def test_a_record_that_a_label_names_is_erased_from_what_callbacks_keep(store: Store) -> None:
    callbacks = callbacks_of(store)
    accept(store, change(1, 9, batch="address 4711"))
    for label in ("address 4711", "import"):
        callbacks.watch("acme", {label: (["portal"], 0.0)})
    for number, watch in enumerate(watched(callbacks)):
        reported = {"portal": COUNTS}
        messages = [message(number, batch=watch.label)]
        assert callbacks.settle_watch("acme", watch, look_at=START, messages=messages, reported=reported)
    admin, lease, cursor = job_admin_of(store), take_lease(store), 0
    while cursor := admin.erase_rest(lease, RecordRef("address", 4711), cursor).next:
        pass
    assert [watch.label for watch in watched(callbacks)] == ["import"]
    assert [found.batch for found in callbacks.list_messages("acme").entries] == ["import"]
    assert callbacks.count_waiting("acme", "portal") == 1


def test_callbacks_are_told_when_they_were_to_be_though_the_clock_has_stepped_back(
    store: Store, clock: FakeClock
) -> None:
    callbacks = callbacks_of(store)
    keep(callbacks, message(1, next_at=START + 10_000_000), message(2, state="delivered"))
    callbacks.watch("acme", {"new": (["portal"], 20.0)})
    clock.advance(-3600.0)
    assert store.bring_forward("acme", 3_600_000_000) == 3
    clock.advance(9.0)
    assert callbacks.claim_message("acme", "portal", seconds=60.0) is None
    clock.advance(1.0)
    claimed = callbacks.claim_message("acme", "portal", seconds=60.0)
    assert claimed
    assert claimed.id == message(1).id
    assert watched(callbacks) == ()
    clock.advance(10.0)
    (watch,) = watched(callbacks)
    assert (watch.label, watch.callbacks) == ("new", ("portal",))
    assert watch.accepted_at == clock.now() - 20_000_000
