"""Laws of the Redis room: URLs with several hosts, errors of redis-py, and scripts made of files."""

import inspect
import re
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions as redis_errors

from worker.errors import InvalidSettings, StoreUnavailable
from worker.redis.client import Client, connect, translate_errors
from worker.redis.scripts import load_script
from worker.redis.urls import MultiHostUrl
from worker.store.database import CONSTANTS

# Errors that no waiting cures: a mistake of ours, or of whoever set the server up.
PASSED_ON = {
    "AskError",
    "AuthenticationWrongNumberOfArgsError",
    "ClusterCrossSlotError",
    "DataError",
    "ExecAbortError",
    "InvalidResponse",
    "LockError",
    "LockNotOwnedError",
    "ModuleError",
    "MovedError",
    "NoPermissionError",
    "NoScriptError",
    "NoSuchFieldsetError",
    "PubSubError",
    "RedisError",
    "ResponseError",
    "TryAgainError",
    "WatchError",
    # Not raised by a command that was sent.
    "ChildDeadlockedError",
    "IncorrectPolicyType",
}
ERRORS = [
    error for _, error in inspect.getmembers(redis_errors, inspect.isclass) if issubclass(error, Exception)
]

hosts = st.sampled_from(["a", "redis-1.example.test", "10.0.0.1", "[::1]", "[2001:db8::7]"])
ports = st.none() | st.integers(1, 65_535)


# --- URLs


@given(
    st.lists(st.tuples(hosts, ports), min_size=1, max_size=4),
    st.sampled_from(["", "main"]),
    st.none() | st.integers(0, 15),
)
def test_every_host_of_a_url_is_read_with_its_port(
    nodes: list[tuple[str, int | None]], service: str, database: int | None
) -> None:
    netloc = ",".join(host if port is None else f"{host}:{port}" for host, port in nodes)
    path = f"/{service}" + (f"/{database}" if service and database is not None else "")
    url = MultiHostUrl.parse(f"redis+sentinel://{netloc}{path}", default_port=26379)
    assert url.hosts == tuple((host.strip("[]"), port or 26379) for host, port in nodes)
    assert url.service == (service or "mymaster")
    assert url.database == (database if service and database is not None else 0)
    assert (url.username, url.password) == (None, None)


def test_user_and_password_of_a_url_are_unquoted() -> None:
    url = MultiHostUrl.parse("redis+cluster://u%3A:p%40%2F@a:1,b", default_port=6379)
    assert (url.username, url.password, url.hosts) == ("u:", "p@/", (("a", 1), ("b", 6379)))


@pytest.mark.parametrize(
    "url", ["nothing://a", "redis+cluster://a:x", "redis+sentinel://a/main/x", "redis://a:x"]
)
def test_a_url_that_cannot_be_used_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(InvalidSettings, match="RELATIONS_REDIS_URL"):
        connect(url)


# --- errors


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_redis_is_either_an_unavailable_store_or_passed_on(error: type[Exception]) -> None:
    is_passed_on = error.__name__ in PASSED_ON
    with pytest.raises(error if is_passed_on else StoreUnavailable), translate_errors():
        raise error("3999 127.0.0.1:6381")  # what MOVED and ASK have for a text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("OOM command not allowed", StoreUnavailable),
        ("MISCONF Redis is configured to save", StoreUnavailable),
        ("LOADING Redis is loading the dataset in memory", StoreUnavailable),
        ("NOREPLICAS Not enough good replicas to write", StoreUnavailable),
        ("WRONGTYPE Operation against a key", redis_errors.ResponseError),
        ("ERR user_script:3: attempt to index a nil value", redis_errors.ResponseError),
    ],
)
def test_an_error_reply_counts_by_its_first_word(text: str, error: type[Exception]) -> None:
    with pytest.raises(error), translate_errors():
        raise redis_errors.ResponseError(text)


# --- scripts


def test_a_script_gets_the_constants_it_names_behind_its_first_line(redis_client: Client) -> None:
    text = load_script(redis_client, "worker.store", "accept", constants=CONSTANTS)._text
    lines = text.splitlines()
    named = [f"local {name} = {CONSTANTS[name]}" for name in CONSTANTS if name in lines_of_accept()]
    assert lines[0] == "#!lua"
    assert lines[1 : 1 + len(named)] == named
    assert "MAX_REPLAYS" not in text
    other = load_script(redis_client, "worker.store", "accept", constants=CONSTANTS, first_line="#!lua x")
    assert other._text.splitlines() == ["#!lua x", *lines[1:]]


def lines_of_accept() -> set[str]:
    """Return the words of the script's file."""
    return set(re.findall(r"[A-Z_]+", files("worker.store").joinpath("lua", "accept.lua").read_text()))
