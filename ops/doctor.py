"""Looks at everything a working system needs, and says of each part: ok, warn or fail, and what to do.

Reads only: Redis is asked about itself, workers are pinged, and each account's credentials are tried by a harmless read.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from redis.exceptions import RedisError

from worker.celery_config import QUEUES
from worker.config import Account, Settings
from worker.config.accounts import SIGNATURE_LIFE
from worker.config.values import shielded
from worker.contract import Relation
from worker.errors import StoreUnavailable
from worker.onoffice.codes import advice, describe
from worker.planner.actions import Action, ActionResult, ErrorClass, Verdict
from worker.ports import JobFilter
from worker.redis.client import available
from worker.wiring import Runtime

if TYPE_CHECKING:
    from celery import Celery

Level = Literal["ok", "warn", "fail"]

PROBE: Final = Relation("estate:address:buyer", 1, 1)
OLDEST: Final = (7, 0)  # scripts begin with `#!lua flags=…`
DRIFT: Final = 2.0  # seconds between two clocks that nobody needs to look at
LATE: Final = 30.0  # seconds without a sweep, of which there is one every two
IDLE: Final = (
    60.0  # seconds after which a waiting change should have been looked at, window and sweep included
)
PATIENCE: Final = 2  # seconds for workers to answer


class Finding(NamedTuple):
    """What was looked at, how it is, and what to do about it."""

    what: str
    level: Level
    text: str
    todo: str = ""


def examine(runtime: Runtime, celery: "Celery", *, api: bool = True) -> Iterator[Finding]:
    """Every finding, as it is made: settings, Redis, clock, broker, workers, sweep, then account by account."""
    yield from settings(runtime.settings)
    try:
        yield from redis(runtime)
        reachable = True
    except StoreUnavailable as error:
        where = shielded(runtime.settings.redis_url)
        yield Finding(
            "redis",
            "fail",
            f"{where} does not answer: {error}",
            "Start it, or set RELATIONS_REDIS_URL to one that runs.",
        )
        reachable = False
    yield from broker(celery, shown=str(shielded(runtime.settings.broker_url)))
    if not reachable:
        return
    yield sweep(runtime.metrics.sweep_stats().at / 1e6, now=time.time())
    for account in runtime.settings.accounts.values():
        yield lane(runtime, account, now=time.time())
        if api:
            yield credentials(runtime, account)
        yield from rights(runtime, account)


def settings(found: Settings) -> Iterator[Finding]:
    """Where they came from, and their warnings."""
    where = str(found.file) if found.file else "no file; from the environment alone"
    yield Finding("settings", "ok", f"{where}, {len(found.accounts)} account(s)")
    yield from warnings(found)


def warnings(found: Settings, account: str = "") -> Iterator[Finding]:
    """What is odd about them, or about an account in them, such as a token and a secret that are swapped."""
    for warning in found.warnings:
        if warning.startswith(f"accounts.{account}." if account else ""):
            yield Finding("settings", "warn", warning, "See docs/reference/settings.md.")


# --- Redis


def redis(runtime: Runtime) -> Iterator[Finding]:
    """Version, eviction, persistence and clock of the server; raises StoreUnavailable when it is away."""
    client: Any = runtime.client
    with available():
        info: Mapping[str, Any] = (
            client.info()
        )  # first, because finding the master may take seconds, and the clock goes on
        before = time.time()
        seconds, micros = client.time()
        after = time.time()
    yield version(info, str(shielded(runtime.settings.redis_url)))
    yield eviction(info)
    yield persistence(info, _fsync(client))
    yield clock(seconds + micros / 1e6 - (before + after) / 2)


def version(info: Mapping[str, Any], where: str) -> Finding:
    """Whether the server is new enough."""
    number = str(info.get("redis_version", "0"))
    product = f"{info.get('server_name', 'redis')} {info.get('valkey_version', number)}"
    if tuple(int(part) for part in number.split(".")[:2]) < OLDEST:
        return Finding(
            "redis", "fail", f"{product} at {where} is too old", "Use Redis or Valkey 7.0 or newer."
        )
    return Finding("redis", "ok", f"{product} at {where}")


def eviction(info: Mapping[str, Any]) -> Finding:
    """Whether a full server refuses new changes rather than drop accepted ones."""
    policy, bound = str(info.get("maxmemory_policy", "unknown")), int(info.get("maxmemory", 0))
    if policy != "noeviction":
        text = f"maxmemory-policy is {policy}: a full server drops accepted changes"
        return Finding("eviction", "fail" if bound else "warn", text, "Set maxmemory-policy noeviction.")
    return Finding(
        "eviction",
        "ok",
        f"noeviction, {bound / 2**20:,.0f} MiB at most" if bound else "noeviction, memory without a bound",
    )


def _fsync(client: Any) -> str:
    """The server's fsync policy; hosted servers often keep it to themselves."""
    try:
        return str(
            {_text(key): _text(value) for key, value in client.config_get("appendfsync").items()}.get(
                "appendfsync", "unknown"
            )
        )
    except RedisError:
        return "unknown"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def persistence(info: Mapping[str, Any], fsync: str) -> Finding:
    """What is lost when the server dies."""
    if not info.get("aof_enabled"):
        return Finding(
            "persistence",
            "warn",
            "no append-only file: what was accepted is lost when the server ends",
            "Set appendonly yes.",
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "persistence",
            "fail",
            "the append-only file cannot be written",
            "Look at the server's disk and log.",
        )
    lost = {
        "always": "nothing is lost when it dies",
        "everysec": "at most the last second is lost when it dies",
    }
    if fsync == "no":
        text = "append-only file, appendfsync no: the system decides when to write"
        return Finding("persistence", "warn", text, "Set appendfsync everysec or always.")
    return Finding(
        "persistence",
        "ok",
        f"append-only file, appendfsync {fsync}" + (f": {lost[fsync]}" if fsync in lost else ""),
    )


def clock(ahead: float) -> Finding:
    """Whether Redis's clock, which signs, is right by ours; `ahead` in seconds."""
    text = f"Redis is {ahead:+.1f} s from this machine"
    if abs(ahead) > DRIFT:
        return Finding("clock", "warn", text, "Requests are signed with Redis's time: keep both by NTP.")
    return Finding("clock", "ok", text)


# --- Celery


def broker(celery: "Celery", *, shown: str) -> Iterator[Finding]:
    """Whether the broker answers and workers listen to every queue."""
    try:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=PATIENCE)
            yield Finding("broker", "ok", shown)
        queues = celery.control.inspect(timeout=PATIENCE).active_queues() or {}
    except Exception as error:  # whatever the transport's client raises
        reason = f"{shown} does not answer ({type(error).__name__})"
        yield Finding("broker", "fail", reason, "Start it, or set RELATIONS_BROKER_URL to one that runs.")
        return
    yield workers(queues, QUEUES)


def workers(queues: Mapping[str, Any], wanted: Sequence[str]) -> Finding:
    """Whether workers listen to every wanted queue, by what Celery's inspection answered."""
    heard = {queue["name"] for each in queues.values() for queue in each}
    deaf = [queue for queue in wanted if queue not in heard]
    if not queues:
        todo = f"Start one: celery -A worker.app worker -Q {','.join(wanted)}"
        return Finding("workers", "fail", "none answers: changes are accepted, and nothing is sent", todo)
    if deaf:
        text = f"{len(queues)} answer, and none listens to {', '.join(deaf)}"
        return Finding("workers", "warn", text, "Give a worker -Q with these queues.")
    return Finding("workers", "ok", f"{len(queues)} answer: {', '.join(sorted(queues))}")


def sweep(last: float, *, now: float) -> Finding:
    """Whether beat's sweep, which repairs lost wake-ups, is made; `last` in seconds since 1970, 0 for never."""
    if last and now - last <= LATE:
        return Finding("sweep", "ok", f"the last was {max(now - last, 0.0):.0f} s ago")
    text = f"the last was {now - last:,.0f} s ago" if last else "there never was one"
    return Finding(
        "sweep", "fail", f"{text}: lost wake-ups are not repaired", "Start beat: celery -A worker.app beat"
    )


# --- accounts


def lane(runtime: Runtime, account: Account, *, now: float) -> Finding:
    """Whether the account is stopped, or its changes wait longer than a sweep would let them."""
    what, store = f"account {account.name}", runtime.store
    if pause := store.get_pause(account.name):
        why = ": ".join(filter(None, (pause.reason, pause.detail)))
        return Finding(
            what,
            "warn",
            f"is paused ({why})",
            f"When its cause is gone: relations accounts resume {account.name}",
        )
    if account.mode == "observe":
        return Finding(
            what,
            "warn",
            "only observes: nothing but reads is sent",
            'Set mode = "write" when the plans are right.',
        )
    waiting = store.counts(account.name)["backlog"]
    if not waiting:
        return Finding(what, "ok", "nothing waits in the inbox")
    newest = runtime.queries.find_jobs(account.name, JobFilter(state="queued"), limit=1).jobs
    age = (
        now - newest[0].accepted_at / 1e6 if newest and not newest[0].replay else 0.0
    )  # it is not known since when a replayed one waits
    if age > IDLE:
        text = f"{waiting:,} wait, the newest for {age:,.0f} s: neither a wake-up nor a sweep came"
        return Finding(what, "fail", text, "Start a worker and beat: celery -A worker.app beat")
    return Finding(what, "ok", "1 change waits" if waiting == 1 else f"{waiting:,} changes wait")


def credentials(runtime: Runtime, account: Account) -> Finding:
    """Whether the API takes the account's credentials; asked by reading one relation that need not be there."""
    what = f"credentials {account.name}"
    with available():
        seconds, _ = runtime.client.time()
    read = Action("get", PROBE.type, (PROBE.parent,), (), asked=(PROBE,))
    reply = runtime.api(account).send([read], request_id="doctor", now=float(seconds))
    return _skewed(what, reply.skew) or _answered(what, reply.results[0], reply.seconds, account.api_url)


def _skewed(what: str, skew: float | None) -> Finding | None:
    if skew is None or abs(skew) < SIGNATURE_LIFE / 4:
        return None
    level: Level = "fail" if abs(skew) >= SIGNATURE_LIFE else "warn"
    return Finding(
        what,
        level,
        f"the API's clock is {skew:+.0f} s from Redis's; a signature is valid for ±120 s",
        advice(136),
    )


def _answered(what: str, outcome: ActionResult, seconds: float, url: str) -> Finding:
    if outcome.verdict is Verdict.OK:
        return Finding(what, "ok", f"accepted by {url} in {seconds:.2f} s")
    if outcome.verdict is not Verdict.REJECTED:
        text = f"{url} gave no usable answer: {outcome.message or outcome.verdict}"
        return Finding(what, "fail", text, "Check the network and the API's URL.")
    said = f"{outcome.code} {describe(outcome.code, outcome.message)}"
    if outcome.error in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK):
        return Finding(what, "fail", f"refused: {said}", advice(outcome.code))
    return Finding(what, "warn", f"accepted, but the read was refused: {said}", advice(outcome.code))


def rights(runtime: Runtime, account: Account) -> Iterator[Finding]:
    """What the API refused for want of a right. Only a write can tell, so this is what the failures that wait for a decision say."""
    for each in runtime.queries.failure_groups(account.name):
        if each.error == ErrorClass.RIGHTS:
            text = f"{each.code} {describe(each.code)}: {each.jobs:,} failed of {each.type}"
            yield Finding(f"rights {account.name}", "warn", text, advice(each.code))
