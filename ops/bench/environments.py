"""An environment for each peer, made by pip from the index that pip is configured with; never the product's.

They lie in the user's cache (`XDG_CACHE_HOME`, else `~/.cache`) and are made once per set of requirements.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

INSTALL: Final = ("install", "--quiet", "--disable-pip-version-check", "--retries", "1")
TIMEOUT: Final = 300.0  # seconds an installation may take
READY: Final = "ready"  # the file that says that an environment is whole


class NotInstalled(Exception):
    """A peer that could not be installed; the message says why, in pip's last words."""


def environment(name: str, requires: Sequence[str]) -> Path:
    """Return the folder of executables of an environment with these requirements, made if it is not there."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256("\n".join((version, *requires)).encode()).hexdigest()[:12]
    place = cache() / f"{name}-{digest}"
    if not (place / READY).exists():
        _make(place, requires)
    return place / "bin"


def cache() -> Path:
    """Return the folder in which the environments lie."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "onoffice-relations", "bench-peers")


def _make(place: Path, requires: Sequence[str]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin/python")]
    try:
        done = subprocess.run(  # noqa: S603 — pip, with requirements from the catalogue
            [*pip, *INSTALL, *requires], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        failure = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired:
        failure = [f"pip took more than {TIMEOUT:g} s"]
    if failure:
        shutil.rmtree(place, ignore_errors=True)
        raise NotInstalled(failure[0])
    (place / READY).touch()
