"""What tests make of their surroundings: settings of who runs them are forgotten, certificates read once."""

import re
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


def share_certificates() -> None:
    """Let all clients of httpx in this process share what they check certificates by.

    Each would read all authorities by itself, which takes as long as a test, and most speak to this machine.
    """
    transport: Any = default
    transport.create_ssl_context = cache(transport.create_ssl_context)
