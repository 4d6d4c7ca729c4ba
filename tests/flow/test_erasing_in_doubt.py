"""Erasing a record while its writes are in flight or in doubt: none is forgotten, no late one survives."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from ops.simulator import FaultPlan, InjectedFault
from tests.support.crashes import BrokenConnection, Crashed, CrashPoint, crash_points, delete_keys
from tests.support.erasing import erase_record, erasure_of
from tests.support.flow_world import INFO, START, World, change
from tests.support.store_steps import job_admin_of
from worker.contract import Relation, write_instant
from worker.errors import Unavailable
from worker.ports.pace import Pause

BUYER, DAY = "estate:address:buyer", 86_400.0
LATE, SENT, OTHER = Relation(BUYER, 501, 9001), Relation(BUYER, 502, 9001), Relation(BUYER, 501, 9002)
Make = Callable[..., World]


def erase(world: World) -> dict[str, int]:
    counts = erase_record(erasure_of(world), "acme", "address", 9001, by="ada")
    return {kind: count for kind, count in counts.items() if count}


def lose(kind: str, seconds: float = 1.0) -> FaultPlan:
    return FaultPlan.script([InjectedFault(kind, seconds)])


def test_what_was_never_sent_ends_at_once_and_what_has_no_answer_is_left_to_the_flush(
    make_world: Make,
) -> None:
    world = make_world(faults=lose("lost_after"))
    world.accept(change("create", BUYER, 501, 9001, 9002))
    world.flush()
    world.accept(change("create", BUYER, 502, 9001), change("create", BUYER, 503, 9001, 9003))
    with pytest.raises(Unavailable) as refused:
        erase(world)
    until = START * 1_000_000 + 150_000_000
    assert f"unfinished write: 1, the last of which may land until {write_instant(until)}" in str(
        refused.value
    )
    assert 150 <= refused.value.retry_after <= 160
    assert (world.job(0).children, world.job(0).state) == ((9001, 9002), "verifying")
    assert (world.job(1).state, world.job(1).children) == ("superseded", ())
    assert (world.job(2).state, world.job(2).children) == ("queued", (9003,))
    world.drain()
    assert (world.job(0).counts["applied"], world.job(2).counts["applied"]) == (2, 1)
    assert set(world.relations()) == {LATE, OTHER, Relation(BUYER, 503, 9003)}
    with pytest.raises(Unavailable, match="all else is erased"):
        erase(world)
    assert world.job(0).children == (9002,)
    world.clock.advance(150.0)
    assert erase(world) == {"memories": 1}
    assert erase(world) == {}


def test_wherever_an_erasure_dies_the_audit_log_says_who_erased(make_world: Make) -> None:
    def make_done() -> World:
        world = make_world()
        delete_keys(world.store)
        world.accept(change("create", BUYER, 501, 9001, 9002))
        world.drain()
        return world

    def run(world: World, point: CrashPoint) -> bool:
        """Erase until the crash; return whether anything was erased."""
        before, scripts = world.job(), world.store.database.scripts
        world.store.database.scripts = {name: partial(point.call, each) for name, each in scripts.items()}
        with suppress(Crashed):
            erase(world)
        world.store.database.scripts = scripts
        return world.job() != before

    run(make_done(), counted := CrashPoint())
    erased = 0
    for point in crash_points(counted.calls):
        if run(world := make_done(), point):
            [entry] = job_admin_of(world.store).audit_log("acme").entries
            assert (entry.by, entry.act, entry.what.partition(" ")[0]) == ("ada", "erased", "address")
            erased += 1
    assert erased > 1
    assert entry.count > 0


def test_an_erasure_wakes_a_worker_for_what_it_has_kept_waiting(make_world: Make) -> None:
    world, wakes = make_world(), list[str]()
    erase_record(erasure_of(world, wakes), "acme", "address", 9001, by="ada")
    assert wakes == []
    world.accept(change("create", BUYER, 501, 9002))
    for times in (1, 2):  # also where the next one comes before the sweep would have noticed
        erase_record(erasure_of(world, wakes), "acme", "address", 9001, by="ada")
        assert wakes == ["acme"] * times


def test_a_later_delete_waits_for_the_late_create_though_its_record_was_erased_meanwhile(
    make_world: Make,
) -> None:
    world = make_world(faults=lose("late", 118.0))
    world.accept(change("create", BUYER, 501, 9001))
    world.flush()
    with pytest.raises(Unavailable):
        erase(world)
    world.drain()
    assert world.job(0).state == "succeeded"  # read back as absent, and sent once more
    with pytest.raises(Unavailable):
        erase(world)
    world.accept(change("delete", BUYER, 501, 9001))
    world.drain()
    world.clock.advance(300.0)
    assert world.relations() == {}
    assert erase(world)["memories"] == 1


def test_a_request_of_a_dead_worker_delays_the_erasure_of_its_own_records_only(make_world: Make) -> None:
    world = make_world()
    api, world.apis["acme"] = world.apis["acme"], BrokenConnection()
    world.accept(change("create", BUYER, 501, 9002))
    with pytest.raises(Unavailable):
        world.flush()
    world.apis["acme"] = api
    world.accept(change("create", BUYER, 502, 9001))
    assert erase(world)["jobs"] == 1
    with pytest.raises(Unavailable, match="unfinished write: 1"):
        erase_record(erasure_of(world), "acme", "address", 9002, by="ada")
    world.drain()
    world.clock.advance(150.0)
    erase_record(erasure_of(world), "acme", "address", 9002, by="ada")
    assert world.relations() == {OTHER: {}}


def test_a_paused_account_has_to_be_resumed_or_its_write_is_given_up_as_a_flush_would(
    make_world: Make,
) -> None:
    world = make_world(faults=lose("lost_after"))
    world.accept(change("create", BUYER, 501, 9001))
    world.flush()
    world.store.pause("acme", Pause("by hand"))
    world.clock.advance(DAY / 2)
    with pytest.raises(Unavailable, match=r"can land no more; account acme is paused: resume it") as refused:
        erase(world)
    assert refused.value.retry_after == 5.0
    world.clock.advance(DAY / 2 + 1.0)
    assert erase(world)["open"] == 1
    assert (world.job(0).state, world.job(0).counts["failed"], world.job(0).failed) == ("failed", 1, ())
    assert world.store.failed_jobs("acme", limit=9) == []


def test_who_waits_is_told_why_and_the_erasure_finishes_with_one_audit_entry(make_world: Make) -> None:
    world = make_world(faults=lose("lost_before"))
    world.accept(change("create", BUYER, 501, 9001))
    world.flush()
    reasons: list[str] = []

    def work_meanwhile(error: Unavailable) -> None:
        reasons.append(str(error))
        world.drain()

    counts = erase_record(erasure_of(world), "acme", "address", 9001, by="ada", on_wait=work_meanwhile)
    assert (counts["jobs"], counts["emptied"]) == (1, 1)
    [reason] = reasons
    assert reason.endswith("a flush reads them back; what was not sent is erased: try again then")
    [entry] = job_admin_of(world.store).audit_log("acme").entries
    assert (entry.act, entry.count) == ("erased", counts.total())
    assert world.relations() == {LATE: {}}


def test_a_newer_change_does_not_hide_that_the_write_before_it_had_no_answer(make_world: Make) -> None:
    world = make_world(faults=lose("late", 90.0))
    world.accept(change("create", BUYER, 501, 9001))
    world.flush()
    world.accept(change("delete", BUYER, 501, 9001))
    world.flush()  # the delete waits: the create may still land
    assert world.job(0).state == "superseded"
    world.clock.advance(151.0)
    with pytest.raises(Unavailable):
        erase(world)
    world.drain()
    assert world.relations() == {}
    assert erase(world)["emptied"] == 1


def test_a_create_whose_info_is_still_to_be_set_is_finished_before_it_is_forgotten(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script([None, InjectedFault("throttle", 20.0)]))
    world.accept(change("create", "calendar:address", 501, 9001, info=((INFO, "gesendet"),)))
    world.flush()
    with pytest.raises(Unavailable, match="unfinished write: 1"):
        erase(world)
    world.drain()
    assert (world.job(0).state, erase(world)["emptied"]) == ("succeeded", 1)
    assert world.relations() == {Relation("calendar:address", 501, 9001): {INFO: "gesendet"}}
