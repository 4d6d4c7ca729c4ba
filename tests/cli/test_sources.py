"""`relations sources`: what a webhook would make of a payload; neither Redis nor the API is asked."""

import json
from pathlib import Path

import pytest

from tests.support.cli_runner import Cli, make_cli, make_environ, write_settings

NOWHERE = "127.0.0.1:9"  # nothing listens there
INTERESTED = "estate:address:interested"
SOURCES = """
[sources.immo]
account = "acme"
scheme = "standard-webhooks"
secret = "env:IMMO_SECRET"

[[sources.immo.rules]]
when = "type == 'enquiry.created'"
action = "'create'"
relationtype = "'estate:address:interested'"
parentid = "estates"
childid = "persons"
occurred_at = "at"
relationinfo = "info"

[[sources.immo.rules]]
when = "contact"
action = "'create'"
relationtype = "'estate:address:contactPerson'"
parentid = "estates"
childid = "to_number(contact)"

[sources.forms]
account_from = "customer"
accounts = { "00001-001" = "acme", "2" = "berg", "3" = "berg" }
scheme = "bearer"
secret = "env:IMMO_SECRET"

[[sources.forms.rules]]
action = "action"
relationtype = "type"
parentid = "parent"
childid = "child"

[sources.office]
account = "berg"
scheme = "onoffice"
secret = "env:IMMO_SECRET"

[[sources.office.rules]]
action = "'create'"
relationtype = "'estate:address:owner'"
parentid = "estateId"
childid = "userId"
"""
ENQUIRY = {"type": "enquiry.created", "estates": 501, "persons": [9001, 9002]}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_settings(tmp_path, f"http://{NOWHERE}/", "acme", "berg")
    path.write_text(path.read_text() + SOURCES)
    return path


@pytest.fixture
def cli(config: Path) -> Cli:
    return make_cli({**make_environ(config, f"redis://{NOWHERE}/0"), "IMMO_SECRET": "whsec_c2VjcmV0"})


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """Return the path of a payload file; each test writes its own."""
    return tmp_path / "payload.json"


def write(payload: Path, document: object) -> str:
    payload.write_text(json.dumps(document))
    return str(payload)


def test_sources_are_listed_with_their_account_and_address(cli: Cli) -> None:
    heads, *rows = cli("sources", "list").stdout.splitlines()
    assert heads.split() == ["SOURCE", "SCHEME", "ACCOUNT", "RULES", "ADDRESS"]
    assert rows[0].split() == ["immo", "standard-webhooks", "acme", "2", "/webhooks/immo"]
    found = json.loads(cli("sources", "list", "--json").stdout)["sources"]
    assert found[1] == {
        "name": "forms",
        "scheme": "bearer",
        "account": "acme, berg",
        "rules": 1,
        "path": "/webhooks/forms",
    }


def test_without_sources_the_list_is_empty(config: Path, cli: Cli) -> None:
    config.write_text(config.read_text().replace(SOURCES, ""))
    assert json.loads(cli("sources", "list", "--json").stdout) == {"sources": []}


def test_a_good_payload_is_printed_change_by_change_and_nothing_is_sent(cli: Cli, payload: Path) -> None:
    output = cli("sources", "try", "immo", write(payload, {**ENQUIRY, "contact": "42"})).stdout
    assert output.splitlines() == [
        "2 changes; nothing was sent",
        f"  rules[0]  acme: create {INTERESTED} 501 → 9001 9002",
        "  rules[1]  acme: create estate:address:contactPerson 501 → 42",
    ]


def test_a_payload_that_no_rule_is_for_is_no_error_and_each_rule_says_why(cli: Cli, payload: Path) -> None:
    assert cli("sources", "try", "immo", write(payload, {"type": "ping"})).stdout.splitlines() == [
        "0 changes; nothing was sent",
        "  rules[0]  does not apply: type == 'enquiry.created' is not so; type is \"ping\"",
        "  rules[1]  does not apply: contact is not so; contact is null",
    ]


def test_a_payload_that_is_to_be_ignored_says_by_which_rule_and_why(
    cli: Cli, config: Path, payload: Path
) -> None:
    ignore = """
[[sources.immo.ignore]]
when = "starts_with(type, 'test.')"
because = "a test of the sender"
"""
    config.write_text(config.read_text() + ignore)
    file = write(payload, {**ENQUIRY, "type": "test.enquiry", "contact": "42"})
    assert cli("sources", "try", "immo", file).stdout.splitlines() == [
        "0 changes; nothing was sent: a test of the sender",
        "  ignore[0]  applies, so there is nothing to do: starts_with(type, 'test.')",
    ]
    tried = json.loads(cli("sources", "try", "immo", file, "--json").stdout)
    assert (tried["outcome"], tried["reason"], tried["changes"]) == (
        "nothing_to_do",
        "a test of the sender",
        [],
    )
    assert [rule["outcome"] for rule in tried["rules"]] == ["ignored"]


def test_as_json_it_is_the_messages_that_would_be_accepted(cli: Cli, payload: Path) -> None:
    at = "2026-11-21T02:00:00Z"
    document = json.loads(
        cli("sources", "try", "immo", write(payload, {**ENQUIRY, "at": at}), "--json").stdout
    )
    [made] = document.pop("changes")
    assert [(rule["rule"], rule["outcome"]) for rule in document.pop("rules")] == [
        ("rules[0]", "made"),
        ("rules[1]", "no_match"),
    ]
    assert document == {"source": "immo", "outcome": "made", "reason": None}
    assert made["rule"] == "rules[0]"
    named = ("account", "action", "relationtype", "parentid", "childid", "source", "event_id")
    assert [made["change"][name] for name in named] == [
        "acme",
        "create",
        INTERESTED,
        501,
        [9001, 9002],
        "immo",
        "try:0:0",
    ]


def test_several_parents_and_several_children_make_a_change_per_parent(cli: Cli, payload: Path) -> None:
    document = json.loads(
        cli("sources", "try", "immo", write(payload, {**ENQUIRY, "estates": [501, 502]}), "--json").stdout
    )
    assert [(each["change"]["parentid"], each["change"]["event_id"]) for each in document["changes"]] == [
        (501, "try:0:0"),
        (502, "try:0:1"),
    ]


def test_a_payload_may_come_from_standard_input(cli: Cli) -> None:
    assert "501 → 9001 9002" in cli("sources", "try", "immo", "-", stdin=json.dumps(ENQUIRY).encode()).stdout


def test_a_message_of_onoffice_is_its_query_with_or_without_the_question_mark(
    cli: Cli, payload: Path
) -> None:
    for query in ("estateId=4.629&userId=21", "?estateId=4629&userId=21\n"):
        payload.write_text(query)
        assert (
            "rules[0]  berg: create estate:address:owner 4629 → 21"
            in cli("sources", "try", "office", str(payload)).stdout
        )


def test_the_account_is_found_in_the_payload(cli: Cli, payload: Path) -> None:
    change = {"action": "delete", "type": INTERESTED, "parent": 501, "child": 9001}
    assert (
        f"berg: delete {INTERESTED} 501 → 9001"
        in cli("sources", "try", "forms", write(payload, {**change, "customer": 2})).stdout
    )
    refused = cli("sources", "try", "forms", write(payload, {**change, "customer": 4}), code=1)
    assert refused.stderr.startswith("account_from: finds nothing in the payload")


@pytest.mark.parametrize(
    ("slip", "fault"),
    [
        (
            {"persons": ["9001"]},
            'rules[0].childid[0]: expected a positive integer, got "9001"; to_number() makes a number of it, '
            "reference() names a record by another field",
        ),
        (
            {"persons": ["Ada"]},
            'rules[0].childid[0]: expected a positive integer, got "Ada"; reference() names a record by what',
        ),
        (
            {"persons": None},
            "rules[0].childid: expected a positive integer or an array of them, got null; the rule",
        ),
        ({"estates": None}, "rules[0].parentid: "),
        (
            {"at": "yesterday"},
            "rules[0].occurred_at: expected date, time and offset (RFC 3339) such as 2026-11-21T02:00:00Z, "
            'got "yesterday"; time() reads others',
        ),
        ({"info": {"colour": "red"}}, "rules[0].relationinfo"),
        ({"contact": {}, "estates": []}, "rules[0].parentid: "),
        ({"contact": "forty-two"}, "rules[1].childid: "),
    ],
    ids=str,
)
def test_a_rule_that_fails_is_named_with_the_field_that_does(
    cli: Cli, payload: Path, slip: dict[str, object], fault: str
) -> None:
    file = write(payload, {**ENQUIRY, **slip})
    refused = cli("sources", "try", "immo", file, code=1)
    assert fault in refused.stderr
    assert refused.stdout == ""
    document = json.loads(cli("sources", "try", "immo", file, "--json", code=1).stderr)
    assert document["error"] == "InvalidChange"
    assert any(f"{each['path']}: {each['message']}".startswith(fault) for each in document["faults"])


def test_every_rule_that_fails_is_named_at_once(cli: Cli, payload: Path) -> None:
    refused = cli(
        "sources", "try", "immo", write(payload, {**ENQUIRY, "persons": [0], "contact": "x"}), code=1
    )
    assert [line.partition(": ")[0] for line in refused.stderr.splitlines()] == [
        "rules[0].childid[0]",
        "rules[1].childid",
    ]
    assert refused.stderr.endswith('; to_number(contact) is null, contact is "x"\n')


def test_a_type_that_the_operator_denies_fails_as_at_intake(cli: Cli, config: Path, payload: Path) -> None:
    config.write_text(config.read_text() + f'\n[types."{INTERESTED}"]\ncreate = "deny"\n')
    assert cli("sources", "try", "immo", write(payload, ENQUIRY), code=1).stderr.startswith(
        "rules[0].action: "
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"enquiry", b'{"type": ', b"\xff\xfe", b"[" * 100_000],
    ids=["none", "text", "torn", "bytes", "deep"],
)
def test_a_payload_that_is_not_read_is_refused(cli: Cli, body: bytes) -> None:
    assert "expected JSON" in cli("sources", "try", "immo", "-", code=1, stdin=body).stderr


def test_a_source_that_is_not_there_is_not_found_and_a_near_one_named(cli: Cli, payload: Path) -> None:
    assert (
        'there is no source "imo"; did you mean "immo"?'
        in cli("sources", "try", "imo", write(payload, ENQUIRY), code=3).stderr
    )
    assert cli("sources", "try", "zebra", str(payload), code=3).stderr == 'there is no source "zebra"\n'
    assert (
        json.loads(cli("sources", "try", "zebra", str(payload), "--json", code=3).stderr)["error"]
        == "NotFound"
    )


def test_a_file_that_is_not_there_is_not_found(cli: Cli, payload: Path) -> None:
    assert (
        cli("sources", "try", "immo", str(payload), code=3).stderr
        == f"{payload} cannot be read: No such file or directory\n"
    )


def test_a_folder_for_a_file_and_words_left_out_are_misuse(cli: Cli, tmp_path: Path) -> None:
    cli("sources", "try", "immo", str(tmp_path), code=2)
    cli("sources", "try", "immo", code=2)
    cli("sources", "try", code=2)


@pytest.mark.parametrize("words", [("list",), ("try", "immo", "-")], ids=" ".join)
def test_an_expression_that_is_no_jmespath_is_a_fault_of_the_settings(
    cli: Cli, config: Path, words: tuple[str, ...]
) -> None:
    config.write_text(config.read_text().replace('"estateId"', '"estate["'))
    refused = cli("sources", *words, code=2, stdin=b"{}")
    assert "sources.office.rules[0].parentid: is no JMESPath expression" in refused.stderr


def test_a_condition_that_compares_with_a_name_is_told_how_a_text_is_written(
    cli: Cli, config: Path, payload: Path
) -> None:
    file = write(payload, {**ENQUIRY, "type": "ping"})
    hint = "what has double quotation marks is a name, a text has single ones"
    assert hint not in cli("sources", "try", "immo", file).stdout
    condition = json.dumps('type == "enquiry.created"')
    config.write_text(config.read_text().replace("\"type == 'enquiry.created'\"", condition))
    assert hint in cli("sources", "try", "immo", file).stdout


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("estate:address:buyer", "within the double ones: \"'estate:address:buyer'\""),
        ("type = 'new'", "equal is =="),
        ("type == 'new' and source == 'x'", "and, or, not are written &&, ||, !"),
        ("contains(tags, 'a and b'", "is no JMESPath expression"),
    ],
)
def test_a_slip_in_an_expression_is_told_what_may_be_meant(
    cli: Cli, config: Path, written: str, advice: str
) -> None:
    config.write_text(config.read_text().replace('"estateId"', json.dumps(written)))
    refused = cli("sources", "list", code=2).stderr
    assert advice in refused
    assert ("are written" in refused) is ("written" in advice)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_message_may_have_the_head_that_rules_read(cli: Cli, config: Path, end: str) -> None:
    config.write_text(
        config.read_text().replace("type == 'enquiry.created'", "header('X-Event') == query('event')")
    )
    request = end.join(["POST /webhooks/immo?event=new HTTP/1.1", "X-Event: new", "", json.dumps(ENQUIRY)])
    answer = json.loads(cli("sources", "try", "immo", "-", "--json", stdin=request.encode()).stdout)
    assert answer["changes"][0]["rule"] == "rules[0]"


def test_a_faulty_source_or_a_missing_secret_stops_nobody_who_looks_or_acts(
    env: dict[str, str], tmp_path: Path
) -> None:
    config = Path(env["RELATIONS_CONFIG"])
    config.write_text(config.read_text("utf-8") + '[sources.broken]\nscheme = "hmac"\n', "utf-8")
    cli = make_cli({**env, "TOKEN": ""})
    cli("jobs", "list")
    cli("accounts", "pause", "acme", "--why", "holidays")
    assert "holidays" in cli("accounts", "list").stdout
    findings = cli("doctor", "--no-api", code=1).stdout
    assert "sources.broken.secret" in findings
    assert "accounts.acme.token: env:TOKEN is empty or not set" in findings
    assert "sources.broken" in cli("sources", "list", code=2).stderr
    assert "sources.broken" in cli("api", code=2).stderr
