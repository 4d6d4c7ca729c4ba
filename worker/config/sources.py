"""Reads a webhook source: its scheme and secrets, whose account it is, and its rules."""

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from worker.config import checks
from worker.config.accounts import tried
from worker.config.checks import TEXT, Check, one_of, quoted
from worker.config.secret import Secret
from worker.config.table import Table
from worker.config.values import Account, Rule, Scheme, Source, nearest

HEADER: Final = checks.matching("the name of an HTTP header", r"[A-Za-z0-9-]+")
FIELD: Final = checks.matching("the name of a field in the header of the signature", r"[A-Za-z0-9_-]+")
SCHEMES: Final[tuple[Scheme, ...]] = ("standard-webhooks", "hmac", "onoffice", "bearer")
HMAC: Final[Mapping[str, Check[Any]]] = {
    "header": HEADER,
    "algorithm": one_of("sha256", "sha512", "sha1"),
    "encoding": one_of("hex", "base64"),
    "prefix": TEXT,
    "timestamp_header": HEADER,
    "timestamp_field": FIELD,
    "signature_field": FIELD,
    "signed": Check(
        "a text with {body} and any of {timestamp}, {method}, {url}",
        lambda value: value if is_template(value) else None,
    ),
}
NEEDED: Final = ("action", "relationtype", "parentid", "childid")
EXPRESSION: Final = Check("a JMESPath expression as text", TEXT.accept)
EXPRESSIONS: Final = dict.fromkeys(("when", "occurred_at", "relationinfo", "event_id"), EXPRESSION)


def source(
    name: str, table: Table, accounts: Mapping[str, Account], *, environ: Mapping[str, str], folder: Path
) -> Source:
    """One webhook source."""
    scheme: Scheme = table.need("scheme", one_of(*SCHEMES), "bearer")
    secrets = [
        tried("secret", each, table, environ=environ, folder=folder)
        for each in table.need("secret", checks.SECRETS, ())
    ]
    signing = hmac(table, scheme)
    address = table.take("url", checks.url("https", "http")) or ""
    whose = belonging(table, accounts)
    rules = tuple(rule(row) for row in table.rows("rules"))
    if not rules:
        table.fault("rules", f"is missing; add a [[{table.path}.rules]] table")
    table.done()
    kept = tuple(secret for secret in secrets if secret)
    if scheme == "standard-webhooks":
        decodable(table, kept)
    return Source(
        name=table.named(name), scheme=scheme, secrets=kept, rules=rules, url=address, **signing, **whose
    )


def hmac(table: Table, scheme: Scheme) -> dict[str, Any]:
    """How a signature of the plain HMAC scheme is written; other schemes fix that themselves."""
    values = table.taken(HMAC)
    if scheme == "hmac" and "header" not in table:
        table.fault("header", "is missing; expected the name of the header that carries the signature")
    if "timestamp_field" in table and "signature_field" not in table:
        table.fault(
            "signature_field", "is missing; expected the field of the header that holds the signature"
        )
    if "{timestamp}" in values.get("signed", "") and not values.keys() & {
        "timestamp_header",
        "timestamp_field",
    }:
        table.fault(
            "signed", "has a {timestamp}; expected timestamp_header or timestamp_field to say where it stands"
        )
    for key in HMAC if scheme != "hmac" else ():
        if key in table:
            table.fault(key, f'belongs to scheme "hmac"; scheme "{scheme}" has no use for it')
    return values


def is_template(value: object) -> bool:
    """Whether it says how the signed text is put together: with the body, and with nothing unknown."""
    if not isinstance(value, str) or "{body}" not in value:
        return False
    return not re.search(r"[{}]", re.sub(r"\{(body|timestamp|method|url)\}", "", value))


def belonging(table: Table, accounts: Mapping[str, Account]) -> dict[str, Any]:
    """Whose account: one fixed, or one found in the payload by `account_from`."""
    fixed, found = table.take("account", TEXT) or "", table.take("account_from", EXPRESSION) or ""
    group = table.table("accounts")
    mapped = {each: name for each, name in group.content.items() if known(group, each, name, accounts)}
    if ("account" in table) == ("account_from" in table):
        table.fault("account", "expected either account, or account_from with accounts")
    if ("account_from" in table) != ("accounts" in table):
        table.fault(
            "accounts", "belongs to account_from: each value it may find, and the account it stands for"
        )
    if fixed:
        known(table, "account", fixed, accounts)
    return {"account": fixed, "account_from": found, "accounts": MappingProxyType(mapped)}


def known(table: Table, key: str, name: object, accounts: Mapping[str, Account]) -> bool:
    """Whether there is such an account; a fault if not."""
    if isinstance(name, str) and name in accounts:
        return True
    table.fault(
        key, f"there is no account {quoted(name)}{nearest(name, accounts) if isinstance(name, str) else ''}"
    )
    return False


def decodable(table: Table, secrets: tuple[Secret, ...]) -> None:
    """A Standard Webhooks secret is base64, mostly after `whsec_`."""
    for secret in secrets:
        try:
            b64decode(secret.reveal().removeprefix("whsec_"), validate=True)
        except binascii.Error:
            table.fault("secret", "expected whsec_ and base64, as scheme standard-webhooks has it")


def rule(table: Table) -> Rule:
    """One mapping from payload to change."""
    needed = {key: table.need(key, EXPRESSION, "") for key in NEEDED}
    values = table.taken(EXPRESSIONS)
    table.done()
    return Rule(**needed, **values)
