"""What tests make of their surroundings: settings are forgotten; what all need is made and read once."""

import re
import sys
from collections.abc import MutableMapping
from functools import cache
from typing import Any, Final

from httpx._transports import default

CHANGING: Final = re.compile(r"(RELATIONS|DEMO|OTEL|CELERY)_.*|URL|KEY|SIMULATOR|FORWARDED_ALLOW_IPS")
ASKING: Final = ("RELATIONS_WRITE_REFERENCE",)  # says what the tests shall do, not with what


def forget_settings(environ: MutableMapping[str, str]) -> None:
    """Remove the variables that name settings, keys or a running system."""
    for name in [name for name in environ if CHANGING.fullmatch(name) and name not in ASKING]:
        del environ[name]


def keep_bytecode(environ: MutableMapping[str, str]) -> None:
    """Let this process and those it starts keep what they compile, whatever the shell says.

    Hundreds are started, and compiling takes half of a start; every pytest would write all assertions anew.
    """
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def share_certificates() -> None:
    """Let all clients of httpx in this process share what they check certificates by.

    Each would read all authorities by itself, which takes as long as a test, and most speak to this machine.
    """
    transport: Any = default
    transport.create_ssl_context = cache(transport.create_ssl_context)
