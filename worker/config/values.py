"""The settings as frozen values. `loader` makes them, everyone else only reads them.

Every field is a key of its TOML table, except `name`, which stands in the table's header. Annotations say
what a key may be: its `Meta` is the range, and the words for it where the range does not say enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta

from worker.config.kinds import (
    DAY,
    PUBLIC_KEYS,
    SECRET,
    SECRETS,
    AnswerBody,
    ApiUrl,
    Backoff,
    ChallengeAnswer,
    Claims,
    Country,
    Days,
    Expression,
    Expressions,
    HeaderName,
    Maps,
    Networks,
    Patterns,
    PlaceBeside,
    Reason,
    SecretPlace,
    Text,
    private,
    url_of,
)
from worker.config.secret import NamedText, Secret
from worker.config.signature_format import SignatureFormat
from worker.config.table import nearest
from worker.config.urls import CLUSTER_SCHEMES, mask_url
from worker.contract import Override, explain_account_name
from worker.errors import InvalidSettings, NotFound

API_URL: Final = "https://api.onoffice.de/api/stable/api.php"
REDIS_SCHEMES: Final = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "unix")
REDIS_URL: Final = "redis://127.0.0.1:6379/0"
SIGNATURE_LIFE: Final = 120  # seconds a signed request is valid for
ACCEPTED: Final = 202  # the status of HTTP
ANSWERS: Final = (200, ACCEPTED, 204)  # statuses by which a sender may be told that its delivery was taken
LARGEST: Final = 1e15  # no setting comes near; it keeps infinity out

Right = Literal["send", "read", "replay", "admin"]
Scheme = Literal["standard-webhooks", "hmac", "public-key", "jwt", "onoffice", "bearer", "basic", "secret"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLimits:
    """How much an account may do, and how fast. Durations are seconds unless the name says days."""

    window: Annotated[float, Meta(ge=0, le=60)] = 1.0
    max_batch: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    max_actions: Annotated[int, Meta(ge=1, le=500)] = 50
    max_ids: Annotated[int, Meta(ge=1, le=500)] = 100
    rate: Annotated[float, Meta(gt=0, le=LARGEST, description="a positive number")] = 4.0
    burst: Annotated[int, Meta(ge=1, le=1000)] = 8
    in_flight: Annotated[int, Meta(ge=1, le=16)] = 4
    timeout: Annotated[float, Meta(ge=1, le=120)] = 30.0
    mode: Literal["write", "observe"] = "write"
    on_modify_absent: Literal["fail", "create"] = "fail"
    modify_action: Literal["modify", "create"] = "modify"
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 8
    give_up_after: Annotated[float, Meta(ge=60, le=365 * DAY)] = 86_400.0
    hold_for: Annotated[float, Meta(ge=0, le=365 * DAY)] = -1.0  # -1.0: an hour, or give_up_after if shorter
    park_for: Annotated[float, Meta(ge=0, le=365 * DAY)] = 7 * DAY
    look_up_memory: Annotated[float, Meta(ge=1, le=30 * DAY)] = 3_600.0
    country: Country = "DE"
    doubt: Annotated[float, Meta(ge=SIGNATURE_LIFE, le=3600)] = 0.0  # 0.0: 120 + timeout
    backoff: Backoff = (1.0, 300.0)
    max_backlog: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1_000_000
    # At least what one body may bring and more, or it could never be taken.
    max_backlog_bytes: Annotated[int, Meta(ge=2**25, le=2**50)] = 2**30
    retention_days: Days = 7
    failed_retention_days: Days = 30
    remember_days: Days = 4
    max_deletes_per_hour: Annotated[int, Meta(ge=0, le=1_000_000)] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "doubt", self.doubt or SIGNATURE_LIFE + self.timeout)
        if self.hold_for < 0:
            object.__setattr__(self, "hold_for", min(3_600.0, self.give_up_after))


@dataclass(frozen=True, slots=True, kw_only=True)
class Account(AccountLimits):
    """One onOffice API user: its credentials and its limits.

    `maps` turn values of its senders, such as the numbers of stages, into those that rules name.
    """

    explain_name = staticmethod(explain_account_name)

    name: str
    token: Annotated[Secret, SECRET]
    secret: Annotated[Secret, SECRET]
    api_url: ApiUrl = API_URL
    extendedclaim: Annotated[Secret | None, SECRET] = None
    maps: Maps = field(default_factory=dict)

    def find_claim(self) -> str:
        """Return the extendedclaim; empty without one, and while its file is not there."""
        try:
            return self.extendedclaim.reveal() if self.extendedclaim else ""
        except InvalidSettings:
            if self.extendedclaim and self.extendedclaim.file:
                return ""
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A bearer key of the HTTP interface: the hash of it, the accounts it is for, and what it may do."""

    name: str
    sha256: Annotated[
        str, private("the 64 hexadecimal digits that `relations keys new` prints", pattern=r"^[0-9a-f]{64}\Z")
    ]
    accounts: Annotated[tuple[str, ...], Meta(min_length=1, description="a list of names")]
    can: Annotated[
        tuple[Right, ...], Meta(min_length=1, description='a list of "send", "read", "replay", "admin"')
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """JMESPath expressions that make one change of a payload; empty ones were not given.

    With `each` they make one of every element that it finds: the first of its expressions looks into the
    payload, each further one into the elements of the one before.
    """

    action: Expression
    relationtype: Expression
    parentid: Expression
    childid: Expression
    when: Expression = ""
    occurred_at: Expression = ""
    relationinfo: Expression = ""
    allow_empty: Expression = ""
    event_id: Expression = ""
    each: Expressions = ()

    @property
    def expressions(self) -> tuple[str, ...]:
        """All of them that were given."""
        single = [getattr(self, item.name) for item in fields(self) if item.name != "each"]
        return (*self.each, *filter(None, single))


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRule:
    """A JMESPath expression by which a payload is nothing to do, and the reason that is noted then."""

    when: Expression
    because: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(SignatureFormat):
    """A webhook: how its senders prove themselves, its account, and the rules that make changes of payloads.

    It has either `account`, or `account_from` (JMESPath) with `accounts`. Several secrets are all valid, for
    rotation; so are public keys, which stand in place of secrets. A token must have the `claims`. `url` is
    the address its senders know, where a proxy hides it. One that is `gone` tells them so.
    The rules to `ignore` a payload come before all others. `answer` is the status of a delivery that was
    taken, `answer_body` its text in place of the jobs, and `answer_faults` the status of one that never will
    be, 0 for that of its fault. A challenge in `challenge_in` gets the `challenge_answer`.
    Deliveries are kept so many days (0: not at all), and bytes.
    `event` is what its senders name nowhere; `country` and `maps` are as those of an account, whose own maps
    come first. `owners` are the accounts that its changes may be for, as the loader finds them.
    One of onOffice's that `keeps_claim` writes the `apiClaim` of each call into the `extendedclaim` of its
    account, which must be a file.
    """

    name: str
    scheme: Scheme
    secrets: Annotated[tuple[Secret, ...], SECRETS] = field(default=(), metadata={"key": "secret"})
    public_keys: Annotated[tuple[NamedText, ...], PUBLIC_KEYS] = field(
        default=(), metadata={"key": "public_key"}
    )
    claims: Claims = field(default_factory=dict)
    secret_in: SecretPlace = ""
    ignore: tuple[IgnoreRule, ...] = ()
    rules: tuple[Rule, ...] = ()
    account: Text = ""
    account_from: Expression = ""
    accounts: Annotated[
        Mapping[str, str], Meta(description="a table of what account_from may find, and the accounts")
    ] = field(default_factory=dict)
    url: Annotated[str, url_of("https", "http")] = field(default="", repr=False)
    gone: Annotated[bool, Meta(description="true or false")] = False
    keeps_claim: Annotated[bool, Meta(description="true or false")] = False
    answer: Annotated[int, Meta(description="200, 202 or 204", extra={"accepts": ANSWERS.__contains__})] = 202
    answer_body: AnswerBody = None
    challenge_in: PlaceBeside = ""
    challenge_answer: ChallengeAnswer = ""
    answer_faults: Annotated[int, Meta(description="202", extra={"accepts": ACCEPTED.__eq__})] = 0
    delivery_days: Annotated[float, Meta(ge=0, le=3650)] = 7
    delivery_bytes: Annotated[int, Meta(ge=2**16, le=2**40)] = 2**24
    event: Text = ""
    country: Country = ""
    maps: Maps = field(default_factory=dict)
    owners: Mapping[str, Account] = field(default_factory=dict, repr=False, metadata={"key": None})

    @property
    def account_names(self) -> frozenset[str]:
        """The accounts that its changes may be for."""
        return frozenset(filter(None, (self.account, *self.accounts.values())))

    @property
    def signs_challenge(self) -> bool:
        """Whether the answer to a challenge has a signature of it."""
        return "{hmac" in self.challenge_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """The pages for operators: how a browser signs in, and how times and ids are shown.

    The first secret signs sessions, all are accepted, for rotation; without one each process makes its own,
    and its sessions end with it. Of `proxies`, addresses or networks, the `user_header` is believed: it names
    one of `users`, each with the key whose rights it has; `*` stands for everybody else.
    """

    enabled: Annotated[bool, Meta(description="true or false")] = True
    secrets: Annotated[tuple[Secret, ...], SECRETS] = field(default=(), metadata={"key": "secret"})
    session_hours: Annotated[float, Meta(ge=0.1, le=720)] = 12.0
    time_zone: Text = "UTC"
    mask_ids: Annotated[bool, Meta(description="true or false")] = False
    proxies: Annotated[
        tuple[Text, ...], Meta(description="a list of addresses or networks such as 10.0.0.0/24")
    ] = ()
    user_header: HeaderName = ""
    users: Annotated[Mapping[str, str], Meta(description="a table of users and the names of keys")] = field(
        default_factory=dict
    )

    @property
    def zone(self) -> tzinfo:
        """The time zone; raises KeyError, OSError or ValueError if this machine knows none of that name."""
        return UTC if self.time_zone == "UTC" else ZoneInfo(self.time_zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A URL that is told over HTTP when every change of a batch has ended, for some accounts and labels.

    A batch is whole when no change of it came for `quiet` seconds. All secrets sign, so that a receiver may
    know the old or the new one while they are rotated. The host may have a private address only in one of the
    `networks`. `link` is the address of the HTTP interface that messages link to.
    """

    name: str
    url: ApiUrl = field(repr=False)
    secrets: Annotated[tuple[Secret, ...], SECRETS] = field(metadata={"key": "secret"})
    accounts: Annotated[tuple[str, ...], Meta(min_length=1, description="a list of names")]
    batches: Patterns = ("*",)
    quiet: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    networks: Networks = ()
    link: ApiUrl = ""

    def is_about(self, account: str, batch: str) -> bool:
        """Return whether it is told of a batch."""
        return account in self.accounts and any(fnmatchcase(batch, pattern) for pattern in self.batches)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What variables of the environment set."""

    redis_url: Annotated[str, url_of(*REDIS_SCHEMES, *CLUSTER_SCHEMES)] = field(
        default=REDIS_URL, metadata={"key": "RELATIONS_REDIS_URL"}
    )
    broker_url: Annotated[str, url_of(*REDIS_SCHEMES, "sentinel", "amqp", "amqps")] = field(
        default=REDIS_URL, metadata={"key": "RELATIONS_BROKER_URL"}
    )
    api_url: ApiUrl = field(default=API_URL, metadata={"key": "RELATIONS_API_URL"})
    prefix: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9:._-]*\Z", description="letters, digits, : . _ and -")
    ] = field(default="relations", metadata={"key": "RELATIONS_PREFIX"})
    log: Literal["json", "console"] = field(default="json", metadata={"key": "RELATIONS_LOG"})
    traces: Literal["off", "otlp"] = field(default="off", metadata={"key": "RELATIONS_TRACES"})


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(Environment):
    """Everything that can be set, checked.

    `warnings` is what works but should be looked at, `spared` are those of them that are faults for a process
    that serves; `file` is where the tables were read, `version` what changes when somebody writes it.
    """

    accounts: Mapping[str, Account] = field(default_factory=dict)
    types: Mapping[str, Override] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    dashboard: Dashboard = field(default_factory=Dashboard)
    callbacks: Mapping[str, Callback] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()
    file: Path | None = None
    version: tuple[int, ...] | None = None

    def account(self, name: str) -> Account:
        """Return the account of that name; raises NotFound with the nearest name there is."""
        if name not in self.accounts:
            raise NotFound(f'there is no account "{name}"{nearest(name, self.accounts)}')
        return self.accounts[name]

    def __repr__(self) -> str:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        shown = {name: mask_url(value) if isinstance(value, str) else value for name, value in values.items()}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
