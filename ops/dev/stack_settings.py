"""The settings file of a stack, and the secrets in the variables that it names."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Final, Self

KEY_HASH: Final = re.compile(r"(^\[keys\.demo\]\nsha256 = )\"[0-9a-f]{64}\"", re.MULTILINE)
WEBHOOK: Final = """
[sources.immo]
account = {account}
scheme = "standard-webhooks"
secret = "env:DEMO_WEBHOOK_SECRET"

[[sources.immo.rules]]
when = "type == 'enquiry.created'"
action = "'create'"
relationtype = "'estate:address:interested'"
parentid = "data.estate_id"
childid = "data.person_ids"
occurred_at = "timestamp"

[[sources.immo.rules]]
when = "type == 'broker.changed'"
action = "'create'"
relationtype = "'estate:address:contactPerson'"
parentid = "data.estate_id"
childid = "data.now"
occurred_at = "timestamp"

[[sources.immo.rules]]
when = "type == 'broker.changed'"
action = "'delete'"
relationtype = "'estate:address:contactPerson'"
parentid = "data.estate_id"
childid = "data.before"
occurred_at = "timestamp"
"""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account's token and secret, of the lengths that onOffice's have; made up from its name."""

    token: str
    secret: str

    @classmethod
    def of(cls, account: str) -> Self:
        """Make up credentials from the name: the same for the same name, so that a run can be repeated."""
        return cls(_hex(f"token {account}", 16), _hex(f"secret {account}", 32))


def make_webhook_secret() -> str:
    """Return the secret of the webhooks' source, the same at each start."""
    return "whsec_" + b64encode(bytes.fromhex(_hex("webhook", 24))).decode()


def secret_variables(credentials: Mapping[str, Credentials], webhook_secret: str) -> dict[str, str]:
    """Return the environment variables that the settings file names."""
    variables = {"DEMO_WEBHOOK_SECRET": webhook_secret}
    for account, each in credentials.items():
        variables[_variable(account, "token")] = each.token
        variables[_variable(account, "secret")] = each.secret
    return variables


def update_settings(file: Path, accounts: Sequence[str], defaults: Mapping[str, Any], *, key: str) -> None:
    """Write the settings; in those of an earlier run, which somebody may have changed, only the key."""
    if file.exists():
        known = file.read_text("utf-8")
        file.write_text(KEY_HASH.sub(rf'\1"{hash_of(key)}"', known), "utf-8")
    else:
        file.write_text(format_settings(accounts, defaults, key=key), "utf-8")


def format_settings(accounts: Sequence[str], defaults: Mapping[str, Any], *, key: str) -> str:
    """Return the text of the settings; secrets in it are names of environment variables."""
    tables = [("defaults", dict(defaults))]
    for name in accounts:
        secrets = {what: f"env:{_variable(name, what)}" for what in ("token", "secret")}
        tables.append((f"accounts.{name}", secrets))
    access = {"sha256": hash_of(key), "accounts": list(accounts), "can": ["send", "read", "replay", "admin"]}
    tables.append(("keys.demo", access))
    webhook = WEBHOOK.format(account=json.dumps(accounts[0]))
    return "\n".join(_table(name, values) for name, values in tables) + webhook


def hash_of(key: str) -> str:
    """Return the hash of a key, as the settings have it."""
    return sha256(key.encode()).hexdigest()


def _table(name: str, values: Mapping[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


def _variable(account: str, what: str) -> str:
    return f"DEMO_{account}_{what}".upper().replace("-", "_")


def _hex(seed: str, size: int) -> str:
    return blake2b(seed.encode(), digest_size=size).hexdigest()
