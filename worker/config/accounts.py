"""Reads an account: its credentials, its limits, and whether they fit together."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from worker.config import checks
from worker.config.checks import Check, number, one_of, whole
from worker.config.secret import Secret
from worker.config.table import Table
from worker.config.values import RESERVED, Account
from worker.errors import InvalidSettings

SIGNATURE_LIFE: Final = 120  # seconds a signed request is valid for
LENGTHS: Final = {"token": 32, "secret": 64}
LIMITS: Final[Mapping[str, Check[Any]]] = {
    "window": number(0, 60),
    "max_batch": whole(1, 10_000),
    "max_actions": whole(1, 500),
    "max_ids": whole(1, 500),
    "rate": checks.POSITIVE,
    "burst": whole(1, 1000),
    "timeout": number(1, 120),
    "mode": one_of("write", "observe"),
    "on_modify_absent": one_of("fail", "create"),
    "modify_action": one_of("modify", "create"),
    "max_attempts": whole(1, 100),
    "give_up_after": number(60, 365 * checks.DAY),
    "doubt": number(SIGNATURE_LIFE, 3600),
    "backoff": checks.BACKOFF,
    "max_backlog": whole(1, 1_000_000_000),
    "retention_days": number(0.0001, 3650),
    "failed_retention_days": number(0.0001, 3650),
    "remember_days": number(0.0001, 3650),
    "max_deletes_per_hour": whole(0, 1_000_000),
}
DEFAULTS: Final[Mapping[str, Any]] = {
    each.name: each.default for each in fields(Account) if each.name in LIMITS and each.name != "doubt"
}


def account(
    name: str, table: Table, base: Mapping[str, Any], *, environ: Mapping[str, str], folder: Path
) -> Account:
    """One account, built on the defaults."""
    limits = {**base, **table.taken(LIMITS)}
    if url := table.take("api_url", checks.API):
        limits["api_url"] = encrypted(url, table)
    token, secret, claim = (
        credential(key, table, environ=environ, folder=folder) for key in ("token", "secret", "extendedclaim")
    )
    table.done()
    if name == RESERVED:
        table.findings.fault(
            table.path, "is the name of the lane for messages that name no known account; choose another"
        )
    sound(table, limits)
    limits.setdefault("doubt", SIGNATURE_LIFE + limits["timeout"])
    lengths(table, token, secret)
    return Account(
        name=table.named(name),
        token=token or Secret(""),
        secret=secret or Secret(""),
        extendedclaim=claim,
        **limits,
    )


def encrypted(url: str, table: Table) -> str:
    """The URL, with a warning if the token could be read on the way."""
    if not checks.is_private_way(url):
        table.warn("api_url", "is not encrypted: the token can be read on the way; use https://")
    return url


def credential(key: str, table: Table, *, environ: Mapping[str, str], folder: Path) -> Secret | None:
    """A secret that was tried once; None with a fault if it is missing, None without if it may be."""
    if key == "extendedclaim" and key not in table:
        table.take(key, checks.SECRET)
        return None
    return tried(key, table.need(key, checks.SECRET, ""), table, environ=environ, folder=folder)


def tried(
    key: str, reference: str, table: Table, *, environ: Mapping[str, str], folder: Path
) -> Secret | None:
    """The secret, if its value is there now."""
    secret = Secret(reference, environ=environ, folder=folder)
    try:
        secret.reveal()
    except InvalidSettings as error:
        if reference:
            table.fault(key, f"{error.faults[0].path} {error.faults[0].message}")
        return None
    if secret.literal:
        table.warn(key, "is written in the settings file; keep it in env:NAME or file:PATH instead")
    return secret


def lengths(table: Table, token: Secret | None, secret: Secret | None) -> None:
    """Warn about credentials of unusual length: swapping them is the common mistake."""
    if token is None or secret is None:
        return
    found = {"token": len(token.reveal()), "secret": len(secret.reveal())}
    if (found["token"], found["secret"]) == (LENGTHS["secret"], LENGTHS["token"]):
        table.warn("token", "looks swapped with the secret: a token has 32 characters, a secret 64")
        return
    for key, expected in LENGTHS.items():
        if found[key] != expected:
            table.warn(key, f"has {found[key]} characters; onOffice's have {expected}")


def sound(table: Table, limits: Mapping[str, Any]) -> None:
    """Name limits that contradict each other, where they were set: one of [defaults] is not told again for every account."""
    least = SIGNATURE_LIFE + limits["timeout"]
    doubt, patience = limits.get("doubt", least), limits["give_up_after"]
    if doubt < least and ("doubt" in table or "timeout" in table):
        table.fault(
            "doubt",
            f"expected at least {least:g}, the signature's {SIGNATURE_LIFE} s + timeout (rule R14), got {doubt:g}",
        )
    if patience < doubt and ("doubt" in table or "give_up_after" in table):
        table.fault(
            "give_up_after",
            f"expected at least doubt ({doubt:g}), or relations are given up unread, got {patience:g}",
        )
