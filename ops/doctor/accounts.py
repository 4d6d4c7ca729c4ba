"""Checks of accounts by what is stored of them, of what came to webhooks, and of callbacks."""

from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from httpcore import ConnectError

from ops.doctor.findings import Finding, report
from ops.explain.text import format_cause, format_tally, pluralize
from worker.config import Account, Callback
from worker.contract import write_instant
from worker.onoffice.codes import advise, describe
from worker.planner.actions import ErrorClass
from worker.ports.deliveries import DeliveryFilter
from worker.redis.client import translate_unreadable
from worker.usecases.health import Health, find_account_troubles
from worker.wiring import Runtime

WAITS: Final = ("breaker", "pace", "guard", "doubt", "suspicion", "backoff")  # what else is told of otherwise


def check_work(runtime: Runtime, account: Account, health: Health) -> Iterator[Finding]:
    """Yield what the store knows of an account."""
    yield from check_account(account, health)
    if account.name in health.accounts:
        with translate_unreadable(account.name):
            yield from check_stored(runtime, account)


def check_stored(runtime: Runtime, account: Account) -> Iterator[Finding]:
    """Yield for what an account waits, whether its data contradicts itself, and the rights that it lacks."""
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


def check_account(account: Account, health: Health) -> Iterator[Finding]:
    """Check that the account is not stopped, and that its changes do not wait for long."""
    subject, known = f"account {account.name}", health.accounts.get(account.name)
    troubles = list(find_account_troubles(health, account.name))
    for trouble in troubles:
        finding = report(subject, trouble)
        if known and known.stats.pause and trouble.name.startswith("paused"):
            cause = format_cause(known.stats.pause.reason, known.stats.pause.detail)
            finding = finding._replace(message=f"is paused ({cause})")
        yield finding
    if troubles or not known:
        return
    if account.mode == "observe":
        message = "only observes: nothing but reads is sent"
        yield Finding(subject, "warn", message, 'Set mode = "write" when the plans are right.')
    elif not (backlog := known.stats.backlog):
        yield Finding(subject, "ok", "nothing waits in the inbox")
    else:
        waits = "1 change waits" if backlog == 1 else f"{backlog:,} changes wait"
        yield Finding(subject, "ok", waits)


def check_rights(runtime: Runtime, account: Account) -> Iterator[Finding]:
    """Yield the rights that the API refused, by unresolved failures: only a write can show one."""
    for failure in runtime.queries.failure_groups(account.name):
        if failure.error == ErrorClass.RIGHTS:
            message = f"{failure.code} {describe(failure.code)}: {failure.jobs:,} failed of {failure.type}"
            yield Finding(f"rights {account.name}", "warn", message, advise(failure.code))


LATEST: Final = 100  # deliveries of a source that are looked at


def check_deliveries(runtime: Runtime, source: str) -> Iterator[Finding]:
    """Check that the rules of a source fit what comes to it, by the latest of its kept deliveries."""
    found = runtime.deliveries.find(DeliveryFilter(sources=(source,)), limit=LATEST).entries
    counts = Counter[str](delivery.outcome for delivery in found)
    subject, summary = f"source {source}", f"the latest {len(found)} deliveries: {format_tally(counts)}"
    lost = [outcome for outcome in ("no_rule", "unreadable", "refused") if counts[outcome]]
    if not found:
        yield Finding(subject, "ok", "no delivery is kept")
    elif lost and not counts["made"]:
        yield Finding(subject, "warn", summary, f"relations deliveries list --source {source} says why.")
    else:
        yield Finding(subject, "ok", summary)


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
        for message in store.list_messages(account).entries
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
