"""What a user of Redis must be allowed to do for all of our processes, and what one may not do of it.

A server with least rights gives its user the rule that `acl_rule` returns.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from worker.redis.client import translate_errors

STORE: Final = (
    *("del", "exists", "expire", "get", "persist", "pexpire", "pttl", "set", "type"),
    *("hdel", "hget", "hgetall", "hincrby", "hkeys", "hlen", "hmget", "hrandfield", "hscan", "hset"),
    *("hstrlen", "hvals", "lindex", "llen", "lpos", "lpush", "lrange", "lrem", "ltrim", "rpush"),
    *("sadd", "smembers", "srem", "zadd", "zcard", "zrandmember", "zrange", "zrangebylex", "zrangebyscore"),
    *("zmscore", "zrem", "zremrangebyrank", "zrevrange", "zrevrangebyscore", "zrevrank", "zscore"),
)
"""What the store does to a key."""
BROKER: Final = (
    *("brpop", "del", "exists", "hdel", "hget", "hset", "llen", "lpush", "rpush", "sadd", "set", "smembers"),
    *("srem", "watch", "zadd", "zrem", "zrevrangebyscore"),
)
"""What workers and those who wake them do to a key."""
CHANNELS: Final = ("publish", "subscribe", "unsubscribe")
"""What `celery inspect` and the doctor ask workers by."""
SCRIPTS: Final = ("eval", "evalsha")
"""What names its keys itself."""
KEYLESS: Final = ("exec", "multi", "ping", "scan", "script|exists", "script|load", "time", "unwatch")
"""What is about no key."""
OPTIONAL: Final = ("client|setname", "info", "select")
"""What is done without, or only where the URL asks for it; `client|setinfo` is unknown to Redis 7.0."""

# A script so that one question is enough; a server that takes no writes refuses the script itself.
PROBE: Final = """#!lua
local forbidden, unknown = {}, {}
for i, name in ipairs(redis.acl_check_cmd and ARGV or {}) do
  local words = {}
  for word in string.gmatch(name, '[^|]+') do words[#words + 1] = word end
  words[#words + 1] = KEYS[1]
  local known, may = pcall(redis.acl_check_cmd, unpack(words))
  if not known then unknown[#unknown + 1] = name elseif not may then forbidden[#forbidden + 1] = name end
end
return {forbidden, unknown}"""


# It writes nothing, and might: a server that takes no writes, or nothing more, refuses it as it refuses those
# that do.
WRITABLE: Final = "#!lua\nreturn 1"


def acl_rule(prefix: str) -> str:
    """Return what ACL SETUSER must grant a user for everything under the prefix."""
    names = sorted({*STORE, *BROKER, *CHANNELS, *SCRIPTS, *KEYLESS, *OPTIONAL})
    return f"~{prefix}* &{prefix}* {' '.join(f'+{name}' for name in names)}"


def check_writable(client: Any, prefix: str) -> None:
    """Raise StoreUnavailable, with the server's reason, if no change can be accepted at this moment.

    Nothing is written. Of a cluster, one node is asked.
    """
    with translate_errors():
        client.eval(WRITABLE, 1, f"{prefix}:sweep")


class RefusedCommands(NamedTuple):
    """Commands that the client's user may not run, and those that the server does not have by this name."""

    forbidden: Sequence[str]
    unknown: Sequence[str]


def find_refused(client: Any, key: str, commands: Iterable[str]) -> RefusedCommands:
    """Return which of the commands the client cannot run on this key, or this channel.

    Raises what the client does, also where the server takes no writes at all.
    """
    forbidden, unknown = client.eval(PROBE, 1, key, *commands)
    return RefusedCommands(_as_texts(forbidden), _as_texts(unknown))


def _as_texts(names: Iterable[bytes | str]) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else name for name in names]
