"""The commands that act: each previews what it would do, acts on `--yes`, counts, and is in the audit log."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ops.simulator import Records, Simulator
from tests.support.cli_runner import MISSING, TOKEN, Cli, first_job
from worker.contract import Relation, from_message
from worker.planner.actions import Action, Request
from worker.ports.pace import Pause
from worker.ports.store import UnreadableMessage
from worker.wiring import Runtime

BUYER = "estate:address:buyer"
Drain = Callable[[], None]


def send(cli: Cli, child: int, *more: str) -> str:
    return first_job(cli("send", "create", BUYER, "501", str(child), *more))


def state(cli: Cli, job: str) -> str:
    return str(json.loads(cli("jobs", "show", job, "--json").stdout)["state"])


def test_a_replay_is_shown_with_what_it_would_send_and_acts_on_yes(
    cli: Cli, drain: Drain, simulator: Simulator
) -> None:
    job = first_job(cli("send", "create", BUYER, "501", "9001", str(MISSING)))
    drain()
    preview = cli("replay", "--failed").stdout
    assert "1 job with 1 failed relation would go back" in preview
    assert f"create  {BUYER}  501 → {MISSING}" in preview
    assert state(cli, job) == "failed"
    simulator.seed(TOKEN, records=Records())  # somebody mended the CRM
    assert "1 job of 1 went back" in cli("replay", "--error", "80", "--yes").stdout
    drain()
    assert state(cli, job) == "succeeded"
    assert Relation(BUYER, 501, MISSING) in simulator.relations(TOKEN)


def test_a_preview_is_kept_listed_and_run_later_as_it_was_shown(cli: Cli, drain: Drain) -> None:
    first = send(cli, MISSING)
    drain()
    [replay] = json.loads(cli("replay", "--failed", "--json").stdout)["replays"]
    assert (replay["state"], replay["eligible"], replay["run_at"]) == ("previewed", 1, None)
    second = send(cli, MISSING, "--event-id", "again")
    drain()
    assert replay["id"] in cli("replays", "list").stdout
    done = json.loads(cli("replays", "run", replay["id"], "--json").stdout)["replays"][0]
    assert (done["state"], done["back"]) == ("done", 1)
    assert [state(cli, job) for job in (first, second)] == ["queued", "failed"]
    assert "went back" in cli("replays", "show", replay["id"]).stdout
    cli("replays", "show", "acme-000000000000000000", code=3)


def test_a_replay_is_shown_where_the_secrets_of_its_account_are_not(cli: Cli, drain: Drain) -> None:
    job = send(cli, MISSING)
    drain()
    assert "1 action" in cli("replay", job, code=None, TOKEN="", SECRET="").output


def test_a_corrected_replay_is_a_new_change_linked_to_the_old(
    cli: Cli, drain: Drain, simulator: Simulator
) -> None:
    job = send(cli, MISSING)
    drain()
    cli("replay", job, "--set", "childid=9002", "--yes")
    drain()
    assert Relation(BUYER, 501, 9002) in simulator.relations(TOKEN)
    assert cli("errors").stdout.strip().endswith("dismissed.")
    cli("replay", job, "--set", "nonsense", code=2)


def test_a_replay_of_what_did_not_fail_fails_and_says_why(cli: Cli) -> None:
    job = send(cli, 9001)
    assert "is not failed" in cli("replay", job, "--yes", code=1).stdout


def test_a_replay_of_some_is_partly_done(cli: Cli, drain: Drain) -> None:
    good, bad = send(cli, 9001), send(cli, MISSING)
    drain()
    [replay] = json.loads(cli("replay", good, bad, "--yes", "--json", code=4).stdout)["replays"]
    assert (replay["back"], replay["refused"], list(replay["examples"])) == (1, {"not failed": 1}, [good])


@pytest.mark.parametrize("name", ["acme-000000000000000000", "nobody-000000000000000000", "nonsense"])
@pytest.mark.parametrize("more", [(), ("--yes",)], ids=["preview", "act"])
def test_a_replay_of_a_job_that_is_not_there_is_not_found(cli: Cli, name: str, more: tuple[str, ...]) -> None:
    assert f"there is no job {name}" in cli("replay", name, *more, code=3).stderr
    if name.startswith("acme-"):
        assert json.loads(cli("replays", "list", "--json").stdout)["replays"] == []
        assert json.loads(cli("audit", "--json").stdout)["deeds"] == []


@pytest.mark.parametrize("more", [(), ("--yes",)], ids=["preview", "act"])
@pytest.mark.parametrize("act", ["cancel", "dismiss", "look-up"])
def test_an_act_on_jobs_that_are_not_there_is_not_found(cli: Cli, act: str, more: tuple[str, ...]) -> None:
    gone, other = "acme-000000000000000000", "acme-000000000000000001"
    assert gone in cli("jobs", act, gone, other, *more, "--yes", code=3).stdout
    answer = json.loads(cli("jobs", act, gone, other, *more, "--json", code=3).stdout)
    assert answer == {
        "preview": not more and act != "look-up",
        "jobs": [],
        "refused": {gone: "gone", other: "gone"},
    }
    job = send(cli, 9001)
    cli("jobs", act, job, gone, *more, code={"cancel": 4 if more else 0}.get(act, 1))


@pytest.mark.parametrize(
    "words",
    [
        ("replay",),
        ("replay", "acme-1", "--failed"),
        ("jobs", "cancel", "--yes"),
        ("jobs", "dismiss", "--yes"),
    ],
)
def test_an_act_needs_jobs_and_refuses_an_empty_filter(cli: Cli, words: list[str]) -> None:
    cli(*words, code=2)


def test_queued_changes_are_cancelled_and_taken_ones_are_not(
    cli: Cli, drain: Drain, runtime: Runtime
) -> None:
    taken = send(cli, 9001, "--batch", "one")
    drain()
    queued = [send(cli, child, "--batch", "one") for child in (1, 2)]
    preview = cli("jobs", "cancel", "--batch", "one").stdout
    assert "2 jobs would be cancelled" in preview
    assert [state(cli, job) for job in queued] == ["queued", "queued"]
    answer = json.loads(cli("jobs", "cancel", taken, *queued, "--yes", "--json", code=4).stdout)
    assert (sorted(answer["jobs"]), answer["refused"]) == (sorted(queued), {taken: "succeeded"})
    assert [state(cli, job) for job in queued] == ["superseded", "superseded"]
    assert runtime.store.counts("acme")["backlog"] == 0
    assert "cancelled before it was sent" in cli("explain", BUYER, "501", "1").stdout


def test_dismissed_failures_are_no_longer_listed_and_the_audit_names_who_did_it(
    cli: Cli, drain: Drain
) -> None:
    job = send(cli, MISSING)
    drain()
    assert "80 " in cli("errors").stdout
    assert ".." not in cli("errors").stdout
    assert f"1 job would be dismissed: {job}" in cli("jobs", "dismiss", "--error", "80").stdout
    assert "1 job dismissed." in cli("jobs", "dismiss", "--error", "80", "--yes", "--by", "ada").stdout
    assert json.loads(cli("errors", "--json").stdout) == {"errors": [], "records": []}
    assert state(cli, job) == "failed"
    [entry] = json.loads(cli("audit", "--json").stdout)["deeds"]
    assert (entry["by"], entry["act"], entry["count"]) == ("ada", "dismissed", 1)
    assert "dismissed" in cli("audit").stdout


def test_errors_are_listed_with_how_many_since_when_and_what_to_do(cli: Cli, drain: Drain) -> None:
    jobs = [send(cli, MISSING, "--event-id", name) for name in "ab"]
    drain()
    output = cli("errors").stdout
    assert "Check in onOffice that the record exists" in output
    assert "relations replay --account acme --error 80" in output
    [group] = json.loads(cli("errors", "--json").stdout)["errors"]
    assert (group["code"], group["class"], group["jobs"], group["relationtype"], group["example"]) == (
        80,
        "record",
        2,
        BUYER,
        jobs[1],
    )


def test_requests_are_listed_and_shown_with_each_answer(cli: Cli, drain: Drain) -> None:
    first_job(cli("send", "create", BUYER, "501", "9001", str(MISSING)))
    drain()
    page = json.loads(cli("requests", "list", "--failed", "--json").stdout)
    assert page["requests"]
    name = page["requests"][0]["id"]
    shown = cli("requests", "show", name).stdout
    assert "rejected 80" in shown
    assert name in cli("requests", "list").stdout
    cli("requests", "show", "nothing", code=3)


def test_a_person_is_erased_from_everything_that_is_kept(cli: Cli, drain: Drain, runtime: Runtime) -> None:
    job = first_job(cli("send", "create", BUYER, "501", "9001", "424242"))
    drain()
    assert "would be taken out" in cli("erase", "address", "424242").stdout
    assert "424242" in cli("jobs", "show", job).stdout
    assert "Taken out" in cli("erase", "address", "424242", "--yes").stdout
    assert "424242" not in cli("jobs", "show", job).stdout
    assert "9001" in cli("jobs", "show", job).stdout
    assert not [key for key in runtime.client.scan_iter("*") if b"424242" in key]
    assert "there is no module" in cli("erase", "person", "1", code=3).stderr


def test_an_erasure_says_why_it_cannot_finish_yet_and_one_that_waits_finishes(
    cli: Cli, drain: Drain, runtime: Runtime
) -> None:
    send(cli, 424242)
    lease = runtime.store.lease("acme", "dead")
    assert lease is not None
    lease.begin("r1", Request((Action("create", BUYER, (501,), (424242,)),)))
    lease.release()
    assert "may land until" in cli("erase", "address", "424242", "--yes", code=1).stderr
    drain()
    send(cli, 424242)
    assert "Taken out" in cli("erase", "address", "424242", "--yes", "--wait").stdout


@pytest.mark.parametrize("act", [("accounts", "resume", "acme"), ("doctor", "--store", "acme", "--repair")])
def test_no_secret_gets_into_the_audit_log_as_who_did_it(
    cli: Cli, runtime: Runtime, act: Sequence[str]
) -> None:
    runtime.store.pause("acme", Pause("hand", ""))
    secret = runtime.settings.account("acme").secret.reveal()
    refused = cli(*act, "--by", secret, code=1)
    assert "by: holds a secret" in refused.output
    assert secret not in refused.output
    assert runtime.store.get_pause("acme") is not None


def test_an_account_is_paused_by_somebody_for_a_reason(cli: Cli) -> None:
    cli("accounts", "pause", "acme", "--why", "moving", "--by", "ada")
    cli("accounts", "resume", "acme", "--by", "bob")
    entries = json.loads(cli("audit", "--json").stdout)["deeds"]
    assert [(entry["by"], entry["act"]) for entry in entries] == [("bob", "resumed"), ("ada", "paused")]
    assert entries[1]["note"] == "moving"


def test_jobs_are_watched_until_all_are_finished(cli: Cli, drain: Drain) -> None:
    good, bad = send(cli, 9001, "--batch", "b"), send(cli, MISSING, "--batch", "b")
    cli("jobs", "watch", good, "--timeout", "0.01", code=4)
    drain()
    assert "1 job: 0 failed, 0 still open." in cli("jobs", "watch", good).stdout
    output = cli("jobs", "watch", "--batch", "b", code=1)
    assert "2 jobs: 1 failed, 0 still open." in output.stdout
    assert f"{bad}  failed" in output.stderr
    cli("jobs", "watch", "acme-000000000000000000", code=3)


def test_a_filter_for_another_state_is_refused_before_and_with_yes(cli: Cli, drain: Drain) -> None:
    send(cli, MISSING)
    drain()
    send(cli, 9001)
    for words in (("cancel", "--state", "failed"), ("dismiss", "--state", "queued")):
        for yes in ((), ("--yes",)):
            assert "expected" in cli("jobs", *words, *yes, code=1).stderr


def test_a_message_that_names_no_account_is_listed_shown_and_corrected(
    cli: Cli, runtime: Runtime, drain: Drain
) -> None:
    body = (
        b'{"account": "acne", "action": "create", "relationtype": "estate:address:buyer",'
        b' "parentid": 501, "childid": 9001}'
    )
    faults = ("account: there is no account", "batch: too long")
    job = runtime.intake().reject(UnreadableMessage("acne", "celery", "task-1", faults, body)).job
    assert job in cli("jobs", "list", "--account", "unrouted").stdout
    assert "unrouted" in cli("errors").stdout
    shown = cli("jobs", "show", job).stdout
    assert [shown.count(each) for each in (*faults, "fault: ")] == [1, 1, 1]
    assert cli("jobs", "show", job, "--payload").stdout_bytes == body
    assert "there is no account" in cli("replay", job, code=1).stdout
    cli("replay", job, "--set", "account=acme", "--yes")
    [new] = json.loads(cli("jobs", "show", job, "--json").stdout)["replayed_by"]
    assert f"sent in place of {job}" in cli("jobs", "show", new).stdout
    assert f"sent anew as {new}" in cli("jobs", "show", job).stdout
    assert "was sent anew before" in cli("replay", job, code=1).stdout
    drain()
    assert runtime.store.get_job(new).state == "succeeded"


def test_what_waits_is_explained_behind_any_number_of_others_and_why_it_waits(
    cli: Cli, runtime: Runtime
) -> None:
    cli("accounts", "pause", "acme", "--why", "moving")
    job = send(cli, 9001)
    others = [
        from_message(
            {"account": "acme", "action": "create", "relationtype": BUYER, "parentid": at, "childid": 1}
        ).change
        for at in range(1, 1201)
    ]
    runtime.intake().accept(others)
    output = cli("explain", BUYER, "501", "9001").stdout
    assert job in output
    assert "account acme is paused (hand: moving)" in output


def test_a_replay_of_a_paused_account_says_that_nothing_is_sent(cli: Cli, drain: Drain) -> None:
    job = send(cli, MISSING)
    drain()
    cli("accounts", "pause", "acme")
    assert "note: account acme is paused (hand)" in cli("replay", job, "--yes").stdout


def test_a_replay_of_an_account_that_is_inspected_goes_on_later_and_has_not_failed(
    cli: Cli, drain: Drain, runtime: Runtime
) -> None:
    job = send(cli, MISSING)
    drain()
    shown = list[str]()

    def replay_meanwhile(_what: str, _count: int) -> None:
        if not shown:
            shown.append(cli("replay", job, "--yes").stdout)

    runtime.inspector.inspect("acme", on_progress=replay_meanwhile)
    assert "a worker replays 1 job" in shown[0]
    assert state(cli, job) == "failed"
    [replay] = json.loads(cli("replays", "list", "--json").stdout)["replays"]
    assert "1 job of 1 went back" in cli("replays", "run", replay["id"]).stdout


@pytest.mark.parametrize("is_behind_another", [False, True])
def test_a_replayed_change_in_the_inbox_is_explained_as_one_that_waits_and_why_it_does(
    cli: Cli, drain: Drain, *, is_behind_another: bool
) -> None:
    job = send(cli, MISSING)
    drain()
    cli("accounts", "pause", "acme", "--why", "moving")
    if is_behind_another:
        send(cli, 9001)
    cli("replay", job, "--yes")
    words = ("explain", BUYER, "501", str(MISSING))
    output = cli(*words).stdout
    assert f"{job} create" in output
    assert "waits in the inbox" in output
    assert "but:    account acme is paused (hand: moving)" in output
    [explained] = json.loads(cli(*words, "--json").stdout)["jobs"]
    assert explained["state"] == "queued"
    cli("accounts", "resume", "acme")
    drain()
    assert "failed: 80 " in cli(*words).stdout


def test_one_of_several_failed_relations_is_corrected_and_another_dismissed_and_none_is_lost(
    cli: Cli, drain: Drain, simulator: Simulator
) -> None:
    simulator.seed(TOKEN, records=Records(missing=frozenset({("address", MISSING), ("address", 8888)})))
    job = first_job(cli("send", "create", BUYER, "501", "9001", str(MISSING), "8888"))
    drain()
    shown = cli("jobs", "show", job).stdout
    assert f"failed for {BUYER}:501:{MISSING}: 80" in shown
    assert f"failed for {BUYER}:501:8888: 80" in shown
    refused = cli("replay", job, "--set", "childid=9002", "--yes", code=1).stdout
    assert "2 relations of it failed (7777, 8888)" in refused
    cli("replay", job, "--child", str(MISSING), "--set", "childid=9002", "--yes")
    drain()
    assert Relation(BUYER, 501, 9002) in simulator.relations(TOKEN)
    document = json.loads(cli("jobs", "show", job, "--json").stdout)
    assert [(each["childid"], bool(each["dismissed"])) for each in document["failures"]] == [
        (MISSING, True),
        (8888, False),
    ]
    assert job in cli("jobs", "list", "--state", "failed").stdout
    assert "acme     1     80 record" in cli("errors").stdout
    assert "failed of something else" in cli("jobs", "dismiss", job, "--child", "9001", code=1).stdout
    cli("jobs", "dismiss", job, "--child", "8888", "--yes")
    assert cli("errors").stdout.strip().endswith("dismissed.")
    cli("jobs", "watch", job, "--state", "failed", "--batch", "x", code=2)


def test_the_record_that_most_refusals_name_is_listed_with_how_many_name_it(
    cli: Cli, drain: Drain, simulator: Simulator
) -> None:
    simulator.seed(TOKEN, records=Records(missing=frozenset({("estate", 405)})))
    for child in ("9001", "9002", "9003"):
        cli("send", "create", BUYER, "405", child)
    drain()
    table, document = cli("errors").stdout, json.loads(cli("errors", "--json").stdout)
    assert "estate 405  3          3     80 record" in table
    [record] = document["records"]
    assert (record["module"], record["id"], record["relations"], record["code"]) == ("estate", 405, 3, 80)


def test_an_erasure_writes_down_what_it_did_without_naming_anybody(
    cli: Cli, drain: Drain, tmp_path: Path
) -> None:
    send(cli, 987654)
    drain()
    proof = tmp_path / "erased.json"
    done = cli(
        "erase", "address", "987654", "--yes", "--proof", str(proof), "--rewrite-aof", "--by", "ada"
    ).stdout
    assert "The append-only file is being rewritten" in done
    text = proof.read_text()
    document = json.loads(text)
    assert "987654" not in text
    assert (document["complete"], document["by"], document["erased"]["jobs"]) == (True, "ada", 1)
    assert [each["account"] for each in document["accounts"]] == ["acme", "unrouted"]
    cli("erase", "address", "1", "--yes", "--only-account", "--proof", str(proof))
    assert [each["account"] for each in json.loads(proof.read_text())["accounts"]] == ["acme"]


def test_a_user_without_a_name_acts_as_cli(
    cli: Cli, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)  # as in a container with `user: "10001"`
    cli("accounts", "pause", "acme")
    assert [entry.by for entry in runtime.job_admin.audit_log("acme").entries] == ["cli"]
