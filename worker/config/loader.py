"""Reads the settings file and the environment into `Settings`, or raises one error that names all faults.

What a key may be stands at the fields in `values`, how a table is read in `table`, what must fit together in
`checks`.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from worker.config import checks
from worker.config.checks import UnreadableSecret, Warned, under
from worker.config.secret import NamedText, hide_key
from worker.config.source_checks import check_sharing, check_source
from worker.config.table import TableReader, join, keys_of, nearest
from worker.config.text_file import read_text_file
from worker.config.urls import CLUSTER_SCHEMES, hide_passwords
from worker.config.values import (
    Account,
    AccountLimits,
    Callback,
    Dashboard,
    Environment,
    Key,
    Settings,
    Source,
)
from worker.contract import Override
from worker.errors import Fault, InvalidSettings

FILE: Final = "relations.toml"
FILE_VARIABLE: Final = "RELATIONS_CONFIG"
CLIENT_VARIABLES: Final = ("RELATIONS_URL", "RELATIONS_KEY", "RELATIONS_KEY_FILE")  # of commands with --url
SYSTEM_FOLDER: Final = Path("/etc/onoffice-relations")  # where the file is looked for last
GROUPS: Final = {
    "accounts": Account,
    "types": Override,
    "keys": Key,
    "sources": Source,
    "callbacks": Callback,
}
SPARED: Final = ("sources", "callbacks")  # groups without whose faulty tables most commands can work


def load_settings(environ: Mapping[str, str], folder: Path, *, spare: bool = False) -> Settings:
    """Return the settings of this environment and of the file it names, or of the one in the folder.

    Without either it is the one in `SYSTEM_FOLDER`, if that is there.
    Raises InvalidSettings with every fault there is; with `spare` faulty tables of `SPARED` groups are left
    out, and secrets that cannot be read now are only warned about. `environ` is kept: `env:` secrets are
    looked up in it whenever they are revealed.
    """
    file = find_file(environ, folder)
    version = file_version(file)  # of before: who writes it while it is read has it read again
    document, unread = read_document(file, FILE_VARIABLE if _name_file(environ) else FILE)
    reader = TableReader(partial(make_secret, environ, file.parent if file else folder))
    variables, doubtful = read_environment(environ, reader)
    tables = read_tables(document, reader, variables.api_url)
    groups = {**tables, "sources": give_owners(tables)}
    settings = Settings(**vars(variables), **groups, file=file, version=version)
    found = [*unread, *reader.faults, *doubtful, *check_tables(settings, document, folder)]
    faults = [fault for fault in found if not isinstance(fault, Warned)]
    if spare:
        good: dict[str, Any] = {
            group: _without_faulty(group, getattr(settings, group), faults) for group in SPARED
        }
        settings = replace(settings, **good)
    if not all(spare and _is_spared(fault) for fault in faults):
        raise InvalidSettings(faults)
    return replace(settings, warnings=tuple(map(str, found)), spared=tuple(map(str, faults)))


def _is_spared(fault: Fault) -> bool:
    return isinstance(fault, UnreadableSecret) or fault.path.startswith(
        tuple(f"{group}." for group in SPARED)
    )


def _without_faulty(group: str, tables: Mapping[str, Any], faults: Sequence[Fault]) -> Mapping[str, Any]:
    """Return those tables of a group that have no fault."""
    return MappingProxyType(
        {
            name: table
            for name, table in tables.items()
            if not any(_is_of_table(fault, join(group, name)) for fault in faults)
        }
    )


def _is_of_table(fault: Fault, path: str) -> bool:
    return fault.path == path or fault.path.startswith((f"{path}.", f"{path}["))


def find_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the settings file; without RELATIONS_CONFIG it may be missing."""
    if named := _name_file(environ):
        return folder / named
    return next((path for path in places(folder) if os.path.lexists(path)), None)


def _name_file(environ: Mapping[str, str]) -> str:
    return environ.get(FILE_VARIABLE, "").strip()


def read_document(file: Path | None, named_by: str) -> tuple[dict[str, Any], list[Fault]]:
    """Return the content of the settings file, and its faults."""
    try:
        return tomllib.loads(read_text_file(file)) if file else {}, []
    except OSError as error:
        return {}, [Fault(named_by, f"{file} cannot be read: {error.strerror}")]
    except (ValueError, RecursionError) as error:  # no TOML, not UTF-8, brackets without end
        return {}, [Fault(file.name if file else "", f"is not valid TOML: {error}")]


def working_folder() -> Path:
    """Return the working directory; if somebody has removed it, a path in which nothing is found."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path()


def file_version(file: Path | None) -> tuple[int, ...] | None:
    """Return what changes when the file is written or replaced; None if there is no file."""
    try:
        status = file.stat() if file else None
    except OSError:
        return None
    # The last is no one's to choose: a file may be put in place with the time that it had elsewhere.
    return (status.st_mtime_ns, status.st_ino, status.st_size, status.st_ctime_ns) if status else None


def places(folder: Path) -> tuple[Path, ...]:
    """Return where the settings file is looked for, if the environment names none."""
    return folder / FILE, SYSTEM_FOLDER / FILE


def make_secret(
    environ: Mapping[str, str], folder: Path, kind: type[NamedText], reference: object
) -> NamedText:
    """Return the secret or public key behind a reference; raises ValueError if it is none."""
    if not isinstance(reference, str) or not reference:
        raise ValueError
    return kind(reference, environ=environ, folder=folder)


def read_environment(environ: Mapping[str, str], reader: TableReader) -> tuple[Environment, list[Fault]]:
    """Return what our variables set, an empty one counts as not set; and what is doubtful about them."""
    known = keys_of(Environment)
    given = {
        name: value.strip()
        for name, value in environ.items()
        if name.startswith("RELATIONS_") and value.strip()
    }
    variables: Environment = reader.table(Environment, {key: given[key] for key in known if key in given}, "")
    found: list[Fault] = []
    for name in given.keys() - known.keys() - {FILE_VARIABLE, *CLIENT_VARIABLES}:
        if hint := nearest(name, known, cutoff=0.85):
            found.append(Warned(name, f"is not read{hint}"))
    if "RELATIONS_BROKER_URL" not in given:
        variables = replace(variables, broker_url=variables.redis_url)
    if variables.broker_url.partition(":")[0] in CLUSTER_SCHEMES:
        reason = "a Redis Cluster cannot be the Celery broker; name a single Redis or RabbitMQ"
        found.append(Fault("RELATIONS_BROKER_URL", f"is missing: {reason}"))
    found += checks.check_server_url("RELATIONS_REDIS_URL", variables.redis_url)
    if "RELATIONS_BROKER_URL" in given:
        found += checks.check_server_url("RELATIONS_BROKER_URL", variables.broker_url)
    found += checks.check_encryption("RELATIONS_API_URL", variables.api_url)
    found += checks.check_proxy(variables.api_url, environ)
    found += checks.check_authorities(variables.api_url, environ)
    found += checks.check_traces("RELATIONS_TRACES", variables.traces)
    hide_passwords(variables.redis_url)
    hide_passwords(variables.broker_url)
    return variables, found


def read_tables(document: dict[str, Any], reader: TableReader, api_url: str) -> dict[str, Any]:
    """Return the groups of named tables of a file; accounts stand on `[defaults]` and the common URL."""
    reader.unknown(document, ["defaults", *GROUPS, "dashboard"], "")
    inherited = {"api_url": api_url, **read_defaults(document.get("defaults", {}), reader)}
    groups = {
        group: reader.group(kind, document.get(group, {}), group, **(inherited if kind is Account else {}))
        for group, kind in GROUPS.items()
    }
    dashboard = reader.table(Dashboard, document.get("dashboard", {}), "dashboard")
    return {**groups, "dashboard": dashboard or Dashboard()}


def give_owners(tables: Mapping[str, Any]) -> Mapping[str, Source]:
    """Return the sources, each with the accounts that its changes may be for, as far as they are known."""
    accounts, sources = tables["accounts"], tables["sources"]
    return MappingProxyType(
        {
            name: replace(
                source, owners={key: accounts[key] for key in source.account_names & accounts.keys()}
            )
            for name, source in sources.items()
        }
    )


def read_defaults(content: Any, reader: TableReader) -> dict[str, Any]:
    """Return the limits that accounts inherit: the good ones, so that no account repeats a fault of them."""
    limits = reader.table(AccountLimits, content, "defaults")
    if limits is None:
        return {}
    reader.faults += under("defaults", checks.check_limits(limits))
    faulty = {fault.path for fault in reader.faults}
    good = (key for key in keys_of(AccountLimits) if key in content and join("defaults", key) not in faulty)
    return {key: getattr(limits, key) for key in good}


def check_tables(settings: Settings, document: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    """Yield what is wrong with the tables of a file beyond each key by itself."""
    if not settings.file:
        looked_at = " nor ".join(map(str, places(folder)))
        yield Warned(FILE_VARIABLE, f"names no settings file, and there is neither {looked_at}")
    if not settings.accounts:
        yield Warned("accounts", "there is none, so every change is refused; add an [accounts.NAME] table")
    kept = {
        name for source in settings.sources.values() if source.keeps_claim for name in source.account_names
    }
    for name, account in settings.accounts.items():
        yield from under(join("accounts", name), checks.check_account(account, settings.api_url, kept))
    yield from under("accounts", checks.check_tokens(settings.accounts))
    for name, policy in settings.types.items():
        yield from under(join("types", name), checks.check_type(name, policy))
    yield from under("keys", checks.check_keys(settings.keys, settings.accounts))
    for key in settings.keys.values():
        hide_key(key.sha256)
    for name, source in settings.sources.items():
        found = check_source(source, document["sources"][name], settings.accounts)
        yield from under(join("sources", name), found)
        hide_passwords(source.url)
    yield from check_sharing(settings.sources)
    yield from under("dashboard", checks.check_dashboard(settings.dashboard, settings.keys))
    for name, callback in settings.callbacks.items():
        yield from under(join("callbacks", name), checks.check_callback(callback, settings.accounts))
