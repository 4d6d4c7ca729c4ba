"""The commands in memory answer as a server does, whatever is asked of them, and leave the same behind."""

from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from ops.dev.redis_server import RedisServer
from worker.testing.commands import MemoryCommands

names, small = st.sampled_from(["a", "b", "c"]), st.integers(-4, 4)
values, scores = st.sampled_from(["1", "2", "x"]), st.sampled_from([0, 1, 1.5, 7])
bounds = st.sampled_from(["-inf", "+inf", "1", "(1", "1.5", 7])
lifetimes = st.sampled_from([-1, 0, 600_000])
WRITES = (
    *("hset", "hdel", "hincrby", "rpush", "lpush", "lrem", "ltrim", "sadd", "zadd", "zrem"),
    *("zremrangebyrank", "set", "pexpire", "persist", "delete"),
)
ANSWERLESS = ("ltrim", "set", "zremrangebyrank")
"""Commands whose answers nobody reads; redis-py makes something else of each."""


def call(command: str, key: str, *args: st.SearchStrategy[Any], **options: Any) -> st.SearchStrategy[Any]:
    """Return what draws a call of the command."""
    return st.tuples(st.just(command), st.just(key), st.tuples(*args), st.fixed_dictionaries(options))


def many(*parts: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Return what draws arguments that come in groups."""
    return st.lists(st.tuples(*parts), min_size=1, max_size=3).map(
        lambda rows: [x for row in rows for x in row]
    )


@st.composite
def spread(draw: Any, command: str, key: str, *parts: st.SearchStrategy[Any], first: Any = ()) -> Any:
    """Draw a call whose arguments come in groups, perhaps behind one."""
    return command, key, (*first, *draw(many(*parts))), {}


pages = {"start": st.integers(0, 2), "num": st.integers(0, 3), "withscores": st.booleans()}
writes = st.one_of(
    spread("hset", "h", names, values),
    spread("hdel", "h", names),
    call("hincrby", "n", names, small),
    spread("rpush", "l", values),
    spread("lpush", "l", values),
    call("lrem", "l", small, values),
    call("ltrim", "l", small, small),
    spread("sadd", "s", names),
    spread("zadd", "z", scores, names),
    spread("zadd", "z", scores, names, first=("XX",)),
    spread("zrem", "z", names),
    call("zremrangebyrank", "z", small, small),
    call("set", "t", values),
    *(call("pexpire", key, lifetimes) for key in "hlzst"),
    *(call("persist", key) for key in "hlzst"),
    *(call("delete", key) for key in "hlzst"),
)
reads = st.one_of(
    *(call("exists", key) for key in "hlzst"),
    call("hget", "h", names),
    call("hmget", "h", st.lists(names, min_size=1)),
    *(call(command, "h") for command in ("hgetall", "hkeys", "hvals", "hlen")),
    call("hstrlen", "h", names),
    call("llen", "l"),
    call("lindex", "l", small),
    call("lrange", "l", small, small),
    call("lpos", "l", values),
    call("smembers", "s"),
    call("get", "t"),
    *(call(command, "z", names) for command in ("zscore", "zrevrank")),
    call("zmscore", "z", st.lists(names, min_size=1)),
    call("zcard", "z"),
    call("zrange", "z", small, small, withscores=st.booleans()),
    call("zrevrange", "z", small, small, withscores=st.booleans()),
    call("zrangebyscore", "z", bounds, bounds, **pages),
    call("zrevrangebyscore", "z", bounds, bounds, **pages),
)


def answer(target: Any, command: str, key: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return what a dictionary or a server answers; writes go to the server as a script sends them."""
    if isinstance(target, MemoryCommands) or command not in WRITES:
        found = getattr(target, command)(key, *args, **options)
    else:
        found = target.execute_command("DEL" if command == "delete" else command.upper(), key, *args)
    if command in ANSWERLESS:
        return None
    if command in ("hgetall", "smembers"):
        return found
    if command in ("hkeys", "hvals"):
        return sorted(found)
    return int(found) if isinstance(found, bool) else found


def test_a_dictionary_answers_as_a_server_does(redis_server: RedisServer) -> None:
    with Redis.from_url(redis_server.url) as client:

        @settings(suppress_health_check=list(HealthCheck), deadline=None)
        @given(calls=st.lists(st.one_of(writes, writes, reads), min_size=5, max_size=60))
        def law(calls: list[Any]) -> None:
            prefix, memory = uuid4().hex, MemoryCommands(lambda: 1_800_000_000_000_000)
            for command, key, args, options in calls:
                name = f"{prefix}:{key}"
                ours, theirs = (answer(each, command, name, args, options) for each in (memory, client))
                assert ours == theirs, (command, key, args, options)
            for key in "hnlzst":
                name = f"{prefix}:{key}"
                assert read(memory, name) == read(client, name)

        law()


def read(target: Any, name: str) -> Any:
    """Return all of a key, and whether it ends."""
    kind = name[-1]
    readers = {"l": ("lrange", 0, -1), "z": ("zrange", 0, -1), "s": ("smembers",), "t": ("get",)}
    command, *args = readers.get(kind, ("hgetall",))
    return getattr(target, str(command))(name, *args), target.pttl(name) > 0, target.exists(name)
