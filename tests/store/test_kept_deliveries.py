"""Laws of the kept deliveries: bounded in bytes and days, by class, in Redis as in memory."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.store_steps import accept, deliveries_of, dump_keys
from tests.support.store_values import BUYER, change
from worker.errors import StoreUnreadable
from worker.ports.deliveries import Delivery, DeliveryFilter, DeliveryRetention, KeptDelivery, RuleTrace
from worker.ports.erasure import RecordRef
from worker.ports.store import Store
from worker.store.deliveries import RedisDeliveries
from worker.store.limits import MAX_REFUSED_BYTES
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock, MemoryStore

DAY = 86_400.0
SMALL = DeliveryRetention(7 * DAY, 5000)
EVERYTHING = DeliveryFilter()


@pytest.fixture
def deliveries(store: Store, clock: FakeClock) -> RedisDeliveries:
    return deliveries_of(store, lambda _: SMALL)


def made(name: str, body: bytes = b"", **more: Any) -> KeptDelivery:
    values = {"source": "immo", "outcome": "made", "accounts": ("acme",)} | more
    return KeptDelivery(Delivery(id=f"{values['source']}-{name}", **values), body)


def names(deliveries: RedisDeliveries, wanted: DeliveryFilter = EVERYTHING) -> list[str]:
    return [delivery.id.partition("-")[2] for delivery in deliveries.find(wanted).entries]


def no_flaws(deliveries: RedisDeliveries) -> bool:
    return not any(deliveries.inspect(source, repair=False) for source in deliveries.sources())


def test_a_delivery_comes_back_as_it_was_kept_with_when_it_came(
    deliveries: RedisDeliveries, clock: FakeClock
) -> None:
    rules = (RuleTrace(rule="rules[0]", outcome="no_match", when="type == 'x'", found={"type": '"y"'}),)
    kept = made("1", b"\xff\x00body", outcome="no_rule", rules=rules, message="msg-1", size=6)
    deliveries.keep(kept)
    found = deliveries.get("immo-1")
    assert found is not None
    assert found.request == b"\xff\x00body"
    assert (found.delivery.at, found.delivery.first_at, found.delivery.times) == (clock.now(),) * 2 + (1,)
    assert found.delivery.rules == rules
    assert deliveries.find(EVERYTHING).entries == (found.delivery,)
    assert deliveries.get("immo-2") is None
    assert deliveries.get("x") is None


def test_what_comes_again_is_the_same_delivery_and_the_newest(
    deliveries: RedisDeliveries, clock: FakeClock
) -> None:
    for name in ("1", "2", "1"):
        deliveries.keep(made(name, b"body"))
        clock.advance(1.0)
    first, second = deliveries.find(EVERYTHING).entries
    assert (first.id, first.times, first.at - first.first_at) == ("immo-1", 2, 2_000_000)
    assert (second.id, second.times) == ("immo-2", 1)
    assert no_flaws(deliveries)


def test_the_oldest_go_when_there_are_too_many_bytes_and_the_newest_always_stays(
    deliveries: RedisDeliveries,
) -> None:
    for number in range(10):
        deliveries.keep(made(str(number), b"x" * 1000))
    assert names(deliveries) == ["9", "8", "7", "6"]
    deliveries.keep(made("huge", b"x" * 9000))
    assert names(deliveries) == ["huge"]
    assert no_flaws(deliveries)


def test_a_flood_of_forged_deliveries_pushes_out_no_genuine_one_and_stays_small(
    deliveries: RedisDeliveries,
) -> None:
    deliveries.keep(made("genuine", b"body"))
    for number in range(700):
        deliveries.keep(made(f"forged{number}", outcome="refused", reason="signature", faults=("x" * 100,)))
    assert names(deliveries, DeliveryFilter(outcome="made")) == ["genuine"]
    kept = names(deliveries, DeliveryFilter(outcome="refused"))
    assert kept[0] == "forged699"
    sizes = [len(str(deliveries.get(f"immo-{name}"))) for name in kept[:3]]
    assert len(kept) * min(sizes) < 10 * MAX_REFUSED_BYTES
    assert len(kept) < 600
    assert no_flaws(deliveries)


def test_what_is_too_old_is_not_shown_and_goes_by_itself(
    deliveries: RedisDeliveries, clock: FakeClock
) -> None:
    deliveries.keep(made("old", b"body"))
    clock.advance(6 * DAY)
    deliveries.keep(made("new"))
    clock.advance(2 * DAY)
    assert names(deliveries) == ["new"]
    assert deliveries.get("immo-old") is None
    deliveries.tidy("immo")
    assert [each.delivery.id for each in deliveries._read_all("immo")] == ["immo-new"]
    assert no_flaws(deliveries)


def test_all_keys_of_a_source_share_a_slot_and_have_an_end(redis_store: Store, redis_client: Redis) -> None:
    deliveries = deliveries_of(redis_store)
    deliveries.keep(made("1", b"body"))
    deliveries.keep(made("2", outcome="refused"))
    found = dump_keys(redis_client)
    own = {key for key in found if key != b"t:sources"}
    assert own == {
        f"t:{{webhook:immo}}:{name}".encode() for name in ("meta", "kept", "requests", "genuine", "refused")
    }
    assert all(found[key][1] for key in own)
    assert deliveries.sources() == ["immo"]


@pytest.mark.parametrize("source", ["immo", "a-b_c", "acme"])
def test_pages_end_and_begin_between_any_two_deliveries_of_any_source(store: Store, source: str) -> None:
    deliveries = deliveries_of(store)  # by a clock that stands still
    for number in range(6):
        deliveries.keep(made(str(number), source=source))
        deliveries.keep(made(str(number), source="other", outcome="refused" if number % 2 else "no_rule"))
    seen, cursor = list[str](), ""
    while True:
        page = deliveries.find(EVERYTHING, limit=3, cursor=cursor)
        seen += [delivery.id for delivery in page.entries]
        if not (cursor := page.next):
            break
    assert len(seen) == len(set(seen)) == 12
    assert names(deliveries, DeliveryFilter(sources=("other",), outcome="refused")) == ["5", "3", "1"]
    assert names(deliveries, DeliveryFilter(sources=("nobody",))) == []


def test_a_time_bounds_what_is_found(deliveries: RedisDeliveries, clock: FakeClock) -> None:
    times = []
    for number in range(3):
        times.append(clock.now())
        deliveries.keep(made(str(number)))
        clock.advance(1.0)
    assert names(deliveries, DeliveryFilter(since=times[1])) == ["2", "1"]
    assert names(deliveries, DeliveryFilter(until=times[1])) == ["0"]


def test_what_became_of_a_delivery_is_put_in_place_only_of_what_was_seen(deliveries: RedisDeliveries) -> None:
    deliveries.keep(made("1", b"body", outcome="no_rule"))
    seen = deliveries.get("immo-1")
    assert seen
    again = made("1", jobs=("acme-j1",), faults=("x" * 50,)).delivery
    assert deliveries.replace(seen.delivery, again)
    assert not deliveries.replace(seen.delivery, again)
    now = deliveries.get("immo-1")
    assert now
    assert (now.delivery.outcome, now.delivery.jobs, now.request) == ("made", ("acme-j1",), b"body")
    assert (now.delivery.at, now.delivery.times) == (seen.delivery.at, 1)
    assert no_flaws(deliveries)


@pytest.mark.parametrize(
    ("kept", "goes"),
    [
        (made("1", b'POST /x HTTP/1.1\r\n\r\n{"person": 9001}'), True),
        (made("1", b'POST /x HTTP/1.1\r\n\r\n{"person": "CRM9001"}'), True),
        (made("1", b"POST /x?person=9001 HTTP/1.1\r\n\r\n{}"), True),
        (made("1", rules=(RuleTrace(rule="rules[0]", outcome="no_match", found={"id": "9001"}),)), True),
        (
            made("1", faults=('childid: expected a positive integer, got "9001x"',), outcome="unreadable"),
            False,
        ),
        (made("1", faults=('childid: expected text, got "9001"',), outcome="unreadable"), True),
        (made("1", b'POST /x HTTP/1.1\r\n\r\n{"email": "x@example.test"}', jobs=("acme-000",)), True),
        (made("1", b'POST /x HTTP/1.1\r\n\r\n{"person": 90011}', jobs=("berg-000",)), False),
        (made("1", b'POST /x HTTP/1.1\r\n\r\n{"person": 9001}', accounts=("berg",)), False),
    ],
)
def test_an_erasure_forgets_what_names_the_record_and_what_its_jobs_are_about(
    store: Store, kept: KeptDelivery, goes: bool
) -> None:
    accept(store, change(501, 9001, name=BUYER))  # acme-000
    deliveries = deliveries_of(store)
    deliveries.keep(kept)
    deliveries.keep(made("2", b"POST /x HTTP/1.1\r\n\r\nother"))
    looked, gone = deliveries.erase("acme", RecordRef("address", 9001))
    assert gone == int(goes)
    assert looked == (1 if kept.delivery.accounts == ("berg",) else 2)
    assert names(deliveries) == ["2"] if goes else ["2", "1"]
    assert no_flaws(deliveries)


@pytest.mark.parametrize("key", ["kept", "genuine"])
def test_what_a_server_lost_of_it_is_found_and_mended(
    redis_store: Store, redis_client: Redis, key: str
) -> None:
    deliveries = deliveries_of(redis_store)
    for name in "12":
        deliveries.keep(made(name, b"body"))
    (redis_client.hdel if key == "kept" else redis_client.zrem)(f"t:{{webhook:immo}}:{key}", "immo-1")
    flaws = deliveries.inspect("immo", repair=True)
    assert len(flaws) == 2
    assert "1 " in flaws[0].message
    assert "bytes" in flaws[1].message
    assert no_flaws(deliveries)
    assert names(deliveries) == ["2"]


def test_a_delivery_that_cannot_be_read_is_named_and_mended(
    redis_store: RedisStore, redis_client: Redis
) -> None:
    deliveries = deliveries_of(redis_store, lambda _: SMALL)
    for name in "12":
        deliveries.keep(made(name, b"body"))
    redis_client.hset("t:{webhook:immo}:kept", "immo-1", "x")
    redis_client.zadd("t:{webhook:immo}:genuine", {b"\xff": 9e15})
    with pytest.raises(StoreUnreadable, match="what is stored of delivery immo-1 cannot be read"):
        deliveries.find(EVERYTHING)
    assert "2 of its deliveries" in deliveries.inspect("immo", repair=True)[0].message
    assert no_flaws(deliveries)
    assert names(deliveries) == ["2"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["made", "no_rule", "refused", "sleep"]),
        st.sampled_from("abcdef"),
        st.integers(0, 3000),
    ),
    max_size=25,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=STEPS)
def test_memory_and_redis_keep_the_same(redis_client: Redis, steps: list[tuple[str, str, int]]) -> None:
    redis_client.flushall()
    clock = FakeClock(1_800_000_000_000_000)
    both = [
        deliveries_of(MemoryStore(clock.now), lambda _: SMALL),
        deliveries_of(RedisStore(redis_client, "t", now=clock.now), lambda _: SMALL),
    ]
    for what, name, size in steps:
        if what == "sleep":
            clock.advance(size * 500.0)
        for deliveries in both:
            if what == "sleep":  # keys of the real server end by its own clock
                deliveries.tidy("immo")
            elif what == "refused":
                deliveries.keep(made(f"r{name}", outcome="refused", reason="secret"))
            else:
                deliveries.keep(made(name, b"x" * size, outcome=what))
    ours, theirs = ([*deliveries._read_all("immo")] for deliveries in both)
    assert ours == theirs
    assert both[0].find(EVERYTHING) == both[1].find(EVERYTHING)
    assert all(map(no_flaws, both))
