"""How often a process that runs for long looks for cyclic garbage, and among what."""

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 100)
"""New containers before Python looks for cycles among the youngest, and how often it looks further."""


def look_past_imports() -> None:
    """Look for cycles only among what is made from now on, not in modules, settings and live objects.

    A look at everything that was imported stops the process for 50 ms. It is looked as often as before: a
    cycle may hold the body of a request, of up to 16 MiB.
    """
    gc.collect()
    gc.freeze()


def look_seldom() -> None:
    """Look past imports, and seldom: a flush makes many values that live, and a sixth of it went there."""
    look_past_imports()
    gc.set_threshold(*THRESHOLDS)
