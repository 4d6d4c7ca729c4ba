"""The command line `relations`: `main` begins it, and each command stands in a module of `commands`.

Commands hold no logic of the system: they parse options, call one thing, and print. They add themselves to
the `root`, so a new one is a new module, whose name the command's is.

Ctrl-C is quiet also while all the rest is imported, and when it has ended; so nothing is imported here.
"""

import os
import signal
from typing import Final, NoReturn

INTERRUPTED: Final = 130  # as in `errors.Exit`, which is not imported yet


def main(name: str | None = None) -> None:
    """Run the command line, under this name or that of the file it was started by."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, as behind `nohup`
        _run(name)
        return
    signal.signal(signal.SIGINT, end_at_once)
    try:
        _run(name)
    finally:
        signal.signal(signal.SIGINT, end_at_once)


def _run(name: str | None) -> None:
    from ops.cli.root import main as run

    if signal.getsignal(signal.SIGINT) is end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run(prog_name=name)


def end_at_once(*_: object) -> NoReturn:
    """End at once: nothing is begun yet, or everything is written."""
    os._exit(INTERRUPTED)
