"""Checks of the settings, which were read already."""

from collections.abc import Iterator

from ops.doctor.findings import Finding
from worker.config import Settings


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
