"""Erasing a record: afterwards no key and no value names it, and everything else is as it was.

Other work of the same jobs is still done.
"""

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
import redis

from producers.job_admin.erasure_proof import fingerprint
from producers.job_admin.selection import narrow
from producers.services import Services, build_services
from tests.support.erasing import erase_record
from tests.support.http_front import MISSING, Front
from worker.contract import Relation, from_message
from worker.errors import NotFound, Unavailable
from worker.planner.actions import Action, Request
from worker.ports.erasure import RecordRef
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry, JobFilter
from worker.ports.store import UnreadableMessage
from worker.store import keys
from worker.usecases.batch import Batch
from worker.usecases.replay import requeue, run_replay

ADA = 987_654_321  # nothing else has these digits
MISSING_ESTATE = 405
BUYER, BROKER = "estate:address:buyer", "estate:address:contactPerson"


@pytest.fixture
def services(front: Front) -> Services:
    return build_services(front.runtime)


def send(front: Front, action: str, name: str, parent: Any, child: Any, **rest: Any) -> str:
    message = {
        "account": "acme",
        "action": action,
        "relationtype": name,
        "parentid": parent,
        "childid": child,
        **rest,
    }
    return front.runtime.intake().accept([from_message(message).change])[0].job


def read_everything(client: redis.Redis) -> list[bytes]:
    """Return every key name and every value."""
    readers: dict[bytes, Any] = {
        b"hash": lambda key: [each for pair in client.hgetall(key).items() for each in pair],
        b"string": lambda key: [client.get(key)],
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"set": lambda key: list(client.smembers(key)),
    }
    return [each for key in client.scan_iter(count=1000) for each in (key, *readers[client.type(key)](key))]


def find_ada(client: redis.Redis) -> list[bytes]:
    forms = (str(ADA).encode(), f"{ADA:,}".encode())
    return [text for text in read_everything(client) if any(form in text for form in forms)]


def populate(front: Front, services: Services) -> dict[str, str]:
    """Store jobs about Ada in every state, alone and among others, with replays and audit entries."""
    jobs = {
        "done": send(front, "create", BUYER, 1, ADA, event_id=f"crm-{ADA}", source="crm"),
        "shared": send(front, "create", BUYER, 2, [ADA, 5, MISSING], batch="import"),
        "failed": send(front, "create", BUYER, MISSING_ESTATE, ADA),
        "other": send(front, "create", BUYER, 3, 5),
        "labelled": send(front, "create", BUYER, 3, 6, batch=f"import-{ADA}", source=f"form {ADA:,}"),
    }
    front.runtime.flush("acme")
    requeue(front.runtime.intake(), "acme", [jobs["shared"]])
    front.runtime.flush("acme")
    front.runtime.intake().reject(
        UnreadableMessage(
            "acme", "celery", f"task-{ADA}", (f"childid: got {ADA}",), f'{{"childid": "{ADA:,}"}}'.encode()
        )
    )
    front.runtime.intake().reject(
        UnreadableMessage(
            "nobody", "celery", "task-1", ("account: is unknown",), f'{{"childid": {ADA}}}'.encode()
        )
    )
    services.replays.prepare("acme", JobFilter(child=ADA), by="bob")
    services.replays.prepare("acme", JobFilter(error="record"), by="bob", correction={"childid": ADA})
    front.runtime.job_admin.add_audit_entry(
        "acme", AuditEntry(services.jobs.new_id(), "bob", "noted", f"child {ADA}", f"{ADA}")
    )
    jobs["queued"] = send(front, "create", BROKER, 4, [ADA, 6], event_id=f"q-{ADA}")
    jobs["alone"] = send(front, "create", BROKER, 4, ADA)
    return jobs


def test_no_key_and_no_value_names_an_erased_record_and_all_else_is_as_it_was(
    front: Front, services: Services, redis_client: redis.Redis
) -> None:
    jobs = populate(front, services)
    before = {name: front.job(job) for name, job in jobs.items()}
    counts = erase_record(services.erasure, "acme", "address", ADA, by="ada")
    assert find_ada(redis_client) == []
    assert counts["jobs"] == 5
    assert counts["emptied"] == 3
    assert min(counts[kind] for kind in ("memories", "requests", "payloads", "replays", "deeds")) > 0
    assert front.job(jobs["other"]) == before["other"]
    shared = front.job(jobs["shared"])
    assert (shared.children, shared.total, shared.counts) == ((5, MISSING), 3, before["shared"].counts)
    done = front.job(jobs["done"])
    assert (done.state, done.by, done.parents, done.children, done.event_id) == (
        "succeeded",
        "erased",
        (),
        (),
        "",
    )
    assert (done.counts, done.accepted_at, done.finished_at) == counts_and_times(before["done"])
    assert front.store.batch_counts("acme", "import") == {"accepted": 1, "failed": 1}


def test_unrouted_messages_are_erased_though_the_registry_has_lost_their_inbox(
    front: Front, services: Services, redis_client: redis.Redis
) -> None:
    body = f'{{"childid": {ADA}}}'.encode()
    message = UnreadableMessage("nobody", "celery", "task-1", ("account: is unknown",), body)
    front.runtime.intake().reject(message)
    redis_client.delete(keys.shared(front.runtime.settings.prefix, "accounts"))
    erase_record(services.erasure, "acme", "address", ADA, by="ada")
    assert find_ada(redis_client) == []


def counts_and_times(job: Any) -> tuple[Any, ...]:
    return job.counts, job.accepted_at, job.finished_at


def test_an_estate_of_the_same_number_is_another_record(front: Front, services: Services) -> None:
    job, relation = send(front, "create", BUYER, ADA, 5), Relation(BUYER, ADA, 5)
    front.runtime.flush("acme")
    before = (
        front.job(job),
        front.store.relation_history("acme", relation),
        front.runtime.queries.list_requests("acme"),
    )
    assert +Counter(erase_record(services.erasure, "acme", "address", ADA, by="ada")) == Counter()
    assert (
        front.job(job),
        front.store.relation_history("acme", relation),
        front.runtime.queries.list_requests("acme"),
    ) == before
    assert before[1][1]


def test_erasing_twice_finds_nothing_and_the_other_relations_are_still_done(
    front: Front, services: Services
) -> None:
    jobs = populate(front, services)
    erase_record(services.erasure, "acme", "address", ADA, by="ada")
    assert +Counter(erase_record(services.erasure, "acme", "address", ADA, by="ada")) == Counter()
    front.drain()
    queued, alone = front.job(jobs["queued"]), front.job(jobs["alone"])
    assert (queued.state, queued.children, queued.counts["applied"], queued.counts["superseded"]) == (
        "succeeded",
        (6,),
        1,
        1,
    )
    assert (alone.state, alone.by, alone.counts["superseded"]) == ("superseded", "erased", 1)
    assert front.store.counts("acme")["backlog"] == 0


def test_a_failed_job_whose_only_failure_was_erased_has_nothing_to_replay(
    front: Front, services: Services
) -> None:
    job = send(front, "create", BUYER, 2, [MISSING, 5], batch="import")
    front.runtime.flush("acme")
    erase_record(services.erasure, "acme", "address", MISSING, by="ada")
    assert front.store.failed_jobs("acme", limit=9) == []  # nothing of it is left to do
    assert requeue(front.runtime.intake(), "acme", [job]) == []
    assert front.store.batch_counts("acme", "import") == {"accepted": 1, "failed": 1}


def test_open_relations_of_the_record_end_superseded_and_those_split_with_them_continue(
    front: Front, services: Services
) -> None:
    front.store.pause("acme", Pause("by hand", f"look at {ADA}"))
    job = send(front, "create", BUYER, 1, [ADA, 7])
    lease = front.store.lease("acme", "h")
    assert lease is not None
    batch, work = (
        Batch(upsert=False, guarded=front.runtime.live_settings.guarded),
        lease.read(max_jobs=9, max_relations=99),
    )
    effects = batch.add_intents(work.jobs, work.records, now=work.now)
    effects.states = {
        each: case and case.with_progress(part=f"{Relation(BUYER, 1, ADA)}/0")
        for each, case in effects.states.items()
    }
    lease.claim(work.jobs, (), batch.writes(effects))
    lease.release()
    assert erase_record(services.erasure, "acme", "address", ADA, by="ada")["open"] == 1
    assert find_ada(front.runtime.client) == []
    record = front.job(job)
    assert (record.state, record.counts["superseded"], record.children) == ("held", 1, (7,))
    front.store.resume("acme")
    front.runtime.flush("acme")
    assert front.job(job).state == "succeeded"


def test_the_audit_log_shows_a_fingerprint_that_whoever_knows_the_id_can_check(
    front: Front, services: Services
) -> None:
    populate(front, services)
    erase_record(services.erasure, "acme", "address", ADA, by="ada")
    entry = front.runtime.job_admin.audit_log("acme", limit=1).entries[0]
    assert (entry.by, entry.act, entry.what) == (
        "ada",
        "erased",
        f"address {fingerprint(RecordRef('address', ADA), entry.name)}",
    )
    assert entry.count > 0


def test_a_fingerprint_of_this_release_can_be_checked_by_every_later_one() -> None:
    """The audit log and the document of an erasure outlive the release that wrote them."""
    assert fingerprint(RecordRef("address", 9001), "01jd3k9x2b7c1d4e5g6h7j8k9m") == "f0a0284782bdb24ae5"


def test_an_account_with_a_request_without_an_answer_is_not_touched(front: Front, services: Services) -> None:
    send(front, "create", BUYER, 1, ADA)
    lease = front.store.lease("acme", "h")
    assert lease is not None
    lease.begin("r1", Request((Action("create", BUYER, (1,), (ADA,)),)))
    lease.release()
    with pytest.raises(Unavailable, match="try again"):
        erase_record(services.erasure, "acme", "address", ADA, by="ada")
    assert front.store.lease("acme", "next") is not None  # it was given back
    assert find_ada(front.runtime.client)


def test_a_running_replay_that_would_send_the_record_is_deleted(front: Front, services: Services) -> None:
    send(front, "create", BUYER, 1, MISSING)
    front.runtime.flush("acme")
    replay = services.replays.prepare(
        "acme", JobFilter(error="record"), by="bob", correction={"childid": ADA}
    )
    services.replays.start(replay.id, by="bob")
    erase_record(services.erasure, "acme", "address", ADA, by="ada")
    assert front.runtime.job_admin.get_replay(replay.id) is None


def test_a_replay_that_has_read_its_set_sends_nothing_of_a_record_erased_meanwhile(
    front: Front, services: Services, redis_client: redis.Redis
) -> None:
    send(front, "create", BUYER, 1, MISSING)
    front.runtime.flush("acme")
    replay = services.replays.prepare(
        "acme", JobFilter(error="record"), by="bob", correction={"childid": ADA}
    )
    services.replays.start(replay.id, by="bob")

    class ErasedAfterReading:
        """The job admin of a worker that is slower than an erasure."""

        def __getattr__(self, name: str) -> Any:
            return getattr(front.runtime.job_admin, name)

        def replay_entries(self, *args: Any) -> Any:
            entries = front.runtime.job_admin.replay_entries(*args)
            erase_record(services.erasure, "acme", "address", ADA, by="ada")
            return entries

    run_replay(front.runtime.intake(), ErasedAfterReading(), replay.id)  # type: ignore[arg-type]
    assert find_ada(redis_client) == []
    assert front.store.counts("acme")["backlog"] == 0


def test_an_unknown_module_is_refused(services: Services) -> None:
    with pytest.raises(NotFound, match="known are address"):
        erase_record(services.erasure, "acme", "adress", 1, by="ada")


def test_the_proof_says_what_was_looked_at_and_done_and_names_nobody(
    front: Front, services: Services
) -> None:
    populate(front, services)
    proof, waiting = services.erasure.erase("acme", "address", ADA, by="ada", rewrite_aof=True)
    document = json.dumps(msgspec.to_builtins(proof))
    assert waiting is None
    assert str(ADA) not in document
    assert (proof.complete, proof.by, proof.module) == (True, "ada", "address")
    assert proof.fingerprint == fingerprint(RecordRef("address", ADA), proof.audit_entry)
    assert proof.begun_at <= proof.finished_at
    acme, unrouted = proof.accounts
    assert (acme.account, unrouted.account, unrouted.erased) == ("acme", "unrouted", {"payloads": 1})
    assert acme.looked_at["jobs"] >= 7
    assert min(acme.looked_at[kind] for kind in ("memories", "requests", "payloads", "replays", "deeds")) > 0
    assert proof.append_only_file.startswith("is being rewritten")
    again, _ = services.erasure.erase("acme", "address", ADA, by="ada")
    assert (again.erased, again.complete) == ({}, True)


def test_the_proof_of_an_erasure_that_waits_says_for_what_and_until_when(
    front: Front, services: Services
) -> None:
    send(front, "create", BUYER, 1, ADA)
    lease = front.store.lease("acme", "h")
    assert lease is not None
    work = lease.read(max_jobs=9, max_relations=99)
    batch = Batch(upsert=False, guarded=lambda _: "")
    lease.claim(work.jobs, (), batch.writes(batch.add_intents(work.jobs, work.records, now=work.now)))
    lease.begin("r1", Request((Action("create", BUYER, (1,), (ADA,)),)))
    lease.release()
    operator = front.client("admin")
    answer = operator.post("/v1/erasures", json={"account": "acme", "module": "address", "id": ADA})
    proof = answer.json()["proof"]
    assert (answer.status_code, proof["complete"]) == (503, False)
    [acme] = proof["accounts"]  # the key has no unrouted messages
    assert acme["waits"]["relations"] <= 1
    assert "try again" in acme["waits"]["why"]


def test_over_http_unrouted_messages_are_touched_only_for_a_key_that_has_them(
    front: Front, services: Services
) -> None:
    populate(front, services)
    operator = front.client("admin")
    form = {"account": "acme", "module": "address", "id": ADA}
    answer = operator.post("/v1/erasures", json=form).json()
    assert [each["account"] for each in answer["proof"]["accounts"]] == ["acme"]
    assert answer["erased"]["jobs"] == 5
    left = find_ada(front.runtime.client)
    assert left
    assert all(b"childid" in text for text in left)
    erase_record(services.erasure, "acme", "address", ADA, by="ada")
    assert find_ada(front.runtime.client) == []


def test_a_small_id_does_not_take_dates_codes_counts_and_other_jobs_with_it(
    front: Front, services: Services
) -> None:
    small = 11
    other = send(front, "create", BUYER, 3, 5, batch="import-2026-11-21", source="form")
    failed = send(front, "create", BUYER, 1, [MISSING, 6], event_id="e")
    front.runtime.flush("acme")
    send(front, "create", BUYER, 2, small)
    front.runtime.flush("acme")
    services.replays.prepare("acme", JobFilter(error="80"), by="bob")
    front.store.pause("acme", Pause("brake", "11 deletes within an hour, max_deletes_per_hour = 10"))
    before = front.job(other), front.job(failed)
    counts = erase_record(services.erasure, "acme", "address", small, by="ada")
    assert (counts["jobs"], counts["emptied"], counts["requests"]) == (1, 1, 1)
    assert sum(counts[kind] for kind in ("replays", "deeds", "batches", "payloads", "labels")) == 0
    assert (front.job(other), front.job(failed)) == before
    assert front.store.get_pause("acme").detail.startswith("11 deletes")  # type: ignore[union-attr]
    assert erase_record(services.erasure, "acme", "address", 80, by="ada").total() == 0


def test_what_a_person_noted_of_a_dismissal_is_erased_from_the_job_too(
    front: Front, services: Services, redis_client: redis.Redis
) -> None:
    whole = send(front, "create", BUYER, 1, MISSING)
    part = send(front, "create", BUYER, 2, [MISSING, 5, 6])
    front.runtime.flush("acme")
    services.jobs.dismiss("acme", [whole], by="bob", note=f"same as address {ADA}")
    selection = narrow([part], JobFilter(child=MISSING))
    services.jobs.dismiss("acme", selection, by="bob", note=f"is {ADA:,} by now")
    before = front.job(whole)
    assert find_ada(redis_client)
    erase_record(services.erasure, "acme", "address", ADA, by="ada")
    assert find_ada(redis_client) == []
    after = front.job(whole)
    assert (after.dismissed.by, after.dismissed.at) == ("bob", before.dismissed.at)
    assert {str(each.relation): each.dismissed and each.dismissed.by for each in front.job(part).failures}[
        f"{BUYER}:2:{MISSING}"
    ] == "bob"


def test_what_was_decided_about_one_relation_of_a_job_goes_with_its_record(
    front: Front, services: Services, redis_client: redis.Redis
) -> None:
    job = send(front, "create", BUYER, [ADA, 5, 6], MISSING)
    front.runtime.flush("acme")
    for estate in (ADA, 5):
        services.jobs.dismiss("acme", narrow([job], JobFilter(parent=estate)), by="bob", note="a twin")
    erase_record(services.erasure, "acme", "estate", ADA, by="ada")
    assert find_ada(redis_client) == []
    decided = {each.relation.parent: bool(each.dismissed) for each in front.job(job).failures}
    assert decided == {5: True, 6: False}


@pytest.mark.parametrize("act", ["dismiss", "replay"])
def test_an_act_that_goes_on_while_a_record_is_erased_does_not_write_its_words_again(
    front: Front, services: Services, redis_client: redis.Redis, act: str
) -> None:
    jobs = [send(front, "create", BUYER, estate, MISSING) for estate in (5, 6)]
    front.runtime.flush("acme")
    admin, note = front.runtime.job_admin, f"like {ADA}"
    if act == "dismiss":
        entry = AuditEntry(services.jobs.new_id(), "bob", "dismissed", f"child {ADA}", note)
        admin.dismiss("acme", jobs[:1], entry)
        erase_record(services.erasure, "acme", "address", ADA, by="ada")
        admin.dismiss("acme", jobs[1:], msgspec.structs.replace(entry, note=""))
        counts = [each.count for each in admin.audit_log("acme").entries if each.act == "dismissed"]
        assert counts == [2]
    else:
        replay = services.replays.prepare("acme", JobFilter(batch=f"b-{ADA}"), by="bob")
        services.replays.start(replay.id, by="bob")
        known = admin.get_replay(replay.id)
        erase_record(services.erasure, "acme", "address", ADA, by="ada")
        entry = AuditEntry(services.jobs.new_id(), "bob", "replay done", known.what, replay.id)
        admin.advance_replay(known, 0, 0, back=0, missed={}, audit_entry=entry)
    assert find_ada(redis_client) == []
