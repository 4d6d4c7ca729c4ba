"""Something else has written into an account's keys: the others notice nothing, and the doctor tells it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis

from ops.doctor.checks import inspect_store
from producers.services import build_services
from tests.support.browsing import open_browser
from tests.support.http_front import BUYER, Front, running
from worker.errors import StoreUnavailable, StoreUnreadable, Unavailable
from worker.ports.integrity import Inspection
from worker.ports.pace import Pause
from worker.store.due import Wakeable
from worker.store.redis_store import RedisStore

BASE = "relations:{beta}:"
Damage = Callable[[redis.Redis], object]
DAMAGES: dict[str, Damage] = {
    "another type": lambda client: (client.delete(f"{BASE}queue"), client.set(f"{BASE}queue", "x")),
    "another type of pace": lambda client: (client.delete(f"{BASE}pace"), client.set(f"{BASE}pace", "x")),
    "no number": lambda client: client.hset(f"{BASE}meta", "v", "x"),
    "no size": lambda client: client.hset(f"{BASE}meta", "bytes", ""),
    "no counter": lambda client: client.hset(f"{BASE}counts", "accepted", ""),
    "no text": lambda client: client.hset(f"{BASE}counts", b"\xff", "1"),
    "no time of refused credentials": lambda client: client.hset(
        f"{BASE}refused", mapping={"fingerprint": "f", "until": "x"}
    ),
    "no name of who works a batch": lambda client: client.hset(
        f"{BASE}work", mapping={"size": 1, "held": b"\xff"}
    ),
    "no number of deletes": lambda client: client.hset(f"{BASE}deletes", "29000000", "x"),
    "no record of a reference": lambda client: client.hset(f"{BASE}references:1", b"\xff", "1 x"),
    "no version of a replace": lambda client: client.hset(f"{BASE}replaced", "p:estate:address:buyer:1", "1"),
    "half a job": lambda client: [
        client.hset(key, short, client.hget(key, short)[:20])
        for key in client.scan_iter(f"{BASE}jobs:*")
        for short in client.hkeys(key)
    ],
    "no replays": lambda client: client.set(f"{BASE}running", "x"),
    "another type of history": lambda client: client.set(f"{BASE}history", "x"),
    "another type of what is due": lambda client: (
        client.delete(f"{BASE}due"),
        client.set(f"{BASE}due", "x"),
    ),
    "no relation": lambda client: client.zadd(f"{BASE}due", {b"\xff": 1}),
    "no name": lambda client: client.rpush(f"{BASE}queue", b"\xff"),
    "no time of a pause": lambda client: client.hset(f"{BASE}pause", "since", "x"),
    "no size of a batch": lambda client: client.hset(f"{BASE}work", "size", "x"),
    "no request": lambda client: client.hset(f"{BASE}journal", "r", "x"),
    "no time of a wake": lambda client: client.hset(f"{BASE}wake", "at", "x"),
    "no number of pace": lambda client: client.hset(f"{BASE}pace", "tat", "x"),
    "no message of a callback": lambda client: client.hset(f"{BASE}callback", "m", "x"),
    "no act": lambda client: (client.hset(f"{BASE}deed", "d", "x"), client.zadd(f"{BASE}deeds", {"d": 9e15})),
    "no replay": lambda client: (
        client.hset(f"{BASE}replay:beta-9", "about", "x"),
        client.zadd(f"{BASE}replays", {"beta-9": 9e15}),
    ),
    "no record of a request": lambda client: (
        client.rpush(f"{BASE}requests", "r9"),
        client.set(f"{BASE}request:r9", "9001"),
    ),
    "no faults of a message": lambda client: client.hset(f"{BASE}payload:beta-9", "faults", "x"),
    "another type of the audit log": lambda client: client.set(f"{BASE}deeds", "x"),
}


def send_to_each(front: Front) -> None:
    """Send a change to the account that is well, and to the one that is to be damaged."""
    for account in ("acme", "beta"):
        assert send(front, account, 9001) == 202


@pytest.fixture
def front(tmp_path: Path, redis_url: str) -> Iterator[Front]:
    with running(tmp_path, redis_url) as served:
        served.runtime.wake = lambda account, _: served.woken.append(account)
        yield served


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_account_that_cannot_be_read_hurts_only_itself(
    front: Front, redis_client: redis.Redis, damage: str
) -> None:
    send_to_each(front)
    DAMAGES[damage](redis_client)
    assert send(front, "acme", 9002) == 202
    for _ in range(8):  # each looks after a few accounts, drawn by chance
        redis_client.delete("relations:{acme}:wake")
        front.woken.clear()
        front.runtime.sweeper.stalled_replays()
        front.runtime.sweep()
        assert "acme" in front.woken
    front.drain()
    assert front.store.counts("acme")["succeeded"] == 2
    for path in ("/readyz", "/metrics", "/v1/health", "/v1/accounts"):
        assert front.client("all").get(path).status_code == 200, path
    with closing(open_browser(front, "all")) as browser:
        for path in ("/", "/accounts", "/accounts/acme", "/errors", "/jobs", "/system"):
            assert browser.get(path).status_code == 200, path
        assert browser.get("/accounts/beta").status_code in (200, 503)
    assert not [fields for event, fields in front.events if event == "request.failed"]
    assert redis_client.exists("relations:{acme}:history")
    reported = [fields for event, fields in front.events if event == "store.unavailable"]
    assert len(reported) <= 1
    assert all(fields["account"] == "beta" for fields in reported)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_sweep_after_a_step_of_the_clock_finds_the_work_of_the_others(
    front: Front, redis_client: redis.Redis, damage: str
) -> None:
    send_to_each(front)
    ahead = front.runtime.metrics.now() + 3_600_000_000
    redis_client.zadd(f"{BASE}due", {"estate:address:buyer:1:1": ahead})
    DAMAGES[damage](redis_client)
    if redis_client.type(f"{BASE}due") == b"zset":
        redis_client.zadd(f"{BASE}due", dict.fromkeys(redis_client.zrange(f"{BASE}due", 0, -1), ahead))
    front.runtime.metrics.record_sweep(0, at=ahead)
    for _ in range(2):
        redis_client.delete("relations:{acme}:wake")
        front.woken.clear()
        front.runtime.sweep()
        assert "acme" in front.woken


def test_a_sweep_asks_a_few_times_more_where_one_of_many_accounts_cannot_be_read(
    redis_client: redis.Redis,
) -> None:
    asked = list[int]()

    class Store(RedisStore):
        def _read_wakeable(self, accounts: Sequence[str]) -> dict[str, Wakeable]:
            asked.append(len(accounts))
            return super()._read_wakeable(accounts)

    names = [f"a{number}" for number in range(64)]
    redis_client.set("relations:{a41}:queue", "x")
    redis_client.rpush("relations:{a40}:queue", "y")
    redis_client.rpush("relations:{a42}:queue", "y")
    assert sorted(Store(redis_client, "relations").due_accounts(names)) == ["a40", "a42"]
    assert len(asked) <= 13


@pytest.mark.parametrize("damage", DAMAGES)
def test_pages_of_several_accounts_show_the_others_and_its_own_page_says_what_is_wrong(
    front: Front, redis_client: redis.Redis, damage: str
) -> None:
    send_to_each(front)
    DAMAGES[damage](redis_client)
    client = front.client("all")
    client.headers["Accept"] = "text/html"
    for path in ("/", "/accounts", "/accounts/acme", "/jobs", "/errors", "/replays", "/find?q=501"):
        assert client.get(path).status_code == 200, path
    assert "/jobs/acme-" in client.get("/jobs").text
    page = client.get("/accounts/beta")
    assert page.status_code == 200 or "beta cannot be read" in page.text or "WRONGTYPE" in page.text
    assert page.status_code in (200, 503)
    assert [each for each in front.events if each[0] == "request.failed"] == []
    if any(each.name == "unreadable" for each in front.runtime.find_troubles()):
        for path in ("/", "/accounts"):
            assert "what is stored of it cannot be read" in client.get(path).text


@pytest.mark.parametrize("damage", DAMAGES)
def test_whoever_works_or_pauses_an_account_that_cannot_be_read_is_told_so(
    front: Front, redis_client: redis.Redis, damage: str
) -> None:
    send_to_each(front)
    DAMAGES[damage](redis_client)
    acts: tuple[Callable[[], object], ...] = (
        lambda: front.runtime.flush("beta"),
        lambda: front.store.get_pause("beta"),
        lambda: front.store.pause("beta", Pause("hand")),
        lambda: front.store.resume("beta"),
    )
    for act in acts:
        with suppress(StoreUnavailable):  # alone
            act()
    client = front.client("all")
    [job] = client.get("/v1/jobs?account=acme").json()["jobs"]
    lists = ("jobs", "errors", "requests", "replays", "callbacks", "batches/x")
    for path in (*(f"{name}?account=beta" for name in lists), f"jobs/{job['id']}"):
        assert client.get(f"/v1/{path}").status_code in (200, 404, 503), path
    with suppress(Unavailable):
        build_services(front.runtime).erasure.erase("beta", "address", 9001, by="ada")
    assert [each for each in front.events if each[0] == "request.failed"] == []


SHARED_DAMAGES: dict[str, Damage] = {
    "no worker": lambda client: client.hset("relations:workers", "w", "x"),
    "no time of a sweep": lambda client: client.hset("relations:sweep", "at", "x"),
    "no number of sweeps": lambda client: client.hset("relations:sweep", "made", "x"),
    "no account": lambda client: client.sadd("relations:accounts", b"\xff"),
    "no source": lambda client: client.sadd("relations:sources", b"\xff"),
    "no reason": lambda client: client.hset("relations:refusals", mapping={"x": 1, "key:a:b": 1, b"\xff": 1}),
    "no number of refusals": lambda client: client.hset("relations:refusals", "key:unknown", "x"),
    "no number of deliveries": lambda client: client.hset("relations:deliveries", "immo:accepted", "x"),
}


@pytest.mark.parametrize("damage", SHARED_DAMAGES)
def test_what_else_stands_in_a_key_beside_the_accounts_is_passed_over(
    front: Front, redis_client: redis.Redis, damage: str
) -> None:
    send_to_each(front)
    SHARED_DAMAGES[damage](redis_client)
    redis_client.delete("relations:{acme}:wake")
    front.woken.clear()
    front.runtime.sweep()
    assert "acme" in front.woken
    client = front.client("all")
    for path in ("/readyz", "/metrics", "/v1/health", "/v1/accounts", "/v1/deliveries"):
        assert client.get(path).status_code == 200, path
    assert "relations_store_up 1" in client.get("/metrics").text
    assert front.runtime.metrics.sweep_stats().at


STOPPING = [name for name in DAMAGES if "type" in name and not name.endswith(("history", "audit log"))]


@pytest.mark.parametrize("damage", STOPPING)
def test_an_account_that_another_type_stops_is_named(
    front: Front, redis_client: redis.Redis, damage: str
) -> None:
    assert send(front, "beta", 9001) == 202
    DAMAGES[damage](redis_client)
    troubles = [each.name for each in front.runtime.find_troubles() if each.account == "beta"]
    assert troubles == ["unreadable"]
    assert "beta" in front.client("all").get("/readyz").text


def test_what_cannot_be_read_is_told_without_what_it_is(front: Front, redis_client: redis.Redis) -> None:
    redis_client.hset(f"{BASE}counts", "accepted", "anna@example.test")
    with pytest.raises(StoreUnreadable) as raised:
        front.runtime.metrics.account_stats(["beta"])
    assert str(raised.value) == "what is stored of account beta cannot be read"
    assert list(front.runtime.metrics.account_stats(["acme", "beta"])) == ["acme"]


def test_a_job_that_cannot_be_read_fails_no_task_and_is_named(
    front: Front, redis_client: redis.Redis
) -> None:
    assert send(front, "beta", 9001) == 202
    DAMAGES["half a job"](redis_client)
    [job] = front.store.database.read_names("beta", "lrange", "queue", 0, -1)
    with pytest.raises(StoreUnreadable, match=f"what is stored of job {job} cannot be read"):
        front.runtime.flush("beta")
    for _ in range(4):
        redis_client.delete(f"{BASE}holder")
        with pytest.raises(StoreUnreadable):
            front.runtime.flush("beta")
    answer = front.client("all").get(f"/v1/jobs/beta-{job}")
    assert (answer.status_code, answer.json()["detail"]) == (
        503,
        f"what is stored of job {job} cannot be read",
    )


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_read_is_named_and_taken_away_and_the_account_goes_on(
    front: Front, redis_client: redis.Redis, damage: str
) -> None:
    assert send(front, "beta", 9001) == 202
    DAMAGES[damage](redis_client)
    named = inspect(front, repair=False)
    assert {flaw.kind for flaw in named.flaws} == {"unreadable"}
    assert not named.mended
    assert inspect(front, repair=False) == named  # nothing was taken away
    assert inspect(front, repair=True).mended
    assert inspect(front, repair=False).flaws == ()
    front.drain("beta")
    assert send(front, "beta", 9002) == 202
    front.drain("beta")
    counts = front.store.counts("beta")
    assert counts["succeeded"] + counts.get("lost", 0) == 2
    assert counts.get("lost", 0) == (damage == "half a job")
    assert [each for each in front.runtime.find_troubles() if each.account] == []


@pytest.mark.parametrize(("field", "text"), [("reason", b"\xff"), ("since", b"x"), ("until", b"x")])
def test_a_pause_of_which_something_was_taken_away_holds_until_it_is_ended(
    front: Front, redis_client: redis.Redis, field: str, text: bytes
) -> None:
    front.store.pause("beta", Pause("hand"))
    redis_client.hset(f"{BASE}pause", field, text)
    assert [flaw.kind for flaw in inspect(front, repair=True).flaws] == ["unreadable"]
    assert front.store.get_pause("beta")
    front.store.pause("beta", Pause("hand", "once more"))
    assert front.store.resume("beta")
    assert front.store.get_pause("beta") is None


def test_who_had_something_taken_away_is_noted_though_a_worker_keeps_the_account(
    front: Front, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store.inspection.inspector.MAX_WAIT", 0.0)
    assert send(front, "beta", 9001) == 202
    redis_client.hset(f"{BASE}counts", "accepted", "x")
    assert front.store.lease("beta", "busy")
    with pytest.raises(Unavailable):
        inspect(front, repair=True)
    [entry] = front.runtime.job_admin.audit_log("beta").entries
    assert (entry.by, entry.act, entry.what) == ("ada", "store repaired", "1 unreadable")


def test_a_note_of_a_dead_worker_and_names_that_we_do_not_know_are_no_fault(
    front: Front, redis_client: redis.Redis
) -> None:
    assert send(front, "beta", 9001) == 202
    lease = front.store.lease("beta", "dead")
    assert lease is not None
    lease.read(max_jobs=10, max_relations=10)  # one job, and its worker dies
    redis_client.delete(f"{BASE}holder")
    note = redis_client.hgetall(f"{BASE}work")
    assert note[b"alone"]
    assert note[b"held"] == b"dead"
    redis_client.set(f"{BASE}later", "x")
    redis_client.hset(f"{BASE}pace", "later", "x")
    assert inspect(front, repair=True).flaws == ()
    assert redis_client.hgetall(f"{BASE}work") == note
    assert redis_client.get(f"{BASE}later") == b"x"
    assert redis_client.hget(f"{BASE}pace", "later") == b"x"


def test_nothing_is_taken_from_the_data_of_a_newer_layout(front: Front, redis_client: redis.Redis) -> None:
    assert send(front, "beta", 9001) == 202
    redis_client.hset(f"{BASE}meta", "layout", "3")
    redis_client.delete(f"{BASE}queue")
    redis_client.zadd(f"{BASE}queue", {"x": 1})
    with pytest.raises(StoreUnavailable, match="a newer release has written it"):
        inspect(front, repair=True)
    assert redis_client.zcard(f"{BASE}queue") == 1


def inspect(front: Front, *, repair: bool) -> Inspection:
    return inspect_store(front.runtime, "beta", repair=repair, by="ada", on_progress=lambda _: None)


def send(front: Front, account: str, child: int) -> int:
    """Return the status of the answer to a change."""
    change = {**BUYER, "account": account, "childid": child}
    return front.client().post("/v1/changes", json=[change]).status_code
