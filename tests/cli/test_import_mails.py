"""`relations import --mail`: enquiries out of mails, by the rules of a source."""

import json
import mailbox
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.utils import format_datetime
from pathlib import Path

import pytest

from ops.simulator import Simulator
from ops.source_templates import find_template
from tests.support.cli_runner import TOKEN, Cli, make_cli
from tests.support.mails import make_feedback, make_mail

SOURCE = """
[sources.portal]
account = "acme"
scheme = "bearer"
secret = "env:PORTAL_SECRET"

[[sources.portal.rules]]
each = ["mails", "attachments", "value.openimmo_feedback.objekt", "interessent"]
action = "'create'"
relationtype = "'estate:address:interested'"
parentid = "reference('estate', {objektnr_extern: outer().oobj_id})"
childid = "reference('address', {email: email(email)})"
occurred_at = "outer(`4`).date"
"""


@pytest.fixture
def mail_cli(env: dict[str, str]) -> Cli:
    config = Path(env["RELATIONS_CONFIG"])
    config.write_text(config.read_text("utf-8") + SOURCE, "utf-8")
    return make_cli({**env, "PORTAL_SECRET": "a secret of the portal"})


def enquiry(number: str) -> bytes:
    feedback = make_feedback(number=number, email=f"{number}@example.test")
    return make_mail("", ("a.xml", feedback.encode()), Message_ID=f"<{number}@portal.test>")


def counts_of(cli: Cli, *words: str, code: int = 0, stdin: bytes = b"") -> tuple[int, int, int, int]:
    answer = json.loads(cli("import", "--mail", *words, "--json", code=code, stdin=stdin).stdout)
    return answer["mails"], answer["accepted"], answer["known"], len(answer["unreadable"])


def test_a_mail_is_imported_once_from_a_file_and_from_standard_input(mail_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "enquiry.eml"
    file.write_bytes(enquiry("00815"))
    assert counts_of(mail_cli, str(file)) == (1, 1, 0, 0)
    assert counts_of(mail_cli, "-", stdin=file.read_bytes()) == (1, 0, 1, 0)
    assert counts_of(mail_cli, stdin=file.read_bytes()) == (1, 0, 1, 0)
    mail_cli("import", code=2)


def test_mails_of_an_mbox_a_maildir_and_a_folder_are_all_read(mail_cli: Cli, tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "box")
    maildir = mailbox.Maildir(tmp_path / "maildir")
    (tmp_path / "folder").mkdir()
    for number in ("1", "2", "3"):
        box.add(enquiry(f"box-{number}"))
        maildir.add(enquiry(f"dir-{number}"))
        (tmp_path / "folder" / f"{number}.eml").write_bytes(enquiry(f"file-{number}"))
    box.close()
    for place in ("box", "maildir", "folder"):
        assert counts_of(mail_cli, str(tmp_path / place)) == (3, 3, 0, 0)
    assert counts_of(mail_cli, "-", stdin=(tmp_path / "box").read_bytes()) == (3, 0, 3, 0)


def test_a_mail_that_nobody_can_read_is_kept_and_shown_and_the_others_go_on(
    mail_cli: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "mails"
    folder.mkdir()
    for name, content in {
        "1.eml": enquiry("1"),
        "2.eml": make_mail("Newsletter"),
        "3.eml": make_mail("", ("a.xml", b"<openimmo_feedback>")),
        "4.eml": b"\xff\xfe\0nothing",
        "5.eml": enquiry("5"),
    }.items():
        (folder / name).write_bytes(content)
    output = mail_cli("import", "--mail", str(folder), "--json", code=4).stdout
    answer = json.loads(output)
    assert (answer["mails"], answer["accepted"]) == (5, 2)
    assert [mail["mail"].rpartition("/")[2] for mail in answer["unreadable"]] == ["2.eml", "3.eml", "4.eml"]
    for mail in answer["unreadable"]:
        shown = mail_cli("jobs", "show", mail["job"]).stdout
        assert "failed" in shown
        assert mail_cli("jobs", "show", mail["job"], "--payload").stdout


def test_each_mail_is_on_record_as_a_delivery_and_one_that_is_ignored_makes_no_job(
    mail_cli: Cli, env: dict[str, str]
) -> None:
    config = Path(env["RELATIONS_CONFIG"])
    ignore = '[[sources.portal.ignore]]\nwhen = "mails[0].is_bounce"\nbecause = "it came back"\n'
    config.write_text(config.read_text("utf-8") + ignore, "utf-8")
    bounce = make_mail("", ("a.xml", make_feedback().encode()), From="MAILER-DAEMON@mx.test")
    for mail in (enquiry("1"), bounce, make_mail("Newsletter")):
        mail_cli("import", "--mail", stdin=mail, code=None)
    deliveries = json.loads(mail_cli("deliveries", "list", "--json").stdout)["deliveries"]
    assert sorted(each["outcome"] for each in deliveries) == ["made", "nothing_to_do", "unreadable"]
    assert [each["reason"] for each in deliveries if each["reason"]] == ["it came back"]
    states = [job["state"] for job in json.loads(mail_cli("jobs", "list", "--json").stdout)["jobs"]]
    assert sorted(states) == ["failed", "queued"]


def test_a_dry_run_says_what_each_mail_would_make_and_keeps_nothing(mail_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "1.eml").write_bytes(enquiry("00815"))
    run = mail_cli("import", "--mail", str(tmp_path / "1.eml"), "--dry-run")
    line = "1.eml: acme: create estate:address:interested estate:objektnr_extern=00815"
    assert f"{line} → address:email=00815@example.test" in run.stderr
    assert "Nothing was sent." in run.stdout
    assert json.loads(mail_cli("jobs", "list", "--json").stdout)["jobs"] == []


def test_mails_without_a_source_or_with_options_of_tables_are_misuse(mail_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "1.eml"
    file.write_bytes(enquiry("1"))
    assert "did you mean" in mail_cli("import", "--mail", str(file), "--source", "portl", code=3).stderr
    mail_cli("import", "--mail", str(file), "--map", "a=b", code=2)
    mail_cli("import", str(file), "--source", "portal", code=2)
    mail_cli("import", "--mail", str(tmp_path / "none.eml"), code=2)
    assert "curl" in mail_cli("import", "--mail", str(file), "--url", "https://x.test", code=2).stderr


def test_a_portals_mail_links_the_person_to_the_estate_with_a_template_alone(
    cli: Cli, simulator: Simulator, drain: Callable[[], None]
) -> None:
    cli("sources", "add", "portal", "--template", "openimmo-feedback", "--set", "type=estate:address:buyer")
    mail = message_from_bytes(find_template("openimmo-feedback").read_sample())
    mail.replace_header("Date", format_datetime(datetime.now(UTC) - timedelta(days=1)))
    assert counts_of(cli, "--source", "portal", stdin=mail.as_bytes()) == (1, 1, 0, 0)
    simulator.seed(
        TOKEN,
        fields={
            "estate": {501: {"objektnr_extern": "00815"}, 502: {"objektnr_extern": "815"}},
            "address": {
                9001: {"email": ["Ada.Lovelace@example.test"]},
                9002: {"email": ["bob@example.test"]},
            },
        },
    )
    drain()
    assert {(each.parent, each.child) for each in simulator.relations(TOKEN)} == {(501, 9001)}
