"""The settings as a running process has them: read again when their file changes."""

import os
from pathlib import Path

from worker.config import Settings, load_settings
from worker.errors import Fault, InvalidSettings
from worker.ports import EventSink


class LiveSettings:
    """The settings in force; a file that cannot be used is reported once, and the last good ones stay."""

    def __init__(self, settings: Settings, emit: EventSink) -> None:
        self.current = settings
        self._emit = emit
        self._version = _file_version(settings.file)

    def refresh(self) -> None:
        """Read the settings again if their file changed."""
        file = self.current.file
        if file is None or self._version == (version := _file_version(file)):
            return
        self._version = version
        try:
            self.current = self._reload(file)
            self._emit("settings.reloaded", file=str(self.current.file))
        except InvalidSettings as error:
            self._emit("settings.rejected", file=str(file), faults=[str(fault) for fault in error.faults])

    def _reload(self, file: Path) -> Settings:
        path = file.resolve()
        settings = load_settings({**os.environ, "RELATIONS_CONFIG": str(path)}, path.parent)
        if self.current.accounts and not settings.accounts:  # most likely it is being written
            raise InvalidSettings([Fault("accounts", "there is none any more; to do without any, restart")])
        return settings


def _file_version(file: Path | None) -> tuple[int, int] | None:
    """Return what changes when the file is written or replaced; None if there is no file."""
    try:
        status = file.stat() if file else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino) if status else None
