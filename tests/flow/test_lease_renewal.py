"""A lease that is held for long is renewed until it is given back; one that is not costs no thread."""

import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import pytest

from worker.background import ThreadedLeaseKeeper, WakeupQueue
from worker.errors import LeaseLost, StoreUnavailable

INTERVAL = 0.02
TIMEOUT = 20.0


class Renewed:
    """A lease that counts its renewals, of which the first ones fail."""

    def __init__(self, failures: Sequence[Exception] = ()) -> None:
        self.count, self.threads, self._failures = 0, set[int](), list(failures)
        self._renewed = threading.Semaphore(0)

    def renew(self) -> None:
        self.count += 1
        self.threads.add(threading.get_ident())
        self._renewed.release()
        if self._failures:
            raise self._failures.pop(0)

    def wait_for(self, renewals: int) -> None:
        for _ in range(renewals):
            assert self._renewed.acquire(timeout=TIMEOUT)


def test_a_lease_is_renewed_for_as_long_as_it_is_held() -> None:
    keeper = ThreadedLeaseKeeper(INTERVAL)
    lease, later = Renewed(), Renewed()
    held: Any = lease
    with keeper(held):
        lease.wait_for(3)
    count, held = lease.count, later
    with keeper(held):
        later.wait_for(3)
    assert lease.count == count


def test_the_thread_that_looks_ends_when_nothing_is_held_and_another_begins_with_the_next() -> None:
    keeper, before = ThreadedLeaseKeeper(INTERVAL), set(threading.enumerate())
    short: Any = Renewed()
    with keeper(short):
        started = set(threading.enumerate()) - before
    [looking] = [thread for thread in started if thread.name == "leases"]
    looking.join(TIMEOUT)
    assert not looking.is_alive()
    lease = Renewed()
    held: Any = lease
    with keeper(held):
        lease.wait_for(2)


def test_a_renewal_that_takes_long_delays_no_other() -> None:
    may_go_on = threading.Event()

    class Slow(Renewed):
        def renew(self) -> None:
            super().renew()
            may_go_on.wait(TIMEOUT)

    keeper, slow, quick = ThreadedLeaseKeeper(INTERVAL), Slow(), Renewed()
    held: list[Any] = [slow, quick]
    with keeper(held[0]), keeper(held[1]):
        slow.wait_for(1)
        quick.wait_for(3)
        may_go_on.set()
    assert not slow.threads & quick.threads


def test_once_a_lease_may_be_given_back_no_renewal_of_it_is_on_its_way() -> None:
    may_go_on, is_over = threading.Event(), threading.Event()

    class Slow(Renewed):
        def renew(self) -> None:
            super().renew()
            may_go_on.wait(TIMEOUT)
            is_over.set()

    slow = Slow()
    held: Any = slow
    with ThreadedLeaseKeeper(INTERVAL)(held):
        slow.wait_for(1)
        threading.Timer(INTERVAL, may_go_on.set).start()
    assert is_over.is_set()


@pytest.mark.parametrize(
    ("failure", "goes_on"), [(StoreUnavailable("away"), True), (LeaseLost("another has it"), False)]
)
def test_it_goes_on_while_the_store_is_away_and_ends_when_the_lease_is_lost(
    failure: Exception, goes_on: bool
) -> None:
    keeper, lease, beside = ThreadedLeaseKeeper(INTERVAL), Renewed([failure]), Renewed()
    held: list[Any] = [lease, beside]
    with keeper(held[0]), keeper(held[1]):
        lease.wait_for(3 if goes_on else 1)
        beside.wait_for(5)
    assert goes_on or lease.count == 1


def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system have no room for another thread."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_without_room_for_a_thread_a_lease_is_held_and_the_next_one_is_renewed() -> None:
    keeper, lease, later = ThreadedLeaseKeeper(INTERVAL), Renewed(), Renewed()
    held: Any = lease
    with pytest.MonkeyPatch.context() as full:
        refuse_threads(full)
        with keeper(held):
            pass
    held = later
    with keeper(held):
        later.wait_for(2)
    assert lease.count == 0


def test_a_wake_up_that_finds_no_room_for_a_thread_goes_with_the_next_one() -> None:
    sent, reported = SimpleQueue[tuple[str, float]](), list[tuple[str, object]]()
    queue = WakeupQueue(
        lambda *wakeup: sent.put(wakeup),
        emit=lambda event, **fields: reported.append((event, fields["account"])),
    )
    with pytest.MonkeyPatch.context() as full:
        refuse_threads(full)
        queue("acme", 1.0)
    assert reported == [("wake.failed", "acme")]
    queue("baker", 2.0)
    assert [sent.get(timeout=TIMEOUT) for _ in range(2)] == [("acme", 1.0), ("baker", 2.0)]
