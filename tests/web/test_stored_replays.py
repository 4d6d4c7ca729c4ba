"""Stored replays: jobs are judged, the plan is shown, and the run equals the preview or says why not."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from producers.job_admin.selection import narrow
from producers.replay import prepare
from producers.replay.resend import parse_correction
from producers.replay.service import ReplayService
from producers.services import build_services
from tests.support.http_front import KEYS, MISSING, SECRETS, YESTERDAY, Front
from worker.contract import Relation, from_message
from worker.contract.message import UNROUTED
from worker.errors import Invalid, InvalidChange, NotFound
from worker.ports.drift import DriftedRelation
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry, JobFilter
from worker.ports.replays import Replay
from worker.ports.store import UnreadableMessage
from worker.usecases.replay import PIECE, requeue

BUYERS = {"account": "acme", "action": "create", "relationtype": "estate:address:buyer", "parentid": 501}
FAILED, FAILED_OF_1 = JobFilter(state="failed"), JobFilter(state="failed", parent=1)


@pytest.fixture
def replays(front: Front) -> ReplayService:
    return build_services(front.runtime).replays


def send(front: Front, *changes: dict[str, Any], work: bool = True) -> list[str]:
    """Accept these changes and flush; return their jobs."""
    messages = [{**BUYERS, **change} for change in changes]
    receipts = front.runtime.intake().accept([from_message(message).change for message in messages])
    if work:
        front.drain()
    return [receipt.job for receipt in receipts]


def run(replays: ReplayService, replay: Replay) -> Replay:
    replays.start(replay.id, by="ada")
    return replays.run(replay.id)


@pytest.mark.parametrize("secret", [SECRETS["ACME_SECRET"], KEYS["portal"][0]])
def test_a_secret_is_refused_wherever_a_replay_would_keep_it(
    front: Front, replays: ReplayService, secret: str
) -> None:
    front.runtime.settings.account("acme").secret.reveal()
    drifted = DriftedRelation(Relation("estate:address:buyer", 1, 2), "missing", 1, secret, 2)
    replay = replays.prepare("acme", ["acme-1"], by="ada")
    acts: dict[str, Callable[[], object]] = {
        "jobs": lambda: replays.prepare("acme", ["a", "b", "c", "d", secret], by="ada"),
        "selection": lambda: replays.prepare("acme", ["acme-1", secret], by="ada"),
        "set": lambda: replays.prepare("acme", ["acme-1"], by="ada", correction={secret: ""}),
        "by": lambda: replays.start(replay.id, by=secret),
    }
    for name, act in acts.items():
        with pytest.raises(Invalid, match=f"{name}: holds a secret"):
            act()
    with pytest.raises(Invalid, match="jobs: holds a secret"):
        replays.prepare_repair("acme", [drifted], by="ada")
    assert [kept.id for kept in front.runtime.job_admin.list_replays("acme")] == [replay.id]
    assert replays.find(replay.id).state == "previewed"


def test_jobs_are_judged_one_by_one_and_the_plan_is_shown_before_anything_is_sent(
    front: Front, replays: ReplayService
) -> None:
    good, bad, worse, waiting = [
        *send(front, {"childid": 1}, {"childid": [2, MISSING]}, {"childid": MISSING}),
        *send(front, {"childid": 3}, work=False),
    ]
    requests = front.store.counts("acme")["requests"]
    replay = replays.prepare("acme", [good, bad, worse, waiting, "acme-gone", "beta-1", bad], by="ada")
    assert (replay.eligible, replay.relations, replay.refused) == (
        2,
        2,
        {"not failed": 2, "gone": 1, "foreign": 1},
    )
    assert replay.examples["acme-gone"] == "is not kept any more"
    assert (replay.state, replay.by, replay.paused) == ("previewed", "ada", "")
    shown = {
        "action": "create",
        "relationtype": "estate:address:buyer",
        "parentid": [501],
        "childid": [MISSING],
    }
    assert replay.plan == {"requests": 1, "actions": 1, "creates": 1, "listed": [shown], "whole": True}
    assert front.store.counts("acme")["requests"] == requests
    assert [front.job(name).state for name in (bad, worse)] == ["failed", "failed"]
    done = run(replays, replay)
    assert (done.state, done.done, done.back, done.missed) == ("done", 2, 2, {})
    assert [front.job(name).state for name in (bad, worse)] == ["queued", "queued"]
    assert replays.count_outcomes(done) == {"queued": 2}
    log = [(entry.by, entry.act, entry.count) for entry in front.runtime.job_admin.audit_log("acme").entries]
    assert log == [("ada", "replay done", 2), ("ada", "replay started", 0), ("ada", "replay prepared", 2)]


def test_a_replay_whose_message_was_lost_counts_as_stalled_until_it_is_done_or_stopped(
    front: Front, replays: ReplayService
) -> None:
    send(front, {"childid": MISSING})
    replay = replays.prepare("acme", FAILED, by="ada")
    assert front.runtime.job_admin.stalled_replays("acme", 0.0) == []  # it was not started yet
    replays.start(replay.id, by="ada")
    assert front.runtime.job_admin.stalled_replays("acme", 60.0) == []
    assert front.runtime.job_admin.stalled_replays("acme", 0.0) == [replay.id]
    replays.stop(replay.id, by="ada")
    assert front.runtime.job_admin.stalled_replays("acme", 0.0) == []
    run(replays, replay)
    assert front.runtime.job_admin.stalled_replays("acme", 0.0) == []


def test_what_newer_changes_decided_is_not_replayed(front: Front, replays: ReplayService) -> None:
    names = ("superseded", "as asked", "contradicts")
    jobs = send(
        front,
        *({"childid": MISSING, "parentid": at, "occurred_at": YESTERDAY} for at in (1, 2, 3)),
    )
    # Newer changes: a delete and a create are confirmed, and another delete is still open.
    fresh = [("delete", 1), ("create", 2), ("delete", 3)]
    for (kind, parent), later in zip(fresh, (False, False, True), strict=True):
        known = front.runtime.queries.get_jobs(jobs)[jobs[parent - 1]]
        confirm(front, kind, known.failed[0], still_open=later)
    replay = replays.prepare("acme", FAILED, by="ada")
    assert (replay.eligible, replay.refused) == (0, dict.fromkeys(names, 1))
    forced = replays.prepare("acme", FAILED, by="ada", forced=True)
    assert (forced.eligible, forced.refused) == (3, {})


def confirm(front: Front, kind: str, relation: Any, *, still_open: bool) -> None:
    """Write a newer change of the relation, confirmed or open, as a worker does."""
    from worker.contract import TYPES, guarded_side
    from worker.planner.apply_reply import Effects, RelationOutcome
    from worker.planner.relation_state import confirm_write
    from worker.ports.work import Writes
    from worker.usecases.batch import Batch

    front.runtime.intake().accept(
        [
            from_message(
                {**BUYERS, "action": kind, "parentid": relation.parent, "childid": relation.child}
            ).change
        ]
    )
    lease = front.store.lease("acme", "another worker")
    assert lease is not None
    work = lease.read(max_jobs=9, max_relations=99)
    batch = Batch(upsert=False, guarded=lambda name: guarded_side(TYPES[name]))
    effects = batch.add_intents(work.jobs, work.records, now=work.now)
    lease.claim(work.jobs, (), batch.writes(effects))
    if not still_open:
        left, applied, known = confirm_write(batch.states[relation], upsert=False)
        done = Effects(
            {relation: left},
            {relation: (known, None)},
            [RelationOutcome(wish.job, relation, "applied") for wish in applied],
        )
        lease.claim((), (), batch.writes(done) or Writes())
    lease.release()


def test_a_forced_replay_makes_a_new_job_that_replaces_the_old_one(
    front: Front, replays: ReplayService
) -> None:
    [job] = send(front, {"childid": MISSING, "occurred_at": YESTERDAY})
    done = run(replays, replays.prepare("acme", [job], by="ada", forced=True))
    assert (done.back, done.missed) == (1, {})
    [new] = front.job(job).replayed_by
    fresh, old = front.job(new), front.job(job)
    assert (fresh.replays, fresh.source, fresh.state, fresh.occurred_at > old.occurred_at) == (
        job,
        "replay",
        "queued",
        True,
    )
    assert old.dismissed is not None
    assert (old.dismissed.by, old.dismissed.why, front.store.failed_jobs("acme", limit=9)) == (
        "ada",
        "replaced",
        [],
    )
    plain = replays.prepare("acme", [job], by="ada")
    assert (plain.eligible, plain.refused, plain.examples) == (
        0,
        {"replaced": 1},
        {job: f"was sent anew before, as {new}"},
    )
    again = run(replays, replays.prepare("acme", [job], by="ada", forced=True))
    assert (again.back, len({new, *front.job(job).replayed_by})) == (1, 2)


@pytest.mark.parametrize("how", [{}, {"correction": {"childid": 9}}], ids=["as they were", "corrected"])
def test_what_people_did_since_the_preview_counts(
    front: Front, replays: ReplayService, how: dict[str, Any]
) -> None:
    dismissed, replaced, left = send(front, *({"childid": MISSING, "parentid": at} for at in (1, 2, 3)))
    replay = replays.prepare("acme", [dismissed, replaced, left], by="ada", **how)
    build_services(front.runtime).jobs.dismiss("acme", [dismissed], by="bob")
    run(replays, replays.prepare("acme", [replaced], by="bob", correction={"childid": 8}))
    done = run(replays, replay)
    assert (replay.eligible, done.done, done.back, done.missed) == (3, 3, 1, {"dismissed": 2})
    assert [front.job(job).state for job in (dismissed, replaced)] == ["failed", "failed"]
    front.drain()
    assert front.store.counts("acme")["accepted"] == 4 + bool(how)


@pytest.mark.parametrize("how", [{}, {"correction": {"childid": 9}}], ids=["as it was", "corrected"])
def test_a_part_of_a_change_that_was_dismissed_since_the_preview_is_not_sent(
    front: Front, replays: ReplayService, how: dict[str, Any]
) -> None:
    [job] = send(front, {"childid": MISSING, "parentid": [1, 2]})
    part = narrow([job], JobFilter(parent=1))
    replay = replays.prepare("acme", part, by="ada", **how)
    build_services(front.runtime).jobs.dismiss("acme", part, by="bob")
    done = run(replays, replay)
    assert (replay.eligible, done.back, done.missed) == (1, 0, {"dismissed": 1})
    assert front.store.counts("acme")["accepted"] == 1


def test_a_filter_replays_the_failures_that_it_is_about_and_no_other_of_their_change(
    front: Front, replays: ReplayService
) -> None:
    [job] = send(front, {"childid": MISSING, "parentid": [1, 2]})
    done = run(replays, replays.prepare("acme", FAILED_OF_1, by="ada"))
    assert (done.back, front.job(job).failed) == (1, (Relation(BUYERS["relationtype"], 2, MISSING),))


def test_a_replaced_job_is_not_put_back_but_may_be_corrected_in_another_way(
    front: Front, replays: ReplayService
) -> None:
    [job] = send(front, {"childid": MISSING})
    run(replays, replays.prepare("acme", [job], by="ada", correction={"childid": 8}))
    assert replays.prepare("acme", [job], by="ada").refused == {"replaced": 1}
    assert replays.prepare("acme", [job], by="ada", correction={"childid": 9}).eligible == 1


def test_the_audit_log_counts_what_a_call_changed_and_not_what_was_so_before(front: Front) -> None:
    first, second = send(front, {"childid": 1}, {"childid": 2}, work=False)
    jobs = build_services(front.runtime).jobs
    jobs.cancel("acme", [first], by="ada")
    assert jobs.cancel("acme", [first, second], by="bob").done == (first, second)
    assert [(entry.by, entry.count) for entry in front.runtime.job_admin.audit_log("acme").entries] == [
        ("bob", 1),
        ("ada", 1),
    ]


def test_a_correction_is_shown_and_replaces_what_failed(front: Front, replays: ReplayService) -> None:
    jobs = send(front, {"childid": [1, MISSING], "batch": "import"}, {"childid": MISSING, "parentid": 7})
    replay = replays.prepare("acme", jobs, by="ada", correction=parse_correction(["childid=8,9"]))
    assert sorted((each["parentid"], each["childid"]) for each in replay.plan["listed"]) == [
        ([7], [8, 9]),
        ([501], [8, 9]),
    ]
    assert run(replays, replay).back == 2
    front.drain()
    [new] = map(front.job, front.job(jobs[0]).replayed_by)
    assert replays.count_outcomes(replays.find(replay.id)) == {"succeeded": 2}
    assert (new.state, new.children, new.batch, new.replays) == ("succeeded", (8, 9), "import", jobs[0])
    assert front.store.batch_counts("acme", "import") == {"accepted": 2, "failed": 1, "succeeded": 1}


@pytest.mark.parametrize("pair", ["parentid", "colour=red", "version=1"])
def test_only_the_content_of_a_change_can_be_corrected(pair: str) -> None:
    with pytest.raises(InvalidChange):
        parse_correction([pair])


def test_a_correction_that_makes_no_valid_change_refuses_the_job_and_says_why(
    front: Front, replays: ReplayService
) -> None:
    [job] = send(front, {"childid": MISSING})
    replay = replays.prepare("acme", [job], by="ada", correction={"relationtype": "estate:address:byer"})
    assert (replay.eligible, replay.refused) == (0, {"invalid": 1})
    assert "did you mean" in replay.examples[job]


@pytest.mark.parametrize("selection", [[], JobFilter(), JobFilter(state="sending")])
def test_selecting_nothing_everything_or_jobs_in_another_state_is_refused(
    front: Front, selection: Any
) -> None:
    services = build_services(front.runtime)
    for act in (services.replays.prepare, services.jobs.dismiss, services.jobs.cancel):
        with pytest.raises(InvalidChange):
            act("acme", selection, by="ada")


def test_run_twice_or_after_a_crash_it_continues_where_it_stopped_and_counts_each_job_once(
    front: Front, replays: ReplayService
) -> None:
    send(front, *({"childid": MISSING, "parentid": number} for number in range(1, PIECE + 3)))
    replay = replays.prepare("acme", FAILED, by="ada")
    assert replay.eligible == PIECE + 2
    replays.start(replay.id, by="ada")
    first = [entry.job for entry in front.runtime.job_admin.replay_entries(replay.id, 0, PIECE)]
    back = requeue(front.runtime.intake(), "acme", first, replay_id=replay.id)
    assert len(back) == PIECE  # and then the worker died
    front.drain()  # these are tried, and fail once more
    attempts = front.job(first[0]).attempts
    assert (replays.run(replay.id).back, replays.run(replay.id).back) == (PIECE + 2, PIECE + 2)
    assert front.store.counts("acme")["backlog"] == 2
    front.drain()
    assert front.job(first[0]).attempts == attempts


def test_a_piece_that_two_workers_worked_counts_once(front: Front, replays: ReplayService) -> None:
    replay = replays.prepare(
        "acme", send(front, {"childid": MISSING}, {"childid": MISSING, "parentid": 2}), by="ada"
    )
    replays.start(replay.id, by="ada")
    for _ in range(2):
        assert (
            front.runtime.job_admin.advance_replay(
                replay, 0, 1, back=1, missed={"gone": 1}, audit_entry=audit_entry(front)
            )
            == "running"
        )
    seen = replays.find(replay.id)
    assert (seen.done, seen.back, seen.missed) == (1, 1, {"gone": 1})


def test_jobs_that_changed_since_the_preview_are_counted_by_reason(
    front: Front, replays: ReplayService
) -> None:
    jobs = send(front, *({"childid": MISSING, "parentid": number} for number in (1, 2, 3)))
    replay = replays.prepare("acme", jobs, by="ada")
    requeue(front.runtime.intake(), "acme", jobs[:1])
    front.drain()
    requeue(front.runtime.intake(), "acme", jobs[:1])
    assert front.runtime.job_admin.cancel("acme", jobs[:1], audit_entry(front)).done == (jobs[0],)
    done = run(replays, replay)
    assert (done.done, done.back, done.missed) == (3, 2, {"not failed": 1})


def audit_entry(front: Front) -> AuditEntry:
    return AuditEntry(front.runtime.intake().new_id(), "bob", "cancelled")


def test_a_stopped_replay_puts_nothing_back_until_it_is_started_again(
    front: Front, replays: ReplayService
) -> None:
    jobs = send(front, {"childid": MISSING})
    replay = replays.prepare("acme", jobs, by="ada")
    assert replays.run(replay.id).state == "previewed"  # it was not started
    replays.start(replay.id, by="ada")
    assert replays.stop(replay.id, by="bob").state == "stopped"
    assert replays.run(replay.id).back == 0
    assert run(replays, replay).state == "done"
    assert replays.stop(replay.id, by="bob").state == "done"
    assert [each.id for each in front.runtime.job_admin.list_replays("acme")] == [replay.id]
    with pytest.raises(NotFound):
        replays.find("acme-nothing")


def test_the_preview_names_the_pause_of_the_account_and_the_replay_still_runs(
    front: Front, replays: ReplayService
) -> None:
    jobs = send(front, {"childid": MISSING})
    front.store.pause("acme", Pause("by hand"))
    replay = replays.prepare("acme", jobs, by="ada")
    assert (replay.paused, replay.eligible, run(replays, replay).back) == ("by hand", 1, 1)


def test_jobs_beyond_the_limit_are_left_for_the_next_replay(
    front: Front, replays: ReplayService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "MAX_JOBS", 2)
    send(
        front, {"childid": MISSING}, {"childid": MISSING, "parentid": 2}, {"childid": MISSING, "parentid": 3}
    )
    replay = replays.prepare("acme", FAILED, by="ada")
    assert (replay.eligible, replay.more) == (2, True)


def test_an_unreadable_message_is_read_again_with_corrections_and_replaced_by_its_changes(
    front: Front, replays: ReplayService
) -> None:
    body = json.dumps({**BUYERS, "account": "nobody", "parentid": 0, "childid": 4}).encode()
    message = UnreadableMessage(
        "nobody", "celery", "task:0", ("parentid: expected a positive integer, got 0",), body
    )
    job = front.runtime.intake().reject(message).job
    assert job.startswith(f"{UNROUTED}-")
    assert replays.prepare(UNROUTED, [job], by="ada").refused == {"unreadable": 1}
    replay = replays.prepare(UNROUTED, [job], by="ada", correction={"account": "acme", "parentid": 6})
    assert (replay.eligible, replay.plan["creates"]) == (1, 1)
    assert run(replays, replay).back == 1
    front.drain()
    [new] = map(front.job, front.job(job).replayed_by)
    assert (new.account, new.state, new.event_id, new.source, new.replays) == (
        "acme",
        "succeeded",
        "task:0",
        "celery",
        job,
    )
    assert front.store.failed_jobs(UNROUTED, limit=9) == []
