"""Checks of how an account stands, by what is stored of it."""

from collections.abc import Iterator
from typing import Final

from ops.doctor.findings import Finding, report
from ops.explain.text import format_cause
from worker.config import Account
from worker.contract import write_instant
from worker.onoffice.codes import advice, describe
from worker.planner.actions import ErrorClass
from worker.usecases.health import Health, find_account_troubles
from worker.wiring import Runtime

WAITS: Final = ("breaker", "pace", "guard", "doubt", "suspicion", "backoff")  # what else is told of otherwise


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


def check_rights(runtime: Runtime, account: Account) -> Iterator[Finding]:
    """Yield the rights that the API refused, by unresolved failures: only a write can show one."""
    for failure in runtime.queries.failure_groups(account.name):
        if failure.error == ErrorClass.RIGHTS:
            message = f"{failure.code} {describe(failure.code)}: {failure.jobs:,} failed of {failure.type}"
            yield Finding(f"rights {account.name}", "warn", message, advice(failure.code))
