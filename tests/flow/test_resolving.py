"""People say which record a reference is, or that it is looked up now; the change goes on at once (R26)."""

from collections.abc import Callable, Mapping
from datetime import UTC

import pytest

from ops.dev.stream import JobStream
from ops.explain import explain
from ops.explain.text import format_instant
from ops.lookups import collect_evidence
from producers.job_admin.resolve import RecordChoice, ReferenceService, find_choice
from tests.support.flow_world import World, change, generous_policy
from tests.support.references import BUYER, ESTATE, FIELDS, address, email, seed, wish
from tests.support.store_steps import count_by_state, job_admin_of, metrics_of, queries_of
from worker.contract import Reference, Relation
from worker.errors import InvalidChange
from worker.ports.job_admin import AdminResult
from worker.ports.pace import Pause, Waiting
from worker.ports.records import AuditEntry, JobFilter
from worker.ports.references import LookUpResult, Parking
from worker.usecases.waiting import FULL_PACE, AccountView, why_job_waits

OFFICE = email("office@example.test")  # two have it
NOBODY = email("nobody@example.test")


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    made = make_world()
    seed(made, FIELDS)
    return made


def resolve(world: World, records: Mapping[Reference, int], *numbers: int, by: str = "ada") -> AdminResult:
    jobs = [world.receipts[number].job for number in numbers or (0,)]
    entry = AuditEntry(world.new_id(), by, "resolved", "ids")
    return job_admin_of(world.store).resolve("acme", jobs, records, entry)


def look_up_now(world: World, *numbers: int) -> AdminResult:
    jobs = [world.receipts[number].job for number in numbers or (0,)]
    return job_admin_of(world.store).look_up_now("acme", jobs, AuditEntry(world.new_id(), "ada", "looked up"))


@pytest.mark.parametrize("is_flushed", [False, True])
def test_a_change_goes_on_with_the_record_that_a_person_chose(world: World, is_flushed: bool) -> None:
    world.accept(wish(OFFICE))
    if is_flushed:
        world.flush()
    result = resolve(world, {OFFICE: 9004, **({} if is_flushed else {ESTATE: 501})})
    assert result.done == (world.job().id,)
    assert (world.job().state, world.job().parked) == ("queued", None)
    world.drain()
    assert world.linked() == {(501, 9004)}
    chosen = world.job().references[-1]
    assert (chosen.record, chosen.by) == (9004, "ada")
    assert count_by_state(metrics_of(world.store), "acme")["parked"] == 0


def test_a_failed_one_goes_back_with_the_record_that_a_person_chose(world: World) -> None:
    world.policy = {"park_for": 600.0}
    world.accept(wish(NOBODY, batch="b"))
    world.drain()
    assert world.job().state == "failed"
    assert resolve(world, {NOBODY: 9001}).done
    assert world.store.failed_jobs("acme", limit=10) == []
    world.drain()
    assert (world.job().state, world.linked()) == ("succeeded", {(501, 9001)})
    assert world.store.batch_counts("acme", "b") == {"accepted": 1, "succeeded": 1}


def test_what_is_still_to_be_found_is_looked_up_at_once(world: World) -> None:
    world.accept(wish(OFFICE, NOBODY))
    world.flush()
    seed(world, {"address": {9010: {"email": "nobody@example.test"}}})
    assert resolve(world, {OFFICE: 9003}).done
    assert world.job().state == "parked"
    world.flush()
    assert world.linked() == {(501, 9003), (501, 9010)}


def test_choosing_again_changes_nothing_and_otherwise_is_refused(world: World) -> None:
    world.accept(wish(OFFICE))
    world.flush()
    for _ in range(2):
        assert resolve(world, {OFFICE: 9003}).done
    assert resolve(world, {OFFICE: 9004}).refused == {world.job().id: "queued"}
    world.drain()
    assert resolve(world, {OFFICE: 9003}).done
    assert resolve(world, {OFFICE: 9004}).refused == {world.job().id: "succeeded"}
    assert world.linked() == {(501, 9003)}
    page = job_admin_of(world.store).audit_log("acme")
    assert sum(entry.count for entry in page.entries) == 1


def test_only_references_that_a_job_has_and_lacks_are_chosen(world: World) -> None:
    world.accept(wish(OFFICE), wish(9001, estate=501), wish(NOBODY))
    world.flush()
    refused = resolve(world, {OFFICE: 9003}, 0, 1, 2).refused
    assert refused == {world.job(1).id: "succeeded", world.job(2).id: "of other references"}
    world.flush()
    assert (501, 9003) in world.linked()
    assert world.job(2).state == "parked"


def test_a_choice_holds_for_its_job_alone(world: World) -> None:
    world.accept(wish(OFFICE), wish(OFFICE, estate=502))
    world.flush()
    resolve(world, {OFFICE: 9003})
    world.clock.advance(7200.0)
    world.flush()
    world.accept(wish(OFFICE, estate=501, action="delete"))
    world.flush()
    assert [world.job(number).state for number in range(3)] == ["succeeded", "parked", "parked"]


def test_a_person_and_a_look_up_at_once_are_one_record(world: World) -> None:
    """A look-up that is under way when a person chooses finds the job resolved, and leaves it alone."""
    world.accept(wish(OFFICE))
    lease = world.store.lease("acme", "w")
    assert lease
    lease.read(max_jobs=10, max_relations=10)
    batch = lease.read_look_ups(10)
    assert resolve(world, {OFFICE: 9003, ESTATE: 501}).done
    parked = Parking(batch.now, batch.now + 60_000_000, 1, "none")
    lease.write_look_ups([LookUpResult(batch.jobs[0].job, {}, batch.now, parked)], {}, memory=3600.0)
    lease.release()
    assert world.job().state == "queued"
    world.drain()
    assert world.linked() == {(501, 9003)}


def test_a_parked_change_is_looked_up_now(world: World) -> None:
    world.accept(wish(NOBODY), wish(9001, estate=501))
    world.flush()
    seed(world, {"address": {9010: {"email": "nobody@example.test"}}})
    world.flush()
    assert world.job().state == "parked"
    result = look_up_now(world, 0, 1)
    assert (result.done, result.refused) == ((world.job().id,), {world.job(1).id: "succeeded"})
    world.flush()
    assert (501, 9010) in world.linked()


def test_jobs_are_listed_by_a_reference(world: World) -> None:
    world.accept(wish(OFFICE), wish(address(email="office@example.test", KdNr="1")), wish(NOBODY))
    world.flush()
    found = queries_of(world.store).find_jobs("acme", JobFilter(reference=OFFICE)).entries
    assert {each.id for each in found} == {world.job(0).id, world.job(1).id}
    by_estate = queries_of(world.store).find_jobs("acme", JobFilter(reference=ESTATE, state="parked")).entries
    assert len(by_estate) == 3


def test_the_order_of_what_happened_holds_for_what_was_chosen(world: World) -> None:
    world.accept(wish(OFFICE, at=10.0))
    world.flush()
    world.accept(change("delete", BUYER, 501, 9003, at=20.0))
    world.flush()
    resolve(world, {OFFICE: 9003})
    world.drain()
    assert world.linked() == set()
    assert world.job().counts["stale"] == 1


def test_why_a_change_waits_for_its_records_is_said_and_for_how_long(world: World) -> None:
    world.accept(wish(OFFICE))
    before = why_waits(world)
    world.flush()
    parked = world.job().parked
    assert parked
    after = why_waits(world)
    assert (before.reason, before.until) == ("reference", 0)
    assert before.message == "the next flush looks up: estate by objektnr_extern, address by email"
    assert (after.reason, after.until, after.message) == ("reference", parked.until, parked.message)
    world.store.pause("acme", Pause("hand"))
    assert why_waits(world).reason == "pause"


def why_waits(world: World) -> Waiting:
    queries = queries_of(world.store)
    view = AccountView("acme", queries.account_state("acme"), FULL_PACE, generous_policy("acme"))
    found = why_job_waits(view, world.job(), {})
    assert found
    return found


def test_an_explanation_says_which_reference_led_to_a_record_and_who_chose_it(world: World) -> None:
    world.accept(wish(OFFICE))
    world.flush()
    resolve(world, {OFFICE: 9003})
    world.drain()
    evidence = collect_evidence(
        world.store, queries_of(world.store), "acme", Relation(BUYER, 501, 9003), now=world.clock.now()
    )
    [explained] = explain(evidence, zone=UTC)["jobs"]
    at = world.job().references[0].asked_at
    assert (
        f"; parent estate:objektnr_extern=PC910 is 501, looked up {format_instant(at, UTC)}"
        in explained["text"]
    )
    assert "; child address:email=office@example.test is 9003, chosen by ada" in explained["text"]
    assert [(each["side"], each["chosen_by"]) for each in explained.get("references", [])] == [
        ("parent", None),
        ("child", "ada"),
    ]


def test_what_was_looked_for_stands_in_no_event_audit_entry_metric_or_line_of_the_stream(
    world: World,
) -> None:
    lines = list[str]()
    stream = JobStream(queries_of(world.store), world.accounts, lines.append)
    stream.look()
    world.accept(wish(OFFICE), wish(NOBODY))
    stream.look()
    world.flush()
    stream.look()
    service = ReferenceService(
        queries=queries_of(world.store),
        job_admin=job_admin_of(world.store),
        new_id=world.new_id,
        wake=lambda *_: None,
    )
    choice = RecordChoice(references={str(OFFICE): 9003})
    assert service.resolve("acme", world.job().id, choice, by="ada", everywhere=True).done
    assert service.look_up("acme", JobFilter(reference=NOBODY), by="ada").done == (world.job(1).id,)
    world.flush()
    stream.look()
    audited = job_admin_of(world.store).audit_log("acme").entries
    assert {each.act: each.count for each in audited} == {"resolved": 1, "looked up": 1}
    texts = repr((world.events, audited, lines))
    assert "address by email" in texts
    assert "(estate by objektnr_extern) → (address by email)" in lines[0]
    assert "parked" in texts
    assert "example.test" not in texts
    assert "PC910" not in texts


def test_a_choice_that_says_nothing_of_a_job_is_refused_with_what_the_job_has(world: World) -> None:
    world.accept(wish(OFFICE, NOBODY))
    world.flush()
    for choice, fault in (
        (RecordChoice(), "say which record it is"),
        (RecordChoice(parent=501), ""),
        (RecordChoice(parent=502), "no reference of the parent waits"),
        (RecordChoice(child=9003), "2 references of the child wait"),
        (
            RecordChoice(references={"address:KdNr=1": 9003}),
            "it has estate by objektnr_extern, address by email",
        ),
        (RecordChoice(references={"address:email=OFFICE@example.test": 9003}), ""),
    ):
        if not fault:
            assert len(find_choice(world.job(), choice)) == 1
            continue
        with pytest.raises(InvalidChange, match=fault):
            find_choice(world.job(), choice)
