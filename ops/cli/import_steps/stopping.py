"""What else than Ctrl-C stops an import: a service manager, or a terminal that is closed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_by_signals() -> Iterator[None]:
    """Let these signals interrupt the block, but those that are ignored, as behind `nohup`."""
    is_main = threading.current_thread() is threading.main_thread()  # which alone may be interrupted
    numbers = [number for number in SIGNALS if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
