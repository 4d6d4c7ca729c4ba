"""What release 0.1.0 stored is read by today's code, and its open work is finished (see `data/README.md`)."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.broken_stores import inspector_of
from tests.support.flow_world import START, World
from tests.support.store_steps import count_by_state, metrics_of
from worker.contract import Change, Relation
from worker.limiter.redis_limiter import RedisLimiter
from worker.planner.actions import Action
from worker.planner.relation_state import Stage
from worker.ports.metrics import WorkerInfo
from worker.ports.pace import Pause
from worker.ports.records import AuditEntry, JobFilter, JobRecord
from worker.ports.replays import ReplayEntry
from worker.ports.store import IntakeBounds, Receipt, Retention, Submission
from worker.store.database import Database
from worker.store.job_admin import RedisJobAdmin
from worker.store.metrics import RedisMetrics
from worker.store.migration import migrate
from worker.store.queries import RedisQueries
from worker.store.redis_store import RedisStore

RELEASE = json.loads((Path(__file__).parent / "data" / "release_0_1_0.json").read_text())
IDS, PREFIX, NOW = RELEASE["names"], RELEASE["prefix"], RELEASE["now"]
ACCOUNTS = ("acme", "baker", "cargo")
BUYER, BROKER, UNIT, APPOINTMENT = (
    "estate:address:buyer",
    "estate:address:contactPerson",
    "estate:estateUnit",
    "calendar:address",
)


@pytest.fixture
def old_client(redis_client: Redis) -> Redis:
    """Return the server with the release's data restored."""
    writers: dict[str, Callable[[bytes, Any], object]] = {
        "string": lambda key, value: redis_client.set(key, to_bytes(value)),
        "hash": lambda key, rows: redis_client.hset(
            key, mapping={to_bytes(name): to_bytes(value) for name, value in rows}
        ),
        "list": lambda key, values: redis_client.rpush(key, *map(to_bytes, values)),
        "set": lambda key, values: redis_client.sadd(key, *map(to_bytes, values)),
        "zset": lambda key, rows: redis_client.zadd(key, {to_bytes(name): score for name, score in rows}),
    }
    for entry in RELEASE["keys"]:
        key = to_bytes(entry["key"])
        writers[entry["type"]](key, entry["value"])
        if entry["ttl"] > 0:
            redis_client.expire(key, entry["ttl"])
    return redis_client


@pytest.fixture
def client(old_client: Redis) -> Redis:
    """Return the server with the release's data, brought to today's layout."""
    for account in (*ACCOUNTS, "unrouted"):
        migrate(Database(old_client, PREFIX, lambda: NOW), account, Retention())
    return old_client


@pytest.fixture
def store(client: Redis) -> RedisStore:
    return RedisStore(client, PREFIX, now=lambda: NOW)


@pytest.fixture
def job_admin(client: Redis) -> RedisJobAdmin:
    return RedisJobAdmin(Database(client, PREFIX, lambda: NOW))


@pytest.fixture
def queries(client: Redis) -> RedisQueries:
    return RedisQueries(Database(client, PREFIX, lambda: NOW))


def to_bytes(value: Any) -> bytes:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else str(value).encode()


def get_job(store: RedisStore, name: str) -> JobRecord:
    job = store.get_job(IDS[name])
    assert job is not None
    return job


def test_what_the_release_wrote_is_nothing_unreadable_that_a_repair_takes_away(old_client: Redis) -> None:
    inspector = inspector_of(RedisStore(old_client, PREFIX, now=lambda: NOW))
    for account in (*ACCOUNTS, "unrouted"):
        assert inspector.check_readable(account, repair=True) == ()
    assert old_client.hlen(f"{PREFIX}:{{acme}}:kept") > 0
    assert old_client.llen(f"{PREFIX}:{{baker}}:queue") > 0


def test_what_a_producer_of_the_release_accepts_later_is_left_in_its_own_inbox(old_client: Redis) -> None:
    inspector = inspector_of(RedisStore(old_client, PREFIX, now=lambda: NOW))
    inspector.check_readable("cargo")
    inbox, jobs = f"{PREFIX}:{{cargo}}:inbox", f"{PREFIX}:{{cargo}}:jobs"
    old_client.rpush(inbox, "cargo-x")
    old_client.zadd(jobs, {"cargo-x": 1})
    old_client.set(f"{PREFIX}:{{cargo}}:event:0913", "cargo-x f")
    assert inspector.check_readable("cargo", repair=True) == ()
    assert (old_client.llen(inbox), old_client.zcard(jobs)) == (1, 1)
    assert old_client.exists(f"{PREFIX}:{{cargo}}:event:0913")


# --- jobs and lists


def test_a_finished_job_is_read_with_all_it_was_accepted_with(store: RedisStore) -> None:
    job = get_job(store, "applied")
    assert (job.account, job.action, job.type, job.parents, job.children) == (
        "acme",
        "create",
        BUYER,
        (101,),
        (9001, 9002),
    )
    assert (job.source, job.event_id, job.batch, job.correlation, job.number) == (
        "portal",
        "e-1",
        "import",
        "call-1",
        1,
    )
    assert (job.state, job.total, job.counts["applied"], job.attempts) == ("succeeded", 2, 2, 1)
    assert START * 1_000_000 == job.accepted_at == job.occurred_at < job.finished_at
    assert get_job(store, "with_info").info == (("statusTerminbestaetigung", "bestätigt"),)


def test_jobs_are_read_in_the_state_they_were_left_in(store: RedisStore) -> None:
    states = {
        name: get_job(store, name).state
        for name, job in IDS.items()
        if isinstance(job, str) and store.get_job(job)
    }
    assert states == {
        "applied": "succeeded",
        "with_info": "succeeded",
        "superseded": "superseded",
        "deleted": "succeeded",
        "stale": "superseded",
        "failed": "failed",
        "dismissed": "failed",
        "replaced": "failed",
        "requeued": "queued",
        "replacement": "succeeded",
        "unreadable": "failed",
        "unrouted": "failed",
        "retrying": "retrying",
        "in_doubt": "verifying",
        "in_doubt_delete": "verifying",
        "split": "verifying",
        "modified": "failed",
        "cancelled": "superseded",
        "baker": "queued",
        "cargo": "queued",
    }
    assert (get_job(store, "superseded").by, get_job(store, "stale").by) == (IDS["deleted"],) * 2
    assert get_job(store, "stale").counts == {"applied": 0, "superseded": 0, "stale": 1, "failed": 0}
    assert get_job(store, "cancelled").by == "cancelled"


def test_failed_jobs_are_read_with_their_reason_and_what_was_decided_about_them(store: RedisStore) -> None:
    failed, dismissed, replaced = (get_job(store, name) for name in ("failed", "dismissed", "replaced"))
    assert failed.refusal == (80, "record", "no such record: 4711", f"{BUYER}:111:4711")
    assert (failed.counts, failed.failed) == (
        {"applied": 1, "superseded": 0, "stale": 0, "failed": 1},
        (Relation(BUYER, 111, 4711),),
    )
    assert dismissed.dismissed is not None
    assert (dismissed.dismissed.by, dismissed.dismissed.why) == ("ada", "sold")
    assert (replaced.replayed_by, get_job(store, "replacement").replays) == (
        (IDS["replacement"],),
        IDS["replaced"],
    )
    first, second = (store.get_job(job) for job in IDS["replayed"])
    assert first is not None
    assert second is not None
    assert (first.replay, second.replay, first.attempts) == (IDS["running"], "", 3)


def test_lists_counts_and_groups_are_read(store: RedisStore, queries: RedisQueries) -> None:
    page = queries.find_jobs("acme", JobFilter(), limit=100)
    assert [job.number for job in page.entries] == list(range(28, 0, -1))
    of_import = queries.find_jobs("acme", JobFilter(batch="import", state="failed"), limit=100)
    assert [job.id for job in of_import.entries] == [IDS["failed"]]
    waiting = [IDS["failed"], *IDS["replayed"], IDS["unreadable"], IDS["swap"][1], IDS["modified"]]
    assert store.failed_jobs("acme", limit=100) == waiting
    groups = {(group.code, group.error, group.type): group.jobs for group in queries.failure_groups("acme")}
    assert groups == {
        (80, "record", BUYER): 3,
        (80, "record", BROKER): 1,
        (0, "unreadable", ""): 1,
        (181, "shape", APPOINTMENT): 1,
    }
    assert count_by_state(metrics_of(store), "acme") == {
        "queued": 7,
        "parked": 0,
        "sending": 0,
        "retrying": 3,
        "verifying": 3,
        "held": 0,
        "succeeded": 4,
        "superseded": 3,
        "failed": 8,
        "unresolved": 6,
    }
    counts = store.counts("acme")
    assert (counts["accepted"], counts["backlog"], counts["open"], counts["requests"]) == (28, 7, 14, 19)
    assert store.batch_counts("acme", "import") == {
        "accepted": 5,
        "failed": 1,
        "succeeded": 2,
        "superseded": 1,
    }


def test_an_event_id_is_still_known(store: RedisStore) -> None:
    world = World(lambda _: store)
    change = Change(
        account="acme",
        action="create",
        type=BUYER,
        parents=(101,),
        children=(9001, 9002),
        batch="import",
        event_id="e-1",
        source="portal",
    )
    [receipt] = world.accept(change)
    assert (receipt.job, receipt.duplicate) == (IDS["applied"], True)


# --- open work and memories


def test_open_relations_are_read_with_their_progress(queries: RedisQueries) -> None:
    wanted = {
        "in doubt": Relation(BUYER, 331, 9031),
        "in doubt delete": Relation(BUYER, 101, 9002),
        "retrying": Relation(BUYER, 321, 9021),
        "split": Relation(BUYER, 341, 9042),
        "first half": Relation(BROKER, 301, 9011),
        "waiting half": Relation(BROKER, 301, 9013),
    }
    records = queries.get_records("acme", wanted.values())
    opens = {name: records[relation].open for name, relation in wanted.items()}
    progress = {
        name: (
            work.rejections,
            work.lost_writes,
            work.stage,
            work.part,
            work.held,
        )
        for name, work in opens.items()
        if work
    }
    assert progress == {
        "in doubt": (0, 1, Stage.READ_BACK, "", False),
        "in doubt delete": (0, 1, Stage.READ_BACK, "", False),
        "retrying": (3, 0, Stage.WRITE, "", False),
        "split": (0, 0, Stage.WRITE_ABSENT, f"{BUYER}:341:9041/0", False),
        "first half": (3, 0, Stage.WRITE, f"{BROKER}:301:9011/.0", False),
        "waiting half": (0, 0, Stage.WRITE, "", True),
    }
    intents = {name: (work.intents[0].job, work.intents[0].action) for name, work in opens.items() if work}
    assert intents["in doubt delete"] == (IDS["in_doubt_delete"], "delete")
    assert intents["waiting half"] == (IDS["swap"][2], "delete")
    doubt = records[wanted["in doubt"]].doubt
    assert doubt is not None
    assert (doubt.kind, doubt.until > NOW) == ("create", True)


def test_the_work_that_a_dead_worker_left_is_read(store: RedisStore, job_admin: RedisJobAdmin) -> None:
    lease = store.lease("acme", "today")
    assert lease is not None
    work = lease.read(max_jobs=1000, max_relations=5000)
    assert [
        job.job for job in work.jobs
    ] == []  # half of what killed its worker is read, and that is due already
    [begun] = work.begun
    halves = [(9041, 9042, 9043, 9044), (9045, 9046, 9047, 9048)]
    assert [(action.kind, action.parents, action.children) for action in begun.request.actions] == [
        ("create", (341,), children) for children in halves
    ]
    assert job_admin.unsettled_requests("acme").requests == (begun,)
    assert lease.guarded_relations([f"{BROKER}:301"]) == {
        f"{BROKER}:301": (Relation(BROKER, 301, 9011), Relation(BROKER, 301, 9013))
    }


def test_what_explains_a_relation_is_read(store: RedisStore, queries: RedisQueries) -> None:
    record, events = store.relation_history("acme", Relation(BUYER, 102, 9001))
    assert record.confirmed.absent.job == IDS["deleted"]
    assert {event.job: event.result for event in events} == {
        IDS["superseded"]: "superseded",
        IDS["deleted"]: "applied",
        IDS["stale"]: "stale",
    }
    known = queries.get_records("acme", [Relation(APPOINTMENT, 201, 9001)])[Relation(APPOINTMENT, 201, 9001)]
    assert known.confirmed.info["statusTerminbestaetigung"].value == "bestätigt"
    [request_id] = get_job(store, "applied").requests
    request = store.get_request("acme", request_id)
    assert request is not None
    assert (request.status, request.correlations) == (200, ("call-1",))
    assert Action("create", BUYER, (101,), (9001, 9002)) in request.actions
    page = queries.list_requests("acme", limit=100)
    assert len(page.entries) == 19
    assert page.entries[-1] == request


# --- people, replays, monitors


def test_unreadable_messages_are_read_as_they_came(job_admin: RedisJobAdmin) -> None:
    payload = job_admin.get_payload(IDS["unreadable"])
    assert payload == ('{"childid": 9001, "note": "café"}'.encode(), ("parentid: is required",), 34, None)
    assert job_admin.get_payload(IDS["unrouted"]) == (
        b"\xff\xfe not JSON",
        ("account: is required",),
        11,
        None,
    )


def test_a_prepared_and_a_half_run_replay_are_read_and_go_on(job_admin: RedisJobAdmin) -> None:
    prepared, running = (job_admin.get_replay(IDS[name]) for name in ("prepared", "running"))
    assert prepared is not None
    assert running is not None
    assert (prepared.by, prepared.what, prepared.state) == ("ada", "failed, parent 111", "previewed")
    assert (prepared.correction, prepared.plan) == ({"childid": {"4711": 9003}}, {"creates": 1})
    assert (prepared.refused, prepared.examples) == ({"dismissed": 1}, {"dismissed": IDS["dismissed"]})
    message = {"account": "acme", "action": "create", "relationtype": BUYER, "parentid": 111, "childid": 9003}
    assert job_admin.replay_entries(prepared.id, 0, 9) == [ReplayEntry(IDS["failed"], (message,))]
    assert (running.state, running.done, running.back, running.eligible) == ("running", 1, 1, 2)
    assert job_admin.replay_entries(running.id, 0, 9) == [ReplayEntry(job) for job in IDS["replayed"]]
    assert {replay.id for replay in job_admin.list_replays("acme")} == {prepared.id, running.id}
    assert job_admin.stalled_replays("acme", 1.0) == [running.id]
    done = AuditEntry("zzz", "bob", "replay done")
    assert job_admin.advance_replay(running, 1, 2, back=1, missed={}, audit_entry=done) == "done"


def test_the_audit_log_is_read(job_admin: RedisJobAdmin) -> None:
    [entries, next_cursor] = job_admin.audit_log("acme")
    acts = [(entry.by, entry.act, entry.what, entry.note, entry.count) for entry in entries]
    assert sorted(acts) == [
        ("ada", "cancelled", "one job", "sent twice", 1),
        ("ada", "dismissed", "one job", "sold", 1),
        ("ada", "imported", "portal.csv", "first lines", 3),
        ("ada", "replay prepared", "failed, address 4712", "", 2),
        ("ada", "replay prepared", "failed, parent 111", "", 1),
        ("ada", "replay running", "", "", 0),
    ]
    assert next_cursor == ""
    assert [entry.at for entry in entries] == sorted((entry.at for entry in entries), reverse=True)


def test_pauses_are_read(store: RedisStore) -> None:
    assert store.get_pause("acme") is None
    assert store.get_pause("baker") == Pause("hand", "moving", since=NOW)
    refused = Pause("credentials", "137: hmac wrong", since=NOW, fingerprint="f-old")
    assert store.get_pause("cargo") == refused
    assert store.due_accounts(["cargo"], credentials={"cargo": "f-old"}) == []
    assert store.resume("cargo", since=NOW)


def test_metrics_workers_sweeps_and_paces_are_read(client: Redis) -> None:
    metrics = RedisMetrics(Database(client, PREFIX))
    stats = metrics.account_stats(ACCOUNTS)
    acme = stats["acme"]
    assert (acme.backlog, acme.open, acme.begun, acme.unresolved) == (7, 14, 1, 6)
    assert (acme.tally["outcomes:applied"], acme.tally["deed:imported"]) == (6, 3)
    assert stats["baker"].pause == Pause("hand", "moving", since=NOW)
    worker = WorkerInfo(name="celery@here", hostname="here", pid=4242, concurrency=2, version="0.1.0", at=NOW)
    assert metrics.list_workers() == [worker]
    assert metrics.sweep_stats()[:3] == (NOW, 1, 2)
    pace = RedisLimiter(client, PREFIX).state("acme")
    assert (pace["factor"], pace["reason"], pace["not_before"]) == (0.5, "HTTP 429", NOW / 1e6 + 30)


# --- the work is finished


def test_flushing_ends_every_open_job_with_one_outcome_per_relation(client: Redis) -> None:
    world = World(lambda now: RedisStore(client, PREFIX, now=now), accounts=ACCOUNTS)
    world.clock.advance((NOW - world.clock.now()) / 1e6)
    for account, relations in RELEASE["crm"].items():
        world.simulator.seed(f"token-{account}", {tuple(row[:3]): row[3] for row in relations})
    for account in ("baker", "cargo"):
        assert world.store.resume(account)
    queries = RedisQueries(Database(client, PREFIX))
    jobs = [job for account in ACCOUNTS for job in queries.find_jobs(account, JobFilter(), limit=100).entries]
    open_jobs = [job.id for job in jobs if not job.finished_at]
    assert len(open_jobs) == 15
    world.drain()
    for job in map(world.store.get_job, open_jobs):
        assert job is not None
        assert job.state in ("succeeded", "superseded")
        assert sum(job.counts.values()) == job.total
    assert world.open_accounts() == {}
    assert RedisJobAdmin(Database(client, PREFIX)).unsettled_requests("acme").requests == ()
    assert count_by_state(metrics_of(world.store), "acme")["unresolved"] == 6
    assert world.relations().keys() == {
        Relation(APPOINTMENT, 201, 9001),
        Relation(BUYER, 111, 9003),
        Relation(BUYER, 113, 9004),
        Relation(BUYER, 116, 4711),
        Relation(BUYER, 321, 9021),
        Relation(BUYER, 331, 9031),
        Relation(BUYER, 331, 9032),
        *(Relation(BUYER, 341, child) for child in range(9041, 9049)),
        Relation(BUYER, 401, 9001),
        Relation(BROKER, 301, 9011),
        Relation(BROKER, 402, 9011),
        Relation(UNIT, 501, 502),
    }
    assert [set(world.relations(account)) for account in ("baker", "cargo")] == [{(BUYER, 1, 2)}] * 2


@pytest.mark.parametrize(("writer", "is_known"), [("webhook", True), ("producer", False)])
def test_an_event_id_that_the_release_stored_is_a_delivery_s_only_if_a_webhook_wrote_it(
    old_client: Redis, writer: str, is_known: bool
) -> None:
    base, known = f"{PREFIX}:{{acme}}", IDS["applied"]
    digest = old_client.hget(f"{base}:job:{known}", "k").decode()
    if writer == "webhook":
        old_client.set(f"{base}:event:{digest}", f"{known} ")
    store = RedisStore(old_client, PREFIX, now=lambda: NOW)
    delivered = Change(
        account="acme",
        action="create",
        type=BUYER,
        parents=(1,),
        children=(2,),
        source="portal",
        delivered=True,
    )
    entry = Submission("acme-new", delivered, "e-1")
    (receipt,) = store.accept("acme", [entry], IntakeBounds(1000, 30 * 86_400)).receipts
    assert receipt == (Receipt(known, duplicate=True) if is_known else Receipt("acme-new"))


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_repair_takes_nothing_away_of_what_the_release_wrote(old_client: Redis, account: str) -> None:
    jobs = set(old_client.zrange(f"{PREFIX}:{{{account}}}:jobs", 0, -1))
    store = RedisStore(old_client, PREFIX, now=lambda: NOW)
    inspector = inspector_of(store)
    assert inspector.check_readable(account, repair=True) == ()
    assert inspector.inspect(account, repair=True).flaws == ()
    found = RedisQueries(store.database).find_jobs(account, JobFilter(), limit=1000).entries
    assert {job.id.encode() for job in found} == jobs


@pytest.mark.parametrize("account", [*ACCOUNTS, "unrouted"])
def test_what_was_moved_contradicts_itself_nowhere(store: RedisStore, account: str) -> None:
    assert inspector_of(store).inspect(account).flaws == ()
