"""Secrets show themselves only when asked, and are read again when they change."""

import copy
import os
import pickle
from pathlib import Path

import pytest

from worker.config import Secret, fingerprint
from worker.errors import InvalidSettings


@pytest.mark.parametrize(
    ("reference", "shown"),
    [("a-literal-secret", "***"), ("env:TOKEN", "env:TOKEN"), ("file:token", "file:token")],
)
def test_a_secret_shows_where_it_is_but_never_what_it_is(tmp_path: Path, reference: str, shown: str) -> None:
    (tmp_path / "token").write_text("a-secret-in-a-file\n")
    secret = Secret(reference, environ={"TOKEN": "a-secret-in-the-environment"}, folder=tmp_path)
    value = secret.reveal()
    assert str(secret) == f"{secret}" == shown
    assert repr(secret) == f"Secret({shown})"
    assert value.startswith("a-")
    assert value not in f"{secret!r}{secret!s}{[secret]}"


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_does_not_leave_the_process(leave: object) -> None:
    assert callable(leave)
    with pytest.raises(TypeError, match="does not leave"):
        leave(Secret("a-literal-secret"))


def test_a_file_is_read_again_when_it_was_replaced(tmp_path: Path) -> None:
    path, secret = tmp_path / "token", Secret("file:token", folder=tmp_path)
    path.write_text("first\n")
    assert secret.reveal() == "first"
    (tmp_path / "new").write_text("other\n")
    os.utime(tmp_path / "new", ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    (tmp_path / "new").rename(path)
    assert secret.reveal() == "other"


def test_a_file_is_read_again_when_it_was_changed(tmp_path: Path) -> None:
    path, secret = tmp_path / "token", Secret("file:token", folder=tmp_path)
    path.write_text("first")
    assert secret.reveal() == "first"
    path.write_text("other")
    os.utime(path, ns=(1, 1))
    assert secret.reveal() == "other"


def test_while_its_file_is_missing_or_empty_a_secret_keeps_its_last_value(tmp_path: Path) -> None:
    path, secret = tmp_path / "token", Secret("file:token", folder=tmp_path)
    path.write_text("first")
    assert secret.reveal() == "first"
    path.write_text("")
    assert secret.reveal() == "first"
    path.unlink()
    assert secret.reveal() == "first"


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "is empty or not set"), (b"\xff\xfe", "cannot be read: it is not text")]
)
def test_a_file_without_a_secret_is_a_fault_that_names_it(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(InvalidSettings, match=f"file:token: {why}"):
        Secret("file:token", folder=tmp_path).reveal()


def test_an_environment_that_changes_is_seen() -> None:
    environ = {"TOKEN": "first"}
    secret = Secret("env:TOKEN", environ=environ)
    environ["TOKEN"] = "other"
    assert secret.reveal() == "other"
    del environ["TOKEN"]
    with pytest.raises(InvalidSettings, match="env:TOKEN: is empty or not set"):
        secret.reveal()


def test_a_fingerprint_changes_with_token_secret_and_salt_and_shows_none_of_them() -> None:
    prints = {
        fingerprint(*credentials)
        for credentials in [
            ("t", "s", "1"),
            ("u", "s", "1"),
            ("t", "u", "1"),
            ("t", "s", "2"),
            ("ts", "", "1"),
            ("", "ts", "1"),
        ]
    }
    assert len(prints) == 6
    assert fingerprint("t", "s", "1") == fingerprint("t", "s", "1")
    assert all(len(text) == 16 for text in prints)
