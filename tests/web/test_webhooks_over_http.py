"""Webhooks on a real socket: signed ones become jobs, redelivered ones the same jobs, all others nothing."""

import asyncio
import gzip
import hashlib
import hmac
import json
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPResponse
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from producers.portals.http.middleware import ForwardedMiddleware, read_proxies
from producers.services import build_services
from tests.support.http_front import BUYER, SECRETS, Front, problem
from tests.support.store_steps import count_by_state
from worker.config import Rule, Secret
from worker.ports.records import JobFilter

ACTION = {"action": "create", "type": "estate:address:buyer", "parent": 1, "children": [2], "at": None}
ENQUIRY = {"type": "enquiry.created", "data": {"estate_id": 501, "person_ids": [1, 2], "gone": [3]}}


def deliver(
    http: httpx.Client,
    payload: object,
    *,
    message: str = "msg-1",
    secret: str = SECRETS["IMMO_SECRET"],
    at: float | None = None,
    path: str = "immo",
) -> httpx.Response:
    """Send the payload, signed by the reference library."""
    body, moment = json.dumps(payload), datetime.fromtimestamp(time.time() if at is None else at, UTC)
    signature = Webhook(secret).sign(message, moment, body)
    headers = {
        "webhook-id": message,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }
    return http.post(f"/webhooks/{path}", content=body, headers=headers)


def test_a_delivery_signed_by_the_reference_library_becomes_the_jobs_of_its_rules(front: Front) -> None:
    answer = deliver(front.client(None), ENQUIRY)
    assert answer.status_code == 202
    jobs = [front.job(job["id"]) for job in answer.json()["jobs"]]
    assert [(job.action, job.children, job.source, job.event_id) for job in jobs] == [
        ("create", (1, 2), "immo", "msg-1:0:0"),
        ("delete", (3,), "immo", "msg-1:1:0"),
    ]
    assert front.woken == ["acme"]


def test_a_redelivery_finds_the_first_jobs_even_with_another_secret_time_and_content(
    front: Front,
) -> None:
    http = front.client(None)
    first = deliver(http, ENQUIRY).json()["jobs"]
    later = {**ENQUIRY, "data": {**ENQUIRY["data"], "person_ids": [1, 2, 9]}}
    again = deliver(http, later, secret=SECRETS["OLD_SECRET"], at=time.time() - 60).json()["jobs"]
    assert [(job["id"], job["duplicate"]) for job in again] == [(job["id"], True) for job in first]
    assert front.store.counts("acme")["accepted"] == 2


def test_a_key_that_may_send_cannot_make_a_delivery_vanish_by_claiming_its_event_ids(front: Front) -> None:
    claims = [{**BUYER, "source": "immo", "event_id": f"msg-1:{rule}:0"} for rule in (0, 1)]
    assert front.client("acme").post("/v1/changes", json=claims).status_code == 202
    assert [job["duplicate"] for job in deliver(front.client(None), ENQUIRY).json()["jobs"]] == [False, False]
    assert front.store.counts("acme")["accepted"] == 4


def test_a_redelivery_shows_the_present_state_of_its_jobs(front: Front) -> None:
    http = front.client(None)
    deliver(http, ENQUIRY)
    front.runtime.flush("acme")
    assert {job["state"] for job in deliver(http, ENQUIRY).json()["jobs"]} == {"succeeded"}


def test_a_payload_that_no_rule_matches_is_accepted_without_a_job(front: Front) -> None:
    answer = deliver(front.client(None), {"type": "ping"})
    assert (answer.status_code, answer.json()) == (202, {"jobs": []})


@pytest.mark.parametrize(
    ("secret", "offset"),
    [("whsec_bm90IHRoaXMgb25l", 0), (SECRETS["IMMO_SECRET"], -302), (SECRETS["IMMO_SECRET"], 310)],
)
def test_a_wrong_or_stale_signature_is_unauthorized_and_logged(
    front: Front, secret: str, offset: float
) -> None:
    answer = deliver(front.client(None), ENQUIRY, secret=secret, at=time.time() + offset)
    problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Signature"
    assert [event for event, _ in front.events] == ["webhook.refused"]
    assert "accepted" not in front.store.counts("acme")


@pytest.mark.parametrize("signature", ["v1", "v1,", "nonsense", "v1,\xe4", ",", "v1,AAAA v2"])
def test_a_malformed_signature_is_unauthorized_not_a_crash(front: Front, signature: str) -> None:
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(time.time())),
        "webhook-signature": signature.encode("latin-1"),
    }
    problem(front.client(None).post("/webhooks/immo", content=b"{}", headers=headers), 401)


def test_a_signed_payload_that_makes_no_valid_change_is_stored_as_one_failed_job_with_its_faults(
    front: Front,
) -> None:
    payload = {**ENQUIRY, "timestamp": "2200-01-01T00:00:00Z"}
    first, again = (deliver(front.client(None), payload).json()["jobs"] for _ in range(2))
    assert [(job["state"], job["duplicate"]) for job in (*first, *again)] == [
        ("failed", False),
        ("failed", True),
    ]
    assert first[0]["id"] == again[0]["id"]
    job = front.job(first[0]["id"])
    assert (job.state, job.source, job.refusal and job.refusal[1]) == ("failed", "immo", "unreadable")
    assert "rules[0].occurred_at" in (job.refusal or (0, "", "", ""))[2]
    assert ("message.rejected", "immo") in [(event, fields.get("source")) for event, fields in front.events]
    assert front.runtime.job_admin.get_payload(job.id).body == json.dumps(payload).encode()


def test_a_stored_payload_becomes_changes_once_its_rules_are_fixed(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = {"type": "enquiry.created", "data": {"estate": 501, "person_ids": [1]}}
    (kept,) = deliver(front.client(None), payload).json()["jobs"]
    replays = build_services(front.runtime).replays
    assert replays.prepare("acme", [kept["id"]], by="ada").refused == {"unreadable": 1}
    fixed = replace(front.runtime.settings.sources["immo"].rules[0], parentid="data.estate")
    source = replace(front.runtime.settings.sources["immo"], rules=(fixed,))
    settings = replace(front.runtime.settings, sources={"immo": source})
    monkeypatch.setattr(front.runtime.live_settings, "current", settings)
    replay = replays.prepare("acme", [kept["id"]], by="ada")
    assert (replay.eligible, replay.plan["actions"]) == (1, 1)
    assert replays.run(replays.start(replay.id, by="ada").id).back == 1
    (job,) = front.runtime.queries.find_jobs("acme", JobFilter(state="queued")).entries
    assert (job.parents, job.children, job.source, job.event_id) == ((501,), (1,), "immo", "msg-1:0:0")
    assert deliver(front.client(None), payload).json()["jobs"] == [
        {"id": job.id, "state": "queued", "duplicate": True}
    ]
    assert count_by_state(front.runtime.metrics, "acme")["unresolved"] == 0


def test_a_payload_that_names_no_account_is_stored_as_unrouted(front: Front) -> None:
    body, moment = json.dumps({"tenant": "nobody"}).encode(), str(int(time.time()))
    mac = hmac.new(SECRETS["FORMS_SECRET"].encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    answer = front.client(None).post(
        "/webhooks/forms", content=body, headers={"X-Signature": f"sha256={mac}", "X-Timestamp": moment}
    )
    assert answer.status_code == 202
    assert answer.json()["jobs"][0]["id"].startswith("unrouted-")


@pytest.fixture
def broken_rule(front: Front) -> Iterator[None]:
    """Let the first rule of `immo` have a typo in the file that the interface reads."""
    live = front.runtime.live_settings
    file = live.current.file
    assert file
    good = file.read_text("utf-8")
    file.write_text(good.replace('parentid = "', 'parentid = "data[', 1), "utf-8")
    yield
    file.write_text(good, "utf-8")
    live.refresh()
    assert live.faults == ()


def test_rules_that_become_invalid_leave_the_previous_ones_in_force(front: Front, broken_rule: None) -> None:
    assert len(deliver(front.client(None), ENQUIRY).json()["jobs"]) == 2
    assert [(event, "sources.immo.rules[0].parentid" in str(fields)) for event, fields in front.events] == [
        ("settings.reloaded", False),
        ("settings.rejected", True),
    ]
    answer = front.client("admin").post("/v1/deliveries/remap", json={"source": "immo", "dry_run": True})
    assert [each["now"]["outcome"] for each in answer.json()["deliveries"]] == ["made"]


def test_the_payload_may_name_the_account_and_the_signature_cover_the_time(front: Front) -> None:
    payload = {
        "tenant": "00001-001",
        "action": "create",
        "type": "estate:address:buyer",
        "parent": 1,
        "children": [2],
        "at": None,
    }
    body, moment = json.dumps(payload).encode(), str(int(time.time()))
    mac = hmac.new(SECRETS["FORMS_SECRET"].encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"X-Signature": f"sha256={mac}", "X-Timestamp": moment}
    answer = front.client(None).post("/webhooks/forms", content=body, headers=headers)
    assert answer.json()["jobs"][0]["id"].startswith("acme-")
    problem(
        front.client(None).post(
            "/webhooks/forms", content=body, headers={**headers, "X-Timestamp": str(int(moment) + 1)}
        ),
        401,
    )


def test_onoffice_delivers_by_a_signed_get(front: Front) -> None:
    url, fields = (
        f"{front.url}/webhooks/office",
        {"estateId": "4.629", "timestamp": str(int(time.time())), "userId": "21"},
    )
    signature = hmac.new(
        SECRETS["OFFICE_SECRET"].encode(),
        f"{url}?{urlencode(sorted(fields.items()))}".encode(),
        hashlib.sha256,
    ).hexdigest()
    http = front.client(None)
    (first,) = http.get(url, params={**fields, "signature": signature}).json()["jobs"]
    job = front.job(first["id"])
    assert (job.type, job.parents, job.children) == ("estate:address:owner", (4629,), (21,))
    (again,) = http.get(url, params={**fields, "signature": signature}).json()["jobs"]
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    (posted,) = http.post(url, params={**fields, "signature": signature}).json()["jobs"]
    assert posted["id"] == first["id"]


@pytest.mark.parametrize("source", ["immo", "desk", "office"])
def test_a_sender_that_only_looks_whether_somebody_is_here_is_answered(front: Front, source: str) -> None:
    http = front.client(None)
    for path in (f"/webhooks/{source}", f"/webhooks/{source}/more"):
        assert [http.request(method, path).status_code for method in ("HEAD", "GET", "OPTIONS")] == [
            200,
            200,
            204,
        ]
        problem(http.get(f"{path}?a=1"), 401)
        asking = http.options(path, headers={"WebHook-Request-Origin": "events.example"})
        assert asking.headers["webhook-allowed-origin"] == "events.example"
    assert [http.request(method, "/webhooks/nothing").status_code for method in ("HEAD", "GET")] == [404, 404]
    assert "accepted" not in front.store.counts("acme")


@pytest.mark.parametrize("name", ["hub.challenge", "challenge", "validationToken"])
def test_a_challenge_is_sent_back_as_plain_text_if_it_is_harmless(front: Front, name: str) -> None:
    http = front.client(None)
    answer = http.get("/webhooks/immo", params={"hub.mode": "subscribe", name: "1158201444"})
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")
    problem(http.get("/webhooks/immo", params={name: "<script>"}), 401)


@pytest.mark.parametrize("signed", ["bytes", "content"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body_is_read_whether_its_bytes_were_signed_or_what_is_in_them(
    front: Front, encoding: str, signed: str
) -> None:
    body, moment = json.dumps({**ACTION, "tenant": "00001-001"}).encode(), str(int(time.time()))
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    content = f"{moment}.".encode() + (packed if signed == "bytes" else body)
    mac = hmac.new(SECRETS["FORMS_SECRET"].encode(), content, hashlib.sha256).hexdigest()
    headers = {"X-Signature": f"sha256={mac}", "X-Timestamp": moment, "Content-Encoding": encoding}
    answer = front.client(None).post("/webhooks/forms", content=packed, headers=headers)
    assert [job["state"] for job in answer.json()["jobs"]] == ["queued"]
    spaces = b" " * (2**20 + 1)
    bomb = gzip.compress(spaces) if encoding == "gzip" else zlib.compress(spaces)
    for content, status in ((packed[:-9], 422), (b"x", 422), (bomb, 413)):
        problem(front.client(None).post("/webhooks/forms", content=content, headers=headers), status)


def test_what_no_rule_fits_is_taken_with_nothing_to_do_and_what_time_can_cure_is_503(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deliver(front.client(None), {"type": "ping"}).status_code == 202
    assert [event for event, _ in front.events] == ["webhook.ignored"]
    immo = front.runtime.settings.sources["immo"]
    for broken in (replace(immo, account="beta"), replace(immo, secrets=(Secret("file:gone"),))):
        settings = replace(front.runtime.settings, sources={"immo": broken})
        monkeypatch.setattr(front.runtime.live_settings, "current", settings)
        many = {**ENQUIRY, "data": {"estate_id": 1, "person_ids": [1], "gone": [3]}}
        for number in range(3):
            answer = deliver(front.client(None), many, message=f"m{number}")
        assert int(problem(answer, 503) and answer.headers["retry-after"]) > 0


def test_a_delivery_for_an_account_that_has_left_the_settings_is_kept(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = replace(front.runtime.settings.sources["immo"], account="left")
    settings = replace(front.runtime.settings, sources={"immo": source})
    monkeypatch.setattr(front.runtime.live_settings, "current", settings)
    answer = deliver(front.client(None), ENQUIRY)
    assert (answer.status_code, answer.json()["jobs"][0]["state"]) == (202, "failed")
    assert answer.json()["jobs"][0]["id"].startswith("unrouted-")


def test_an_offer_of_another_protocol_costs_no_body(front: Front) -> None:
    """As Java's client sends it, which may speak HTTP/2; here in two pieces, and twice on one connection."""
    secret, body = SECRETS["DESK_SECRET"], json.dumps(ACTION).encode()
    head = (
        f"POST /webhooks/desk HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {secret}\r\n"
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    chunked = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    end, port = b"\r\n0\r\n\r\n", int(front.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for pieces in (
            [head + body],
            [head[:60], head[60:], body],
            [chunked, b"%x\r\n" % len(body), body, end],
        ):
            for piece in pieces:
                connection.sendall(piece)
            answer = HTTPResponse(connection)
            answer.begin()
            (job,) = json.loads(answer.read())["jobs"]
            assert (answer.status, job["state"]) == (202, "queued")
    assert front.store.counts("acme")["accepted"] == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "hooks.example.test"},
        {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "hooks.example.test, inner:8080"},
        {"X-Forwarded-Ssl": "on", "X-Forwarded-Host": "hooks.example.test", "X-Forwarded-Port": "443"},
        {"Forwarded": 'for=192.0.2.1;proto=HTTPS;host="hooks.example.test", for=10.0.0.1;proto=http'},
        {"X-Forwarded-Scheme": "https", "Host": "hooks.example.test"},
    ],
)
def test_the_address_that_was_signed_is_the_one_that_a_proxy_on_this_machine_tells(
    front: Front, headers: dict[str, str]
) -> None:
    fields = {"estateId": "4629", "timestamp": str(int(time.time())), "userId": "21"}
    signed = f"https://hooks.example.test/webhooks/office?{urlencode(sorted(fields.items()))}"
    signature = hmac.new(SECRETS["OFFICE_SECRET"].encode(), signed.encode(), hashlib.sha256).hexdigest()
    http, query = front.client(None), {**fields, "signature": signature}
    assert http.get("/webhooks/office", params=query, headers=headers).status_code == 202
    problem(http.get("/webhooks/office", params=query), 401)


@pytest.mark.parametrize(
    ("trusted", "address", "believed"),
    [
        ("*", "192.0.2.9", True),
        ("10.0.0.0/8, ::1,192.0.2.7", "10.1.2.3", True),
        ("10.0.0.0/8, ::1,192.0.2.7", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8, ::1,192.0.2.7", "192.0.2.7", True),
        ("10.0.0.0/8, ::1,192.0.2.7", "192.0.2.9", False),
        ("10.0.0.0/8", "", True),  # a socket of this machine
        ("", "127.0.0.1", True),
        ("", "::1", True),
        ("", "10.1.2.3", False),
    ],
)
def test_only_trusted_proxies_are_believed(trusted: str, address: str, believed: bool) -> None:
    seen: list[tuple[str, str]] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append((scope["scheme"], dict(scope["headers"])[b"host"].decode()))

    headers = [(b"host", b"inside"), (b"forwarded", b'for=1.2.3.4;proto=https;host="hooks.example.test"')]
    client = (address, 1) if address else None
    scope = {"type": "http", "scheme": "http", "path": "/", "client": client, "headers": headers}
    middleware = ForwardedMiddleware(app, read_proxies(trusted), emit=lambda *_args, **_fields: None)
    asyncio.run(middleware(scope, None, None))
    assert seen == [("https", "hooks.example.test") if believed else ("http", "inside")]


def test_an_unknown_source_and_too_large_a_body_are_refused(front: Front) -> None:
    http = front.client(None)
    problem(deliver(http, ENQUIRY, path="nothing"), 404)
    problem(
        http.post(
            "/webhooks/desk",
            content=b" " * (2**20 + 1),
            headers={"Authorization": f"Bearer {SECRETS['DESK_SECRET']}"},
        ),
        413,
    )


def test_no_answer_to_a_webhook_repeats_a_secret(front: Front) -> None:
    http, secret = front.client(None), SECRETS["DESK_SECRET"]
    body = {"action": secret, "type": secret, "parent": secret, "children": [1]}
    wrong = http.post("/webhooks/desk", json=body, headers={"Authorization": f"Basic {secret}"})
    right = http.post("/webhooks/desk", json=body, headers={"Authorization": f"Bearer {secret}"})
    assert (wrong.status_code, right.status_code) == (401, 202)
    kept = front.runtime.job_admin.get_payload(right.json()["jobs"][0]["id"])
    assert "canary" not in wrong.text + right.text + str(kept) + str(front.events)


@pytest.mark.parametrize("place", ["query", "path", "body"])
def test_a_secret_in_the_address_or_the_body_is_taken_and_shown_nowhere(
    front: Front, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "canary secret/of desk"
    secret_in = "path" if place == "path" else f"{place}:k"
    desk = replace(
        front.runtime.settings.sources["desk"],
        scheme="secret",
        secret_in=secret_in,
        secrets=(Secret(secret),),
    )
    settings = replace(front.runtime.settings, sources={**front.runtime.settings.sources, "desk": desk})
    monkeypatch.setattr(front.runtime.live_settings, "current", settings)
    path = (
        "/webhooks/desk"
        + {"query": f"?k={quote_plus(secret)}", "path": f"/{quote(secret, safe='')}", "body": ""}[place]
    )
    http, body = front.client(None), {"parent": "x", "k": secret if place == "body" else ""}
    right = http.post(path, json=body)
    assert right.status_code == 202
    problem(http.post(path.replace("canary", "Canary"), json={**body, "k": "wrong"}), 401)
    kept = front.runtime.job_admin.get_payload(right.json()["jobs"][0]["id"])
    shown = right.text + str(kept) + str(front.events) + str(front.job(right.json()["jobs"][0]["id"]))
    assert "canary" not in shown


def test_a_message_whose_address_or_header_says_what_it_is_is_kept_and_read_again_with_them(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, secret = front.runtime.settings.sources["desk"], "canary-of-the-query"

    def use(parent: str) -> None:
        rule = Rule(
            action="query('event') == 'created' && 'create' || 'delete'",
            relationtype="header('X-Type')",
            parentid=parent,
            childid="id",
        )
        changed = replace(
            desk, scheme="secret", secret_in="query:k", secrets=(Secret(secret),), rules=(rule,)
        )
        settings = replace(front.runtime.settings, sources={"desk": changed})
        monkeypatch.setattr(front.runtime.live_settings, "current", settings)

    def send(event: str) -> dict[str, object]:
        headers = {"X-Type": "estate:address:buyer", "X-Other": "x"}
        answer = front.client(None).post(
            f"/webhooks/desk/501?k={secret}&event={event}", json={"id": 9001}, headers=headers
        )
        (job,) = answer.json()["jobs"]
        return job

    use("estate")
    kept = [send("created"), send("deleted"), send("created")]
    assert [job["duplicate"] for job in kept] == [False, False, True]
    body = front.runtime.job_admin.get_payload(str(kept[0]["id"])).body
    assert body == (
        b'POST /webhooks/desk/501?event=created HTTP/1.1\r\nx-type: estate:address:buyer\r\n\r\n{"id":9001}'
    )
    use("to_number(path(`0`))")
    replays = build_services(front.runtime).replays
    replay = replays.prepare("acme", [str(job["id"]) for job in kept[:2]], by="ada")
    assert replays.run(replays.start(replay.id, by="ada").id).back == 2
    jobs = front.runtime.queries.find_jobs("acme", JobFilter(state="queued")).entries
    assert sorted((job.action, job.type, job.parents, job.children) for job in jobs) == [
        ("create", "estate:address:buyer", (501,), (9001,)),
        ("delete", "estate:address:buyer", (501,), (9001,)),
    ]
    assert send("created")["duplicate"]


def test_only_a_source_that_is_gone_on_purpose_says_so(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(front.runtime.settings.sources["immo"], gone=True)
    settings = replace(front.runtime.settings, sources={"immo": gone})
    monkeypatch.setattr(front.runtime.live_settings, "current", settings)
    problem(deliver(front.client(None), ENQUIRY), 410)


def test_a_webhook_that_is_slow_to_map_stops_nobody_else(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = front.runtime.settings.sources["desk"]
    rule = replace(desk.rules[0], each=("[]",), when="length(sort_by(root(), &b)) > `0`")
    settings = replace(front.runtime.settings, sources={"desk": replace(desk, rules=(rule,))})
    monkeypatch.setattr(front.runtime.live_settings, "current", settings)
    http = front.client(None)
    headers = {"Authorization": f"Bearer {SECRETS['DESK_SECRET']}"}
    slow = [{"a": number, "b": -number} for number in range(9000)]
    with ThreadPoolExecutor(1) as thread:
        delivered = thread.submit(http.post, "/webhooks/desk", json=slow, headers=headers)
        waits = []
        while not delivered.done():
            began = time.monotonic()
            assert front.client(None).get("/healthz").status_code == 200
            waits.append(time.monotonic() - began)
    assert delivered.result().json()["jobs"][0]["state"] == "failed"
    assert sorted(waits)[len(waits) // 2] < 1
