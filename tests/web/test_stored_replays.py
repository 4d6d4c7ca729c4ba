"""Stored replays: the set is judged and fixed, what would be sent is shown, and acted equals previewed or says why not."""

from typing import Any

import pytest

from producers.job_admin.cancel_dismiss import cancel, dismiss
from producers.means import Means, means
from producers.replay.prepare import find, outcomes, prepare, run, start, stop
from producers.replay.resend import correction_of
from tests.support.http_front import MISSING, Front
from worker.contract import from_message
from worker.errors import InvalidChange, NotFound
from worker.ports import UNROUTED, JobFilter, Pause, Replay, UnreadableMessage
from worker.usecases.intake import PIECE

BUYERS = {"account": "acme", "action": "create", "relationtype": "estate:address:buyer", "parentid": 501}
FAILED = JobFilter(state="failed")


@pytest.fixture
def desk(front: Front) -> Means:
    return means(front.runtime)


def send(front: Front, *asked: dict[str, Any], work: bool = True) -> list[str]:
    """Jobs of these changes, worked as far as one flush goes."""
    receipts = front.runtime.intake().accept([from_message({**BUYERS, **each}).change for each in asked])
    if work:
        flush(front)
    return [receipt.job for receipt in receipts]


def flush(front: Front) -> None:
    while front.runtime.flush("acme").next_in == 0.0:
        pass


def act(desk: Means, replay: Replay) -> Replay:
    start(desk, replay.id, by="ada")
    return run(desk, replay.id)


def test_the_set_is_judged_job_by_job_and_what_would_be_sent_is_shown_before_anything_is(
    front: Front, desk: Means
) -> None:
    good, bad, worse, waiting = [
        *send(front, {"childid": 1}, {"childid": [2, MISSING]}, {"childid": MISSING}),
        *send(front, {"childid": 3}, work=False),
    ]
    requests = front.store.counts("acme")["requests"]
    replay = prepare(desk, "acme", [good, bad, worse, waiting, "acme-gone", "beta-1", bad], by="ada")
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
    assert [job.state for name in (bad, worse) if (job := front.store.get_job(name))] == ["failed", "failed"]
    done = act(desk, replay)
    assert (done.state, done.done, done.back, done.missed) == ("done", 2, 2, {})
    assert [job.state for name in (bad, worse) if (job := front.store.get_job(name))] == ["queued", "queued"]
    assert outcomes(desk, done) == {"queued": 2}
    told = [
        (audit_entry.by, audit_entry.act, audit_entry.count)
        for audit_entry in desk.acts.audit_log("acme").entries
    ]
    assert told == [("ada", "replay done", 2), ("ada", "replay started", 0), ("ada", "replay prepared", 2)]


def test_a_replay_whose_message_was_lost_is_found_until_it_is_done_or_stopped(
    front: Front, desk: Means
) -> None:
    send(front, {"childid": MISSING})
    replay = prepare(desk, "acme", FAILED, by="ada")
    assert desk.acts.stalled_replays("acme", 0.0) == []  # nobody let it run yet
    start(desk, replay.id, by="ada")
    assert desk.acts.stalled_replays("acme", 60.0) == []
    assert desk.acts.stalled_replays("acme", 0.0) == [replay.id]
    stop(desk, replay.id, by="ada")
    assert desk.acts.stalled_replays("acme", 0.0) == []
    act(desk, replay)
    assert desk.acts.stalled_replays("acme", 0.0) == []


def test_what_newer_changes_decided_is_not_asked_for_again(front: Front, desk: Means) -> None:
    names = ("superseded", "as asked", "contradicts")
    jobs = send(
        front,
        *({"childid": MISSING, "parentid": at, "occurred_at": "2026-11-01T00:00:00Z"} for at in (1, 2, 3)),
    )
    # The address comes into being, and people go on: one is unlinked and one linked, both confirmed; one unlink is still open.
    fresh = [("delete", 1), ("create", 2), ("delete", 3)]
    for (kind, parent), later in zip(fresh, (False, False, True), strict=True):
        known = desk.questions.get_jobs(jobs)[jobs[parent - 1]]
        confirm(front, desk, kind, known.failed[0], still_open=later)
    replay = prepare(desk, "acme", FAILED, by="ada")
    assert (replay.eligible, replay.refused) == (0, dict.fromkeys(names, 1))
    forced = prepare(desk, "acme", FAILED, by="ada", forced=True)
    assert (forced.eligible, forced.refused) == (3, {})


def confirm(front: Front, desk: Means, kind: str, relation: Any, *, still_open: bool) -> None:
    """A newer change of the relation, confirmed or open, as a worker writes it down."""
    from worker.contract import TYPES, order_of
    from worker.planner.apply_reply import Effects, RelationOutcome
    from worker.planner.relation_state import confirm_write
    from worker.ports import Writes
    from worker.usecases.batch import Batch

    front.runtime.intake().accept(
        [
            from_message(
                {**BUYERS, "action": kind, "parentid": relation.parent, "childid": relation.child}
            ).change
        ]
    )
    lease = front.store.lease("acme", desk.name())
    assert lease is not None
    work = lease.read(max_jobs=9, max_relations=99)
    batch = Batch(upsert=False, order=lambda name: order_of(TYPES[name]))
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


def test_a_forced_replay_is_a_new_job_that_stands_for_the_old_one(front: Front, desk: Means) -> None:
    [job] = send(front, {"childid": MISSING, "occurred_at": "2026-11-01T00:00:00Z"})
    done = act(desk, prepare(desk, "acme", [job], by="ada", forced=True))
    assert (done.back, done.missed) == (1, {})
    [new] = front.store.get_job(job).replayed_by  # type: ignore[union-attr]
    fresh, old = front.store.get_job(new), front.store.get_job(job)
    assert fresh is not None
    assert old is not None
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
    plain = prepare(desk, "acme", [job], by="ada")
    assert (plain.eligible, plain.refused, plain.examples) == (
        0,
        {"replaced": 1},
        {job: f"was sent anew before, as {new}"},
    )
    again = act(desk, prepare(desk, "acme", [job], by="ada", forced=True))
    assert (again.back, len({new, *front.store.get_job(job).replayed_by})) == (1, 2)  # type: ignore[union-attr]


@pytest.mark.parametrize("how", [{}, {"correction": {"childid": 9}}], ids=["as they were", "corrected"])
def test_what_people_did_since_the_preview_counts(front: Front, desk: Means, how: dict[str, Any]) -> None:
    dismissed, sent_anew, left = send(front, *({"childid": MISSING, "parentid": at} for at in (1, 2, 3)))
    replay = prepare(desk, "acme", [dismissed, sent_anew, left], by="ada", **how)
    dismiss(desk, "acme", [dismissed], by="bob")
    act(desk, prepare(desk, "acme", [sent_anew], by="bob", correction={"childid": 8}))
    done = act(desk, replay)
    assert (replay.eligible, done.done, done.back, done.missed) == (3, 3, 1, {"dismissed": 2})
    assert [front.store.get_job(job).state for job in (dismissed, sent_anew)] == ["failed", "failed"]  # type: ignore[union-attr]
    flush(front)
    assert front.store.counts("acme")["accepted"] == 4 + bool(how)


def test_what_was_sent_anew_is_not_put_back_but_may_be_corrected_otherwise(front: Front, desk: Means) -> None:
    [job] = send(front, {"childid": MISSING})
    act(desk, prepare(desk, "acme", [job], by="ada", correction={"childid": 8}))
    assert prepare(desk, "acme", [job], by="ada").refused == {"replaced": 1}
    assert prepare(desk, "acme", [job], by="ada", correction={"childid": 9}).eligible == 1


def test_the_audit_counts_what_an_act_did_and_not_what_was_so_before(front: Front, desk: Means) -> None:
    first, second = send(front, {"childid": 1}, {"childid": 2}, work=False)
    cancel(desk, "acme", [first], by="ada")
    assert cancel(desk, "acme", [first, second], by="bob").done == (first, second)
    assert [(audit_entry.by, audit_entry.count) for audit_entry in desk.acts.audit_log("acme").entries] == [
        ("bob", 1),
        ("ada", 1),
    ]


def test_a_correction_is_shown_checked_and_sent_in_place_of_what_failed(front: Front, desk: Means) -> None:
    jobs = send(front, {"childid": [1, MISSING], "batch": "import"}, {"childid": MISSING, "parentid": 7})
    replay = prepare(desk, "acme", jobs, by="ada", correction=correction_of(["childid=8,9"]))
    assert sorted((each["parentid"], each["childid"]) for each in replay.plan["listed"]) == [
        ([7], [8, 9]),
        ([501], [8, 9]),
    ]
    assert act(desk, replay).back == 2
    flush(front)
    [new] = [front.store.get_job(each) for each in front.store.get_job(jobs[0]).replayed_by]  # type: ignore[union-attr]
    assert new is not None
    assert outcomes(desk, find(desk, replay.id)) == {"succeeded": 2}
    assert (new.state, new.children, new.batch, new.replays) == ("succeeded", (8, 9), "import", jobs[0])
    assert front.store.batch_counts("acme", "import") == {"accepted": 2, "failed": 1, "succeeded": 1}


@pytest.mark.parametrize("pair", ["parentid", "colour=red", "occurred_at=now"])
def test_only_what_a_change_says_can_be_corrected(pair: str) -> None:
    with pytest.raises(InvalidChange):
        correction_of([pair])


def test_a_correction_that_makes_no_change_leaves_the_job_out_and_says_why(front: Front, desk: Means) -> None:
    [job] = send(front, {"childid": MISSING})
    replay = prepare(desk, "acme", [job], by="ada", correction={"relationtype": "estate:address:byer"})
    assert (replay.eligible, replay.refused) == (0, {"invalid": 1})
    assert "did you mean" in replay.examples[job]


@pytest.mark.parametrize("wanted", [[], JobFilter(), JobFilter(state="queued")])
def test_nothing_and_everything_are_refused(desk: Means, wanted: Any) -> None:
    for ask in (prepare, dismiss, cancel):
        if wanted != JobFilter(state="queued") or ask is not cancel:
            with pytest.raises(InvalidChange):
                ask(desk, "acme", wanted, by="ada")


def test_delivered_twice_or_after_a_crash_it_goes_on_where_it_stood_and_counts_each_job_once(
    front: Front, desk: Means
) -> None:
    send(front, *({"childid": MISSING, "parentid": number} for number in range(1, PIECE + 3)))
    replay = prepare(desk, "acme", FAILED, by="ada")
    assert replay.eligible == PIECE + 2
    start(desk, replay.id, by="ada")
    first = [entry.job for entry in desk.acts.replay_entries(replay.id, 0, PIECE)]
    assert len(desk.intake.requeue("acme", first, mark=replay.id)) == PIECE  # and then the worker died
    flush(front)  # these are tried, and fail once more
    attempts = front.store.get_job(first[0]).attempts  # type: ignore[union-attr]
    assert (run(desk, replay.id).back, run(desk, replay.id).back) == (PIECE + 2, PIECE + 2)
    assert front.store.counts("acme")["backlog"] == 2
    flush(front)
    assert front.store.get_job(first[0]).attempts == attempts  # type: ignore[union-attr]


def test_a_piece_that_two_workers_have_worked_counts_once(front: Front, desk: Means) -> None:
    replay = prepare(
        desk, "acme", send(front, {"childid": MISSING}, {"childid": MISSING, "parentid": 2}), by="ada"
    )
    start(desk, replay.id, by="ada")
    for _ in range(2):
        assert (
            desk.acts.advance_replay(replay, 0, 1, back=1, missed={"gone": 1}, audit_entry=desk_deed(desk))
            == "running"
        )
    seen = find(desk, replay.id)
    assert (seen.done, seen.back, seen.missed) == (1, 1, {"gone": 1})


def test_what_went_otherwise_meanwhile_is_counted_by_reason(front: Front, desk: Means) -> None:
    jobs = send(front, *({"childid": MISSING, "parentid": number} for number in (1, 2, 3)))
    replay = prepare(desk, "acme", jobs, by="ada")
    desk.intake.requeue("acme", jobs[:1])
    flush(front)
    desk.intake.requeue("acme", jobs[:1])
    assert desk.acts.cancel("acme", jobs[:1], desk_deed(desk)).done == (jobs[0],)
    done = act(desk, replay)
    assert (done.done, done.back, done.missed) == (3, 2, {"not failed": 1})


def desk_deed(desk: Means) -> Any:
    from worker.ports import AuditEntry

    return AuditEntry(desk.name(), "bob", "cancelled")


def test_a_stopped_replay_puts_nothing_back_until_it_is_started_again(front: Front, desk: Means) -> None:
    jobs = send(front, {"childid": MISSING})
    replay = prepare(desk, "acme", jobs, by="ada")
    assert run(desk, replay.id).state == "previewed"  # nobody said so
    start(desk, replay.id, by="ada")
    assert stop(desk, replay.id, by="bob").state == "stopped"
    assert run(desk, replay.id).back == 0
    assert act(desk, replay).state == "done"
    assert stop(desk, replay.id, by="bob").state == "done"
    assert [each.id for each in desk.acts.list_replays("acme")] == [replay.id]
    with pytest.raises(NotFound):
        find(desk, "acme-nothing")


def test_a_paused_account_is_said_once_and_keeps_its_replay(front: Front, desk: Means) -> None:
    jobs = send(front, {"childid": MISSING})
    front.store.pause("acme", Pause("by hand"))
    replay = prepare(desk, "acme", jobs, by="ada")
    assert (replay.paused, replay.eligible, act(desk, replay).back) == ("by hand", 1, 1)


def test_more_than_one_replay_holds_is_left_for_the_next(front: Front, desk: Means) -> None:
    send(
        front, {"childid": MISSING}, {"childid": MISSING, "parentid": 2}, {"childid": MISSING, "parentid": 3}
    )
    replay = prepare(desk, "acme", FAILED, by="ada", most=2)
    assert (replay.eligible, replay.more) == (2, True)


def test_an_unreadable_message_is_read_again_with_corrections_and_stands_for_what_it_made(
    front: Front, desk: Means
) -> None:
    body = b'{"account": "nobody", "action": "create", "relationtype": "estate:address:buyer", "parentid": 0, "childid": 4}'
    letter = UnreadableMessage(
        "nobody", "celery", "task:0", ("parentid: expected a positive integer, got 0",), body
    )
    job = desk.intake.reject(letter).job
    assert job.startswith(f"{UNROUTED}-")
    assert prepare(desk, UNROUTED, [job], by="ada").refused == {"unreadable": 1}
    replay = prepare(desk, UNROUTED, [job], by="ada", correction={"account": "acme", "parentid": 6})
    assert (replay.eligible, replay.plan["creates"]) == (1, 1)
    assert act(desk, replay).back == 1
    flush(front)
    [new] = [front.store.get_job(each) for each in front.store.get_job(job).replayed_by]  # type: ignore[union-attr]
    assert new is not None
    assert (new.account, new.state, new.event_id, new.source, new.replays) == (
        "acme",
        "succeeded",
        "task:0",
        "celery",
        job,
    )
    assert front.store.failed_jobs(UNROUTED, limit=9) == []
