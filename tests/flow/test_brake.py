"""Stories of the brake, which keeps more deletes than allowed from leaving, and of cancelling beside a flush."""

import pytest

from tests.support.flow_world import World, change
from worker.contract import Relation
from worker.ports import AuditEntry
from worker.testing import MemoryJobAdmin, MemoryStore

BUYER = "estate:address:buyer"


def world(brake: int) -> World:
    return World(lambda now: MemoryStore(now), lane={"max_deletes_per_hour": brake})


def linked(here: World, number: int) -> None:
    """So many buyers of estate 1."""
    here.accept(change("create", BUYER, 1, *range(1, number + 1), at=0))
    here.drain()


def test_a_mass_unlink_pauses_the_account_before_any_of_it_leaves_and_says_so_once() -> None:
    here = world(brake=10)
    linked(here, 25)
    here.clock.sleep(1.0)
    here.accept(change("delete", BUYER, 1, *range(1, 26), at=1))
    here.flush()
    here.flush()
    assert here.sent().count("delete") == 0
    [told] = [fields for event, fields in here.events if event == "account.paused"]
    assert (
        told["reason"],
        str(told["detail"]).startswith("25 deletes within an hour, max_deletes_per_hour = 10"),
    ) == ("brake", True)
    assert len(here.relations()) == 25


def test_each_resume_lets_another_hours_allowance_go_until_all_is_done() -> None:
    here = world(brake=10)
    linked(here, 25)
    here.clock.sleep(1.0)
    here.accept(change("delete", BUYER, 1, *range(1, 26), at=1))
    left = []
    for _ in range(4):
        here.flush()
        here.flush()
        left.append(len(here.relations()))
        here.store.resume("acme")
    assert left == [25, 15, 5, 0]


def test_a_few_unlinks_and_any_number_of_links_pass_the_brake() -> None:
    here = world(brake=10)
    linked(here, 200)
    here.clock.sleep(1.0)
    here.accept(change("delete", BUYER, 1, *range(1, 11), at=1))
    here.drain()
    assert len(here.relations()) == 190
    here.clock.sleep(60.0)
    here.accept(change("delete", BUYER, 1, 11, at=61))
    here.flush()
    paused = here.store.get_pause("acme")
    assert paused is not None
    assert paused.detail.startswith("11 deletes")
    here.clock.sleep(3600.0)
    here.store.resume("acme")
    here.drain()
    assert len(here.relations()) == 189


def test_what_is_cancelled_while_a_flush_reads_is_not_sent_and_the_rest_is_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = world(brake=0)
    jobs = [
        receipt.job
        for receipt in here.accept(change("create", BUYER, 1, 9, at=0), change("create", BUYER, 2, 9, at=0))
    ]
    fold = World.lane_of
    acts = MemoryJobAdmin(here.store)  # type: ignore[arg-type]

    def order(name: str) -> str:
        """Asked while the batch is folded, so after the read and before the take."""
        acts.cancel("acme", jobs[:1], AuditEntry("d", "ada", "cancelled"))
        return "free"

    monkeypatch.setattr(here, "lane", {"order": order})
    assert fold(here, "acme").order is order
    assert here.flush().next_in == 0.0
    here.drain()
    assert set(here.relations()) == {Relation(BUYER, 2, 9)}
