"""Checks of the Redis or Valkey server: version, role, eviction, persistence, clock."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from redis.exceptions import RedisError

from ops.doctor.findings import Finding, Level
from ops.doctor.rights import USE
from worker.config import mask_url
from worker.config.urls import CLUSTER_SCHEMES
from worker.redis.client import translate_errors
from worker.redis.scripts import MIN_SERVER_VERSION
from worker.wiring import Runtime

SUPPORTED: Final = ("redis", "redict", "valkey")
OTHERS: Final = ("dragonfly", "garnet", "kvrocks", "pika", "upstash")  # which have their version in INFO
MAX_CLOCK_DRIFT: Final = 2.0  # seconds between two clocks that nobody needs to look at


def check_redis(runtime: Runtime) -> Iterator[Finding]:
    """Check version, eviction, persistence and clock of the server; raises StoreUnavailable."""
    client: Any = runtime.client
    with translate_errors():
        client.ping()  # first, because finding the master may take seconds, and the clock goes on
        before = time.time()
        seconds, micros = client.time()
        after = time.time()
    url = mask_url(runtime.settings.redis_url)
    try:
        info: Mapping[str, Any] = client.info()
    except RedisError as error:
        message = f"{url} answers, but not to INFO ({error}): version, eviction and persistence are not known"
        advice = (
            "Let its user call INFO, or see to version 7, maxmemory-policy noeviction and appendonly yes."
        )
        yield Finding("redis", "warn", message, advice)
    else:
        yield check_server_version(info, url)
        yield from check_role(info, url)
        yield check_eviction(info)
        yield check_persistence(info, _read_fsync_policy(client))
    yield check_clock(seconds + micros / 1e6 - (before + after) / 2)


def check_server_version(info: Mapping[str, Any], url: str) -> Finding:
    """Check that the server is new enough."""
    number, kind = str(info.get("redis_version", "unknown")), find_kind(info)
    server = f"{kind} {info.get(f'{kind}_version', number)} at {url}"
    major = number.partition(".")[0]
    if major.isdecimal() and int(major) < MIN_SERVER_VERSION:
        message = f"{server} is too old"
        if kind not in SUPPORTED:
            message = f"{server} is like Redis {number}, which is too old"
        return Finding("redis", "fail", message, USE)
    if kind not in SUPPORTED:
        message = f"{server} says that it is like Redis {number}: nobody has tried whether it does"
        return Finding("redis", "warn", message, USE)
    return Finding("redis", "ok", server)


def find_kind(info: Mapping[str, Any]) -> str:
    """Return what the server calls itself; other servers tell the version of Redis that they are like."""
    if "keydb" in str(info.get("executable", "")):
        return "keydb"
    others = (name for name in OTHERS if f"{name}_version" in info)
    return next(others, str(info.get("server_name", "redis")))


def check_role(info: Mapping[str, Any], url: str) -> Iterator[Finding]:
    """Yield what the URL must not lead to: a replica, or one node of a cluster."""
    if info.get("role") == "slave":
        advice = "Name the master, or its sentinels by redis+sentinel://."
        yield Finding("redis", "fail", f"{url} is a replica: it takes no writes", advice)
    # Redis tells its redis_mode and Valkey its server_mode, but both this.
    if info.get("cluster_enabled") and not url.startswith(CLUSTER_SCHEMES):
        advice = "Write redis+cluster:// instead of redis:// in RELATIONS_REDIS_URL."
        yield Finding("redis", "fail", f"{url} is a node of a cluster, which has some accounts only", advice)


def check_eviction(info: Mapping[str, Any]) -> Finding:
    """Check that a full server refuses new changes rather than drop accepted ones."""
    policy, limit = str(info.get("maxmemory_policy", "")), int(info.get("maxmemory", 0))
    dropped = int(info.get("evicted_keys", 0))
    if not policy:
        message = "INFO does not tell the maxmemory-policy: any but noeviction may drop accepted changes"
        return Finding("eviction", "warn", message, "Ask who runs it, and choose noeviction.")
    if policy != "noeviction":
        message = f"maxmemory-policy is {policy}: a full server drops accepted changes"
        if dropped:
            message = f"maxmemory-policy is {policy}: {dropped:,} keys were dropped since the server started"
        level: Level = "fail" if limit or dropped else "warn"
        return Finding("eviction", level, message, "Set maxmemory-policy noeviction.")
    memory = f"{limit / 2**20:,.0f} MiB at most" if limit else "memory without a bound"
    return Finding("eviction", "ok", f"noeviction, {memory}")


def _read_fsync_policy(client: Any) -> str:
    """Return the server's fsync policy, or `unknown`: hosted servers often do not show it."""
    try:
        config = client.config_get("appendfsync")
    except RedisError:
        return "unknown"
    return str(
        {_to_text(key): _to_text(value) for key, value in config.items()}.get("appendfsync", "unknown")
    )


def _to_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def check_persistence(info: Mapping[str, Any], fsync: str) -> Finding:
    """Check how much is lost when the server dies."""
    if "aof_enabled" not in info:
        message = "INFO does not tell whether there is an append-only file"
        return Finding("persistence", "warn", message, "Ask who runs it what is lost when the server ends.")
    if not info["aof_enabled"]:
        message = "no append-only file: what was accepted is lost when the server ends"
        return Finding("persistence", "warn", message, "Set appendonly yes.")
    if info.get("aof_last_write_status", "ok") != "ok":
        message = "the append-only file cannot be written"
        return Finding("persistence", "fail", message, "Look at the server's disk and log.")
    if fsync == "no":
        message = "append-only file, appendfsync no: the system decides when to write"
        return Finding("persistence", "warn", message, "Set appendfsync everysec or always.")
    lost = {
        "always": ": nothing is lost when it dies",
        "everysec": ": at most the last second is lost when it dies",
    }
    return Finding("persistence", "ok", f"append-only file, appendfsync {fsync}{lost.get(fsync, '')}")


def check_clock(ahead: float) -> Finding:
    """Check that Redis's clock, which signs, agrees with this machine's; `ahead` in seconds."""
    message = f"Redis is {ahead:+.1f} s from this machine"
    if abs(ahead) > MAX_CLOCK_DRIFT:
        return Finding("clock", "warn", message, "Requests are signed with Redis's time: keep both by NTP.")
    return Finding("clock", "ok", message)
