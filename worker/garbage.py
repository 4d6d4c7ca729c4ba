"""How often a process that runs for long looks for cyclic garbage, and among what."""

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 100)
"""New containers before Python looks for cycles among the youngest, and how often it looks further."""


def look_seldom() -> None:
    """Look for cycles seldom, and never among what is there by now: modules, settings, live objects.

    The values of a batch or a request live as long as it, so that looking through them costs a sixth of a
    flush; a look at everything that was imported stops the process for 50 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
