"""What failed because a record was not found is replayed as it was, forced, or with another record (R26)."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from ops.explain.replay import describe_replay
from ops.simulator import Records
from producers.job_admin.selection import narrow
from producers.replay.resend import parse_correction
from tests.support.flow_world import World, change
from tests.support.references import BUYER, ESTATE, FIELDS, email, seed, wish
from tests.support.replaying import newest, replay, replays_of
from tests.support.store_steps import job_admin_of, queries_of
from worker.contract import Reference
from worker.ports.records import AuditEntry, JobFilter

OFFICE = email("office@example.test")  # two have it
NOBODY = email("nobody@example.test")
NOT_FOUND = JobFilter(state="failed", error="not_found")


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    made = make_world()
    made.policy = {"park_for": 600.0}
    seed(made, FIELDS)
    return made


def test_a_failed_look_up_is_replayed_as_it_was_and_looked_up_anew(world: World) -> None:
    world.accept(wish(NOBODY), wish(OFFICE))
    world.drain()
    [group, _] = queries_of(world.store).failure_groups("acme")
    assert (group.jobs, group.code, group.type) == (1, 0, BUYER)
    seed(world, {"address": {9010: {"email": "nobody@example.test"}}})
    done = replay(world, NOT_FOUND)
    assert (done.eligible, done.back, done.refused, done.plan["look_ups"]) == (1, 1, {}, 1)
    assert "of 1 job the records are looked up first" in "\n".join(describe_replay(done))
    world.drain()
    assert (world.job().state, world.job(1).state) == ("succeeded", "failed")
    assert world.linked() == {(501, 9010)}


def test_an_id_takes_the_place_of_what_was_not_found(world: World) -> None:
    world.accept(wish(NOBODY, at=5.0))
    world.drain()
    done = replay(world, [world.job().id], correction=parse_correction(["childid=9001"]))
    assert done.back == 1
    world.drain()
    new = newest(world)
    assert (new.state, world.linked()) == ("succeeded", {(501, 9001)})
    assert (new.replays, world.job().replayed_by, new.occurred_at) == (
        world.job().id,
        (new.id,),
        world.job().occurred_at,
    )
    assert {each.reference: each.record for each in new.references} == {ESTATE: 501}
    assert queries_of(world.store).failure_groups("acme") == []
    assert replay(world, [world.job().id]).refused == {"replaced": 1}


def test_another_reference_takes_its_place_and_its_value_is_not_kept_with_the_replay(world: World) -> None:
    world.accept(wish(NOBODY))
    world.drain()
    correction = parse_correction(["childid=address:email=anna@example.test"])
    done = replay(world, [world.job().id], correction=correction)
    assert done.correction == {"childid": "address by email"}
    assert done.plan["look_ups"] == 1
    world.drain()
    assert world.linked() == {(501, 9001)}


def test_a_forced_replay_keeps_references_and_what_a_person_chose(world: World) -> None:
    world.accept(wish(NOBODY, OFFICE, at=5.0))
    world.flush()
    entry = AuditEntry(world.new_id(), "ada", "resolved")
    job_admin_of(world.store).resolve("acme", [world.job().id], {OFFICE: 9004}, entry)
    world.drain()
    assert world.job().state == "failed"
    seed(world, {"address": {9010: {"email": "nobody@example.test"}}})
    assert replay(world, [world.job().id], forced=True).back == 1
    world.drain()
    assert world.linked() == {(501, 9004), (501, 9010)}


def test_one_record_in_place_of_several_would_lose_the_others_and_is_refused(world: World) -> None:
    world.accept(wish(NOBODY, OFFICE))
    world.drain()
    done = replay(world, [world.job().id], correction=parse_correction(["childid=9001"]))
    assert done.refused == {"invalid": 1}
    assert "2 records stand there" in done.examples[world.job().id]
    assert replay(world, [world.job().id], correction=parse_correction(["childid=9001,9002"])).back == 1
    world.drain()
    assert world.linked() == {(501, 9001), (501, 9002)}


def test_beside_an_id_an_error_says_which_failure_is_meant(world: World) -> None:
    world.accept(wish(NOBODY))
    world.drain()
    for error, refused in (("several", {"other relations": 1}), ("not_found", {})):
        selection = narrow([world.job().id], JobFilter(error=error))
        assert replays_of(world).prepare("acme", selection, by="ada").refused == refused


@pytest.mark.parametrize("text", ["address:email=a@b.c", "7,address:email=a@b.c,address:KdNr=00815"])
def test_a_correction_names_ids_and_references(text: str) -> None:
    expected: Mapping[str, Any] = {
        "address:email=a@b.c": "address:email=a@b.c",
        "7,address:email=a@b.c,address:KdNr=00815": [7, "address:email=a@b.c", "address:KdNr=00815"],
    }
    assert parse_correction([f"childid={text}"]) == {"childid": expected[text]}


def test_a_replace_of_parents_that_is_sent_anew_as_a_whole_is_still_one_of_parents(world: World) -> None:
    world.simulator.seed("token-acme", [(BUYER, 501, 9001), (BUYER, 501, 9002), (BUYER, 502, 9001)])
    unknown = Reference("estate", (("objektnr_extern", "unknown"),))
    asked = wish(9001, estate=unknown, action="replace")
    world.accept(msgspec.structs.replace(asked, replaces="parent"))
    world.drain()
    assert world.job().state == "failed"
    correction = parse_correction(["parentid=502"])
    assert replay(world, [world.job().id], correction=correction, forced=True).back == 1
    world.drain()
    assert world.linked() == {(501, 9002), (502, 9001)}


def test_a_part_of_a_replace_that_is_sent_anew_removes_nothing(make_world: Callable[..., World]) -> None:
    world = make_world(records=Records(missing=frozenset({("address", 9)})))
    world.simulator.seed("token-acme", [(BUYER, 501, 1)])
    world.accept(msgspec.structs.replace(change("replace", BUYER, 501, 9, 3), replaces="child"))
    world.drain()
    assert world.job().state == "failed"
    world.simulator.seed("token-acme", records=Records())
    assert replay(world, [world.job().id], forced=True).back == 1
    world.drain()
    assert (newest(world).action, newest(world).state) == ("create", "succeeded")
    assert world.linked() == {(501, 1), (501, 3), (501, 9)}
