"""Checks of the deliveries that come to webhooks, and of the callbacks that are told of batches."""

from collections import Counter
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from httpcore import ConnectError

from ops.doctor.findings import Finding
from ops.explain.text import format_tally, pluralize
from worker.config import Callback
from worker.ports.deliveries import DeliveryFilter
from worker.wiring import Runtime

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
