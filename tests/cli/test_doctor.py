"""The doctor: each finding by the facts, and the command against a real Redis and API without a worker."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from ops.dev.redis_server import RedisServer, run_server
from ops.doctor.accounts import check_account, check_rights, check_work
from ops.doctor.findings import Finding
from ops.doctor.rights import MEND, NO_OTHER_NAMES
from ops.doctor.server import check_clock, check_eviction, check_persistence, check_server_version
from ops.doctor.workers import check_names, check_workers
from ops.simulator import FaultPlan, InjectedFault, Records, Simulator, serve
from tests.support.cli_runner import SECRET, TOKEN, Cli, make_cli, make_environ, write_settings
from tests.support.error_replies import ErrorReplies, OtherReplies
from worker.config import load_settings
from worker.contract import from_message
from worker.ports.pace import Pause
from worker.wiring import Runtime

BUYER = "estate:address:buyer"


@pytest.mark.parametrize(
    ("number", "level"),
    [("6.2.14", "fail"), ("7.0.0", "ok"), ("7.2.4", "ok"), ("8.0.1", "ok"), ("10.1.0", "ok")],
)
def test_servers_from_version_7_on_are_ok(number: str, level: str) -> None:
    assert check_server_version({"redis_version": number}, "redis://here").level == level


@pytest.mark.parametrize(("kind", "number"), [("valkey", "9.1.0"), ("redict", "7.3.6")])
def test_a_server_that_was_tried_is_called_by_its_own_name_and_number(kind: str, number: str) -> None:
    info = {"redis_version": "7.2.4", "server_name": kind, f"{kind}_version": number}
    found = check_server_version(info, "redis://here")
    assert (found.level, found.message) == ("ok", f"{kind} {number} at redis://here")


@pytest.mark.parametrize(
    ("info", "level", "message"),
    [
        ({"redis_version": "7.4.0", "dragonfly_version": "df-v1.30.0"}, "warn", "dragonfly df-v1.30.0"),
        ({"redis_version": "7.4.3", "garnet_version": "1.0.80"}, "warn", "garnet 1.0.80"),
        ({"redis_version": "7.0.0", "kvrocks_version": "2.11.0"}, "warn", "kvrocks 2.11.0"),
        (
            {"redis_version": "6.3.4", "executable": "/usr/bin/keydb-server"},
            "fail",
            "like Redis 6.3.4",
        ),
        ({"redis_version": "6.0.0", "pika_version": "4.0.1"}, "fail", "pika 4.0.1"),
        ({"redis_version": "7.2.4", "server_name": "another"}, "warn", "another"),
        ({"redis_version": "6.2.6", "upstash_version": "1.9"}, "fail", "upstash 1.9"),
        ({"redis_version": "255.255.255"}, "ok", "redis 255.255.255"),
        ({"redis_version": "unstable"}, "ok", "redis unstable"),
        ({}, "ok", "redis unknown"),
    ],
)
def test_a_server_that_nobody_tried_is_called_by_its_name(
    info: dict[str, Any], level: str, message: str
) -> None:
    found = check_server_version(info, "redis://here")
    assert (found.level, message in found.message) == (level, True), found.message


def test_what_info_does_not_tell_is_not_claimed() -> None:
    assert (check_eviction({}).level, check_persistence({}, "unknown").level) == ("warn", "warn")
    assert check_eviction({}).message.startswith("INFO does not tell")
    assert check_persistence({}, "unknown").message.startswith("INFO does not tell")


@pytest.mark.parametrize("text", ["", "maxmemory:0", "used_memory:?", "redis_version:7.0.0", "# Server\n"])
def test_a_server_of_whatever_info_is_ready_measured_and_examined(
    text: str, tmp_path: Path, redis_url: str
) -> None:
    with OtherReplies(RedisServer(redis_url)) as replies:
        replies.answer(text, lambda command: command[0].upper() == b"INFO")
        environ = make_environ(write_settings(tmp_path, "http://127.0.0.1:1", "acme"), replies.url)
        runtime = Runtime(load_settings(environ, tmp_path), wake=lambda *_: None)
        assert runtime.read_health().memory is None
        assert "store_refuses" not in {trouble.name for trouble in runtime.find_troubles()}
        cli = make_cli(environ)
        assert "INFO does not tell" in cli("doctor", "--no-api", code=1).stdout
        runtime.client.close()


@pytest.mark.parametrize(
    ("policy", "bound", "level"),
    [
        ("noeviction", 0, "ok"),
        ("noeviction", 2**30, "ok"),
        ("allkeys-lru", 0, "warn"),
        ("volatile-ttl", 2**30, "fail"),
    ],
)
def test_a_server_that_may_drop_keys_is_a_finding(policy: str, bound: int, level: str) -> None:
    assert check_eviction({"maxmemory_policy": policy, "maxmemory": bound}).level == level


def test_keys_that_a_server_has_dropped_are_counted() -> None:
    found = check_eviction({"maxmemory_policy": "allkeys-lru", "maxmemory": 0, "evicted_keys": 1103})
    assert found.level == "fail"
    assert "1,103 keys were dropped" in found.message


@pytest.mark.parametrize(
    ("info", "fsync", "level"),
    [
        ({"aof_enabled": 0}, "everysec", "warn"),
        ({"aof_enabled": 1}, "no", "warn"),
        ({"aof_enabled": 1}, "everysec", "ok"),
        ({"aof_enabled": 1}, "always", "ok"),
        ({"aof_enabled": 1}, "unknown", "ok"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "always", "fail"),
    ],
)
def test_what_is_lost_with_the_server_is_a_finding(info: dict[str, Any], fsync: str, level: str) -> None:
    assert check_persistence(info, fsync).level == level


@pytest.mark.parametrize(("ahead", "level"), [(0.0, "ok"), (-1.9, "ok"), (3.0, "warn"), (-60.0, "warn")])
def test_clocks_that_differ_are_a_finding(ahead: float, level: str) -> None:
    assert check_clock(ahead).level == level


def test_workers_must_listen_to_every_queue() -> None:
    wanted = ["relations.flush", "relations.ops"]
    queues = [{"name": name} for name in wanted]
    assert check_workers({"celery@a": queues}, wanted).level == "ok"
    assert check_workers({"celery@a": queues[:1], "celery@b": queues[1:]}, wanted).level == "ok"
    assert "relations.ops" in check_workers({"celery@a": queues[:1]}, wanted).message
    assert check_workers({}, wanted).level == "fail"


def test_workers_of_one_name_are_a_finding() -> None:
    reply: dict[str, Any] = {"celery@a": []}
    assert list(check_names([reply, {"celery@b": []}])) == []
    [finding] = check_names([reply, {"celery@b": []}, reply])
    assert (finding.level, finding.message) == (
        "warn",
        "several are called celery@a: they are listed as one, and the end of one is not seen",
    )
    assert "-n NAME@%h" in finding.advice


def test_the_doctor_sees_a_sweep(cli: Cli, runtime: Runtime) -> None:
    runtime.sweep()
    assert "ok    sweep: the last was " in cli("doctor", "--no-api", code=1).stdout


def test_failures_for_a_missing_right_are_a_finding_with_what_to_do(tmp_path: Path, redis_url: str) -> None:
    records = Records(no_write=frozenset({("address", 9)}))
    with serve(Simulator({TOKEN: SECRET}, records=records)) as api:
        env = make_environ(write_settings(tmp_path, api.url, "acme"), redis_url)
        make_cli(env)("send", "create", BUYER, "1", "9")
        runtime = Runtime(load_settings(env, tmp_path), wake=lambda *_: None)
        runtime.flush("acme")
    [finding] = check_rights(runtime, runtime.settings.account("acme"))
    assert (finding.subject, finding.level) == ("rights acme", "warn")
    assert f"1 failed of {BUYER}" in finding.message
    assert "right" in finding.advice


def test_without_a_worker_the_doctor_fails_and_says_how_to_start_one(cli: Cli) -> None:
    findings = json.loads(cli("doctor", "--json", code=1).stdout)["findings"]
    levels = {each["what"]: each["level"] for each in findings}
    assert levels == {
        "settings": "ok",
        "redis": "ok",
        "eviction": "ok",
        "persistence": "warn",  # the server of the tests keeps nothing
        "clock": "ok",
        "broker": "ok",
        "workers": "fail",
        "sweep": "fail",
        "account acme": "ok",
        "credentials acme": "ok",
    }
    assert "celery -A worker.app worker" in next(
        each["todo"] for each in findings if each["what"] == "workers"
    )


def test_without_redis_the_doctor_still_looks_at_the_rest(cli: Cli) -> None:
    gone = "redis://:hunter22@127.0.0.1:1/0"
    output = cli("doctor", code=1, RELATIONS_REDIS_URL=gone, RELATIONS_BROKER_URL=gone).stdout
    assert "fail  redis: redis://***@127.0.0.1:1/0 does not answer" in output
    assert "fail  broker: redis://***@127.0.0.1:1/0 does not answer" in output
    assert "hunter22" not in output


def diagnose(cli: Cli, url: str) -> dict[str, tuple[str, str]]:
    """Return what the doctor says of each part of this server that fails or is odd, and what to do."""
    output = cli("doctor", "--json", code=1, RELATIONS_REDIS_URL=url, RELATIONS_BROKER_URL=url).stdout
    found = json.loads(output)["findings"]
    return {each["what"]: (each["text"], each["todo"]) for each in found if each["level"] != "ok"}


@pytest.mark.parametrize(
    ("user", "meaning"),
    [("", "it asks for a password"), (":wrong@", "are not those of the server")],
)
def test_a_server_that_refuses_us_is_there_and_nobody_has_to_start_it(
    cli: Cli, tmp_path: Path, user: str, meaning: str
) -> None:
    with run_server(tmp_path / "redis", password="right") as server:
        found = diagnose(cli, f"redis://{user}{server.url.partition('@')[2]}")
    for part in ("redis", "broker"):
        message, todo = found[part]
        assert "answers, and refuses what is asked" in message
        assert meaning in message
        assert todo == MEND


def test_workers_that_cannot_be_asked_for_another_reason_than_rights_need_none(
    cli: Cli, tmp_path: Path
) -> None:
    with run_server(tmp_path / "redis") as server, redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", 1)
        found = diagnose(cli, server.url)
    assert "is a replica" in found["workers"][0]
    assert found["workers"][1] == MEND


def test_a_server_that_has_renamed_what_is_needed_is_not_too_old(cli: Cli, redis_url: str) -> None:
    with ErrorReplies(RedisServer(redis_url)) as replies:
        replies.answer(
            "ERR unknown command 'EVAL', with args beginning with: ",
            lambda command: command[0].upper() == b"EVAL",
        )
        message, todo = diagnose(cli, replies.url)["rights in the store"]
    assert "it lacks a command that is needed, or has renamed it" in message
    assert todo == NO_OTHER_NAMES


def test_good_credentials_are_accepted(cli: Cli, simulator: Simulator) -> None:
    assert "ok    credentials acme: accepted by" in cli("accounts", "check").stdout
    assert [act.kind for entry in simulator.log for act in entry.acts] == ["get"]


@pytest.mark.parametrize(
    ("token", "secret", "words"),
    [("x" * 32, SECRET, "Check the account's token"), (TOKEN, "x" * 64, "most often they are swapped")],
)
def test_rejected_credentials_fail_with_the_advice_for_their_code(
    cli: Cli, token: str, secret: str, words: str
) -> None:
    output = cli("accounts", "check", "acme", code=1, TOKEN=token, SECRET=secret).stdout
    assert output.startswith("fail  credentials acme: refused: ")
    assert words in output
    assert token not in output


def test_an_api_that_does_not_answer_fails(cli: Cli, simulator: Simulator) -> None:
    simulator.inject(FaultPlan.script([InjectedFault("gateway_before")] * 3))
    assert "gave no usable answer" in cli("accounts", "check", code=1).stdout


def test_an_api_whose_reads_cannot_be_read_is_a_finding(cli: Cli, simulator: Simulator) -> None:
    simulator.inject(FaultPlan.script(["odd_reads"]))
    output = cli("accounts", "check").stdout
    assert output.startswith("warn  credentials acme: accepted by ")
    assert "what a read answers cannot be read" in output


@pytest.mark.parametrize(("ahead", "level"), [(60, "warn"), (-300, "fail")])
def test_the_skew_of_the_apis_clock_is_a_finding(
    redis_url: str, tmp_path: Path, ahead: int, level: str
) -> None:
    with serve(Simulator({TOKEN: SECRET}, clock=lambda: time.time() + ahead)) as server:
        check = make_cli(make_environ(write_settings(tmp_path, server.url, "acme"), redis_url))
        findings = check("accounts", "check", "--json", code=int(level == "fail"))
    [finding] = json.loads(findings.stdout)["findings"]
    skew = re.match(r"the API's clock is ([+-]\d+) s from Redis's", finding["text"])
    assert finding["level"] == level
    assert skew
    assert abs(int(skew[1]) - ahead) <= 1


def findings_of(runtime: Runtime, *, later: float = 0.0) -> list[Finding]:
    """Return what the doctor says of acme, as of some seconds later."""
    health = runtime.read_health()
    return list(check_account(runtime.settings.account("acme"), health._replace(now=health.now + later)))


def test_a_paused_account_is_a_finding_with_its_cause(cli: Cli, runtime: Runtime) -> None:
    cli("accounts", "pause", "acme", "--why", "holidays")
    [finding] = findings_of(runtime)
    assert (finding.level, finding.message) == ("warn", "is paused (hand: holidays)")
    runtime.store.resume("acme")
    runtime.store.pause("acme", Pause("credentials", "200: no"))
    [finding] = findings_of(runtime)
    assert (finding.level, finding.message) == ("fail", "is paused (credentials: 200: no)")


def test_changes_that_wait_are_a_finding_after_a_while(cli: Cli, runtime: Runtime) -> None:
    cli("send", "create", BUYER, "1", "2")
    assert [(each.level, each.message) for each in findings_of(runtime)] == [("ok", "1 change waits")]
    [finding] = findings_of(runtime, later=330.0)
    assert (finding.level, finding.message[:24]) == ("warn", "changes have waited for ")


def test_an_account_that_only_observes_is_a_finding(env: dict[str, str], tmp_path: Path) -> None:
    config = Path(env["RELATIONS_CONFIG"])
    config.write_text(config.read_text().replace("window = 0", 'window = 0\nmode = "observe"'))
    runtime = Runtime(load_settings(env, tmp_path), wake=lambda *_: None)
    [finding] = findings_of(runtime)
    assert (finding.level, finding.message) == ("warn", "only observes: nothing but reads is sent")


# --- what is stored of an account


def test_a_rule_with_which_the_interface_does_not_start_is_a_finding(env: dict[str, str]) -> None:
    rule = """[sources.portal]
account = "acme"
scheme = "bearer"
secret = "a secret of sixteen letters"
[[sources.portal.rules]]
action = "'create'"
relationtype = "'estate:address:buyer'"
parentid = "to_numbr(estate)"
childid = "person"
"""
    config = Path(env["RELATIONS_CONFIG"])
    config.write_text(config.read_text() + rule)
    output = make_cli(env)("doctor", "--no-api", code=1).stdout
    assert "fail  settings: sources.portal.rules[0].parentid: calls to_numbr()" in output


def test_a_change_that_stands_nowhere_is_found_put_back_and_audited(cli: Cli, runtime: Runtime) -> None:
    cli("send", "create", BUYER, "1", "9", "10")
    assert "1 job and 0 open relations" in cli("doctor", "--store", "acme").stdout
    runtime.client.delete("relations:{acme}:queue")
    found = json.loads(cli("doctor", "--store", "acme", "--json", code=1).stdout)
    assert [flaw["kind"] for flaw in found["flaws"]] == ["queue"]
    assert not found["repaired"]
    warning = next(
        each
        for each in json.loads(cli("doctor", "--no-api", "--json", code=1).stdout)["findings"]
        if each["what"] == "store acme"
    )
    assert "relations doctor --store acme --repair" in warning["todo"]
    assert (
        "Mended 1 contradiction among 1 job"
        in cli("doctor", "--store", "acme", "--repair", "--by", "ada").stdout
    )
    assert runtime.store.counts("acme")["backlog"] == 1
    [entry] = runtime.job_admin.audit_log("acme").entries
    assert (entry.by, entry.act, entry.count) == ("ada", "store repaired", 1)
    assert runtime.metrics.account_stats(["acme"])["acme"].tally["mended:queue"] == 1
    assert "nothing contradicts itself" in cli("doctor", "--store", "acme").stdout


def test_what_is_stored_is_not_checked_while_a_worker_has_the_account(
    cli: Cli, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store.inspection.inspector.MAX_WAIT", 0.0)
    cli("send", "create", BUYER, "1", "9")
    lease = runtime.store.lease("acme", "a worker")
    assert lease
    cli("doctor", "--store", "acme", code=1)
    lease.release()
    cli("doctor", "--store", "acme")


def test_repairing_needs_the_name_of_an_account(cli: Cli) -> None:
    cli("doctor", "--repair", code=2)
    cli("doctor", "--store", "nobody", code=3)


def test_what_an_account_waits_for_is_told_with_its_time(runtime: Runtime) -> None:
    message = {"account": "acme", "action": "create", "relationtype": BUYER, "parentid": 1, "childid": 2}
    runtime.intake().accept([from_message(message).change])
    for _ in range(5):
        runtime.limiter.report("acme", "failed")
    runtime.flush("acme")
    account = runtime.settings.account("acme")
    texts = [finding.message for finding in check_work(runtime, account, runtime.read_health(["acme"]))]
    assert any(text.startswith("its next change waits for breaker until ") for text in texts)
