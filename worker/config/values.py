"""The settings as frozen values. `reader` makes them; everyone else only reads them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from worker.config.secret import Secret
from worker.errors import NotFound

API_URL: Final = "https://api.onoffice.de/api/stable/api.php"
REDIS_URL: Final = "redis://127.0.0.1:6379/0"

Order = Literal["create_first", "delete_first", "free"]
Permission = Literal["allow", "warn", "deny"]
Right = Literal["send", "read", "replay", "admin"]
RESERVED: Final = "unrouted"  # the lane of messages that name no account; the store calls it `ports.UNROUTED`
Scheme = Literal["standard-webhooks", "hmac", "onoffice", "bearer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One onOffice API user: its credentials and the limits of its lane. Durations in seconds."""

    name: str
    token: Secret
    secret: Secret
    api_url: str = API_URL
    extendedclaim: Secret | None = None
    window: float = 1.0
    max_batch: int = 1000
    max_actions: int = 50
    max_ids: int = 100
    rate: float = 4.0
    burst: int = 8
    timeout: float = 30.0
    mode: Literal["write", "observe"] = "write"
    on_modify_absent: Literal["fail", "create"] = "fail"
    modify_action: Literal["modify", "create"] = "modify"
    max_attempts: int = 8
    give_up_after: float = 86_400.0
    doubt: float = 150.0
    backoff: tuple[float, float] = (1.0, 300.0)
    max_backlog: int = 1_000_000
    retention_days: float = 7
    failed_retention_days: float = 30
    remember_days: float = 4
    max_deletes_per_hour: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TypePolicy:
    """What an operator decided for a relation type; None leaves the catalogue's word."""

    order: Order | None = None
    create: Permission | None = None
    modify: Permission | None = None
    delete: Permission | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A bearer key of the HTTP interface: the hash of it, the accounts it is for, and what it may do."""

    name: str
    sha256: str
    accounts: tuple[str, ...]
    can: tuple[Right, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """JMESPath expressions that make one change of a payload; empty ones were not given."""

    action: str
    relationtype: str
    parentid: str
    childid: str
    when: str = ""
    occurred_at: str = ""
    relationinfo: str = ""
    event_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A webhook: how its senders prove themselves, whose account it is, and the rules that make changes of it.

    Either `account`, or `account_from` (JMESPath) with `accounts`. Several secrets are all valid, for rotation. `url` is the
    address its senders know, where a proxy hides it.
    """

    name: str
    scheme: Scheme
    secrets: tuple[Secret, ...]
    rules: tuple[Rule, ...]
    account: str = ""
    account_from: str = ""
    accounts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    header: str = ""
    algorithm: Literal["sha256", "sha512", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    timestamp_header: str = ""
    timestamp_field: str = ""
    signature_field: str = ""
    signed: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """Everything that can be set, checked; `warnings` is what works but should be looked at, `file` where it was read."""

    redis_url: str = REDIS_URL
    broker_url: str = REDIS_URL
    api_url: str = API_URL
    prefix: str = "relations"
    log: Literal["json", "console"] = "json"
    accounts: Mapping[str, Account] = field(default_factory=lambda: MappingProxyType({}))
    types: Mapping[str, TypePolicy] = field(default_factory=lambda: MappingProxyType({}))
    keys: Mapping[str, Key] = field(default_factory=lambda: MappingProxyType({}))
    sources: Mapping[str, Source] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[str, ...] = ()
    file: Path | None = None

    def account(self, name: str) -> Account:
        """The account of that name; raises NotFound with the nearest name there is."""
        if name not in self.accounts:
            raise NotFound(f'there is no account "{name}"{nearest(name, self.accounts)}')
        return self.accounts[name]

    def lane(self, name: str) -> str:
        """The same name, of an account or of the lane for messages that name none; raises NotFound."""
        return name if name == RESERVED else self.account(name).name

    def __repr__(self) -> str:
        shown = (f"{each.name}={shielded(getattr(self, each.name))!r}" for each in fields(self))
        return f"Settings({', '.join(shown)})"


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """`; did you mean "…"?` or nothing, to end a message with."""
    match = get_close_matches(name, known, n=1)
    return f'; did you mean "{match[0]}"?' if match else ""


def shielded(value: object) -> object:
    """The value, a URL without its user and password."""
    if not isinstance(value, str) or "://" not in value:
        return value
    return re.sub(r"(?i)(password=)[^&;#]*", r"\1***", re.sub(r"://.*@", "://***@", value))
