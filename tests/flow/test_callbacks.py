"""All of a batch has ended: told once per end, under one id, whatever dies in between and however often."""

import itertools
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.simulator import Records
from tests.support.callback_receiver import callback
from tests.support.crashes import Crashed, Crashing, CrashPoint
from tests.support.flow_world import World
from worker.config import Callback
from worker.contract import Change, from_message
from worker.errors import NotFound
from worker.ports.callbacks import BatchCounts, CallbackAttempt, CallbackMessage, Watch
from worker.store.callbacks import RedisCallbacks
from worker.store.job_admin import RedisJobAdmin
from worker.store.metrics import RedisMetrics
from worker.testing import MemoryStore
from worker.usecases.callbacks import (
    CLAIM_SECONDS,
    DELAYS,
    FORGET_EMPTY_AFTER,
    LOOK_AT_OPEN,
    Callbacks,
    decide_attempt,
    decide_look,
)

BUYER = "estate:address:buyer"
MISSING = 404
SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND


@dataclass
class Portal:
    """A world with a callback, and its receiver: what it got, and what its next answers are (then 200)."""

    configured: dict[str, Callback] = field(default_factory=lambda: {"portal": callback()})
    answers: list[CallbackAttempt] = field(default_factory=list)
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(MemoryStore, records=Records(missing=frozenset({("address", MISSING)})))
        store = self.world.store
        assert isinstance(store, MemoryStore)
        self.store: Any = RedisCallbacks(store)
        self.metrics = RedisMetrics(store.database)
        self.callbacks = Callbacks(
            store=self.store,
            list_callbacks=lambda: self.configured,
            transport=self.receive,
            metrics=self.metrics,
            job_admin=RedisJobAdmin(store.database),
            new_id=self.world.new_id,
            draw=lambda: 0.0,
            emit=self.world.emit,
        )
        self.world.intake = replace(self.world.intake, watch=self.callbacks.watch)

    def receive(self, _callback: Callback, *, message_id: str, body: bytes, now: float) -> CallbackAttempt:
        self.got.append((message_id, json.loads(body)))
        return self.answers.pop(0) if self.answers else CallbackAttempt(200)

    def accept(self, *children: int, batch: str = "import", parent: int = 1) -> None:
        self.world.accept(*(change(parent, child, batch) for child in children))

    def sweep(self, *, seconds: float = 2.0, times: int = 1) -> None:
        """Let time pass, and do what a sweep does, so often."""
        for _ in range(times):
            self.world.clock.advance(seconds)
            for name in sorted(self.callbacks.look()):
                self.callbacks.send_due(name)

    def events(self) -> list[str]:
        return [event for event, _ in self.world.events if event.startswith("callback.")]

    def counts(self) -> list[tuple[int, ...]]:
        names = BatchCounts._fields
        return [tuple(document["data"][name] for name in names) for _, document in self.got]


def change(parent: int, child: int, batch: str) -> Change:
    fields = {"account": "acme", "action": "create", "relationtype": BUYER, "batch": batch}
    return from_message({**fields, "parentid": parent, "childid": child}).change


def test_a_batch_is_told_when_all_of_it_has_ended_and_no_more_comes() -> None:
    portal = Portal()
    portal.accept(9, MISSING)
    portal.sweep(times=10)
    assert portal.got == []  # nothing of it was flushed
    portal.world.drain()
    portal.sweep(times=30)
    ((message_id, document),) = portal.got
    assert message_id.startswith("acme-")
    assert document["type"] == "batch.finished"
    assert document["data"] == {
        "account": "acme",
        "batch": "import",
        "accepted": 2,
        "succeeded": 1,
        "superseded": 0,
        "failed": 1,
        "failed_jobs": "/v1/jobs?account=acme&batch=import&state=failed",
    }
    assert portal.events() == ["callback.delivered"]
    assert portal.metrics.account_stats(["acme"])["acme"].tally["callbacks:delivered"] == 1


def test_parts_of_a_batch_that_come_while_others_have_ended_are_told_together() -> None:
    portal = Portal()
    for child in range(1, 5):
        portal.accept(child)
        portal.world.drain()
        portal.sweep(seconds=4.0)
    assert portal.got == []
    portal.sweep(times=10)
    assert portal.counts() == [(4, 4, 0, 0)]


def test_what_comes_later_and_what_is_replayed_is_told_once_more_under_another_id() -> None:
    portal = Portal()
    portal.accept(9, MISSING)
    portal.world.drain()
    portal.sweep(times=10)
    portal.accept(10)
    portal.world.drain()
    portal.sweep(times=10)
    portal.world.simulator.seed("token-acme", records=Records())
    portal.world.store.requeue("acme", portal.world.store.failed_jobs("acme", limit=9))
    portal.world.drain()
    portal.sweep(times=20, seconds=60.0)
    assert portal.counts() == [(2, 1, 0, 1), (3, 2, 0, 1), (3, 3, 0, 0)]
    assert len({message_id for message_id, _ in portal.got}) == 3
    assert portal.got[-1][1]["data"]["failed_jobs"] is None


def test_nothing_is_kept_of_labels_that_no_callback_is_told_of() -> None:
    portal = Portal({"portal": callback(batches=("import-*", "nightly"))})
    store = portal.world.store
    assert isinstance(store, MemoryStore)
    for label in ("other", "import"):
        portal.accept(9, batch=label)
    assert not any("watched" in key for key in store.database.redis.contents())
    for label in ("import-7", "nightly"):
        portal.accept(9, batch=label)
    portal.world.drain()
    portal.sweep(times=10)
    assert {document["data"]["batch"] for _, document in portal.got} == {"import-7", "nightly"}
    portal.configured.clear()
    before = dict(store.database.redis.contents())
    portal.callbacks.watch("acme", ["nightly"])
    assert portal.callbacks.look() == frozenset()
    assert store.database.redis.contents() == before


def test_a_message_in_vain_comes_again_later_and_later_under_its_id_until_it_is_taken() -> None:
    portal = Portal(
        answers=[
            CallbackAttempt(500),
            CallbackAttempt(error="refused"),
            CallbackAttempt(302),
            CallbackAttempt(204),
        ]
    )
    portal.accept(9)
    portal.world.drain()
    portal.sweep(times=200, seconds=5.0)
    assert len({message_id for message_id, _ in portal.got}) == 1
    assert len(portal.got) == 4
    assert portal.events() == ["callback.failed"] * 3 + ["callback.delivered"]
    (message,) = portal.store.list_messages("acme").entries
    assert (message.state, message.attempts, message.status) == ("delivered", 4, 204)
    assert message.ended_at - message.made_at >= sum(DELAYS[:3]) * SECOND


def test_a_receiver_that_never_takes_it_is_left_alone_in_the_end_and_a_person_sends_it_again() -> None:
    portal = Portal(answers=[CallbackAttempt(500)] * (len(DELAYS) + 1))
    portal.accept(9)
    portal.world.drain()
    portal.sweep(times=3)
    portal.sweep(times=len(DELAYS) + 5, seconds=86_500.0 / 2)
    (message,) = portal.store.list_messages("acme").entries
    assert (message.state, message.attempts) == ("abandoned", len(DELAYS) + 1)
    assert portal.events()[-1] == "callback.abandoned"
    portal.sweep(times=3, seconds=86_400.0)
    assert len(portal.got) == len(DELAYS) + 1
    assert portal.callbacks.resend(message.id, by="ada").state == "waiting"
    portal.sweep()
    assert portal.got[-1][0] == message.id
    assert portal.store.get_message(message.id).state == "delivered"
    audit = portal.callbacks.job_admin.audit_log("acme").entries
    assert [(entry.by, entry.act, entry.what) for entry in audit] == [("ada", "callback resent", message.id)]


def test_a_receiver_that_is_gone_is_asked_once_and_one_that_wants_time_gets_it() -> None:
    gone = Portal(answers=[CallbackAttempt(410)])
    gone.accept(9)
    gone.world.drain()
    gone.sweep(times=50, seconds=60.0)
    assert gone.store.list_messages("acme").entries[0].state == "abandoned"
    assert len(gone.got) == 1
    slow = Portal(answers=[CallbackAttempt(429, retry_after=3000.0)])
    slow.accept(9)
    slow.world.drain()
    slow.sweep(times=50, seconds=60.0)
    (message,) = slow.store.list_messages("acme").entries
    assert len(slow.got) == 1
    slow.sweep(times=10, seconds=60.0)
    assert slow.store.get_message(message.id).state == "delivered"


def test_one_failure_ends_the_round_of_a_callback_and_no_other_callback_waits_for_it() -> None:
    portal = Portal({"portal": callback(), "crm": callback(name="crm")})
    for number in range(5):
        portal.accept(9, batch=f"b{number}", parent=number + 1)
    portal.world.drain()
    portal.world.clock.advance(15)
    assert portal.callbacks.look() == {"portal", "crm"}
    portal.answers = [CallbackAttempt(error="timed out")]
    assert portal.callbacks.send_due("portal") == 0
    assert portal.callbacks.send_due("crm") == 5


def test_a_sweep_looks_at_a_bounded_number_of_labels_and_the_next_at_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.usecases.callbacks.MAX_LABELS", 2)
    portal = Portal()
    for number in range(5):
        portal.accept(9, batch=f"b{number}", parent=number + 1)
    portal.world.drain()
    portal.sweep(seconds=15.0)
    assert len(portal.got) == 2
    portal.sweep(times=2)
    assert {document["data"]["batch"] for _, document in portal.got} == {f"b{n}" for n in range(5)}


def test_what_people_name_wrongly_is_not_found() -> None:
    portal = Portal()
    for act in (
        lambda: portal.callbacks.find("acme-nothing"),
        lambda: portal.callbacks.resend("acme-nothing", by="ada"),
        lambda: portal.callbacks.test("nobody", "acme"),
        lambda: portal.callbacks.test("portal", "berg"),
    ):
        with pytest.raises(NotFound):
            act()
    assert portal.callbacks.test("portal", "acme").is_taken
    assert portal.got[0][1]["type"] == "callback.test"


# --- whoever dies


@pytest.mark.parametrize("after", [False, True])
def test_wherever_a_process_dies_the_end_is_told_and_always_under_the_same_id(after: bool) -> None:
    for at in itertools.count():
        portal = Portal(answers=[CallbackAttempt(500)])
        dying = replace(portal.callbacks, store=Crashing(portal.store, CrashPoint(at, after=after)))
        alive, is_dead = portal.callbacks, False
        for callbacks in (dying, alive):
            portal.callbacks = callbacks
            portal.world.intake = replace(portal.world.intake, watch=callbacks.watch)
            try:
                if not portal.world.receipts:
                    portal.accept(9, MISSING)
                portal.world.drain()
                portal.sweep(times=20)
                portal.sweep(times=3, seconds=CLAIM_SECONDS)
            except Crashed:
                is_dead = True
        assert set(portal.counts()) == {(2, 1, 0, 1)}, at
        assert len({message_id for message_id, _ in portal.got}) == 1, at
        assert portal.store.get_message(portal.got[0][0]).state == "delivered"
        if not is_dead:
            break
    assert at >= 15


def test_processes_that_die_with_a_message_take_nothing_from_the_patience_with_its_receiver() -> None:
    portal = Portal(answers=[CallbackAttempt(500)])
    portal.accept(9)
    portal.world.drain()
    portal.world.clock.advance(15)
    portal.callbacks.look()
    for _ in range(len(DELAYS) + 1):
        assert portal.store.claim_message("acme", "portal", seconds=CLAIM_SECONDS)
        portal.world.clock.advance(CLAIM_SECONDS)
    portal.sweep()
    (message,) = portal.store.list_messages("acme").entries
    assert (message.state, message.attempts) == ("waiting", 1)
    portal.sweep(seconds=DELAYS[0] + 1)
    assert portal.store.get_message(message.id).state == "delivered"


# --- what is decided

counts = st.integers(0, 5).flatmap(
    lambda accepted: (
        st.lists(st.integers(0, accepted), min_size=3, max_size=3)
        .filter(lambda ended: sum(ended) <= accepted)
        .map(lambda ended: BatchCounts(accepted, *ended))
    )
)
ages = st.floats(0, 10**7)


@given(counts, ages, st.dictionaries(st.sampled_from(["portal", "crm"]), counts), st.floats(1, 3600))
def test_a_look_tells_exactly_who_does_not_know_a_whole_batch_that_is_quiet(
    found: BatchCounts, age: float, reported: dict[str, BatchCounts], quiet: float
) -> None:
    callbacks = [callback(), callback(name="crm", quiet=quiet)]
    watch = Watch("import", NOW - round(age * SECOND), ("portal", "crm"), reported, found)
    look = decide_look(watch, callbacks, NOW)
    may = {each.name for each in callbacks if (NOW - watch.accepted_at) / SECOND >= each.quiet}
    unaware = {each.name for each in callbacks if reported.get(each.name) != found}
    is_whole = found.accepted > 0 and not found.open
    assert set(look.tells) == (may & unaware if is_whole else set())
    if look.at is None:
        assert not found.accepted
        assert age > FORGET_EMPTY_AFTER
    else:
        assert look.at > NOW - SECOND
        assert not found.open or look.at <= NOW + LOOK_AT_OPEN * SECOND + 1


@given(st.integers(1, 20), st.integers(0, 599), st.floats(0, 1), st.floats(0, 10**6))
def test_an_attempt_ends_a_message_or_delays_it_longer_each_time(
    attempts: int, status: int, draw: float, retry_after: float
) -> None:
    message = CallbackMessage(
        id="acme-1",
        account="acme",
        callback="portal",
        batch="b",
        counts=BatchCounts(1, 1),
        made_at=NOW,
        next_at=NOW,
        attempts=attempts,
    )
    after = decide_attempt(message, CallbackAttempt(status, retry_after=retry_after), now=NOW, draw=draw)
    assert (after.state == "delivered") == (200 <= status < 300)
    if after.state == "waiting":
        assert attempts <= len(DELAYS)
        assert DELAYS[attempts - 1] * SECOND <= after.next_at - NOW <= 1.1 * 86_400 * SECOND
    else:
        assert (after.ended_at, after.next_at) == (NOW, 0)
    assert list(DELAYS) == sorted(DELAYS)
