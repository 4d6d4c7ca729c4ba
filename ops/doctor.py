"""The doctor: checks every part that a working system needs, and reports how each is and what to do.

Reads only, unless it is to mend what is stored: Redis is asked about itself, workers are pinged,
and credentials are tried by a harmless read.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from httpcore import ConnectError
from redis.exceptions import RedisError

from ops.explain.text import format_cause, format_tally, pluralize
from worker.background import cause_of
from worker.celery_config import queue_names
from worker.clock import IdGenerator
from worker.config import Account, Callback, Settings, mask_url
from worker.config.proxy import find_proxy
from worker.config.values import SIGNATURE_LIFE
from worker.contract import Relation, write_instant
from worker.errors import StoreUnavailable
from worker.onoffice.codes import advice, describe
from worker.planner.actions import Action, ActionResult, ErrorClass, Verdict
from worker.ports import AuditEntry, DeliveryFilter, DeliveryFlaw, Inspection
from worker.redis.client import translate_errors
from worker.redis.scripts import MIN_SERVER_VERSION
from worker.usecases.health import (
    Health,
    Severity,
    Trouble,
    find_account_troubles,
    find_memory_trouble,
    find_sweep_trouble,
    find_worker_trouble,
)
from worker.wiring import Runtime

if TYPE_CHECKING:
    from celery import Celery

Level = Literal["ok", "warn", "fail"]

PROBE_RELATION: Final = Relation("estate:address:buyer", 1, 1)
LATEST: Final = 100  # deliveries of a source that are looked at
MAX_CLOCK_DRIFT: Final = 2.0  # seconds between two clocks that nobody needs to look at
WAITS: Final = ("breaker", "pace", "guard", "doubt", "suspicion", "backoff")  # what else is told of otherwise
LEVELS: Final[Mapping[Severity, Level]] = {"page": "fail", "ticket": "warn"}
REPLY_TIMEOUT: Final = 2  # seconds for the broker and the workers to answer


class Finding(NamedTuple):
    """The result of one check: what was checked, how it is, and what to do about it."""

    subject: str
    level: Level
    message: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as plain data."""
        return {"what": self.subject, "level": self.level, "text": self.message, "todo": self.advice}


def report(subject: str, trouble: Trouble) -> Finding:
    """Return a trouble, which readiness and alerts tell too, as a finding."""
    return Finding(subject, LEVELS[trouble.severity], trouble.message, trouble.advice)


def verdict_of(findings: Iterable[Finding]) -> Level:
    """Return how all is: the worst of what was found."""
    levels = {finding.level for finding in findings}
    return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"


def report_troubles(troubles: Iterable[Trouble]) -> list[Finding]:
    """Return the troubles of a system as findings."""
    return [report(f"account {each.account}" if each.account else "system", each) for each in troubles]


def run_checks(runtime: Runtime, celery: "Celery", *, api: bool = True) -> Iterator[Finding]:
    """Yield findings as they are made: settings, Redis, broker, workers, sweep, then account by account."""
    settings = runtime.settings
    yield from check_settings(settings)
    try:
        yield from check_redis(runtime)
        is_reachable = True
    except StoreUnavailable as error:
        message = f"{mask_url(settings.redis_url)} does not answer: {error}"
        yield Finding("redis", "fail", message, "Start it, or set RELATIONS_REDIS_URL to one that runs.")
        is_reachable = False
    health = _read_health(runtime) if is_reachable else None
    yield from check_broker(celery, settings, health)
    if is_reachable and not health:
        yield Finding("system", "fail", "is not known: Redis refuses what is asked", "Mend what Redis says.")
    if health:
        yield from check_system(health)
    if is_reachable:
        for callback in settings.callbacks.values():
            yield from _guarded(f"callback {callback.name}", check_callback(runtime, callback))
    for account in settings.accounts.values():
        if health:
            yield from _guarded(f"account {account.name}", check_work(runtime, account, health))
        if api:
            yield check_credentials(runtime, account)
    for source in settings.sources if health else ():
        yield from _guarded(f"source {source}", check_deliveries(runtime, source))


def _read_health(runtime: Runtime) -> Health | None:
    try:
        return runtime.read_health()
    except StoreUnavailable:
        return None


def _guarded(subject: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings; what Redis refuses to say is one more, and ends these alone."""
    try:
        yield from findings
    except StoreUnavailable as error:
        yield Finding(subject, "fail", f"is not known: {error}", "Mend what Redis says.")


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Yield where the settings came from, and their warnings."""
    where = str(settings.file) if settings.file else "no file; from the environment alone"
    yield Finding("settings", "ok", f"{where}, {len(settings.accounts)} account(s)")
    for fault in settings.spared:
        advice = "Correct it: no process starts with this, and those that run go on with old settings."
        yield Finding("settings", "fail", fault, advice)
    yield from find_settings_warnings(settings)


def find_settings_warnings(settings: Settings, account: str = "") -> Iterator[Finding]:
    """Yield what is odd about the settings, or about one account, such as token and secret swapped."""
    for warning in settings.warnings:
        if warning in settings.spared:
            continue
        if warning.startswith(f"accounts.{account}." if account else ""):
            yield Finding("settings", "warn", warning, "See docs/reference/settings.md.")


# --- Redis


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
    number = str(info.get("redis_version", "0"))
    server = f"{info.get('server_name', 'redis')} {info.get('valkey_version', number)} at {url}"
    if int(number.partition(".")[0]) < MIN_SERVER_VERSION:
        return Finding("redis", "fail", f"{server} is too old", "Use Redis or Valkey 7.0 or newer.")
    return Finding("redis", "ok", server)


def check_role(info: Mapping[str, Any], url: str) -> Iterator[Finding]:
    """Yield what the URL must not lead to: a replica, or one node of a cluster."""
    if info.get("role") == "slave":
        advice = "Name the master, or its sentinels by redis+sentinel://."
        yield Finding("redis", "fail", f"{url} is a replica: it takes no writes", advice)
    if info.get("redis_mode") == "cluster" and not url.startswith("redis+cluster://"):
        advice = "Write redis+cluster:// instead of redis:// in RELATIONS_REDIS_URL."
        yield Finding("redis", "fail", f"{url} is a node of a cluster, which has some accounts only", advice)


def check_eviction(info: Mapping[str, Any]) -> Finding:
    """Check that a full server refuses new changes rather than drop accepted ones."""
    policy, limit = str(info.get("maxmemory_policy", "unknown")), int(info.get("maxmemory", 0))
    if policy != "noeviction":
        message = f"maxmemory-policy is {policy}: a full server drops accepted changes"
        return Finding("eviction", "fail" if limit else "warn", message, "Set maxmemory-policy noeviction.")
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
    if not info.get("aof_enabled"):
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


# --- Celery


def check_broker(celery: "Celery", settings: Settings, health: Health | None) -> Iterator[Finding]:
    """Check that the broker answers and that workers listen to every queue."""
    url = mask_url(settings.broker_url)
    try:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(
                max_retries=1, interval_start=0, interval_step=0, timeout=REPLY_TIMEOUT
            )
            yield Finding("broker", "ok", mask_url(connection.as_uri()))
    except Exception as error:  # whatever the transport's client raises
        message = f"{url} does not answer ({cause_of(error)}): what is accepted is not woken"
        yield Finding("broker", "fail", message, "Start it, or set RELATIONS_BROKER_URL to one that runs.")
        return
    try:
        queues = celery.control.inspect(timeout=REPLY_TIMEOUT).active_queues() or {}
    except Exception as error:  # such as a user of Redis without a right to channels
        message = f"they cannot be asked: {error}"
        yield Finding(
            "workers", "warn", message, f"Let the broker's user use the channels {settings.prefix}*."
        )
        return
    yield check_workers(queues, queue_names(settings.prefix), health)


def check_workers(queues: Mapping[str, Any], wanted: Sequence[str], health: Health | None = None) -> Finding:
    """Check that workers listen to every wanted queue, by what Celery's inspection answered.

    Whether any is alive is told by their heartbeats, where these are known.
    """
    if health and (trouble := find_worker_trouble(health)):
        return report("workers", trouble)
    if health and not queues:
        alive = ", ".join(sorted(worker.name for worker in health.live_workers))
        message = f"none answers, though these are alive: {alive}"
        return Finding("workers", "warn", message, "See whether the broker lets them be asked.")
    served = {queue["name"] for worker_queues in queues.values() for queue in worker_queues}
    unserved = [queue for queue in wanted if queue not in served]
    if not queues:
        message = "none answers: changes are accepted, and nothing is sent"
        return Finding("workers", "fail", message, "Start one: celery -A worker.app worker")
    if unserved:
        message = f"{len(queues)} answer, and none listens to {', '.join(unserved)}"
        return Finding("workers", "warn", message, "Start a worker without -Q, or with these queues.")
    return Finding("workers", "ok", f"{len(queues)} answer: {', '.join(sorted(queues))}")


def check_system(health: Health) -> Iterator[Finding]:
    """Check that beat's sweep, which repairs lost wake-ups, runs, and that the store has room."""
    if trouble := find_sweep_trouble(health):
        yield report("sweep", trouble)
    else:
        yield Finding(
            "sweep", "ok", f"the last was {max(health.now - health.sweeps.at / 1e6, 0.0):.0f} s ago"
        )
    if trouble := find_memory_trouble(health):
        yield report("memory", trouble)


# --- callbacks


def check_callback(runtime: Runtime, callback: Callback) -> Iterator[Finding]:
    """Check that a callback's host has an address that may be told, and how many messages wait."""
    subject, host = f"callback {callback.name}", urlsplit(callback.url).hostname
    store = runtime.callbacks.store
    try:
        addresses = runtime.find_callback_addresses(callback)
    except ConnectError as error:
        advice = "Correct its url, or name the network in networks if it is to be told there."
        yield Finding(subject, "fail", f"{host} cannot be told: {error}", advice)
        return
    waiting = sum(store.count_waiting(account, callback.name) for account in callback.accounts)
    failing = [
        message
        for account in callback.accounts
        for message in store.list_messages(account).messages
        if message.callback == callback.name
        and message.state != "delivered"
        and (message.error or message.status)
    ]
    where = f"{host} ({', '.join(addresses)}), {pluralize(waiting, 'message')} to tell"
    if failing:
        latest = max(failing, key=lambda message: message.tried_at)
        advice = f"relations callbacks list --account {latest.account}; when it is mended, resend."
        message = f"{where}; the last attempt in vain: {latest.error or f'HTTP {latest.status}'}"
        yield Finding(subject, "warn", message, advice)
    else:
        yield Finding(subject, "ok", where)


# --- accounts


def check_work(runtime: Runtime, account: Account, health: Health) -> Iterator[Finding]:
    """Yield what the store knows of an account."""
    yield from check_account(account, health)
    waiting = runtime.waits.of_account(account.name)
    if waiting and waiting.reason in WAITS:
        until = f" until {write_instant(waiting.until)}" if waiting.until else ""
        message = f"its next change waits for {waiting.reason}{until}: {waiting.message}"
        yield Finding(f"account {account.name}", "ok", message)
    if runtime.inspector.has_signs(account.name):
        message = "what is stored of it contradicts itself"
        repair = f"The sweep mends small accounts. relations doctor --store {account.name} --repair"
        yield Finding(f"store {account.name}", "warn", message, repair)
    yield from check_rights(runtime, account)


def check_deliveries(runtime: Runtime, source: str) -> Iterator[Finding]:
    """Check that the rules of a source fit what comes to it, by the latest of its kept deliveries."""
    found = runtime.deliveries.find(DeliveryFilter(sources=(source,)), limit=LATEST).deliveries
    counts = Counter[str](delivery.outcome for delivery in found)
    subject, summary = f"source {source}", f"the latest {len(found)} deliveries: {format_tally(counts)}"
    lost = [outcome for outcome in ("no_rule", "unreadable", "refused") if counts[outcome]]
    if not found:
        yield Finding(subject, "ok", "no delivery is kept")
    elif lost and not counts["made"]:
        yield Finding(subject, "warn", summary, f"relations deliveries list --source {source} says why.")
    else:
        yield Finding(subject, "ok", summary)


def inspect_store(
    runtime: Runtime, account: str, *, repair: bool, by: str, on_progress: Callable[[int], None]
) -> Inspection:
    """Check all that is stored of an account, and mend it if asked to; the audit log says who did.

    Nobody works the account meanwhile. Raises Unavailable if a worker does not let go of it.
    """
    found = runtime.inspector.inspect(
        account, repair=repair, on_progress=lambda what, count: on_progress(count) if what == "jobs" else None
    )
    if repair and found.flaws:
        kinds = Counter(flaw.kind for flaw in found.flaws)
        what = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        entry = AuditEntry(IdGenerator()(), by, "store repaired", what, count=len(found.flaws))
        runtime.job_admin.add_audit_entry(account, entry)
        runtime.metrics.add(account, {f"mended:{kind}": count for kind, count in kinds.items()})
        runtime.wake(account, 0.0)
    return found


def inspect_deliveries(runtime: Runtime, account: str, *, repair: bool) -> list[DeliveryFlaw]:
    """Check the kept deliveries of the sources that are for an account, and mend them if asked to."""
    sources = [source.name for source in runtime.settings.sources.values() if account in source.account_names]
    return [flaw for name in sources for flaw in runtime.deliveries.inspect(name, repair=repair)]


def check_account(account: Account, health: Health) -> Iterator[Finding]:
    """Check that the account is not stopped, and that its changes do not wait for long."""
    subject, stats = f"account {account.name}", health.accounts[account.name].stats
    troubles = list(find_account_troubles(health, account.name))
    for trouble in troubles:
        finding = report(subject, trouble)
        if stats.pause and trouble.name.startswith("paused"):
            cause = format_cause(stats.pause.reason, stats.pause.detail)
            finding = finding._replace(message=f"is paused ({cause})")
        yield finding
    if troubles:
        return
    if account.mode == "observe":
        message = "only observes: nothing but reads is sent"
        yield Finding(subject, "warn", message, 'Set mode = "write" when the plans are right.')
    elif not stats.backlog:
        yield Finding(subject, "ok", "nothing waits in the inbox")
    else:
        waits = "1 change waits" if stats.backlog == 1 else f"{stats.backlog:,} changes wait"
        yield Finding(subject, "ok", waits)


def try_account(runtime: Runtime, account: Account) -> Iterator[Finding]:
    """Yield what is odd about the account's settings, and whether the API takes its credentials."""
    yield from find_settings_warnings(runtime.settings, account.name)
    yield check_credentials(runtime, account)


def check_credentials(runtime: Runtime, account: Account) -> Finding:
    """Check that the API takes the account's credentials, by reading a relation that need not be there."""
    subject, probe = f"credentials {account.name}", PROBE_RELATION
    read = Action("get", probe.type, (probe.parent,), (), asked=(probe,))
    try:
        now = float(runtime.metrics.now() // 1_000_000)
    except StoreUnavailable:
        now = float(int(time.time()))
    reply = runtime.api(account).send([read], request_id="doctor", now=now)
    return _check_skew(subject, reply.skew) or _check_answer(
        subject, reply.results[0], reply.seconds, account.api_url
    )


def _check_skew(subject: str, skew: float | None) -> Finding | None:
    if skew is None or abs(skew) < SIGNATURE_LIFE / 4:
        return None
    level: Level = "fail" if abs(skew) >= SIGNATURE_LIFE else "warn"
    message = f"the API's clock is {skew:+.0f} s from Redis's; a signature is valid for ±120 s"
    return Finding(subject, level, message, advice(136))


def _check_answer(subject: str, result: ActionResult, seconds: float, url: str) -> Finding:
    proxy = find_proxy(url, os.environ)
    url = f"{url} by the proxy {mask_url(proxy)}" if proxy else url
    if result.verdict is Verdict.OK:
        return Finding(subject, "ok", f"accepted by {url} in {seconds:.2f} s")
    if result.verdict is not Verdict.REJECTED:
        message = f"{url} gave no usable answer: {result.message or result.verdict}"
        what = "the API's URL, and HTTPS_PROXY or NO_PROXY" if proxy else "the API's URL"
        return Finding(subject, "fail", message, f"Check the network and {what}.")
    refusal = f"{result.code} {describe(result.code, result.message)}"
    if result.error in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK):
        return Finding(subject, "fail", f"refused: {refusal}", advice(result.code))
    return Finding(subject, "warn", f"accepted, but the read was refused: {refusal}", advice(result.code))


def check_rights(runtime: Runtime, account: Account) -> Iterator[Finding]:
    """Yield the rights that the API refused, by unresolved failures: only a write can show one."""
    for failure in runtime.queries.failure_groups(account.name):
        if failure.error == ErrorClass.RIGHTS:
            message = f"{failure.code} {describe(failure.code)}: {failure.jobs:,} failed of {failure.type}"
            yield Finding(f"rights {account.name}", "warn", message, advice(failure.code))
