"""Fuzzers of webhooks: any rule over any payload, and changed signed deliveries. None needs a server."""

import hashlib
import hmac
import random
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from producers.webhooks.mapping import build_changes, check_rules, read_payload
from producers.webhooks.signatures import WebhookDelivery
from producers.webhooks.verify import verify
from tests.torture.input_fuzz import is_refused
from tests.torture.mutate import encode, garble, mutate
from worker.config import Rule, Settings, Source
from worker.config.secret import NamedText, Secret

NOW: Final = 1_700_000_000
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the scheme's own test vector
PRIVATE_KEY: Final = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"fuzz").digest())
ADDRESS: Final = "https://hooks.example.test/webhooks/x"
HEADERS: Final = (
    "",
    " ",
    "v1,",
    "v1,x v1,y",
    ",",
    "0",
    "-1",
    "1" * 12,
    "9" * 5000,
    "nan",
    "Bearer",
    "bearer ",
    "\xff",
    "a" * 60_000,
)

EXPRESSIONS: Final = (
    *(
        "data.id",
        "data.ids",
        "ids[]",
        "@",
        "*",
        "type",
        "`1`",
        "'create'",
        "ids[::0]",
        "ids[9999999999999]",
        "contains(type, data.id)",
    ),
    *(
        "max_by(rows, &a)",
        "sort_by(rows, &a)",
        "sum(ids)",
        "ceil(sum(ids))",
        "to_number(type)",
        "floor(to_number(type))",
        "to_string(@)",
    ),
    *(
        "length(data)",
        "keys(data)",
        "join(',', ids)",
        "merge(data, data)",
        "map(&a, rows)",
        "rows[?a > b].a",
        "reverse(type)",
        "avg(ids)",
    ),
    *(
        "type || data.id",
        "[ids, ids][]",
        "{a: ids, b: data}",
        "not_null(x, type)",
        "starts_with(type, 'a')",
        "values(data)",
        "max(ids)",
    ),
    *(
        "root().ids",
        "outer()",
        "outer(`2`).ids",
        "outer(type)",
        "root()[].a",
        "[].b",
        "header('x-signature')",
        "header(data)",
        "query('a')",
        "path(`0`)",
        "parse_json(type)",
        "parse_json(to_string(@))",
    ),
)
"""Expressions that an operator may write, good and bad; some fail only on some payloads."""
BODIES: Final = (
    b"a=1&ids[]=3&data[id]=5&type=%7B%7D",
    b"<a><ids>1</ids><ids>2</ids></a>",
    '\ufeff{"type": "\\ud800", "ids": [1, 2], "data": {"id": 1}}'.encode(),
    b'--b0\r\nContent-Disposition: form-data; name="type"\r\n\r\nx\r\n--b0--\r\n',
)
PAYLOAD: Final = {
    "type": "x",
    "data": {"id": 501, "ids": [1, 2]},
    "ids": [9001, 9002],
    "rows": [{"a": 1, "b": 2}, {"a": 3}],
    "at": "2026-11-21T02:00:00Z",
}


def fuzz_rules(rng: random.Random) -> bool:
    """Map a payload by random rules."""
    names = (
        "action",
        "relationtype",
        "parentid",
        "childid",
        "when",
        "occurred_at",
        "relationinfo",
        "event_id",
    )
    usual = {
        "action": "'create'",
        "relationtype": "'estate:address:buyer'",
        "parentid": "data.id",
        "childid": "ids",
    }
    chosen = usual | {name: rng.choice(EXPRESSIONS) for name in rng.sample(names, rng.choice((0, 1, 2)))}
    each = tuple(rng.choices(EXPRESSIONS, k=rng.choice((0, 0, 1, 2, 3))))
    source = _source("bearer", rng, rules=(Rule(**chosen, each=each),))
    body = rng.choice((encode(mutate(PAYLOAD, rng), rng), *BODIES))
    if rng.random() < 0.3:
        body = garble(body, rng)
    delivery = WebhookDelivery(
        f"{ADDRESS}?{urlencode({'estateId': '4.629', 'a': rng.choice(('1', 'x'))})}", {}, body
    )
    if is_refused(lambda: check_rules(Settings(sources={"x": source}))):
        return False
    return not is_refused(
        lambda: [
            msgspec.json.encode(change)
            for change in build_changes(source, read_payload(source, delivery), "message", delivery)
        ]
    )


def fuzz_signatures(rng: random.Random) -> bool:
    """Verify a signed delivery with one thing changed; only what was signed may pass."""
    source = _source(rng.choice(tuple(SIGNERS)), rng)
    body = encode(mutate(PAYLOAD, rng), random.Random(1))
    signed = SIGNERS[source.scheme](body, rng)
    if is_refused(lambda: verify(source, signed, now=NOW)):
        raise AssertionError(f"{source.scheme}: what its sender signed was refused")
    changed = _change_one_thing(signed, rng)
    if is_refused(lambda: verify(source, changed, now=NOW)):
        return False
    # Neither a bearer nor onOffice signs the body, and no scheme but onOffice's the address.
    if source.scheme in ("standard-webhooks", "hmac", "public-key", "jwt") and changed.body != signed.body:
        raise AssertionError(f"{source.scheme}: a body that nobody signed was accepted")
    return True


def _source(scheme: Any, rng: random.Random, rules: tuple[Rule, ...] = ()) -> Source:
    is_signed = scheme in ("hmac", "public-key")
    headers: dict[str, Any] = (
        {"header": "X-Signature", "timestamp_header": "X-Timestamp"} if is_signed else {}
    )
    account: dict[str, Any] = rng.choice(
        ({"account": "acme"}, {"account_from": rng.choice(EXPRESSIONS), "accounts": {"x": "acme"}})
    )
    place: dict[str, Any] = {"secret_in": "path"} if scheme == "secret" else {}
    if scheme == "public-key":
        place = {"public_keys": (NamedText(PRIVATE_KEY.public_key().public_bytes_raw().hex()),)}
    else:
        place["secrets"] = (Secret(SECRET),)
    if scheme == "jwt":
        place["claims"] = {"payload_hash": "{body_sha256}"}
    return Source(name="x", scheme=scheme, rules=rules, **headers, **account, **place)


def _change_one_thing(delivery: WebhookDelivery, rng: random.Random) -> WebhookDelivery:
    headers = dict(delivery.headers)
    if headers and rng.random() < 0.6:
        name = rng.choice(sorted(headers))
        value = rng.choice(
            (
                garble(headers[name].encode("latin-1", "replace"), rng).decode("latin-1"),
                rng.choice(HEADERS),
            )
        )
        headers[name] = value[:60_000]
    url, body = delivery.url, delivery.body
    if rng.random() < 0.5:
        body = garble(body, rng)
    if rng.random() < 0.4:
        url = ADDRESS + "?" + garble(url.partition("?")[2].encode(), rng).decode("latin-1")[:60_000]
    return WebhookDelivery(url, headers, body)


def _mac(content: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def _sign_standard(body: bytes, _: random.Random) -> WebhookDelivery:
    body = body.decode("utf-8", "replace").encode()
    mac = hmac.new(
        b64decode(SECRET.removeprefix("whsec_")), f"m1.{NOW}.".encode() + body, hashlib.sha256
    ).digest()
    return WebhookDelivery(
        ADDRESS,
        {
            "webhook-id": "m1",
            "webhook-timestamp": str(NOW),
            "webhook-signature": f"v1,{b64encode(mac).decode()}",
        },
        body,
    )


def _sign_hmac(body: bytes, _: random.Random) -> WebhookDelivery:
    return WebhookDelivery(
        ADDRESS, {"x-signature": _mac(f"{NOW}.".encode() + body), "x-timestamp": str(NOW)}, body
    )


def _sign_by_key(body: bytes, _: random.Random) -> WebhookDelivery:
    signature = b64encode(PRIVATE_KEY.sign(f"{NOW}.".encode() + body)).decode()
    return WebhookDelivery(ADDRESS, {"x-signature": signature, "x-timestamp": str(NOW)}, body)


def _sign_token(body: bytes, _: random.Random) -> WebhookDelivery:
    claims = {"iat": NOW, "payload_hash": hashlib.sha256(body).hexdigest()}
    return WebhookDelivery(ADDRESS, {"authorization": jwt.encode(claims, SECRET, "HS256")}, body)


def _sign_bearer(body: bytes, _: random.Random) -> WebhookDelivery:
    return WebhookDelivery(ADDRESS, {"authorization": f"Bearer {SECRET}"}, body)


def _sign_basic(body: bytes, _: random.Random) -> WebhookDelivery:
    token = b64encode(f"ada:{SECRET}".encode()).decode()
    return WebhookDelivery(ADDRESS, {"authorization": f"Basic {token}"}, body)


def _sign_by_path(body: bytes, _: random.Random) -> WebhookDelivery:
    return WebhookDelivery(f"{ADDRESS}/new/{SECRET}", {}, body)


def _sign_onoffice(_: bytes, rng: random.Random) -> WebhookDelivery:
    fields = {"estateId": rng.choice(("4.629", "1" * 9000, "x")), "timestamp": str(NOW), "apiClaim": "ü+/=="}
    query = urlencode(sorted(fields.items()))
    return WebhookDelivery(f"{ADDRESS}?{query}&signature={_mac(f'{ADDRESS}?{query}'.encode())}", {}, b"")


SIGNERS: Final[Mapping[str, Callable[[bytes, random.Random], WebhookDelivery]]] = {
    "standard-webhooks": _sign_standard,
    "hmac": _sign_hmac,
    "public-key": _sign_by_key,
    "jwt": _sign_token,
    "bearer": _sign_bearer,
    "basic": _sign_basic,
    "secret": _sign_by_path,
    "onoffice": _sign_onoffice,
}
