"""What producers really send, and what the CRM must have seen of it in the end."""

from collections.abc import Callable

import pytest

from ops.simulator import FaultPlan, InjectedFault, Records, Switches
from tests.support.flow_world import INFO, World, change
from worker.contract import Relation
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.usecases.replay import requeue

Make = Callable[..., World]
INTERESTED, BROKER, UNIT = "estate:address:interested", "estate:address:contactPerson", "estate:estateUnit"
APPOINTMENT, BUYER = "calendar:address", "estate:address:buyer"


def states(world: World) -> list[str]:
    return [world.store.get_job(receipt.job).state for receipt in world.receipts]


def test_a_portal_burst_of_18_messages_is_3_actions_in_1_request(world: Make) -> None:
    here = world()
    here.simulator.seed("token-acme", [Relation(INTERESTED, 501, 9007)])  # linked by an earlier window
    enquiries = [change("create", INTERESTED, 501, 9000 + n, at=-60 + n, event_id=f"e{n}") for n in range(12)]
    here.accept(*enquiries, enquiries[3])  # one webhook is delivered twice with the same id
    here.accept(change("create", INTERESTED, 501, 9005, at=-40, source="portal-b"))  # one person, two portals
    here.accept(change("delete", INTERESTED, 501, 9007, at=-30))  # one was spam
    here.accept(*(change("create", INTERESTED, 502, 9000 + n, at=-20 + n) for n in range(3)))
    assert len(here.receipts) == 18
    flushed = here.flush()
    assert (flushed.actions, flushed.requests) == (3, 1)
    assert flushed.actions == flushed.least
    here.drain()
    wanted = {Relation(INTERESTED, 501, 9000 + n) for n in range(12) if n != 7} | {
        Relation(INTERESTED, 502, 9000 + n) for n in range(3)
    }
    assert set(here.relations()) == wanted
    assert here.receipts[12].duplicate
    assert here.receipts[12].job == here.receipts[3].job
    assert here.store.get_job(here.receipts[7].job).state == "superseded"
    assert here.store.get_job(here.receipts[7].job).by == here.receipts[14].job


def test_eleven_deletes_of_one_estate_are_1_request(world: Make) -> None:
    here = world()
    here.simulator.seed("token-acme", [Relation(INTERESTED, 501, 9000 + n) for n in range(11)])
    here.accept(*(change("delete", INTERESTED, 501, 9000 + n) for n in range(11)))
    flushed = here.flush()
    assert (flushed.actions, flushed.requests) == (11, 1)
    here.drain()
    assert set(states(here)) == {"succeeded"}


@pytest.mark.parametrize("separately", [False, True], ids=["in one window", "in two"])
def test_a_sole_broker_is_replaced_before_it_is_removed(world: Make, separately: bool) -> None:
    here = world()
    here.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    here.accept(change("delete", BROKER, 501, 42, at=-5))
    here.accept(change("create", BROKER, 501, 43, at=-4))
    if separately:
        here.lane = {"max_batch": 1}
    here.drain()
    assert set(here.relations()) == {Relation(BROKER, 501, 43)}
    assert here.sent()[:2] == ["create", "delete"]
    assert not here.simulator.violations("token-acme")


def test_a_sole_broker_stays_when_its_successor_cannot_be_linked(world: Make) -> None:
    here = world(records=Records(missing=frozenset({("address", 43)})))
    here.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    here.accept(change("create", BROKER, 501, 43, at=-5), change("delete", BROKER, 501, 42, at=-4))
    here.drain()
    assert set(here.relations()) == {Relation(BROKER, 501, 42)}
    assert "delete" not in here.sent()
    create, delete = (here.store.get_job(receipt.job) for receipt in here.receipts)
    assert create.refusal[:2] == (80, "record")
    assert delete.refusal[1] == "dependency"


def test_one_successor_is_enough_for_a_broker_to_go(world: Make) -> None:
    here = world(records=Records(missing=frozenset({("address", 43)})))
    here.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    here.accept(
        change("create", BROKER, 501, 43),
        change("create", BROKER, 501, 44),
        change("delete", BROKER, 501, 42),
    )
    here.drain()
    assert set(here.relations()) == {Relation(BROKER, 501, 44)}
    assert not here.simulator.violations("token-acme")


def test_a_unit_leaves_its_old_building_before_it_enters_the_new_one(world: Make) -> None:
    here = world()
    here.simulator.seed("token-acme", [Relation(UNIT, 1, 70)])
    here.accept(change("create", UNIT, 2, 70, at=-5), change("delete", UNIT, 1, 70, at=-4))
    here.drain()
    assert here.sent() == ["delete", "create"]
    assert set(here.relations()) == {Relation(UNIT, 2, 70)}


def test_a_viewing_appointment_ends_with_its_last_confirmation(world: Make) -> None:
    here = world()
    here.accept(
        change("create", APPOINTMENT, 77, 1, 2, at=-9), change("create", "calendar:estate", 77, 501, at=-9)
    )
    for n, value in enumerate(("gesendet", "bestätigt", "gecancelt")):
        here.accept(change("modify", APPOINTMENT, 77, 1, 2, at=-8 + n, info=((INFO, value),)))
    here.accept(change("modify", APPOINTMENT, 77, 2, at=-3, info=(("statusTerminrueckmeldung", "aktiv"),)))
    here.drain()
    assert here.relations()[Relation(APPOINTMENT, 77, 1)] == {INFO: "gecancelt"}
    assert here.relations()[Relation(APPOINTMENT, 77, 2)] == {
        INFO: "gecancelt",
        "statusTerminrueckmeldung": "aktiv",
    }
    assert states(here) == ["succeeded", "succeeded", "superseded", "superseded", "succeeded", "succeeded"]


def test_an_import_links_all_good_units_and_names_the_bad_one(world: Make) -> None:
    here = world(
        records=Records(missing=frozenset({("estate", 7777)})),
        lane={"limits": Limits(max_ids=500, max_actions=50)},
    )
    rows = [(1, 100 + n) for n in range(119)] + [(1, 7777)] + [(1, 100 + n) for n in range(6)]
    here.accept(
        *(
            change("create", UNIT, parent, child, event_id=f"row-{at}")
            for at, (parent, child) in enumerate(rows)
        )
    )
    here.drain()
    assert set(here.relations()) == {Relation(UNIT, 1, 100 + n) for n in range(119)}
    failed = [job for receipt in here.receipts if (job := here.store.get_job(receipt.job)).state == "failed"]
    assert [(job.failed, job.refusal[0]) for job in failed] == [((Relation(UNIT, 1, 7777),), 80)]
    assert here.store.counts("acme")["requests"] <= 1 + 2 * 7  # 2·⌈log₂ 120⌉ more than without the bad one


def test_a_lost_answer_is_read_back_and_nothing_is_created_twice(world: Make) -> None:
    here = world(faults=FaultPlan.script(["lost_after"]))
    here.accept(
        change("create", "estate:address:owner", 501, 9001),
        change("create", "estate:address:owner", 501, 9001),
    )
    here.drain()
    assert here.sent() == ["create", "get"]
    assert states(here) == ["succeeded", "succeeded"]


def test_a_request_that_never_arrived_is_read_back_and_sent_again(world: Make) -> None:
    here = world(faults=FaultPlan.script(["lost_before"]))
    here.accept(change("create", "estate:address:owner", 501, 9001))
    here.drain()
    assert here.sent() == ["get", "create"]


def test_a_newer_wish_waits_until_a_write_in_doubt_can_no_longer_land(world: Make) -> None:
    here = world(faults=FaultPlan.script([InjectedFault("late", 100.0)]))
    here.accept(change("create", BUYER, 501, 9001))
    here.flush()
    here.accept(change("delete", BUYER, 501, 9001))
    begun = here.clock.now()
    here.drain()
    assert here.relations() == {}
    assert here.clock.now() - begun > 119e6
    assert states(here) == ["superseded", "succeeded"]


def test_info_is_set_even_if_a_lost_create_lands_between_the_read_and_the_next_create(world: Make) -> None:
    here = world(
        faults=FaultPlan.script([InjectedFault("late", 20.0), None, InjectedFault("throttle", 30.0)])
    )
    here.accept(change("create", APPOINTMENT, 77, 1, info=((INFO, "gesendet"),)))
    here.drain()
    assert here.sent() == ["get", "create", "create", "modify"]
    assert here.relations() == {Relation(APPOINTMENT, 77, 1): {INFO: "gesendet"}}


@pytest.mark.parametrize("absent_delete", ["168", "ok"])
def test_unlinking_what_is_not_linked_succeeds(world: Make, absent_delete: str) -> None:
    here = world(switches=Switches(absent_delete=absent_delete))
    here.accept(change("delete", BUYER, 501, 9001))
    here.drain()
    assert states(here) == ["succeeded"]


@pytest.mark.parametrize("duplicate_create", ["ok", "78", "173"])
@pytest.mark.parametrize("empty_ids", ["list", "absent", "no_records"])
def test_linking_what_is_linked_succeeds(world: Make, duplicate_create: str, empty_ids: str) -> None:
    here = world(switches=Switches(duplicate_create=duplicate_create, empty_ids=empty_ids))
    here.simulator.seed("token-acme", [Relation(BUYER, 501, 9001)])
    here.accept(change("create", BUYER, 501, 9001))
    here.drain()
    assert states(here) == ["succeeded"]


def test_a_modify_of_what_is_not_there_is_tried_for_a_while_and_fails(world: Make) -> None:
    here = world()
    here.accept(change("modify", APPOINTMENT, 77, 1, info=((INFO, "gesendet"),)))
    here.drain()
    assert states(here) == ["failed"]
    assert here.store.get_job(here.receipts[0].job).refusal[:2] == (180, "absent")
    assert here.sent() == ["modify"] * 8


def test_a_modify_that_comes_before_its_create_is_applied_in_the_end(world: Make) -> None:
    here = world()
    here.accept(change("modify", APPOINTMENT, 77, 1, at=-1, info=((INFO, "gesendet"),)))
    here.flush()
    here.accept(change("create", APPOINTMENT, 77, 1, at=-2))
    here.drain()
    assert here.relations() == {Relation(APPOINTMENT, 77, 1): {INFO: "gesendet"}}
    assert states(here) == ["succeeded", "succeeded"]


def test_a_modify_may_create_where_the_operator_says_so(world: Make) -> None:
    here = world(lane={"retry": RetryPolicy(upsert=True)})
    here.accept(
        change("modify", APPOINTMENT, 77, 1, info=((INFO, "gesendet"), ("statusTerminrueckmeldung", "aktiv")))
    )
    here.drain()
    assert here.relations() == {
        Relation(APPOINTMENT, 77, 1): {INFO: "gesendet", "statusTerminrueckmeldung": "aktiv"}
    }
    assert here.sent() == ["modify", "create", "modify"]


def test_one_bad_id_of_a_full_star_fails_alone(world: Make) -> None:
    here = world(
        records=Records(missing=frozenset({("address", 9123)})),
        lane={"limits": Limits(max_ids=500, max_actions=50)},
    )
    here.accept(change("create", BUYER, 501, *range(9000, 9500)))
    here.drain()
    assert len(here.relations()) == 499
    job = here.store.get_job(here.receipts[0].job)
    assert (job.state, job.failed, job.counts["applied"]) == ("failed", (Relation(BUYER, 501, 9123),), 499)
    assert here.store.counts("acme")["requests"] <= 1 + 2 * 9


def test_failed_relations_can_be_replayed_and_only_they(world: Make) -> None:
    here = world(records=Records(missing=frozenset({("address", 9002)})))
    here.accept(change("create", BUYER, 501, 9001, 9002))
    here.drain()
    here.simulator.seed("token-acme", [], records=Records())
    job = here.receipts[0].job
    assert requeue(here.intake, "acme", [job]) == [job]
    assert requeue(here.intake, "acme", [job]) == [
        job
    ]  # a repeated call answers the same and does nothing more
    here.drain()
    assert set(here.relations()) == {Relation(BUYER, 501, 9001), Relation(BUYER, 501, 9002)}
    assert here.store.get_job(job).counts == {"applied": 2, "superseded": 0, "stale": 0, "failed": 0}
    assert here.store.failed_jobs("acme", limit=9) == []


def test_a_late_change_is_stale_and_says_against_which(world: Make) -> None:
    here = world()
    here.accept(change("delete", BUYER, 501, 9001, at=-1))
    here.drain()
    here.accept(change("create", BUYER, 501, 9001, at=-2))
    here.drain()
    assert states(here) == ["succeeded", "superseded"]
    assert here.store.get_job(here.receipts[1].job).by == here.receipts[0].job
    assert here.relations() == {}


def test_a_merged_target_that_fails_is_tried_without_its_newest_wish(world: Make) -> None:
    here = world()
    here.accept(
        change("create", APPOINTMENT, 77, 1, at=-2),
        change("modify", APPOINTMENT, 77, 1, at=-1, info=(("unheard-of", "x"),)),
    )
    here.drain()
    assert here.relations() == {Relation(APPOINTMENT, 77, 1): {}}
    assert states(here) == ["succeeded", "failed"]


def test_rejected_credentials_pause_the_account_once_and_keep_its_jobs(world: Make) -> None:
    here = world(accounts=("acme", "other"))
    here.simulator.account("token-acme", "rotated")
    here.accept(change("create", BUYER, 501, 9001), change("create", BUYER, 501, 9001, account="other"))
    for _ in range(3):
        here.flush("acme")
        here.flush("other")
        here.clock.sleep(60)
    assert here.store.get_pause("acme").reason == "credentials"
    assert [event for event, _ in here.events].count("account.paused") == 1
    assert here.relations("other") == {Relation(BUYER, 501, 9001): {}}
    assert here.store.get_job(here.receipts[0].job).state == "sending"
    here.simulator.account("token-acme", "secret")
    here.store.resume("acme")
    here.drain()
    assert states(here) == ["succeeded", "succeeded"]


def test_retry_after_is_obeyed_to_the_second(world: Make) -> None:
    here = world(faults=FaultPlan.script([InjectedFault("throttle", 37.0)]))
    here.accept(change("create", BUYER, 501, 9001))
    begun = here.clock.now()
    here.drain()
    assert 37e6 <= here.clock.now() - begun < 40e6
    assert states(here) == ["succeeded"]


def test_an_outage_opens_the_breaker_and_loses_nothing(world: Make) -> None:
    here = world(faults=FaultPlan.script(["gateway_before"] * 12))
    here.accept(*(change("create", BUYER, 501 + n, 9001 + n) for n in range(40)))
    here.drain()
    assert set(states(here)) == {"succeeded"}
    assert len(here.relations()) == 40


def test_what_comes_in_during_a_flush_waits_for_company_too(world: Make) -> None:
    here = world(lane={"window": 1.0})
    here.accept(change("create", BUYER, 501, 9001))
    inner = here.apis["acme"]

    class Busy:
        """An API during whose answer another change comes in."""

        def send(self, *args: object, **kwargs: object) -> object:
            here.apis["acme"] = inner
            here.clock.sleep(0.4)
            here.accept(change("create", BUYER, 502, 9002))
            here.clock.sleep(0.3)
            return inner.send(*args, **kwargs)

    here.apis["acme"] = Busy()
    assert here.flush().next_in == pytest.approx(0.7)
    assert states(here) == ["succeeded", "queued"]


def test_a_star_that_the_api_finds_too_large_is_split_and_said_loudly(world: Make) -> None:
    here = world(lane={"limits": Limits(max_ids=900, max_actions=50)})
    here.accept(
        change("create", BUYER, 501, *range(9000, 9400)), change("create", BUYER, 501, *range(9400, 9800))
    )
    here.drain()
    assert set(states(here)) == {"succeeded"}
    assert "plan.rejected" in [event for event, _ in here.events]
