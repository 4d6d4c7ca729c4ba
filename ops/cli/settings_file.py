"""Adds tables to the settings file: checked before, whole or not at all; nothing else is touched."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from producers.webhooks.mapping import check_rules
from worker.config import load_settings
from worker.config.loader import FILE_VARIABLE
from worker.errors import Fault, InvalidSettings


def add_to_settings(file: Path, text: str, path: str) -> None:
    """Write the text behind what the file holds.

    Raises InvalidSettings with the faults of the tables below `path`, OSError if the file cannot be written.
    """
    file = file.resolve()
    before = file.read_bytes().rstrip()
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as fresh:
            fresh.write(before + f"\n\n{text.strip()}\n".encode())
        if faults := [fault for fault in _find_faults(Path(name)) if fault.path.startswith(path)]:
            raise InvalidSettings(faults)
        shutil.copymode(file, name)
        give_to_owner_of(file, Path(name))
        os.replace(name, file)
    finally:
        Path(name).unlink(missing_ok=True)


def give_to_owner_of(file: Path, fresh: Path) -> None:
    """Give a new file to the owner of the settings, who reads it, if whoever makes it is another and may."""
    status = file.stat()
    with suppress(PermissionError):
        os.chown(fresh, status.st_uid, status.st_gid)


def _find_faults(file: Path) -> list[Fault]:
    environ = {**os.environ, FILE_VARIABLE: str(file)}
    try:
        check_rules(load_settings(environ, file.parent))
    except InvalidSettings as error:
        return list(error.faults)
    return []
