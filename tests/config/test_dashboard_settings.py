"""The table of the operators' pages: what may stand in it, and what is refused with the path of the fault."""

from pathlib import Path

import pytest

from worker.config import Settings, load_settings
from worker.errors import InvalidSettings

KEY = '[keys.desk]\nsha256 = "' + "0" * 64 + '"\naccounts = ["unrouted"]\ncan = ["read"]\n'


def load(folder: Path, text: str) -> Settings:
    (folder / "relations.toml").write_text(f"{KEY}\n[dashboard]\n{text}", "utf-8")
    return load_settings({"SESSIONS": "s" * 40, "SHORT": "s" * 15}, folder)


def test_without_the_table_there_are_pages_with_a_session_of_half_a_day(tmp_path: Path) -> None:
    (tmp_path / "relations.toml").write_text(KEY, "utf-8")
    board = load_settings({}, tmp_path).dashboard
    assert (board.enabled, board.session_hours, board.time_zone, board.mask_ids) == (True, 12.0, "UTC", False)
    assert (board.secrets, board.proxies, board.users) == ((), (), {})


def test_everything_can_be_set(tmp_path: Path) -> None:
    board = load(
        tmp_path,
        'secret = ["env:SESSIONS"]\nsession_hours = 1\ntime_zone = "Europe/Berlin"\nmask_ids = true\n'
        'proxies = ["10.0.0.0/8", "::1"]\nuser_header = "X-User"\nusers = { anna = "desk", "*" = "desk" }\n',
    ).dashboard
    assert [secret.reveal() for secret in board.secrets] == ["s" * 40]
    assert board.proxies == ("10.0.0.0/8", "::1")
    assert board.users == {"anna": "desk", "*": "desk"}
    assert "s" * 40 not in repr(board)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('secret = "env:NOT_SET"', "dashboard.secret"),
        ('secret = "env:SHORT"', "dashboard.secret"),
        ("session_hours = 0", "dashboard.session_hours"),
        ('time_zone = "Berlin"', "dashboard.time_zone"),
        ('time_zone = "../../etc/passwd"', "dashboard.time_zone"),
        ('proxies = ["proxy.example"]', "dashboard.proxies[0]"),
        ('user_header = "X User"', "dashboard.user_header"),
        ('user_header = "X-User"', "dashboard.proxies"),
        ('proxies = ["::1"]', "dashboard.user_header"),
        ('proxies = ["::1"]\nuser_header = "X-User"\nusers = { a = "dask" }', "dashboard.users.a"),
        ("colour = 1", "dashboard.colour"),
        ("mask_ids = 1", "dashboard.mask_ids"),
    ],
)
def test_faults_are_named_by_their_path(tmp_path: Path, text: str, path: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load(tmp_path, text)
    assert path in [fault.path for fault in refused.value.faults]
