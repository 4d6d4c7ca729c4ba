"""Rules that a single setting cannot see: between keys, between tables, and with the world outside.

Those of webhook sources are in `source_checks`. Each check takes values and yields faults, whose path is the
key inside the table. A value has None where a required key is at fault already, so that everything else can
still be judged.
"""

from base64 import b64decode
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from ipaddress import ip_network
from typing import Final

from worker.config.kinds import DAY
from worker.config.secret import SHORT_SECRET, SHORTEST, Secret
from worker.config.table import join, nearest, quote
from worker.config.urls import check_amqp_options, find_proxy, is_private, redis_options
from worker.config.values import (
    SIGNATURE_LIFE,
    Account,
    AccountLimits,
    Callback,
    Dashboard,
    Key,
    Scheme,
)
from worker.contract import Override, resolve
from worker.contract.message import UNROUTED
from worker.errors import Fault, InvalidSettings, RelationsError

LENGTHS: Final = {"token": 32, "secret": 64}
SWAPPED: Final = {"token": 64, "secret": 32}
AUTHORITIES: Final = "SSL_CERT_FILE"
TRACE_PACKAGES: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")


class Warned(Fault):
    """Something that works but should be looked at."""


class UnreadableSecret(Fault):
    """A secret that is well written and cannot be read now."""


def check_limits(limits: AccountLimits) -> Iterator[Fault]:
    """Yield limits that contradict each other."""
    least, doubt = SIGNATURE_LIFE + limits.timeout, limits.doubt
    if doubt < least:
        wanted = f"at least {least:g}, the signature's {SIGNATURE_LIFE} s + timeout (rule R14)"
        yield Fault("doubt", f"expected {wanted}, got {doubt:g}")
    if limits.give_up_after < doubt:
        wanted = f"at least doubt ({doubt:g}), or relations are given up unread"
        yield Fault("give_up_after", f"expected {wanted}, got {limits.give_up_after:g}")
    if limits.hold_for > limits.give_up_after:
        wanted = (
            f"at most give_up_after ({limits.give_up_after:g}), or what was held is given up as it may go"
        )
        yield Fault("hold_for", f"expected {wanted}, got {limits.hold_for:g}")
    if limits.park_for > limits.failed_retention_days * DAY:
        wanted = f"at most failed_retention_days ({limits.failed_retention_days}), or its order is not known"
        yield Fault("park_for", f"expected {wanted}, got {limits.park_for:g} s")


def check_account(account: Account, common_url: str, claims_of: Collection[str]) -> Iterator[Fault]:
    """Yield what is wrong with an account; the URL that all have in common is not its own.

    Of the accounts `claims_of` a webhook writes the claim, so that it need not be there yet.
    """
    if account.name == UNROUTED:
        yield Fault("", "is the name of the inbox for messages that name no known account; choose another")
    yield from check_limits(account)
    if account.api_url != common_url:
        yield from check_encryption("api_url", account.api_url)
    for key in ("token", "secret"):
        yield from check_secret(key, getattr(account, key))
    if account.name in claims_of and account.extendedclaim and not account.extendedclaim.written_at:
        yield Warned("extendedclaim", "is not there yet; it comes with the next call of its webhook")
    else:
        yield from check_secret("extendedclaim", account.extendedclaim)
    found = {key: len(value_of(getattr(account, key))) for key in LENGTHS}
    if found == SWAPPED:
        yield Warned("token", "looks swapped with the secret: a token has 32 characters, a secret 64")
    else:
        for key, expected in LENGTHS.items():
            if found[key] != expected:
                yield Warned(key, f"has {found[key]} characters; onOffice's have {expected}")


def check_tokens(accounts: Mapping[str, Account]) -> Iterator[Fault]:
    """Yield a warning for a second account with one token: most likely it is another agency's."""
    owners: dict[tuple[str, str], str] = {}
    for name, account in accounts.items():
        token = value_of(account.token)
        owner = owners.setdefault((account.api_url, token), name) if token else name
        if owner != name:
            both = "both write into one CRM, each with a pace and an order of its own"
            yield Warned(join(name, "token"), f"is the token of accounts.{owner}: {both}")


def check_encryption(key: str, url: str) -> Iterator[Fault]:
    """Yield a warning for an API at which others can read along."""
    if not is_private(url):
        yield Warned(key, "is not encrypted: the token can be read on the way; use https://")


def check_proxy(url: str, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Yield what is wrong with the proxy by which the API would be reached."""
    try:
        find_proxy(url, environ)
    except InvalidSettings as error:
        yield from error.faults


def check_authorities(url: str, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Yield why no certificate of the API can be verified with the authorities that the environment names."""
    path = environ.get(AUTHORITIES, "")
    if not path or not url.startswith("https"):
        return
    try:
        with open(path, "rb") as lines:
            if not any(b"-----BEGIN" in line for line in lines):
                yield Fault(AUTHORITIES, f"{path} holds no certificate in PEM")
    except OSError as error:
        yield Fault(AUTHORITIES, f"{path} cannot be read: {error.strerror}")


def check_traces(key: str, traces: str) -> Iterator[Fault]:
    """Yield that traces are asked for, and what makes them is not installed; nothing of it is imported."""
    if traces == "off":
        return
    try:
        for name in TRACE_PACKAGES:
            distribution(name)
    except PackageNotFoundError as error:
        install = "pip install 'onoffice-relations[telemetry]', in a checkout pip install '.[telemetry]'"
        yield Fault(key, f"needs the package {error.name}; install it with: {install}")


def check_server_url(variable: str, url: str) -> Iterator[Fault]:
    """Yield what neither store nor broker could use in a URL of Redis, or the broker in one of RabbitMQ."""
    try:
        (check_amqp_options if url.startswith("amqp") else redis_options)(url)
    except ValueError as error:
        yield Fault(variable, f"cannot be used: {error}")


def check_secret(key: str, secret: Secret | None) -> Iterator[Fault]:
    """Yield why a secret cannot be read now, or a warning if the settings file itself holds it."""
    try:
        if secret and secret.reveal() and secret.literal:
            yield Warned(key, "is written in the settings file; keep it in env:NAME or file:PATH instead")
    except InvalidSettings as error:
        yield UnreadableSecret(key, f"{error.faults[0].path} {error.faults[0].message}")


def value_of(secret: Secret | None) -> str:
    """Return the value of a secret, or nothing while there is none."""
    with suppress(InvalidSettings):
        return secret.reveal() if secret else ""
    return ""


def check_type(name: str, policy: Override) -> Iterator[Fault]:
    """Yield a fault if there is no such relation type, or if its `order` contradicts its `last_one`."""
    try:
        resolve(name)
    except RelationsError as error:
        yield Fault("", str(error))
    if policy.last_one == "keep" and policy.order not in (None, "create_first"):
        yield Fault("last_one", f'"keep" needs order = "create_first", not "{policy.order}"; leave order out')


def check_known(key: str, account: str, accounts: Collection[str]) -> Iterator[Fault]:
    """Yield a fault if there is no such account."""
    if account not in accounts:
        yield Fault(key, f"there is no account {quote(account)}{nearest(account, accounts)}")


def check_keys(keys: Mapping[str, Key], accounts: Collection[str]) -> Iterator[Fault]:
    """Yield unknown accounts of keys, and second names of one key: they leave open which rights it has."""
    owners: dict[str, str] = {}
    for name, key in keys.items():
        for account in key.accounts or ():
            yield from check_known(join(name, "accounts"), account, [*accounts, UNROUTED])
        owner = owners.setdefault(key.sha256 or name, name)
        if owner != name:
            advice = "make another with `relations keys new`"
            yield Fault(join(name, "sha256"), f"is the same key as keys.{owner}; {advice}")


def check_dashboard(dashboard: Dashboard, keys: Collection[str]) -> Iterator[Fault]:
    """Yield what is wrong with the pages; a header alone, or a user without a key, opens none."""
    for secret in dashboard.secrets:
        yield from check_secret("secret", secret)
        if 0 < len(value_of(secret)) < SHORT_SECRET:
            yield Fault("secret", f"expected at least {SHORT_SECRET} characters: sessions are signed with it")
    try:
        _ = dashboard.zone
    except (KeyError, OSError, ValueError):
        yield Fault(
            "time_zone", f'expected such as "Europe/Berlin" or "UTC", got {quote(dashboard.time_zone)}'
        )
    for at, proxy in enumerate(dashboard.proxies):
        try:
            ip_network(proxy)
        except ValueError:
            yield Fault(f"proxies[{at}]", f"expected an address or a network, got {quote(proxy)}")
    for user, key in dashboard.users.items():
        if key not in keys:
            yield Fault(join("users", user), f"there is no key {quote(key)}{nearest(key, keys)}")
    given = {"proxies": dashboard.proxies, "user_header": dashboard.user_header, "users": dashboard.users}
    if any(given.values()) and not all(given.values()):
        missing = next(name for name, value in given.items() if not value)
        yield Fault(missing, "is missing; single sign-on needs proxies, user_header and users")


def check_strength(scheme: Scheme | None, value: str) -> Iterator[Fault]:
    """Yield what makes a secret none: no base64, or so few characters that it can be guessed or read."""
    length = len(value)
    if scheme == "standard-webhooks":
        if not is_base64(value.removeprefix("whsec_")):
            yield Fault("secret", "expected whsec_ and base64, as scheme standard-webhooks has it")
            return
        length = len(b64decode(value.removeprefix("whsec_")))
        if value and not length:
            yield Fault("secret", "is empty behind whsec_")
            return
    if value and length < SHORTEST:
        yield Fault(
            "secret", f"has {length} characters, too few to keep it out of logs; use {SHORT_SECRET} or more"
        )
    elif value and length < SHORT_SECRET:
        yield Warned("secret", f"can be guessed: it has {length} characters; use {SHORT_SECRET} or more")


def check_callback(callback: Callback, accounts: Collection[str]) -> Iterator[Fault]:
    """Yield what keeps a callback from being sent, or what others could read on its way."""
    for secret in callback.secrets or ():
        yield from check_secret("secret", secret)
        yield from check_strength("standard-webhooks", value_of(secret))
    for account in callback.accounts or ():
        yield from check_known("accounts", account, accounts)
    if callback.url and not is_private(callback.url):
        yield Warned("url", "is not encrypted: what is done can be read on the way; use https://")


def is_base64(text: str) -> bool:
    """Whether a text is base64."""
    with suppress(ValueError):
        b64decode(text, validate=True)
        return True
    return False


def under(path: str, faults: Iterable[Fault]) -> Iterator[Fault]:
    """Yield the faults of a table with the path of that table."""
    return (replace(fault, path=f"{path}.{fault.path}" if fault.path else path) for fault in faults)
