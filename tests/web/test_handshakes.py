"""How senders check an address before they use it: each of them is answered so that it saves the address.

Nothing is accepted of a check, and none of them lets anybody in, or anything be signed.
"""

import hashlib
import hmac
import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.errors import RefusalReason, Unauthorized
from producers.webhooks.handshake import CHALLENGE, answer_check, answer_own_check, answer_unproved
from producers.webhooks.mapping import read_payload
from producers.webhooks.request_parts import make_head
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import verify
from tests.support.http_front import SECRETS, Front, problem, running
from tests.support.waiting import wait_until
from worker.config import Rule, Secret, Source
from worker.config.kinds import BODY_SHA256, URL_SHA256
from worker.ports.deliveries import DeliveryFilter

SOURCES = ("immo", "forms", "desk", "office")
TOKEN = "Validation: Testing client application reachability for subscription Request-Id: 522dc9b1-bc38"
CAL_COM = {
    "triggerEvent": "PING",
    "createdAt": "2026-11-29T13:30:16.889Z",
    "payload": {"type": "Test", "attendees": [{"email": "jdoe@example.com"}]},
}
SMARTSHEET = b'{"challenge": "c6158faa-8ea0-4ccf-a5bf-4a68a4c2a8a7", "webhookId": 5106996181132164}'
ZOOM = Source(
    name="zoom",
    account="acme",
    scheme="hmac",
    secrets=(Secret("canary-zoom-secret"), Secret("canary-zoom-secret-old")),
    header="x-zm-signature",
    prefix="v0=",
    timestamp_header="x-zm-request-timestamp",
    signed="v0:{timestamp}:{body}",
    rules=(Rule(action="'create'", relationtype="'estate:address:buyer'", parentid="a", childid="b"),),
)


def use(front: Front, monkeypatch: pytest.MonkeyPatch, *sources: Source) -> None:
    """Give the settings these sources, too."""
    added = {source.name: source for source in sources}
    known = {**front.runtime.settings.sources, **added}
    monkeypatch.setattr(
        front.runtime.live_settings, "current", replace(front.runtime.settings, sources=known)
    )


def sign_as_zoom(body: bytes, secret: str) -> dict[str, str]:
    at = str(int(time.time()))
    mac = hmac.new(secret.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-zm-signature": f"v0={mac}", "x-zm-request-timestamp": at}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", ["hub.challenge", "challenge", "validationToken", "validationtoken"])
def test_a_challenge_in_the_address_is_sent_back_with_200_whichever_method_brings_it(
    front: Front, source: str, method: str, name: str
) -> None:
    http = front.client(None)
    answer = http.request(method, f"/webhooks/{source}", params={"a": "b", name: TOKEN})
    assert (answer.status_code, answer.text) == (200, TOKEN)
    assert answer.headers["content-type"].startswith("text/plain")
    problem(http.request(method, f"/webhooks/{source}", params={name: "<script>"}), 401)


def test_a_message_is_no_challenge_whatever_stands_in_its_address(tmp_path: Path, redis_url: str) -> None:
    with running(tmp_path, redis_url) as front:  # of its own: only ten refusals a minute are logged
        http = front.client(None)
        problem(http.post("/webhooks/desk?challenge=1158201444", content=b"{}"), 401)
        assert front.events[-1][0] == "webhook.refused"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "body",
    [
        b'{"challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmd"}',
        b'{"token": "Jhj5dZrVaK7ZwHHjRyZWjbDl", "challenge": "3eZbrw1aBm", "type": "url_verification"}',
        SMARTSHEET,
    ],
    ids=["monday.com", "Slack", "Smartsheet"],
)
def test_a_challenge_in_the_body_is_sent_back_proved_or_not_and_is_no_failed_job(
    front: Front, source: str, body: bytes
) -> None:
    proofs = {"desk": {"Authorization": f"Bearer {SECRETS['DESK_SECRET']}"}}
    answer = front.client(None).post(f"/webhooks/{source}", content=body, headers=proofs.get(source, {}))
    assert (answer.status_code, answer.json()) == (200, {"challenge": json.loads(body)["challenge"]})
    assert "accepted" not in front.store.counts("acme")


def test_a_sender_that_proved_itself_gets_its_token_signed_and_nobody_else(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(front, monkeypatch, ZOOM)
    body = json.dumps(
        {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    )
    http, content = front.client(None), body.encode()
    genuine = sign_as_zoom(content, "canary-zoom-secret")
    answer = http.post("/webhooks/zoom", content=content, headers=genuine)
    expected = hmac.new(b"canary-zoom-secret", b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
    assert answer.status_code == 200
    assert answer.json() == {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": expected}
    for headers in ({}, sign_as_zoom(content, "another"), {**genuine, "x-zm-request-timestamp": "1"}):
        refused = http.post("/webhooks/zoom", content=content, headers=headers)
        assert "encryptedToken" not in refused.text
        problem(refused, 401)
    (kept,) = front.runtime.deliveries.find(DeliveryFilter(outcome="nothing_to_do")).entries
    assert (kept.reason, kept.rules) == ("its sender checks this address", ())
    half = content.replace(b"qgg8", b"\\ud83d")  # of a character, which no answer can have
    assert http.post(
        "/webhooks/zoom", content=half, headers=sign_as_zoom(half, "canary-zoom-secret")
    ).is_success


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("sender", "content", "headers"),
    [
        ("woo", b"webhook_id=12", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("cal", json.dumps(CAL_COM).encode(), {"X-Signature": "no-secret-provided"}),
        ("empty", b"", {}),
        ("test", b'{"event": "webhook.test"}', {"Content-Type": "application/json"}),
        ("ping", b'{"type": "ping", "id": 7}', {"Content-Type": "application/json"}),
    ],
)
def test_a_ping_that_nobody_signed_is_answered_200_with_why_and_is_on_record_as_refused(
    front: Front,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    sender: str,
    content: bytes,
    headers: dict[str, str],
) -> None:
    known = front.runtime.settings.sources[source]
    source = f"{source}-{sender}"  # of each name a few refused ones are kept in a minute
    use(front, monkeypatch, replace(known, name=source))
    answer = front.client(None).post(f"/webhooks/{source}", content=content, headers=headers)
    assert (answer.status_code, answer.json()["jobs"]) == (200, [])
    assert answer.json()["detail"].startswith("taken as a ping, of which nothing is accepted: ")
    found = wait_until(
        lambda: front.runtime.deliveries.find(DeliveryFilter(sources=(source,))).entries, "it is not kept"
    )
    assert [(each.outcome, each.reason) for each in found] == [("refused", "no_proof")]
    assert "accepted" not in front.store.counts("acme")


@pytest.mark.parametrize("content", [b"webhook_id=12", b"", b'{"type": "ping"}', b'{"challenge": "a"}'])
def test_a_check_with_a_wrong_proof_is_refused_so_that_its_owner_sees_it(
    front: Front, content: bytes
) -> None:
    http = front.client(None)
    wrong = {"X-Signature": "sha256=" + "0" * 64, "X-Timestamp": str(int(time.time()))}
    problem(http.post("/webhooks/forms", content=content, headers=wrong), 401)
    problem(http.post("/webhooks/desk", content=content, headers={"Authorization": "Bearer wrong"}), 401)


@pytest.mark.parametrize("place", ["query:k", "path", "header:Verification-Token"])
def test_a_check_without_the_secret_that_comes_with_everything_is_refused_but_one_that_wants_a_header_back(
    front: Front, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    use(front, monkeypatch, replace(ZOOM, name="box", scheme="secret", secret_in=place, header="", signed=""))
    http = front.client(None)
    for content in (b"", b"webhook_id=12", b'{"type": "ping"}', b'{"challenge": "a"}'):
        assert place.partition(":")[2] in problem(http.post("/webhooks/box", content=content), 401)["detail"]
    answer = http.post("/webhooks/box", headers={"Validation-Token": "a-token"})  # RingCentral's
    assert (answer.status_code, answer.headers["Validation-Token"]) == (200, "a-token")


@pytest.mark.parametrize(
    ("asked", "answered", "method", "content"),
    [
        ("Validation-Token", "Validation-Token", "POST", b""),
        ("X-AdobeSign-ClientId", "X-AdobeSign-ClientId", "GET", b""),
        ("X-AdobeSign-ClientId", "X-AdobeSign-ClientId", "POST", b'{"event": "AGREEMENT_CREATED"}'),
        ("Smartsheet-Hook-Challenge", "Smartsheet-Hook-Response", "POST", SMARTSHEET),
    ],
    ids=["RingCentral", "Acrobat Sign", "Acrobat Sign, a message", "Smartsheet"],
)
@pytest.mark.parametrize("proved", [True, False])
def test_a_header_that_a_sender_wants_back_is_in_the_answer(
    front: Front, asked: str, answered: str, method: str, content: bytes, proved: bool
) -> None:
    token = "cb7a2c3d-9a5d-4f3e-8a5c-0e3d1b2f4a6c"
    proof = {"Authorization": f"Bearer {SECRETS['DESK_SECRET']}"} if proved else {}
    answer = front.client(None).request(
        method, "/webhooks/desk", content=content, headers={asked: token, **proof}
    )
    if proved or b"event" not in content:
        assert answer.status_code == (202 if b"event" in content else 200)
        assert answer.headers[answered] == token
    else:
        problem(answer, 401)
        assert answered not in answer.headers
    if b"event" not in content:
        assert "accepted" not in front.store.counts("acme")
    odd = front.client(None).request(method, "/webhooks/desk", headers={asked: "<script>", **proof})
    assert answered not in odd.headers


@pytest.mark.parametrize("code", ["512d38b6-c7b8-40c8-89fe-f46f9e9622b6", "<script>", 5])
def test_event_grid_reads_its_code_again_once_it_has_proved_itself(front: Front, code: object) -> None:
    event = {
        "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66",
        "topic": "/subscriptions/0/resourceGroups/rg",
        "subject": "",
        "data": {"validationCode": code, "validationUrl": "https://rp-eastus2.eventgrid.azure.net/"},
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2018-01-25T22:12:19.4556811Z",
        "metadataVersion": "1",
        "dataVersion": "1",
    }
    http = front.client(None)
    problem(http.post("/webhooks/desk", json=[event]), 401)
    http.headers["Authorization"] = f"Bearer {SECRETS['DESK_SECRET']}"
    answer = http.post("/webhooks/desk", json=[event])
    if isinstance(code, str) and code.startswith("512"):
        assert (answer.status_code, answer.json()) == (200, {"validationResponse": code})
    else:
        assert answer.status_code == 202
        assert "validationResponse" not in answer.text


@pytest.mark.parametrize("place", ["query:k", "path"])
def test_a_look_at_an_address_with_its_secret_is_no_failed_job(
    front: Front, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    desk = front.runtime.settings.sources["desk"]
    use(front, monkeypatch, replace(desk, name="news", scheme="secret", secret_in=place))
    secret, http = SECRETS["DESK_SECRET"], front.client(None)
    address = f"/webhooks/news?k={secret}" if place == "query:k" else f"/webhooks/news/{secret}"
    answer = http.get(address)
    assert (answer.status_code, answer.json()) == (200, {"jobs": []})
    assert "accepted" not in front.store.counts("acme")
    sent = http.get(f"{address}{'&' if '?' in address else '?'}estate=1")  # a form may be sent by GET
    assert sent.status_code == 202
    [job] = sent.json()["jobs"]  # which no rule can read, and somebody may read again
    again = http.get(f"{address}{'&' if '?' in address else '?'}estate=1")  # by whoever opens the link again
    assert [(each["id"], each["duplicate"]) for each in again.json()["jobs"]] == [(job["id"], True)]
    kept = b64decode(front.client("admin").get(f"/v1/jobs/{job['id']}/payload").json()["body"]).decode()
    assert "?estate=1 HTTP" in kept
    assert secret not in kept
    if place == "query:k":
        problem(http.get("/webhooks/news?k=wrong"), 401)


@pytest.mark.parametrize(
    ("changes", "is_read"),
    [
        ({}, False),
        ({"signed": "{timestamp}{url}"}, True),
        ({"scheme": "standard-webhooks"}, False),
        ({"scheme": "jwt", "claims": {"hash": BODY_SHA256}}, False),
        ({"scheme": "jwt", "claims": {"hash": BODY_SHA256, "url": URL_SHA256}}, True),
        ({"scheme": "jwt"}, True),
        ({"scheme": "bearer"}, True),
    ],
)
def test_a_query_is_no_message_where_only_the_empty_body_is_signed(
    changes: Mapping[str, Any], is_read: bool
) -> None:
    source = replace(ZOOM, **{"signed": "", **changes})
    delivery = WebhookDelivery("https://here/webhooks/zoom?a=1&b=2", {}, b"", "GET")
    assert read_payload(source, delivery) == ({"a": "1", "b": "2"} if is_read else None)
    assert (b"a=1" in make_head(source, delivery)) == is_read


def test_a_message_that_comes_by_get_is_no_look(front: Front) -> None:
    message = {"action": "create", "type": "estate:address:buyer", "parent": 1, "children": [2], "at": None}
    http, chunks = front.client(None), iter([json.dumps({**message, "parent": 2}).encode()])
    problem(http.request("GET", "/webhooks/desk", json=message), 401)
    http.headers["Authorization"] = f"Bearer {SECRETS['DESK_SECRET']}"
    for answer in (
        http.request("GET", "/webhooks/desk", json=message),
        http.request("GET", "/webhooks/desk", content=chunks),
    ):
        assert (answer.status_code, len(answer.json()["jobs"])) == (202, 1)
    assert front.store.counts("acme")["accepted"] == 2
    assert http.request("GET", "/webhooks/desk", content=b"").json() == {"jobs": []}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
REASONS: tuple[RefusalReason, ...] = ("signature", "stale", "secret")


@given(payload=VALUES, reason=st.sampled_from(REASONS))
def test_only_what_brings_no_proof_at_all_is_a_check(payload: object, reason: RefusalReason) -> None:
    delivery = WebhookDelivery("https://here/webhooks/a", {}, json.dumps(payload).encode())
    assert answer_unproved(ZOOM, delivery, Unauthorized("no", reason=reason)) is None


@given(
    payload=st.fixed_dictionaries(
        {"challenge": VALUES}, optional={"type": VALUES, "token": VALUES, "payload": VALUES, "estate": VALUES}
    )
)
def test_what_is_sent_back_is_harmless_and_a_body_with_more_in_it_is_a_message(
    payload: Mapping[str, Any],
) -> None:
    answer = answer_check(replace(ZOOM, scheme="bearer"), payload)
    if answer:
        assert CHALLENGE.fullmatch(str(answer["challenge"]))
        assert payload.keys() <= {"challenge", "type", "token", "webhookId"}


@pytest.mark.parametrize(("answer", "has_body"), [(200, True), (202, True), (204, False)])
def test_a_delivery_that_is_taken_is_answered_with_the_status_that_its_sender_knows(
    front: Front, monkeypatch: pytest.MonkeyPatch, answer: int, has_body: bool
) -> None:
    desk = replace(
        front.runtime.settings.sources["desk"], name=f"desk{answer}", answer=answer, answer_faults=202
    )
    use(front, monkeypatch, desk)
    http = front.client(None)
    http.headers["Authorization"] = f"Bearer {SECRETS['DESK_SECRET']}"
    message = {"action": "create", "type": "estate:address:buyer", "parent": 1, "children": [2], "at": None}
    unreadable = {**message, "parent": "x"}
    for body in (message, message, unreadable):
        response = http.post(f"/webhooks/{desk.name}", json=body)
        assert (response.status_code, bool(response.content)) == (answer, has_body)
    never = http.post(f"/webhooks/{desk.name}", content=b"x", headers={"Content-Encoding": "br"})
    assert never.status_code == answer
    problem(http.post(f"/webhooks/{desk.name}", json=message, headers={"Authorization": "Bearer no"}), 401)
    assert front.store.counts("acme")["accepted"] == 2


@contextmanager
def redirecting(status: int, target: str) -> Iterator[str]:
    """Serve redirects to the target, as the plain port of a proxy does; yield its address."""

    class Redirect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Location", target + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "taken"), [(301, False), (302, False), (307, True), (308, True)])
def test_a_message_that_a_redirect_has_emptied_is_refused_and_says_so(
    front: Front, status: int, taken: bool
) -> None:
    body = json.dumps(
        {"action": "create", "type": "estate:address:buyer", "parent": 1, "children": [2], "tenant": 2}
    )
    at = str(int(time.time()))
    mac = hmac.new(SECRETS["FORMS_SECRET"].encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    headers = {"X-Signature": f"sha256={mac}", "X-Timestamp": at}
    with redirecting(status, front.url) as plain:
        answer = httpx.post(f"{plain}/webhooks/forms", content=body, headers=headers, follow_redirects=True)
    if taken:
        assert answer.status_code == 202
        return
    assert "a redirect" in problem(answer, 422)["detail"]
    assert [event for event, _ in front.events] == ["webhook.refused"]
    assert front.client(None).get("/webhooks/forms").status_code == 200


TWITTER = Source(
    name="checked",
    account="acme",
    scheme="hmac",
    secrets=(Secret("canary-secret-of-a-check"), Secret("canary-secret-of-before")),
    header="x-twitter-webhooks-signature",
    challenge_in="query:crc_token",
    challenge_answer='{"response_token": "sha256={hmac_base64}"}',
    rules=ZOOM.rules,
)
LINKEDIN = replace(
    TWITTER,
    header="X-LI-Signature",
    signed="hmacsha256={body}",
    challenge_in="query:challengeCode",
    challenge_answer='{"challengeCode": "{challenge}", "challengeResponse": "{hmac}"}',
)
STRAVA = replace(
    TWITTER, challenge_in="query:hub.challenge", challenge_answer='{"hub.challenge": "{challenge}"}'
)
OKTA = replace(
    TWITTER,
    challenge_in="header:X-Okta-Verification-Challenge",
    challenge_answer='{"verification": "{challenge}"}',
)
CLEVER_REACH = replace(TWITTER, challenge_in="query:secret", challenge_answer="our-word {challenge}")
WORD = "890c6a01-eb8b-4a8d-b6bf-2a1a6f2fa0e7"
SIGNED_WORD = hmac.digest(b"canary-secret-of-a-check", WORD.encode(), "sha256")


@pytest.mark.parametrize(
    ("source", "query", "headers", "answer"),
    [
        (TWITTER, f"crc_token={WORD}", {}, {"response_token": f"sha256={b64encode(SIGNED_WORD).decode()}"}),
        (
            LINKEDIN,
            f"challengeCode={WORD}&applicationId=7",
            {},
            {"challengeCode": WORD, "challengeResponse": SIGNED_WORD.hex()},
        ),
        (
            STRAVA,
            f"hub.verify_token=a&hub.challenge={WORD}&hub.mode=subscribe",
            {},
            {"hub.challenge": WORD},
        ),
        (OKTA, "", {"X-Okta-Verification-Challenge": WORD}, {"verification": WORD}),
        (CLEVER_REACH, f"secret={WORD}", {}, f"our-word {WORD}"),
    ],
    ids=["X (Twitter)", "LinkedIn", "Strava", "Okta", "CleverReach"],
)
def test_a_check_is_answered_as_the_settings_say(
    front: Front,
    monkeypatch: pytest.MonkeyPatch,
    source: Source,
    query: str,
    headers: dict[str, str],
    answer: object,
) -> None:
    use(front, monkeypatch, source)
    got = front.client(None).get(f"/webhooks/checked?{query}".rstrip("?"), headers=headers)
    kind = "text/plain" if isinstance(answer, str) else "application/json"
    assert (got.status_code, got.headers["content-type"].partition(";")[0]) == (200, kind)
    assert (got.text if isinstance(answer, str) else got.json()) == answer
    for odd in ("<script>", 'x","y'):
        address = f"/webhooks/checked?{query.replace(WORD, quote(odd))}".rstrip("?")
        got = front.client(None).get(address, headers=dict.fromkeys(headers, odd))
        assert odd not in got.text
    assert "accepted" not in front.store.counts("acme")


@pytest.mark.parametrize("signed", ["", "{body}{body}", "{body:a}", "{form}"])
@given(word=st.text('abcXYZ019-_={}".:\n', min_size=1, max_size=12))
def test_what_anybody_can_have_signed_is_no_message(signed: str, word: str) -> None:
    """Whatever is asked for a signature, no body passes by it."""
    source = replace(TWITTER, signed=signed)
    answer = answer_own_check(source, f"https://here/webhooks/checked?crc_token={quote(word)}", {})
    signature = json.loads(answer)["response_token"] if answer else ""
    bodies = (word, word[: len(word) // 2], json.dumps({"a": word}), f"{word[:1]}={word[1:]}")
    for body in bodies:
        delivery = WebhookDelivery("https://here", {TWITTER.header: signature}, body.encode())
        with pytest.raises(Unauthorized):
            verify(source, delivery, now=time.time())
    message = b'{"a": 1}'
    mac = hmac.digest(b"canary-secret-of-before", message, "sha256").hex()
    genuine = WebhookDelivery("https://here", {TWITTER.header: mac}, message)
    assert verify(replace(source, signed=""), genuine, now=time.time())


def test_a_refusal_has_no_body_where_no_answer_has_one(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Xero activates a hook only if it answers wrong signatures so."""
    use(
        front, monkeypatch, replace(TWITTER, challenge_in="", challenge_answer="", answer=200, answer_body="")
    )
    mac = hmac.digest(b"canary-secret-of-a-check", b'{"events": []}', "sha256")
    for signature, status in ((b64encode(mac).decode(), 200), ("AAAA", 401), ("", 401)):
        answer = front.client(None).post(
            "/webhooks/checked", content=b'{"events": []}', headers={TWITTER.header: signature}
        )
        assert (answer.status_code, answer.content) == (status, b"")
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert "set-cookie" not in answer.headers
    assert "webhook.refused" in [event for event, _ in front.events]
