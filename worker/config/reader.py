"""Reads the settings file and the environment into `Settings`, or raises one error that names everything wrong.

What each key may be stands in the tables here; how a table is read in `table`, what a value may be in `checks`.
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from worker.config import checks
from worker.config.accounts import DEFAULTS, LIMITS, account, sound
from worker.config.secret import hide
from worker.config.sources import source
from worker.config.table import Findings, Table
from worker.config.values import API_URL, REDIS_URL, RESERVED, Account, Key, Settings, TypePolicy, nearest
from worker.errors import InvalidSettings

FILE: Final = "relations.toml"
STORE: Final = ("redis", "rediss", "redis+sentinel", "redis+cluster", "unix")
BROKER: Final = ("redis", "rediss", "redis+sentinel", "unix", "sentinel", "amqp", "amqps")
VARIABLES: Final[Mapping[str, checks.Check[str]]] = {
    "RELATIONS_REDIS_URL": checks.url(*STORE),
    "RELATIONS_BROKER_URL": checks.url(*BROKER),
    "RELATIONS_API_URL": checks.API,
    "RELATIONS_PREFIX": checks.matching("letters, digits, : . _ and -", r"[A-Za-z0-9][A-Za-z0-9:._-]*"),
    "RELATIONS_LOG": checks.one_of("json", "console"),
}
PERMISSION: Final = checks.one_of("allow", "warn", "deny")
POLICY: Final[Mapping[str, checks.Check[Any]]] = {
    "order": checks.one_of("create_first", "delete_first", "free"),
    "create": PERMISSION,
    "modify": PERMISSION,
    "delete": PERMISSION,
}
SHA256: Final = checks.matching("the 64 hexadecimal digits that `relations keys new` prints", r"[0-9a-f]{64}")


def load(environ: Mapping[str, str], cwd: Path, *, terminal: bool = False) -> Settings:
    """The settings of this environment and file; raises InvalidSettings with every fault there is.

    `environ` is kept: `env:` secrets are looked up in it whenever they are revealed. Log lines are for people on a `terminal`.
    """
    findings = Findings()
    variables = from_environment(environ, findings)
    file, content = document(environ, cwd, findings)
    tables = from_file(
        Table(content, "", findings), variables, environ=environ, folder=file.parent if file else cwd
    )
    if findings.faults:
        raise InvalidSettings(findings.faults)
    log = variables.get("RELATIONS_LOG", "console" if terminal else "json")
    return Settings(
        redis_url=variables.get("RELATIONS_REDIS_URL", REDIS_URL),
        broker_url=variables.get("RELATIONS_BROKER_URL") or variables.get("RELATIONS_REDIS_URL", REDIS_URL),
        api_url=variables.get("RELATIONS_API_URL", API_URL),
        prefix=variables.get("RELATIONS_PREFIX", "relations"),
        log="console" if log == "console" else "json",
        warnings=tuple(findings.warnings),
        file=file,
        **tables,
    )


def from_environment(environ: Mapping[str, str], findings: Findings) -> dict[str, str]:
    """The good ones of our variables; an empty one counts as not set."""
    given = {
        name: value for name, value in environ.items() if name.startswith("RELATIONS_") and value.strip()
    }
    for name in given.keys() - VARIABLES.keys() - {"RELATIONS_CONFIG"}:
        if match := get_close_matches(name, VARIABLES, n=1, cutoff=0.85):
            findings.warn(name, f'is not read; did you mean "{match[0]}"?')
    good = Table({name: given[name] for name in VARIABLES if name in given}, "", findings).taken(VARIABLES)
    for name in good:
        checks_out(name, good[name], findings)
    if (
        good.get("RELATIONS_REDIS_URL", "").startswith("redis+cluster:")
        and "RELATIONS_BROKER_URL" not in given
    ):
        findings.fault(
            "RELATIONS_BROKER_URL",
            "is missing: a Redis Cluster cannot be the Celery broker; name a single Redis or RabbitMQ",
        )
    return good


def checks_out(name: str, value: str, findings: Findings) -> None:
    """Hide the password of a URL from logs, and warn about an API reached without encryption."""
    if name.endswith("_URL"):
        hide(checks.password(value))
    if name == "RELATIONS_API_URL" and not checks.is_private_way(value):
        findings.warn(name, "is not encrypted: the token can be read on the way; use https://")


def document(environ: Mapping[str, str], cwd: Path, findings: Findings) -> tuple[Path | None, dict[str, Any]]:
    """The settings file and its content; without RELATIONS_CONFIG it may be missing."""
    named = environ.get("RELATIONS_CONFIG", "").strip()
    path = cwd / (named or FILE)
    if not named and not path.exists():
        return None, {}
    try:
        return path, tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        findings.fault("RELATIONS_CONFIG" if named else FILE, f"{path} cannot be read: {error.strerror}")
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOML that does not parse, bytes that are not UTF-8, brackets without end
        findings.fault(path.name, f"is not valid TOML: {error}")
    return path, {}


def from_file(
    root: Table, variables: Mapping[str, str], *, environ: Mapping[str, str], folder: Path
) -> dict[str, Any]:
    """The parts of the settings that the file gives."""
    base = defaults(root.table("defaults")) | {"api_url": variables.get("RELATIONS_API_URL", API_URL)}
    accounts = {
        name: account(name, table, base, environ=environ, folder=folder)
        for name, table in root.tables("accounts")
    }
    if not accounts:
        root.findings.warn(
            "accounts", "there is none, so every change is refused; add an [accounts.NAME] table"
        )
    types = {name: policy(table) for name, table in root.tables("types")}
    keys = {name: key(name, table, accounts) for name, table in root.tables("keys")}
    sources = {
        name: source(name, table, accounts, environ=environ, folder=folder)
        for name, table in root.tables("sources")
    }
    root.done()
    distinct(keys, root.findings)
    groups = {"accounts": accounts, "types": types, "keys": keys, "sources": sources}
    return {name: MappingProxyType(cast(dict[str, Any], group)) for name, group in groups.items()}


def defaults(table: Table) -> dict[str, Any]:
    """What every account starts from."""
    values = {**DEFAULTS, **table.taken(LIMITS)}
    table.done()
    sound(table, values)
    return values


def policy(table: Table) -> TypePolicy:
    """What the operator decided for one relation type."""
    values = table.taken(POLICY)
    table.done()
    return TypePolicy(**values)


def key(name: str, table: Table, accounts: Mapping[str, Account]) -> Key:
    """One key of the HTTP interface."""
    made = Key(
        name=table.named(name),
        sha256=table.need("sha256", SHA256, ""),
        accounts=table.need("accounts", checks.NAMES, ()),
        can=table.need("can", checks.some_of("send", "read", "replay", "admin"), ()),
    )
    for each in made.accounts:
        if each not in accounts and each != RESERVED:
            table.fault("accounts", f'there is no account "{each}"{nearest(each, accounts)}')
    table.done()
    return made


def distinct(keys: Mapping[str, Key], findings: Findings) -> None:
    """Two names for one key would leave open whose rights it has."""
    owners: dict[str, str] = {}
    for name, each in keys.items():
        owner = owners.setdefault(each.sha256, name)
        if each.sha256 and owner != name:
            findings.fault(
                f"keys.{name}.sha256",
                f"is the same key as keys.{owner}; make another with `relations keys new`",
            )
