"""Webhooks tried by dice: any rule over any payload, and what a sender signed with one thing changed in it. Nothing here needs a server."""

import hashlib
import hmac
import random
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from producers.webhooks.mapping import build_changes, check_rules, read_payload
from producers.webhooks.verify import Delivery, verify
from tests.torture.input_fuzz import refused
from tests.torture.mutate import garbled, twisted, written
from worker.config import Rule, Settings, Source
from worker.config.secret import Secret

NOW: Final = 1_700_000_000
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 of the scheme's own test vector
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
)
"""What an operator may have written, good and bad; some fail only on some payloads."""
PAYLOAD: Final = {
    "type": "x",
    "data": {"id": 501, "ids": [1, 2]},
    "ids": [9001, 9002],
    "rows": [{"a": 1, "b": 2}, {"a": 3}],
    "at": "2026-11-21T02:00:00Z",
}


def rules(dice: random.Random) -> bool:
    """Any rule over any payload."""
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
    chosen = usual | {name: dice.choice(EXPRESSIONS) for name in dice.sample(names, dice.choice((0, 1, 2)))}
    source = _source("bearer", dice, rules=(Rule(**chosen),))
    body = written(twisted(PAYLOAD, dice), dice)
    if dice.random() < 0.3:
        body = garbled(body, dice)
    delivery = Delivery(
        f"{ADDRESS}?{urlencode({'estateId': '4.629', 'a': dice.choice(('1', 'x'))})}", {}, body
    )
    if refused(lambda: check_rules(Settings(sources={"x": source}))):
        return False
    return not refused(
        lambda: [
            msgspec.json.encode(each)
            for each in build_changes(source, read_payload(source, delivery), "message")
        ]
    )


def signatures(dice: random.Random) -> bool:
    """A delivery as its sender signed it, with one thing changed; only what was signed passes."""
    source = _source(dice.choice(("standard-webhooks", "hmac", "onoffice", "bearer")), dice)
    body = written(twisted(PAYLOAD, dice), random.Random(1))
    signed = SIGNED[source.scheme](body, dice)
    if refused(lambda: verify(source, signed, now=NOW)):
        raise AssertionError(f"{source.scheme}: what its sender signed was refused")
    changed = _changed(signed, dice)
    if refused(lambda: verify(source, changed, now=NOW)):
        return False
    # Neither a bearer nor onOffice signs the body, and no scheme but onOffice's the address.
    if source.scheme in ("standard-webhooks", "hmac") and changed.body != signed.body:
        raise AssertionError(f"{source.scheme}: a body that nobody signed was believed")
    return True


def _source(scheme: Any, dice: random.Random, rules: tuple[Rule, ...] = ()) -> Source:
    more: dict[str, Any] = (
        {"header": "X-Signature", "timestamp_header": "X-Timestamp"} if scheme == "hmac" else {}
    )
    whose: dict[str, Any] = dice.choice(
        ({"account": "acme"}, {"account_from": dice.choice(EXPRESSIONS), "accounts": {"x": "acme"}})
    )
    return Source(name="x", scheme=scheme, secrets=(Secret(SECRET),), rules=rules, **more, **whose)


def _changed(delivery: Delivery, dice: random.Random) -> Delivery:
    headers = dict(delivery.headers)
    if headers and dice.random() < 0.6:
        name = dice.choice(sorted(headers))
        value = dice.choice(
            (
                garbled(headers[name].encode("latin-1", "replace"), dice).decode("latin-1"),
                dice.choice(HEADERS),
            )
        )
        headers[name] = value[:60_000]
    url, body = delivery.url, delivery.body
    if dice.random() < 0.5:
        body = garbled(body, dice)
    if dice.random() < 0.4:
        url = ADDRESS + "?" + garbled(url.partition("?")[2].encode(), dice).decode("latin-1")[:60_000]
    return Delivery(url, headers, body)


def _mac(content: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def _by_standard(body: bytes, _: random.Random) -> Delivery:
    body = body.decode("utf-8", "replace").encode()
    mac = hmac.new(
        b64decode(SECRET.removeprefix("whsec_")), f"m1.{NOW}.".encode() + body, hashlib.sha256
    ).digest()
    return Delivery(
        ADDRESS,
        {
            "webhook-id": "m1",
            "webhook-timestamp": str(NOW),
            "webhook-signature": f"v1,{b64encode(mac).decode()}",
        },
        body,
    )


def _by_hmac(body: bytes, _: random.Random) -> Delivery:
    return Delivery(ADDRESS, {"x-signature": _mac(f"{NOW}.".encode() + body), "x-timestamp": str(NOW)}, body)


def _by_bearer(body: bytes, _: random.Random) -> Delivery:
    return Delivery(ADDRESS, {"authorization": f"Bearer {SECRET}"}, body)


def _by_onoffice(_: bytes, dice: random.Random) -> Delivery:
    fields = {"estateId": dice.choice(("4.629", "1" * 9000, "x")), "timestamp": str(NOW), "apiClaim": "ü+/=="}
    query = urlencode(sorted(fields.items()))
    return Delivery(f"{ADDRESS}?{query}&signature={_mac(f'{ADDRESS}?{query}'.encode())}", {}, b"")


SIGNED: Final[Mapping[str, Callable[[bytes, random.Random], Delivery]]] = {
    "standard-webhooks": _by_standard,
    "hmac": _by_hmac,
    "bearer": _by_bearer,
    "onoffice": _by_onoffice,
}
