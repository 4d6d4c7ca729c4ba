"""What came to the webhooks: kept with what each rule said and without secrets, read again by new rules."""

import gc
import gzip
import hashlib
import hmac
import json
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from producers.services import build_services
from producers.webhooks.proofs import hide_proofs
from producers.webhooks.record import make_kept_request
from producers.webhooks.request_parts import read_kept
from producers.webhooks.signatures import WebhookDelivery
from tests.support.crashes import Crashed, CrashPoint
from tests.support.http_front import SECRETS, Front, problem
from tests.support.store_steps import dump_keys
from tests.support.waiting import wait_until
from worker.config import Rule, Secret, Source
from worker.config.secret import STARS
from worker.config.values import IgnoreRule
from worker.contract import Relation
from worker.errors import StoreUnavailable
from worker.ports.deliveries import GENUINE, DeliveryFilter
from worker.ports.erasure import RecordRef

SECRET = 'canary-box-secret/ü+"&<ä'
BUYER = "estate:address:buyer"
LINK = Rule(
    when="type == 'sale'",
    action="'create'",
    relationtype=f"'{BUYER}'",
    parentid="estate",
    childid="person",
)
PING = IgnoreRule(when="type == 'ping'", because="a ping of the sender")
BOX = Source(
    name="box", account="acme", scheme="bearer", secrets=(Secret("box-secret-of-the-tests"),), rules=(LINK,)
)
SALE = {"type": "sale", "estate": 501, "person": 9001}
Use = Callable[..., Source]


@pytest.fixture
def use(front: Front, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Give the settings a source `box`, changed like this."""

    def change(source: Source = BOX, **changed: Any) -> Source:
        source = replace(source, **changed)
        sources = {**front.runtime.settings.sources, source.name: source}
        monkeypatch.setattr(
            front.runtime.live_settings, "current", replace(front.runtime.settings, sources=sources)
        )
        return source

    return change


def deliver(front: Front, payload: object, *, path: str = "box", **options: Any) -> httpx.Response:
    headers = {"Authorization": "Bearer box-secret-of-the-tests", **options.pop("headers", {})}
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return front.client(None).post(f"/webhooks/{path}", content=body, headers=headers, **options)


def kept(front: Front, key: str = "admin", **query: str) -> list[dict[str, Any]]:
    found = front.client(key).get("/v1/deliveries", params={"source": "box", **query}).json()
    return list(found["deliveries"])


def shown(front: Front, delivery: str, key: str = "admin") -> dict[str, Any]:
    answer = front.client(key).get(f"/v1/deliveries/{delivery}")
    assert answer.status_code == 200
    return dict(answer.json())


# --- what is kept


@pytest.mark.parametrize(
    ("payload", "outcome", "reason", "rules"),
    [
        (SALE, "made", None, ["no_match", "made"]),
        ({"type": "ping"}, "nothing_to_do", "a ping of the sender", ["ignored"]),
        ({"type": "other"}, "no_rule", None, ["no_match", "no_match"]),
        ({**SALE, "person": "9001"}, "unreadable", None, ["no_match", "failed"]),
        (b"no json", "unreadable", None, []),
    ],
)
def test_each_delivery_is_on_record_when_it_is_answered_with_what_each_rule_did(
    front: Front, use: Use, payload: object, outcome: str, reason: str | None, rules: list[str]
) -> None:
    use(ignore=(PING,))
    answer = deliver(front, payload)
    assert answer.status_code == 202
    [delivery] = kept(front)
    assert (delivery["outcome"], delivery["reason"]) == (outcome, reason)
    assert delivery["jobs"] == [job["id"] for job in answer.json()["jobs"]]
    assert [rule["outcome"] for rule in delivery["rules"]] == rules
    assert delivery["accounts"] == ["acme"]
    assert delivery == shown(front, delivery["id"])
    assert kept(front, outcome=outcome) == [delivery]
    assert [bool(kept(front, outcome=other)) for other in GENUINE].count(True) == 1


def test_deliveries_are_counted_by_source_and_outcome(front: Front, use: Use) -> None:
    use(replace(BOX, name="counted"), ignore=(PING,))
    for payload in (SALE, SALE, {"type": "ping"}, {"type": "other"}, b"no json"):
        deliver(front, payload, path="counted")
    counts = {"made": 2, "nothing_to_do": 1, "no_rule": 1, "unreadable": 1}
    wanted = {(f"counted:{outcome}", number) for outcome, number in counts.items()}
    wait_until(lambda: wanted <= front.runtime.metrics.deliveries().items(), "they are not counted")
    assert (
        'relations_deliveries_total{outcome="made",source="counted"} 2.0'
        in front.client(None).get("/metrics").text
    )


def test_a_rule_that_does_not_apply_shows_what_its_condition_found(front: Front, use: Use) -> None:
    again = replace(LINK, each=("rows",), when="state != 'new' && contains(tags, 'buyer')")
    none = replace(LINK, each=("people[?age > `18`]", "ids"))
    use(rules=(LINK, again, none))
    deliver(front, {"type": "visit", "rows": [{"state": "new", "tags": ["x"]}, {"state": "new"}]})
    rules = kept(front)[0]["rules"]
    assert rules[0] == {
        "rule": "rules[0]",
        "outcome": "no_match",
        "jobs": [],
        "when": "type == 'sale'",
        "found": {"type": '"visit"'},
        "elements": 0,
        "faults": [],
    }
    assert (rules[1]["found"], rules[1]["elements"]) == ({"state": '"new"', "tags": '["x"]'}, 2)
    assert (rules[2]["outcome"], rules[2]["when"]) == ("no_elements", "people[?age > `18`] → ids")


def test_which_rule_made_which_job_and_what_kept_the_others_from_it(front: Front, use: Use) -> None:
    broken = replace(LINK, childid="nobody")
    use(rules=(LINK, replace(LINK, each=("also",), when="", parentid="e", childid="p"), broken))
    deliver(front, {**SALE, "also": [{"e": 1, "p": 2}, {"e": 3, "p": 4}]})
    [delivery] = kept(front)
    assert [rule["outcome"] for rule in delivery["rules"]] == ["would_make", "would_make", "failed"]
    assert delivery["rules"][2]["faults"][0].startswith("rules[2].childid: ")
    use(rules=(LINK, replace(LINK, each=("also",), when="", parentid="e", childid="p")))
    jobs = [
        job["id"]
        for job in deliver(front, {**SALE, "also": [{"e": 1, "p": 2}, {"e": 3, "p": 4}]}).json()["jobs"]
    ]
    [delivery] = kept(front, outcome="made")
    assert [rule["jobs"] for rule in delivery["rules"]] == [jobs[:1], jobs[1:]]


def test_a_message_that_comes_again_is_the_same_delivery_and_counted(front: Front, use: Use) -> None:
    use()
    for _ in range(3):
        deliver(front, SALE)
    [delivery] = kept(front)
    assert delivery["times"] == 3
    assert delivery["first_at"] < delivery["at"]


def test_a_change_that_is_lost_to_the_event_id_of_another_one_is_told(front: Front, use: Use) -> None:
    """So it is where a rule names the id of an object, of which there may be many events."""
    use(rules=(replace(LINK, event_id="deal"),))
    (job,) = deliver(front, {**SALE, "deal": 7}).json()["jobs"]
    tried_again = {**SALE, "deal": 7, "attempt": 2}
    for payload in (tried_again, tried_again, {**SALE, "deal": 7, "person": 9002}):
        (again,) = deliver(front, payload).json()["jobs"]
        assert (again["id"], again["duplicate"]) == (job["id"], True)
    lost, repeated, first = kept(front)
    assert (lost["outcome"], lost["jobs"]) == ("made", [job["id"]])
    assert lost["faults"] == [
        f"rules[0].event_id: is that of {job['id']}, which asks for something else and stays; this change is "
        "lost, name another id"
    ]
    assert (repeated["faults"], repeated["times"], first["faults"]) == ([], 2, [])


def test_a_source_that_keeps_none_counts_all(front: Front, use: Use) -> None:
    use(replace(BOX, name="silent"), delivery_days=0)
    assert deliver(front, {"type": "other"}, path="silent").status_code == 202
    deliver(front, {}, path="silent", headers={"Authorization": "Bearer wrong"})
    assert front.runtime.deliveries.find(DeliveryFilter(sources=("silent",))).entries == ()
    counts = {("silent:no_rule", 1), ("silent:refused", 1)}
    wait_until(lambda: counts <= front.runtime.metrics.deliveries().items(), "they are not counted")


@pytest.mark.parametrize("error", [StoreUnavailable("a test"), ValueError("a bug")])
def test_a_record_that_is_lost_refuses_no_delivery(
    front: Front, use: Use, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(_: object) -> None:
        raise error

    use(replace(BOX, name=f"lost-{type(error).__name__.lower()}"))
    monkeypatch.setattr(front.runtime.deliveries, "keep", refuse)
    answer = deliver(front, SALE, path=f"lost-{type(error).__name__.lower()}")
    assert (answer.status_code, len(answer.json()["jobs"])) == (202, 1)
    [(event, fields)] = front.events
    assert (event, fields["error"]) == ("delivery.lost", type(error).__name__)


def test_a_delivery_is_taken_though_nobody_can_tell_whether_it_lost_a_change(
    front: Front, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted before: refused, its sender would try it again for ever."""

    def refuse(_: object) -> None:
        raise StoreUnavailable("a job cannot be read")

    use(replace(BOX, name="untold"), rules=(replace(LINK, event_id="deal"),))
    monkeypatch.setattr(front.runtime.queries, "get_jobs", refuse)
    for person in (9001, 9002):
        answer = deliver(front, {**SALE, "deal": 7, "person": person}, path="untold")
    assert (answer.status_code, answer.json()["jobs"][0]["duplicate"]) == (202, True)
    assert [(event, fields.get("source")) for event, fields in front.events] == [("delivery.lost", "untold")]


def test_a_flood_of_forged_deliveries_is_counted_and_a_few_are_kept(front: Front, use: Use) -> None:
    use(replace(BOX, name="flood"))
    deliver(front, SALE, path="flood")
    for number in range(40):
        answer = deliver(front, b"x" * number, path="flood", headers={"Authorization": "Bearer wrong"})
        problem(answer, 401)
    wait_until(
        lambda: front.runtime.metrics.deliveries().get("flood:refused", 0) == 40, "they are not counted"
    )
    found = front.client("admin").get("/v1/deliveries", params={"source": "flood"}).json()["deliveries"]
    assert [each["outcome"] for each in found] == [*["refused"] * 10, "made"]
    assert {each["reason"] for each in found[:-1]} == {"secret"}
    problem(front.client("admin").get(f"/v1/deliveries/{found[0]['id']}/payload"), 404)
    remapped = front.client("admin").post(f"/v1/deliveries/{found[0]['id']}/redeliver").json()
    assert remapped["skipped"] == "refused"


# --- secrets


@pytest.mark.parametrize(
    ("place", "path", "headers", "body"),
    [
        ("header:X-Box-Key", "", {"X-Box-Key": "SECRET", "X-Event-Name": "SECRET"}, {"also": 1}),
        ("query:k", "?k=QUOTED&a=1&b=QUOTED", {}, {"also": SECRET}),
        ("query:k", "?k=PLUS&a=1", {"Referer": "https://x/?k=PLUS"}, {"also": SECRET}),
        ("path", "/QUOTED/created?a=1", {}, {"url": f"/webhooks/box/{quote(SECRET, safe='')}/created"}),
        (
            "query:k",
            "?k=QUOTED",
            {},
            json.dumps({"url": f"/?k={SECRET}"}).replace("/", "\\/").encode(),
        ),  # PHP
        ("body:auth.token", "", {}, {"auth": {"token": SECRET}}),
        ("body:auth.token", "", {}, json.dumps({"auth": {"token": SECRET}}, ensure_ascii=False).encode()),
        (
            "body:auth.token",
            "",
            {},
            json.dumps({"auth": {"token": SECRET}}, ensure_ascii=False).encode("utf-16"),
        ),
        ("body:k", "", {}, f"k={quote_plus(SECRET)}&type=sale".encode()),
        ("body:k", "", {}, f"k={quote(SECRET, safe='').lower()}&type=sale".encode()),
        ("body:k", "", {}, b'{"k": "' + "".join(f"\\u{ord(c):04x}" for c in SECRET).encode() + b'"}'),
    ],
)
def test_no_secret_is_kept_wherever_it_stands_or_is_repeated(
    front: Front,
    use: Use,
    redis_client: Redis,
    place: str,
    path: str,
    headers: dict[str, str],
    body: Any,
) -> None:
    secret = SECRET.encode("ascii", "ignore").decode() if place.startswith("header") else SECRET
    use(
        scheme="secret",
        secrets=(Secret(secret),),
        secret_in=place,
        rules=(replace(LINK, when="also == 'x'"),),
    )
    path = path.replace("QUOTED", quote(SECRET, safe="")).replace("PLUS", quote_plus(SECRET))
    sent = {
        name: value.replace("SECRET", secret).replace("PLUS", quote_plus(SECRET))
        for name, value in headers.items()
    }
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"/webhooks/box{path}"
    assert front.client(None).post(url, content=content, headers=sent).status_code == 202
    [delivery] = kept(front)
    assert delivery["outcome"] in ("no_rule", "unreadable")
    stored = repr(dump_keys(redis_client)) + repr(front.events)
    request = b64decode(
        front.client("admin").get(f"/v1/deliveries/{delivery['id']}/payload").json()["request"]
    )
    for text in (stored, repr(request), json.dumps(delivery)):
        for spelling in (SECRET, quote(SECRET, safe=""), quote_plus(SECRET), json.dumps(SECRET)[1:-1]):
            assert spelling not in text
            assert spelling[:14] not in text
    assert b"canary" not in request.replace(b"\0", b"").lower()
    assert b"u0063" not in request


OF_DOTNET = "".join(char if char.isalnum() or char in "-/" else f"\\u{ord(char):04X}" for char in SECRET)


ESCAPED_QUOTE = '\\"'
ESCAPED = "".join(f"\\u{ord(char):04x}" for char in SECRET)


@pytest.mark.parametrize(
    ("content", "is_kept"),
    [
        (f'{{"k": "{OF_DOTNET}", "type": "sale"}}', True),
        (json.dumps({"k": SECRET, "type": "sale"}).replace("/", "\\/"), True),  # as PHP writes it
        (f'{{"k": "{ESCAPED}", "type": "sale"}}', True),
        (f"k={quote(SECRET, safe='').lower()}&type=sale", True),
        (f"k={''.join(f'%{byte:02X}' for byte in SECRET.encode())}&type=sale", True),
        (f"<r><k>{''.join(f'&#x{ord(char):X};' for char in SECRET)}</k><type>sale</type></r>", True),
        (f'\ufeff{{"k": "{SECRET.replace(chr(34), ESCAPED_QUOTE)}", "type": "sale"}}', False),
    ],
)
@pytest.mark.parametrize("filler", [0, 300_000])
def test_a_secret_in_any_spelling_is_kept_neither_in_a_delivery_nor_in_its_failed_job(
    front: Front, use: Use, content: str, *, is_kept: bool, filler: int
) -> None:
    raw = (content + " " * filler).encode("utf-8" if is_kept else "utf-16-le")
    place = "body:r.k" if raw.startswith(b"<") else "body:k"
    use(scheme="secret", secrets=(Secret(SECRET),), secret_in=place, rules=(replace(LINK, when="`true`"),))
    [job] = front.client(None).post("/webhooks/box", content=raw).json()["jobs"]
    assert job["state"] == "failed"
    message = front.runtime.job_admin.get_payload(job["id"]).body
    [delivery] = kept(front)
    request = front.client("admin").get(f"/v1/deliveries/{delivery['id']}/payload").json()["request"]
    for text in (message, b64decode(request)):
        assert (STARS.encode() in text, b"sale" in text) == (is_kept, is_kept)
        for start in (b"canary", b"u0063", b"%63", b"%63anary", b"x63"):
            assert start not in text.replace(b"\0", b"").lower()
    assert delivery["cut"] is (filler > 0 or not is_kept)


@pytest.mark.parametrize(
    "body", [rb"\\" * 500_000, b"&#" + b"0" * 1_000_000, b"%63" * 300_000, b"a/" * 500_000]
)
def test_looking_for_spellings_of_a_secret_has_an_end(body: bytes) -> None:
    source = replace(BOX, scheme="secret", secrets=(Secret('aaaaaaaa/"\\\\\\\\b'),), secret_in="path")
    delivery = WebhookDelivery("https://here/webhooks/box", {}, body)
    started = time.process_time()
    assert hide_proofs(source, delivery).body == body
    assert time.process_time() - started < 5


def test_a_secret_that_begins_as_another_does_leaves_no_rest() -> None:
    secrets = ("0123456789abcdef", "0123456789abcdef-new")
    source = replace(BOX, scheme="secret", secrets=tuple(map(Secret, secrets)), secret_in="body:k")
    body = json.dumps({"k": secrets[1], "old": secrets[0]}).encode()
    expected = json.dumps({"k": STARS, "old": STARS}).encode()
    assert hide_proofs(source, WebhookDelivery("", {}, body)).body == expected


def test_a_signature_that_is_no_token_is_hidden_with_all_that_stands_before_a_point() -> None:
    source = replace(BOX, scheme="hmac", secrets=(Secret("s"),), signature_in="body:sig")
    body = json.dumps({"sig": "0123456789.abcdef", "type": "sale"}).encode()
    assert json.loads(hide_proofs(source, WebhookDelivery("", {}, body)).body) == {
        "sig": STARS,
        "type": "sale",
    }


def test_a_signature_of_any_length_is_hidden_at_once() -> None:
    """Whoever saw a signature may send more behind it."""
    source = replace(BOX, scheme="hmac", secrets=(Secret("s"),), signature_in="body:sig")
    signature = "0123456789abcdef, " * 20_000
    body = json.dumps({"sig": signature, "type": "sale"})
    spelled = body.replace("cdef, ", "cdef\\u002c ").encode()
    started = time.process_time()
    shown = hide_proofs(source, WebhookDelivery("", {}, body.encode())).body
    assert json.loads(shown) == {"sig": STARS, "type": "sale"}
    assert hide_proofs(source, WebhookDelivery("", {}, spelled)).body == b""
    assert time.process_time() - started < 5


@pytest.mark.parametrize(("estate", "state"), [("x", "failed"), (501, "queued")])
def test_what_a_delivery_brought_is_gone_with_its_answer(
    front: Front, use: Use, estate: object, state: str
) -> None:
    use()

    def count_kept() -> int:
        return sum(isinstance(each, WebhookDelivery) and bool(each.body) for each in gc.get_objects())

    deliver(front, {**SALE, "estate": estate})
    gc.collect()
    gc.disable()
    try:
        before = count_kept()
        for number in range(5):
            [job] = deliver(front, {**SALE, "estate": estate, "number": number}).json()["jobs"]
            assert job["state"] == state
        wait_until(lambda: count_kept() <= before + 1, "deliveries are kept", seconds=10)
    finally:
        gc.enable()


def test_proofs_are_not_kept_and_what_a_message_is_about_is(front: Front, use: Use) -> None:
    use()
    headers = {"X-Event-Topic": "leads", "Cookie": "a=1", "X-Forwarded-For": "192.0.2.7", "X-Api-Token": "t"}
    deliver(front, SALE, headers=headers)
    [delivery] = kept(front)
    answer = front.client("admin").get(f"/v1/deliveries/{delivery['id']}/payload").json()
    head, _, body = b64decode(answer["request"]).decode().partition("\r\n\r\n")
    assert (json.loads(body), answer["size"], answer["cut"]) == (SALE, len(body), False)
    assert head.startswith("POST /webhooks/box HTTP/1.1\r\n")
    assert "x-event-topic: leads" in head
    for secret in ("192.0.2.7", "cookie", "authorization", "box-secret", "x-api-token"):
        assert secret not in head.lower()


@pytest.mark.parametrize("condition", ["type == 'sale'", "header('x-hook-type') == header('x-hook-name')"])
def test_a_signature_is_not_kept_though_its_header_has_the_name_of_a_fact(condition: str) -> None:
    rules = (replace(LINK, when=condition),)
    source = replace(BOX, scheme="hmac", header="X-Hook-Type", secrets=(Secret("s" * 20),), rules=rules)
    headers = {"x-hook-type": "0123abcd", "x-hook-name": "sale"}
    kept, is_cut = make_kept_request(source, WebhookDelivery("https://here/webhooks/box", headers, b"{}"))
    assert (b"x-hook-name: sale" in kept, b"0123abcd" in kept, is_cut) == (True, False, False)


# --- who may see it


def test_a_key_sees_the_deliveries_of_its_own_accounts_and_nothing_of_others(front: Front, use: Use) -> None:
    use(
        account="",
        account_from="tenant",
        accounts={"1": "acme", "2": "beta"},
        rules=(replace(LINK, when=""),),
    )
    deliver(front, {**SALE, "tenant": "1"})
    deliver(front, {**SALE, "tenant": "2"})
    deliver(front, {**SALE, "tenant": "3"})
    assert [each["accounts"] for each in kept(front, "all")] == [["acme", "beta"], ["beta"], ["acme"]]
    [own] = kept(front, "admin")
    assert own["accounts"] == ["acme"]
    [_, theirs, _] = kept(front, "all")
    admin = front.client("admin")
    problem(admin.get(f"/v1/deliveries/{theirs['id']}"), 404)
    problem(admin.get(f"/v1/deliveries/{theirs['id']}/payload"), 404)
    problem(admin.post(f"/v1/deliveries/{theirs['id']}/redeliver"), 404)
    remapped = admin.post("/v1/deliveries/remap", json={"deliveries": [theirs["id"]], "dry_run": True}).json()
    assert [each["skipped"] for each in remapped["deliveries"]] == ["gone"]
    problem(front.client("viewer").get(f"/v1/deliveries/{own['id']}/payload"), 403)
    problem(front.client("viewer").post("/v1/deliveries/remap", json={"source": "box"}), 403)
    problem(front.client(None).get("/v1/deliveries"), 401)


def test_a_delivery_that_makes_nothing_belongs_to_the_account_that_it_names(front: Front, use: Use) -> None:
    use(account="", account_from="tenant", accounts={"1": "acme", "2": "beta"})
    deliver(front, {"type": "other", "tenant": "2"})
    [theirs] = kept(front, "all")
    assert (theirs["outcome"], theirs["accounts"]) == ("no_rule", ["beta"])
    assert kept(front, "admin") == []


def test_new_rules_carry_nothing_into_an_account_that_the_key_is_not_for(front: Front, use: Use) -> None:
    use()
    deliver(front, SALE)
    [delivery] = kept(front)
    use(account="beta")
    remapped = front.client("admin").post(f"/v1/deliveries/{delivery['id']}/redeliver").json()
    assert (remapped["skipped"], remapped["changes"]) == ("elsewhere", [])
    assert "accepted" not in front.store.counts("beta")


@pytest.mark.parametrize(
    "form", [{}, {"dry_run": True}, {"deliveries": ["box-a"], "source": "box"}, {"limit": 5}]
)
def test_nothing_is_read_again_by_a_selection_of_everything_or_of_two_kinds(
    front: Front, form: dict[str, Any]
) -> None:
    problem(front.client("admin").post("/v1/deliveries/remap", json=form), 422)


# --- read again


def remap(front: Front, *, dry_run: bool = False, **form: Any) -> list[dict[str, Any]]:
    answer = front.client("admin").post(
        "/v1/deliveries/remap", json={"source": "box", "dry_run": dry_run, **form}
    )
    assert answer.status_code == 200, answer.text
    return list(answer.json()["deliveries"])


def test_a_preview_shows_what_corrected_rules_would_make_and_changes_nothing(
    front: Front, use: Use, redis_client: Redis
) -> None:
    use()
    deliver(front, {**SALE, "type": "sold"})
    deliver(front, SALE)
    use(rules=(replace(LINK, when="type == 'sale' || type == 'sold'"),))
    before = dump_keys(redis_client, "*{*")  # without what is counted for all
    made, sold = remap(front, dry_run=True)
    assert [(each["was"], each["now"]["outcome"]) for each in (made, sold)] == [
        ("made", "made"),
        ("no_rule", "made"),
    ]
    assert [(item["new"], bool(item["job"])) for item in (*made["changes"], *sold["changes"])] == [
        (False, True),
        (True, False),
    ]
    assert sold["changes"][0]["change"]["parentid"] == 501
    assert dump_keys(redis_client, "*{*") == before


def test_what_is_read_again_is_made_once_and_on_record(front: Front, use: Use) -> None:
    use()
    deliver(front, {**SALE, "type": "sold"})
    use(rules=(replace(LINK, when="type == 'sold'"),))
    [first], [second] = remap(front), remap(front)
    assert [item["new"] for item in (*first["changes"], *second["changes"])] == [True, False]
    assert first["changes"][0]["job"] == second["changes"][0]["job"]
    [delivery] = kept(front)
    assert (delivery["outcome"], delivery["jobs"]) == ("made", [first["changes"][0]["job"]])
    assert front.store.counts("acme")["accepted"] == 1
    assert deliver(front, {**SALE, "type": "sold"}).json()["jobs"][0]["duplicate"]
    page = front.client("admin").get("/v1/audit", params={"account": "acme"}).json()["deeds"]
    assert [(entry["by"], entry["act"], entry["what"]) for entry in page] == [
        ("admin", "redelivered", delivery["id"])
    ]


def test_who_reads_again_is_on_record_though_the_process_dies_once_a_change_is_accepted(
    front: Front, use: Use
) -> None:
    use()
    deliver(front, {**SALE, "type": "sold"})
    use(rules=(replace(LINK, when="type == 'sold'"),))
    [delivery], scripts = kept(front), front.store.database.scripts
    dying = partial(CrashPoint(1, after=True).call, scripts["accept"])  # the first gives the layout
    front.store.database.scripts = {**scripts, "accept": dying}
    with pytest.raises(Crashed):
        [*build_services(front.runtime).deliveries.remap([delivery["id"]], by="ada", dry_run=False)]
    front.store.database.scripts = scripts
    assert front.store.counts("acme")["accepted"] == 1
    [entry] = front.runtime.job_admin.audit_log("acme").entries
    assert (entry.by, entry.act, entry.what) == ("ada", "redelivered", delivery["id"])


def test_what_is_read_again_occurred_when_it_came_so_that_newer_deliveries_win(
    front: Front, use: Use
) -> None:
    delete = replace(LINK, when="type == 'undone'", action="'delete'")
    use(rules=(replace(LINK, when="type == 'never'"), delete))
    deliver(front, SALE)
    deliver(front, {**SALE, "type": "undone"})
    use(rules=(LINK, delete))
    _, sale = remap(front)
    front.runtime.flush("acme")
    job = front.job(sale["changes"][0]["job"])
    assert (job.state, job.counts["applied"]) == ("superseded", 0)
    record, _ = front.store.relation_history("acme", Relation(BUYER, 501, 9001))
    assert not record.open


def test_a_corrected_rule_that_would_say_otherwise_leaves_the_job_as_it_is_and_says_so(
    front: Front, use: Use
) -> None:
    use()
    deliver(front, SALE)
    use(rules=(replace(LINK, childid="`9002`"),))
    [remapped] = remap(front)
    assert [(item["new"], item["differs"]) for item in remapped["changes"]] == [(False, True)]
    assert front.store.counts("acme")["accepted"] == 1


def test_a_job_whose_records_were_found_meanwhile_is_still_the_same_change(front: Front, use: Use) -> None:
    rule = replace(LINK, parentid="join('', ['estate:objektnr_extern=', number])")
    use(rules=(rule,))
    assert deliver(front, {**SALE, "number": "PC910"}).status_code == 202
    [same] = remap(front, dry_run=True)
    assert [(item["new"], item["differs"]) for item in same["changes"]] == [(False, False)]
    assert same["changes"][0]["change"]["parentid"] == {"estate": {"objektnr_extern": "PC910"}}
    use(rules=(replace(rule, parentid="'estate:objektnr_extern=PC911'"),))
    [other] = remap(front, dry_run=True)
    assert [(item["new"], item["differs"]) for item in other["changes"]] == [(False, True)]


def test_the_failed_job_of_an_unreadable_delivery_is_replaced_or_dismissed(front: Front, use: Use) -> None:
    use()
    for person in ("9001", "test"):
        deliver(front, {**SALE, "person": person})
    failed = [job for each in kept(front) for job in each["jobs"]]
    use(
        rules=(replace(LINK, childid="to_number(person)"),),
        ignore=(IgnoreRule(when="person == 'test'", because="a test"),),
    )
    test, sale = remap(front)
    assert [each["now"]["outcome"] for each in (test, sale)] == ["nothing_to_do", "made"]
    jobs = list(map(front.job, failed))
    assert [bool(job.dismissed) for job in jobs] == [True, True]
    assert [job.replayed_by for job in jobs] == [(), (sale["changes"][0]["job"],)]
    assert front.store.failed_jobs("acme", limit=9) == []


def test_what_still_cannot_be_read_makes_no_second_failed_job(front: Front, use: Use) -> None:
    use()
    deliver(front, {**SALE, "person": "x"})
    deliver(front, {"type": "sold", "estate": 0, "person": 1})
    use(rules=(replace(LINK, when=""),))
    for _ in range(2):
        sold, sale = remap(front)
        assert [each["now"]["outcome"] for each in (sold, sale)] == ["unreadable", "unreadable"]
        assert sold["now"]["faults"][0].startswith("rules[0].parentid: ")
    assert front.store.counts("acme")["accepted"] == 1  # the failed job of the first


def test_what_was_cut_or_has_lost_its_source_is_skipped_and_says_why(
    front: Front, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use()
    deliver(front, {**SALE, "type": "large", "text": "x" * 2**18})
    deliver(front, {**SALE, "type": "small"})
    use(rules=(replace(LINK, when=""),))
    assert [each["skipped"] for each in remap(front, dry_run=True)] == [None, "cut"]
    sources = {name: source for name, source in front.runtime.settings.sources.items() if name != "box"}
    monkeypatch.setattr(
        front.runtime.live_settings, "current", replace(front.runtime.settings, sources=sources)
    )
    assert [each["skipped"] for each in remap(front)] == ["no_source", "no_source"]


@pytest.mark.parametrize("headers", [{}, {f"X-Event-{number}": "x" * 900 for number in range(60)}])
@pytest.mark.parametrize("address", ["?event=sale", "/sale?a=b", f"?event=sale&x={'x' * 9000}"])
def test_rules_of_tomorrow_find_headers_query_and_path_as_they_came(
    front: Front, use: Use, headers: dict[str, str], address: str
) -> None:
    use()
    deliver(front, {**SALE, "type": ""}, path=f"box{address}", headers={"X-Hook-Event": "sale", **headers})
    named = "header('x-hook-event') == 'sale' && (query('event') == 'sale' || path(`0`) == 'sale')"
    use(rules=(replace(LINK, when=named),))
    [remapped] = remap(front, dry_run=True)
    is_long = len(address) > 9000
    assert (remapped["skipped"], len(remapped["changes"])) == (("cut", 0) if is_long else (None, 1))


@given(text=st.text(max_size=40), body=st.binary(max_size=200))
def test_what_is_kept_of_a_request_is_read_as_it_came(text: str, body: bytes) -> None:
    value = text.encode().decode("latin-1").replace("\r", "").replace("\n", "").strip(" \t")
    source = replace(BOX, rules=(replace(LINK, when="header('x-any')"),))
    sent = WebhookDelivery(f"https://here/webhooks/box/{quote(text, safe='')}?a=1", {"x-any": value}, body)
    request, is_cut = make_kept_request(source, sent)
    kept = read_kept(source, request)
    assert not is_cut
    assert (kept.body, kept.headers.get("x-any", "")) == (body, value)
    assert kept.url.partition("/webhooks/")[2] == sent.url.partition("/webhooks/")[2]


def test_a_call_of_onoffice_is_kept_without_its_claim_and_read_again(
    front: Front, use: Use, redis_client: Redis
) -> None:
    office = front.runtime.settings.sources["office"]
    use(office, rules=(replace(office.rules[0], when="userId == `1`"),))
    query = f"apiClaim=canary-claim-of-acme&estateId=4.629&timestamp={int(time.time())}&userId=21"
    url = f"{front.url}/webhooks/office?{query}"
    signature = hmac.new(SECRETS["OFFICE_SECRET"].encode(), url.encode(), hashlib.sha256).hexdigest()
    assert front.client(None).get(f"{url}&signature={signature}").status_code == 202
    assert "canary-claim" not in repr(dump_keys(redis_client))
    use(office)
    [remapped] = remap(front, source="office")
    assert (remapped["now"]["outcome"], remapped["changes"][0]["change"]["parentid"]) == ("made", 4629)
    assert front.runtime.deliveries.erase("acme", RecordRef("estate", 4629)) == (1, 1)


# --- erased


def test_an_erasure_takes_the_deliveries_that_name_the_record(front: Front, use: Use) -> None:
    use()
    deliver(front, SALE)
    deliver(front, {**SALE, "person": 9002})
    form = {"account": "acme", "module": "address", "id": 9001}
    erased = front.client("admin").post("/v1/erasures", json=form).json()["erased"]
    assert erased["deliveries"] == 1
    assert len(kept(front)) == 1
    assert "9001" not in json.dumps(kept(front))
    assert front.runtime.deliveries.erase("acme", RecordRef("address", 9001)) == (1, 0)


# --- what senders are answered


@pytest.mark.parametrize("answer_faults", [0, 202])
@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"x" * (2**20 + 1), {}, 413, "too_large"),
        (b"x", {"Content-Encoding": "br"}, 415, "unsupported"),
        (gzip.compress(b"{}")[:-4], {"Content-Encoding": "gzip"}, 422, "unreadable"),
    ],
    ids=["large", "brotli", "torn"],
)
def test_what_will_never_be_taken_is_answered_as_the_source_says_and_on_record(
    front: Front,
    use: Use,
    content: bytes,
    headers: dict[str, str],
    status: int,
    reason: str,
    answer_faults: int,
) -> None:
    source = use(replace(BOX, name=f"box{answer_faults}{status}"), answer_faults=answer_faults)
    answer = deliver(front, content, path=source.name, headers=headers)
    assert answer.status_code == (answer_faults or status)
    found = wait_until(
        lambda: front.runtime.deliveries.find(DeliveryFilter(sources=(source.name,))).entries,
        "it is not kept",
    )
    assert [(each.outcome, each.reason) for each in found] == [("refused", reason)]
    problem(deliver(front, b"{}", path=source.name, headers={"Authorization": "Bearer wrong"}), 401)


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["box", "box/", "box/a/b", "box/%2e%2e/x", "box?a=b", "box//", "box/a?b=c"])
def test_a_source_that_is_known_never_answers_that_it_is_not_there(
    front: Front, use: Use, method: str, path: str
) -> None:
    use()
    for headers in ({}, {"Authorization": "Bearer box-secret-of-the-tests"}):
        for body in (b"", b"{}", b"\xff"):
            answer = front.client(None).request(method, f"/webhooks/{path}", content=body, headers=headers)
            assert answer.status_code not in (404, 410)
    use(gone=True)
    assert front.client(None).request("POST", "/webhooks/box").status_code == 410


# --- changes of several accounts


def of_two_accounts(use: Use, **rule: str) -> None:
    by_agency = replace(LINK, **{"each": ("[]",), "occurred_at": "at", **rule})
    use(rules=(by_agency,), account="", account_from="agency", accounts={"1": "acme", "2": "beta"})


@pytest.mark.parametrize("refused", ["acme", "beta"])
def test_what_one_account_takes_of_a_delivery_is_named_beside_what_another_refuses(
    front: Front, use: Use, refused: str
) -> None:
    of_two_accounts(use)
    payload = [
        {**SALE, "agency": agency, "at": "2200-01-01T00:00:00Z" if account == refused else None}
        for agency, account in (("1", "acme"), ("2", "beta"))
    ]
    taken = ({"acme", "beta"} - {refused}).pop()
    for is_again in (False, True):  # the sender repeats it, and nothing is made twice
        good, failed = deliver(front, payload).json()["jobs"]
        assert good["id"].startswith(f"{taken}-")
        assert (good["duplicate"], failed["state"], failed["duplicate"]) == (is_again, "failed", is_again)
    [delivery] = front.runtime.deliveries.find(DeliveryFilter(sources=("box",))).entries
    assert (delivery.outcome, set(delivery.jobs)) == ("unreadable", {good["id"], failed["id"]})
    service = build_services(front.runtime).deliveries
    [remapped] = service.remap([delivery.id], by="ada", dry_run=False)
    assert remapped.now is not None
    assert (remapped.now.outcome, [item.job for item in remapped.changes]) == ("unreadable", [good["id"]])
    of_two_accounts(use, occurred_at="")
    [remapped] = service.remap([delivery.id], by="ada", dry_run=False)
    assert [(item.is_new, item.change.account) for item in remapped.changes] == [
        (account == refused, account) for account in ("acme", "beta")
    ]
    assert front.job(good["id"]).replayed_by == ()
    assert len(front.job(failed["id"]).replayed_by) == 1
