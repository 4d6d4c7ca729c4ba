"""Webhook signatures: published vectors pass, one changed byte does not, malformed ones are refused."""

import hashlib
import hmac
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from producers.errors import Unauthorized
from producers.webhooks.mapping import read_payload
from producers.webhooks.signatures import TOLERANCE, WebhookDelivery
from producers.webhooks.verify import verify
from worker.config import Rule, Secret, Source
from worker.config.secret import NamedText

RULE = Rule(action="'create'", relationtype="'t'", parentid="p", childid="c")
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_614_265_330

STANDARD = Source(
    name="immo", account="acme", scheme="standard-webhooks", secrets=(Secret(WHSEC),), rules=(RULE,)
)
VECTOR = WebhookDelivery(
    "https://here/webhooks/immo",
    {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": str(NOW),
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    b'{"test": 2432232314}',
)
OFFICE = Source(
    name="office", account="acme", scheme="onoffice", secrets=(Secret("provider-secret"),), rules=(RULE,)
)
OFFICE_URL = (
    "https://hooks.example.test/onoffice/estate?apiClaim=abcDEF%2B%2F12%3D%3D"
    "&customerName=musterfirma&customerWebId=00001-001"
    "&estateId=4629&parameterCacheId=abc123&timestamp=1700000000&userId=21"
    "&signature=0a6ef3d10d42691e2acb91a964bb4cd45bb88748b5f256f84bd4beb553a53cae"
)
FORMS = Source(
    name="forms",
    account="acme",
    scheme="hmac",
    secrets=(Secret("forms-secret"),),
    rules=(RULE,),
    header="X-Signature",
    prefix="sha256=",
)
DESK = Source(name="desk", account="acme", scheme="bearer", secrets=(Secret("desk-secret"),), rules=(RULE,))


def with_headers(**headers: str) -> WebhookDelivery:
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return VECTOR._replace(
        headers={name: value for name, value in {**VECTOR.headers, **changed}.items() if value}
    )


def refused(source: Source, delivery: WebhookDelivery, *, now: float = NOW) -> str:
    with pytest.raises(Unauthorized) as raised:
        verify(source, delivery, now=now)
    return str(raised.value)


def test_the_published_vector_passes_and_returns_its_message_id() -> None:
    assert verify(STANDARD, VECTOR, now=NOW) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


@pytest.mark.parametrize("offset", [-TOLERANCE, TOLERANCE])
def test_five_minutes_are_fresh_and_a_second_more_is_stale(offset: float) -> None:
    assert verify(STANDARD, VECTOR, now=NOW + offset)
    assert "clock" in refused(STANDARD, VECTOR, now=NOW + offset * (1 + 1 / TOLERANCE))


def test_any_of_several_signatures_and_any_of_several_secrets_passes() -> None:
    other = "whsec_b3RoZXIgc2VjcmV0IG9mIGltbW8="
    rotating = replace(STANDARD, secrets=(Secret(other), Secret(WHSEC)))
    assert verify(rotating, VECTOR, now=NOW)
    assert verify(
        STANDARD,
        with_headers(webhook_signature=f"v1a,xyz v1,AAAA {VECTOR.headers['webhook-signature']}"),
        now=NOW,
    )
    refused(replace(STANDARD, secrets=(Secret(other),)), VECTOR)


@given(
    st.binary(max_size=50),
    st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=40),
)
def test_what_the_reference_library_signs_passes_and_one_changed_byte_does_not(
    body: bytes, message: str
) -> None:
    text = body.decode("latin-1")
    signature = Webhook(WHSEC).sign(message, datetime.fromtimestamp(NOW, UTC), text)
    headers = {"webhook-id": message, "webhook-timestamp": str(NOW), "webhook-signature": signature}
    signed = WebhookDelivery("https://here", headers, text.encode())
    assert verify(STANDARD, signed, now=NOW) == message
    refused(STANDARD, signed._replace(body=signed.body + b" "))
    refused(STANDARD, signed._replace(headers={**headers, "webhook-id": message + "x"}))
    refused(STANDARD, signed._replace(headers={**headers, "webhook-timestamp": str(NOW + 1)}))


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook_id": ""},
        {"webhook_timestamp": ""},
        {"webhook_signature": ""},
        {"webhook_signature": "no comma at all"},
        {"webhook_signature": "v1,not-base64-\xe4"},
        {"webhook_signature": ",,,"},
        {"webhook_timestamp": "soon"},
        {"webhook_timestamp": "9" * 40},
        {"webhook_timestamp": "1614265330.5"},
        {"webhook_timestamp": "-1614265330"},
        {"webhook_timestamp": "nan"},
        {"webhook_timestamp": "١٦١٤٢٦٥٣٣٠"},
    ],
)
def test_a_malformed_header_is_unauthorized(headers: dict[str, str]) -> None:
    refused(STANDARD, with_headers(**headers))


@given(
    st.dictionaries(st.sampled_from([*VECTOR.headers, "authorization", "x-signature"]), st.text(max_size=30)),
    st.binary(max_size=20),
)
def test_anything_unsigned_is_refused(headers: Mapping[str, str], body: bytes) -> None:
    for source in (STANDARD, FORMS, DESK, OFFICE):
        refused(source, WebhookDelivery("https://here/?signature=%ff&timestamp=1614265330", headers, body))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (STANDARD, "the header webhook-id is missing"),
        (FORMS, "the header X-Signature is missing"),
        (replace(FORMS, signature_in="body:sig"), "there is no signature at body:sig"),
        (replace(FORMS, scheme="jwt", signature_in="query:t"), "there is no token at query:t"),
        *(
            (replace(DESK, scheme="secret", secret_in=place), f"there is no secret at {place}")
            for place in ("query:k", "path", "body:token")
        ),
        (replace(DESK, scheme="secret", secret_in="header:X-Api-Key"), "the header X-Api-Key is missing"),
    ],
)
def test_what_a_delivery_lacks_is_told_with_its_place(source: Source, told: str) -> None:
    delivery = WebhookDelivery("https://here/webhooks/x", {}, b"{}")
    with pytest.raises(Unauthorized) as raised:
        verify(source, delivery, now=NOW)
    assert (str(raised.value), raised.value.reason) == (told, "no_proof")


@pytest.mark.parametrize(
    ("how", "header", "kind"),
    [
        ({}, f"v1={'0' * 64}", "HMAC by sha256 in hex or base64"),
        ({}, "0" * 40, "HMAC by sha256 in hex or base64"),  # by SHA-1
        ({"algorithm": "sha512"}, f"sha256={'0' * 64}", "HMAC by sha512 in hex or base64"),
        ({"encoding": "base64"}, "0" * 64, "HMAC by sha256 in base64"),
        ({"signature_field": "v1"}, f"t=1,s={'0' * 64}", "HMAC by sha256 in hex or base64"),
        ({"scheme": "public-key"}, "v1=!", "signature in hex or base64"),
    ],
)
def test_what_can_be_no_signature_of_the_settings_is_told_with_where_they_say_it(
    how: dict[str, str], header: str, kind: str
) -> None:
    told = refused(replace(FORMS, **how), WebhookDelivery("https://here", {"x-signature": header}, b"{}"))
    assert told.startswith(f"what stands in place of a signature is no {kind}; `algorithm`,")


@pytest.mark.parametrize(
    ("how", "signature"),
    [
        ({}, lambda body: "sha256=" + hmac.new(b"forms-secret", body, hashlib.sha256).hexdigest()),
        ({}, lambda body: "sha256=" + hmac.new(b"forms-secret", body, hashlib.sha256).hexdigest().upper()),
        (
            {"algorithm": "sha512", "prefix": ""},
            lambda body: hmac.new(b"forms-secret", body, hashlib.sha512).hexdigest(),
        ),
        (
            {"algorithm": "sha1", "encoding": "base64", "prefix": "v1="},
            lambda body: "v1=" + b64encode(hmac.new(b"forms-secret", body, hashlib.sha1).digest()).decode(),
        ),
    ],
)
def test_a_plain_hmac_is_compared_in_the_notation_of_its_sender(
    how: dict[str, str], signature: object
) -> None:
    source = replace(FORMS, **how)
    right = WebhookDelivery("https://here", {"x-signature": signature(b"{}")}, b"{}")
    assert verify(source, right, now=NOW) == verify(source, right, now=NOW + 10**6)
    assert refused(source, right._replace(body=b"{ }")) == "the signature does not match"
    refused(source, right._replace(headers={"x-signature": signature(b"{}")[1:]}))
    refused(source, right._replace(headers={}))


def test_an_hmac_with_a_timestamp_covers_it_and_a_later_delivery_is_the_same_message() -> None:
    source = replace(FORMS, timestamp_header="X-Timestamp")

    def signed(moment: int) -> WebhookDelivery:
        mac = hmac.new(b"forms-secret", f"{moment}.{{}}".encode(), hashlib.sha256).hexdigest()
        return WebhookDelivery(
            "https://here", {"x-timestamp": str(moment), "x-signature": f"sha256={mac}"}, b"{}"
        )

    assert verify(source, signed(NOW), now=NOW) == verify(source, signed(NOW + 1000), now=NOW + 1000)
    assert "clock" in refused(source, signed(NOW), now=NOW + 301)
    refused(source, signed(NOW)._replace(headers={**signed(NOW).headers, "x-timestamp": str(NOW + 1)}))


@pytest.mark.parametrize(
    "written", [f"{NOW}.25", f"{NOW}.123456789", f"{NOW}000", f"{NOW}000000", "2021-02-25T15:02:10Z"]
)
def test_a_time_is_taken_as_its_sender_writes_it_and_signed_so(written: str) -> None:
    source = replace(FORMS, timestamp_header="X-Timestamp")
    mac = hmac.new(b"forms-secret", f"{written}.{{}}".encode(), "sha256").hexdigest()
    delivery = WebhookDelivery(
        "https://here", {"x-timestamp": written, "x-signature": f"sha256={mac}"}, b"{}"
    )
    assert verify(source, delivery, now=NOW)
    assert "clock" in refused(source, delivery, now=NOW + 2 * TOLERANCE)


def test_a_bearer_token_is_the_secret_itself() -> None:
    right = WebhookDelivery("https://here", {"authorization": "Bearer desk-secret"}, b"{}")
    assert verify(DESK, right, now=NOW) == verify(DESK, right, now=NOW)
    assert verify(DESK, right, now=NOW) != verify(DESK, right._replace(body=b"[]"), now=NOW)
    for header in ("Bearer desk-secre", "Basic desk-secret", "desk-secret", "", "Bearer "):
        refused(DESK, right._replace(headers={"authorization": header}))


def test_onoffice_signs_its_query_together_with_the_address() -> None:
    right = WebhookDelivery(OFFICE_URL, {}, b"")
    assert verify(OFFICE, right, now=1_700_000_000) == verify(OFFICE, right, now=1_700_000_001)
    refused(OFFICE, right, now=1_700_000_301)
    for old, new in (
        ("estateId=4629", "estateId=4630"),
        ("hooks.", "hook."),
        ("&signature=0", "&signature=1"),
        ("https:", "http:"),
    ):
        refused(OFFICE, right._replace(url=OFFICE_URL.replace(old, new)), now=1_700_000_000)
    refused(OFFICE, right._replace(url=OFFICE_URL + "&estateId=1"), now=1_700_000_000)
    refused(OFFICE, right._replace(url=OFFICE_URL.partition("&signature")[0]), now=1_700_000_000)


def sign_as_onoffice(written: str, sent: str = "") -> WebhookDelivery:
    """Return the delivery of a query that PHP wrote, perhaps sent in another spelling or order."""
    address = "https://hooks.example.test/onoffice"
    mac = hmac.new(b"provider-secret", f"{address}?{written}".encode(), hashlib.sha256).hexdigest()
    return WebhookDelivery(f"{address}?{sent or written}&signature={mac}", {}, b"", "GET")


@pytest.mark.parametrize(
    ("written", "sent", "fields"),
    [
        ("note=%7Eb&timestamp=1700000000", "timestamp=1700000000&note=~b", {"note": "~b"}),
        ("name=M%FCller+GmbH&timestamp=1700000000", "", {"name": "Müller GmbH"}),
        ("name=M%FCller&timestamp=1700000000", "name=M\xfcller&timestamp=1700000000", {"name": "Müller"}),
        ("name=M%C3%BCller&timestamp=1700000000", "", {"name": "Müller"}),
        (
            "ids%5B0%5D=8&ids%5B1%5D=9&ids%5B10%5D=7&timestamp=1700000000",
            "timestamp=1700000000&ids[0]=8&ids[1]=9&ids[10]=7",
            {"ids": {"0": "8", "1": "9", "10": "7"}},
        ),
        (
            "ids%5B0%5D=8&ids%5B1%5D=9&timestamp=1700000000",
            "ids[]=8&ids[]=9&timestamp=1700000000",
            {"ids": ["8", "9"]},
        ),
        ("my_name=x&timestamp=1700000000", "my.name=x&timestamp=1700000000", {"my_name": "x"}),
        ("my.name=x&timestamp=1700000000", "", {"my_name": "x"}),
        ("estateId=4.629&timestamp=1700000000&x=", "", {"estateId": 4629, "x": ""}),
    ],
)
def test_onoffice_signs_what_php_writes_and_rules_read_just_that(
    written: str, sent: str, fields: dict[str, object]
) -> None:
    delivery = sign_as_onoffice(written, sent)
    assert verify(OFFICE, delivery, now=1_700_000_000)
    assert read_payload(OFFICE, delivery) == {"timestamp": "1700000000", **fields}


@pytest.mark.parametrize(
    ("prepended", "written"),
    [
        ("estateId=9", "estateId=4629&timestamp=1700000000"),
        ("estateId=9", "estateId=&timestamp=1700000000"),
        ("estate.Id=9", "estate_Id=4629&timestamp=1700000000"),
        ("ids[0]=9", "ids%5B0%5D=8&timestamp=1700000000"),
        ("ids=9", "ids%5B0%5D=8&timestamp=1700000000"),
        ("%65stateId=9", "estateId=4629&timestamp=1700000000"),
        ("signature=0", "timestamp=1700000000"),
    ],
)
def test_a_parameter_that_is_named_twice_is_refused_whichever_of_them_was_signed(
    prepended: str, written: str
) -> None:
    for sent in (f"{prepended}&{written}", f"{written}&{prepended}"):
        assert "named twice" in refused(OFFICE, sign_as_onoffice(written, sent), now=1_700_000_000)


def test_no_refusal_contains_a_secret_or_the_right_signature() -> None:
    texts = refused(STANDARD, with_headers(webhook_signature="v1,AAAA")) + refused(DESK, VECTOR)
    assert not any(word in texts for word in (WHSEC, "g0hM9", "desk-secret"))


STRIPE = replace(FORMS, header="Stripe-Signature", prefix="", timestamp_field="t", signature_field="v1")
HUBSPOT = replace(
    FORMS,
    header="X-HubSpot-Signature-v3",
    prefix="",
    encoding="base64",
    timestamp_header="X-HubSpot-Request-Timestamp",
    signed="{method}{url}{body}{timestamp}",
    url="https://hooks.agency.example/webhooks/hub",
)


def compute_mac(text: str) -> bytes:
    return hmac.new(b"forms-secret", text.encode(), hashlib.sha256).digest()


def test_github_signs_the_body_behind_a_prefix() -> None:
    source = replace(FORMS, header="X-Hub-Signature-256")
    delivery = WebhookDelivery(
        "https://here", {"x-hub-signature-256": f"sha256={compute_mac('{}').hex()}"}, b"{}"
    )
    assert verify(source, delivery, now=NOW)
    refused(source, delivery._replace(body=b"[]"))


def test_stripe_lists_time_and_signatures_as_fields_of_one_header() -> None:
    right = compute_mac(f"{NOW}.{{}}").hex()
    delivery = WebhookDelivery(
        "https://here", {"stripe-signature": f"t={NOW},v1={'0' * 64},v1={right},v0={'1' * 64}"}, b"{}"
    )
    assert verify(STRIPE, delivery, now=NOW)
    assert "clock" in refused(STRIPE, delivery, now=NOW + 301)
    for header in (f"t={NOW + 1},v1={right}", f"t={NOW},v0={right}", f"v1={right}", "t=,v1=", f"t={NOW}"):
        refused(STRIPE, delivery._replace(headers={"stripe-signature": header}))


def test_hubspot_signs_method_address_body_and_milliseconds_as_the_sender_knows_the_address() -> None:
    moment = f"{NOW}250"
    signature = b64encode(compute_mac(f"POST{HUBSPOT.url}?a=1{{}}{moment}")).decode()
    headers = {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": moment}
    delivery = WebhookDelivery("http://10.0.0.7:8080/webhooks/hub?a=1", headers, b"{}")
    assert verify(HUBSPOT, delivery, now=NOW)
    refused(HUBSPOT, delivery._replace(method="PUT"))
    refused(HUBSPOT, delivery._replace(url="http://10.0.0.7:8080/webhooks/hub?a=2"))
    assert "clock" in refused(HUBSPOT, delivery, now=NOW + 302)


def test_shopify_signs_the_body_in_base64() -> None:
    source = replace(FORMS, header="X-Shopify-Hmac-Sha256", prefix="", encoding="base64")
    assert verify(
        source,
        WebhookDelivery(
            "https://here", {"x-shopify-hmac-sha256": b64encode(compute_mac("{}")).decode()}, b"{}"
        ),
        now=NOW,
    )


@pytest.mark.parametrize(
    "path", ["/webhooks/hub?u=https%3A%2F%2Fa.b%2F%40c%21%24%27%28%29%2A%2C%3B&x=%3F&n=%C3%BC"]
)
def test_hubspot_signs_some_characters_of_the_address_decoded(path: str) -> None:
    moment, decoded = f"{NOW}250", "/webhooks/hub?u=https://a.b/@c!$'()*,;&x=?&n=%C3%BC"
    signature = b64encode(compute_mac(f"POSThttps://hooks.agency.example{decoded}{{}}{moment}")).decode()
    headers = {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": moment}
    delivery = WebhookDelivery(f"http://10.0.0.7:8080{path}", headers, b"{}")
    assert verify(HUBSPOT, delivery, now=NOW)
    refused(HUBSPOT, delivery._replace(url=delivery.url.replace("%C3", "%C2")))


def test_svix_names_its_headers_after_itself() -> None:
    headers = {name.replace("webhook", "svix"): value for name, value in VECTOR.headers.items()}
    assert verify(STANDARD, VECTOR._replace(headers=headers), now=NOW) == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    refused(STANDARD, VECTOR._replace(headers={**headers, "webhook-id": "another"}))


@pytest.mark.parametrize(
    ("how", "headers"),
    [
        (  # Paddle
            {
                "header": "Paddle-Signature",
                "timestamp_field": "ts",
                "signature_field": "h1",
                "signed": "{timestamp}:{body}",
            },
            lambda: {"paddle-signature": f"ts={NOW};h1={compute_mac(f'{NOW}:{{}}').hex()}"},
        ),
        (  # Zendesk
            {"timestamp_header": "X-Time", "signed": "{timestamp}{body}"},
            lambda: {
                "x-time": "2021-02-25T15:02:10Z",
                "x-signature": b64encode(compute_mac("2021-02-25T15:02:10Z{}")).decode(),
            },
        ),
        ({}, lambda: {"x-signature": f"sha256={'0' * 64}, sha256={compute_mac('{}').hex()}"}),
        ({}, lambda: {"x-signature": f"{'0' * 64} {compute_mac('{}').hex().upper()}"}),
        (
            {},
            lambda: {
                "x-signature": b64encode(compute_mac("{}"))
                .decode()
                .rstrip("=")
                .replace("+", "-")
                .replace("/", "_")
            },
        ),
        ({"prefix": ""}, lambda: {"x-signature": "sha256=" + compute_mac("{}").hex()}),
        ({"prefix": "sha256="}, lambda: {"x-signature": compute_mac("{}").hex()}),
        (
            {"timestamp_header": "X-Time"},
            lambda: {"x-time": f"{NOW}000", "x-signature": compute_mac(f"{NOW}000.{{}}").hex()},
        ),
    ],
)
def test_signatures_and_times_are_read_in_the_notations_that_senders_have(
    how: dict[str, str], headers: Callable[[], dict[str, str]]
) -> None:
    delivery = WebhookDelivery("https://here", headers(), b"{}")
    assert verify(replace(FORMS, **how), delivery, now=NOW)
    refused(replace(FORMS, **how), delivery._replace(body=b"{ }"))
    if "timestamp_header" in how or "timestamp_field" in how:
        assert "clock" in refused(replace(FORMS, **how), delivery, now=NOW + 302)


@pytest.mark.parametrize(
    "write",
    [
        lambda key: b64encode(key).decode(),  # Airtable, Quo
        lambda key: urlsafe_b64encode(key).decode().rstrip("="),
        lambda key: "whsec_" + b64encode(key).decode(),
        lambda key: key.hex(),  # Close
        lambda key: key.hex().upper(),
    ],
    ids=["base64", "base64url", "whsec_", "hex", "HEX"],
)
@given(key=st.binary(min_size=16, max_size=40), body=st.binary(max_size=40))
def test_a_secret_may_be_the_key_itself_or_write_its_bytes(
    write: Callable[[bytes], str], key: bytes, body: bytes
) -> None:
    source = replace(FORMS, secrets=(Secret(write(key)),))
    for used in (key, write(key).encode()):
        mac = hmac.new(used, body, hashlib.sha256).hexdigest()
        assert verify(source, WebhookDelivery("https://here", {"x-signature": mac}, body), now=NOW)
    wrong = hmac.new(key + b"x", body, hashlib.sha256).hexdigest()
    refused(source, WebhookDelivery("https://here", {"x-signature": wrong}, body))


@pytest.mark.parametrize("secret", ["00" * 15, "AAAAAAAAAAAAAAAAAAAA", "whsec_"])
def test_bytes_that_are_too_few_for_a_key_are_none(secret: str) -> None:
    source = replace(FORMS, secrets=(Secret(secret),))
    for key in (b"", bytes(15)):
        mac = hmac.new(key, b"{}", hashlib.sha256).hexdigest()
        refused(source, WebhookDelivery("https://here", {"x-signature": mac}, b"{}"))


def test_an_encoding_that_is_named_is_the_only_one() -> None:
    for encoding, signature in (
        ("base64", compute_mac("{}").hex()),
        ("hex", b64encode(compute_mac("{}")).decode()),
    ):
        delivery = WebhookDelivery("https://here", {"x-signature": signature}, b"{}")
        assert verify(FORMS, delivery, now=NOW)
        refused(replace(FORMS, encoding=encoding), delivery)


@pytest.mark.parametrize(
    ("secret", "given", "is_right"),
    [
        ("ada:pass-of-ada", "ada:pass-of-ada", True),
        ("ada:pass-of-ada", "eve:pass-of-ada", False),
        ("pass-of-all", "anyone:pass-of-all", True),
        ("pass-of-all", "pass-of-all:", False),
        ("ada:päss:wort", "ada:päss:wort", True),
    ],
)
def test_basic_authentication_is_user_and_password_or_only_the_password(
    secret: str, given: str, is_right: bool
) -> None:
    source = replace(DESK, scheme="basic", secrets=(Secret(secret),))
    for charset in ("utf-8", "latin-1"):
        header = f"Basic {b64encode(given.encode(charset)).decode()}"
        delivery = WebhookDelivery("https://here", {"authorization": header}, b"{}")
        if is_right:
            assert verify(source, delivery, now=NOW)
        else:
            refused(source, delivery)
    refused(source, delivery._replace(headers={"authorization": "Basic \xff"}))


SHARED = "s3cret/of the?desk"


@pytest.mark.parametrize(
    ("place", "url", "headers", "body"),
    [
        ("header:X-Api-Key", "https://here/webhooks/desk", {"x-api-key": SHARED}, b"{}"),
        ("query:k", "https://here/webhooks/desk?a=1&k=s3cret%2Fof+the%3Fdesk", {}, b"{}"),
        ("path", "https://here/webhooks/desk/created/s3cret%2Fof%20the%3Fdesk", {}, b"{}"),
        ("body:auth.token", "https://here/webhooks/desk", {}, b'{"auth": {"token": "s3cret/of the?desk"}}'),
    ],
)
def test_a_secret_may_stand_in_a_header_the_query_the_path_or_the_body(
    place: str, url: str, headers: dict[str, str], body: bytes
) -> None:
    source = replace(
        DESK, scheme="secret", secret_in=place, secrets=(Secret("another-secret"), Secret(SHARED))
    )
    delivery = WebhookDelivery(url, headers, body)
    assert verify(source, delivery, now=NOW)
    wrong = WebhookDelivery(
        url.replace("s3cret", "S3cret"),
        dict.fromkeys(headers, "S3cret"),
        body.replace(b"s3cret", b"S3cret"),
    )
    named_otherwise = WebhookDelivery(
        url.replace("&k=", "&j=").replace("/created/s3cret", "?created=s3cret"),
        {f"{name}-too": value for name, value in headers.items()},
        body.replace(b"token", b"other"),
    )
    for refused_one in (wrong, named_otherwise, WebhookDelivery("https://here/", {}, b"[" * 9000)):
        assert SHARED not in refused(source, refused_one)


@pytest.mark.parametrize("written", ["ab+cd/ef12==", "ab%2Bcd%2Fef12%3D%3D", "ab%2bcd/ef12=="])
def test_a_secret_in_base64_may_stand_in_an_address_as_people_write_it(written: str) -> None:
    source = replace(DESK, scheme="secret", secret_in="query:k", secrets=(Secret("ab+cd/ef12=="),))
    assert verify(source, WebhookDelivery(f"https://here/webhooks/desk?k={written}&a=b", {}, b"{}"), now=NOW)
    refused(source, WebhookDelivery("https://here/webhooks/desk?k=ab%20cd/ef12==", {}, b"{}"))


@pytest.mark.parametrize("charset", ["latin-1", "utf-8"])
def test_a_secret_with_umlauts_is_taken_in_a_header_of_either_encoding(charset: str) -> None:
    secret = "schlüssel-für-den-schalter"
    source = replace(DESK, scheme="secret", secret_in="header:X-Api-Key", secrets=(Secret(secret),))
    header = secret.encode(charset).decode("latin-1")  # as the server reads every header
    assert verify(
        source, WebhookDelivery("https://here/webhooks/desk", {"x-api-key": header}, b"{}"), now=NOW
    )


FIELDS = st.dictionaries(
    st.text("abcXYZ09_-", min_size=1, max_size=6), st.text(max_size=12), min_size=1, max_size=6
)


@pytest.mark.parametrize("age", [TOLERANCE, 30_000.0])
def test_a_sender_that_repeats_under_its_first_time_may_be_as_late_as_the_settings_say(age: float) -> None:
    source = replace(FORMS, timestamp_header="X-Time", max_age=age)
    headers = {"x-time": str(NOW), "x-signature": compute_mac(f"{NOW}.{{}}").hex()}
    delivery = WebhookDelivery("https://here", headers, b"{}")
    assert verify(source, delivery, now=NOW + age)
    assert verify(source, delivery, now=NOW - TOLERANCE)
    for now in (NOW + age + 1, NOW - TOLERANCE - 1):
        assert "clock" in refused(source, delivery, now=now)


@given(fields=FIELDS, random=st.randoms())
def test_a_form_is_signed_by_its_fields_in_whatever_order_and_spelling_they_come(
    fields: dict[str, str], random: Random
) -> None:
    source = replace(FORMS, signed="{form}")
    text = "".join(f"{name}{fields[name]}" for name in sorted(fields))
    names = random.sample(sorted(fields), len(fields))
    spelled = urlencode({name: fields[name] for name in names}, quote_via=random.choice([quote, quote_plus]))
    right = WebhookDelivery("https://here", {"x-signature": compute_mac(text).hex()}, spelled.encode())
    assert verify(source, right, now=NOW)
    refused(source, right._replace(body=spelled.encode() + b"x"))
    refused(source, right._replace(body=b"more=1&" + spelled.encode()))


def test_a_field_that_comes_several_times_is_signed_once_per_value_in_order() -> None:
    source = replace(FORMS, signed="{form}")
    headers = {"x-signature": compute_mac("ToaTozToz9Urlx").hex()}
    right = WebhookDelivery("https://here", headers, b"Toz9=&Url=x&To=z&To=a&Toz9=")
    assert verify(source, right, now=NOW)
    assert verify(source, right._replace(body=b"To=a&Toz9=&To=z&To=a&Url=x"), now=NOW)
    refused(source, right._replace(body=b"To=b&Toz9=&To=z&To=a&Url=x"))


JSON = b'{"estate": 501}'
SHA256 = hashlib.sha256(JSON)


def test_of_a_body_that_is_no_form_its_hash_in_the_address_is_signed() -> None:
    source = replace(FORMS, signed="{url}{form}", digest_in="query:bodySHA256")
    url = f"https://here/a?bodySHA256={SHA256.hexdigest()}"
    right = WebhookDelivery(url, {"x-signature": compute_mac(url).hex()}, JSON)
    assert verify(source, right, now=NOW)
    for body in (JSON.replace(b"501", b"502"), b"estate=502", b""):
        assert "another hash" in refused(source, right._replace(body=body))
    refused(source, right._replace(url=url.replace("/a", "/b")))
    plain = WebhookDelivery("https://here/a", {"x-signature": compute_mac("https://here/a").hex()}, JSON)
    assert "is not a form" in refused(source, plain)
    refused(source, plain._replace(body=b"estate=502"))
    form = {"x-signature": compute_mac("https://here/aestate501").hex()}
    assert verify(source, plain._replace(headers=form, body=b"estate=501"), now=NOW)


@pytest.mark.parametrize(
    ("digest", "is_right"),
    [
        (SHA256.hexdigest(), True),
        (SHA256.hexdigest().upper(), True),
        (f"SHA-256={b64encode(SHA256.digest()).decode()}", True),
        (f"sha-256=:{b64encode(SHA256.digest()).decode()}:", True),
        (f"md5=:AAAA:, sha-512=:{b64encode(hashlib.sha512(JSON).digest()).decode()}:", True),
        (f"sha-512=:{b64encode(SHA256.digest()).decode()}:", False),
        (f"sha=:{b64encode(hashlib.sha1(JSON).digest()).decode()}:", False),
        (hashlib.sha256(b"{}").hexdigest(), False),
        ("x", False),
        ("", False),
    ],
)
def test_a_hash_of_the_body_is_read_as_headers_have_it(digest: str, is_right: bool) -> None:
    source = replace(FORMS, signed="digest: {digest}", digest_in="header:Digest")
    headers = {"x-signature": compute_mac(f"digest: {digest}").hex(), "digest": digest}
    delivery = WebhookDelivery("https://here", headers, JSON)
    if is_right:
        assert verify(source, delivery, now=NOW)
        refused(source, delivery._replace(headers={**headers, "digest": f"{digest} "[1:]}))
    else:
        refused(source, delivery)


def test_a_signature_may_begin_as_what_stands_before_it() -> None:
    mac = compute_mac("").hex()
    source = replace(FORMS, prefix=mac[:2], signed="{body}")
    assert verify(source, WebhookDelivery("https://here", {"x-signature": mac[:2] + mac}, b""), now=NOW)


@pytest.mark.parametrize("digest", [f"a{'  ' * 60_000}b", "aa," * 20_000], ids=["blanks", "many"])
def test_a_hash_of_a_stranger_takes_no_time(digest: str) -> None:
    source = replace(FORMS, signed="digest: {digest}", digest_in="header:Digest")
    delivery = WebhookDelivery("https://here", {"x-signature": "00", "digest": digest}, bytes(2**20))
    began = time.process_time()
    assert "another hash" in refused(source, delivery)
    assert time.process_time() - began < 1  # it took 8 seconds, while which nobody else was served


def test_an_http_signature_is_a_field_in_quotes_beside_a_date() -> None:
    source = replace(
        FORMS,
        header="Signature",
        signature_field="signature",
        timestamp_header="Date",
        signed="(request-target): post /a\ndate: {timestamp}\ndigest: {digest}",
        digest_in="header:Digest",
    )
    date, digest = "Thu, 25 Feb 2021 15:02:10 GMT", f"SHA-256={b64encode(SHA256.digest()).decode()}"
    mac = b64encode(compute_mac(f"(request-target): post /a\ndate: {date}\ndigest: {digest}")).decode()
    fields = f'keyId="k",algorithm="hmac-sha256",headers="(request-target) date digest",signature="{mac}"'
    right = WebhookDelivery("https://here/a", {"signature": fields, "date": date, "digest": digest}, JSON)
    assert verify(source, right, now=NOW)
    assert "clock" in refused(source, right, now=NOW + 301)
    refused(source, right._replace(body=b"{}"))
    later = {**right.headers, "date": date.replace(":10", ":11")}
    refused(source, right._replace(headers=later))
    for text in ("soon GMT", "Thu, 99 Feb 2021 15:02:10 GMT", f"Thu, 25 Feb {10**20} 15:02:10 GMT", " GMT"):
        assert "in seconds" in refused(source, right._replace(headers={**right.headers, "date": text}))


RFC_9421 = Source(  # appendix B.2
    name="forms",
    account="acme",
    scheme="hmac",
    rules=(RULE,),
    secrets=(
        Secret("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="),
    ),
    header="Signature",
    signature_field="sig-b25",
    timestamp_field="created",
    signed='"date": {header:Date}\n"@authority": example.com\n"content-type": {header:Content-Type}\n'
    '"@signature-params": {params}',
)
RFC_9421_HEADERS = {
    "date": "Tue, 20 Apr 2021 02:07:55 GMT",
    "content-type": "application/json",
    "content-length": "18",
    "signature": "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
    "signature-input": 'sig-b25=("date" "@authority" "content-type");created=1618884473'
    ';keyid="test-shared-secret"',
}
RFC_9421_TIME = 1_618_884_473


def test_a_published_message_signature_is_of_what_the_settings_say_and_of_its_time() -> None:
    right = WebhookDelivery("https://example.com/foo", RFC_9421_HEADERS, b'{"hello": "world"}')
    assert verify(RFC_9421, right, now=RFC_9421_TIME)
    assert "clock" in refused(RFC_9421, right, now=RFC_9421_TIME + 301)
    given = RFC_9421_HEADERS["signature-input"]
    for written in (
        given.replace("1618884473", "1618884474"),
        given.replace(' "content-type"', ""),
        given.replace("sig-b25", "sig"),
        given.replace(";keyid", "; keyid"),
        "",
    ):
        refused(
            RFC_9421, right._replace(headers={**right.headers, "signature-input": written}), now=RFC_9421_TIME
        )
    two = {
        "signature": f"sig=:AAAA:, {RFC_9421_HEADERS['signature']}",
        "signature-input": f'sig=("a, sig-b25=(");created=1, {given}',
    }
    assert verify(RFC_9421, right._replace(headers={**right.headers, **two}), now=RFC_9421_TIME)


def test_a_published_message_signature_is_checked_by_the_public_key() -> None:
    source = replace(
        RFC_9421,
        scheme="public-key",
        secrets=(),
        public_keys=(NamedText("MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs="),),
        signature_field="sig-b26",
        signed='"date": {header:Date}\n"@method": {method}\n"@path": /foo\n"@authority": example.com\n'
        '"content-type": {header:Content-Type}\n"content-length": {header:Content-Length}\n'
        '"@signature-params": {params}',
    )
    headers = {
        **RFC_9421_HEADERS,
        "signature": "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u"
        "02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
        "signature-input": 'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"',
    }
    right = WebhookDelivery("https://example.com/foo", headers, b'{"hello": "world"}')
    assert verify(source, right, now=RFC_9421_TIME)
    refused(source, right._replace(method="GET"), now=RFC_9421_TIME)


@pytest.mark.parametrize(
    ("known", "signed"),
    [
        ("https://here/a?b=1:2", "https://here:443/a?b=1:2"),
        ("https://here:8443/a", "https://here/a"),
        ("http://here", "http://here:80"),
        ("https://[2001:db8::1]:8443/a", "https://[2001:db8::1]/a"),
        ("https://[2001:db8::1]/a", "https://[2001:db8::1]:443/a"),
    ],
)
def test_an_address_is_signed_with_its_port_or_without_it(known: str, signed: str) -> None:
    source = replace(FORMS, signed="{url}{form}")
    for address in (known, signed):
        headers = {"x-signature": compute_mac(f"{address}c1").hex()}
        assert verify(source, WebhookDelivery(known, headers, b"c=1"), now=NOW)
    headers = {"x-signature": compute_mac(f"{known.replace('here', 'there').replace('db8', 'db9')}c1").hex()}
    refused(source, WebhookDelivery(known, headers, b"c=1"))


@pytest.mark.parametrize("body", [b"{}", b"<a/>", b"--b0\r\nA: b\r\n\r\n--b0--", b"From: a=b\nTo: c\n\ntext"])
def test_what_rules_do_not_read_as_a_form_is_not_taken_for_one(body: bytes) -> None:
    source, fields = replace(FORMS, signed="{url}{form}"), [("", "")]
    for name, value in (*fields, ("From: a", "b\nTo: c\n\ntext")):
        mac = compute_mac(f"https://here{name}{value}").hex()
        delivery = WebhookDelivery("https://here", {"x-signature": mac}, body)
        assert "is not a form" in refused(source, delivery)


def test_what_a_signature_covers_beside_the_body_must_be_there() -> None:
    source = replace(FORMS, signed="{header:X-Id}.{query:a}.{body:nested.id}.{body}")
    body = b'{"nested": {"id": 7}}'
    mac = compute_mac(f"m1.b c.7.{body.decode()}").hex()
    right = WebhookDelivery("https://here/?a=b%20c", {"x-signature": mac, "x-id": "m1"}, body)
    assert verify(source, right, now=NOW)
    assert "header:X-Id" in refused(source, right._replace(headers={"x-signature": mac}))
    assert "query:a" in refused(source, right._replace(url="https://here/"))
    assert "body:nested.id" in refused(source, right._replace(body=b"{}"))
    assert "body:nested.id" in refused(source, right._replace(body=b"\xff"))


@pytest.mark.parametrize(
    ("url", "signed"),
    [
        ("https://hooks.agency.example/in/hub", "https://hooks.agency.example/in/hub/created/a%2Fb?c=1"),
        (
            "https://hooks.agency.example/in/created/a%2Fb",
            "https://hooks.agency.example/in/created/a%2Fb?c=1",
        ),
    ],
)
def test_further_parts_of_the_address_are_behind_the_one_that_the_settings_name(
    url: str, signed: str
) -> None:
    source = replace(FORMS, signed="{url}{body}", url=url)
    mac = compute_mac(f"{signed}{{}}").hex()
    delivery = WebhookDelivery(
        "http://10.0.0.7/sub/webhooks/forms/created/a%2Fb?c=1", {"x-signature": mac}, b"{}", root="/sub"
    )
    assert verify(source, delivery, now=NOW)
    refused(source, delivery._replace(url=delivery.url.replace("created", "deleted")))
