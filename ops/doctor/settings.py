"""Checks of the settings, which were read already, and that the API takes the credentials in them."""

import os
import time
from collections.abc import Iterator
from typing import Final

from ops.doctor.findings import Finding, Level
from producers.webhooks.mapping import check_rules
from worker.config import Account, Settings, mask_url
from worker.config.urls import find_proxy
from worker.config.values import SIGNATURE_LIFE
from worker.contract import Relation
from worker.errors import InvalidSettings, StoreUnavailable
from worker.onoffice.codes import advise, describe
from worker.planner.actions import Action, ActionResult, ErrorClass, Verdict
from worker.wiring import Runtime

UNREADABLE: Final = "Ask onOffice's support; until then whatever has to be read before it is written waits."
PROBE_RELATION: Final = Relation("estate:address:buyer", 1, 1)


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
    return Finding(subject, level, message, advise(136))


def _check_answer(subject: str, result: ActionResult, seconds: float, url: str) -> Finding:
    proxy = find_proxy(url, os.environ)
    url = f"{url} by the proxy {mask_url(proxy)}" if proxy else url
    if result.verdict is Verdict.OK and result.unreadable:
        message = f"accepted by {url}, but what a read answers cannot be read"
        return Finding(subject, "warn", message, UNREADABLE)
    if result.verdict is Verdict.OK:
        return Finding(subject, "ok", f"accepted by {url} in {seconds:.2f} s")
    if result.verdict is not Verdict.REJECTED:
        message = f"{url} gave no usable answer: {result.message or result.verdict}"
        what = "the API's URL, and HTTPS_PROXY or NO_PROXY" if proxy else "the API's URL"
        return Finding(subject, "fail", message, f"Check the network and {what}.")
    refusal = f"{result.code} {describe(result.code, result.message)}"
    if result.error in (ErrorClass.CREDENTIALS, ErrorClass.CLOCK):
        return Finding(subject, "fail", f"refused: {refusal}", advise(result.code))
    return Finding(subject, "warn", f"accepted, but the read was refused: {refusal}", advise(result.code))


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Yield where the settings came from, and their warnings."""
    where = str(settings.file) if settings.file else "no file; from the environment alone"
    yield Finding("settings", "ok", f"{where}, {len(settings.accounts)} account(s)")
    for fault in settings.spared:
        advice = "Correct it: no process starts with this, and those that run go on with old settings."
        yield Finding("settings", "fail", fault, advice)
    yield from _find_rule_faults(settings)
    yield from find_settings_warnings(settings)


def _find_rule_faults(settings: Settings) -> Iterator[Finding]:
    try:
        check_rules(settings)
    except InvalidSettings as error:
        advice = "Correct it: the HTTP interface does not start with this; one that runs keeps its old rules."
        for fault in error.faults:
            yield Finding("settings", "fail", str(fault), advice)


def find_settings_warnings(settings: Settings, account: str = "") -> Iterator[Finding]:
    """Yield what is odd about the settings, or about one account, such as token and secret swapped."""
    for warning in settings.warnings:
        if warning in settings.spared:
            continue
        if warning.startswith(f"accounts.{account}." if account else ""):
            yield Finding("settings", "warn", warning, "See docs/reference/settings.md.")
