"""Every command against a real Redis and a simulated API: what it does, prints, and ends with."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from ops.cli.errors import Exit
from ops.cli.output import print_styled
from ops.simulator import Simulator
from tests.support.cli_runner import MISSING, TOKEN, Cli, first_job, make_cli
from tests.support.spreadsheets import make_xlsx
from worker.config import load_settings
from worker.contract import TYPES, write_instant
from worker.ports.records import JobFilter
from worker.wiring import Runtime

BUYER = "estate:address:buyer"
Drain = Callable[[], None]


def test_a_sent_change_is_a_job_in_the_inbox(cli: Cli, runtime: Runtime) -> None:
    job = runtime.store.get_job(first_job(cli("send", "create", BUYER, "501", "9001", "9002")))
    assert (job.state, job.action, job.parents, job.children, job.source) == (
        "queued",
        "create",
        (501,),
        (9001, 9002),
        "cli",
    )


def test_several_parents_are_joined_by_commas(cli: Cli, runtime: Runtime) -> None:
    job = runtime.store.get_job(first_job(cli("send", "delete", BUYER, "501,502", "9001")))
    assert (job.parents, job.children) == ((501, 502), (9001,))


def test_every_option_of_a_change_arrives(cli: Cli, runtime: Runtime) -> None:
    at = runtime.client.time()[0] * 1_000_000 - 60_000_000
    more = ("--event-id", "e1", "--batch", "b1", "--occurred-at", write_instant(at))
    sent = cli(
        "send",
        "modify",
        "calendar:address",
        "2909",
        "10821",
        "--info",
        "statusTerminbestaetigung=gesendet",
        *more,
    )
    job = runtime.store.get_job(first_job(sent))
    assert (job.info, job.event_id, job.batch) == ((("statusTerminbestaetigung", "gesendet"),), "e1", "b1")
    assert job.occurred_at == at


def test_the_same_event_id_is_the_same_job(cli: Cli) -> None:
    words = ("send", "create", BUYER, "501", "9001", "--event-id", "e1")
    first, second = cli(*words), cli(*words)
    assert first_job(first) == first_job(second)
    assert "known already" in second.stdout


def test_the_same_event_id_with_other_content_is_refused(cli: Cli) -> None:
    cli("send", "create", BUYER, "501", "9001", "--event-id", "e1")
    assert "is taken by job" in cli("send", "create", BUYER, "501", "9002", "--event-id", "e1", code=1).stderr


def test_a_file_that_is_sent_again_changes_nothing(cli: Cli, tmp_path: Path, runtime: Runtime) -> None:
    file = tmp_path / "changes.ndjson"
    file.write_text(
        "".join(
            json.dumps({"action": "create", "relationtype": BUYER, "parentid": 1, "childid": n}) + "\n\n"
            for n in (1, 2, 3)
        )
    )
    first, second = (json.loads(cli("send", str(file), "--json").stdout)["jobs"] for _ in range(2))
    assert [each["id"] for each in first] == [each["id"] for each in second]
    assert [each["duplicate"] for each in first + second] == [False] * 3 + [True] * 3
    assert runtime.store.counts("acme")["accepted"] == 3


@pytest.mark.parametrize("name", ["a.ndjson", "A.NDJSON", "a.JsonL", "a.json"])
def test_a_file_of_changes_is_known_by_the_end_of_its_name_however_it_is_written(
    cli: Cli, tmp_path: Path, runtime: Runtime, name: str
) -> None:
    change = {"account": "acme", "action": "create", "relationtype": BUYER, "parentid": 1, "childid": 2}
    (tmp_path / name).write_text(json.dumps(change))
    cli("send", name)
    assert runtime.store.counts("acme")["accepted"] == 1


def test_standard_input_is_read_with_a_dash(cli: Cli, runtime: Runtime) -> None:
    line = json.dumps(
        {"account": "acme", "action": "create", "relationtype": BUYER, "parentid": 1, "childid": 1}
    )
    cli("send", "-", stdin=line.encode())
    assert runtime.store.counts("acme")["backlog"] == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_that_windows_wrote_is_read(cli: Cli, runtime: Runtime, encoding: str) -> None:
    line = {"action": "create", "relationtype": BUYER, "parentid": 1, "childid": 1, "batch": "Haus Ö"}
    text = "\r\n".join(json.dumps({**line, "childid": n}, ensure_ascii=False) for n in (1, 2))
    cli("send", "-", stdin=f"{text}\r\n".encode(encoding))
    assert [job.batch for job in runtime.queries.find_jobs("acme", JobFilter()).entries] == ["Haus Ö"] * 2


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.JSONL.bz2", "a.json.xz", "-"])
def test_a_compressed_file_is_sent_as_what_is_in_it(
    cli: Cli, runtime: Runtime, tmp_path: Path, name: str
) -> None:
    line = json.dumps({"action": "create", "relationtype": BUYER, "parentid": 1, "childid": 1}).encode()
    pack = {".bz2": bz2.compress, ".xz": lzma.compress}.get(Path(name).suffix, gzip.compress)
    (tmp_path / name).write_bytes(pack(line))
    cli("send", name, stdin=pack(line))
    assert "(known already)" in cli("send", "-", stdin=line).output
    assert runtime.store.counts("acme")["accepted"] == 1


def test_a_pipe_that_the_shell_names_is_a_file(env: dict[str, str], tmp_path: Path) -> None:
    line = json.dumps({"action": "create", "relationtype": BUYER, "parentid": 1, "childid": 1})
    command = f"{sys.executable} -m ops.cli send <(echo '{line}')"
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **env},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("acme-")


def test_a_file_of_changes_is_read_in_the_encoding_that_is_said(cli: Cli, runtime: Runtime) -> None:
    text = f'{{"action": "create", "relationtype": "{BUYER}", "parentid": 1, "childid": 1, "batch": "Büro"}}'
    for name in ("cp850", "mac_roman", "utf-8"):
        cli("send", "-", "--encoding", name, stdin=text.encode(name))
    assert [job.batch for job in runtime.queries.find_jobs("acme", JobFilter()).entries] == ["Büro"] * 3
    for words in (["create", BUYER, "1", "2"], ["--sample", "01-portal-burst"]):
        refused = cli("send", *words, "--encoding", "cp850", code=Exit.USAGE).output
        assert "--encoding is for files" in refused


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (make_xlsx({"a": [[1]]}), "got a spreadsheet; `relations import` reads it"),
        (b"%PDF-1.7", "a PDF document"),
        (gzip.compress(b"{}")[:-5], "its gzip data are cut or damaged"),
        (b"\x7fELF\0\0\0\n" * 1000, "got NUL bytes"),
    ],
    ids=["spreadsheet", "pdf", "cut", "program"],
)
def test_a_file_that_holds_no_changes_is_named_once(cli: Cli, content: bytes, words: str) -> None:
    (line,) = cli("send", "-", stdin=content, code=Exit.FAILED).stderr.splitlines()
    assert words in line


@pytest.mark.parametrize("content", [b"%PDF-1.7", b"", b"PK\x03\x04"])
def test_of_several_files_the_one_that_holds_no_changes_is_named(
    cli: Cli, tmp_path: Path, content: bytes
) -> None:
    line = json.dumps({"action": "create", "relationtype": BUYER, "parentid": 1, "childid": 1})
    (tmp_path / "a.ndjson").write_text(line)
    (tmp_path / "b.ndjson").write_bytes(content)
    assert cli("send", "a.ndjson", "b.ndjson", code=Exit.FAILED).stderr.startswith("b.ndjson: expected ")


def test_a_table_that_is_sent_is_for_import(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "units.csv").write_text("parentid;childid\n1;2\n")
    assert "read by `relations import FILE`" in cli("send", "units.csv", code=Exit.USAGE).output
    assert "Expected ACTION TYPE" in cli("send", "x" * 300, code=Exit.USAGE).output


def test_one_bad_line_is_named_and_nothing_of_the_file_is_sent(cli: Cli, runtime: Runtime) -> None:
    lines = [
        b'{"action": "create", "relationtype": "%s", "parentid": 1, "childid": %s}' % (BUYER.encode(), child)
        for child in (b"1", b'"x"')
    ]
    result = cli("send", "-", stdin=b"\n".join([*lines, b"{", b"[]"]), code=1)
    faults = result.stderr.splitlines()
    assert faults[0].startswith('line 2.childid: expected a positive integer or an array of them, got "x"')
    assert faults[1].startswith("line 3: expected JSON")
    assert faults[2] == "line 4: expected a change (an object), got an array"
    assert result.stdout == ""
    assert runtime.store.counts("acme")["backlog"] == 0


def test_faults_that_only_the_intake_knows_are_named_by_line_too(cli: Cli) -> None:
    line = {"action": "create", "relationtype": BUYER, "parentid": 1, "childid": 1}
    bad = {**line, "relationtype": "user:messengerUser:is"}
    text = "\n\n".join(map(json.dumps, [line, bad])).encode()
    assert cli("send", "-", stdin=text, code=1).stderr.startswith(
        "line 3.action: user:messengerUser:is is read only"
    )


def test_a_warning_that_many_lines_have_is_printed_once(cli: Cli) -> None:
    type_name = next(name for name, known in TYPES.items() if not known.documented and not known.read_only)
    lines = [
        {"action": "create", "relationtype": type_name, "parentid": 1, "childid": child} for child in (1, 2)
    ]
    sent = cli("send", "-", stdin="\n".join(map(json.dumps, lines)).encode())
    assert sent.stderr.count("note: ") == 1
    assert "2 accepted" in sent.stderr


def test_a_body_for_two_accounts_may_be_accepted_in_part(two_accounts: dict[str, str]) -> None:
    line = {"account": "acme", "action": "create", "relationtype": BUYER, "parentid": 1, "childid": 1}
    text = "\n".join(
        map(json.dumps, [line, {**line, "account": "berg", "relationtype": "user:messengerUser:is"}])
    ).encode()
    result = make_cli(two_accounts)("send", "-", "--json", stdin=text, code=4)
    assert len(json.loads(result.stdout)["jobs"]) == 1
    assert json.loads(result.stderr)["faults"][0]["path"] == "line 2.action"


@pytest.mark.parametrize(
    "words",
    [
        ["send", "create", BUYER, "1", "1"],
        ["replay", "--failed"],
        ["explain", BUYER, "1", "1"],
    ],
)
def test_with_several_accounts_one_has_to_be_named(two_accounts: dict[str, str], words: list[str]) -> None:
    assert "--account (the settings have 2: acme, berg)" in make_cli(two_accounts)(*words, code=2).stderr


def test_jobs_of_all_accounts_are_listed_newest_first(two_accounts: dict[str, str]) -> None:
    cli = make_cli(two_accounts)
    names = ("acme", "berg") * 2
    sent = [first_job(cli("send", "create", BUYER, "1", "1", "--account", name)) for name in names]
    listed = [line.split()[0] for line in cli("jobs", "list").stdout.splitlines()[1:]]
    assert listed == sent[::-1]
    shortened = cli("jobs", "list", "--limit", "3", "--json")
    assert [job["id"] for job in json.loads(shortened.stdout)["jobs"]] == sent[:0:-1]
    assert "more with --limit" in cli("jobs", "list", "--limit", "3").stderr
    assert "say which with --account" in cli("jobs", "list", "--cursor", "3", code=2).stderr


@pytest.mark.parametrize("around", ["{}", " {} ", '"{}",', "'{}';", "\u00a0{}\n", "`{}`"])
def test_an_id_is_taken_as_it_is_pasted(cli: Cli, around: str) -> None:
    job = first_job(cli("send", "create", BUYER, "1", "1"))
    assert job in cli("jobs", "show", around.format(job)).stdout
    assert "1 job would be cancelled" in cli("jobs", "cancel", around.format(job)).stdout


@pytest.mark.parametrize(
    "words", [(BUYER, "1", "→", "2"), (f"{BUYER} 1 → 2",), (BUYER, "1,", "2"), (BUYER, "1 2")]
)
def test_a_relation_is_taken_as_lists_show_it(cli: Cli, words: tuple[str, ...]) -> None:
    cli("send", "create", BUYER, "1", "2")
    assert "estate:address:buyer:1:2" in cli("explain", *words).stdout


@pytest.mark.parametrize(
    "begin",
    [
        *("today", "Yesterday", "1w", "1w ago", "2 h ago", "2m", "2 hours ago", "90 Min", "1 day"),
        *("{:%Y-%m-%d}", "{:%d.%m.%Y}", "2026-01-01"),
        *("{:%Y-%m-%d} 00:00", "{:%Y-%m-%dT00:00}", "{:%d.%m.%Y} 00:00:00", "{:%Y-%m-%dT00:00:00Z}"),
    ],
)
def test_times_are_said_as_people_say_them(cli: Cli, runtime: Runtime, drain: Drain, begin: str) -> None:
    job = first_job(cli("send", "create", BUYER, "1", str(MISSING)))
    drain()
    day = datetime.fromtimestamp(runtime.metrics.now() / 1e6)
    for since, until in (("--since", "--until"), ("--failed-since", "--failed-until")):
        assert job in cli("jobs", "list", since, begin.format(day)).stdout
        assert job not in cli("jobs", "list", until, begin.format(day)).stdout
        assert job not in cli("jobs", "list", since, "31.12.2200").stdout
    fault = cli("jobs", "list", "--since", "32.13.2026", code=2).stderr
    assert "now, today, yesterday" in fault
    assert 'got "32.13.2026"' in fault
    assert "%2B" not in fault
    assert 'got "999999w"' in cli("jobs", "list", "--since", "999999w", code=2).stderr
    refused = cli("jobs", "list", "--failed-since", begin.format(day), "--state", "queued", code=2)
    assert "--state: expected failed" in refused.stderr


@pytest.fixture
def caracas(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process be four hours behind UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "America/Caracas")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("caracas")
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M:%S"])
def test_a_time_without_an_offset_is_a_local_one_and_now_is_the_stores(cli: Cli, form: str) -> None:
    job = first_job(cli("send", "create", BUYER, "1", "2"))
    accepted = datetime.fromisoformat(json.loads(cli("jobs", "show", job, "--json").stdout)["accepted_at"])
    local = accepted.astimezone().replace(tzinfo=None)
    assert accepted.replace(tzinfo=None) - local == timedelta(hours=4)
    assert job in cli("jobs", "list", "--since", f"{local:{form}}").stdout
    assert job not in cli("jobs", "list", "--since", f"{local + timedelta(minutes=1):{form}}").stdout
    assert job in cli("jobs", "list", "--until", "now").stdout
    assert job not in cli("jobs", "list", "--since", "now").stdout


def test_an_error_that_is_none_is_a_fault(cli: Cli) -> None:
    refused = cli("jobs", "list", "--error", "recrod", code=2).stderr
    assert "--error: expected a code, or one of credentials, " in refused
    assert "did you mean record?" in refused
    for known in ("record", "-7", "160", "unreadable"):
        cli("jobs", "list", "--error", known)


def test_a_failed_job_that_was_decided_about_reads_by_the_decision(cli: Cli, drain: Drain) -> None:
    replaced, dismissed, failed = (
        first_job(cli("send", "create", BUYER, parent, str(MISSING))) for parent in ("1", "2", "3")
    )
    drain()
    cli("replay", replaced, "--set", "childid=9001", "--yes")
    drain()
    cli("jobs", "dismiss", dismissed, "--yes")
    states = dict(line.split()[:2] for line in cli("jobs", "list").stdout.splitlines()[1:])
    assert [states[job] for job in (replaced, dismissed, failed)] == ["replaced", "dismissed", "failed"]
    assert cli("jobs", "show", replaced).stdout.startswith(f"{replaced}  replaced\n")


def test_a_job_that_was_put_back_before_it_was_replaced_reads_as_dismissed_when_its_new_end_is(
    cli: Cli, runtime: Runtime, drain: Drain
) -> None:
    job = first_job(cli("send", "create", BUYER, "1", str(MISSING)))
    drain()
    cli("replay", job, "--yes")
    runtime.job_admin.link_replacement(job, [first_job(cli("send", "create", BUYER, "1", "9001"))], by="ada")
    drain()
    cli("jobs", "dismiss", job, "--yes")
    assert cli("jobs", "show", job).stdout.startswith(f"{job}  dismissed\n")


@pytest.mark.parametrize("dumb", [{}, {"TERM": "dumb", "FORCE_COLOR": "1"}], ids=["", "dumb"])
@pytest.mark.parametrize("width", ["20", "60", "80"])
def test_an_id_is_never_cut_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: str, dumb: dict[str, str]
) -> None:
    for name, value in {"COLUMNS": width, **dumb}.items():
        monkeypatch.setenv(name, value)
    job, relations = f"an-account-with-a-long-name-{'0' * 18}", f"{BUYER} 501 → 9001 and 9002 others"
    row = [job, "verifying", relations, "2026-11-29 08:00"]
    print_styled(("JOB", "STATE", "RELATIONS", "ACCEPTED"), [row])
    printed = capsys.readouterr().out
    assert any(line.startswith(f"{job}  verifying  ") for line in printed.splitlines())
    assert all(word in printed.split() for word in relations.split())
    print_styled(("JOB", "STATE"), [])


def test_an_unknown_account_is_not_found(cli: Cli) -> None:
    assert 'did you mean "acme"?' in cli("jobs", "list", "--account", "acmee", code=3).stderr


def test_a_dry_run_explains_and_sends_nothing(cli: Cli, runtime: Runtime) -> None:
    result = cli(
        "send", "create", BUYER, "501", "9001", "9002", "--dry-run", RELATIONS_REDIS_URL="redis://127.0.0.1:1"
    )
    assert "Plan: 1 action in 1 request" in result.stdout
    assert result.stdout.endswith("Nothing was sent.\n")
    assert runtime.store.counts("acme")["backlog"] == 0


def test_a_dry_run_finds_what_the_intake_would_refuse(cli: Cli) -> None:
    assert (
        "is read only" in cli("send", "create", "user:messengerUser:is", "1", "1", "--dry-run", code=1).stderr
    )


def test_a_sample_can_be_sent_twice(cli: Cli, drain: Drain, simulator: Simulator) -> None:
    for _ in range(2):
        assert "17 accepted, 1 known already" in cli("send", "--sample", "1").stderr
        drain()
    assert len(simulator.relations(TOKEN)) == 14


def test_a_job_is_shown_with_what_became_of_it(cli: Cli, drain: Drain) -> None:
    job = first_job(cli("send", "create", BUYER, "501", "9001", str(MISSING)))
    drain()
    output = cli("jobs", "show", job).stdout
    assert output.startswith(f"{job}  failed\n")
    assert "2 relations: 1 applied, 1 failed" in output
    assert f"failed for {BUYER}:501:{MISSING}: 80" in output
    assert "Check in onOffice that the record exists" in output
    document = json.loads(cli("jobs", "show", job, "--json").stdout)
    assert (document["id"], document["state"], document["error"]["code"]) == (job, "failed", 80)


@pytest.mark.parametrize("name", ["acme-000000000000000000", "nonsense", ""])
def test_a_job_that_is_not_there_is_not_found(cli: Cli, name: str) -> None:
    assert "there is no job" in cli("jobs", "show", name, code=3).stderr


def test_jobs_are_listed_page_by_page_newest_first(cli: Cli) -> None:
    sent = [first_job(cli("send", "create", BUYER, "501", str(child))) for child in (1, 2, 3)]
    first = json.loads(cli("jobs", "list", "--limit", "2", "--json").stdout)
    second = json.loads(cli("jobs", "list", "--limit", "2", "--cursor", first["next"], "--json").stdout)
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == sent[::-1]
    assert second["next"] is None
    assert "what the last page named" in cli("jobs", "list", "--cursor", "-1", code=2).stderr
    assert cli("jobs", "list", "--state", "queued").stdout.count(" queued ") == 3
    assert cli("jobs", "list", "--state", "failed").stdout.count("\n") == 1  # the heads


def test_a_relation_is_explained_from_inbox_to_answer(cli: Cli, drain: Drain) -> None:
    jobs = [first_job(cli("send", action, BUYER, "501", "9001")) for action in ("create", "delete", "create")]
    waiting = cli("explain", BUYER, "501", "9001").stdout
    assert [line.split()[0] for line in waiting.splitlines()[3:]] == jobs
    assert waiting.count("waits in the inbox") == 3
    drain()
    jobs_by_id = {
        each["id"]: each for each in json.loads(cli("explain", BUYER, "501", "9001", "--json").stdout)["jobs"]
    }
    assert [jobs_by_id[job]["state"] for job in jobs] == ["superseded", "superseded", "applied"]
    assert f"superseded by {jobs[2]} create" in jobs_by_id[jobs[0]]["text"]
    assert "(1 action for 1 relation), API answered ok after" in jobs_by_id[jobs[2]]["text"]


def test_a_failed_relation_is_explained_with_code_text_and_advice(cli: Cli, drain: Drain) -> None:
    cli("send", "create", BUYER, "501", str(MISSING))
    drain()
    output = cli("explain", BUYER, "501", str(MISSING)).stdout
    assert "failed: 80 " in output
    assert "Check in onOffice that the record exists and that the API user may see it, then replay." in output


def test_a_relation_nobody_named_is_not_found(cli: Cli) -> None:
    assert "no job named it" in cli("explain", BUYER, "1", "2", code=3).stdout


def test_a_mirrored_type_is_explained_under_its_own_name(cli: Cli) -> None:
    output = cli("explain", "estate:address:matching", "501", "9001", code=3).stdout
    assert output.startswith("address:estate:matching:9001:501")


@pytest.mark.parametrize("words", [(), (BUYER,), (BUYER, "1", "x"), (BUYER, "1", "2", "3")])
def test_explain_wants_a_type_and_two_ids(cli: Cli, words: tuple[str, ...]) -> None:
    cli("explain", *words, code=2)


def test_an_account_is_paused_and_resumed(cli: Cli, runtime: Runtime) -> None:
    cli("accounts", "pause", "acme", "--why", "new API user")
    assert runtime.store.get_pause("acme").detail == "new API user"
    assert "(hand: new API user)" in cli("accounts", "list").stdout
    cli("send", "create", BUYER, "501", "9001")
    assert runtime.flush("acme").state == "paused"
    assert json.loads(cli("accounts", "resume", "acme", "--json").stdout)["was_paused"]
    listed = json.loads(cli("accounts", "list", "--json").stdout)["accounts"]
    assert [(each["account"], each["backlog"], each["paused"]) for each in listed] == [("acme", 1, None)]
    assert "was not paused" in cli("accounts", "resume", "acme").stdout


def test_a_new_key_is_shown_once_with_the_hash_that_the_settings_take(
    cli: Cli, env: dict[str, str], tmp_path: Path
) -> None:
    made = cli("keys", "new", "portal", "--can", "read", "--can", "send").stdout
    key, _, table = made.partition("\n")
    with Path(env["RELATIONS_CONFIG"]).open("a") as file:
        file.write(table[table.index("[keys") :])
    kept = load_settings(env, tmp_path).keys["portal"]
    assert kept.sha256 == sha256(key.split()[-1].encode()).hexdigest()
    assert (kept.accounts, kept.can) == (("acme",), ("read", "send"))


@pytest.mark.parametrize("name", ["_portal", "-portal", "a.b", "a b", "ä", "x" * 41, ""])
def test_a_key_gets_no_name_that_the_settings_refuse(cli: Cli, name: str) -> None:
    assert "rel_" not in cli("keys", "new", "--", name, code=2).output


@pytest.mark.parametrize(
    "words",
    [
        ("send",),
        ("send", "create", BUYER),
        ("send", "x.ndjson", "--batch", "b"),
        ("send", "gone.ndjson"),
        ("send", "--info", "x", "a", "b", "1", "2"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_a_usage_error(cli: Cli, words: tuple[str, ...]) -> None:
    assert "Usage: relations send" in cli(*words, code=2).stderr


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "show", "K\udce4ufer"),
        ("jobs", "list", "--batch", "K\udce4ufer"),
        ("accounts", "pause", "acme", "--why=K\udce4ufer"),
        ("batch", "\udce4" * 300),
        ("import", "K\udce4ufer.csv"),
    ],
)
def test_a_word_that_is_no_text_is_named(cli: Cli, words: tuple[str, ...]) -> None:
    assert "\\udce4" in cli(*words, code=2).stderr
    assert "is no text in UTF-8" in json.loads(cli(*words, "--json", code=2).stderr)["message"]


def test_the_name_of_a_file_need_not_be_text(cli: Cli, tmp_path: Path, runtime: Runtime) -> None:
    name = "K\udce4ufer.ndjson"
    line = {"action": "create", "relationtype": BUYER, "parentid": 1, "childid": 1}
    (tmp_path / name).write_text(json.dumps(line))
    cli("import", name)
    cli("send", name)
    assert runtime.store.counts("acme")["accepted"] == 1


def test_words_are_utf_8_whatever_the_locale(cli: Cli, runtime: Runtime) -> None:
    as_in_c = "Käufer".encode().decode("ascii", "surrogateescape")
    cli("send", "create", BUYER, "1", "2", "--batch", as_in_c)
    assert "1 accepted" in cli("batch", "Käufer").stdout


@pytest.mark.parametrize(("word", "meant"), [("job", "jobs"), ("dotcor", "doctor"), ("improt", "import")])
def test_a_command_that_is_misspelt_is_guessed(cli: Cli, word: str, meant: str) -> None:
    assert f"No such command '{word}'. Did you mean '{meant}'" in cli(word, "list", code=2).stderr


def test_all_faults_of_unusable_settings_are_printed_at_once(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[accounts.acme]\ntoken = "env:GONE"\nsecret = "env:SECRET"\nrate = "fast"\n[typos]\n')
    result = cli("jobs", "list", code=2, RELATIONS_CONFIG=str(bad))
    assert result.stderr.startswith("The settings cannot be used:\n")
    assert all(path in result.stderr for path in ("accounts.acme.rate", "accounts.acme.token", "typos"))
    document = json.loads(cli("jobs", "list", "--json", code=2, RELATIONS_CONFIG=str(bad)).stderr)
    assert {"accounts.acme.rate", "accounts.acme.token", "typos"} <= {
        fault["path"] for fault in document["faults"]
    }


@pytest.mark.parametrize(
    "words",
    [
        ["jobs", "list"],
        ["send", "create", BUYER, "1", "2"],
        ["explain", BUYER, "1", "2"],
        ["accounts", "list"],
        ["replay", "--failed"],
    ],
)
def test_without_redis_one_line_names_its_address_and_what_to_do(cli: Cli, words: list[str]) -> None:
    result = cli(
        *words,
        code=2,
        RELATIONS_REDIS_URL="redis://:hunter22@127.0.0.1:1/0",
        RELATIONS_BROKER_URL="redis://127.0.0.1:1",
    )
    assert result.stderr.count("\n") == 1
    assert "redis://***@127.0.0.1:1/0" in result.stderr
    assert "RELATIONS_REDIS_URL" in result.stderr
    assert "hunter22" not in result.output


def test_jobs_and_accounts_say_what_they_wait_for_and_until_when(cli: Cli, runtime: Runtime) -> None:
    job = first_job(cli("send", "create", "estate:address:buyer", "501", "9001"))
    assert "waits for turn" in cli("jobs", "show", job).stdout
    for _ in range(5):
        runtime.limiter.report("acme", "failed")
    runtime.flush("acme")
    shown = json.loads(cli("jobs", "show", job, "--json").stdout)
    assert (shown["state"], shown["held"]["reason"]) == ("held", "breaker")
    assert shown["held"]["until"]
    assert "breaker until" in cli("jobs", "list").stdout
    [account] = json.loads(cli("accounts", "list", "--json").stdout)["accounts"]
    assert (account["waits"]["reason"], account["jobs"]["held"], account["jobs"]["sending"]) == (
        "breaker",
        1,
        0,
    )
    assert "waits for breaker until" in cli("accounts", "show").stdout
    cli("accounts", "pause", "acme", "--why", "moving")
    assert "waits for pause: account acme is paused (hand: moving)" in cli("accounts", "show", "acme").stdout
    explained = cli("explain", "estate:address:buyer", "501", "9001").stdout
    assert "but:    account acme is paused (hand: moving)" in explained
    assert cli("jobs", "cancel", job, "--yes").stdout.startswith("1 job cancelled")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("replay acme-1 --set childid=1 --set childid=2", "childid: is given twice"),
        ("import - --set childid=1 --set childid=2", "--set childid is given twice"),
        ("import - --set child=1 --set childid=2", "--set childid is given twice"),
        ("import - --map a=childid --map a=parentid", "--map a is given twice"),
        ("send modify calendar:address 1 2 --info a=1 --info a=2", "--info a is given twice"),
        (
            "jobs resolve acme-1 --reference address:a=b=1 --reference address:a=b=2",
            "address:a=b is given twice",
        ),
        ("sources add portal --template calendly --set field=a --set field=b", "--set field is given twice"),
        ("simulator --switch duplicate_create=78 --switch duplicate_create=78", "duplicate_create is given"),
        ("jobs list --account acme --account second", "--account is given twice; which one counts?"),
        ("jobs cancel --state queued --state parked --yes", "--state is given twice"),
        ("send --sample 01-portal-burst --sample 02-single-delete", "--sample is given twice"),
        ("deliveries list --limit 1 --limit=2", "--limit is given twice"),
        ("--url http://a.test --url http://b.test accounts list", "--url is given twice"),
    ],
)
def test_what_is_given_twice_is_refused_where_the_last_would_win(cli: Cli, line: str, what: str) -> None:
    assert what in cli(*line.split(), code=Exit.USAGE).stderr


def test_what_may_be_given_twice_is_taken_so(cli: Cli) -> None:
    entry = json.loads(
        cli("keys", "new", "portal", "--can", "send", "--can", "read", "--json", "--json").stdout
    )
    assert entry["can"] == ["send", "read"]
    assert "--account NAME" in cli("jobs", "list", "--account", "a", "--account", "b", "--help").stdout


@pytest.mark.parametrize("cursor", ["x", "1-2", "1.5.5", "-5", "٣", "acme-1m8p5h667rmb0qqndj"])
@pytest.mark.parametrize(
    "command", ["jobs list", "requests list", "audit", "callbacks list", "deliveries list"]
)
def test_a_cursor_that_no_page_named_is_refused(cli: Cli, command: str, cursor: str) -> None:
    refused = cli(*command.split(), f"--cursor={cursor}", code=Exit.USAGE).stderr
    assert "expected what the last page named" in refused
