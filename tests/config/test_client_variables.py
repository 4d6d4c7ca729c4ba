"""What only commands with `--url` read is no mistyped setting."""

from pathlib import Path

from worker.config import load_settings


def test_the_variables_of_clients_are_no_mistyped_settings(tmp_path: Path) -> None:
    names = ("RELATIONS_URL", "RELATIONS_KEY", "RELATIONS_KEY_FILE")
    plain = load_settings({}, tmp_path).warnings
    assert load_settings(dict.fromkeys(names, "x"), tmp_path).warnings == plain
    assert len(load_settings({"RELATIONS_API_URI": "x"}, tmp_path).warnings) == len(plain) + 1
