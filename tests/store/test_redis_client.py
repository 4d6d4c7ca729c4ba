"""Laws of the Redis room: URLs with several hosts, errors of redis-py, and scripts made of files."""

import inspect
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions as redis_errors
from redis._parsers.base import BaseParser

from ops.dev.redis_server import RedisServer
from worker.config.urls import MultiHostUrl
from worker.errors import InvalidSettings, StoreUnavailable, StoreUnreadable
from worker.redis.client import Askers, Client, connect, read_apart, translate_errors
from worker.redis.scripts import load_script
from worker.store.database import CONSTANTS

ASK_EACH = Askers("redis://127.0.0.1")
ERRORS = [
    error
    for _, error in inspect.getmembers(redis_errors, inspect.isclass)
    if issubclass(error, redis_errors.RedisError | redis_errors.RedisClusterException)
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
def test_every_error_of_redis_is_an_unavailable_store(error: type[Exception]) -> None:
    with pytest.raises(StoreUnavailable), translate_errors():
        raise error("3999 127.0.0.1:6381")  # what MOVED and ASK have for a text


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        ("MOVED 3999 127.0.0.1:6381", "write redis+cluster://"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "is on its way to another node"),
        ("LOADING Redis is loading the dataset in memory", "it is loading its data"),
        ("MASTERDOWN Link with MASTER is down", "a replica without a master"),
        ("MISCONF Redis is configured to save", "it cannot write to its disk"),
        ("NOREPLICAS Not enough good replicas to write", "too few replicas"),
        ("ERR unknown command 'EVALSHA', with args beginning with:", "has renamed it"),
        ("ERR max number of clients reached", "raise maxclients"),
        ("ERR user_script:3: attempt to index a nil value", "attempt to index"),
    ],
)
def test_a_reply_is_told_with_what_it_means(reply: str, meaning: str) -> None:
    with pytest.raises(StoreUnavailable, match=re.escape(meaning)), translate_errors():
        raise BaseParser.parse_error(reply)


# --- scripts


def test_one_of_many_accounts_that_cannot_be_read_costs_a_few_questions_more() -> None:
    asked = list[int]()

    def read(accounts: Sequence[str]) -> dict[str, int]:
        asked.append(len(accounts))
        if "a700" in accounts:
            raise StoreUnreadable("what is stored of account a700 cannot be read")
        return {account: len(account) for account in accounts}

    names = [f"a{number}" for number in range(1000)]
    assert list(read_apart(read, names)) == [name for name in names if name != "a700"]
    assert len(asked) <= 21
    with pytest.raises(StoreUnreadable):
        read_apart(read, ["a700"])
    assert read_apart(read, ["a700", "a700"]) == {}
    assert read_apart(read, []) == {}


def test_accounts_that_are_asked_about_one_by_one_are_several_at_a_time() -> None:
    all_ask = threading.Barrier(8)

    def read(account: str) -> int:
        all_ask.wait(10.0)  # which breaks unless as many ask at once
        return len(account)

    names = [f"a{number}" for number in range(80)]
    assert ASK_EACH(read, names) == {name: len(name) for name in names}


def test_who_asks_about_many_accounts_waits_for_nobody_else_who_does() -> None:
    others_ask, may_end = threading.Barrier(5), threading.Event()

    def hang(account: str) -> bool:
        with suppress(threading.BrokenBarrierError):
            others_ask.wait(10.0)
        return may_end.wait(10.0)

    ask_each, names = Askers("redis://127.0.0.1?max_connections=16"), ["a", "b", "c", "d"]
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(ask_each, hang, names)
        others_ask.wait(10.0)
        assert ask_each(len, names) == dict.fromkeys(names, 1)
        assert not other.done()
        may_end.set()
        assert other.result() == dict.fromkeys(names, True)


def test_who_asks_about_many_accounts_leaves_connections_of_a_bounded_client_to_others(
    redis_server: RedisServer,
) -> None:
    names = [f"a{number}" for number in range(40)]
    for bound, most in (("3", 1), ("8", 2), ("24", 6)):
        url = f"{redis_server.url}?max_connections={bound}"
        with connect(url) as client:
            assert Askers(url)(lambda name: client.blpop([name], 0.01), names) == dict.fromkeys(names)
            idle: Any = client.connection_pool
            assert 1 <= len(idle._available_connections) <= most


def test_of_accounts_that_are_asked_about_one_by_one_those_that_cannot_be_read_are_left_out() -> None:
    def read(account: str) -> int:
        if account == "bad":
            raise StoreUnreadable("what is stored of account bad cannot be read")
        if account == "away":
            raise StoreUnavailable("Redis does not answer")
        return len(account)

    assert list(ASK_EACH(read, ["z", "bad", "a", "bad"])) == ["z", "a"]
    assert ASK_EACH(read, []) == {}
    with pytest.raises(StoreUnreadable):
        ASK_EACH(read, ["bad"])
    with pytest.raises(StoreUnavailable):
        ASK_EACH(read, ["z", "away", "bad"])


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
