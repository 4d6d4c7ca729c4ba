"""What producers really send, and what the CRM must have in the end."""

from collections.abc import Callable

import pytest

from ops.simulator import FaultPlan, InjectedFault, Records, Switches
from tests.support.flow_world import INFO, World, change, states
from worker.contract import Relation
from worker.planner.plan import Limits
from worker.planner.retry_policy import RetryPolicy
from worker.usecases.replay import requeue

Make = Callable[..., World]
INTERESTED, BROKER, UNIT = "estate:address:interested", "estate:address:contactPerson", "estate:estateUnit"
APPOINTMENT, BUYER = "calendar:address", "estate:address:buyer"


def test_a_portal_burst_of_18_messages_is_3_actions_in_1_request(make_world: Make) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(INTERESTED, 501, 9007)])  # linked by an earlier window
    enquiries = [change("create", INTERESTED, 501, 9000 + n, at=-60 + n, event_id=f"e{n}") for n in range(12)]
    world.accept(*enquiries, enquiries[3])  # one webhook is delivered twice with the same id
    world.accept(
        change("create", INTERESTED, 501, 9005, at=-40, source="portal-b")
    )  # one person, two portals
    world.accept(change("delete", INTERESTED, 501, 9007, at=-30))  # one was spam
    world.accept(*(change("create", INTERESTED, 502, 9000 + n, at=-20 + n) for n in range(3)))
    assert len(world.receipts) == 18
    result = world.flush()
    assert (result.actions, result.requests) == (3, 1)
    assert result.actions == result.least
    world.drain()
    wanted = {Relation(INTERESTED, 501, 9000 + n) for n in range(12) if n != 7} | {
        Relation(INTERESTED, 502, 9000 + n) for n in range(3)
    }
    assert set(world.relations()) == wanted
    assert world.receipts[12].duplicate
    assert world.receipts[12].job == world.receipts[3].job
    assert world.job(7).state == "superseded"
    assert world.job(7).by == world.receipts[14].job


def test_eleven_deletes_of_one_estate_are_1_request(make_world: Make) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(INTERESTED, 501, 9000 + n) for n in range(11)])
    world.accept(*(change("delete", INTERESTED, 501, 9000 + n) for n in range(11)))
    result = world.flush()
    assert (result.actions, result.requests) == (11, 1)
    world.drain()
    assert set(states(world)) == {"succeeded"}


@pytest.mark.parametrize("separately", [False, True], ids=["in one window", "in two"])
def test_a_sole_broker_is_replaced_before_it_is_removed(make_world: Make, separately: bool) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    world.accept(change("delete", BROKER, 501, 42, at=-5))
    world.accept(change("create", BROKER, 501, 43, at=-4))
    if separately:
        world.policy = {"max_batch": 1}
    world.drain()
    assert set(world.relations()) == {Relation(BROKER, 501, 43)}
    assert [kind for kind in world.sent() if kind != "get"] == ["create", "delete"]
    assert not world.simulator.violations("token-acme")


def test_a_sole_broker_stays_when_its_successor_cannot_be_linked(make_world: Make) -> None:
    world = make_world(records=Records(missing=frozenset({("address", 43)})))
    world.simulator.seed("token-acme", [Relation(BROKER, 501, 42)])
    world.accept(change("create", BROKER, 501, 43, at=-5), change("delete", BROKER, 501, 42, at=-4))
    world.drain()
    assert set(world.relations()) == {Relation(BROKER, 501, 42)}
    assert "delete" not in world.sent()
    create, delete = world.jobs()
    assert create.refusal[:2] == (80, "record")
    assert delete.refusal[1] == "last_one"


def test_a_unit_leaves_its_old_building_before_it_enters_the_new_one(make_world: Make) -> None:
    world = make_world()
    world.simulator.seed("token-acme", [Relation(UNIT, 1, 70)])
    world.accept(change("create", UNIT, 2, 70, at=-5), change("delete", UNIT, 1, 70, at=-4))
    world.drain()
    assert world.sent() == ["delete", "get", "create"]
    assert set(world.relations()) == {Relation(UNIT, 2, 70)}


def test_a_viewing_appointment_ends_with_its_last_confirmation(make_world: Make) -> None:
    world = make_world()
    world.accept(
        change("create", APPOINTMENT, 77, 1, 2, at=-9), change("create", "calendar:estate", 77, 501, at=-9)
    )
    for n, value in enumerate(("gesendet", "bestätigt", "gecancelt")):
        world.accept(change("modify", APPOINTMENT, 77, 1, 2, at=-8 + n, info=((INFO, value),)))
    world.accept(change("modify", APPOINTMENT, 77, 2, at=-3, info=(("statusTerminrueckmeldung", "aktiv"),)))
    world.drain()
    assert world.relations()[Relation(APPOINTMENT, 77, 1)] == {INFO: "gecancelt"}
    assert world.relations()[Relation(APPOINTMENT, 77, 2)] == {
        INFO: "gecancelt",
        "statusTerminrueckmeldung": "aktiv",
    }
    assert states(world) == ["succeeded", "succeeded", "superseded", "superseded", "succeeded", "succeeded"]


def test_an_import_links_all_good_units_and_names_the_bad_one(make_world: Make) -> None:
    world = make_world(
        records=Records(missing=frozenset({("estate", 7777)})),
        policy={"limits": Limits(max_ids=500, max_actions=50)},
    )
    rows = [(1, 100 + n) for n in range(119)] + [(1, 7777)] + [(1, 100 + n) for n in range(6)]
    world.accept(
        *(
            change("create", UNIT, parent, child, event_id=f"row-{at}")
            for at, (parent, child) in enumerate(rows)
        )
    )
    world.drain()
    assert set(world.relations()) == {Relation(UNIT, 1, 100 + n) for n in range(119)}
    failed = [job for job in world.jobs() if job.state == "failed"]
    assert [(job.failed, job.refusal[0]) for job in failed] == [((Relation(UNIT, 1, 7777),), 80)]
    assert world.store.counts("acme")["requests"] <= 1 + 2 * 7  # 2·⌈log₂ 120⌉ more than without the bad one


def test_a_lost_answer_is_read_back_and_nothing_is_created_twice(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script(["lost_after"]))
    world.accept(
        change("create", "estate:address:owner", 501, 9001),
        change("create", "estate:address:owner", 501, 9001),
    )
    world.drain()
    assert world.sent() == ["create", "get"]
    assert states(world) == ["succeeded", "succeeded"]


def test_a_request_that_never_arrived_is_read_back_and_sent_again(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script(["lost_before"]))
    world.accept(change("create", "estate:address:owner", 501, 9001))
    world.drain()
    assert world.sent() == ["get", "create"]


def test_a_newer_wish_waits_until_a_write_in_doubt_can_no_longer_land(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script([InjectedFault("late", 100.0)]))
    world.accept(change("create", BUYER, 501, 9001))
    world.flush()
    world.accept(change("delete", BUYER, 501, 9001))
    begun = world.clock.now()
    world.drain()
    assert world.relations() == {}
    assert world.clock.now() - begun > 119e6
    assert states(world) == ["superseded", "succeeded"]


def test_info_is_set_even_if_a_lost_create_lands_between_the_read_and_the_next_create(
    make_world: Make,
) -> None:
    world = make_world(
        faults=FaultPlan.script([InjectedFault("late", 20.0), None, InjectedFault("throttle", 30.0)])
    )
    world.accept(change("create", APPOINTMENT, 77, 1, info=((INFO, "gesendet"),)))
    world.drain()
    assert world.sent() == ["get", "create", "create", "modify"]
    assert world.relations() == {Relation(APPOINTMENT, 77, 1): {INFO: "gesendet"}}


@pytest.mark.parametrize("absent_delete", ["168", "ok"])
def test_deleting_what_is_not_there_succeeds(make_world: Make, absent_delete: str) -> None:
    world = make_world(switches=Switches(absent_delete=absent_delete))
    world.accept(change("delete", BUYER, 501, 9001))
    world.drain()
    assert states(world) == ["succeeded"]


@pytest.mark.parametrize("duplicate_create", ["ok", "78", "173"])
@pytest.mark.parametrize("empty_ids", ["list", "absent", "no_records"])
def test_creating_what_is_there_succeeds(make_world: Make, duplicate_create: str, empty_ids: str) -> None:
    world = make_world(switches=Switches(duplicate_create=duplicate_create, empty_ids=empty_ids))
    world.simulator.seed("token-acme", [Relation(BUYER, 501, 9001)])
    world.accept(change("create", BUYER, 501, 9001))
    world.drain()
    assert states(world) == ["succeeded"]


def test_a_modify_of_what_is_not_there_is_tried_for_a_while_and_fails(make_world: Make) -> None:
    world = make_world()
    world.accept(change("modify", APPOINTMENT, 77, 1, info=((INFO, "gesendet"),)))
    world.drain()
    assert states(world) == ["failed"]
    assert world.job().refusal[:2] == (180, "absent")
    assert world.sent() == ["modify"] * 8


def test_a_modify_that_comes_before_its_create_is_applied_in_the_end(make_world: Make) -> None:
    world = make_world()
    world.accept(change("modify", APPOINTMENT, 77, 1, at=-1, info=((INFO, "gesendet"),)))
    world.flush()
    world.accept(change("create", APPOINTMENT, 77, 1, at=-2))
    world.drain()
    assert world.relations() == {Relation(APPOINTMENT, 77, 1): {INFO: "gesendet"}}
    assert states(world) == ["succeeded", "succeeded"]


def test_a_modify_may_create_where_the_operator_says_so(make_world: Make) -> None:
    world = make_world(policy={"retry": RetryPolicy(upsert=True)})
    world.accept(
        change("modify", APPOINTMENT, 77, 1, info=((INFO, "gesendet"), ("statusTerminrueckmeldung", "aktiv")))
    )
    world.drain()
    assert world.relations() == {
        Relation(APPOINTMENT, 77, 1): {INFO: "gesendet", "statusTerminrueckmeldung": "aktiv"}
    }
    assert world.sent() == ["modify", "create", "modify"]


def test_one_bad_id_of_a_full_star_fails_alone(make_world: Make) -> None:
    world = make_world(
        records=Records(missing=frozenset({("address", 9123)})),
        policy={"limits": Limits(max_ids=500, max_actions=50)},
    )
    world.accept(change("create", BUYER, 501, *range(9000, 9500)))
    world.drain()
    assert len(world.relations()) == 499
    job = world.job()
    assert (job.state, job.failed, job.counts["applied"]) == ("failed", (Relation(BUYER, 501, 9123),), 499)
    assert world.store.counts("acme")["requests"] <= 1 + 2 * 9


def test_failed_relations_can_be_replayed_and_only_they(make_world: Make) -> None:
    world = make_world(records=Records(missing=frozenset({("address", 9002)})))
    world.accept(change("create", BUYER, 501, 9001, 9002))
    world.drain()
    world.simulator.seed("token-acme", [], records=Records())
    job = world.receipts[0].job
    assert requeue(world.intake, "acme", [job]) == [job]
    assert requeue(world.intake, "acme", [job]) == [
        job
    ]  # a repeated call returns the same and does nothing more
    world.drain()
    assert set(world.relations()) == {Relation(BUYER, 501, 9001), Relation(BUYER, 501, 9002)}
    assert world.store.get_job(job).counts == {"applied": 2, "superseded": 0, "stale": 0, "failed": 0}
    assert world.store.failed_jobs("acme", limit=9) == []


def test_a_late_change_is_stale_and_names_the_newer_one(make_world: Make) -> None:
    world = make_world()
    world.accept(change("delete", BUYER, 501, 9001, at=-1))
    world.drain()
    world.accept(change("create", BUYER, 501, 9001, at=-2))
    world.drain()
    assert states(world) == ["succeeded", "superseded"]
    assert world.job(1).by == world.receipts[0].job
    assert world.relations() == {}


def test_a_merged_target_that_fails_is_tried_without_its_newest_intent(make_world: Make) -> None:
    world = make_world()
    world.accept(
        change("create", APPOINTMENT, 77, 1, at=-2),
        change("modify", APPOINTMENT, 77, 1, at=-1, info=(("unheard-of", "x"),)),
    )
    world.drain()
    assert world.relations() == {Relation(APPOINTMENT, 77, 1): {}}
    assert states(world) == ["succeeded", "failed"]


def test_rejected_credentials_pause_the_account_once_and_keep_its_jobs(make_world: Make) -> None:
    world = make_world(accounts=("acme", "other"))
    world.simulator.account("token-acme", "rotated")
    world.accept(change("create", BUYER, 501, 9001), change("create", BUYER, 501, 9001, account="other"))
    for _ in range(3):
        world.flush("acme")
        world.flush("other")
        world.clock.advance(60)
    assert world.store.get_pause("acme").reason == "credentials"
    assert [event for event, _ in world.events].count("account.paused") == 1
    assert world.relations("other") == {Relation(BUYER, 501, 9001): {}}
    assert world.job().state == "held"
    world.simulator.account("token-acme", "secret")
    world.store.resume("acme")
    world.drain()
    assert states(world) == ["succeeded", "succeeded"]


def test_retry_after_is_obeyed_to_the_second(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script([InjectedFault("throttle", 37.0)]))
    world.accept(change("create", BUYER, 501, 9001))
    begun = world.clock.now()
    world.drain()
    assert 37e6 <= world.clock.now() - begun < 40e6
    assert states(world) == ["succeeded"]


def test_an_outage_opens_the_breaker_and_loses_nothing(make_world: Make) -> None:
    world = make_world(faults=FaultPlan.script(["gateway_before"] * 12))
    world.accept(*(change("create", BUYER, 501 + n, 9001 + n) for n in range(40)))
    world.drain()
    assert set(states(world)) == {"succeeded"}
    assert len(world.relations()) == 40


def test_what_comes_in_during_a_flush_waits_for_company_too(make_world: Make) -> None:
    world = make_world(policy={"window": 1.0})
    world.accept(change("create", BUYER, 501, 9001))
    inner = world.apis["acme"]

    class Busy:
        """An API during whose answer another change comes in."""

        def send(self, *args: object, **kwargs: object) -> object:
            world.apis["acme"] = inner
            world.clock.advance(0.4)
            world.accept(change("create", BUYER, 502, 9002))
            world.clock.advance(0.3)
            return inner.send(*args, **kwargs)

    world.apis["acme"] = Busy()
    assert world.flush().next_in == pytest.approx(0.7)
    assert states(world) == ["succeeded", "queued"]


def test_a_star_that_the_api_finds_too_large_is_split_and_reported(make_world: Make) -> None:
    world = make_world(policy={"limits": Limits(max_ids=900, max_actions=50)})
    world.accept(
        change("create", BUYER, 501, *range(9000, 9400)), change("create", BUYER, 501, *range(9400, 9800))
    )
    world.drain()
    assert set(states(world)) == {"succeeded"}
    assert "plan.rejected" in [event for event, _ in world.events]
