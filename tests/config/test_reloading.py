"""The settings are read again when their file changes; bad ones are reported, and the last good ones stay."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from worker import live_settings
from worker.config import load_settings
from worker.live_settings import LiveSettings

TIMES = itertools.count(1)
ACCOUNT = '[accounts.acme]\ntoken = "env:T"\nsecret = "env:S"\n'


@pytest.fixture
def running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> tuple[LiveSettings, Path, list[tuple[str, Any]]]:
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
    events: list[tuple[str, Any]] = []
    settings = load_settings(os.environ, Path.cwd())
    return LiveSettings(settings, lambda event, /, **fields: events.append((event, fields))), file, events


def rewrite(file: Path, text: str) -> None:
    file.write_text(text)
    os.utime(file, (1, next(TIMES)))  # whatever the file system's clock can tell apart


def test_a_changed_file_is_in_force_wherever_it_lies(running: Any) -> None:
    live, file, events = running
    rewrite(file, ACCOUNT + "rate = 9.0\n")
    live.refresh()
    assert live.current.accounts["acme"].rate == 9.0
    rewrite(file, ACCOUNT + "rate = 7.5\n")
    live.refresh()
    live.refresh()
    assert live.current.accounts["acme"].rate == 7.5
    assert [event for event, _ in events] == ["settings.reloaded"] * 2


class WritingEnvironment(dict[str, str]):
    """An environment in which somebody writes the settings file before its variables are looked through."""

    def __init__(self, file: Path, text: str) -> None:
        super().__init__(os.environ)
        self.file, self.text = file, text

    def items(self) -> Any:
        rewrite(self.file, self.text)
        return super().items()


def test_a_file_that_is_written_while_it_is_read_is_read_again(running: Any) -> None:
    _, file, _ = running
    settings = load_settings(WritingEnvironment(file, ACCOUNT + "rate = 9.0\n"), Path.cwd())
    assert settings.accounts["acme"].rate != 9.0
    assert LiveSettings(settings, lambda *_, **__: None).refresh().accounts["acme"].rate == 9.0


def test_a_file_behind_a_link_is_followed_wherever_that_leads_next(running: Any) -> None:
    live, file, events = running
    for rate in (9.0, 7.5, 6.0):
        target = file.parent / f"rate-{rate}" / "relations.toml"
        target.parent.mkdir()
        target.write_text(f"{ACCOUNT}rate = {rate}\n")
        link = file.parent / "link"
        link.symlink_to(target)
        link.replace(file)  # as Kubernetes mounts a new ConfigMap, and a deployment a new release
        live.refresh()
        assert live.current.accounts["acme"].rate == rate
    assert {event for event, _ in events} == {"settings.reloaded"}


@pytest.mark.parametrize(
    "text", ["", "[accounts", ACCOUNT + "rate = 'fast'\n", ACCOUNT.replace("env:T", "env:NOWHERE")]
)
def test_what_cannot_be_used_changes_nothing_and_is_reported_once(running: Any, text: str) -> None:
    live, file, events = running
    before = live.current
    rewrite(file, text)
    live.refresh()
    live.refresh()
    assert live.current is before
    assert [event for event, _ in events] == ["settings.rejected"]
    rewrite(file, ACCOUNT + "rate = 9.0\n")
    live.refresh()
    assert live.current.accounts["acme"].rate == 9.0


def test_a_file_that_could_not_be_read_once_is_read_when_it_can(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, file, events = running
    rewrite(file, ACCOUNT.replace("env:T", "file:token"))  # as a new secret that is mounted a moment later
    live.refresh()
    assert (events[-1][0], bool(live.faults)) == ("settings.rejected", True)
    (file.parent / "token").write_text("n" * 32)
    monkeypatch.setattr(live_settings, "RETRY_INTERVAL", 0.0)
    live._retry_at = 0.0
    live.refresh()
    assert live.faults == ()
    assert live.current.accounts["acme"].token.reveal() == "n" * 32
    assert [event for event, _ in events] == ["settings.rejected", "settings.reloaded"]


def test_a_file_with_the_time_of_the_one_before_is_read_again(running: Any) -> None:
    live, file, _ = running
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_text(ACCOUNT + "rate = 9.0\n")
    os.utime(file, ns=times)
    assert live.refresh().accounts["acme"].rate == 9.0
