"""What was promised to be kept is kept, whatever the settings say later, and if they say nothing any more."""

from collections.abc import Callable

import pytest
from redis import Redis

from tests.support.store_steps import accept, claim_all, send_and_settle, take_lease
from tests.support.store_values import BUYER, NO_LIMIT, change, submission
from worker.contract import Relation
from worker.ports.store import IntakeBounds, Receipt, Retention
from worker.store.meta import read_meta
from worker.store.redis_store import RedisStore
from worker.testing import FakeClock, MemoryStore

DAY = 86_400.0
RELATION = Relation(BUYER, 1, 9)
LONG = Retention(finished=7 * DAY, failed=60 * DAY, remembered=50 * DAY)
MIDDLE = Retention(finished=7 * DAY, failed=30 * DAY, remembered=20 * DAY)
SHORT = Retention(finished=7 * DAY, failed=2 * DAY, remembered=4 * DAY)
GONE = Retention(is_set=False)
Make = Callable[[Callable[[str], Retention]], RedisStore]


@pytest.fixture(params=["memory", "redis"])
def make_store(request: pytest.FixtureRequest, clock: FakeClock, redis_client: Redis) -> Make:
    if request.param == "memory":
        return lambda keep: MemoryStore(clock.now, keep=keep)
    return lambda keep: RedisStore(redis_client, "t", keep=keep, now=clock.now)


def work(store: RedisStore, first: int, result: str) -> None:
    """Accept a change of the relation, and give it this outcome."""
    accept(store, change(1, 9, batch="import"), first=first)
    claim_all(lease := take_lease(store))
    send_and_settle(lease, f"r{first}", {RELATION: result})
    lease.release()


def pass_days(store: RedisStore, clock: FakeClock, days: int) -> None:
    """Let so many days pass, each with a sweep."""
    for _ in range(days):
        clock.advance(DAY)
        store.tidy("acme")


def is_confirmed(store: RedisStore) -> bool:
    return store.relation_history("acme", RELATION)[0].confirmed.present.job == "acme-001"


def promise(make_store: Make, result: str) -> tuple[RedisStore, list[Retention]]:
    """Return a store with a job that came to this, and the settings' retention, which may be changed."""
    settings = [LONG]
    store = make_store(lambda _: settings[0])
    work(store, 0, result)
    return store, settings


@pytest.mark.parametrize("later", [SHORT, GONE], ids=["kept for less", "not in the settings"])
def test_what_is_confirmed_is_known_as_long_as_a_failed_job_it_may_judge(
    make_store: Make, clock: FakeClock, later: Retention
) -> None:
    store, settings = promise(make_store, "failed")
    store.tidy("acme")
    settings[0] = later
    store.tidy("acme")
    work(store, 1, "applied")
    pass_days(store, clock, 59)
    assert store.failed_jobs("acme", limit=9) == ["acme-000"]
    assert is_confirmed(store)
    assert store.batch_counts("acme", "import")["failed"] == 1
    pass_days(store, clock, 200)
    assert store.failed_jobs("acme", limit=9) == []
    assert not is_confirmed(store)


def test_what_was_promised_between_two_shortenings_is_kept_too(make_store: Make, clock: FakeClock) -> None:
    store, settings = promise(make_store, "applied")
    store.tidy("acme")
    settings[0] = MIDDLE
    pass_days(store, clock, 50)
    work(store, 1, "failed")
    settings[0] = SHORT
    store.tidy("acme")
    clock.advance(DAY)
    work(store, 2, "applied")
    pass_days(store, clock, 28)
    assert store.failed_jobs("acme", limit=9) == ["acme-001"]
    assert store.relation_history("acme", RELATION)[0].confirmed.present.job == "acme-002"
    assert read_meta(store.database, "acme").noted == MIDDLE
    pass_days(store, clock, 200)
    assert read_meta(store.database, "acme").noted == SHORT
    assert store.failed_jobs("acme", limit=9) == []


def test_event_ids_of_an_account_that_has_left_the_settings_are_remembered_as_long_as_they_said(
    make_store: Make, clock: FakeClock
) -> None:
    store, settings = promise(make_store, "applied")
    store.tidy("acme")
    settings[0] = GONE
    pass_days(store, clock, 49)
    settings[0] = LONG
    again = [submission("x", change(1, 9, batch="import"), event_id="000")]
    receipts = store.accept("acme", again, IntakeBounds(NO_LIMIT, 60 * DAY)).receipts
    assert receipts == (Receipt("acme-000", duplicate=True),)


@pytest.mark.parametrize("ahead", [0, 400], ids=["", "noted by a clock that was ahead"])
def test_what_was_promised_is_forgotten_once_it_is_over(
    make_store: Make, clock: FakeClock, ahead: int
) -> None:
    store, settings = promise(make_store, "failed")
    noted = [read_meta(store.database, "acme").noted]
    pass_days(store, clock, 1 + ahead)
    settings[0] = SHORT
    store.tidy("acme")
    clock.advance(-ahead * DAY)
    store.bring_forward("acme", round(ahead * DAY * 1e6))
    for settings[0], days in ((SHORT, 59), (SHORT, 3), (LONG, 1)):
        noted.append(read_meta(store.database, "acme").noted)
        pass_days(store, clock, days)
    noted.append(read_meta(store.database, "acme").noted)
    assert [each.memory / DAY for each in noted] == [0, 60, 60, 7, 60]


def test_an_event_id_is_known_as_long_as_its_job_though_finished_ones_are_kept_for_less_by_now(
    make_store: Make, clock: FakeClock
) -> None:
    settings = [LONG._replace(finished=30 * DAY, remembered=DAY)]
    store = make_store(lambda _: settings[0])
    work(store, 0, "applied")
    store.tidy("acme")
    settings[0] = Retention(finished=DAY, failed=DAY, remembered=DAY)
    for number in range(1, 20):
        pass_days(store, clock, 1)
        work(store, number, "applied")
    assert store.get_job("acme-000")
    again = [submission("x", change(1, 9, batch="import"), event_id="000")]
    receipts = store.accept("acme", again, IntakeBounds(NO_LIMIT, 60 * DAY)).receipts
    assert receipts == (Receipt("acme-000", duplicate=True),)
