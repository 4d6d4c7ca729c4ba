"""The explanation of a relation, from kept facts alone: one sentence for each way a job can be."""

from datetime import timedelta, timezone

import pytest

from ops.explain import Evidence, explain, format_explanation
from worker.contract import Relation
from worker.onoffice.codes import advise
from worker.planner.actions import Action
from worker.planner.fold import NEVER, ConfirmedInfo, ConfirmedState, Intent, JobVersion, Version
from worker.planner.relation_state import Doubt, OpenRelation, Refusal, RelationRecord, Stage
from worker.ports.records import Failure, JobRecord, RelationEvent
from worker.ports.requests import RequestRecord

ZONE = timezone(timedelta(hours=1))
BUYER = "estate:address:buyer"
HERE = Relation(BUYER, 501, 9001)
NINE = 1_795_161_600_000_000  # 2026-11-20T09:00:00+01:00
SECOND = 1_000_000
NOTHING_KEPT = RelationRecord()


def at_second(seconds: float) -> int:
    return NINE + round(seconds * SECOND)


def job(name: str, action: str = "create", seconds: float = 0, **more: object) -> JobRecord:
    facts = {
        "id": name,
        "account": "acme",
        "state": "held",
        "action": action,
        "type": BUYER,
        "parents": (501,),
        "children": (9001,),
        "info": (),
        "source": "portal",
        "event_id": name,
        "batch": "",
        "occurred_at": at_second(seconds),
        "accepted_at": at_second(seconds),
        "finished_at": 0,
        "attempts": 0,
        "total": 1,
        "counts": {},
        "refusal": None,
        "requests": (),
        "failures": (),
        "by": "",
    }
    return JobRecord(**(facts | more))


def request(
    name: str, *actions: Action, answers: tuple[tuple[str, int, str], ...], seconds: float = 0.12
) -> RequestRecord:
    return RequestRecord(
        id=name, at=at_second(5), status=200, seconds=seconds, message="", actions=actions, answers=answers
    )


def intent(name: str, action: str = "create", seconds: float = 0) -> Intent:
    return Intent(Version(at_second(seconds), 1), name, action)


def explain_text(
    record: RelationRecord = NOTHING_KEPT,
    *events: RelationEvent,
    jobs: tuple[JobRecord, ...] = (),
    requests: tuple[RequestRecord, ...] = (),
    now: float = 10,
) -> str:
    evidence = Evidence(
        relation=HERE,
        record=record,
        events=events,
        jobs={each.id: each for each in jobs},
        requests={each.id: each for each in requests},
        now=at_second(now),
    )
    return "\n".join(format_explanation(explain(evidence, zone=ZONE)))


def open_record(*intents: Intent, doubt: Doubt | None = None, **progress: object) -> RelationRecord:
    return RelationRecord(OpenRelation(intents, NEVER, **progress), ConfirmedState(), doubt)


STAR = Action("create", BUYER, (501,), tuple(range(9001, 9012)))


def test_an_applied_job_names_its_request_the_answer_and_how_many_travelled_along() -> None:
    text = explain_text(
        NOTHING_KEPT,
        RelationEvent("acme-1", "applied", "r1"),
        jobs=(job("acme-1", seconds=3, requests=("r1",)),),
        requests=(request("r1", STAR, answers=(("ok", 0, ""),)),),
    )
    job_part = "acme-1 create at 2026-11-20T09:00:03+01:00 by portal"
    assert f"{job_part}: applied with request r1 (1 action for 11 relations), " in text
    assert text.endswith("API answered ok after 0.12 s")


def test_a_job_that_was_read_back_lists_its_requests() -> None:
    lost = request("r1", STAR, answers=(("unknown", 0, "connection lost"),), seconds=30)
    read = request("r2", Action("get", BUYER, (501,), (), asked=(HERE,)), answers=(("ok", 0, ""),))
    text = explain_text(
        NOTHING_KEPT,
        RelationEvent("acme-1", "applied", "r2"),
        jobs=(job("acme-1", requests=("r1", "r2")),),
        requests=(lost, read),
    )
    assert "applied: request r2 read it back and found it as wanted, API answered ok after 0.12 s" in text
    lost_line = "create of 11 relations, no usable answer (connection lost) after 30.00 s"
    assert f"r1 at 2026-11-20T09:00:05+01:00: {lost_line}" in text
    assert "r2 at 2026-11-20T09:00:05+01:00: read back of 1 relation, API answered ok after 0.12 s" in text


def test_requests_about_other_relations_of_the_job_are_left_out() -> None:
    other = request("r1", Action("create", BUYER, (502,), (9001,)), answers=(("ok", 0, ""),))
    mine = request("r2", STAR, answers=(("ok", 0, ""),))
    assert "r1" not in explain_text(
        RelationRecord(),
        RelationEvent("acme-1", "applied", "r2"),
        jobs=(job("acme-1", requests=("r1", "r2")),),
        requests=(other, mine),
    )


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("superseded", "superseded by {newer}"),
        ("stale", "stale: {newer} is newer and was confirmed before it came"),
    ],
)
def test_a_superseded_or_stale_job_names_the_newer_one_with_what_it_asks(result: str, words: str) -> None:
    text = explain_text(
        NOTHING_KEPT,
        RelationEvent("acme-1", result, "acme-2"),
        jobs=(job("acme-1"), job("acme-2", "delete", 7)),
    )
    newer = words.format(newer="acme-2 delete at 2026-11-20T09:00:07+01:00 by portal")
    assert f"acme-1 create at 2026-11-20T09:00:00+01:00 by portal: {newer}" in text


def test_a_failed_job_has_code_text_class_and_advice() -> None:
    failed = job("acme-1", state="failed", failures=(Failure(HERE, 80, "record", "No such record"),))
    assert f"failed: 80 No such record (record). {advise(80)}" in explain_text(
        NOTHING_KEPT, RelationEvent("acme-1", "failed", "80 record"), jobs=(failed,)
    )


def test_the_text_of_another_relations_refusal_is_not_borrowed() -> None:
    failed = job(
        "acme-1", state="failed", failures=(Failure(Relation(BUYER, 501, 1), 80, "record", "No such record"),)
    )
    assert f"failed: 263 (rights). {advise(263)}" in explain_text(
        NOTHING_KEPT, RelationEvent("acme-1", "failed", "263 rights"), jobs=(failed,)
    )


@pytest.mark.parametrize("error", ["dependency", "poison", "unknown", "not_sent"])
def test_a_failure_without_a_code_has_advice_of_its_own(error: str) -> None:
    text = explain_text(
        NOTHING_KEPT,
        RelationEvent("acme-1", "failed", f"0 {error}"),
        jobs=(job("acme-1", state="failed", failures=(Failure(HERE, 0, error),)),),
    )
    assert f"failed: {error}. " in text
    assert "replay" in text


def test_a_failed_job_that_was_replayed_is_explained_as_such() -> None:
    text = explain_text(
        NOTHING_KEPT, RelationEvent("acme-1", "failed", "80 record"), jobs=(job("acme-1", state="queued"),)
    )
    assert "; a replay put it back" in text


def test_a_job_that_is_kept_no_longer_still_has_its_outcome() -> None:
    text = explain_text(NOTHING_KEPT, RelationEvent("acme-1", "superseded", "acme-2"))
    assert "acme-1 (no longer kept): superseded by acme-2 (no longer kept)" in text


@pytest.mark.parametrize(
    ("progress", "sentence"),
    [
        ({}, "is due now"),
        ({"not_before": at_second(60)}, "is waiting until 2026-11-20T09:01:00+01:00"),
        ({"not_before": at_second(5)}, "is due now"),
        ({"stage": Stage.READ_BACK}, "is verifying: it is read back before anything is written again"),
        (
            {"stage": Stage.READ_BACK, "not_before": at_second(60)},
            "written again until 2026-11-20T09:01:00+01:00",
        ),
        ({"held": True}, "is held: another relation of its record is in its way"),
        (
            {"not_before": at_second(60), "rejections": 2, "refusal": Refusal(999, "transient", "busy")},
            "after 2 rejections; last: 999 busy (transient)",
        ),
    ],
)
def test_an_open_job_is_explained_by_what_it_waits_for(progress: dict[str, object], sentence: str) -> None:
    text = explain_text(
        open_record(intent("acme-1"), **progress), RelationEvent("acme-1", "", ""), jobs=(job("acme-1"),)
    )
    assert sentence in text
    assert "wanted: that it is there, as of 2026-11-20T09:00:00+01:00 (acme-1)" in text


def test_a_contradicting_write_in_doubt_is_what_an_open_job_waits_for() -> None:
    doubt = Doubt(at_second(150), "create")
    text = explain_text(
        open_record(intent("acme-2", "delete", 7), doubt=doubt),
        RelationEvent("acme-2", "", ""),
        jobs=(job("acme-2", "delete", 7),),
    )
    doubted = "an earlier create without an answer may still land and undo it"
    assert f"is in doubt until 2026-11-20T09:02:30+01:00: {doubted}" in text
    assert "wanted: that it is not there" in text
    assert "known:  in doubt until 2026-11-20T09:02:30+01:00" in text


def test_a_job_that_is_not_read_yet_waits_in_the_inbox_whatever_is_open() -> None:
    text = explain_text(
        open_record(intent("acme-1")),
        RelationEvent("acme-1", "", ""),
        RelationEvent("acme-2", "", ""),
        jobs=(job("acme-1"), job("acme-2", "delete", 7)),
    )
    assert "by portal: is due now" in text.splitlines()[-2]
    assert text.endswith("acme-2 delete at 2026-11-20T09:00:07+01:00 by portal: waits in the inbox")


def test_what_is_known_is_what_was_confirmed_last() -> None:
    present, absent = (
        JobVersion(Version(at_second(1), 1), "acme-1"),
        JobVersion(Version(at_second(7), 2), "acme-2"),
    )
    text = explain_text(
        RelationRecord(
            None,
            ConfirmedState(
                present, absent, {"statusTerminbestaetigung": ConfirmedInfo(present.version, present.job)}
            ),
        )
    )
    assert "known:  not there, confirmed for the change of 2026-11-20T09:00:07+01:00 (acme-2)" in text
    assert (
        "known:  statusTerminbestaetigung, confirmed for the change of 2026-11-20T09:00:01+01:00 (acme-1)"
        in text
    )
    assert "wanted: nothing is open" in text


def test_of_an_untouched_relation_nothing_is_known() -> None:
    assert explain_text().splitlines() == [
        str(HERE),
        "  wanted: nothing is open",
        "  known:  nothing was confirmed, or longer ago than is remembered",
        "  no job named it, or none that is still kept",
    ]


def test_the_same_as_data() -> None:
    evidence = Evidence(
        relation=HERE,
        record=open_record(intent("acme-1")),
        events=(RelationEvent("acme-1", "", ""),),
        jobs={"acme-1": job("acme-1")},
        requests={},
        now=at_second(10),
    )
    document = explain(evidence, zone=ZONE)
    assert document["relation"] == {"relationtype": BUYER, "parentid": 501, "childid": 9001}
    assert (document["wanted"]["open"], document["wanted"]["presence"]) == (True, True)
    assert [(each["id"], each["state"]) for each in document["jobs"]] == [("acme-1", "held")]
