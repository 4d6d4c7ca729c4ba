"""What the environment of whoever runs the tests would change of them: settings, as `env.sh` exports."""

import re
from collections.abc import MutableMapping
from typing import Final

CHANGING: Final = re.compile(r"(RELATIONS|DEMO|OTEL|CELERY)_.*|URL|KEY|SIMULATOR|FORWARDED_ALLOW_IPS")
ASKING: Final = ("RELATIONS_WRITE_REFERENCE",)  # says what the tests shall do, not with what


def forget_settings(environ: MutableMapping[str, str]) -> None:
    """Remove the variables that name settings, keys or a running system."""
    for name in [name for name in environ if CHANGING.fullmatch(name) and name not in ASKING]:
        del environ[name]
