"""What the page of senders says of each of them takes what that sender signs, and nothing else.

The settings are read from the page; the deliveries are signed as each sender's documentation has it.
"""

import re
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from redis import Redis

from producers.webhooks.mapping import build_changes, read_payload
from producers.webhooks.places import Places
from producers.webhooks.request_parts import read_kept
from producers.webhooks.signatures import WebhookDelivery
from tests.support.http_front import Front, problem
from tests.support.sender_ways import OTHER_WAYS, sns_of_another_topic
from tests.support.senders import (
    ESTATES,
    KEY,
    KEY_FILES,
    OTHER,
    SELF_TIMED,
    SENDERS,
    SHARED_SECRETS,
    TOKENS_ALONE,
    UNSIGNED_BODIES,
    URL,
    Sender,
    Sent,
    basic,
    with_password,
)
from tests.support.store_steps import dump_keys
from worker.config import Source, load_settings
from worker.errors import InvalidChange
from worker.ports.deliveries import DeliveryFilter

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "senders.md"


def read_page() -> dict[str, str]:
    """Return the settings of each sender as the page has them, in TOML."""
    table = PAGE.read_text("utf-8").partition("## How senders prove themselves")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (`.+?`) \|", table, re.MULTILINE)
    found = {name: "\n".join(re.findall(r"`([a-z_]+ = [^`]*)`", cell)) for name, cell in rows}
    return {name: text.replace(r"\|", "|") for name, text in found.items()}  # as tables have it


WRITTEN = read_page()


def make_source(sender: str, folder: Path) -> Source:
    """Return the source that the page's settings make, with a rule that links the estate."""
    given = WRITTEN[sender].replace("https://your.host/webhooks/NAME", URL)
    proof = "public_key" if "public_key" in tomllib.loads(given) else "secret"
    given = re.sub(r"^public_key = .*$", "", given, flags=re.MULTILINE)
    scheme = "" if tomllib.loads(given).get("scheme") else 'scheme = "hmac"\n'
    estate = ESTATES.get(sender, "estate")
    text = f"""
[accounts.acme]
token = "env:ACME_TOKEN"
secret = "env:ACME_SECRET"

[sources.NAME]
account = "acme"
{proof} = "file:key"
{scheme}{given}

[[sources.NAME.rules]]
action = "'create'"
relationtype = "'estate:address:buyer'"
parentid = "to_number({estate})"
childid = "`9001`"
"""
    (folder / "relations.toml").write_text(text, "utf-8")
    (folder / "key").write_text(KEY_FILES.get(sender, str)(KEY))
    return load_settings({"ACME_TOKEN": "t" * 32, "ACME_SECRET": "s" * 64}, folder).sources["NAME"]


@pytest.fixture
def source(
    request: pytest.FixtureRequest, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Source:
    """Serve the source of a sender, under the name in its address."""
    made = make_source(request.param, tmp_path)
    known = {**front.runtime.settings.sources, "NAME": made}
    monkeypatch.setattr(
        front.runtime.live_settings, "current", replace(front.runtime.settings, sources=known)
    )
    return made


def post(front: Front, sent: Sent) -> httpx.Response:
    return front.client(None).post(f"/webhooks/NAME{sent.more}", content=sent.body, headers=sent.headers)


def change_body(source: Source, send: Sender, at: int) -> Sent:
    """Return a delivery with another estate in its body, under the signature of the first."""
    sent = send(KEY, at, 501)
    if source.signature_in.startswith("body"):
        return sent._replace(body=sent.body.replace(b"501", b"502"))
    return sent._replace(body=send(KEY, at, 502).body)


def check_refused(source: Source, answer: httpx.Response) -> None:
    """Check that a delivery was refused, without a body if no answer of its source has one."""
    if source.answer_body == "":
        assert (answer.status_code, answer.content) == (401, b"")
    else:
        problem(answer, 401)


def test_every_sender_of_the_page_is_tried() -> None:
    assert SENDERS.keys() == WRITTEN.keys()


def test_what_was_held_against_a_library_stands_in_the_table() -> None:
    table = PAGE.read_text("utf-8").partition("## Held against their own libraries")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", table, re.MULTILINE)[1:]
    assert len(rows) > 20
    assert {name for names, _ in rows for name in names.split("; ")} <= WRITTEN.keys()


@pytest.mark.parametrize(
    ("source", "sender"), [(name, name) for name in SENDERS], indirect=["source"], ids=list(SENDERS)
)
def test_what_a_sender_signs_makes_its_change_and_what_anybody_else_signs_is_refused(
    front: Front, source: Source, sender: str
) -> None:
    send, at = SENDERS[sender], int(time.time())
    for forged in (send(OTHER, at, 501), send("", at, 501)._replace(headers={}, more="")):
        check_refused(source, post(front, forged))
    if source.timestamp_place or source.timestamp_field or source.scheme in SELF_TIMED:
        check_refused(source, post(front, send(KEY, at - int(source.max_age) - 4000, 501)))
        check_refused(source, post(front, send(KEY, at + 400, 501)))
    if source.scheme not in SHARED_SECRETS and sender not in UNSIGNED_BODIES | TOKENS_ALONE:
        check_refused(source, post(front, change_body(source, send, at)))
    assert "accepted" not in front.store.counts("acme")
    for _ in range(2):  # a sender that missed the answer sends it again
        answer = post(front, send(KEY, at, 501))
        assert answer.status_code == source.answer, answer.text
        if source.answer_body is not None:
            assert answer.text == source.answer_body
    assert front.store.counts("acme")["accepted"] == 1
    (job,) = front.client("admin").get("/v1/jobs", params={"account": "acme"}).json()["jobs"]
    assert job["parentid"] == [501]


@pytest.mark.parametrize(("source", "send"), OTHER_WAYS.values(), indirect=["source"], ids=list(OTHER_WAYS))
def test_whichever_way_a_sender_signs_its_change_is_made_and_no_other(
    front: Front, source: Source, send: Sender
) -> None:
    at = int(time.time())
    check_refused(source, post(front, send(OTHER, at, 501)))
    check_refused(source, post(front, change_body(source, send, at)))
    assert "accepted" not in front.store.counts("acme")
    assert post(front, send(KEY, at, 501)).status_code == source.answer
    (job,) = front.client("admin").get("/v1/jobs", params={"account": "acme"}).json()["jobs"]
    assert job["parentid"] == [501]


@pytest.mark.parametrize("source", ["AWS SNS, by its signature"], indirect=True)
def test_what_is_signed_for_another_topic_is_refused(front: Front, source: Source) -> None:
    check_refused(source, post(front, sns_of_another_topic(KEY, int(time.time()), 501)))
    assert "accepted" not in front.store.counts("acme")


@pytest.mark.parametrize(
    ("answer_body", "kind"),
    [
        ("Hello", "text/plain"),
        ("", "text/plain"),
        ("<Response/>", "text/xml"),
        ("{}", "application/json"),
        ("[]", "application/json"),
        ("[accepted]", "text/plain"),
    ],
)
def test_an_answer_of_the_settings_is_called_what_it_is_and_other_answers_stay(
    front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer_body: str, kind: str
) -> None:
    made = replace(make_source("Pipedrive", tmp_path), answer=200, answer_body=answer_body)
    known = replace(front.runtime.settings, sources={"NAME": made})
    monkeypatch.setattr(front.runtime.live_settings, "current", known)
    answer = post(front, with_password(KEY, 0, 501))
    assert (answer.status_code, answer.text) == (200, answer_body)
    assert answer.headers["content-type"].partition(";")[0] == kind
    unreadable = post(front, Sent(b"{}", basic(KEY)))  # is kept as a failed job, and none of the sender's
    assert (unreadable.status_code, unreadable.text) == (200, answer_body)
    check_refused(made, post(front, with_password(OTHER, 0, 501)))


@pytest.mark.parametrize(
    ("source", "sender"), [(name, name) for name in sorted(UNSIGNED_BODIES)], indirect=["source"]
)
def test_a_signature_in_the_body_is_kept_nowhere(
    front: Front, redis_client: Redis, source: Source, sender: str
) -> None:
    sent = SENDERS[sender](KEY, int(time.time()), 5_010_017)
    (signature,) = {*Places(WebhookDelivery("", sent.headers, sent.body)).find(source.signature_place)}
    for body in (sent.body, sent.body.replace(b"5010017", b'"no number"')):
        assert post(front, sent._replace(body=body)).status_code == source.answer
    jobs = front.client("admin").get("/v1/jobs", params={"account": "acme"}).json()["jobs"]
    assert {job["state"] for job in jobs} == {"queued", "failed"}
    stored = str(dump_keys(redis_client))
    assert "no number" in stored
    assert signature not in stored


@pytest.mark.parametrize(
    ("source", "sender"),
    [(name, name) for name in ("Wix", "Dialpad", "AWS SNS, by its signature")],
    indirect=["source"],
)
def test_a_token_in_the_body_is_kept_without_its_signature_so_that_it_can_be_read_again(
    front: Front, redis_client: Redis, source: Source, sender: str
) -> None:
    at = int(time.time())
    for estate in (5_010_017, -1):  # the second makes no valid change, and is kept as a failed job
        sent = SENDERS[sender](KEY, at, estate)
        assert post(front, sent).status_code == source.answer
        (proof,) = {*Places(WebhookDelivery("", sent.headers, sent.body)).find(source.signature_place)}
        stored = str(dump_keys(redis_client))
        assert proof.rpartition(".")[2] not in stored
    jobs = front.client("admin").get("/v1/jobs", params={"account": "acme"}).json()["jobs"]
    assert sorted(job["state"] for job in jobs) == ["failed", "queued"]
    (delivery,) = front.runtime.deliveries.find(DeliveryFilter(outcome="unreadable")).entries
    kept = front.runtime.deliveries.get(delivery.id)
    assert kept is not None
    with pytest.raises(InvalidChange, match=r"rules\[0\].parentid: .*-1"):
        build_changes(source, read_payload(source, read_kept(source, kept.request)), "x")
