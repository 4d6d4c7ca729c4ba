"""The settings are read again when their file changes; bad ones are reported, and the last good ones stay."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from worker.config import load_settings
from worker.wiring import Runtime

TIMES = itertools.count(1)
ACCOUNT = '[accounts.acme]\ntoken = "env:T"\nsecret = "env:S"\n'


@pytest.fixture
def running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> tuple[Runtime, Path, list[tuple[str, Any]]]:
    """Return a runtime whose settings are named by a relative path in a folder, the file, and its events."""
    file = tmp_path / "conf" / "relations.toml"
    file.parent.mkdir()
    file.write_text(ACCOUNT)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "RELATIONS_CONFIG": "conf/relations.toml",
        "RELATIONS_REDIS_URL": redis_url,
        "T": "t" * 32,
        "S": "s" * 64,
    }.items():
        monkeypatch.setenv(name, value)
    runtime = Runtime(load_settings(os.environ, Path.cwd()), wake=lambda *_: None)
    events: list[tuple[str, Any]] = []
    runtime.emit = lambda event, /, **fields: events.append((event, fields))
    return runtime, file, events


def rewrite(file: Path, text: str) -> None:
    file.write_text(text)
    os.utime(file, (1, next(TIMES)))  # whatever the file system's clock can tell apart


def test_a_changed_file_is_in_force_wherever_it_lies(running: Any) -> None:
    runtime, file, events = running
    rewrite(file, ACCOUNT + "rate = 9.0\n")
    runtime.refresh()
    assert runtime.settings.accounts["acme"].rate == 9.0
    rewrite(file, ACCOUNT + "rate = 7.5\n")
    runtime.refresh()
    runtime.refresh()
    assert runtime.settings.accounts["acme"].rate == 7.5
    assert [event for event, _ in events] == ["settings.reloaded"] * 2


@pytest.mark.parametrize(
    "text", ["", "[accounts", ACCOUNT + "rate = 'fast'\n", ACCOUNT.replace("env:T", "env:NOWHERE")]
)
def test_what_cannot_be_used_changes_nothing_and_is_reported_once(running: Any, text: str) -> None:
    runtime, file, events = running
    before = runtime.settings
    rewrite(file, text)
    runtime.refresh()
    runtime.refresh()
    assert runtime.settings is before
    assert [event for event, _ in events] == ["settings.rejected"]
    rewrite(file, ACCOUNT + "rate = 9.0\n")
    runtime.refresh()
    assert runtime.settings.accounts["acme"].rate == 9.0
