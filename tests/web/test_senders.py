"""What the page of senders says of each of them takes what that sender signs, and nothing else.

The settings are read from the page; the deliveries are signed as each sender's documentation has it.
"""

import hmac
import json
import re
import time
import tomllib
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import httpx
import pytest
from redis import Redis

from producers.webhooks.places import Places
from producers.webhooks.signatures import WebhookDelivery
from tests.support.http_front import Front, problem
from tests.support.store_steps import dump_keys
from worker.config import Source, load_settings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "senders.md"
KEY = "canary-key-of-a-sender-0123456789"
OTHER = "canary-key-of-nobody-0123456789ab"
URL = "https://hooks.agency.example/webhooks/NAME"
FORM = "application/x-www-form-urlencoded"
SOAP = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/'
    'envelope/"><soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>'
    '00D000000000001</OrganizationId><Notification><Id>04l000000000001</Id><sObject xsi:type="sf:Contact" '
    'xmlns:sf="urn:sobject.enterprise.soap.sforce.com" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    "<sf:Estate__c>501</sf:Estate__c></sObject></Notification></notifications></soapenv:Body>"
    "</soapenv:Envelope>"
)


class Sent(NamedTuple):
    """A delivery as its sender makes it, at the address `/webhooks/NAME` and `more`."""

    body: bytes
    headers: Mapping[str, str]
    more: str = ""


Sender = Callable[[str, int, int], Sent]


def mac(key: str, text: str, algorithm: str = "sha256") -> bytes:
    return hmac.new(key.encode(), text.encode(), algorithm).digest()


def base64(content: bytes) -> str:
    return b64encode(content).decode()


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64(f"onoffice:{key}".encode())}


def signed_form(key: str, estate: int, header: str, more: str = "") -> Sent:
    """Return a form whose fields are signed behind the address, as Twilio and Mandrill do."""
    fields = {"To": "+49301234567", "estate": str(estate), "Body": "Grüße & mehr", "From": "+49171/1"}
    text = f"{URL}{more}" + "".join(name + fields[name] for name in sorted(fields))
    headers = {"Content-Type": FORM, header: base64(mac(key, text, "sha1"))}
    return Sent(urlencode(fields).encode(), headers, more)


def in_json(**more: object) -> Callable[[int], bytes]:
    """Return what makes a body of JSON about an estate, and about more."""
    return lambda estate: json.dumps({"estate": estate, **more}, ensure_ascii=False).encode()


def signed(
    header: str, text: str, write: Callable[[bytes], str] = bytes.hex, algorithm: str = "sha256"
) -> Sender:
    """Return a sender that signs a text with `body`, `at` and `ms` in it, and puts it into a header."""

    def send(key: str, at: int, estate: int) -> Sent:
        body = in_json(note="für Ada")(estate)
        filled = text.format(body=body.decode(), at=at, ms=at * 1000, url=URL)
        return Sent(body, {header: write(mac(key, filled, algorithm))})

    return send


def timed(header: str, text: str, template: str, more: Mapping[str, str] | None = None) -> Sender:
    """Return a sender whose header, or another one, has the time beside the signature."""

    def send(key: str, at: int, estate: int) -> Sent:
        body = in_json()(estate)
        digest = mac(key, text.format(body=body.decode(), at=at, ms=at * 1000, url=URL))
        values = {"at": at, "ms": at * 1000, "hex": digest.hex(), "base64": base64(digest)}
        headers = {header: template, **(more or {})}
        return Sent(body, {name: value.format(**values) for name, value in headers.items()})

    return send


def mailgun_event(key: str, at: int, estate: int) -> Sent:
    signature = {"timestamp": str(at), "token": "c0ffee", "signature": mac(key, f"{at}c0ffee").hex()}
    return Sent(in_json(signature=signature)(estate), {})


def mailgun_route(key: str, at: int, estate: int) -> Sent:
    fields = {
        "timestamp": at,
        "token": "c0ffee",
        "signature": mac(key, f"{at}c0ffee").hex(),
        "estate": estate,
    }
    return Sent(urlencode(fields).encode(), {"Content-Type": FORM})


def dropbox_sign(key: str, at: int, estate: int) -> Sent:
    event = {"event_time": str(at), "event_type": "signature_request_signed"}
    event["event_hash"] = mac(key, event["event_time"] + event["event_type"]).hex()
    form = f'--b0\r\nContent-Disposition: form-data; name="json"\r\n\r\n{json.dumps({"event": event})}\r\n'
    form += f'--b0\r\nContent-Disposition: form-data; name="estate"\r\n\r\n{estate}\r\n--b0--\r\n'
    return Sent(form.encode(), {"Content-Type": "multipart/form-data; boundary=b0"})


def in_header(name: str, more: Mapping[str, str] | None = None) -> Sender:
    return lambda key, _, estate: Sent(in_json()(estate), {name: key, **(more or {})})


def with_password(key: str, _: int, estate: int) -> Sent:
    return Sent(in_json()(estate), basic(key))


def sns(key: str, _: int, estate: int) -> Sent:
    message = {"Type": "Notification", "MessageId": "22b80b92", "Message": json.dumps({"estate": estate})}
    headers = {**basic(key), "Content-Type": "text/plain; charset=UTF-8"}
    return Sent(json.dumps({"estate": estate, **message}).encode(), headers)


BASE64, HEX = base64, bytes.hex
SENDERS: Mapping[str, Sender] = {
    "Airtable": signed("X-Airtable-Content-MAC", "{body}", lambda digest: f"hmac-sha256={digest.hex()}"),
    "Asana": signed("X-Hook-Signature", "{body}"),
    "AWS SNS": sns,
    "Cal.com": signed("X-Cal-Signature-256", "{body}"),
    "Calendly": timed("Calendly-Webhook-Signature", "{at}.{body}", "t={at},v1={hex}"),
    "DocuSign": signed("X-DocuSign-Signature-1", "{body}", BASE64),
    "Dropbox Sign": dropbox_sign,
    "GitHub": signed("X-Hub-Signature-256", "{body}", lambda digest: f"sha256={digest.hex()}"),
    "GitLab": in_header("X-Gitlab-Token"),
    "Google Ads, lead forms": lambda key, _, estate: Sent(in_json(google_key=key, lead_id="x")(estate), {}),
    "Google Calendar": in_header("X-Goog-Channel-Token", {"X-Goog-Resource-State": "exists"}),
    "HubSpot v3": timed(
        "X-HubSpot-Signature-v3", "POST{url}{body}{ms}", "{base64}", {"X-HubSpot-Request-Timestamp": "{ms}"}
    ),
    "LinkedIn": signed("X-LI-Signature", "hmacsha256={body}"),
    "Mailchimp Transactional (Mandrill)": lambda key, _, estate: signed_form(
        key, estate, "X-Mandrill-Signature"
    ),
    "Mailgun, events": mailgun_event,
    "Mailgun, routes": mailgun_route,
    "Meta (Facebook, Instagram)": signed(
        "X-Hub-Signature-256", "{body}", lambda digest: f"sha256={digest.hex()}"
    ),
    "Microsoft Graph": lambda key, _, estate: Sent(in_json(value=[{"clientState": key}])(estate), {}),
    "monday.com": lambda key, _, estate: Sent(in_json()(estate), {}, f"/{key}"),
    "Notion": signed("X-Notion-Signature", "{body}", lambda digest: f"sha256={digest.hex()}"),
    "Paddle": timed("Paddle-Signature", "{at}:{body}", "ts={at};h1={hex}"),
    "Pipedrive": with_password,
    "Postmark": with_password,
    "Propstack": signed("X-Propstack-Signature", "{body}"),
    "Salesforce, outbound messages": lambda key, _, estate: Sent(
        SOAP.replace("501", str(estate)).encode(), {"Content-Type": "text/xml; charset=UTF-8"}, f"?k={key}"
    ),
    "SendGrid": with_password,
    "Shopify": signed("X-Shopify-Hmac-Sha256", "{body}", BASE64),
    "Slack": timed("X-Slack-Signature", "v0:{at}:{body}", "v0={hex}", {"X-Slack-Request-Timestamp": "{at}"}),
    "Stripe": timed("Stripe-Signature", "{at}.{body}", "t={at},v1={hex},v0=00"),
    "Tally": signed("Tally-Signature", "{body}", BASE64),
    "TikTok (for developers)": timed("TikTok-Signature", "{at}.{body}", "t={at},s={hex}"),
    "Trello": signed("X-Trello-Webhook", "{body}{url}", BASE64, "sha1"),
    "Twilio": lambda key, _, estate: signed_form(key, estate, "X-Twilio-Signature", "/sms?from=a%2Fb"),
    "Typeform": signed("Typeform-Signature", "{body}", lambda digest: f"sha256={base64(digest)}"),
    "TYPO3 (its own webhooks)": signed("Webhook-Signature", "IDENTIFIER:{body}"),
    "Webflow": timed("X-Webflow-Signature", "{ms}:{body}", "{hex}", {"X-Webflow-Timestamp": "{ms}"}),
    "WooCommerce": signed("X-WC-Webhook-Signature", "{body}", BASE64),
    "Xero": signed("x-xero-signature", "{body}", BASE64),
    "Zendesk": timed(
        "X-Zendesk-Webhook-Signature",
        "{at}{body}",
        "{base64}",
        {"X-Zendesk-Webhook-Signature-Timestamp": "{at}"},
    ),
    "Zoho CRM": lambda key, _, estate: Sent(in_json(token=key)(estate), {}),
    "Zoom": timed("X-Zm-Signature", "v0:{at}:{body}", "v0={hex}", {"X-Zm-Request-Timestamp": "{at}"}),
    "Make, Zapier, n8n, Power Automate": lambda key, _, estate: Sent(
        in_json()(estate), {"Authorization": f"Bearer {key}"}
    ),
}
# Their bodies are not signed, as the page says: another body with the same signature is theirs for us.
UNSIGNED_BODIES = {"Mailgun, events", "Mailgun, routes", "Dropbox Sign"}
SHARED_SECRETS = {"bearer", "basic", "secret"}


def read_page() -> dict[str, str]:
    """Return the settings of each sender as the page has them, in TOML."""
    table = PAGE.read_text("utf-8").partition("## How senders prove themselves")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (`.+?`) \|", table, re.MULTILINE)
    return {name: "\n".join(re.findall(r"`([a-z_]+ = [^`]*)`", cell)) for name, cell in rows}


WRITTEN = read_page()


def make_source(sender: str, folder: Path) -> Source:
    """Return the source that the page's settings make, with a rule that links the estate."""
    given = WRITTEN[sender].replace("https://your.host/webhooks/NAME", URL)
    scheme = "" if tomllib.loads(given).get("scheme") else 'scheme = "hmac"\n'
    estate = (
        "Envelope.Body.notifications.Notification.sObject.Estate__c" if "Salesforce" in sender else "estate"
    )
    text = f"""
[accounts.acme]
token = "env:ACME_TOKEN"
secret = "env:ACME_SECRET"

[sources.NAME]
account = "acme"
secret = "file:key"
{scheme}{given}

[[sources.NAME.rules]]
action = "'create'"
relationtype = "'estate:address:buyer'"
parentid = "to_number({estate})"
childid = "`9001`"
"""
    (folder / "relations.toml").write_text(text, "utf-8")
    (folder / "key").write_text(KEY)
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


def test_every_sender_of_the_page_is_tried() -> None:
    assert SENDERS.keys() == WRITTEN.keys()


@pytest.mark.parametrize(
    ("source", "sender"), [(name, name) for name in SENDERS], indirect=["source"], ids=list(SENDERS)
)
def test_what_a_sender_signs_makes_its_change_and_what_anybody_else_signs_is_refused(
    front: Front, source: Source, sender: str
) -> None:
    send, at = SENDERS[sender], int(time.time())
    for forged in (send(OTHER, at, 501), send("", at, 501)._replace(headers={}, more="")):
        problem(post(front, forged), 401)
    if source.timestamp_place or source.timestamp_field:
        problem(post(front, send(KEY, at - int(source.max_age) - 100, 501)), 401)
        problem(post(front, send(KEY, at + 400, 501)), 401)
    if source.scheme not in SHARED_SECRETS and sender not in UNSIGNED_BODIES:
        problem(post(front, send(KEY, at, 501)._replace(body=send(KEY, at, 502).body)), 401)
    assert "accepted" not in front.store.counts("acme")
    for _ in range(2):  # a sender that missed the answer sends it again
        answer = post(front, send(KEY, at, 501))
        assert answer.status_code == source.answer, answer.text
        if source.answer_body is not None:
            assert answer.text == source.answer_body
    assert front.store.counts("acme")["accepted"] == 1
    (job,) = front.client("admin").get("/v1/jobs", params={"account": "acme"}).json()["jobs"]
    assert job["parentid"] == [501]


@pytest.mark.parametrize(
    ("answer_body", "kind"),
    [("Hello", "text/plain"), ("", "text/plain"), ("<Response/>", "text/xml"), ("{}", "application/json")],
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
    assert problem(post(front, with_password(OTHER, 0, 501)), 401)["detail"]


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
