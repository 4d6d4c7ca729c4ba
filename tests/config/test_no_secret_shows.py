"""Whatever the settings are, no secret shows: not in faults, warnings, tracebacks, reprs or log lines."""

import json
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from worker import log
from worker.config import load_settings
from worker.errors import InvalidSettings

SECRET = "hunter2"  # every secret holds it, and nothing else does
RULE = {"action": "'create'", "relationtype": "t", "parentid": "p", "childid": "c"}
GOOD: Mapping[str, Any] = {
    "defaults": {"rate": 2.0, "backoff": [1, 60]},
    "accounts": {
        "acme": {"token": SECRET, "secret": "env:HELD", "extendedclaim": "file:held", "burst": 3},
        "beta": {"token": "env:HELD", "secret": f"{SECRET}-2"},
    },
    "types": {"estate:address:buyer": {"order": "free"}},
    "keys": {"portal": {"sha256": "a" * 64, "accounts": ["acme"], "can": ["send"]}},
    "sources": {
        "immo": {
            "account": "acme",
            "scheme": "bearer",
            "secret": [SECRET, "env:HELD"],
            "url": f"https://u:{SECRET}@host/x",
            "rules": [RULE],
        }
    },
    "callbacks": {
        "portal": {
            "url": f"https://portal.example/{SECRET}",
            "secret": f"whsec_{SECRET}a",
            "accounts": ["acme"],
        }
    },
}
PLACES = [  # where a secret may stand by right or by mistake, and what may stand there
    ("accounts",),
    ("accounts", "acme"),
    ("accounts", "acme", "token"),
    ("accounts", "acme", "secret"),
    ("accounts", "acme", "extendedclaim"),
    ("accounts", "acme", "api_url"),
    ("accounts", "token"),
    ("defaults",),
    ("defaults", "token"),
    ("keys",),
    ("keys", "portal"),
    ("keys", "portal", "sha256"),
    ("keys", "portal", "secret"),
    ("sources",),
    ("sources", "immo"),
    ("sources", "immo", "secret"),
    ("sources", "immo", "public_key"),
    ("sources", "immo", "claims"),
    ("sources", "immo", "rules"),
    ("sources", "immo", "token"),
    ("sources", "immo", "url"),
    ("callbacks", "portal"),
    ("callbacks", "portal", "secret"),
    ("callbacks", "portal", "url"),
    ("callbacks", "portal", "link"),
    ("callbacks", "portal", "token"),
    ("token",),
]
EDITS = [
    *PLACES,
    ("accounts", "acme", "burst"),
    ("sources", "immo", "scheme"),
    ("sources", "immo", "account"),
]
texts = st.sampled_from(["", "env:NOWHERE", "file:nowhere", "x", "standard-webhooks", "hmac", "jwt"])
secrets = st.builds("{}{}{}".format, st.text("ab é\n\"'\\:/@?#", max_size=4), st.just(SECRET), texts)
urls = st.sampled_from(
    ["redis://u:{}@h", "https://u:{}@h", "kafka://{}@h", "redis://h?password={}", "redis://h:{}"]
)
written = secrets | urls.map(lambda url: url.format(SECRET))
values = st.one_of(
    written,
    st.lists(written, max_size=3),
    st.dictionaries(st.sampled_from(["token", "secret", "x"]), written, max_size=2),
    written.map(lambda text: [[text]]),
)
plain = st.sampled_from(
    ["", "env:NOWHERE", "standard-webhooks", "hmac", "jwt", "public-key", 0, -1.5, True, [], {}]
)
variables = st.dictionaries(
    st.sampled_from(
        ["HELD", "RELATIONS_REDIS_URL", "RELATIONS_BROKER_URL", "RELATIONS_API_URL", "RELATIONS_REDIS_ULR"]
    ),
    written,
    max_size=3,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=st.lists(
        st.tuples(st.sampled_from(PLACES), values) | st.tuples(st.sampled_from(EDITS), plain), max_size=4
    ),
    environ=variables,
)
@example(edits=[], environ={"HELD": SECRET})
def test_no_secret_shows_whatever_is_wrong_with_the_settings(
    edits: list[tuple[tuple[str, ...], Any]], environ: dict[str, str]
) -> None:
    document = deepcopy(dict(GOOD))
    for path, value in edits:
        put(document, path, deepcopy(value))  # what stands in two places is not one table
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "held").write_text(f"{SECRET}-in-a-file", "utf-8")
        (folder / "relations.toml").write_text(toml(document), "utf-8")
        shown = "\n".join(show(environ, folder))
    assert SECRET not in shown


def show(environ: dict[str, str], folder: Path) -> Iterator[str]:
    """Yield everything that people and logs get to see of these settings."""
    try:
        loaded = load_settings(environ, folder)
    except InvalidSettings as error:
        yield from (str(error), repr(error), repr(error.faults), traceback.format_exc())
        yield line(error=error, faults=error.faults)
    else:
        yield from (repr(loaded), str(loaded), *loaded.warnings, repr(loaded.accounts), repr(loaded.sources))
        yield line(settings=loaded, accounts=loaded.accounts, url=loaded.redis_url, broker=loaded.broker_url)


def line(**fields: object) -> str:
    """Return the log line of an event."""
    return json.dumps(log.redact_event(None, "info", {"event": "x", **fields}), ensure_ascii=False)


def put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value at a path, if there is a table to hold it."""
    for key in path[:-1]:
        document = document.get(key, {}) if isinstance(document, dict) else {}
    if isinstance(document, dict):
        document[path[-1]] = value


def toml(document: dict[str, Any]) -> str:
    """Return the tables as TOML, inline below the first level."""
    return "\n".join(f"{json.dumps(key)} = {inline(value)}" for key, value in document.items())


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value)
